// Soft and hard permutations: scores with noise, Sinkhorn's plan, the straight-through choice, and the loss against a
// permutation that is known.
#include "tensor/ops.h"

#include <math.h>

// ---- scores --------------------------------------------------------------------------------------------------------

typedef struct {
    drt_soften how;
    drt_tensor *s, *y;
} softened;

// -log(-log(u)), u in (0, 1) from the element's place: 23 bits and a half, so that f32 holds u and 1 - u.
static float gumbel(uint32_t row, uint32_t col) {
    float u = ((float)(drt_scramble(row + col * 0x9E3779B9u) >> 9) + 0.5f) * 0x1p-23f;
    return -logf(-logf(u));
}

static void soften_back(drt_tape *t, void *context) {
    const softened *c = context;
    bool acc;
    drt_mat dy = c->y->grad, ds = drt_grad_target(t, c->s, &acc);
    float slope = c->how.scale / c->how.tau;
    for (int64_t i = 0; ds.data && i < dy.rows; i++) {
        float *to = drt_row(ds, i);
        const float *d = drt_row(dy, i), *y = drt_row(c->y->value, i);
        for (int64_t j = 0; j < dy.cols; j++) {
            float g = fabsf(y[j]) < c->how.bound ? slope * d[j] : 0;
            to[j] = acc ? to[j] + g : g;
        }
    }
}

drt_tensor *drt_soften_scores(drt_tape *t, const drt_soften *how, drt_tensor *s) {
    if (!s || drt_tape_failed(t, NULL)) return NULL;
    drt_tensor *y = drt_tensor_new(t, s->value.rows, s->value.cols, s->needs_grad);
    softened *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!y || !c) return NULL;
    *c = (softened){*how, s, y};
    for (int64_t i = 0; i < s->value.rows; i++) {
        const float *x = drt_row(s->value, i);
        float *to = drt_row(y->value, i);
        uint32_t row = drt_drop_row(how->noise, i);
        for (int64_t j = 0; j < s->value.cols; j++) {
            float v = how->scale * x[j] + (i == j ? how->diagonal : 0) + (how->noise ? gumbel(row, (uint32_t)j) : 0);
            v /= how->tau;
            to[j] = v > how->bound ? how->bound : v < -how->bound ? -how->bound : v; // NaN stays
        }
    }
    if (y->needs_grad) drt_tape_record(t, soften_back, c, y, NULL);
    return y;
}

// ---- plan ----------------------------------------------------------------------------------------------------------

typedef struct {
    drt_sinkhorn how;
    drt_tensor *s, *p;
    drt_mat trace;
    int done;
} sinkhorn;

static void sinkhorn_back(drt_tape *t, void *context) {
    const sinkhorn *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc;
    drt_mat ds = drt_grad_target(t, c->s, &acc);
    if (ds.data) dev->k->sinkhorn_back(dev, &c->how, c->s->value, c->p->value, c->trace, c->done, c->p->grad, acc, ds);
}

drt_tensor *drt_sinkhorn_plan(drt_tape *t, const drt_sinkhorn *how, drt_tensor *s, int *done) {
    if (!s || drt_tape_failed(t, NULL)) return NULL;
    drt_device *dev = drt_tape_device(t);
    bool learns = s->needs_grad && drt_tape_recording(t);
    drt_tensor *p = drt_tensor_new(t, s->value.rows, s->value.cols, learns);
    drt_tensor *trace = learns ? drt_tensor_new(t, 2 * (int64_t)how->sweeps, s->value.cols, false) : NULL;
    sinkhorn *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!p || !c || (learns && !trace)) return NULL;
    *c = (sinkhorn){*how, s, p, trace ? trace->value : (drt_mat){0}, 0};
    dev->k->sinkhorn(dev, how, s->value, p->value, c->trace, &c->done);
    if (done) *done = c->done;
    if (learns) drt_tape_record(t, sinkhorn_back, c, p, NULL);
    return p;
}

// ---- straight through ----------------------------------------------------------------------------------------------

typedef struct {
    drt_tensor *p, *y;
} passed;

static void straight_back(drt_tape *t, void *context) {
    const passed *c = context;
    drt_grad_pass(t, c->y, c->p);
}

drt_tensor *drt_one_hot(drt_tape *t, drt_tensor *p, const int32_t *column) {
    if (!p || drt_tape_failed(t, NULL)) return NULL;
    drt_device *dev = drt_tape_device(t);
    drt_tensor *y = drt_tensor_new(t, p->value.rows, p->value.cols, p->needs_grad);
    passed *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!y || !c) return NULL;
    *c = (passed){p, y};
    dev->k->fill(dev, y->value, 0);
    for (int64_t i = 0; i < p->value.rows; i++) {
        if (column[i] < 0 || column[i] >= p->value.cols) {
            drt_tape_fail(t, DRT_EARG, "one-hot: row %lld has column %d of %lld", (long long)i, column[i],
                          (long long)p->value.cols);
            return NULL;
        }
        drt_row(y->value, i)[column[i]] = 1;
    }
    if (y->needs_grad) drt_tape_record(t, straight_back, c, y, NULL);
    return y;
}

// ---- products of two tensors ---------------------------------------------------------------------------------------

typedef struct {
    drt_tensor *a, *b, *y;
} product;

static void product_back(drt_tape *t, void *context) {
    const product *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc;
    drt_mat d = drt_grad_target(t, c->a, &acc);
    if (d.data) dev->k->matmul(dev, false, true, c->y->grad, c->b->value, (drt_mat){0}, acc, d);
    d = drt_grad_target(t, c->b, &acc);
    if (d.data) dev->k->matmul(dev, true, false, c->a->value, c->y->grad, (drt_mat){0}, acc, d);
}

drt_tensor *drt_product(drt_tape *t, drt_tensor *a, drt_tensor *b) {
    if (!a || !b || drt_tape_failed(t, NULL)) return NULL;
    if (a->value.cols != b->value.rows) {
        drt_tape_fail(t, DRT_EARG, "product: %lld x %lld by %lld x %lld", (long long)a->value.rows,
                      (long long)a->value.cols, (long long)b->value.rows, (long long)b->value.cols);
        return NULL;
    }
    drt_device *dev = drt_tape_device(t);
    drt_tensor *y = drt_tensor_new(t, a->value.rows, b->value.cols, a->needs_grad || b->needs_grad);
    product *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!y || !c) return NULL;
    *c = (product){a, b, y};
    dev->k->matmul(dev, false, false, a->value, b->value, (drt_mat){0}, false, y->value);
    if (y->needs_grad) drt_tape_record(t, product_back, c, y, NULL);
    return y;
}

// ---- loss ----------------------------------------------------------------------------------------------------------

static const float LEAST = 1e-12f; // a probability below it counts as this where its logarithm is taken

typedef struct {
    drt_permutation_terms weight;
    const int32_t *target;
    drt_tensor *p, *hard, *y;
} loss;

static void loss_back(drt_tape *t, void *context) {
    const loss *c = context;
    drt_mat p = c->p->value, hard = c->hard->value;
    bool acc, acc_hard;
    float g = *(const float *)c->y->grad.data, rows = (float)p.rows, square = 2 * g * c->weight.square / (rows * rows),
          cross = g * c->weight.cross_entropy / rows, disorder = g * c->weight.entropy / rows;
    drt_mat dh = drt_grad_target(t, c->hard, &acc_hard);
    for (int64_t i = 0; dh.data && i < p.rows; i++)
        for (int64_t j = 0; j < p.cols; j++) {
            float d = square * (drt_row(hard, i)[j] - (float)(j == c->target[i]));
            drt_row(dh, i)[j] = acc_hard ? drt_row(dh, i)[j] + d : d;
        }
    drt_mat dp = drt_grad_target(t, c->p, &acc);
    for (int64_t i = 0; dp.data && i < p.rows; i++) {
        const float *x = drt_row(p, i);
        float *to = drt_row(dp, i), own = x[c->target[i]];
        for (int64_t j = 0; j < p.cols; j++) {
            float d = x[j] > LEAST ? -disorder * (logf(x[j]) + 1) : -disorder * logf(LEAST);
            to[j] = acc ? to[j] + d : d;
        }
        if (own > LEAST) to[c->target[i]] -= cross / own;
    }
}

drt_tensor *drt_permutation_loss(drt_tape *t, drt_tensor *p, drt_tensor *hard, const int32_t *target,
                                 const drt_permutation_terms *weight, drt_permutation_terms *terms) {
    if (!hard) hard = p;
    if (!p || drt_tape_failed(t, NULL)) return NULL;
    int64_t n = p->value.rows;
    double square = 0, cross = 0, disorder = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *x = drt_row(p->value, i), *h = drt_row(hard->value, i);
        for (int64_t j = 0; j < n; j++) {
            double off = h[j] - (double)(j == target[i]);
            square += off * off;
            disorder -= (double)x[j] * logf(fmaxf(x[j], LEAST));
        }
        cross -= logf(fmaxf(x[target[i]], LEAST));
    }
    *terms = (drt_permutation_terms){(float)(square / (double)(n * n)), (float)(cross / (double)n),
                                     (float)(disorder / (double)n)};
    drt_tensor *y = drt_tensor_new(t, 1, 1, p->needs_grad);
    loss *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!y || !c) return NULL;
    *c = (loss){*weight, target, p, hard, y};
    *(float *)y->value.data = weight->square * terms->square + weight->cross_entropy * terms->cross_entropy +
                              weight->entropy * terms->entropy;
    if (y->needs_grad) drt_tape_record(t, loss_back, c, y, NULL);
    return y;
}
