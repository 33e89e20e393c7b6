// y = x w^T + b. Backward: dx = dy w, dw += dy^T x, db += column sums of dy; each only where something learns.
#include "tensor/ops.h"

typedef struct {
    drt_tensor *x, *w, *b, *residual, *y;
} linear;

static void linear_back(drt_tape *t, void *context) {
    linear *c = context;
    drt_device *dev = drt_tape_device(t);
    const drt_mat none = {0}, dy = c->y->grad;
    bool acc;
    drt_mat dx = drt_grad_target(t, c->x, &acc);
    if (dx.data) dev->k->matmul(dev, false, false, dy, c->w->value, none, acc, dx);
    drt_mat dw = drt_grad_target(t, c->w, &acc);
    if (dw.data) dev->k->matmul(dev, true, false, dy, c->x->value, none, acc, dw);
    drt_mat db = drt_grad_target(t, c->b, &acc);
    if (db.data) dev->k->col_sum(dev, dy, acc, db);
    // Last, because it may hand the buffer of dy on.
    if (c->residual) drt_grad_pass(t, c->y, c->residual);
}

drt_tensor *drt_linear_add(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b, drt_tensor *residual) {
    if (!x || !w || drt_tape_failed(t, NULL)) return NULL;
    drt_mat xv = x->value, wv = w->value, bias = b ? b->value : (drt_mat){0};
    if (xv.cols != wv.cols || (b && (bias.rows != 1 || bias.cols != wv.rows)) ||
        (residual && (residual->value.rows != xv.rows || residual->value.cols != wv.rows))) {
        drt_tape_fail(t, DRT_EARG, "linear: x is %lld x %lld, the weight %lld x %lld", (long long)xv.rows,
                      (long long)xv.cols, (long long)wv.rows, (long long)wv.cols);
        return NULL;
    }
    drt_device *dev = drt_tape_device(t);
    bool learns = x->needs_grad || w->needs_grad || (b && b->needs_grad) || (residual && residual->needs_grad);
    drt_tensor *y = drt_tensor_new(t, xv.rows, wv.rows, learns);
    if (!y) return NULL;
    if (residual) dev->k->scale(dev, 1, residual->value, false, y->value);
    dev->k->matmul(dev, false, true, xv, wv, bias, residual != NULL, y->value);
    if (y->needs_grad) {
        linear *c = drt_tape_alloc(t, 1, sizeof *c);
        if (!c) return NULL;
        *c = (linear){x, w, b, residual, y};
        drt_tape_record(t, linear_back, c, y, NULL);
    }
    return y;
}

drt_tensor *drt_linear(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b) {
    return drt_linear_add(t, x, w, b, NULL);
}
