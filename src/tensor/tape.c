#include "tensor/tape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    drt_back back;
    void *context;
    drt_tensor *out, *out2;
} node;

// Gradient buffers that are free again, by size: layers repeat, so exact sizes meet again.
typedef struct free_buffer {
    struct free_buffer *next;
    size_t bytes;
} free_buffer;

struct drt_tape {
    drt_device *dev;
    drt_arena *values, *grads;
    node *nodes;
    int64_t n, room;
    free_buffer *pool;
    bool record;
    uint64_t noise;
    drt_arena_limit limit; // of values and gradients together
    bool planned;          // the limit is a plan's
    drt_tap tap;
    void *user;
    drt_error error;
};

static drt_tape *tape_new(drt_device *dev, bool dry, drt_error *err) {
    drt_tape *t = calloc(1, sizeof *t);
    if (t) {
        t->dev = dev;
        t->values = dry ? drt_arena_new_dry() : drt_arena_new(0);
        t->grads = dry ? drt_arena_new_dry() : drt_arena_new(0);
    }
    if (!t || !t->values || !t->grads) {
        drt_tape_free(t);
        drt_fail(err, DRT_ENOMEM, "no memory for a tape");
        return NULL;
    }
    drt_arena_share(t->values, &t->limit);
    drt_arena_share(t->grads, &t->limit);
    return t;
}

drt_tape *drt_tape_new(drt_device *dev, drt_error *err) { return tape_new(dev, false, err); }
drt_tape *drt_tape_new_dry(drt_device *dev, drt_error *err) { return tape_new(dev, true, err); }

void drt_tape_free(drt_tape *t) {
    if (!t) return;
    drt_arena_free(t->values);
    drt_arena_free(t->grads);
    free(t->nodes);
    free(t);
}

void drt_tape_set_tap(drt_tape *t, drt_tap tap, void *user) {
    t->tap = tap;
    t->user = user;
}

void drt_tape_show(drt_tape *t, const char *stage, int index, const drt_tensor *x) {
    if (t->tap && x && !drt_tape_failed(t, NULL)) t->tap(t->user, stage, index, x->value);
}

void drt_tape_begin(drt_tape *t, bool record) {
    drt_arena_reset(t->values);
    drt_arena_reset(t->grads);
    t->pool = NULL;
    t->n = 0;
    t->record = record;
    t->noise = 0;
    t->error.code = DRT_OK;
}

bool drt_tape_recording(const drt_tape *t) { return t->record; }
bool drt_tape_set_recording(drt_tape *t, bool record) {
    bool was = t->record;
    t->record = record;
    return was;
}
void drt_tape_set_noise(drt_tape *t, uint64_t key) { t->noise = key; }
uint64_t drt_tape_noise(const drt_tape *t) { return t->noise; }
drt_device *drt_tape_device(drt_tape *t) { return t->dev; }
drt_arena *drt_tape_arena(drt_tape *t) { return t->values; }
size_t drt_tape_peak(const drt_tape *t) { return drt_arena_peak(t->values) + drt_arena_peak(t->grads); }

size_t drt_tape_spare(const drt_tape *t) { return drt_arena_spare(t->values) + drt_arena_spare(t->grads); }

void drt_tape_limit(drt_tape *t, size_t bytes) { t->limit.most = bytes; }

drt_tape_bytes drt_tape_need(const drt_tape *t) {
    return (drt_tape_bytes){drt_arena_peak(t->values), drt_arena_peak(t->grads)};
}

drt_status drt_tape_reserve(drt_tape *t, drt_tape_bytes need, size_t more, drt_error *err) {
    drt_tape_begin(t, false);
    t->limit.most = 0;
    if (!drt_arena_reserve(t->values, need.values) || !drt_arena_reserve(t->grads, need.grads))
        return drt_fail(err, DRT_ENOMEM, "no memory for the %.1f MB of activations that the plan names",
                        1e-6 * (double)(need.values + need.grads));
    t->limit.most = t->limit.held + more;
    t->planned = true;
    return DRT_OK;
}

void drt_tape_fail(drt_tape *t, drt_status code, const char *format, ...) {
    if (t->error.code) return;
    va_list args;
    t->error.code = code;
    va_start(args, format);
    vsnprintf(t->error.text, sizeof t->error.text, format, args);
    va_end(args);
}

drt_status drt_tape_failed(const drt_tape *t, drt_error *err) {
    const drt_error *e = t->error.code ? &t->error : &t->dev->error;
    if (e->code && err) *err = *e;
    return e->code;
}

// Uninitialised memory of the step; a failure says how much is held and what lowers it.
static void *take(drt_tape *t, drt_arena *arena, int64_t rows, int64_t cols, size_t size) {
    int64_t count;
    void *p = NULL;
    if (drt_tape_failed(t, NULL)) return NULL;
    if (rows >= 0 && cols >= 0 && !__builtin_mul_overflow(rows, cols, &count)) p = drt_arena_array(arena, count, size);
    double held = 1e-6 * (double)(drt_arena_mark(t->values) + drt_arena_mark(t->grads));
    if (!p && t->planned)
        drt_tape_fail(t, DRT_ENOMEM,
                      "a %lld x %lld matrix beside the %.1f MB of activations held is more than the %.1f MB that the "
                      "run planned with; raise memory, lower train.tokens or train.batch, or set train.recompute",
                      (long long)rows, (long long)cols, held, 1e-6 * (double)t->limit.most);
    else if (!p)
        drt_tape_fail(t, DRT_ENOMEM,
                      "no memory for a %lld x %lld matrix beside the %.1f MB of activations held; lower train.tokens "
                      "or train.batch, or set train.recompute",
                      (long long)rows, (long long)cols, held);
    return p;
}

void *drt_tape_alloc(drt_tape *t, int64_t count, size_t size) {
    void *p = take(t, t->values, 1, count, size);
    return p ? memset(p, 0, (size_t)count * size) : NULL;
}

drt_tensor *drt_tensor_wrap(drt_tape *t, drt_mat value, bool needs_grad) {
    drt_tensor *x = drt_tape_alloc(t, 1, sizeof *x);
    if (!x) return NULL;
    x->value = value;
    x->needs_grad = needs_grad && t->record;
    return x;
}

drt_tensor *drt_tensor_new(drt_tape *t, int64_t rows, int64_t cols, bool needs_grad) {
    float *data = take(t, t->values, rows, cols, 4);
    return data ? drt_tensor_wrap(t, drt_mat_f32(data, rows, cols), needs_grad) : NULL;
}

drt_mat drt_operand(drt_mat x, const drt_tensor *w) {
    if (x.type == DRT_F32) x.type = w->f16 ? DRT_AS_F16 : w->value.type == DRT_BF16 ? DRT_AS_BF16 : DRT_F32;
    return x;
}

drt_mat drt_weight_rows(const drt_tensor *w, int64_t row) {
    const drt_mat v = w->value, *block = w->base ? w->base->block : w->block;
    int64_t left = v.rows - row;
    if (!block) return drt_mat_part(v, row, left, 0, v.cols);
    if (w->base) row += w->row;
    for (; row >= block->rows; block++) row -= block->rows;
    if (left > block->rows - row) left = block->rows - row;
    return drt_mat_part(*block, row, left, w->base ? w->col : 0, v.cols);
}

void drt_tape_record(drt_tape *t, drt_back back, void *context, drt_tensor *out, drt_tensor *out2) {
    if (!t->record || drt_tape_failed(t, NULL)) return;
    if (t->n == t->room) {
        int64_t room = t->room ? 2 * t->room : 256;
        node *p = realloc(t->nodes, (size_t)room * sizeof *p);
        if (!p) {
            drt_tape_fail(t, DRT_ENOMEM, "no memory for %lld tape nodes", (long long)room);
            return;
        }
        t->nodes = p;
        t->room = room;
    }
    t->nodes[t->n++] = (node){back, context, out, out2};
}

// ---- gradients -----------------------------------------------------------------------------------------------------

static size_t buffer_bytes(drt_mat m) {
    size_t bytes = (size_t)m.rows * (size_t)m.cols * 4;
    return bytes < sizeof(free_buffer) ? sizeof(free_buffer) : bytes;
}

static void buffer_take(drt_tape *t, drt_tensor *x) {
    drt_mat v = x->value;
    size_t bytes = buffer_bytes(v);
    void *data = NULL;
    for (free_buffer **p = &t->pool; *p; p = &(*p)->next)
        if ((*p)->bytes == bytes) {
            data = *p;
            *p = (*p)->next;
            break;
        }
    if (!data) data = take(t, t->grads, 1, (int64_t)((bytes + 3) / 4), 4);
    x->grad = drt_mat_f32(data, v.rows, v.cols);
    x->grad_shared = false;
}

static void buffer_return(drt_tape *t, drt_tensor *x) {
    if (!x || !x->grad.data || x->leaf || x->base) return;
    if (!x->grad_shared) {
        free_buffer *b = x->grad.data;
        b->bytes = buffer_bytes(x->grad);
        b->next = t->pool;
        t->pool = b;
    }
    x->grad.data = NULL;
    x->grad_set = false;
}

drt_mat drt_grad_target(drt_tape *t, drt_tensor *x, bool *acc) {
    *acc = false;
    if (!x || !x->needs_grad || drt_tape_failed(t, NULL)) return (drt_mat){0};
    if (x->base) {
        drt_tensor *b = x->base;
        if (!b->grad.data) buffer_take(t, b);
        x->grad = drt_mat_part(b->grad, x->row, x->value.rows, x->col, x->value.cols);
        *acc = b->leaf || b->grad_set || x->grad_set; // a base written as a whole holds a gradient here, too
    } else if (x->parted && x->grad.data && !x->grad_set) {
        drt_tape_fail(t, DRT_EARG, "internal: a tensor with parts was used after its parts");
        return (drt_mat){0};
    } else {
        drt_mat shared = x->grad;
        *acc = x->leaf || x->grad_set;
        if (!x->grad.data || x->grad_shared) buffer_take(t, x);
        if (*acc && shared.data && shared.data != x->grad.data) t->dev->k->scale(t->dev, 1, shared, false, x->grad);
    }
    x->grad_set = true;
    return x->grad;
}

void drt_grad_pass(drt_tape *t, drt_tensor *from, drt_tensor *to) {
    if (!to || !to->needs_grad || drt_tape_failed(t, NULL)) return;
    if (!to->base && !to->leaf && !to->grad.data && !from->base && !from->leaf) {
        to->grad = from->grad;
        to->grad_set = true;
        to->grad_shared = from->grad_shared;
        from->grad.data = NULL;
        from->grad_set = false;
        return;
    }
    bool acc;
    drt_mat source = from->grad, d = drt_grad_target(t, to, &acc);
    if (d.data) t->dev->k->scale(t->dev, 1, source, acc, d);
}

void drt_grad_scalar(drt_tape *t, drt_tensor *x, float v) {
    bool acc;
    drt_mat d = drt_grad_target(t, x, &acc);
    if (d.data) *(float *)d.data = (acc ? *(float *)d.data : 0) + v;
}

static void run_back(drt_tape *t, int64_t from) {
    while (t->n > from && !drt_tape_failed(t, NULL)) {
        node nd = t->nodes[--t->n];
        bool always = !nd.out && !nd.out2;
        if (always || (nd.out && nd.out->grad_set) || (nd.out2 && nd.out2->grad_set)) nd.back(t, nd.context);
        buffer_return(t, nd.out);
        buffer_return(t, nd.out2);
    }
    t->n = from;
}

void drt_backward(drt_tape *t, drt_tensor *loss) {
    if (drt_tape_failed(t, NULL) || !loss) return;
    if (!t->record || loss->value.rows != 1 || loss->value.cols != 1) {
        drt_tape_fail(t, DRT_EARG, "backward wants a recorded scalar, not %lld x %lld", (long long)loss->value.rows,
                      (long long)loss->value.cols);
        return;
    }
    if (!loss->needs_grad) return;
    drt_grad_scalar(t, loss, 1);
    run_back(t, 0);
}

// ---- blocks --------------------------------------------------------------------------------------------------------

typedef struct {
    drt_block_fn fn;
    const void *context;
    drt_tensor *x, *y, *y2;
} replay;

static void move_grad(drt_tape *t, drt_tensor *from, drt_tensor *to) {
    if (from && to && from->grad_set && to->needs_grad) drt_grad_pass(t, from, to);
}

static void replay_back(drt_tape *t, void *context) {
    replay *r = context;
    size_t mark = drt_arena_mark(t->values);
    int64_t from = t->n;
    drt_tensor *x = drt_tensor_wrap(t, r->x->value, r->x->needs_grad), *y = NULL, *y2 = NULL;
    if (!x) return;
    r->fn(t, r->context, x, &y, &y2);
    move_grad(t, r->y, y);
    move_grad(t, r->y2, y2);
    run_back(t, from);
    if (x->grad_set) drt_grad_pass(t, x, r->x);
    buffer_return(t, x);
    drt_arena_release(t->values, mark);
}

static void copy_out(drt_tape *t, drt_tensor *from, drt_tensor *to) {
    if (!from || !to || drt_tape_failed(t, NULL)) return;
    if (from->value.rows != to->value.rows || from->value.cols != to->value.cols) {
        drt_tape_fail(t, DRT_EARG, "internal: a block made %lld x %lld where %lld x %lld was announced",
                      (long long)from->value.rows, (long long)from->value.cols, (long long)to->value.rows,
                      (long long)to->value.cols);
        return;
    }
    t->dev->k->scale(t->dev, 1, from->value, false, to->value);
    to->needs_grad = from->needs_grad;
}

drt_tensor *drt_block(drt_tape *t, drt_block_fn fn, const void *context, drt_tensor *x, const drt_block_shape *shape,
                      drt_tensor **y2) {
    if (y2) *y2 = NULL;
    if (!x || drt_tape_failed(t, NULL)) return NULL;
    drt_tensor *inner = NULL, *inner2 = NULL;
    if (t->record && !shape->recompute) {
        fn(t, context, x, &inner, &inner2);
        if (y2) *y2 = inner2;
        return inner;
    }
    drt_tensor *y = drt_tensor_new(t, shape->rows, shape->cols, false), *second = NULL;
    if (shape->rows2) second = drt_tensor_new(t, shape->rows2, shape->cols2, false);
    size_t mark = drt_arena_mark(t->values);
    int64_t nodes = t->n;
    // While recording, the first run records too: only so is it known what needs a gradient. The nodes are dropped.
    fn(t, context, x, &inner, &inner2);
    copy_out(t, inner, y);
    copy_out(t, inner2, second);
    t->n = nodes;
    if (drt_tape_failed(t, NULL)) return NULL;
    drt_arena_release(t->values, mark);
    if (y->needs_grad || (second && second->needs_grad)) {
        replay *r = drt_tape_alloc(t, 1, sizeof *r);
        if (!r) return NULL;
        *r = (replay){fn, context, x, y, second};
        drt_tape_record(t, replay_back, r, y, second);
    }
    if (y2) *y2 = second;
    return y;
}
