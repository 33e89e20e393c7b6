// Pointwise functions, dropout, and gated linear units.
#include "base/rng.h"
#include "tensor/ops.h"

typedef struct {
    drt_activation kind;
    drt_tensor *x, *y;
} activation;

static drt_tensor *apply(drt_tape *t, drt_activation kind, drt_tensor *x, int64_t cols, drt_back back,
                         void (*kernel)(drt_device *, drt_activation, drt_mat, drt_mat)) {
    drt_tensor *y = drt_tensor_new(t, x->value.rows, cols, x->needs_grad);
    if (!y) return NULL;
    kernel(drt_tape_device(t), kind, x->value, y->value);
    if (y->needs_grad) {
        activation *c = drt_tape_alloc(t, 1, sizeof *c);
        if (!c) return NULL;
        *c = (activation){kind, x, y};
        drt_tape_record(t, back, c, y, NULL);
    }
    return y;
}

static void activate_back(drt_tape *t, void *context) {
    activation *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc;
    drt_mat dx = drt_grad_target(t, c->x, &acc);
    if (dx.data) dev->k->activate_back(dev, c->kind, c->x->value, c->y->grad, acc, dx);
}

drt_tensor *drt_activate(drt_tape *t, drt_activation kind, drt_tensor *x) {
    if (!x || drt_tape_failed(t, NULL)) return NULL;
    return apply(t, kind, x, x->value.cols, activate_back, drt_tape_device(t)->k->activate);
}

static void glu_back(drt_tape *t, void *context) {
    activation *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc;
    drt_mat dx = drt_grad_target(t, c->x, &acc);
    if (dx.data) dev->k->glu_back(dev, c->kind, c->x->value, c->y->grad, acc, dx);
}

drt_tensor *drt_glu(drt_tape *t, drt_activation kind, drt_tensor *x) {
    if (!x || drt_tape_failed(t, NULL)) return NULL;
    if (x->value.cols % 2) {
        drt_tape_fail(t, DRT_EARG, "glu: %lld columns cannot be gate and up", (long long)x->value.cols);
        return NULL;
    }
    return apply(t, kind, x, x->value.cols / 2, glu_back, drt_tape_device(t)->k->glu);
}

static void shift_back(drt_tape *t, void *context) {
    activation *c = context;
    drt_grad_pass(t, c->y, c->x);
}

drt_tensor *drt_shift(drt_tape *t, drt_tensor *x, float by) {
    if (!x || drt_tape_failed(t, NULL)) return NULL;
    drt_device *dev = drt_tape_device(t);
    drt_tensor *y = drt_tensor_new(t, x->value.rows, x->value.cols, x->needs_grad);
    activation *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!y || !c) return NULL;
    *c = (activation){.x = x, .y = y};
    dev->k->fill(dev, y->value, by);
    dev->k->add(dev, x->value, y->value, y->value);
    if (y->needs_grad) drt_tape_record(t, shift_back, c, y, NULL);
    return y;
}

typedef struct {
    drt_tensor *x, *y;
    uint64_t key;
    float rate;
} drop;

static void drop_back(drt_tape *t, void *context) {
    const drop *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc;
    drt_mat dx = drt_grad_target(t, c->x, &acc);
    if (dx.data) dev->k->drop(dev, c->key, c->rate, c->y->grad, acc, dx);
}

drt_tensor *drt_drop(drt_tape *t, float rate, uint64_t key, drt_tensor *x) {
    if (!x || drt_tape_failed(t, NULL)) return NULL;
    uint64_t noise = drt_tape_noise(t);
    if (!noise || rate <= 0) return x;
    drt_device *dev = drt_tape_device(t);
    drt_tensor *y = drt_tensor_new(t, x->value.rows, x->value.cols, x->needs_grad);
    drop *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!y || !c) return NULL;
    *c = (drop){x, y, drt_hash((uint64_t[]){noise, key}, 2 * sizeof(uint64_t)), rate};
    dev->k->drop(dev, c->key, rate, x->value, false, y->value);
    if (y->needs_grad) drt_tape_record(t, drop_back, c, y, NULL);
    return y;
}
