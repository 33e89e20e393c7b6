// Cross-entropy and AdamW.
#include "support/check.h"
#include "support/kernel_check.h"

#include <math.h>

// ---- cross_entropy: p = rows, classes, pad, kind of logits, without hit

enum { PLAIN, WIDE /* deviation 20 */, TIES /* halves only: several are largest */, FAR /* around 10000 */, KINDS };

static void shape_logits(drt_device *dev, kcase *c) {
    (void)dev;
    for (int64_t r = 0; r < c->p[0] && !c->golden; r++) {
        for (int64_t i = 0; i < c->p[1]; i++) {
            float *x = drt_row(M(c, 0), r) + i;
            if (c->p[3] == WIDE) *x *= 20;
            if (c->p[3] == TIES) *x = rintf(2 * *x) / 2;
            if (c->p[3] == FAR) *x += 10000;
        }
    }
}
static bool ce_sweep(int i, int p[K_PARAMS]) {
    static const int rows[] = {0, 1, 7, 33, 64};
    static const int large[][4] = {{3, 32000, 5, WIDE}, {2, 4097, 0, PLAIN}};
    const int *const axis[] = {rows, K_EDGES};
    const int length[] = {5, 15};
    int n = 5 * 15;
    p[2] = 3 * kchance(i, 0, 2), p[3] = i / n, p[4] = !kchance(i, 1, 4);
    if (i < n * KINDS) return kgrid(i % n, p, 2, axis, length);
    memcpy(p, large[i % 2], sizeof large[0]);
    return i < n * KINDS + 2;
}
static bool next_label(kcase *c) {
    if (c->p[1] < 2) return false;
    int32_t *label = kcase_alloc(c, (size_t)c->p[0] * sizeof *label);
    for (int i = 0; i < c->p[0]; i++) label[i] = (c->index[0][i] + 1) % c->p[1];
    return c->index[0] = label, true;
}
static bool last_class_missing(kcase *c) {
    for (int r = 0; r < c->p[0]; r++)
        if (c->index[0][r] == c->p[1] - 1) return false;
    return c->p[1] > 1 && M(c, 0).cols--;
}

static void ce_build(kcase *c) {
    c->pad = c->p[2];
    karg_in(c, "logits", c->p[0], c->p[1]);
    karg_out(c, "lse", c->p[0], 1, c->p[1]);
    karg_out(c, "loss", c->p[0], 1, c->p[1]);
    if (c->p[4]) karg_none(c, "hit");
    else karg_vector(c, "hit", K_OUT, c->p[0]);
    c->index[0] = kcase_indices(c, "label", c->p[0], c->p[1]);
}
static void ce_prepare(drt_device *dev, kcase *c) {
    shape_logits(dev, c);
    // The loss is a difference of two numbers of this size.
    c->arg[1].partial = c->arg[2].partial = fmax(1, kmat_most(M(c, 0)));
}
static void ce_run(drt_device *dev, kcase *c) {
    dev->k->cross_entropy(dev, M(c, 0), c->index[0], M(c, 1), M(c, 2), kdata(c, 3));
}
static const kwrong ce_wrong[] = {next_label, last_class_missing, NULL};
static const ktest cross_entropy = {.name = "cross_entropy",
                                    .golden = true,
                                    .build = ce_build,
                                    .prepare = ce_prepare,
                                    .run = ce_run,
                                    .sweep = ce_sweep,
                                    .wrong = ce_wrong};

enum { C_LOGITS, C_LSE, C_WEIGHT, C_D, C_LSE_WORK, C_LOSS };
static void ce_back_build(kcase *c) {
    c->pad = c->p[2];
    karg_in(c, "logits", c->p[0], c->p[1])->raw = true; // copied: the kernel works in place
    karg_later(c, "lse", c->p[0], 1);
    karg_vector(c, "weight", K_IN, c->p[0]);
    karg_out(c, "dlogits", c->p[0], c->p[1], c->p[1]);
    karg_work(c, "lse of the loss", c->p[0], 1);
    karg_work(c, "loss", c->p[0], 1);
    c->index[0] = kcase_indices(c, "label", c->p[0], c->p[1]);
}
static void ce_back_prepare(drt_device *dev, kcase *c) {
    shape_logits(dev, c);
    dev->k->cross_entropy(dev, M(c, C_LOGITS), c->index[0], M(c, C_LSE), M(c, C_LOSS), NULL);
    c->arg[C_D].partial = fmax(1, kmat_most(M(c, C_LOGITS))); // exp(logit - lse) has the error of that difference
}
static void ce_back_run(drt_device *dev, kcase *c) {
    kmat_copy(M(c, C_D), M(c, C_LOGITS));
    dev->k->cross_entropy_back(dev, M(c, C_D), c->index[0], M(c, C_LSE), kdata(c, C_WEIGHT));
}
static double ce_loss(drt_device *dev, kcase *c) {
    double loss = 0;
    dev->k->cross_entropy(dev, M(c, C_LOGITS), c->index[0], M(c, C_LSE_WORK), M(c, C_LOSS), NULL);
    for (int r = 0; r < c->p[0]; r++) loss += (double)*drt_row(M(c, C_LOSS), r) * kdata(c, C_WEIGHT)[r];
    return loss;
}
static bool ce_slopes(int i, int p[K_PARAMS]) {
    static const int shape[][2] = {{4, 7}, {2, 31}, {1, 2}};
    memcpy(p, shape[i % 3], sizeof shape[0]);
    return i < 3;
}
static bool weights_ignored(kcase *c) {
    drt_mat ones = kmat_zeros(c, c->p[0], 1);
    for (int r = 0; r < c->p[0]; r++) *drt_row(ones, r) = 1;
    return M(c, C_WEIGHT) = ones, true;
}
static const kwrong ce_back_wrong[] = {next_label, weights_ignored, NULL};
static const ktest cross_entropy_back = {.name = "cross_entropy_back",
                                         .golden = true,
                                         .build = ce_back_build,
                                         .prepare = ce_back_prepare,
                                         .run = ce_back_run,
                                         .sweep = ce_sweep,
                                         .loss = ce_loss,
                                         .slope_case = ce_slopes,
                                         .slopes = 1,
                                         .slope = {{C_LOGITS, C_D}},
                                         .wrong = ce_back_wrong};

// ---- adamw: p = n, hundredths of weight decay, step, hundredths of the gradient's factor

enum { A_W0, A_G, A_M0, A_V0, A_W, A_M, A_V };
static void adamw_build(kcase *c) {
    static const char *const in[] = {"w0", "g", "m0", "v0"}, *const out[] = {"w", "m", "v"};
    c->n = c->p[0];
    for (int i = 0; i < 4; i++) karg_vector(c, in[i], K_IN, c->n);
    for (int i = 0; i < 3; i++) karg_vector(c, out[i], K_OUT, c->n);
    c->arg[A_V].partial = 0; // nothing cancels: small ones must be right too
    c->adam = (drt_adamw){.lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
    c->adam.weight_decay = (float)c->p[1] / 100, c->adam.grad_scale = (float)c->p[3] / 100;
    c->adam.correction1 = (float)(1 - pow(c->adam.beta1, c->p[2]));
    c->adam.correction2 = (float)(1 - pow(c->adam.beta2, c->p[2]));
}
static void adamw_prepare(drt_device *dev, kcase *c) {
    (void)dev;
    for (int64_t i = 0; i < c->n && !c->golden; i++) kdata(c, A_V0)[i] *= kdata(c, A_V0)[i];
}
static void adamw_run(drt_device *dev, kcase *c) {
    for (int i = 0; i < 3; i++) kmat_copy(M(c, A_W + i), M(c, i ? A_G + i : A_W0));
    dev->k->adamw(dev, &c->adam, c->n, kdata(c, A_W), kdata(c, A_G), kdata(c, A_M), kdata(c, A_V));
}
static bool adamw_sweep(int i, int p[K_PARAMS]) {
    static const int n[] = {0, 1, 7, 16, 33, 129, 4099, 65537};
    static const int decay[] = {0, 10, 100}, step[] = {1, 2, 1000}, factor[] = {100, 30};
    const int *const axis[] = {n, decay, step, factor};
    const int length[] = {8, 3, 3, 2};
    return kgrid(i, p, 4, axis, length);
}
static bool no_decay(kcase *c) { return c->adam.weight_decay ? c->adam.weight_decay = 0, c->n > 0 : false; }
static bool factor_ignored(kcase *c) { return c->adam.grad_scale != 1 ? c->adam.grad_scale = 1, c->n > 0 : false; }
static bool no_correction(kcase *c) { return c->adam.correction1 = c->adam.correction2 = 1, c->p[2] < 100; }
static const kwrong adamw_wrong[] = {no_decay, factor_ignored, no_correction, NULL};
static const ktest adamw = {.name = "adamw",
                            .golden = true,
                            .build = adamw_build,
                            .prepare = adamw_prepare,
                            .run = adamw_run,
                            .sweep = adamw_sweep,
                            .wrong = adamw_wrong};

int main(void) {
    static const ktest *const tests[] = {&cross_entropy, &cross_entropy_back, &adamw};
    return kernel_suite("loss", tests, sizeof tests / sizeof *tests, NULL, 0);
}
