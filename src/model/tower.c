#include "model/tower.h"

#include <math.h>

// The head of a tower without class row: a learnt query attends to all rows. Names and shapes are those of PyTorch's
// MultiheadAttention and of an encoder layer's second half.
static void head_declare(drt_vision *v, drt_params *p) {
    int64_t d = v->size.width, f = v->size.ffn;
    const float out = (float)pow(d, -0.5);
    drt_encoder_layer *h = &v->head;
    v->probe = drt_param_add(p, DRT_VISION, 1, d, DRT_INIT_NORMAL, out);
    drt_param_name(p, v->probe, 0, 1, "vision_model.head.probe", 3, (int64_t[]){1, 1, d});
    h->qkv = drt_param_named(p, DRT_VISION, 3 * d, d, false, DRT_INIT_NORMAL, out,
                             "vision_model.head.attention.in_proj_weight");
    h->qkv_b = drt_param_named(p, DRT_VISION, 1, 3 * d, true, DRT_INIT_CONSTANT, 0,
                               "vision_model.head.attention.in_proj_bias");
    h->out = drt_param_named(p, DRT_VISION, d, d, false, DRT_INIT_NORMAL, out,
                             "vision_model.head.attention.out_proj.weight");
    h->out_b =
        drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 0, "vision_model.head.attention.out_proj.bias");
    h->norm2 = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 1, "vision_model.head.layernorm.weight");
    h->norm2_b = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 0, "vision_model.head.layernorm.bias");
    h->fc1 = drt_param_named(p, DRT_VISION, f, d, false, DRT_INIT_NORMAL, out, "vision_model.head.mlp.fc1.weight");
    h->fc1_b = drt_param_named(p, DRT_VISION, 1, f, true, DRT_INIT_CONSTANT, 0, "vision_model.head.mlp.fc1.bias");
    h->fc2 = drt_param_named(p, DRT_VISION, d, f, false, DRT_INIT_NORMAL, (float)pow(f, -0.5),
                             "vision_model.head.mlp.fc2.weight");
    h->fc2_b = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 0, "vision_model.head.mlp.fc2.bias");
}

drt_status drt_vision_declare(drt_vision *v, const drt_tower *size, drt_params *p, drt_error *err) {
    v->size = *size;
    const drt_family *is = size->family;
    int64_t d = size->width, k = 3LL * size->patch * size->patch, n = drt_tower_rows(size);
    if (is->class_row)
        v->class_row = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_NORMAL, (float)pow(d, -0.5),
                                       "vision_model.embeddings.class_embedding");
    v->patch = drt_param_add(p, DRT_VISION, d, k, DRT_INIT_NORMAL, 0.02f);
    drt_param_name(p, v->patch, 0, d, "vision_model.embeddings.patch_embedding.weight", 4,
                   (int64_t[]){d, 3, size->patch, size->patch});
    if (is->patch_bias)
        v->patch_b = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 0,
                                     "vision_model.embeddings.patch_embedding.bias");
    v->position = drt_param_named(p, DRT_VISION, n, d, false, DRT_INIT_NORMAL, 0.02f,
                                  "vision_model.embeddings.position_embedding.weight");
    if (is->pre_norm) { // "pre_layrnorm" is how the published checkpoints spell it.
        v->pre = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 1, "vision_model.pre_layrnorm.weight");
        v->pre_b = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 0, "vision_model.pre_layrnorm.bias");
    }
    drt_status status = drt_encoder_declare(&v->encoder, &v->size, p, DRT_VISION, "vision_model", err);
    v->post = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 1, "vision_model.post_layernorm.weight");
    v->post_b = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 0, "vision_model.post_layernorm.bias");
    if (size->head) head_declare(v, p);
    return status;
}

drt_status drt_text_tower_declare(drt_text_tower *c, const drt_tower *size, drt_params *p, drt_error *err) {
    c->size = *size;
    int64_t d = size->width;
    c->token = drt_param_named(p, DRT_CLIP_TEXT, size->vocab, d, false, DRT_INIT_NORMAL, 0.02f,
                               "text_model.embeddings.token_embedding.weight");
    c->position = drt_param_named(p, DRT_CLIP_TEXT, size->positions, d, false, DRT_INIT_NORMAL, 0.02f,
                                  "text_model.embeddings.position_embedding.weight");
    drt_status status = drt_encoder_declare(&c->encoder, &c->size, p, DRT_CLIP_TEXT, "text_model", err);
    c->final =
        drt_param_named(p, DRT_CLIP_TEXT, 1, d, true, DRT_INIT_CONSTANT, 1, "text_model.final_layer_norm.weight");
    c->final_b =
        drt_param_named(p, DRT_CLIP_TEXT, 1, d, true, DRT_INIT_CONSTANT, 0, "text_model.final_layer_norm.bias");
    return status;
}

// Where each image's rows begin: offsets [images + 1], from the tape; NULL when memory is out.
static int32_t *image_offsets(drt_tape *t, const drt_vision *v, int64_t images) {
    int32_t *offsets = drt_tape_alloc(t, images + 1, sizeof *offsets);
    for (int64_t i = 0; offsets && i <= images; i++) offsets[i] = (int32_t)(i * drt_tower_rows(&v->size));
    return offsets;
}

// x = [class; patches w^T + b] + position, row by row: sources of one gather.
static drt_tensor *embed(drt_tape *t, const drt_vision *v, drt_mat patches, int64_t images, const int32_t *first) {
    int64_t p = drt_patches(&v->size), n = drt_tower_rows(&v->size), front = n - p;
    drt_tensor *pixels = drt_tensor_wrap(t, patches, false);
    drt_tensor *patch = drt_linear(t, pixels, &v->patch->tensor, v->patch_b ? &v->patch_b->tensor : NULL);
    int32_t *zero = drt_tape_alloc(t, images, sizeof *zero), *to = drt_tape_alloc(t, images * p, sizeof *to);
    int32_t *where = drt_tape_alloc(t, images * n, sizeof *where);
    if (!zero || !to || !where) return NULL;
    for (int64_t i = 0; i < images; i++) {
        for (int64_t j = 0; j < p; j++) to[i * p + j] = (int32_t)(first[i] + front + j);
        for (int64_t j = 0; j < n; j++) where[first[i] + j] = (int32_t)j;
    }
    drt_rows sources[3] = {{patch, to, NULL, NULL, images * p}, {&v->position->tensor, NULL, where, NULL, images * n}};
    if (front) sources[2] = (drt_rows){&v->class_row->tensor, first, zero, NULL, images};
    return drt_gather(t, images * n, v->size.width, false, sources, front ? 3 : 2);
}

drt_tensor *drt_vision_hidden(drt_tape *t, const drt_vision *v, drt_mat patches, int layer, bool recompute) {
    int p = drt_patches(&v->size), layers = layer < 0 ? v->size.layers + 1 + layer : layer;
    if (drt_tape_failed(t, NULL)) return NULL;
    if (patches.rows % p || patches.cols != 3LL * v->size.patch * v->size.patch || patches.rows > INT32_MAX / 2) {
        drt_tape_fail(t, DRT_EARG, "vision: pixels are %lld x %lld, the tower takes %d patches of %d numbers an image",
                      (long long)patches.rows, (long long)patches.cols, p, 3 * v->size.patch * v->size.patch);
        return NULL;
    }
    int64_t images = patches.rows / p;
    int32_t *offsets = image_offsets(t, v, images);
    if (!offsets) return NULL;
    drt_tensor *x = embed(t, v, patches, images, offsets);
    drt_tape_show(t, "vision.embedding", -1, x);
    if (v->pre) x = drt_layer_norm(t, x, &v->pre->tensor, &v->pre_b->tensor, v->size.eps);
    drt_tape_show(t, "vision", 0, x);
    return drt_encoder_run(t, &v->encoder, 0, layers, x, (int)images, offsets, NULL, recompute);
}

drt_tensor *drt_vision_rest(drt_tape *t, const drt_vision *v, drt_tensor *hidden, int layer, bool recompute) {
    if (!hidden || drt_tape_failed(t, NULL)) return NULL;
    int from = layer < 0 ? v->size.layers + 1 + layer : layer;
    int64_t images = hidden->value.rows / drt_tower_rows(&v->size);
    int32_t *offsets = image_offsets(t, v, images);
    if (!offsets) return NULL;
    return drt_encoder_run(t, &v->encoder, from, v->size.layers, hidden, (int)images, offsets, NULL, recompute);
}

// One query for all images, the probe's: x [images * P, d] -> [images, d].
static drt_tensor *attention_pool(drt_tape *t, const drt_vision *v, drt_tensor *x, int64_t images,
                                  const int32_t *offsets) {
    const drt_encoder_layer *h = &v->head;
    int64_t d = v->size.width, n = images * drt_patches(&v->size);
    int32_t *zero = drt_tape_alloc(t, images, sizeof *zero), *each = drt_tape_alloc(t, images + 1, sizeof *each);
    if (!zero || !each || !x) return NULL;
    for (int64_t i = 0; i <= images; i++) each[i] = (int32_t)i;
    drt_tensor *w = &h->qkv->tensor, *b = &h->qkv_b->tensor;
    drt_tensor *q = drt_linear(t, &v->probe->tensor, drt_part(t, w, 0, d, 0, d), drt_part(t, b, 0, 1, 0, d));
    q = drt_select(t, q, zero, images);
    drt_tensor *kv = drt_linear(t, x, drt_part(t, w, d, 2 * d, 0, d), drt_part(t, b, 0, 1, d, 2 * d));
    drt_tensor *key = drt_part(t, kv, 0, n, 0, d), *value = drt_part(t, kv, 0, n, d, d);
    drt_attention a = {.sequences = (int)images,
                       .q_offsets = each,
                       .k_offsets = offsets,
                       .heads = v->size.heads,
                       .kv_heads = v->size.heads,
                       .head_size = v->size.width / v->size.heads};
    a.scale = 1 / sqrtf((float)a.head_size);
    x = drt_attend(t, &a, NULL, q, key, value, NULL);
    return drt_encoder_mlp(t, &v->size, h, drt_linear(t, x, &h->out->tensor, &h->out_b->tensor));
}

static bool has_head(drt_tape *t, const drt_vision *v) {
    if (v->class_row || v->probe) return true;
    drt_tape_fail(t, DRT_ECONFIG, "this vision tower has no head (vision_use_head): it makes no image embedding");
    return false;
}

drt_tensor *drt_vision_pooled(drt_tape *t, const drt_vision *v, drt_tensor *hidden) {
    if (!hidden || drt_tape_failed(t, NULL)) return NULL;
    int64_t images = hidden->value.rows / drt_tower_rows(&v->size);
    int32_t *offsets = image_offsets(t, v, images);
    if (!offsets || !has_head(t, v)) return NULL;
    drt_tensor *x = v->class_row ? drt_select(t, hidden, offsets, images) : hidden;
    x = drt_layer_norm(t, x, &v->post->tensor, &v->post_b->tensor, v->size.eps);
    if (!v->class_row) x = attention_pool(t, v, x, images, offsets);
    drt_tape_show(t, "vision.pooled", -1, x);
    return x;
}

drt_tensor *drt_vision_but_first(drt_tape *t, const drt_vision *v, drt_tensor *hidden) {
    if (!hidden || drt_tape_failed(t, NULL)) return NULL;
    int64_t n = drt_tower_rows(&v->size), left = n - 1, images = hidden->value.rows / n;
    int32_t *from = drt_tape_alloc(t, images * left, sizeof *from);
    if (!from) return NULL;
    for (int64_t i = 0; i < images * left; i++) from[i] = (int32_t)(i + i / left + 1);
    return drt_select(t, hidden, from, images * left);
}

drt_tensor *drt_vision_patches(drt_tape *t, const drt_vision *v, drt_tensor *hidden) {
    return v->class_row ? drt_vision_but_first(t, v, hidden) : hidden;
}

drt_tensor *drt_vision_patches_pooled(drt_tape *t, const drt_vision *v, drt_tensor *hidden) {
    if (!hidden || drt_tape_failed(t, NULL) || !has_head(t, v)) return NULL;
    drt_tensor *x = drt_vision_patches(t, v, hidden);
    x = drt_layer_norm(t, x, &v->post->tensor, &v->post_b->tensor, v->size.eps);
    if (v->class_row) return x;
    const drt_encoder_layer *h = &v->head;
    const int64_t d = v->size.width;
    x = drt_linear(t, x, drt_part(t, &h->qkv->tensor, 2 * d, d, 0, d), drt_part(t, &h->qkv_b->tensor, 0, 1, 2 * d, d));
    return drt_encoder_mlp(t, &v->size, h, drt_linear(t, x, &h->out->tensor, &h->out_b->tensor));
}

// The row that stands for a text of n ids.
static int32_t pooled_row(const drt_tower *size, const int32_t *id, int32_t n) {
    if (!size->family->causal) return n - 1;
    int32_t best = -1;
    for (int32_t j = 0; j < n; j++)
        if (size->eos == 2 ? best < 0 || id[j] > id[best] : best < 0 && id[j] == size->eos) best = j;
    return best < 0 ? n - 1 : best;
}

drt_tensor *drt_text_tower_pooled(drt_tape *t, const drt_text_tower *c, const int32_t *id, const int32_t *offsets,
                                  int n, bool recompute) {
    if (drt_tape_failed(t, NULL)) return NULL;
    int64_t rows = offsets[n];
    int32_t *where = drt_tape_alloc(t, rows, sizeof *where), *reach = drt_tape_alloc(t, rows, sizeof *reach);
    int32_t *pooled = drt_tape_alloc(t, n, sizeof *pooled);
    if (!where || !reach || !pooled) return NULL;
    for (int i = 0; i < n; i++) {
        int32_t from = offsets[i], size = offsets[i + 1] - from;
        if (size < 1 || size > c->size.positions) {
            drt_tape_fail(t, DRT_EDATA, "text %d has %d tokens, the text tower takes 1 to %d", i, size,
                          c->size.positions);
            return NULL;
        }
        for (int32_t j = 0; j < size; j++) {
            if (id[from + j] < 0 || id[from + j] >= c->size.vocab) {
                drt_tape_fail(t, DRT_EDATA, "text %d: token %d is not among %d", i, id[from + j], c->size.vocab);
                return NULL;
            }
            where[from + j] = j;
            reach[from + j] = j + 1;
        }
        pooled[i] = from + pooled_row(&c->size, id + from, size);
    }
    const drt_rows sources[] = {{&c->token->tensor, NULL, id, NULL, rows},
                                {&c->position->tensor, NULL, where, NULL, rows}};
    drt_tensor *x = drt_gather(t, rows, c->size.width, false, sources, 2);
    drt_tape_show(t, "text.embedding", -1, x);
    x = drt_encoder_run(t, &c->encoder, 0, c->size.layers, x, n, offsets, c->size.family->causal ? reach : NULL,
                        recompute);
    if (!x) return NULL;
    x = drt_select(t, x, pooled, n);
    x = drt_layer_norm(t, x, &c->final->tensor, &c->final_b->tensor, c->size.eps);
    drt_tape_show(t, "text.pooled", -1, x);
    return x;
}
