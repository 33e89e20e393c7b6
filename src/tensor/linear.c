// y = x w^T + b. Backward: dx = dy w, dw += dy^T x, db += column sums of dy; each only where something learns.
//
// A bf16 weight makes all three products bf16: the other operand is read rounded, too, so that the answer is the same
// on machines that multiply bf16 as such and on those that expand it. Everything between products stays f32. A weight
// that is marked f16 lies in f32 and makes its products f16; one stored in f16 saves memory: its products are f32.
#include "tensor/linear.h"
#include "tensor/ops.h"

typedef struct {
    drt_tensor *x, *w, *b, *residual, *y;
} linear;

void drt_linear_forward(drt_device *dev, drt_mat x, const drt_tensor *w, drt_mat b, bool acc, drt_mat y) {
    for (int64_t at = 0; at < y.cols;) {
        drt_mat rows = drt_operand(drt_weight_rows(w, at), w), bias = b.data ? drt_mat_part(b, 0, 1, at, rows.rows) : b;
        dev->k->matmul(dev, false, true, drt_operand(x, w), rows, bias, acc, drt_mat_part(y, 0, y.rows, at, rows.rows));
        at += rows.rows;
    }
}

void drt_linear_input(drt_device *dev, drt_mat dy, const drt_tensor *w, bool acc, drt_mat dx) {
    dy = drt_operand(dy, w);
    for (int64_t at = 0; at < dy.cols; acc = true) {
        drt_mat rows = drt_operand(drt_weight_rows(w, at), w);
        dev->k->matmul(dev, false, false, drt_mat_part(dy, 0, dy.rows, at, rows.rows), rows, (drt_mat){0}, acc, dx);
        at += rows.rows;
    }
}

void drt_linear_weight(drt_device *dev, drt_mat dy, drt_mat x, const drt_tensor *w, bool acc, drt_mat dw) {
    dev->k->matmul(dev, true, false, drt_operand(dy, w), drt_operand(x, w), (drt_mat){0}, acc, dw);
}

static void linear_back(drt_tape *t, void *context) {
    linear *c = context;
    drt_device *dev = drt_tape_device(t);
    const drt_mat dy = c->y->grad;
    bool acc_x, acc_w, acc;
    drt_mat dx = drt_grad_target(t, c->x, &acc_x), dw = drt_grad_target(t, c->w, &acc_w),
            db = drt_grad_target(t, c->b, &acc);
    if (dx.data) drt_linear_input(dev, dy, c->w, acc_x, dx);
    if (dw.data) drt_linear_weight(dev, dy, c->x->value, c->w, acc_w, dw);
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
    bool learns = drt_low_rank_learns(w) || x->needs_grad || w->needs_grad || (b && b->needs_grad) ||
                  (residual && residual->needs_grad);
    drt_tensor *y = drt_tensor_new(t, xv.rows, wv.rows, learns);
    if (!y) return NULL;
    if (residual) dev->k->scale(dev, 1, residual->value, false, y->value);
    drt_linear_forward(dev, xv, w, bias, residual != NULL, y->value);
    if (y->needs_grad) {
        linear *c = drt_tape_alloc(t, 1, sizeof *c);
        if (!c) return NULL;
        *c = (linear){x, w, b, residual, y};
        drt_tape_record(t, linear_back, c, y, NULL);
    }
    drt_low_rank_add(t, x, w, y);
    return y;
}

drt_tensor *drt_linear(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b) {
    return drt_linear_add(t, x, w, b, NULL);
}
