// Attention of heads as wide as a model (GPS: one of 2048), by products with oneDNN or f16.h: blocks of query rows by
// all keys of their sequence, the softmax row by row in between. Keys are read in place, nothing is packed here; memory
// is one block of scores (backward two). With A the probabilities of a block:
//   forward    A = softmax(scale q k^T),  out = A v
//   backward   dS = scale A (dout v^T - dout . out + g (visual - m)),  dq = dS k,  dk += dS^T q,  dv += A^T dout
#include "kernels/cpu/isa/attention.h"

// Rows of a block. Products of f16 pack their operands themselves, anew for each block.
enum { BLOCK = 256, F16_BLOCK = 1024 };

// Query rows [row, row + n) of one head, and the keys of their sequence.
typedef struct {
    const drt_attention *at;
    int head;
    int64_t row, n, k_first, keys, ls;
    int64_t block;
    float *p, *ds, *visual; // [block, ls], [block, ls], [ls]
    drt_mat out, lse, mass, dout, dmass;
} part;

// The columns of this head (of its group's keys) in rows [row, row + rows) of m.
static drt_mat of_head(drt_mat m, int64_t row, int64_t rows, int head, int64_t size) {
    return m.data ? drt_mat_part(m, row, rows, head * size, size) : (drt_mat){0};
}
static drt_mat queries(const part *w, drt_mat m) { return of_head(m, w->row, w->n, w->head, w->at->head_size); }
static drt_mat keys_of(const part *w, drt_mat m) {
    return of_head(m, w->k_first, w->keys, w->head / (w->at->heads / w->at->kv_heads), w->at->head_size);
}
static drt_mat scores(const part *w, float *at) { return (drt_mat){at, w->n, w->keys, w->ls, DRT_F32}; }

static void multiply(drt_device *dev, const part *w, bool ta, bool tb, drt_mat a, drt_mat b, bool acc, drt_mat c) {
    if (w->at->f16) a.type = b.type = DRT_AS_F16;
    drt_cpu_product(dev, ta, tb, a, b, (drt_mat){0}, acc, c);
}

static int64_t reach_of(const part *w, int64_t i) {
    int64_t n = w->at->reach ? w->at->reach[w->row + i] : w->keys;
    return n < 0 ? 0 : n > w->keys ? w->keys : n;
}

static void multiply_row(float *x, int64_t n, float f) {
    for (int64_t c = 0; c < n; c += VL) vstore(x + c, vload(x + c) * f);
}

static void normalise(const void *args, int64_t first, int64_t end, int worker) {
    const part *w = args;
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        float *p = w->p + i * w->ls, most, sum, seen;
        multiply_row(p, w->ls, w->at->scale * LOG2_E);
        drt_softmax_row(p, reach_of(w, i), w->ls, w->mass.data ? w->visual : NULL, &most, &sum, &seen);
        float by = sum > 0 ? 1.0f / sum : 0.0f;
        if (sum != sum) by = sum; // NaN shows
        multiply_row(p, w->ls, by);
        if (w->lse.data) drt_row(w->lse, w->row + i)[w->head] = sum == 0 ? -INFINITY : most * LN_2 + logf(sum);
        if (w->mass.data) drt_row(w->mass, w->row + i)[w->head] = seen * by;
    }
}

// One row: scores to probabilities (zero from n to `end`), dout . v to dS before scaling.
static void gradient_row(float *p, float *ds, int64_t n, int64_t end, float lse, float d, float g,
                         const float *visual) {
    int64_t c = 0;
    vf base = vset(lse * LOG2_E);
    for (; c + VL <= n; c += VL) {
        vf a = vexp2(vload(p + c) - base), t = vload(ds + c) - d;
        if (visual) t += g * vload(visual + c);
        vstore(p + c, a);
        vstore(ds + c, a * t);
    }
    if (c < n) {
        vf a = vfirst(vexp2(vload(p + c) - base), n - c), t = vload(ds + c) - d;
        if (visual) t += g * vload(visual + c);
        vstore(p + c, a);
        vstore(ds + c, vfirst(a * t, n - c));
        c += VL;
    }
    for (; c < end; c += VL) {
        vstore(p + c, vset(0.0f));
        vstore(ds + c, vset(0.0f));
    }
    // The probability of a single key is 1 whatever its score; rounding would leave a gradient.
    if (n == 1) ds[0] = 0;
}

static void differentiate(const void *args, int64_t first, int64_t end, int worker) {
    const part *w = args;
    int64_t size = w->at->head_size, column = w->head * size;
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        int64_t r = w->row + i;
        float *p = w->p + i * w->ls, *ds = w->ds + i * w->ls, g = 0;
        float d = drt_dot(drt_row(w->dout, r) + column, drt_row(w->out, r) + column, size);
        if (w->dmass.data) g = drt_row(w->dmass, r)[w->head], d += g * drt_row(w->mass, r)[w->head];
        multiply_row(p, w->ls, w->at->scale * LOG2_E);
        gradient_row(p, ds, reach_of(w, i), w->ls, drt_row(w->lse, r)[w->head], d, g, w->dmass.data ? w->visual : NULL);
        multiply_row(ds, w->ls, w->at->scale);
    }
}

// Room for `blocks` blocks of scores. Products take the other scratch.
static bool make_room(drt_device *dev, part *w, int blocks) {
    int64_t rows = drt_longest(w->at->sequences, w->at->q_offsets);
    w->block = w->at->f16 ? F16_BLOCK : BLOCK;
    if (w->block > rows) w->block = rows;
    w->ls = round_up(drt_most_keys(w->at), VL);
    w->p = drt_cpu_expanded(dev, (size_t)((blocks * w->block + 1) * w->ls));
    if (!w->p) return false;
    w->ds = w->p + (blocks - 1) * w->block * w->ls;
    w->visual = w->p + blocks * w->block * w->ls;
    return true;
}

static void enter(part *w, int s) {
    w->k_first = w->at->k_offsets[s];
    w->keys = w->at->k_offsets[s + 1] - w->k_first;
    for (int64_t j = 0; w->at->visual && j < w->ls; j++)
        w->visual[j] = j < w->keys && w->at->visual[w->k_first + j] ? 1.0f : 0.0f;
}

void DRT_FN(attention_wide)(drt_device *dev, const drt_attention *at, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                            drt_mat lse, drt_mat mass) {
    part w = {.at = at, .lse = lse, .mass = mass};
    if (!make_room(dev, &w, 1)) return;
    for (int s = 0; s < at->sequences; s++) {
        enter(&w, s);
        for (w.head = 0; w.head < at->heads; w.head++)
            for (w.row = at->q_offsets[s]; w.row < at->q_offsets[s + 1]; w.row += w.n) {
                int64_t left = at->q_offsets[s + 1] - w.row;
                w.n = left < w.block ? left : w.block;
                multiply(dev, &w, false, true, queries(&w, q), keys_of(&w, k), false, scores(&w, w.p));
                drt_cpu_rows(dev, w.n, w.ls, normalise, &w);
                if (out.data) multiply(dev, &w, false, false, scores(&w, w.p), keys_of(&w, v), false, queries(&w, out));
            }
    }
}

void DRT_FN(attention_wide_back)(drt_device *dev, const drt_attention *at, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                                 drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq,
                                 drt_mat dk, drt_mat dv) {
    const int group = at->heads / at->kv_heads;
    part w = {.at = at, .out = out, .lse = lse, .mass = mass, .dout = dout, .dmass = dmass};
    if (!make_room(dev, &w, 2)) return;
    for (int s = 0; s < at->sequences; s++) {
        enter(&w, s);
        for (w.head = 0; w.head < at->heads; w.head++) {
            // dk and dv of a group's first block are written; of a sequence without rows they are zero.
            bool add = acc || w.head % group;
            w.row = at->q_offsets[s];
            do {
                int64_t left = at->q_offsets[s + 1] - w.row;
                w.n = left < w.block ? left : w.block;
                drt_mat p = scores(&w, w.p), ds = scores(&w, w.ds);
                multiply(dev, &w, false, true, queries(&w, q), keys_of(&w, k), false, p);
                multiply(dev, &w, false, true, queries(&w, dout), keys_of(&w, v), false, ds);
                drt_cpu_rows(dev, w.n, w.ls, differentiate, &w);
                if (dq.data) multiply(dev, &w, false, false, ds, keys_of(&w, k), acc, queries(&w, dq));
                if (dk.data) multiply(dev, &w, true, false, ds, queries(&w, q), add, keys_of(&w, dk));
                if (dv.data) multiply(dev, &w, true, false, p, queries(&w, dout), add, keys_of(&w, dv));
                add = true;
                w.row += w.n;
            } while (w.row < at->q_offsets[s + 1]);
        }
    }
}
