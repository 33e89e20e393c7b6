// Layer norm, root-mean-square norm, rows of unit length.
#include "tensor/ops.h"

typedef struct {
    drt_tensor *x, *w, *b, *y;
    drt_mat stat;
} norm;

static bool fits(drt_tape *t, const char *what, drt_tensor *x, drt_tensor *w) {
    if (w->value.rows == 1 && w->value.cols == x->value.cols) return true;
    drt_tape_fail(t, DRT_EARG, "%s: x has %lld columns, the weight is %lld x %lld", what, (long long)x->value.cols,
                  (long long)w->value.rows, (long long)w->value.cols);
    return false;
}

static norm *norm_new(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b, int stats) {
    bool learns = x->needs_grad || (w && w->needs_grad) || (b && b->needs_grad);
    drt_tensor *y = drt_tensor_new(t, x->value.rows, x->value.cols, learns);
    drt_tensor *stat = drt_tensor_new(t, x->value.rows, stats, false);
    norm *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!y || !stat || !c) return NULL;
    *c = (norm){x, w, b, y, stat->value};
    return c;
}

// Kernels always add to the gradients of weights; of one that is no parameter (drt_shift) it begins as 0.
static drt_mat weight_grad(drt_tape *t, drt_tensor *w) {
    bool acc;
    drt_mat d = drt_grad_target(t, w, &acc);
    if (d.data && !acc) drt_tape_device(t)->k->fill(drt_tape_device(t), d, 0);
    return d;
}

static void layer_norm_back(drt_tape *t, void *context) {
    norm *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc;
    drt_mat dw = weight_grad(t, c->w), db = weight_grad(t, c->b), dx = drt_grad_target(t, c->x, &acc);
    dev->k->layer_norm_back(dev, c->x->value, c->w->value, c->stat, c->y->grad, acc, dx, dw, db);
}

drt_tensor *drt_layer_norm(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b, float eps) {
    if (!x || !w || !b || drt_tape_failed(t, NULL)) return NULL;
    if (!fits(t, "layer_norm", x, w) || !fits(t, "layer_norm", x, b)) return NULL;
    drt_device *dev = drt_tape_device(t);
    norm *c = norm_new(t, x, w, b, 2);
    if (!c) return NULL;
    dev->k->layer_norm(dev, x->value, w->value, b->value, eps, c->y->value, c->stat);
    if (c->y->needs_grad) drt_tape_record(t, layer_norm_back, c, c->y, NULL);
    return c->y;
}

static void rms_norm_back(drt_tape *t, void *context) {
    norm *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc;
    drt_mat dw = weight_grad(t, c->w), dx = drt_grad_target(t, c->x, &acc);
    dev->k->rms_norm_back(dev, c->x->value, c->w->value, c->stat, c->y->grad, acc, dx, dw);
}

drt_tensor *drt_rms_norm(drt_tape *t, drt_tensor *x, drt_tensor *w, float eps) {
    if (!x || !w || drt_tape_failed(t, NULL)) return NULL;
    if (!fits(t, "rms_norm", x, w)) return NULL;
    drt_device *dev = drt_tape_device(t);
    norm *c = norm_new(t, x, w, NULL, 1);
    if (!c) return NULL;
    dev->k->rms_norm(dev, x->value, w->value, eps, c->y->value, c->stat);
    if (c->y->needs_grad) drt_tape_record(t, rms_norm_back, c, c->y, NULL);
    return c->y;
}

static void unit_rows_back(drt_tape *t, void *context) {
    norm *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc;
    drt_mat dx = drt_grad_target(t, c->x, &acc);
    if (dx.data) dev->k->unit_rows_back(dev, c->y->value, c->stat, c->y->grad, acc, dx);
}

drt_tensor *drt_unit_rows(drt_tape *t, drt_tensor *x) {
    if (!x || drt_tape_failed(t, NULL)) return NULL;
    drt_device *dev = drt_tape_device(t);
    norm *c = norm_new(t, x, NULL, NULL, 1);
    if (!c) return NULL;
    dev->k->unit_rows(dev, x->value, c->y->value, c->stat);
    if (c->y->needs_grad) drt_tape_record(t, unit_rows_back, c, c->y, NULL);
    return c->y;
}
