// Activations and their gated form. p = activation, rows, cols, acc, pad
#include "support/check.h"
#include "support/kernel_check.h"

#include <math.h>

static void begin(kcase *c) { c->kind = (drt_activation)c->p[0], c->acc = c->p[3], c->pad = c->p[4]; }

// relu has no slope at 0: difference quotients need inputs that stay on one side.
static void leave_zero(drt_mat x) {
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t i = 0; i < x.cols; i++)
            if (fabsf(drt_row(x, r)[i]) < 0.125f) drt_row(x, r)[i] += 0.25f;
}
static void relu_leaves_zero(drt_device *dev, kcase *c) {
    (void)dev;
    if (c->kind == DRT_RELU && !c->golden) leave_zero(M(c, 0));
}

static void activate_build(kcase *c) {
    begin(c);
    karg_in(c, "x", c->p[1], c->p[2]);
    karg_out(c, "y", c->p[1], c->p[2], 1);
}
static void activate_run(drt_device *dev, kcase *c) { dev->k->activate(dev, c->kind, M(c, 0), M(c, 1)); }
static bool sweep(int i, int p[K_PARAMS]) {
    static const int kind[] = {DRT_GELU, DRT_QUICK_GELU, DRT_SILU, DRT_RELU, DRT_GELU_TANH},
                     rows[] = {0, 1, 7, 33, 257};
    const int *const axis[] = {kind, rows, K_EDGES};
    const int length[] = {5, 5, 15};
    p[3] = kchance(i, 0, 2), p[4] = kchance(i, 1, 3);
    return kgrid(i, p, 3, axis, length);
}
static bool wrong_acc(kcase *c) { return c->acc = !c->acc, true; }
static bool other_kind(kcase *c) { return c->kind = (drt_activation)((c->kind + 1) % 5), true; }
static const kwrong forward_wrong[] = {other_kind, NULL}, back_wrong[] = {other_kind, wrong_acc, NULL};
static const ktest activate = {.name = "activate",
                               .golden = true,
                               .build = activate_build,
                               .run = activate_run,
                               .sweep = sweep,
                               .wrong = forward_wrong};

static void back_build(kcase *c) {
    begin(c);
    karg_in(c, "x", c->p[1], c->p[2]);
    karg_in(c, "dy", c->p[1], c->p[2]);
    karg_acc(c, "dx", c->p[1], c->p[2], 1);
    karg_work(c, "y", c->p[1], c->p[2]);
}
static void back_run(drt_device *dev, kcase *c) {
    dev->k->activate_back(dev, c->kind, M(c, 0), M(c, 1), c->acc, M(c, 2));
}
static double back_loss(drt_device *dev, kcase *c) {
    dev->k->activate(dev, c->kind, M(c, 0), M(c, 3));
    return kmat_dot(M(c, 3), M(c, 1));
}
static bool slope_cases(int i, int p[K_PARAMS]) { return p[0] = i % 5, p[1] = 6, p[2] = 17, i < 5; }
static const ktest activate_back = {.name = "activate_back",
                                    .golden = true,
                                    .build = back_build,
                                    .prepare = relu_leaves_zero,
                                    .run = back_run,
                                    .sweep = sweep,
                                    .loss = back_loss,
                                    .slope_case = slope_cases,
                                    .slopes = 1,
                                    .slope = {{0, 2}},
                                    .wrong = back_wrong};

static void glu_build(kcase *c) {
    begin(c);
    karg_in(c, "x", c->p[1], 2 * c->p[2]);
    karg_out(c, "y", c->p[1], c->p[2], 1);
}
static void glu_run(drt_device *dev, kcase *c) { dev->k->glu(dev, c->kind, M(c, 0), M(c, 1)); }
static const ktest glu = {
    .name = "glu", .golden = true, .build = glu_build, .run = glu_run, .sweep = sweep, .wrong = forward_wrong};

static void glu_back_build(kcase *c) {
    begin(c);
    karg_in(c, "x", c->p[1], 2 * c->p[2]);
    karg_in(c, "dy", c->p[1], c->p[2]);
    karg_acc(c, "dx", c->p[1], 2 * c->p[2], 1);
    karg_work(c, "y", c->p[1], c->p[2]);
}
static void glu_back_run(drt_device *dev, kcase *c) {
    dev->k->glu_back(dev, c->kind, M(c, 0), M(c, 1), c->acc, M(c, 2));
}
static double glu_loss(drt_device *dev, kcase *c) {
    dev->k->glu(dev, c->kind, M(c, 0), M(c, 3));
    return kmat_dot(M(c, 3), M(c, 1));
}
static const ktest glu_back = {.name = "glu_back",
                               .golden = true,
                               .build = glu_back_build,
                               .prepare = relu_leaves_zero,
                               .run = glu_back_run,
                               .sweep = sweep,
                               .loss = glu_loss,
                               .slope_case = slope_cases,
                               .slopes = 1,
                               .slope = {{0, 2}},
                               .wrong = back_wrong};

// One number a row, so that each is judged by its own magnitude: from where exp overflows to where it vanishes.
static const float EXTREME[] = {0,    1e-30f, -1e-30f, 1e-8f, -1e-8f, 1,     -1,     5,     -5,    9,   -9,
                                20,   -20,    40,      -40,   80,     -80,   88,     -88,   90,    -90, 104,
                                -104, 128,    -128,    1e4f,  -1e4f,  1e10f, -1e10f, 1e30f, -1e30f};
enum { EXTREMES = sizeof EXTREME / sizeof *EXTREME };
static void extreme_build(kcase *c) {
    begin(c);
    karg_in(c, "x", c->p[1], 1);
    karg_in(c, "dy", c->p[1], 1);
    karg_out(c, "y", c->p[1], 1, 1);
    karg_out(c, "dx", c->p[1], 1, 1);
}
static void set_extremes(drt_device *dev, kcase *c) {
    (void)dev;
    for (int i = 0; i < EXTREMES; i++) *drt_row(M(c, 0), i) = EXTREME[i], *drt_row(M(c, 1), i) = 1;
}
static void extreme_run(drt_device *dev, kcase *c) {
    dev->k->activate(dev, c->kind, M(c, 0), M(c, 2));
    dev->k->activate_back(dev, c->kind, M(c, 0), M(c, 1), false, M(c, 3));
}
static bool extreme_sweep(int i, int p[K_PARAMS]) { return p[0] = i % 5, p[1] = EXTREMES, p[4] = i / 5, i < 10; }
static const ktest extremes = {.name = "activate_extremes",
                               .build = extreme_build,
                               .prepare = set_extremes,
                               .run = extreme_run,
                               .sweep = extreme_sweep,
                               .wrong = forward_wrong};

int main(void) {
    static const ktest *const tests[] = {&activate, &activate_back, &glu, &glu_back, &extremes};
    return kernel_suite("activation", tests, sizeof tests / sizeof *tests, NULL, 0);
}
