// Row normalisations: layer_norm, rms_norm, unit_rows and their gradients. p = rows, cols, acc, pad, kind of input
// (SPREAD), outputs left out (bits)
#include "support/check.h"
#include "support/kernel_check.h"

#include <math.h>

static const float EPS = 1e-5f; // tools/golden_kernels.py

enum { PLAIN, FAR_FROM_ZERO /* mean 30 */, SMALL /* 1e-3 */, VANISHING /* rows of 0 and of 3e-13 */, SPREADS };

static void spread(drt_device *dev, kcase *c) {
    (void)dev;
    drt_mat x = M(c, 0);
    if (c->golden) return;
    for (int64_t r = 0; r < x.rows; r++) {
        for (int64_t i = 0; i < x.cols; i++) {
            if (c->p[4] == FAR_FROM_ZERO) drt_row(x, r)[i] += 30;
            if (c->p[4] == SMALL) drt_row(x, r)[i] *= 1e-3f;
            if (c->p[4] == VANISHING && r % 3 < 2) drt_row(x, r)[i] *= r % 3 ? 3e-13f / sqrtf((float)x.cols) : 0;
        }
    }
}

static bool sweep(int i, int p[K_PARAMS]) {
    static const int rows[] = {0, 1, 2, 7, 33, 129};
    const int *const axis[] = {rows, K_EDGES};
    const int length[] = {6, 15};
    int n = 6 * 15;
    p[2] = kchance(i, 0, 2), p[3] = kchance(i, 1, 3), p[4] = i / n, p[5] = kchance(i, 2, 3) ? 0 : 1 + kchance(i, 3, 7);
    return i / n < SPREADS && kgrid(i % n, p, 2, axis, length);
}
static bool slope_cases(int i, int p[K_PARAMS]) {
    static const int shape[][2] = {{3, 7}, {1, 16}, {5, 9}};
    memcpy(p, shape[i % 3], sizeof shape[0]);
    return i < 3;
}
static bool wrong_acc(kcase *c) { return c->acc = !c->acc, true; }
static bool other_eps(kcase *c) { return c->number *= 100, true; }

// ---- layer_norm

enum { N_X, N_W, N_B, N_Y, N_STAT };
static void layer_norm_build(kcase *c) {
    int rows = c->p[0], cols = c->p[1];
    c->pad = c->p[3], c->number = EPS;
    karg_in(c, "x", rows, cols);
    karg_in(c, "w", 1, cols);
    karg_in(c, "b", 1, cols);
    karg *y = karg_out(c, "y", rows, cols, cols), *stat = karg_out(c, "stat", rows, 2, cols);
    if (c->p[5] & 1) karg_drop(stat);
    if (c->p[5] == 2) karg_drop(y);
}
static void layer_norm_run(drt_device *dev, kcase *c) {
    dev->k->layer_norm(dev, M(c, N_X), M(c, N_W), M(c, N_B), c->number, M(c, N_Y), M(c, N_STAT));
}
// An error of x, relative to the largest x, arrives in y times rstd.
static void layer_norm_prepare(drt_device *dev, kcase *c) {
    spread(dev, c);
    double rstd = 1 / sqrt(EPS), most = kmat_most(M(c, N_X));
    if (c->p[1] > 1) rstd = fmin(rstd, c->p[4] == SMALL ? 1e3 : 2);
    c->arg[N_Y].partial = fmax(1, most * rstd * kmat_most(M(c, N_W)));
}
static bool no_bias(kcase *c) {
    M(c, N_B) = kmat_zeros(c, 1, c->p[1]);
    return true;
}
static const kwrong layer_norm_wrong[] = {other_eps, no_bias, NULL};
static const ktest layer_norm = {.name = "layer_norm",
                                 .golden = true,
                                 .build = layer_norm_build,
                                 .prepare = layer_norm_prepare,
                                 .run = layer_norm_run,
                                 .sweep = sweep,
                                 .wrong = layer_norm_wrong};

enum { B_X, B_W, B_STAT, B_DY, B_DX, B_DW, B_DB, B_WORK, B_BIAS };
static void layer_norm_back_build(kcase *c) {
    int rows = c->p[0], cols = c->p[1];
    c->acc = c->p[2], c->pad = c->p[3], c->number = EPS;
    karg_in(c, "x", rows, cols);
    karg_in(c, "w", 1, cols);
    karg_later(c, "stat", rows, 2);
    karg_in(c, "dy", rows, cols);
    karg *dx = karg_acc(c, "dx", rows, cols, cols), *dw = karg_sum(karg_add(c, "dw", 1, cols, rows));
    karg *db = karg_sum(karg_add(c, "db", 1, cols, rows));
    if (c->p[5] & 1) karg_drop(dx);
    if (c->p[5] & 2) karg_drop(dw);
    if (c->p[5] & 4) karg_drop(db);
    karg_work(c, "y", rows, cols);
    karg_later(c, "b", 1, cols)->raw = true;
}
// x^ carries the error of x times rstd; dx has another rstd.
static void layer_norm_back_prepare(drt_device *dev, kcase *c) {
    spread(dev, c);
    dev->k->fill(dev, M(c, B_BIAS), 0);
    dev->k->layer_norm(dev, M(c, B_X), M(c, B_W), M(c, B_BIAS), EPS, M(c, B_WORK), M(c, B_STAT));
    double rstd = 0, most = kmat_most(M(c, B_X));
    for (int r = 0; r < c->p[0]; r++) rstd = fmax(rstd, drt_row(M(c, B_STAT), r)[1]);
    c->arg[B_DX].partial = fmax(1, rstd * fmax(1, most * rstd));
    c->arg[B_DW].partial *= fmax(1, most * rstd);
}
static void layer_norm_back_run(drt_device *dev, kcase *c) {
    dev->k->layer_norm_back(dev, M(c, B_X), M(c, B_W), M(c, B_STAT), M(c, B_DY), c->acc, M(c, B_DX), M(c, B_DW),
                            M(c, B_DB));
}
static double layer_norm_loss(drt_device *dev, kcase *c) {
    dev->k->layer_norm(dev, M(c, B_X), M(c, B_W), M(c, B_BIAS), EPS, M(c, B_WORK), (drt_mat){0});
    return kmat_dot(M(c, B_WORK), M(c, B_DY));
}
static bool doubled_weight(kcase *c) {
    float *w = kcase_alloc(c, (size_t)c->p[1] * sizeof *w);
    for (int i = 0; i < c->p[1]; i++) w[i] = 2 * drt_row(M(c, B_W), 0)[i];
    M(c, B_W) = drt_mat_f32(w, 1, c->p[1]);
    return true;
}
static bool last_row_missing(kcase *c) { return c->p[0] > 0 && M(c, B_X).rows--; }
static const kwrong norm_back_wrong[] = {wrong_acc, doubled_weight, last_row_missing, NULL};
static const ktest layer_norm_back = {.name = "layer_norm_back",
                                      .golden = true,
                                      .build = layer_norm_back_build,
                                      .prepare = layer_norm_back_prepare,
                                      .run = layer_norm_back_run,
                                      .sweep = sweep,
                                      .loss = layer_norm_loss,
                                      .slope_case = slope_cases,
                                      .slopes = 3,
                                      .slope = {{B_X, B_DX}, {B_W, B_DW}, {B_BIAS, B_DB}},
                                      .wrong = norm_back_wrong};

// ---- rms_norm

enum { R_X, R_W, R_Y, R_STAT };
static void rms_norm_build(kcase *c) {
    int rows = c->p[0], cols = c->p[1];
    c->pad = c->p[3], c->number = EPS;
    karg_in(c, "x", rows, cols);
    karg_in(c, "w", 1, cols);
    karg *y = karg_out(c, "y", rows, cols, cols), *stat = karg_out(c, "stat", rows, 1, cols);
    if (c->p[5] & 1) karg_drop(stat);
    if (c->p[5] == 2) karg_drop(y);
}
static void rms_norm_run(drt_device *dev, kcase *c) {
    dev->k->rms_norm(dev, M(c, R_X), M(c, R_W), c->number, M(c, R_Y), M(c, R_STAT));
}
static const kwrong rms_norm_wrong[] = {other_eps, NULL};
static const ktest rms_norm = {.name = "rms_norm",
                               .golden = true,
                               .build = rms_norm_build,
                               .prepare = spread,
                               .run = rms_norm_run,
                               .sweep = sweep,
                               .wrong = rms_norm_wrong};

static void rms_norm_back_build(kcase *c) {
    int rows = c->p[0], cols = c->p[1];
    c->acc = c->p[2], c->pad = c->p[3], c->number = EPS;
    karg_in(c, "x", rows, cols);
    karg_in(c, "w", 1, cols);
    karg_later(c, "stat", rows, 1);
    karg_in(c, "dy", rows, cols);
    karg *dx = karg_acc(c, "dx", rows, cols, cols), *dw = karg_sum(karg_add(c, "dw", 1, cols, rows));
    if (c->p[5] & 1) karg_drop(dx);
    if (c->p[5] & 2) karg_drop(dw);
    karg_none(c, "db");
    karg_work(c, "y", rows, cols);
}
static void rms_norm_back_prepare(drt_device *dev, kcase *c) {
    spread(dev, c);
    dev->k->rms_norm(dev, M(c, B_X), M(c, B_W), EPS, M(c, B_WORK), M(c, B_STAT));
    c->arg[B_DX].partial = fmax(1, kmat_most(M(c, B_STAT)));
}
static void rms_norm_back_run(drt_device *dev, kcase *c) {
    dev->k->rms_norm_back(dev, M(c, B_X), M(c, B_W), M(c, B_STAT), M(c, B_DY), c->acc, M(c, B_DX), M(c, B_DW));
}
static double rms_norm_loss(drt_device *dev, kcase *c) {
    dev->k->rms_norm(dev, M(c, B_X), M(c, B_W), EPS, M(c, B_WORK), (drt_mat){0});
    return kmat_dot(M(c, B_WORK), M(c, B_DY));
}
static const ktest rms_norm_back = {.name = "rms_norm_back",
                                    .golden = true,
                                    .build = rms_norm_back_build,
                                    .prepare = rms_norm_back_prepare,
                                    .run = rms_norm_back_run,
                                    .sweep = sweep,
                                    .loss = rms_norm_loss,
                                    .slope_case = slope_cases,
                                    .slopes = 2,
                                    .slope = {{B_X, B_DX}, {B_W, B_DW}},
                                    .wrong = norm_back_wrong};

// ---- unit_rows

static void unit_rows_build(kcase *c) {
    int rows = c->p[0], cols = c->p[1];
    c->pad = c->p[3];
    karg_in(c, "x", rows, cols);
    karg *y = karg_out(c, "y", rows, cols, cols), *norm = karg_out(c, "norm", rows, 1, cols);
    if (c->p[5] & 1) karg_drop(norm);
    if (c->p[5] == 2) karg_drop(y);
}
static void unit_rows_run(drt_device *dev, kcase *c) { dev->k->unit_rows(dev, M(c, 0), M(c, 1), M(c, 2)); }
static bool last_column_left_out(kcase *c) { return M(c, 0).cols > 1 && M(c, 0).cols--; }
static const kwrong unit_rows_wrong[] = {last_column_left_out, NULL};
static const ktest unit_rows = {.name = "unit_rows",
                                .golden = true,
                                .build = unit_rows_build,
                                .prepare = spread,
                                .run = unit_rows_run,
                                .sweep = sweep,
                                .wrong = unit_rows_wrong};

enum { U_X, U_Y, U_NORM, U_DY, U_DX, U_WORK };
static void unit_rows_back_build(kcase *c) {
    int rows = c->p[0], cols = c->p[1];
    c->acc = c->p[2], c->pad = c->p[3];
    karg_in(c, "x", rows, cols)->raw = true;
    karg_later(c, "y", rows, cols);
    karg_later(c, "norm", rows, 1);
    karg_in(c, "dy", rows, cols);
    karg_acc(c, "dx", rows, cols, cols);
    karg_work(c, "y of the loss", rows, cols);
}
static void unit_rows_back_prepare(drt_device *dev, kcase *c) {
    spread(dev, c);
    dev->k->unit_rows(dev, M(c, U_X), M(c, U_Y), M(c, U_NORM));
    double shortest = 1;
    for (int r = 0; r < c->p[0]; r++)
        if (*drt_row(M(c, U_NORM), r) > 1e-11f) shortest = fmin(shortest, *drt_row(M(c, U_NORM), r));
    c->arg[U_DX].partial = 1 / shortest;
}
static void unit_rows_back_run(drt_device *dev, kcase *c) {
    dev->k->unit_rows_back(dev, M(c, U_Y), M(c, U_NORM), M(c, U_DY), c->acc, M(c, U_DX));
}
static double unit_rows_loss(drt_device *dev, kcase *c) {
    dev->k->unit_rows(dev, M(c, U_X), M(c, U_WORK), (drt_mat){0});
    return kmat_dot(M(c, U_WORK), M(c, U_DY));
}
static bool no_projection(kcase *c) { // dx = dy / norm
    M(c, U_Y) = kmat_zeros(c, c->p[0], c->p[1]);
    return true;
}
static const kwrong unit_back_wrong[] = {wrong_acc, no_projection, NULL};
static const ktest unit_rows_back = {.name = "unit_rows_back",
                                     .golden = true,
                                     .build = unit_rows_back_build,
                                     .prepare = unit_rows_back_prepare,
                                     .run = unit_rows_back_run,
                                     .sweep = sweep,
                                     .loss = unit_rows_loss,
                                     .slope_case = slope_cases,
                                     .slopes = 1,
                                     .slope = {{U_X, U_DX}},
                                     .wrong = unit_back_wrong};

int main(void) {
    static const ktest *const tests[] = {&layer_norm,    &layer_norm_back, &rms_norm,
                                         &rms_norm_back, &unit_rows,       &unit_rows_back};
    return kernel_suite("norm", tests, sizeof tests / sizeof *tests, NULL, 0);
}
