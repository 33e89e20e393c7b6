#include "support/tiny_model.h"

#include "base/file.h"
#include "format/image.h"
#include "support/check.h"

#include <math.h>

static const drt_tower vision = {.family = &drt_clip,
                                 .width = 12,
                                 .layers = 3,
                                 .heads = 3,
                                 .ffn = 20,
                                 .act = DRT_ACT_QUICK_GELU,
                                 .eps = 1e-5f,
                                 .joint = 8,
                                 .image = TINY_IMAGE,
                                 .patch = TINY_PATCH};

static drt_model *open_tiny(drt_model_config *c, uint64_t seed, int order_classes, const drt_permuter_shape *permuter) {
    drt_error err = {0};
    drt_model *m = NULL;
    drt_tokenizer *tok = NULL;
    check_ok(drt_tokenizer_open(&tok, "tests/golden/data/byte_level", &err));
    // Five rows more than the tokenizer has pieces, as published checkpoints have.
    c->language.vocab = drt_tokenizer_size(tok) + 5;
    c->language.eos = drt_tokenizer_eos(tok);
    c->image_token = c->language.vocab - 1;
    const drt_model_options o = {.order_classes = order_classes, .seed = seed, .permuter = permuter};
    check_ok(drt_model_new(&m, c, &o, &err));
    m->tokenizer = tok;
    drt_rng r;
    drt_rng_init(&r, seed, 99);
    for (int i = 0; i < m->params->n; i++) {
        drt_param *p = m->params->at[i];
        drt_mat v = p->tensor.value;
        for (int64_t k = 0; k < v.rows * v.cols; k++)
            if (p->init != DRT_INIT_CONSTANT || p->group == DRT_ORDER_HEAD)
                ((float *)v.data)[k] = (float)drt_rng_normal(&r) * 1.2f / sqrtf((float)v.cols);
    }
    return m;
}

static drt_model_config llava(void) {
    drt_model_config c = {.kind = DRT_MODEL_LLAVA, .vision = vision, .select_layer = -2, .projector = 2};
    c.language = (drt_decoder_config){.width = 20,
                                      .layers = 2,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .head_size = 6,
                                      .rotary = 6,
                                      .act = DRT_ACT_SILU,
                                      .gated = true,
                                      .ffn = 28,
                                      .positions = TINY_POSITIONS,
                                      .eps = 1e-5f,
                                      .rope_theta = 10000,
                                      .bos = 1,
                                      .pad = 0};
    return c;
}

drt_model *tiny_llava(uint64_t seed, int order_classes) {
    drt_model_config c = llava();
    return open_tiny(&c, seed, order_classes, NULL);
}

drt_model *tiny_gps(uint64_t seed, bool hard) {
    drt_model_config c = llava();
    c.order.order = DRT_INPUT_GPS;
    drt_model *m = open_tiny(&c, seed, 0, &(drt_permuter_shape){.hidden = 16, .layers = 2});
    m->extra.permuter->how.hard = hard;
    m->extra.permuter->how.tau = 0.25f;
    return m;
}

drt_model *tiny_clip(uint64_t seed) {
    drt_model_config c = {.kind = DRT_MODEL_CLIP, .vision = vision};
    c.text = (drt_tower){.family = &drt_clip,
                         .width = 10,
                         .layers = 1,
                         .heads = 2,
                         .ffn = 16,
                         .act = DRT_ACT_QUICK_GELU,
                         .eps = 1e-5f,
                         .joint = 8,
                         .vocab = 700,
                         .positions = 32,
                         .bos = 1,
                         .eos = 2};
    return open_tiny(&c, seed, 0, NULL);
}

float *tiny_pixels(const drt_model *m, int n, uint64_t seed) {
    int64_t size = (int64_t)n * drt_patches(&m->config.vision) * 3 * TINY_PATCH * TINY_PATCH;
    float *x = malloc((size_t)size * sizeof *x);
    drt_rng r;
    drt_rng_init(&r, seed, 5);
    for (int64_t i = 0; i < size; i++) x[i] = (float)drt_rng_normal(&r);
    return x;
}

char *tiny_picture(const char *folder, const char *name, int width, int height, int factor) {
    drt_error err = {0};
    drt_image image;
    char *path = drt_path_join(folder, name);
    check_ok(drt_image_new(&image, width, height, &err));
    for (int i = 0; i < width * height * 3; i++) image.rgb[i] = (uint8_t)(i * 7 * factor % 251);
    check_ok(drt_image_write(&image, path, &err));
    drt_image_free(&image);
    return path;
}
