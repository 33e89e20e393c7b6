// The decoder's forward pass, and the keys and values that generation keeps.
#include "model/decoder.h"

#include "base/half.h"
#include "model/encoder.h"

#include <math.h>
#include <stdlib.h>

// ---- cache ---------------------------------------------------------------------------------------------------------

drt_status drt_cache_new(drt_cache **out, const drt_decoder_config *size, int sequences, int64_t room, drt_error *err) {
    drt_cache *c = calloc(1, sizeof *c);
    int64_t numbers = 0;
    bool fits = sequences > 0 && room > 0 && !__builtin_mul_overflow((int64_t)sequences, room, &numbers) &&
                numbers < INT32_MAX &&
                !__builtin_mul_overflow(numbers, (int64_t)size->kv_heads * size->head_size, &numbers) &&
                !__builtin_mul_overflow(numbers, (int64_t)size->layers * 4, &numbers);
    if (c && fits) {
        c->layers = size->layers;
        c->sequences = sequences;
        c->room = room;
        c->length = calloc((size_t)sequences, sizeof *c->length);
        c->offsets = calloc((size_t)sequences + 1, sizeof *c->offsets);
        c->keys = malloc((size_t)numbers);
        c->values = malloc((size_t)numbers);
    }
    if (!c || !c->length || !c->offsets || !c->keys || !c->values) {
        drt_cache_free(c);
        *out = NULL;
        return drt_fail(err, DRT_ENOMEM, "no memory for a cache of %d sequences of %lld rows", sequences,
                        (long long)room);
    }
    for (int s = 0; s <= sequences; s++) c->offsets[s] = (int32_t)(s * room);
    *out = c;
    return DRT_OK;
}

void drt_cache_free(drt_cache *c) {
    if (!c) return;
    free(c->length);
    free(c->offsets);
    free(c->keys);
    free(c->values);
    free(c);
}

// ---- forward -------------------------------------------------------------------------------------------------------

typedef struct {
    const drt_decoder *m;
    const drt_decoder_rows *rows;
    int index;
    bool last;                                   // only the selected rows go on behind keys and values
    const int32_t *q_offsets, *reach, *position; // of the query rows
    bool guided;
} layer_run;

static drt_mat cache_mat(const layer_run *c, float *base) {
    const drt_cache *k = c->rows->cache;
    int64_t rows = k->sequences * k->room, cols = (int64_t)c->m->size.kv_heads * c->m->size.head_size;
    return drt_mat_f32(base + (int64_t)c->index * rows * cols, rows, cols);
}

// Puts the new keys and values at their slots and returns tensors over the whole cache.
static void through_cache(drt_tape *t, const layer_run *c, drt_tensor **k, drt_tensor **v) {
    if (!*k || !*v || drt_tape_failed(t, NULL)) return;
    drt_device *dev = drt_tape_device(t);
    drt_mat keys = cache_mat(c, c->rows->cache->keys), values = cache_mat(c, c->rows->cache->values);
    dev->k->copy_rows(dev, keys, c->rows->cache_slot, (*k)->value, NULL, NULL, (*k)->value.rows, false);
    dev->k->copy_rows(dev, values, c->rows->cache_slot, (*v)->value, NULL, NULL, (*v)->value.rows, false);
    *k = drt_tensor_wrap(t, keys, false);
    *v = drt_tensor_wrap(t, values, false);
}

static drt_tensor *norm(drt_tape *t, const drt_decoder_config *s, drt_tensor *x, drt_param *w, drt_param *b) {
    if (s->layer_norm) return drt_layer_norm(t, x, &w->tensor, &b->tensor, s->eps);
    return drt_rms_norm(t, x, s->norm_from_one ? drt_shift(t, &w->tensor, 1) : &w->tensor, s->eps);
}

// Rows [row, row + rows) of a layer's q, k and v as a map of h.
static drt_tensor *some_of_qkv(drt_tape *t, const drt_decoder_layer *l, drt_tensor *h, int64_t row, int64_t rows) {
    drt_tensor *w = drt_part(t, &l->qkv->tensor, row, rows, 0, l->qkv->tensor.value.cols);
    return drt_linear(t, h, w, l->qkv_b ? drt_part(t, &l->qkv_b->tensor, 0, 1, row, rows) : NULL);
}

// Keys and values of h, queries of `own`: the rows of h that go on.
static void attention_inputs(drt_tape *t, const layer_run *c, drt_tensor *h, drt_tensor *own, drt_tensor **q,
                             drt_tensor **k, drt_tensor **v) {
    const drt_decoder_config *s = &c->m->size;
    const drt_decoder_layer *l = &c->m->layer[c->index];
    int64_t n = h->value.rows, qd = (int64_t)s->heads * s->head_size, kd = (int64_t)s->kv_heads * s->head_size;
    drt_mat table = drt_mat_f32(c->m->rope, drt_decoder_context(s), s->rotary);
    if (!c->last) {
        drt_tensor *qkv = drt_linear(t, h, &l->qkv->tensor, drt_param_tensor(l->qkv_b));
        drt_rope(t, qkv, 0, qd + kd, c->rows->position, table, s->head_size);
        *q = drt_part(t, qkv, 0, n, 0, qd);
        *k = drt_part(t, qkv, 0, n, qd, kd);
        *v = drt_part(t, qkv, 0, n, qd + kd, kd);
        return;
    }
    drt_tensor *kv = some_of_qkv(t, l, h, qd, 2 * kd);
    drt_rope(t, kv, 0, kd, c->rows->position, table, s->head_size);
    *k = drt_part(t, kv, 0, n, 0, kd);
    *v = drt_part(t, kv, 0, n, kd, kd);
    *q = some_of_qkv(t, l, own, 0, qd);
    drt_rope(t, *q, 0, qd, c->position, table, s->head_size);
}

static drt_tensor *feed_forward_add(drt_tape *t, const drt_decoder_config *s, const drt_decoder_layer *l, drt_tensor *h,
                                    drt_tensor *x) {
    h = drt_linear(t, h, &l->up->tensor, drt_param_tensor(l->up_b));
    return drt_feed_forward(t, drt_activation_of(s->act), s->gated, h, &l->down->tensor, drt_param_tensor(l->down_b),
                            x);
}

static void layer_forward(drt_tape *t, const void *context, drt_tensor *x, drt_tensor **y, drt_tensor **mass) {
    const layer_run *c = context;
    const drt_decoder_config *s = &c->m->size;
    const drt_decoder_layer *l = &c->m->layer[c->index];
    drt_tensor *q = NULL, *k = NULL, *v = NULL;
    drt_tensor *h = norm(t, s, x, l->norm1, l->norm1_b), *own = h;
    if (c->last) {
        own = drt_select(t, h, c->rows->select, c->rows->selected);
        x = drt_select(t, x, c->rows->select, c->rows->selected);
    }
    if (!h || !own) return;
    attention_inputs(t, c, h, own, &q, &k, &v);
    drt_attention a = {.sequences = c->rows->sequences,
                       .q_offsets = c->q_offsets,
                       .k_offsets = c->rows->key_row ? c->rows->key_offsets : c->rows->offsets,
                       .reach = c->reach,
                       .heads = s->heads,
                       .kv_heads = s->kv_heads,
                       .head_size = s->head_size,
                       .scale = 1 / sqrtf((float)s->head_size),
                       .visual = c->guided ? c->rows->visual : NULL};
    if (c->rows->cache) {
        through_cache(t, c, &k, &v);
        a.k_offsets = c->rows->cache->offsets;
    }
    drt_tensor *seen = drt_attend(t, &a, c->rows->key_row, q, k, v, mass);
    x = drt_linear_add(t, seen, &l->out->tensor, drt_param_tensor(l->out_b), x);
    *y = feed_forward_add(t, s, l, s->parallel ? own : norm(t, s, x, l->norm2, l->norm2_b), x);
}

// Query offsets, reach and positions of the selected rows.
static bool select_rows(drt_tape *t, const drt_decoder_rows *r, layer_run *c) {
    int32_t *offsets = drt_tape_alloc(t, r->sequences + 1, sizeof *offsets);
    int32_t *reach = drt_tape_alloc(t, r->selected, sizeof *reach),
            *position = drt_tape_alloc(t, r->selected, sizeof *position);
    if (!offsets || !reach || !position) return false;
    int64_t i = 0;
    for (int s = 0; s < r->sequences; s++) {
        offsets[s] = (int32_t)i;
        for (; i < r->selected && r->select[i] < r->offsets[s + 1]; i++) {
            reach[i] = r->reach[r->select[i]];
            position[i] = r->position[r->select[i]];
        }
    }
    offsets[r->sequences] = (int32_t)i;
    if (i != r->selected) drt_tape_fail(t, DRT_EARG, "internal: selected rows must ascend");
    c->q_offsets = offsets;
    c->reach = reach;
    c->position = position;
    return i == r->selected;
}

// Up to its length a sliding window is plain causal attention, and LongRoPE one set of angles; behind it this version
// would compute something else.
static bool in_context(drt_tape *t, const drt_decoder_config *s, int64_t rows, const int32_t *position) {
    const int most = drt_decoder_context(s);
    for (int64_t r = 0; most < s->positions && r < rows; r++)
        if (position[r] >= most) {
            drt_tape_fail(t, DRT_EDATA,
                          "row %lld stands at position %d, but behind %d the model %s, which this version does not; "
                          "shorten the sample",
                          (long long)r, position[r], most,
                          most == s->window ? "slides its window (sliding_window)"
                                            : "turns by other angles (original_max_position_embeddings)");
            return false;
        }
    return true;
}

drt_tensor *drt_decoder_run(drt_tape *t, const drt_decoder *m, drt_tensor *x, const drt_decoder_rows *rows,
                            drt_tensor **mass) {
    const drt_decoder_config *s = &m->size;
    layer_run *run = drt_tape_alloc(t, s->layers, sizeof *run);
    drt_decoder_rows *kept = drt_tape_alloc(t, 1, sizeof *kept);
    if (!x || !run || !kept || !in_context(t, s, x->value.rows, rows->position)) return NULL;
    *kept = *rows;
    drt_tape_show(t, "splice", -1, x);
    for (int i = 0; i < s->layers; i++) {
        bool last = i == s->layers - 1, guided = mass && rows->visual;
        run[i] = (layer_run){m, kept, i, last, rows->offsets, rows->reach, rows->position, guided};
        if (last && !select_rows(t, kept, &run[i])) return NULL;
        int64_t n = last ? rows->selected : x->value.rows;
        drt_block_shape shape = {n, s->width, guided ? n : 0, s->heads, rows->recompute};
        drt_tensor *m_l = NULL;
        x = drt_block(t, layer_forward, &run[i], x, &shape, &m_l);
        if (mass) mass[i] = m_l;
        drt_tape_show(t, "decoder", i + 1, x);
        if (!x) return NULL;
    }
    x = norm(t, s, x, m->final, m->final_b);
    drt_tape_show(t, "final", -1, x);
    return x;
}

drt_tensor *drt_decoder_logits(drt_tape *t, const drt_decoder *m, drt_tensor *states) {
    return drt_linear(t, states, &m->head->tensor, drt_param_tensor(m->head_b));
}

drt_tensor *drt_decoder_loss(drt_tape *t, const drt_decoder *m, drt_tensor *states, const int32_t *label,
                             const float *weight, float *row_loss, float *hit) {
    return drt_linear_cross_entropy(t, states, &m->head->tensor, drt_param_tensor(m->head_b), label, weight, row_loss,
                                    hit);
}

float drt_word_scale(const drt_decoder *m) {
    if (!m->size.words_scaled) return 1;
    float scale = (float)sqrt((double)m->size.width);
    drt_dtype type = m->embedding->tensor.value.type;
    return type == DRT_BF16  ? drt_bf16_to_f32(drt_f32_to_bf16(scale))
           : type == DRT_F16 ? drt_f16_to_f32(drt_f32_to_f16(scale))
                             : scale;
}
