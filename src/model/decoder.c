#include "model/decoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static drt_param *matrix(drt_params *p, int layer, const char *name, int64_t rows, int64_t cols, double deviation) {
    return drt_param_named(p, DRT_LANGUAGE, rows, cols, false, DRT_INIT_NORMAL, (float)deviation,
                           "model.layers.%d.%s.weight", layer, name);
}

static drt_param *norm(drt_params *p, int layer, const char *name, int64_t d) {
    return drt_param_named(p, DRT_LANGUAGE, 1, d, true, DRT_INIT_CONSTANT, 1, "model.layers.%d.%s.weight", layer, name);
}

// Several checkpoint matrices one below the other in one parameter: one product makes them all.
static drt_param *stacked(drt_params *p, int layer, const char *const *names, const int64_t *rows, int n, int64_t cols,
                          double deviation) {
    int64_t total = 0, at = 0;
    char name[256];
    for (int i = 0; i < n; i++) total += rows[i];
    drt_param *w = drt_param_add(p, DRT_LANGUAGE, total, cols, DRT_INIT_NORMAL, (float)deviation);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, names[i]);
        drt_param_name(p, w, at, rows[i], name, 2, (int64_t[]){rows[i], cols});
        at += rows[i];
    }
    return w;
}

static drt_status rope_table(drt_decoder *m, drt_error *err) {
    int half = m->size.head_size / 2;
    m->rope = malloc((size_t)m->size.positions * (size_t)m->size.head_size * sizeof *m->rope);
    if (!m->rope) return drt_fail(err, DRT_ENOMEM, "no memory for rotary angles of %d positions", m->size.positions);
    for (int pos = 0; pos < m->size.positions; pos++)
        for (int j = 0; j < half; j++) {
            // As transformers: exponent, power, its inverse and the angle are each rounded to f32.
            float frequency = 1 / (float)pow(m->size.rope_theta, (float)(2 * j) / (float)m->size.head_size);
            float angle = (float)pos * frequency;
            m->rope[(size_t)pos * 2 * (size_t)half + (size_t)j] = cosf(angle);
            m->rope[(size_t)pos * 2 * (size_t)half + (size_t)(half + j)] = sinf(angle);
        }
    return DRT_OK;
}

drt_status drt_decoder_declare(drt_decoder *m, const drt_decoder_config *size, drt_params *p, drt_error *err) {
    m->size = *size;
    int64_t d = size->width, hd = size->head_size, q = hd * size->heads, kv = hd * size->kv_heads;
    // Embeddings at 1/sqrt(width) let a small decoder look things up (docs/shapes.md); the rest as usual.
    double wide = 1 / sqrt((double)d), deep = 0.02 / sqrt(2.0 * size->layers);
    m->embedding = drt_param_named(p, DRT_LANGUAGE, size->vocab, d, false, DRT_INIT_NORMAL, (float)wide,
                                   "model.embed_tokens.weight");
    m->layer = calloc((size_t)size->layers, sizeof *m->layer);
    if (!m->layer) return drt_fail(err, DRT_ENOMEM, "no memory for %d layers", size->layers);
    for (int i = 0; i < size->layers; i++) {
        drt_decoder_layer *l = &m->layer[i];
        static const char *const attention[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
        static const char *const mlp[] = {"mlp.gate_proj", "mlp.up_proj"};
        l->norm1 = norm(p, i, "input_layernorm", d);
        l->qkv = stacked(p, i, attention, (int64_t[]){q, kv, kv}, 3, d, wide);
        l->out = matrix(p, i, "self_attn.o_proj", d, q, deep);
        l->norm2 = norm(p, i, "post_attention_layernorm", d);
        l->gate_up = stacked(p, i, mlp, (int64_t[]){size->ffn, size->ffn}, 2, d, wide);
        l->down = matrix(p, i, "mlp.down_proj", d, size->ffn, deep);
    }
    m->final = drt_param_named(p, DRT_LANGUAGE, 1, d, true, DRT_INIT_CONSTANT, 1, "model.norm.weight");
    m->head = m->embedding;
    if (!size->tied)
        m->head =
            drt_param_named(p, DRT_LANGUAGE, size->vocab, d, false, DRT_INIT_NORMAL, (float)wide, "lm_head.weight");
    return rope_table(m, err);
}

// Makes head h of the first layer look `offset` words back: a constant in channel 0 of the embedding gives every query
// and key the same part, and turning the query's by the rotary angle of `offset` positions puts the peak there.
static void look_back(drt_decoder *m, int h, int offset) {
    enum { PAIRS = 5 };
    const float tilt = 5.0f / 3; // with the constant of 3 below: scores that peak at about 20
    const drt_decoder_config *s = &m->size;
    int64_t d = s->width, half = s->head_size / 2;
    float *q = drt_row(m->layer[0].qkv->tensor.value, (int64_t)h * s->head_size),
          *k = q + (int64_t)s->heads * s->head_size * d;
    for (int64_t i = 0; i < s->head_size * d; i++) q[i] *= 0.3f, k[i] *= 0.3f;
    for (int64_t f = 0; f < s->head_size; f++) q[f * d] = k[f * d] = 0;
    for (int64_t f = 0; f < PAIRS && f < half; f++) {
        double angle = -offset * pow(s->rope_theta, -2.0 * (double)f / s->head_size);
        k[f * d] = tilt;
        q[f * d] = tilt * (float)cos(angle);
        q[(f + half) * d] = tilt * (float)sin(angle);
    }
}

void drt_decoder_init(drt_decoder *m) {
    const drt_decoder_config *s = &m->size;
    size_t head = (size_t)s->head_size * (size_t)s->width, group = (size_t)(s->heads / s->kv_heads);
    for (int i = 0; i < s->layers; i++) {
        float *q = m->layer[i].qkv->tensor.value.data, *k = q + (size_t)s->heads * head;
        for (size_t h = 0; h < (size_t)s->kv_heads; h++) memcpy(k + h * head, q + h * group * head, head * sizeof *k);
    }
    drt_mat e = m->embedding->tensor.value;
    if (s->heads == s->kv_heads && s->heads >= 4) {
        for (int64_t r = 0; r < e.rows; r++) *drt_row(e, r) = 3 / sqrtf((float)s->width);
        for (int h = 0; h < 4; h++) look_back(m, h, h + 1);
    }
    if (m->head != m->embedding) memcpy(m->head->tensor.value.data, e.data, (size_t)(e.rows * e.cols) * sizeof(float));
}

void drt_decoder_free(drt_decoder *m) {
    free(m->layer);
    free(m->rope);
    m->layer = NULL;
    m->rope = NULL;
}

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

static void attention_inputs(drt_tape *t, const layer_run *c, drt_tensor *h, drt_tensor **q, drt_tensor **k,
                             drt_tensor **v) {
    const drt_decoder_config *s = &c->m->size;
    drt_tensor *w = &c->m->layer[c->index].qkv->tensor;
    int64_t n = h->value.rows, qd = (int64_t)s->heads * s->head_size, kd = (int64_t)s->kv_heads * s->head_size;
    drt_mat table = drt_mat_f32(c->m->rope, s->positions, s->head_size);
    if (!c->last) {
        drt_tensor *qkv = drt_linear(t, h, w, NULL);
        drt_rope(t, qkv, 0, qd + kd, c->rows->position, table, s->head_size);
        *q = drt_part(t, qkv, 0, n, 0, qd);
        *k = drt_part(t, qkv, 0, n, qd, kd);
        *v = drt_part(t, qkv, 0, n, qd + kd, kd);
        return;
    }
    drt_tensor *kv = drt_linear(t, h, drt_part(t, w, qd, 2 * kd, 0, s->width), NULL);
    drt_rope(t, kv, 0, kd, c->rows->position, table, s->head_size);
    *k = drt_part(t, kv, 0, n, 0, kd);
    *v = drt_part(t, kv, 0, n, kd, kd);
    drt_tensor *some = drt_select(t, h, c->rows->select, c->rows->selected);
    *q = drt_linear(t, some, drt_part(t, w, 0, qd, 0, s->width), NULL);
    drt_rope(t, *q, 0, qd, c->position, table, s->head_size);
}

static void layer_forward(drt_tape *t, const void *context, drt_tensor *x, drt_tensor **y, drt_tensor **mass) {
    const layer_run *c = context;
    const drt_decoder_config *s = &c->m->size;
    const drt_decoder_layer *l = &c->m->layer[c->index];
    drt_tensor *q = NULL, *k = NULL, *v = NULL;
    drt_tensor *h = drt_rms_norm(t, x, &l->norm1->tensor, s->eps);
    if (!h) return;
    attention_inputs(t, c, h, &q, &k, &v);
    drt_attention a = {.sequences = c->rows->sequences,
                       .q_offsets = c->q_offsets,
                       .k_offsets = c->rows->offsets,
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
    h = drt_attend(t, &a, q, k, v, mass);
    if (c->last) x = drt_select(t, x, c->rows->select, c->rows->selected);
    x = drt_linear_add(t, h, &l->out->tensor, NULL, x);
    h = drt_rms_norm(t, x, &l->norm2->tensor, s->eps);
    h = drt_linear(t, h, &l->gate_up->tensor, NULL);
    h = drt_glu(t, DRT_SILU, h);
    *y = drt_linear_add(t, h, &l->down->tensor, NULL, x);
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

drt_tensor *drt_decoder_run(drt_tape *t, const drt_decoder *m, drt_tensor *x, const drt_decoder_rows *rows,
                            drt_tensor **mass) {
    const drt_decoder_config *s = &m->size;
    layer_run *run = drt_tape_alloc(t, s->layers, sizeof *run);
    drt_decoder_rows *kept = drt_tape_alloc(t, 1, sizeof *kept);
    if (!x || !run || !kept) return NULL;
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
    x = drt_rms_norm(t, x, &m->final->tensor, s->eps);
    drt_tape_show(t, "final", -1, x);
    return x;
}
