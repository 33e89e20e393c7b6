// Rotary positions and varlen attention with the guided mass.
#include "tensor/ops.h"

typedef struct {
    drt_tensor *x;
    int64_t col, cols;
    const int32_t *position;
    drt_mat table;
    int head_size;
} rope;

static void rope_back(drt_tape *t, void *context) {
    rope *c = context;
    drt_device *dev = drt_tape_device(t);
    if (!c->x->grad.data || !c->x->grad_set) return;
    drt_mat d = drt_mat_part(c->x->grad, 0, c->x->value.rows, c->col, c->cols);
    dev->k->rope(dev, d, c->position, c->table, c->head_size, true);
}

void drt_rope(drt_tape *t, drt_tensor *x, int64_t col, int64_t cols, const int32_t *position, drt_mat table,
              int head_size) {
    if (!x || drt_tape_failed(t, NULL)) return;
    if (col < 0 || cols < 0 || col + cols > x->value.cols || head_size <= 0 || table.cols > head_size ||
        table.cols % 2 || cols % head_size || x->parted || x->base) {
        drt_tape_fail(t, DRT_EARG, "rope: columns %lld+%lld of %lld, head size %d", (long long)col, (long long)cols,
                      (long long)x->value.cols, head_size);
        return;
    }
    for (int64_t r = 0; r < x->value.rows; r++)
        if (position[r] < 0 || position[r] >= table.rows) {
            drt_tape_fail(t, DRT_EDATA, "row %lld stands at position %d, the model has %lld; shorten the sample",
                          (long long)r, position[r], (long long)table.rows);
            return;
        }
    drt_device *dev = drt_tape_device(t);
    dev->k->rope(dev, drt_mat_part(x->value, 0, x->value.rows, col, cols), position, table, head_size, false);
    if (!x->needs_grad) return;
    rope *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!c) return;
    *c = (rope){x, col, cols, position, table, head_size};
    drt_tape_record(t, rope_back, c, NULL, NULL);
}

typedef struct {
    drt_attention shape;
    const int32_t *key_row; // NULL: keys are the rows of k and v
    drt_tensor *q, *k, *v, *out, *mass;
    drt_mat lse;
} attend;

// x for the kernel: its rows key by key, a temporary of the step's values; x itself without key_row. data NULL after a
// failure.
static drt_mat by_key(drt_tape *t, const attend *c, drt_mat x) {
    if (!c->key_row) return x;
    drt_device *dev = drt_tape_device(t);
    int64_t keys = c->shape.k_offsets[c->shape.sequences];
    drt_tensor *all = drt_tensor_new(t, keys, x.cols, false);
    if (!all) return (drt_mat){0};
    dev->k->copy_rows(dev, all->value, NULL, x, c->key_row, NULL, keys, false);
    return all->value;
}

// Where the kernel writes the gradient of k or v: with key_row a temporary, from which it is then added up.
static drt_mat key_target(drt_tape *t, const attend *c, drt_mat target) {
    if (!c->key_row || !target.data) return target;
    drt_tensor *all = drt_tensor_new(t, c->shape.k_offsets[c->shape.sequences], target.cols, false);
    return all ? all->value : (drt_mat){0};
}

static void add_up(drt_tape *t, const attend *c, drt_mat by_key, bool acc, drt_mat target) {
    drt_device *dev = drt_tape_device(t);
    if (!c->key_row || !target.data) return;
    if (!acc) dev->k->fill(dev, target, 0);
    dev->k->copy_rows(dev, target, c->key_row, by_key, NULL, NULL, by_key.rows, true);
}

static void attend_back(drt_tape *t, void *context) {
    attend *c = context;
    drt_device *dev = drt_tape_device(t);
    drt_mat none = {0}, dmass = c->mass && c->mass->grad_set ? c->mass->grad : none, dout = c->out->grad;
    if (!c->out->grad_set) { // only the mass was used
        bool unused;
        dout = drt_grad_target(t, c->out, &unused);
        if (dout.data) dev->k->fill(dev, dout, 0);
    }
    bool acc[3];
    drt_mat dq = drt_grad_target(t, c->q, &acc[0]), dk = drt_grad_target(t, c->k, &acc[1]),
            dv = drt_grad_target(t, c->v, &acc[2]);
    size_t mark = drt_arena_mark(drt_tape_arena(t));
    drt_mat k = by_key(t, c, c->k->value), v = by_key(t, c, c->v->value);
    drt_mat to_k = key_target(t, c, dk), to_v = key_target(t, c, dv);
    // The kernel writes or adds all three alike: everything adds if one must.
    bool fresh[3] = {!acc[0], c->key_row || !acc[1], c->key_row || !acc[2]};
    bool any = (dq.data && !fresh[0]) || (to_k.data && !fresh[1]) || (to_v.data && !fresh[2]);
    if (any) {
        if (dq.data && fresh[0]) dev->k->fill(dev, dq, 0);
        if (to_k.data && fresh[1]) dev->k->fill(dev, to_k, 0);
        if (to_v.data && fresh[2]) dev->k->fill(dev, to_v, 0);
    }
    if (!drt_tape_failed(t, NULL)) {
        dev->k->attention_back(dev, &c->shape, c->q->value, k, v, c->out->value, c->lse,
                               c->mass ? c->mass->value : none, dout, dmass, any, dq, to_k, to_v);
        add_up(t, c, to_k, acc[1], dk);
        add_up(t, c, to_v, acc[2], dv);
    }
    drt_arena_release(drt_tape_arena(t), mark);
}

static bool attend_fits(drt_tape *t, const drt_attention *s, bool by_row, drt_tensor *q, drt_tensor *k, drt_tensor *v) {
    bool ok = s->head_size > 0 && s->kv_heads > 0 && s->heads % s->kv_heads == 0 && s->sequences >= 0 &&
              q->value.cols == (int64_t)s->heads * s->head_size &&
              k->value.cols == (int64_t)s->kv_heads * s->head_size && v->value.cols == k->value.cols &&
              v->value.rows == k->value.rows && s->q_offsets[s->sequences] == q->value.rows &&
              (by_row || s->k_offsets[s->sequences] <= k->value.rows);
    if (!ok)
        drt_tape_fail(t, DRT_EARG, "attention: q %lld x %lld, k %lld x %lld for %d/%d heads of %d",
                      (long long)q->value.rows, (long long)q->value.cols, (long long)k->value.rows,
                      (long long)k->value.cols, s->heads, s->kv_heads, s->head_size);
    return ok;
}

drt_tensor *drt_attend(drt_tape *t, const drt_attention *shape, const int32_t *key_row, drt_tensor *q, drt_tensor *k,
                       drt_tensor *v, drt_tensor **mass) {
    if (mass) *mass = NULL;
    if (!q || !k || !v || drt_tape_failed(t, NULL) || !attend_fits(t, shape, key_row, q, k, v)) return NULL;
    drt_device *dev = drt_tape_device(t);
    bool learns = q->needs_grad || k->needs_grad || v->needs_grad, guided = shape->visual && mass;
    int64_t n = q->value.rows;
    drt_tensor *out = drt_tensor_new(t, n, q->value.cols, learns), *lse = drt_tensor_new(t, n, shape->heads, false);
    drt_tensor *m = guided ? drt_tensor_new(t, n, shape->heads, q->needs_grad || k->needs_grad) : NULL;
    attend *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!out || !lse || !c || (guided && !m)) return NULL;
    *c = (attend){*shape, key_row, q, k, v, out, m, lse->value};
    if (!guided) c->shape.visual = NULL;
    size_t mark = drt_arena_mark(drt_tape_arena(t));
    drt_mat keys = by_key(t, c, k->value), values = by_key(t, c, v->value);
    if (!drt_tape_failed(t, NULL))
        dev->k->attention(dev, &c->shape, q->value, keys, values, out->value, lse->value, m ? m->value : (drt_mat){0});
    drt_arena_release(drt_tape_arena(t), mark);
    if (learns) drt_tape_record(t, attend_back, c, out, m);
    if (guided) *mass = m;
    return out;
}
