#include "support/slope.h"

#include <math.h>

void bench_open(bench *b, const char *device) {
    drt_error err = {0};
    memset(b, 0, sizeof *b);
    check_ok(drt_device_open(&b->dev, device, 1, &err));
    b->t = drt_tape_new(b->dev, &err);
    b->p = drt_params_new();
    check(b->t && b->p);
}

drt_tensor *bench_leaf(bench *b, int64_t rows, int64_t cols, drt_group group) {
    drt_param *p = drt_param_add(b->p, group, rows, cols, DRT_INIT_NORMAL, 1);
    check(p != NULL);
    return &p->tensor;
}

void bench_ready(bench *b, const bool *learns) {
    drt_error err = {0};
    check_ok(drt_params_allocate(b->p, learns, &err));
    for (int g = 0; g < DRT_GROUPS; g++) drt_params_init(b->p, (drt_group)g, 5);
}

void bench_close(bench *b) {
    drt_params_free(b->p);
    drt_tape_free(b->t);
    drt_device_close(b->dev);
}

drt_tensor *bench_copy(drt_tape *t, drt_tensor *x) {
    return x ? drt_gather(t, x->value.rows, x->value.cols, true, &(drt_rows){x, NULL, NULL, NULL, x->value.rows}, 1)
             : NULL;
}

// Factors of the projection, away from 0 so that every element counts.
static float *factors(drt_tape *t, int64_t n, uint64_t seed) {
    float *x = drt_tape_alloc(t, n, sizeof *x);
    drt_rng r;
    drt_rng_init(&r, seed, 77);
    for (int64_t i = 0; x && i < n; i++) x[i] = (float)((drt_rng_below(&r, 2) ? 1 : -1) * (0.5 + drt_rng_uniform(&r)));
    return x;
}

drt_tensor *bench_project(drt_tape *t, drt_tensor *y, uint64_t seed) {
    if (!y) return NULL;
    int64_t n = y->value.rows, c = y->value.cols;
    float *row = factors(t, n, seed), *col = factors(t, c, seed + 1);
    int32_t *zero = drt_tape_alloc(t, n, sizeof *zero);
    if (!row || !col || !zero) return NULL;
    drt_tensor *sum = drt_gather(t, 1, c, false, &(drt_rows){y, zero, NULL, row, n}, 1);
    return drt_linear(t, sum, drt_tensor_wrap(t, drt_mat_f32(col, 1, c), false), NULL);
}

// Loss of one step; *size: S of the header.
static double forward(bench *b, const slope *s, drt_tensor *const *leaf, bool record, drt_tensor **loss, double *size) {
    drt_error err = {0};
    drt_tape_begin(b->t, record);
    drt_tensor *y = s->build(b->t, leaf, s->context), *l = y;
    if (y && (y->value.rows != 1 || y->value.cols != 1)) l = bench_project(b->t, y, 3);
    check_ok(drt_tape_failed(b->t, &err));
    check(l != NULL);
    double sum = fabs(drt_scalar(l));
    for (int64_t r = 0; l != y && r < y->value.rows; r++)
        for (int64_t c = 0; c < y->value.cols; c++) sum += fabs((double)drt_row(y->value, r)[c]);
    if (size) *size = sum > 1 ? sum : 1;
    if (loss) *loss = l;
    return drt_scalar(l);
}

static float *values(const drt_tensor *x) { return x->value.data; }
static int64_t count(const drt_tensor *x) { return x->value.rows * x->value.cols; }

static double at(bench *b, const slope *s, drt_tensor *const *leaf, drt_tensor *x, const float *from, const double *d,
                 double h) {
    for (int64_t i = 0; i < count(x); i++) values(x)[i] = (float)(from[i] + h * d[i]);
    double y = forward(b, s, leaf, false, NULL, NULL);
    memcpy(values(x), from, (size_t)count(x) * sizeof *from);
    return y;
}

// How far <gradient, d> is from the derivative along d, in tolerances, and how far gradients a tenth larger and of zero
// are.
static void along(bench *b, const slope *s, drt_tensor *const *leaf, drt_tensor *x, double size, drt_rng *r,
                  double *worst, double *tenth, double *zero) {
    const double h = 1.0 / 32, tolerance = 32 * ldexp(1, -24) * size / h;
    double *d = calloc((size_t)count(x), sizeof *d), norm = 0, inner = 0;
    float *from = malloc((size_t)count(x) * sizeof *from);
    memcpy(from, values(x), (size_t)count(x) * sizeof *from);
    for (int64_t i = 0; i < count(x); i++) d[i] = drt_rng_normal(r);
    for (int64_t i = 0; i < count(x); i++) norm += d[i] * d[i];
    for (int64_t i = 0; i < count(x); i++) {
        d[i] /= sqrt(norm);
        inner += (double)((float *)x->grad.data)[i] * d[i];
    }
    double one = (at(b, s, leaf, x, from, d, h) - at(b, s, leaf, x, from, d, -h)) / (2 * h);
    double two = (at(b, s, leaf, x, from, d, 2 * h) - at(b, s, leaf, x, from, d, -2 * h)) / (4 * h);
    double slope = (4 * one - two) / 3;
    *worst = fmax(*worst, fabs(inner - slope) / tolerance);
    *tenth = fmax(*tenth, fabs(1.1 * inner - slope) / tolerance);
    *zero = fmax(*zero, fabs(slope) / tolerance);
    free(d);
    free(from);
}

static void fill(const slope *s, drt_tensor *const *leaf) {
    drt_rng r;
    drt_rng_init(&r, 9, 1);
    for (int k = 0; k < s->leaves; k++)
        for (int64_t i = 0; i < count(leaf[k]); i++) {
            double x = drt_rng_normal(&r);
            values(leaf[k])[i] = (float)(s->away ? x + (x < 0 ? -0.5 : 0.5) : x);
        }
}

static void open_with(bench *b, const slope *s, const char *device, unsigned learning, drt_tensor **leaf) {
    bool learns[DRT_GROUPS] = {0};
    bench_open(b, device);
    for (int k = 0; k < s->leaves; k++) {
        leaf[k] = bench_leaf(b, s->rows[k], s->cols[k], (drt_group)k);
        learns[k] = learning >> k & 1;
    }
    bench_ready(b, learns);
    fill(s, leaf);
}

static void backward(bench *b, const slope *s, drt_tensor *const *leaf, double *size) {
    drt_error err = {0};
    drt_tensor *loss;
    drt_params_zero_grads(b->p);
    forward(b, s, leaf, true, &loss, size);
    drt_backward(b->t, loss);
    check_ok(drt_tape_failed(b->t, &err));
}

// Every choice of frozen leaves gives the learning ones the same bits.
static void frozen(const slope *s, const char *device, drt_tensor *const *leaf) {
    for (unsigned mask = 0; mask + 1 < 1u << s->leaves; mask++) {
        bench b;
        drt_tensor *own[SLOPE_LEAVES], *loss;
        open_with(&b, s, device, mask, own);
        backward(&b, s, own, NULL);
        for (int k = 0; k < s->leaves; k++) {
            check(!memcmp(values(own[k]), values(leaf[k]), (size_t)count(leaf[k]) * sizeof(float)));
            if (!(mask >> k & 1)) check(!own[k]->grad.data && !own[k]->needs_grad);
            else if (memcmp(own[k]->grad.data, leaf[k]->grad.data, (size_t)count(leaf[k]) * sizeof(float)))
                fail_msg("%s on %s: leaf %d has another gradient when the leaves %x learn", s->name, device, k, mask);
        }
        forward(&b, s, own, true, &loss, NULL);
        check(loss->needs_grad == (mask != 0));
        bench_close(&b);
    }
}

void slope_check(const slope *s) {
    static const char *const devices[] = {"ref", "cpu"};
    for (int i = 0; i < 2; i++) {
        bench b;
        drt_tensor *leaf[SLOPE_LEAVES];
        double size;
        drt_rng r;
        open_with(&b, s, devices[i], (1u << s->leaves) - 1, leaf);
        backward(&b, s, leaf, &size);
        drt_rng_init(&r, 4, 4);
        for (int k = 0; k < s->leaves; k++) {
            double worst = 0, tenth = 0, zero = 0;
            for (int n = 0; n < 4; n++) along(&b, s, leaf, leaf[k], size, &r, &worst, &tenth, &zero);
            if (worst > 1) fail_msg("%s on %s, leaf %d: %.2f tolerances apart", s->name, devices[i], k, worst);
            if (!s->flat && (tenth <= 1 || zero <= 1))
                fail_msg("%s on %s, leaf %d: a wrong gradient would pass (%.2f, %.2f)", s->name, devices[i], k, tenth,
                         zero);
        }
        backward(&b, s, leaf, &size); // `along` has used the tape; these are the bits that `frozen` compares
        frozen(s, devices[i], leaf);
        bench_close(&b);
    }
}
