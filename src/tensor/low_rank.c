// Low-rank additions to weights (LoRA, Hu et al. 2021):  y += scale * drop(x) a^T b^T, in place.
// Backward, with h = scale * drop(x) a^T kept and the mask made anew:
//   db += dy^T h;  dh = scale * dy b;  da += dh^T drop(x);  dx += drop(dh a).
#include "base/rng.h"
#include "tensor/ops.h"

typedef struct {
    const drt_low_rank *l;
    drt_tensor *x, *y;
    drt_mat h;     // [n, rank]
    int64_t first; // of b's rows, as many as the columns of y from `col` on
    int64_t rows, col;
    uint64_t key;
    float rate; // 0: nothing is dropped
} addition;

// Uninitialised memory of the step; data NULL when it is out.
static drt_mat room(drt_tape *t, int64_t rows, int64_t cols) {
    drt_tensor *x = drt_tensor_new(t, rows, cols, false);
    return x ? x->value : (drt_mat){0};
}

static const drt_low_rank *list_of(const drt_tensor *w) { return w->base ? w->base->added : w->added; }

bool drt_low_rank_learns(const drt_tensor *w) {
    for (const drt_low_rank *l = list_of(w); l; l = l->next)
        if (l->a->needs_grad || l->b->needs_grad) return true;
    return false;
}

// x after dropout: x itself, or a temporary.
static drt_mat dropped(drt_tape *t, const addition *c) {
    drt_device *dev = drt_tape_device(t);
    drt_mat x = c->x->value;
    if (c->rate <= 0) return x;
    drt_mat y = room(t, x.rows, x.cols);
    if (y.data) dev->k->drop(dev, c->key, c->rate, x, false, y);
    return y;
}

static drt_mat b_rows(const addition *c, drt_mat b) { return drt_mat_part(b, c->first, c->rows, 0, b.cols); }
static drt_mat y_cols(const addition *c, drt_mat y) { return drt_mat_part(y, 0, y.rows, c->col, c->rows); }

// dx += drop(dh a)
static void input_gradient(drt_tape *t, const addition *c, drt_mat dh) {
    drt_device *dev = drt_tape_device(t);
    bool acc;
    drt_mat dx = drt_grad_target(t, c->x, &acc), a = c->l->a->value;
    if (!dx.data) return;
    if (c->rate <= 0) {
        dev->k->matmul(dev, false, false, dh, a, (drt_mat){0}, acc, dx);
        return;
    }
    drt_mat g = room(t, dx.rows, dx.cols);
    if (!g.data) return;
    dev->k->matmul(dev, false, false, dh, a, (drt_mat){0}, false, g);
    dev->k->drop(dev, c->key, c->rate, g, acc, dx);
}

static void addition_back(drt_tape *t, void *context) {
    const addition *c = context;
    drt_device *dev = drt_tape_device(t);
    bool acc;
    if (!c->y->grad.data || !c->y->grad_set) return;
    drt_mat dy = y_cols(c, c->y->grad), da = drt_grad_target(t, c->l->a, &acc), db = drt_grad_target(t, c->l->b, &acc);
    size_t mark = drt_arena_mark(drt_tape_arena(t));
    if (db.data) dev->k->matmul(dev, true, false, dy, c->h, (drt_mat){0}, true, b_rows(c, db));
    drt_mat dh = room(t, c->h.rows, c->h.cols);
    if (dh.data) {
        dev->k->matmul(dev, false, false, dy, b_rows(c, c->l->b->value), (drt_mat){0}, false, dh);
        dev->k->scale(dev, c->l->scale, dh, false, dh);
        drt_mat x = da.data ? dropped(t, c) : (drt_mat){0};
        if (x.data) dev->k->matmul(dev, true, false, dh, x, (drt_mat){0}, true, da);
        input_gradient(t, c, dh);
    }
    drt_arena_release(drt_tape_arena(t), mark);
}

static void add_one(drt_tape *t, const addition *one) {
    drt_device *dev = drt_tape_device(t);
    addition *c = drt_tape_alloc(t, 1, sizeof *c);
    drt_mat h = room(t, one->x->value.rows, one->l->a->value.rows);
    if (!c || !h.data) return;
    *c = *one;
    c->h = h;
    size_t mark = drt_arena_mark(drt_tape_arena(t));
    drt_mat x = dropped(t, c);
    if (x.data) {
        dev->k->matmul(dev, false, true, x, c->l->a->value, (drt_mat){0}, false, c->h);
        dev->k->scale(dev, c->l->scale, c->h, false, c->h);
        dev->k->matmul(dev, false, true, c->h, b_rows(c, c->l->b->value), (drt_mat){0}, true, y_cols(c, c->y->value));
    }
    drt_arena_release(drt_tape_arena(t), mark);
    // Always runs: y's gradient is still wanted by the product that made y.
    if (c->y->needs_grad) drt_tape_record(t, addition_back, c, NULL, NULL);
}

void drt_low_rank_add(drt_tape *t, drt_tensor *x, const drt_tensor *w, drt_tensor *y) {
    int64_t from = w->base ? w->row : 0, to = from + w->value.rows;
    uint64_t noise = drt_tape_noise(t);
    for (const drt_low_rank *l = list_of(w); l && !drt_tape_failed(t, NULL); l = l->next) {
        int64_t end = l->row + l->b->value.rows, first = l->row > from ? l->row : from, last = end < to ? end : to;
        if (first >= last) continue;
        add_one(t, &(addition){.l = l,
                               .x = x,
                               .y = y,
                               .first = first - l->row,
                               .rows = last - first,
                               .col = first - from,
                               .key = drt_hash((uint64_t[]){noise, l->key}, 2 * sizeof(uint64_t)),
                               .rate = noise ? l->dropout : 0});
    }
}

drt_tensor *drt_low_rank_apart(drt_tape *t, drt_tensor *x, const drt_tensor *w, drt_tensor **b) {
    const drt_low_rank *l = list_of(w);
    *b = NULL;
    if (!l) return NULL;
    if (l->next || l->row || l->b->value.rows != w->value.rows || w->base) {
        drt_tape_fail(t, DRT_EARG, "low rank: this product takes one addition, to all rows of its weight");
        return NULL;
    }
    drt_tensor *h = drt_linear(t, drt_drop(t, l->dropout, l->key, x), l->a, NULL);
    float *scale = drt_tape_alloc(t, x->value.rows, sizeof *scale);
    if (!h || !scale) return NULL;
    for (int64_t i = 0; i < x->value.rows; i++) scale[i] = l->scale;
    *b = l->b;
    return drt_gather(t, x->value.rows, l->a->value.rows, true, &(drt_rows){h, NULL, NULL, scale, x->value.rows}, 1);
}
