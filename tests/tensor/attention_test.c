// Rotary positions, varlen attention and the guided mass on the tape: gradients by finite differences.
#include "support/slope.h"

#include <math.h>
#include <string.h>

typedef struct {
    int sequences;
    const int32_t *offsets, *reach, *position;
    const uint8_t *visual;
    int heads, kv_heads, head_size;
    bool out, mass; // what the loss reads
    int layers;     // of the guided loss; 0: the mass is projected
} shape;

static const int32_t offsets[] = {0, 5, 5, 6, 11}, causal[] = {1, 2, 3, 4, 5, 1, 1, 2, 3, 4, 5};
static const int32_t position[] = {0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 9}, blind[] = {0, 0, 2, 2, 5, 0, 1, 1, 1, 3, 5};
static const uint8_t visual[] = {0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0};
static const float weight[] = {0, 0, 0.5f, 1, 2, 0, 0, 1, 1, 3, 0.5f}, other[] = {1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1};

// Angles with which different positions and pairs differ; any table will do.
static drt_mat table(drt_tape *t, int head_size) {
    float *x = drt_tape_alloc(t, 16 * head_size, sizeof *x);
    for (int p = 0; p < 16; p++)
        for (int j = 0; j < head_size / 2; j++) {
            float a = 0.3f * (float)p / (float)(1 + j),
                  c = (1 - a * a / 4) / (1 + a * a / 4); // a point of the unit circle
            x[p * head_size + j] = c;
            x[p * head_size + head_size / 2 + j] = a / (1 + a * a / 4);
        }
    return drt_mat_f32(x, 16, head_size);
}

// One layer from x [rows, (heads + 2 kv_heads) * head_size]; both results, where they are wanted, in one matrix of
// rows.
static drt_tensor *attention(drt_tape *t, drt_tensor *const *leaf, const void *context) {
    const shape *s = context;
    int64_t n = leaf[0]->value.rows, q = s->heads * s->head_size, k = s->kv_heads * s->head_size;
    const drt_attention a = {s->sequences, s->offsets,   s->offsets, s->reach, s->heads,
                             s->kv_heads,  s->head_size, 0.7f,       s->visual, false};
    drt_tensor *term[4], *mass[2] = {NULL, NULL}, *out = NULL;
    int terms = 0;
    for (int l = 0; l < (s->layers ? s->layers : 1); l++) {
        drt_tensor *x = bench_copy(t, leaf[0]);
        if (s->position) drt_rope(t, x, 0, q + k, s->position, table(t, s->head_size), s->head_size);
        drt_tensor *qp = drt_part(t, x, 0, n, 0, q), *kp = drt_part(t, x, 0, n, q, k),
                   *vp = drt_part(t, x, 0, n, q + k, k);
        out = drt_attend(t, &a, NULL, qp, kp, vp, s->visual ? &mass[l] : NULL);
    }
    if (s->out) term[terms++] = bench_project(t, out, 6);
    if (s->mass && !s->layers) term[terms++] = bench_project(t, mass[0], 8);
    if (s->layers == 1) term[terms++] = drt_guided_loss(t, mass, (const float *const[]){weight}, 1);
    // Layers that share their weights share a gradient, to which another reader of the mass adds its own.
    if (s->layers == 2) {
        term[terms++] = bench_project(t, mass[0], 8);
        term[terms++] = drt_guided_loss(t, mass, (const float *const[]){weight, weight}, 2);
        term[terms++] = drt_guided_loss(t, mass, (const float *const[]){other, weight}, 2);
    }
    return drt_total_loss(t, term, (const float[]){1, 2, 0.5f, 1}, NULL, NULL, terms);
}

static void gradients(void **state) {
    (void)state;
    const shape shapes[] = {
        {4, offsets, causal, position, NULL, 3, 1, 4, true, false, 0},  // grouped heads, rotary, an empty sequence
        {4, offsets, NULL, NULL, NULL, 2, 2, 3, true, false, 0},        // everything sees everything, odd head size
        {4, offsets, blind, NULL, NULL, 2, 1, 1, true, false, 0},       // rows that see nothing, heads of one number
        {4, offsets, causal, position, visual, 4, 2, 2, true, true, 0}, // output and mass
        {4, offsets, causal, NULL, visual, 2, 1, 5, false, true, 0},    // only the mass is read
        {4, offsets, causal, NULL, visual, 2, 1, 3, true, false, 0},    // a mass that nobody reads
        {4, offsets, causal, NULL, visual, 2, 2, 3, true, true, 1},     // the guided loss
        {4, offsets, causal, position, visual, 2, 1, 4, true, true, 2}, // two layers, shared gradients
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        int64_t cols = (int64_t)(s->heads + 2 * s->kv_heads) * s->head_size;
        slope_check(&(slope){"attention", 1, {11}, {cols}, attention, s, false, false});
    }
}

// Queries, keys and values that learn apart from each other.
static drt_tensor *three(drt_tape *t, drt_tensor *const *leaf, const void *context) {
    const shape *s = context;
    const drt_attention a = {s->sequences, s->offsets,   s->offsets, s->reach, s->heads,
                             s->kv_heads,  s->head_size, 0.7f,       s->visual, false};
    drt_tensor *mass, *y = drt_attend(t, &a, NULL, leaf[0], leaf[1], leaf[2], &mass);
    drt_tensor *term[] = {bench_project(t, y, 4), bench_project(t, mass, 5)};
    return drt_total_loss(t, term, (const float[]){1, 1}, NULL, NULL, 2);
}

static void apart(void **state) {
    (void)state;
    const shape s = {4, offsets, causal, NULL, visual, 2, 1, 3, true, true, 0};
    slope_check(&(slope){"queries, keys, values", 3, {11, 11, 11}, {6, 3, 3}, three, &s, false, false});
}

// Keys that several sequences have in common: each is a row once, and its gradient the sum over them. The last rows of
// a sequence are its own queries.
static const int32_t key_row[] = {0, 1, 2, 3, 0, 1, 4, 0, 1, 4, 5, 6};
static const int32_t common_keys[] = {0, 4, 4, 7, 12}, common_queries[] = {0, 4, 4, 5, 7};
static const int32_t common_reach[] = {1, 2, 3, 4, 3, 4, 5};
static const uint8_t common_visual[] = {0, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0};

static const drt_attention common = {4, common_queries, common_keys, common_reach, 2, 1, 3, 0.7f, common_visual, false};

static drt_tensor *in_common(drt_tape *t, drt_tensor *const *leaf, const void *context) {
    const bool once = *(const bool *)context;
    drt_tensor *k = leaf[1], *v = leaf[2], *mass;
    if (!once) k = drt_select(t, k, key_row, 12), v = drt_select(t, v, key_row, 12);
    drt_tensor *y = drt_attend(t, &common, once ? key_row : NULL, leaf[0], k, v, &mass);
    drt_tensor *again = drt_attend(t, &common, once ? key_row : NULL, leaf[0], k, v, NULL); // adds to what is there
    drt_tensor *term[] = {bench_project(t, y, 4), bench_project(t, mass, 5), bench_project(t, again, 6)};
    return drt_total_loss(t, term, (const float[]){1, 1, 2}, NULL, NULL, 3);
}

static void common_keys_once(void **state) {
    (void)state;
    for (int once = 0; once < 2; once++)
        slope_check(&(slope){"keys in common", 3, {7, 7, 7}, {6, 3, 3}, in_common, &(bool){once}, false, false});
    // The same numbers as with a row for each key.
    static const char *const devices[] = {"ref", "cpu"};
    for (int d = 0; d < 2; d++) {
        float loss[2], gradient[2][3][7 * 6];
        for (int once = 0; once < 2; once++) {
            bench b;
            bench_open(&b, devices[d]);
            drt_tensor *leaf[3];
            for (int i = 0; i < 3; i++) leaf[i] = bench_leaf(&b, 7, i ? 3 : 6, DRT_PROJECTOR);
            bench_ready(&b, (bool[DRT_GROUPS]){[DRT_PROJECTOR] = true});
            drt_params_zero_grads(b.p);
            drt_tape_begin(b.t, true);
            drt_tensor *l = in_common(b.t, leaf, &(bool){once});
            check(l);
            loss[once] = drt_scalar(l);
            drt_backward(b.t, l);
            for (int i = 0; i < 3; i++) {
                check(leaf[i]->grad.cols == (i ? 3 : 6));
                for (int64_t r = 0; r < 7; r++)
                    memcpy(&gradient[once][i][r * leaf[i]->grad.cols], drt_row(leaf[i]->grad, r),
                           (size_t)leaf[i]->grad.cols * sizeof(float));
            }
            bench_close(&b);
        }
        check(fabsf(loss[0] - loss[1]) <= 1e-6f * fabsf(loss[0]));
        for (int i = 0; i < 3; i++) { // sums of another order: rounding of the largest
            float apart = 0, largest = 0;
            for (int j = 0; j < 7 * (i ? 3 : 6); j++) {
                apart = fmaxf(apart, fabsf(gradient[0][i][j] - gradient[1][i][j]));
                largest = fmaxf(largest, fabsf(gradient[0][i][j]));
            }
            if (apart > 1e-6f * largest) fail_msg("gradient %d: %g of %g apart", i, (double)apart, (double)largest);
        }
    }
}

static void refusals(void **state) {
    (void)state;
    bench b;
    drt_error err = {0};
    bench_open(&b, "ref");
    drt_tensor *x = bench_leaf(&b, 11, 8, DRT_PROJECTOR);
    bench_ready(&b, NULL);
    static const int32_t far[] = {0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 16}, before[] = {0, 1, 2, 3, 4, 0, -1, 1, 2, 3, 4};
    drt_tape_begin(b.t, false);
    drt_rope(b.t, bench_copy(b.t, x), 0, 8, far, table(b.t, 4), 4);
    check_refused(drt_tape_failed(b.t, &err), DRT_EDATA, "row 10 stands at position 16, the model has 16");
    drt_tape_begin(b.t, false);
    drt_rope(b.t, bench_copy(b.t, x), 0, 8, before, table(b.t, 4), 4);
    check_refused(drt_tape_failed(b.t, &err), DRT_EDATA, "position -1");
    drt_tape_begin(b.t, false);
    drt_rope(b.t, bench_copy(b.t, x), 4, 8, position, table(b.t, 4), 4);
    check_refused(drt_tape_failed(b.t, &err), DRT_EARG, "rope");
    const drt_attention a = {4, offsets, offsets, causal, 2, 1, 3, 1, NULL, false};
    drt_tape_begin(b.t, false);
    check(!drt_attend(b.t, &a, NULL, x, x, x, NULL));
    check_refused(drt_tape_failed(b.t, &err), DRT_EARG, "attention");
    static const int32_t beyond[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11};
    const drt_attention fits = {4, offsets, offsets, causal, 1, 1, 8, 1, NULL, false};
    drt_tape_begin(b.t, false);
    drt_attend(b.t, &fits, beyond, x, x, x, NULL);
    check_refused(drt_tape_failed(b.t, &err), DRT_EARG, "source");
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients), cmocka_unit_test(apart),
                                       cmocka_unit_test(common_keys_once), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
