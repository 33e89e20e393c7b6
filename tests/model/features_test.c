// A frozen tower's features of a picture are the same bits whatever stands beside it, and the store that keeps them
// keeps within its bounds and forgets what it should.
#include "support/check.h"
#include "support/tiny_model.h"

#include "base/half.h"
#include "kernels/count.h"
#include "model/features.h"

#include <math.h>
#include <stdlib.h>

// What the tower makes of pictures [first, first + n) of `pixels`, malloc'ed.
static float *features(drt_device *dev, const drt_model *m, float *pixels, int first, int n) {
    drt_error err = {0};
    drt_tape *t = drt_tape_new(dev, &err);
    drt_tape_begin(t, true);
    int64_t size = drt_picture_rows(m, NULL, 1).rows * drt_picture_rows(m, NULL, 1).cols;
    drt_tensor *x = drt_visual_features(t, m, drt_picture_rows(m, pixels + first * size, n), false);
    check_ok(drt_tape_failed(t, &err));
    assert_false(x->needs_grad);
    assert_int_equal(x->value.rows * x->value.cols, n * drt_features_numbers(m));
    float *out = malloc((size_t)(n * drt_features_numbers(m)) * sizeof *out);
    memcpy(out, x->value.data, (size_t)(n * drt_features_numbers(m)) * sizeof *out);
    assert_int_equal(dev->alone, 0);
    drt_tape_free(t);
    return out;
}

static drt_model *llava(int width, int side, bool class_row, drt_keep keep) {
    drt_error err = {0};
    drt_model *m;
    drt_model_config c = {
        .kind = DRT_MODEL_LLAVA, .select_layer = -2, .projector = 1, .image_token = 9, .front = class_row};
    c.vision = (drt_tower){.family = &drt_clip,
                           .width = width,
                           .layers = 3,
                           .heads = 2,
                           .ffn = 2 * width,
                           .act = DRT_ACT_QUICK_GELU,
                           .eps = 1e-5f,
                           .joint = 8,
                           .image = side * 4,
                           .patch = 4};
    c.language = (drt_decoder_config){.width = 16,
                                      .layers = 1,
                                      .heads = 2,
                                      .kv_heads = 2,
                                      .head_size = 8,
                                      .rotary = 8,
                                      .act = DRT_ACT_SILU,
                                      .gated = true,
                                      .ffn = 16,
                                      .vocab = 20,
                                      .positions = 512,
                                      .eps = 1e-5f,
                                      .rope_theta = 10000,
                                      .bos = 1};
    const drt_model_options o = {.seed = 3};
    check_ok(drt_model_declare(&m, &c, &o, &err));
    for (int i = 0; i < m->params->n; i++)
        if (keep == DRT_KEEP_BF16 && m->params->at[i]->tensor.value.rows > 1)
            drt_param_store(m->params->at[i], DRT_BF16, false);
    bool learns[DRT_GROUPS] = {false};
    learns[DRT_PROJECTOR] = true;
    check_ok(drt_params_allocate(m->params, learns, &err));
    drt_rng r;
    drt_rng_init(&r, 1, 2);
    for (int i = 0; i < m->params->n; i++) {
        drt_param *p = m->params->at[i];
        drt_mat v = p->tensor.value;
        for (int64_t k = 0; k < v.rows * v.cols; k++) {
            float x = (float)drt_rng_normal(&r) / sqrtf((float)v.cols);
            if (v.type == DRT_BF16) ((uint16_t *)v.data)[k] = drt_f32_to_bf16(x);
            else ((float *)v.data)[k] = x;
        }
    }
    return m;
}

static void bits(void **state) {
    (void)state;
    enum { N = 5 };
    static const struct {
        int width, side;
        bool class_row;
        drt_keep keep;
    } towers[] = {{16, 2, false, DRT_KEEP_F32},
                  {64, 8, false, DRT_KEEP_F32},
                  {256, 17, true, DRT_KEEP_F32}, // 290 rows: cut among threads
                  {16, 2, false, DRT_KEEP_BF16},
                  {64, 8, true, DRT_KEEP_BF16}};
    drt_error err = {0};
    for (size_t k = 0; k < sizeof towers / sizeof *towers; k++)
        for (int threads = 1; threads <= 4; threads++) {
            drt_device *dev;
            check_ok(drt_device_open(&dev, "cpu", threads, &err));
            drt_model *m = llava(towers[k].width, towers[k].side, towers[k].class_row, towers[k].keep);
            float *pixels = tiny_pixels(m, N, 4), *all = features(dev, m, pixels, 0, N);
            int64_t each = drt_features_numbers(m);
            for (int first = 0; first < N; first++)
                for (int n = 1; first + n <= N; n += 2) {
                    float *some = features(dev, m, pixels, first, n);
                    assert_memory_equal(some, all + first * each, (size_t)(n * each) * sizeof *some);
                    free(some);
                }
            assert_memory_not_equal(all, all + each, (size_t)each * sizeof *all);
            free(pixels), free(all);
            drt_model_close(m);
            drt_device_close(dev);
        }
}

static void arithmetic(void **state) {
    (void)state;
    drt_error err = {0};
    drt_device *dev;
    drt_counter c;
    check_ok(drt_device_open(&dev, "cpu", 1, &err));
    drt_model *m = llava(16, 3, false, DRT_KEEP_F32);
    float *pixels = tiny_pixels(m, 2, 4);
    drt_count_begin(&c, dev);
    free(features(dev, m, pixels, 0, 2));
    assert_true(c.flops == 2 * drt_features_flops(m));
    drt_count_end(&c, dev);
    free(pixels);
    drt_model_close(m);
    drt_device_close(dev);
}

static void store(void **state) {
    (void)state;
    enum { N = 3000, NUMBERS = 16 };
    float rows[NUMBERS];
    drt_features *f = drt_features_new();
    drt_features_open(f, 1, 1 << 20);
    assert_null(drt_features_find(f, 0));
    int kept = 0;
    for (uint64_t i = 0; i < N; i++) {
        for (int k = 0; k < NUMBERS; k++) rows[k] = (float)(i + (uint64_t)k);
        drt_features_keep(f, i << 7, rows, NUMBERS); // keys that fall on few places
        drt_features_keep(f, i << 7, rows, NUMBERS);
    }
    assert_true(drt_features_bytes(f) <= 1 << 20);
    for (uint64_t i = 0; i < N; i++) {
        const float *found = drt_features_find(f, i << 7);
        kept += found != NULL;
        assert_true(!found || (found[0] == (float)i && found[NUMBERS - 1] == (float)(i + NUMBERS - 1)));
    }
    assert_int_equal(kept, N);
    // A run that uses some: the next one finds these, the one after it nothing else. Another tower: nothing.
    drt_features_open(f, 1, 1 << 20);
    for (uint64_t i = 0; i < 10; i++) assert_non_null(drt_features_find(f, i << 7));
    drt_features_open(f, 1, 1 << 20);
    assert_non_null(drt_features_find(f, 9 << 7));
    assert_null(drt_features_find(f, 10 << 7));
    assert_true(drt_features_bytes(f) > 0 && drt_features_bytes(f) < 10 * 200);
    drt_features_open(f, 2, 1000);
    assert_null(drt_features_find(f, 9 << 7));
    assert_int_equal(drt_features_bytes(f), 0);
    kept = 0;
    for (uint64_t i = 0; i < 100; i++) drt_features_keep(f, i, rows, NUMBERS);
    for (uint64_t i = 0; i < 100; i++) kept += drt_features_find(f, i) != NULL;
    assert_true(kept > 0 && drt_features_bytes(f) <= 1000);
    assert_non_null(drt_features_find(f, 0)); // the first stay
    drt_features_free(f);
    drt_features_free(NULL);
}

// Everything that changes what a tower answers changes the tag.
static void tags(void **state) {
    (void)state;
    drt_error err = {0};
    drt_device *dev[2];
    for (int i = 0; i < 2; i++) check_ok(drt_device_open(&dev[i], "cpu", 1 + i, &err));
    drt_model *m = llava(16, 2, false, DRT_KEEP_F32);
    drt_preprocess how = m->preprocess;
    uint64_t tag = drt_features_tag(m, &how, dev[0]);
    assert_true(tag == drt_features_tag(m, &how, dev[0]));
    assert_true(tag != drt_features_tag(m, &how, dev[1]));
    how.aspect = DRT_ASPECT_PAD;
    assert_true(tag != drt_features_tag(m, &how, dev[0]));
    how.aspect = m->preprocess.aspect;
    m->config.select_layer = -1;
    assert_true(tag != drt_features_tag(m, &how, dev[0]));
    m->config.select_layer = -2;
    float *w = m->vision.patch->tensor.value.data;
    w[5] += 1e-6f;
    assert_true(tag != drt_features_tag(m, &how, dev[0]));
    w[5] -= 1e-6f;
    assert_true(drt_features_fit(m));
    m->vision.patch->tensor.needs_grad = true;
    assert_false(drt_features_fit(m));
    drt_model_close(m);
    for (int i = 0; i < 2; i++) drt_device_close(dev[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bits), cmocka_unit_test(arithmetic), cmocka_unit_test(store),
                                       cmocka_unit_test(tags)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
