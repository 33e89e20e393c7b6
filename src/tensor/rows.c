// Rows that move: windows, gather and scatter. All rest on one kernel, copy_rows, whose backward is itself with the
// index arrays exchanged.
#include "tensor/ops.h"

#include <string.h>

typedef struct {
    drt_tensor *part;
    bool first; // the first part taken: its node runs after those of all the others
} part;

static void part_back(drt_tape *t, void *context) {
    part *c = context;
    drt_tensor *x = c->part, *base = x->base;
    if (!base->grad.data) return; // nothing flowed into any part
    if (!x->grad_set && !base->grad_set) {
        drt_device *dev = drt_tape_device(t);
        dev->k->fill(dev, drt_mat_part(base->grad, x->row, x->value.rows, x->col, x->value.cols), 0);
    }
    if (c->first) base->grad_set = true;
}

drt_tensor *drt_part(drt_tape *t, drt_tensor *x, int64_t row, int64_t rows, int64_t col, int64_t cols) {
    if (!x || drt_tape_failed(t, NULL)) return NULL;
    if (row < 0 || rows < 0 || col < 0 || cols < 0 || row + rows > x->value.rows || col + cols > x->value.cols ||
        x->base) {
        drt_tape_fail(t, DRT_EARG, "part: rows %lld+%lld, columns %lld+%lld of a %lld x %lld matrix", (long long)row,
                      (long long)rows, (long long)col, (long long)cols, (long long)x->value.rows,
                      (long long)x->value.cols);
        return NULL;
    }
    drt_tensor *y = drt_tensor_wrap(t, drt_mat_part(x->value, row, rows, col, cols), x->needs_grad);
    if (!y) return NULL;
    y->base = x;
    y->f16 = x->f16;
    y->row = row;
    y->col = col;
    if (y->needs_grad && !x->leaf) {
        part *c = drt_tape_alloc(t, 1, sizeof *c);
        if (!c) return NULL;
        *c = (part){y, !x->parted};
        x->parted = true;
        drt_tape_record(t, part_back, c, NULL, NULL);
    }
    return y;
}

typedef struct {
    drt_tensor *x, *y;
} reshape;

static void reshape_back(drt_tape *t, void *context) {
    reshape *c = context;
    c->y->grad = drt_mat_f32(c->y->grad.data, c->x->value.rows, c->x->value.cols);
    drt_grad_pass(t, c->y, c->x);
}

drt_tensor *drt_reshape(drt_tape *t, drt_tensor *x, int64_t rows, int64_t cols) {
    if (!x || drt_tape_failed(t, NULL)) return NULL;
    drt_mat v = x->value;
    if (rows < 0 || cols < 1 || rows * cols != v.rows * v.cols || v.ld != v.cols) {
        drt_tape_fail(t, DRT_EARG, "reshape: %lld x %lld to %lld x %lld", (long long)v.rows, (long long)v.cols,
                      (long long)rows, (long long)cols);
        return NULL;
    }
    v.rows = rows, v.cols = v.ld = cols;
    drt_tensor *y = drt_tensor_wrap(t, v, x->needs_grad);
    reshape *c = y && y->needs_grad ? drt_tape_alloc(t, 1, sizeof *c) : NULL;
    if (!c) return y && !y->needs_grad ? y : NULL;
    *c = (reshape){x, y};
    drt_tape_record(t, reshape_back, c, y, NULL);
    return y;
}

typedef struct {
    drt_rows *sources;
    int n;
    drt_tensor *y;
} gather;

static void gather_back(drt_tape *t, void *context) {
    gather *c = context;
    drt_device *dev = drt_tape_device(t);
    for (int i = 0; i < c->n; i++) {
        drt_rows *s = &c->sources[i];
        bool acc;
        drt_mat dx = drt_grad_target(t, s->x, &acc);
        if (!dx.data) continue;
        if (!acc) dev->k->fill(dev, dx, 0);
        dev->k->copy_rows(dev, dx, s->from, c->y->grad, s->to, s->scale, s->n, true);
    }
}

drt_tensor *drt_gather(drt_tape *t, int64_t rows, int64_t cols, bool disjoint, const drt_rows *sources, int n) {
    if (drt_tape_failed(t, NULL)) return NULL;
    bool learns = false;
    for (int i = 0; i < n; i++) {
        if (!sources[i].x) return NULL;
        if (sources[i].x->value.cols != cols) {
            drt_tape_fail(t, DRT_EARG, "gather: source %d has %lld columns, not %lld", i,
                          (long long)sources[i].x->value.cols, (long long)cols);
            return NULL;
        }
        learns |= sources[i].x->needs_grad;
    }
    drt_device *dev = drt_tape_device(t);
    drt_tensor *y = drt_tensor_new(t, rows, cols, learns);
    if (!y) return NULL;
    if (!disjoint) dev->k->fill(dev, y->value, 0);
    for (int i = 0; i < n; i++)
        dev->k->copy_rows(dev, y->value, sources[i].to, sources[i].x->value, sources[i].from, sources[i].scale,
                          sources[i].n, !disjoint);
    if (y->needs_grad) {
        gather *c = drt_tape_alloc(t, 1, sizeof *c);
        drt_rows *copy = drt_tape_alloc(t, n, sizeof *copy);
        if (!c || !copy) return NULL;
        memcpy(copy, sources, (size_t)n * sizeof *copy);
        *c = (gather){copy, n, y};
        drt_tape_record(t, gather_back, c, y, NULL);
    }
    return y;
}

drt_tensor *drt_select(drt_tape *t, drt_tensor *x, const int32_t *from, int64_t n) {
    if (!x) return NULL;
    return drt_gather(t, n, x->value.cols, true, &(drt_rows){x, NULL, from, NULL, n}, 1);
}
