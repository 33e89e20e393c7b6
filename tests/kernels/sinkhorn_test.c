// Sinkhorn's normalisation and both of its gradients.
#include "support/check.h"
#include "support/kernel_check.h"

#include <math.h>

// p = n, sweeps, pad, kind of scores, tolerance given, acc, implicit
enum { PLAIN, CLAMPED /* deviation 12, in +-15 */, FAR /* around 10000 */, WIDE /* deviation 100 */, KINDS };

static void shape_scores(drt_device *dev, kcase *c) {
    (void)dev;
    for (int r = 0; r < c->p[0] && !c->golden; r++)
        for (int i = 0; i < c->p[0]; i++) {
            float *x = drt_row(M(c, 0), r) + i;
            if (c->p[3] == CLAMPED) *x = fminf(fmaxf(*x * 12, -15), 15);
            if (c->p[3] == FAR) *x += 10000;
            if (c->p[3] == WIDE) *x *= 100;
        }
}
static drt_sinkhorn how(const kcase *c) { return (drt_sinkhorn){c->p[1], c->p[4] ? 1e-6f : 0, c->p[6]}; }
static bool fewer_sweeps(kcase *c) { return c->p[1] > 1 && c->p[0] > 1 && !c->p[4] ? c->p[1]--, true : false; }
static bool transposed(kcase *c) {
    drt_mat s = M(c, 0), t = kmat_zeros(c, s.rows, s.rows);
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t i = 0; i < s.rows; i++) drt_row(t, i)[r] = drt_row(s, r)[i];
    return M(c, 0) = t, s.rows > 1;
}

enum { S_S, S_P, S_TRACE };
static void sinkhorn_build(kcase *c) {
    int n = c->p[0];
    c->pad = c->p[2];
    karg_in(c, "s", n, n);
    karg_out(c, "plan", n, n, n);
    karg_work(c, "trace", 2 * c->p[1], n);
}
// e^(s + f + g) has the error of the sum.
static void sinkhorn_prepare(drt_device *dev, kcase *c) {
    shape_scores(dev, c);
    c->arg[S_P].partial = fmax(1, kmat_most(M(c, S_S)));
}
static void sinkhorn_run(drt_device *dev, kcase *c) {
    int done;
    drt_sinkhorn h = how(c);
    M(c, S_TRACE).rows = 2 * h.sweeps;
    dev->k->sinkhorn(dev, &h, M(c, S_S), M(c, S_P), M(c, S_TRACE), &done);
}
static bool sinkhorn_sweep(int i, int p[K_PARAMS]) {
    static const int side[] = {1, 7, 13, 16, 17, 31, 33, 64, 67}, sweeps[] = {1, 2, 5};
    const int *const axis[] = {side, sweeps};
    const int length[] = {9, 3}, n = 27;
    p[2] = 3 * kchance(i, 0, 2), p[3] = i / n, p[4] = kchance(i, 1, 2), p[5] = kchance(i, 2, 2);
    bool more = i < n * KINDS && kgrid(i % n, p, 2, axis, length);
    if (p[0] < 20 && p[1] == 5) p[1] = 50;
    return more;
}
static const kwrong sinkhorn_wrong[] = {fewer_sweeps, transposed, NULL};
static const ktest sinkhorn = {.name = "sinkhorn",
                               .golden = true,
                               .build = sinkhorn_build,
                               .prepare = sinkhorn_prepare,
                               .run = sinkhorn_run,
                               .sweep = sinkhorn_sweep,
                               .wrong = sinkhorn_wrong};

enum { B_S, B_P, B_TRACE, B_DP, B_DS, B_WORK, B_TRACE_WORK };
static void back_build(kcase *c) {
    int n = c->p[0];
    c->pad = c->p[2], c->acc = c->p[5];
    karg_in(c, "s", n, n);
    karg_later(c, "plan", n, n);
    karg_later(c, "trace", 2 * c->p[1], n);
    karg_in(c, "dp", n, n);
    karg_acc(c, "ds", n, n, n);
    karg_work(c, "plan of the loss", n, n);
    karg_work(c, "trace of the loss", 2 * c->p[1], n);
}
static void back_prepare(drt_device *dev, kcase *c) {
    drt_sinkhorn h = how(c);
    int done;
    shape_scores(dev, c);
    dev->k->fill(dev, M(c, B_TRACE), 0);
    dev->k->sinkhorn(dev, &h, M(c, B_S), M(c, B_P), M(c, B_TRACE), &done);
    c->head_size = done;
    // Weights have the error of the exponent.
    c->arg[B_DS].partial = c->p[3] == CLAMPED || c->p[3] == WIDE ? kmat_most(M(c, B_S)) : 1;
}
static void back_run(drt_device *dev, kcase *c) {
    drt_sinkhorn h = how(c);
    dev->k->sinkhorn_back(dev, &h, M(c, B_S), M(c, B_P), M(c, B_TRACE), c->head_size, M(c, B_DP), c->acc, M(c, B_DS));
}
static double back_loss(drt_device *dev, kcase *c) {
    drt_sinkhorn h = how(c);
    int done;
    dev->k->sinkhorn(dev, &h, M(c, B_S), M(c, B_WORK), M(c, B_TRACE_WORK), &done);
    return kmat_dot(M(c, B_WORK), M(c, B_DP));
}
static bool back_slopes(int i, int p[K_PARAMS]) {
    static const int shape[][2] = {{4, 1}, {5, 2}, {7, 3}, {3, 40}};
    memcpy(p, shape[i % 4], sizeof shape[0]);
    p[6] = i == 3;
    return i < 4;
}
static bool wrong_acc(kcase *c) { return c->acc = !c->acc, true; }
static bool no_normalisation(kcase *c) { // ds = dp p
    if (c->p[6]) return false;
    return c->head_size ? c->head_size = 0, true : false;
}
static const kwrong back_wrong[] = {wrong_acc, no_normalisation, NULL};
static const ktest sinkhorn_back = {.name = "sinkhorn_back",
                                    .golden = true,
                                    .build = back_build,
                                    .prepare = back_prepare,
                                    .run = back_run,
                                    .sweep = sinkhorn_sweep,
                                    .loss = back_loss,
                                    .slope_case = back_slopes,
                                    .slopes = 1,
                                    .slope = {{B_S, B_DS}},
                                    .wrong = back_wrong};

// The gradient of the fixed point, from plans that have reached it.
static bool implicit_sweep(int i, int p[K_PARAMS]) {
    static const int side[] = {1, 7, 16, 17, 33, 65};
    const int *const axis[] = {side};
    const int length[] = {6};
    p[1] = 60, p[2] = 3 * kchance(i, 0, 2), p[5] = kchance(i, 1, 2), p[6] = 1;
    return kgrid(i, p, 1, axis, length);
}
static const kwrong implicit_wrong[] = {wrong_acc, NULL};
static const ktest sinkhorn_implicit = {.name = "sinkhorn_implicit",
                                        .golden = true,
                                        .build = back_build,
                                        .prepare = back_prepare,
                                        .run = back_run,
                                        .sweep = implicit_sweep,
                                        .wrong = implicit_wrong};

// Scores that plain exponentials overflow on: rows and columns sum to 1, and the two gradients agree there.
static void large(void **state) {
    const kdevices *devices = *state;
    enum { N = 300, SWEEPS = 200 };
    float *x = malloc(sizeof(float) * N * (5 * N + 2 * SWEEPS));
    assert_non_null(x);
    drt_mat s = drt_mat_f32(x, N, N), p = drt_mat_f32(x + N * N, N, N), dp = drt_mat_f32(x + 2 * N * N, N, N),
            ds = drt_mat_f32(x + 3 * N * N, N, N), other = drt_mat_f32(x + 4 * N * N, N, N),
            trace = drt_mat_f32(x + 5 * N * N, 2 * SWEEPS, N);
    drt_rng r;
    drt_rng_init(&r, 11, 0);
    for (int i = 0; i < N * N; i++) x[i] = (float)(1000 + 2 * drt_rng_normal(&r));
    for (int i = 0; i < N * N; i++) x[2 * N * N + i] = (float)drt_rng_normal(&r);
    for (int d = 1; d < devices->count; d++) {
        drt_device *dev = devices->at[d].dev;
        drt_sinkhorn h = {SWEEPS, 1e-6f, false};
        int done;
        dev->k->sinkhorn(dev, &h, s, p, trace, &done);
        check(done > 1 && done < SWEEPS); // stopped early
        // What rows may be off by when it stops, and the sums of N terms in four lanes or more that u and v come from.
        const double off = h.tolerance + rounding_tolerance(DRT_F32, N / 4);
        for (int i = 0; i < N; i++) {
            double row = 0, column = 0;
            for (int k = 0; k < N; k++) row += drt_row(p, i)[k], column += drt_row(p, k)[i];
            assert_float_equal(row, 1, off);
            assert_float_equal(column, 1, off);
        }
        dev->k->sinkhorn_back(dev, &h, s, p, trace, done, dp, false, ds);
        h.implicit = true;
        dev->k->sinkhorn_back(dev, &h, s, p, trace, done, dp, false, other);
        double apart = 0, size = 0;
        for (int i = 0; i < N * N; i++) {
            double a = ((float *)ds.data)[i], b = ((float *)other.data)[i];
            apart += (a - b) * (a - b), size += a * a;
        }
        // Each sweep that is unrolled brings its own error, and what comes before the first is a tolerance away.
        check(size > 0 && sqrt(apart / size) < (done + 1) * off);
        print_message("%d sweeps, gradients %.1e apart, %.1e allowed\n", done, sqrt(apart / size), (done + 1) * off);
        check(!dev->error.code);
    }
    free(x);
}

static void refused(void **state) {
    const kdevices *devices = *state;
    float x[12] = {0};
    int done;
    for (int i = 0; i < 2; i++) {
        drt_device *dev = devices->at[i].dev;
        const drt_sinkhorn h = {5, 0, false};
        dev->k->sinkhorn(dev, &h, drt_mat_f32(x, 2, 3), drt_mat_f32(x + 6, 2, 3), (drt_mat){0}, &done);
        check(dev->error.code == DRT_EARG);
        dev->error.code = 0;
    }
}

int main(void) {
    static const ktest *const tests[] = {&sinkhorn, &sinkhorn_back, &sinkhorn_implicit};
    const struct CMUnitTest extra[] = {cmocka_unit_test(large), cmocka_unit_test(refused)};
    return kernel_suite("sinkhorn", tests, sizeof tests / sizeof *tests, extra, 2);
}
