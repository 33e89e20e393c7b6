#include "model/clip.h"

#include <math.h>

drt_status drt_vision_declare(drt_vision *v, const drt_clip_tower *size, drt_params *p, drt_error *err) {
    v->size = *size;
    int64_t d = size->width, k = 3LL * size->patch * size->patch, n = 1 + drt_patches(size);
    const float small = (float)pow(d, -0.5);
    v->class_row =
        drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_NORMAL, small, "vision_model.embeddings.class_embedding");
    v->patch = drt_param_add(p, DRT_VISION, d, k, DRT_INIT_NORMAL, 0.02f);
    drt_param_name(p, v->patch, 0, d, "vision_model.embeddings.patch_embedding.weight", 4,
                   (int64_t[]){d, 3, size->patch, size->patch});
    v->position = drt_param_named(p, DRT_VISION, n, d, false, DRT_INIT_NORMAL, 0.02f,
                                  "vision_model.embeddings.position_embedding.weight");
    // "pre_layrnorm" is how the published checkpoints spell it.
    v->pre = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 1, "vision_model.pre_layrnorm.weight");
    v->pre_b = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 0, "vision_model.pre_layrnorm.bias");
    drt_status status = drt_encoder_declare(&v->encoder, &v->size, p, DRT_VISION, "vision_model", err);
    v->post = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 1, "vision_model.post_layernorm.weight");
    v->post_b = drt_param_named(p, DRT_VISION, 1, d, true, DRT_INIT_CONSTANT, 0, "vision_model.post_layernorm.bias");
    return status;
}

drt_status drt_clip_text_declare(drt_clip_text *c, const drt_clip_tower *size, drt_params *p, drt_error *err) {
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

// x = [class; patches w^T] + position, row by row: three sources of one gather.
static drt_tensor *embed(drt_tape *t, const drt_vision *v, drt_mat patches, int64_t images, int32_t *offsets) {
    int64_t p = drt_patches(&v->size), rows = images * (1 + p);
    drt_tensor *pixels = drt_tensor_wrap(t, patches, false);
    drt_tensor *patch = drt_linear(t, pixels, &v->patch->tensor, NULL);
    int32_t *zero = drt_tape_alloc(t, images, sizeof *zero), *first = drt_tape_alloc(t, images, sizeof *first);
    int32_t *to = drt_tape_alloc(t, images * p, sizeof *to), *where = drt_tape_alloc(t, rows, sizeof *where);
    if (!zero || !first || !to || !where) return NULL;
    for (int64_t i = 0; i < images; i++) {
        offsets[i] = first[i] = (int32_t)(i * (1 + p));
        for (int64_t j = 0; j < p; j++) to[i * p + j] = first[i] + 1 + (int32_t)j;
        for (int64_t j = 0; j <= p; j++) where[first[i] + j] = (int32_t)j;
    }
    offsets[images] = (int32_t)rows;
    const drt_rows sources[] = {{&v->class_row->tensor, first, zero, NULL, images},
                                {patch, to, NULL, NULL, images * p},
                                {&v->position->tensor, NULL, where, NULL, rows}};
    return drt_gather(t, rows, v->size.width, false, sources, 3);
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
    int32_t *offsets = drt_tape_alloc(t, images + 1, sizeof *offsets);
    if (!offsets) return NULL;
    drt_tensor *x = embed(t, v, patches, images, offsets);
    x = drt_layer_norm(t, x, &v->pre->tensor, &v->pre_b->tensor, v->size.eps);
    return drt_encoder_run(t, &v->encoder, 0, layers, x, (int)images, offsets, NULL, recompute);
}

drt_tensor *drt_vision_rest(drt_tape *t, const drt_vision *v, drt_tensor *hidden, int layer, bool recompute) {
    if (!hidden || drt_tape_failed(t, NULL)) return NULL;
    int p = drt_patches(&v->size), from = layer < 0 ? v->size.layers + 1 + layer : layer;
    int64_t images = hidden->value.rows / (1 + p);
    int32_t *offsets = drt_tape_alloc(t, images + 1, sizeof *offsets);
    if (!offsets) return NULL;
    for (int64_t i = 0; i <= images; i++) offsets[i] = (int32_t)(i * (1 + p));
    return drt_encoder_run(t, &v->encoder, from, v->size.layers, hidden, (int)images, offsets, NULL, recompute);
}

drt_tensor *drt_vision_pooled(drt_tape *t, const drt_vision *v, drt_tensor *hidden) {
    if (!hidden || drt_tape_failed(t, NULL)) return NULL;
    int64_t p = drt_patches(&v->size), images = hidden->value.rows / (1 + p);
    int32_t *first = drt_tape_alloc(t, images, sizeof *first);
    if (!first) return NULL;
    for (int64_t i = 0; i < images; i++) first[i] = (int32_t)(i * (1 + p));
    drt_tensor *x = drt_select(t, hidden, first, images);
    return drt_layer_norm(t, x, &v->post->tensor, &v->post_b->tensor, v->size.eps);
}

drt_tensor *drt_vision_patches(drt_tape *t, const drt_vision *v, drt_tensor *hidden) {
    if (!hidden || drt_tape_failed(t, NULL)) return NULL;
    int64_t p = drt_patches(&v->size), images = hidden->value.rows / (1 + p);
    int32_t *from = drt_tape_alloc(t, images * p, sizeof *from);
    if (!from) return NULL;
    for (int64_t i = 0; i < images * p; i++) from[i] = (int32_t)(i + i / p + 1);
    return drt_select(t, hidden, from, images * p);
}

drt_tensor *drt_clip_text_pooled(drt_tape *t, const drt_clip_text *c, const int32_t *id, const int32_t *offsets, int n,
                                 bool recompute) {
    if (drt_tape_failed(t, NULL)) return NULL;
    int64_t rows = offsets[n];
    int32_t *where = drt_tape_alloc(t, rows, sizeof *where), *reach = drt_tape_alloc(t, rows, sizeof *reach);
    int32_t *pooled = drt_tape_alloc(t, n, sizeof *pooled);
    if (!where || !reach || !pooled) return NULL;
    for (int i = 0; i < n; i++) {
        int32_t from = offsets[i], size = offsets[i + 1] - from, best = -1;
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
            if (c->size.eos == 2 ? best < 0 || id[from + j] > id[from + best] : best < 0 && id[from + j] == c->size.eos)
                best = j;
        }
        pooled[i] = from + (best < 0 ? size - 1 : best);
    }
    const drt_rows sources[] = {{&c->token->tensor, NULL, id, NULL, rows},
                                {&c->position->tensor, NULL, where, NULL, rows}};
    drt_tensor *x = drt_gather(t, rows, c->size.width, false, sources, 2);
    x = drt_encoder_run(t, &c->encoder, 0, c->size.layers, x, n, offsets, reach, recompute);
    if (!x) return NULL;
    x = drt_select(t, x, pooled, n);
    return drt_layer_norm(t, x, &c->final->tensor, &c->final_b->tensor, c->size.eps);
}
