// What the tape promises beside right gradients: blocks, memory, errors that stick, losses in chunks.
#include "support/slope.h"

#include <math.h>

enum { ROWS = 13, WIDE = 12, LAYERS = 3 };
static const int32_t offsets[] = {0, 6, 13}, reach[] = {1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 7};
static const uint8_t visual[] = {0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0};
static const float weight[] = {0, 0, 0.5f, 1, 2, 0, 0, 1, 1, 3, 0.5f, 1, 1};

// A small network of blocks: norm, attention with its mass, gated layer, residuals.
typedef struct {
    drt_tensor *norm, *qkv, *out, *up, *down;
} layer;

static void block(drt_tape *t, const void *context, drt_tensor *x, drt_tensor **y, drt_tensor **mass) {
    const layer *l = context;
    const drt_attention a = {2, offsets, offsets, reach, 2, 1, 6, 0.4f, visual, false};
    drt_tensor *h = drt_rms_norm(t, x, l->norm, 1e-5f);
    h = drt_linear(t, h, l->qkv, NULL);
    drt_tensor *q = drt_part(t, h, 0, ROWS, 0, 12), *k = drt_part(t, h, 0, ROWS, 12, 6),
               *v = drt_part(t, h, 0, ROWS, 18, 6);
    h = drt_attend(t, &a, NULL, q, k, v, mass);
    x = drt_linear_add(t, h, l->out, NULL, x);
    h = drt_glu(t, DRT_SILU, drt_linear(t, x, l->up, NULL));
    *y = drt_linear_add(t, h, l->down, NULL, x);
}

typedef struct {
    bench b;
    drt_tensor *x;
    layer l[LAYERS];
} net;

static void net_open(net *n, const char *device, const bool *learns) {
    bench_open(&n->b, device);
    n->x = bench_leaf(&n->b, ROWS, WIDE, DRT_PROJECTOR);
    for (int i = 0; i < LAYERS; i++) {
        drt_group g = i == 1 ? DRT_VISION : DRT_LANGUAGE;
        n->l[i] = (layer){bench_leaf(&n->b, 1, WIDE, g), bench_leaf(&n->b, 24, WIDE, g), bench_leaf(&n->b, WIDE, 12, g),
                          bench_leaf(&n->b, 10, WIDE, g), bench_leaf(&n->b, WIDE, 5, g)};
    }
    bench_ready(&n->b, learns);
}

// The loss of `layers` blocks (going round), as they are told to be kept or recomputed.
static drt_tensor *net_run(net *n, bool record, int layers, const bool *recompute) {
    drt_tape *t = n->b.t;
    drt_tensor *mass[64];
    const float *weights[64];
    drt_tape_begin(t, record);
    drt_tensor *x = n->x;
    for (int i = 0; i < layers; i++) {
        const drt_block_shape s = {ROWS, WIDE, ROWS, 2, recompute[i % LAYERS]};
        x = drt_block(t, block, &n->l[i % LAYERS], x, &s, &mass[i]);
        weights[i] = weight;
    }
    drt_tensor *term[] = {bench_project(t, x, 2), drt_guided_loss(t, mass, weights, layers)};
    return drt_total_loss(t, term, (const float[]){1, 3}, NULL, NULL, 2);
}

static void recomputed_blocks(void **state) {
    static const bool kept[LAYERS], all[LAYERS] = {true, true, true}, some[LAYERS] = {false, true, false};
    static const bool everything[DRT_GROUPS] = {[DRT_PROJECTOR] = 1, [DRT_VISION] = 1, [DRT_LANGUAGE] = 1};
    static const bool middle[DRT_GROUPS] = {[DRT_VISION] = 1}, input[DRT_GROUPS] = {[DRT_PROJECTOR] = 1};
    const bool *const choices[] = {everything, middle, input};
    (void)state;
    for (int d = 0; d < 6; d++) {
        net n;
        drt_error err = {0};
        net_open(&n, d % 2 ? "cpu" : "ref", choices[d / 2]);
        size_t bytes = (size_t)n.b.p->learning * sizeof(float);
        float *want = malloc(bytes);
        for (int way = 0; way < 4; way++) { // the last: kept once more, so that the comparison is not of leftovers
            drt_params_zero_grads(n.b.p);
            drt_tensor *loss = net_run(&n, true, LAYERS, way == 1 ? all : way == 2 ? some : kept);
            drt_backward(n.b.t, loss);
            check_ok(drt_tape_failed(n.b.t, &err));
            if (!way) memcpy(want, n.b.p->grads, bytes);
            check(!memcmp(want, n.b.p->grads, bytes));
        }
        double sum = 0;
        for (int64_t i = 0; i < n.b.p->learning; i++) sum += fabs((double)want[i]);
        check(sum > 0);
        free(want);
        bench_close(&n.b);
    }
}

// The most bytes that a step of so many layers holds; backward: the gradients' part too.
static size_t peak(int layers, bool record, bool recompute, bool backward) {
    static const bool learns[DRT_GROUPS] = {[DRT_PROJECTOR] = 1, [DRT_VISION] = 1, [DRT_LANGUAGE] = 1};
    const bool each[LAYERS] = {recompute, recompute, recompute};
    net n;
    drt_error err = {0};
    net_open(&n, "ref", learns);
    drt_tensor *loss = net_run(&n, record, layers, each);
    if (backward) drt_backward(n.b.t, loss);
    check_ok(drt_tape_failed(n.b.t, &err));
    size_t bytes = drt_tape_peak(n.b.t);
    bench_close(&n.b);
    return bytes;
}

static void memory(void **state) {
    (void)state;
    // Gradients come from a pool: their memory does not grow with depth, once kept blocks have gone through.
    size_t few = peak(6, true, false, true) - peak(6, true, false, false);
    size_t many = peak(48, true, false, true) - peak(48, true, false, false);
    check(few > 0 && many == few);
    // Recomputed blocks hold their outputs (and one block at a time); unrecorded ones no more than that.
    double each = (double)(peak(48, true, false, false) - peak(6, true, false, false)) / 42;
    double thin = (double)(peak(48, true, true, true) - peak(6, true, true, true)) / 42;
    double bare = (double)(peak(48, false, false, false) - peak(6, false, false, false)) / 42;
    const double outputs = (ROWS * WIDE + ROWS * 2) * 4;
    check(bare >= outputs && bare < outputs + 1024 && thin >= outputs && thin < outputs + 1280 && each > 3 * thin);
}

// A limit becomes a message that says what to lower; the tape goes on afterwards.
static void memory_out(void **state) {
    static const bool learns[DRT_GROUPS] = {[DRT_PROJECTOR] = 1, [DRT_LANGUAGE] = 1}, kept[LAYERS];
    net n;
    drt_error err = {0};
    (void)state;
    net_open(&n, "ref", learns);
    for (size_t limit = 1 << 10; limit < 1 << 20; limit += limit / 3) { // a failure at many places
        drt_tape *fresh = drt_tape_new(n.b.dev, &err);
        drt_tape *old = n.b.t;
        n.b.t = fresh;
        drt_tape_limit(fresh, limit);
        drt_backward(fresh, net_run(&n, true, 9, kept));
        if (drt_tape_failed(fresh, &err)) check_refused(drt_tape_failed(fresh, &err), DRT_ENOMEM, "lower train.tokens");
        else check(limit > 1 << 15);
        check(limit > 1 << 12 || drt_tape_failed(fresh, NULL));
        drt_tape_limit(fresh, 0);
        drt_backward(fresh, net_run(&n, true, 9, kept));
        check_ok(drt_tape_failed(fresh, &err));
        n.b.t = old;
        drt_tape_free(fresh);
    }
    bench_close(&n.b);
}

// Whatever is wrong is told once, everything after it does nothing, and a new step starts clean.
static void errors_stick(void **state) {
    static const int32_t label[] = {0, 5, 1}, low[] = {0, -100, 1};
    static const float one[] = {1, 1, 1};
    (void)state;
    bench b;
    drt_error err = {0};
    bench_open(&b, "cpu");
    drt_tensor *x = bench_leaf(&b, 3, 4, DRT_PROJECTOR), *w = bench_leaf(&b, 5, 3, DRT_LANGUAGE),
               *v = bench_leaf(&b, 1, 4, DRT_LANGUAGE);
    bench_ready(&b, (const bool[DRT_GROUPS]){[DRT_LANGUAGE] = true, [DRT_PROJECTOR] = true});
    drt_tape *t = b.t;
    for (int k = 0; k < 12; k++) {
        drt_tape_begin(t, true);
        drt_tensor *y = NULL;
        switch (k) {
        case 0: y = drt_linear(t, x, w, NULL); break;
        case 1: y = drt_linear(t, x, x, v); break;
        case 2: y = drt_linear_add(t, x, x, NULL, w); break;
        case 3: y = drt_layer_norm(t, w, v, v, 1e-5f); break;
        case 4: y = drt_rms_norm(t, w, v, 1e-5f); break;
        case 5: y = drt_glu(t, DRT_SILU, w); break;
        case 6: y = drt_part(t, x, 1, 3, 0, 4); break;
        case 7: y = drt_gather(t, 3, 5, true, &(drt_rows){x, NULL, NULL, NULL, 3}, 1); break;
        case 8: y = drt_linear_cross_entropy(t, x, v, NULL, label, one, NULL, NULL); break; // one class
        case 9: y = drt_linear_cross_entropy(t, x, x, NULL, low, one, NULL, NULL); break;
        case 10: y = drt_contrastive_loss(t, x, w, v, NULL); break;
        case 11: drt_backward(t, bench_copy(t, x)); break;
        }
        check(!y);
        drt_status first = drt_tape_failed(t, &err);
        check(first == (k == 8 || k == 9 ? DRT_EDATA : DRT_EARG));
        char told[sizeof err.text];
        strcpy(told, err.text);
        check(!drt_linear(t, x, x, NULL) && !drt_activate(t, DRT_SILU, x) && !bench_copy(t, x) &&
              !drt_tape_alloc(t, 1, 1));
        check(!drt_total_loss(t, &x, one, NULL, NULL, 1) && !drt_guided_loss(t, &x, &(const float *){one}, 1));
        drt_backward(t, x);
        drt_tape_fail(t, DRT_EIO, "later");
        drt_tape_failed(t, &err);
        check(!strcmp(told, err.text));
    }
    drt_tape_begin(t, true);
    check_ok(drt_tape_failed(t, &err));
    // NULL goes through every operation without a crash, and rows may be none.
    check(!drt_linear(t, NULL, w, NULL) && !drt_part(t, NULL, 0, 0, 0, 0) && !drt_select(t, NULL, NULL, 0) &&
          !drt_unit_rows(t, NULL));
    drt_tensor *none = drt_select(t, x, label, 0), *y = drt_rms_norm(t, none, v, 1e-5f);
    y = drt_activate(t, DRT_GELU, drt_linear(t, y, x, NULL));
    drt_tensor *loss = drt_linear_cross_entropy(t, drt_select(t, x, label, 0), x, NULL, label, one, NULL, NULL);
    check(y && y->value.rows == 0 && loss && drt_scalar(loss) == 0);
    drt_backward(t, loss);
    check_ok(drt_tape_failed(t, &err));
    bench_close(&b);
}

// More logits than one chunk holds: the same loss, row losses, hits and gradients as of parts that fit in one.
static void chunks(void **state) {
    enum { N = 301, CLASSES = 112001, D = 5 };
    static int32_t label[N];
    static float weights[N], rows[2][N], hits[2][N];
    (void)state;
    for (int i = 0; i < N; i++) label[i] = i * 2711 % CLASSES, weights[i] = (float)(i % 7) / 3;
    for (int learns = 0; learns < 3; learns++) {
        bench b;
        drt_error err = {0};
        bench_open(&b, "cpu"); // what a chunk is does not depend on the device, and ref would take its time
        drt_tensor *x = bench_leaf(&b, N, D, DRT_PROJECTOR), *w = bench_leaf(&b, CLASSES, D, DRT_LANGUAGE),
                   *bias = bench_leaf(&b, 1, CLASSES, DRT_VISION);
        bench_ready(&b, (const bool[DRT_GROUPS]){
                            [DRT_PROJECTOR] = learns != 1, [DRT_LANGUAGE] = learns != 2, [DRT_VISION] = learns == 0});
        float *first = malloc((size_t)b.p->learning * sizeof *first);
        double loss[2];
        for (int way = 0; way < 2; way++) {
            drt_params_zero_grads(b.p);
            drt_tape_begin(b.t, true);
            drt_tensor *h = bench_copy(b.t, x), *y;
            if (way == 0) y = drt_linear_cross_entropy(b.t, h, w, bias, label, weights, rows[0], hits[0]);
            else {
                drt_tensor *p = drt_part(b.t, h, 0, 150, 0, D), *q = drt_part(b.t, h, 150, N - 150, 0, D);
                drt_tensor *term[] = {drt_linear_cross_entropy(b.t, p, w, bias, label, weights, rows[1], hits[1]),
                                      drt_linear_cross_entropy(b.t, q, w, bias, label + 150, weights + 150,
                                                               rows[1] + 150, hits[1] + 150)};
                y = drt_total_loss(b.t, term, (const float[]){1, 1}, NULL, NULL, 2);
            }
            drt_backward(b.t, y);
            check_ok(drt_tape_failed(b.t, &err));
            loss[way] = drt_scalar(y);
            if (!way) memcpy(first, b.p->grads, (size_t)b.p->learning * sizeof *first);
        }
        // Both are sums of the same N terms in another grouping: 2^-24 a rounding, sqrt(N) of them, and a factor of 16.
        const double tolerance = 16 * ldexp(1, -24) * sqrt(N);
        double gap = 0, size = 0;
        for (int64_t i = 0; i < b.p->learning; i++) {
            gap += pow((double)first[i] - b.p->grads[i], 2);
            size += pow((double)first[i], 2);
        }
        check(size > 0 && sqrt(gap / size) <= tolerance);
        check(fabs(loss[0] - loss[1]) <= tolerance * fabs(loss[0]));
        for (int i = 0; i < N; i++)
            check(fabs((double)rows[0][i] - rows[1][i]) <= tolerance * 16 && hits[0][i] == hits[1][i]);
        free(first);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recomputed_blocks), cmocka_unit_test(memory), cmocka_unit_test(memory_out),
        cmocka_unit_test(errors_stick),      cmocka_unit_test(chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
