// y = act(x) w^T + b (+ residual): how a feed-forward block ends. act(x) is the widest thing between two layers but one
// and a single pass over x makes it, so it is not kept: one buffer serves all layers, and the backward fills it again.
#include "tensor/linear.h"
#include "tensor/ops.h"

typedef struct {
    drt_activation kind;
    bool gated;
    drt_tensor *x, *w, *b, *residual, *y;
} feed_forward;

static void activate(drt_device *dev, const feed_forward *c, drt_mat y) {
    (c->gated ? dev->k->glu : dev->k->activate)(dev, c->kind, c->x->value, y);
}

static void feed_forward_back(drt_tape *t, void *context) {
    const feed_forward *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc_x, acc_w, acc_b;
    const drt_mat dy = c->y->grad;
    drt_mat dx = drt_grad_target(t, c->x, &acc_x), dw = drt_grad_target(t, c->w, &acc_w),
            db = drt_grad_target(t, c->b, &acc_b);
    size_t mark = drt_arena_mark(drt_tape_arena(t));
    drt_tensor *h = drt_tensor_new(t, dy.rows, c->w->value.cols, false); // act(x), then its gradient
    if (!h) return;
    if (dw.data) {
        activate(dev, c, h->value);
        drt_linear_weight(dev, dy, h->value, c->w, acc_w, dw);
    }
    if (dx.data) {
        drt_linear_input(dev, dy, c->w, false, h->value);
        (c->gated ? dev->k->glu_back : dev->k->activate_back)(dev, c->kind, c->x->value, h->value, acc_x, dx);
    }
    drt_arena_release(drt_tape_arena(t), mark);
    if (db.data) dev->k->col_sum(dev, dy, acc_b, db);
    // Last, because it may hand the buffer of dy on.
    if (c->residual) drt_grad_pass(t, c->y, c->residual);
}

drt_tensor *drt_feed_forward(drt_tape *t, drt_activation kind, bool gated, drt_tensor *x, drt_tensor *w, drt_tensor *b,
                             drt_tensor *residual) {
    if (!x || !w || drt_tape_failed(t, NULL)) return NULL;
    if (w->added) // an adapter of w keeps what w is multiplied with
        return drt_linear_add(t, gated ? drt_glu(t, kind, x) : drt_activate(t, kind, x), w, b, residual);
    const int64_t rows = x->value.rows, inner = w->value.cols, cols = w->value.rows;
    if (x->value.cols != (gated ? 2 : 1) * inner || (b && (b->value.rows != 1 || b->value.cols != cols)) ||
        (residual && (residual->value.rows != rows || residual->value.cols != cols))) {
        drt_tape_fail(t, DRT_EARG, "feed-forward: x is %lld x %lld%s, the weight %lld x %lld", (long long)rows,
                      (long long)x->value.cols, gated ? ", gate and up" : "", (long long)cols, (long long)inner);
        return NULL;
    }
    drt_device *dev = drt_tape_device(t);
    bool learns = x->needs_grad || w->needs_grad || (b && b->needs_grad) || (residual && residual->needs_grad);
    drt_tensor *y = drt_tensor_new(t, rows, cols, learns);
    feed_forward *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!y || !c) return NULL;
    *c = (feed_forward){kind, gated, x, w, b, residual, y};
    size_t mark = drt_arena_mark(drt_tape_arena(t));
    drt_tensor *h = drt_tensor_new(t, rows, inner, false);
    if (!h) return NULL;
    activate(dev, c, h->value);
    if (residual) dev->k->scale(dev, 1, residual->value, false, y->value);
    drt_linear_forward(dev, h->value, w, b ? b->value : (drt_mat){0}, residual != NULL, y->value);
    drt_arena_release(drt_tape_arena(t), mark);
    if (y->needs_grad) drt_tape_record(t, feed_forward_back, c, y, NULL);
    return y;
}
