// Varlen attention, backward: the probabilities of a block are recomputed from lse, nothing of rows x keys is kept.
// With A the probabilities, m the guided mass and g its gradient (METHODS 2.3):
//   dS = A (dout . v - dout . out + g (visual - m)),  dq = scale dS k,  dk = scale dS^T q,  dv = A^T dout
// An item holds dk and dv of its keys in scratch and writes them once.
#include "kernels/cpu/isa/attention.h"

enum { BLOCK = 8 * TILE_ROWS };

typedef struct {
    const drt_attention *at;
    drt_mat q, k, v, out, lse, mass, dout, dmass, dq, dk, dv;
    bool acc;
    float *scratch; // [threads][floats]
    size_t floats;
    int64_t most_keys;
} job;

typedef struct {
    float *kt, *vt, *k, *dk, *dv, *q, *dout, *dq, *p, *ds, *visual;
    int64_t ls, width;
} room;

static size_t room_floats(int64_t keys, int64_t size) {
    int64_t ls = round_up(keys, PANEL), width = round_up(size, VL), padded = round_up(keys, TILE_ROWS);
    return (size_t)round_up(2 * ls * size + 3 * padded * width + 3 * BLOCK * width + (2 * BLOCK + 1) * ls, 16);
}

static room room_at(float *at, int64_t keys, int64_t size) {
    room m = {.ls = round_up(keys, PANEL), .width = round_up(size, VL)};
    int64_t padded = round_up(keys, TILE_ROWS);
    m.p = at;
    m.ds = m.p + BLOCK * m.ls;
    m.visual = m.ds + BLOCK * m.ls;
    m.q = m.visual + m.ls;
    m.dout = m.q + BLOCK * m.width;
    m.dq = m.dout + BLOCK * m.width;
    m.kt = m.dq + BLOCK * m.width;
    m.vt = m.kt + m.ls * size;
    m.k = m.vt + m.ls * size;
    m.dk = m.k + padded * m.width;
    m.dv = m.dk + padded * m.width;
    return m;
}

static void probabilities(const job *b, const room *m, int64_t r, int64_t n, int64_t padded, int h,
                          const int64_t *reach, const int64_t *tile) {
    int64_t size = b->at->head_size;
    for (int64_t i = 0; i < padded; i++) {
        float lse = 0, d = 0, g = 0;
        if (i < n) {
            lse = drt_row(b->lse, r + i)[h];
            d = drt_dot(drt_row(b->dout, r + i) + h * size, drt_row(b->out, r + i) + h * size, size);
            if (b->dmass.data) g = drt_row(b->dmass, r + i)[h], d += g * drt_row(b->mass, r + i)[h];
        }
        drt_gradient_row(m->p + i * m->ls, m->ds + i * m->ls, reach[i], round_up(tile[i / TILE_ROWS], VL), lse, d, g,
                         b->dmass.data ? m->visual : NULL);
    }
}

// keys[j] += sum over the block's rows of p[i][j] * rows[i], for keys that some row reaches.
static void add_to_keys(const room *m, const float *p, const float *rows, int64_t padded, const int64_t *tile,
                        int64_t longest, float *keys) {
    int64_t all = m->width / VL, first = 0;
    int split = tile_split(all);
    for (int64_t j = 0; j < longest; j += TILE_ROWS) {
        while (tile[first / TILE_ROWS] <= j) first += TILE_ROWS; // no row of these tiles reaches key j or a later one
        for (int64_t d = 0; d < all; d += split)
            tile_columns(all - d < split ? (int)(all - d) : split, padded - first, p + first * m->ls + j, m->ls,
                         rows + first * m->width + d * VL, m->width, keys + j * m->width + d * VL, m->width);
    }
}

static void put_rows(drt_mat to, int64_t row, int64_t column, int64_t n, int64_t size, const float *from, int64_t width,
                     float f, bool acc) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < size; d += VL) {
            float *y = drt_row(to, row + i) + column + d;
            vf x = vload(from + i * width + d) * f;
            vstore_n(y, size - d, acc ? vload_n(y, size - d) + x : x);
        }
}

// Query rows [r, r + n) of head h.
static void block(const job *b, const drt_item *item, const room *m, int64_t r, int64_t n, int h) {
    const drt_attention *at = b->at;
    int64_t size = at->head_size, padded = round_up(n, TILE_ROWS), reach[BLOCK], tile[BLOCK / TILE_ROWS];
    int64_t longest = drt_block_reach(at, item, r, n, padded, reach, tile), all = m->width / VL;
    int split = tile_split(all);
    pack_rows(drt_row(b->q, r) + h * size, b->q.ld, n, size, at->scale * LOG2_E, padded, m->width, m->q);
    pack_rows(drt_row(b->dout, r) + h * size, b->dout.ld, n, size, 1.0f, padded, m->width, m->dout);
    drt_block_scores(m->q, m->width, size, m->kt, padded, tile, longest, m->p, m->ls);
    drt_block_scores(m->dout, m->width, size, m->vt, padded, tile, longest, m->ds, m->ls);
    probabilities(b, m, r, n, padded, h, reach, tile);
    if (b->dq.data) {
        for (int64_t i = 0; i < padded; i += TILE_ROWS)
            for (int64_t d = 0; d < all; d += split)
                tile_rows(all - d < split ? (int)(all - d) : split, tile[i / TILE_ROWS], m->ds + i * m->ls, m->ls,
                          m->k + d * VL, m->width, m->dq + i * m->width + d * VL, m->width);
        put_rows(b->dq, r, h * size, n, size, m->dq, m->width, at->scale, b->acc);
    }
    if (b->dv.data) add_to_keys(m, m->p, m->dout, padded, tile, longest, m->dv);
    if (b->dk.data) add_to_keys(m, m->ds, m->q, padded, tile, longest, m->dk);
}

static void attend_back(const job *b, const drt_item *item, const room *m) {
    const drt_attention *at = b->at;
    int64_t size = at->head_size, keys = item->keys, column = item->kv_head * size;
    size_t bytes = (size_t)(round_up(keys, TILE_ROWS) * m->width) * sizeof(float);
    int group = at->heads / at->kv_heads;
    if (keys) {
        pack_transposed(drt_row(b->k, item->k_first) + column, b->k.ld, keys, size, m->kt);
        pack_transposed(drt_row(b->v, item->k_first) + column, b->v.ld, keys, size, m->vt);
        pack_rows(drt_row(b->k, item->k_first) + column, b->k.ld, keys, size, 1.0f, 0, m->width, m->k);
    }
    if (b->dk.data) memset(m->dk, 0, bytes);
    if (b->dv.data) memset(m->dv, 0, bytes);
    for (int64_t j = 0; b->dmass.data && j < m->ls; j++)
        m->visual[j] = j < keys && at->visual[item->k_first + j] ? 1.0f : 0.0f;
    for (int h = item->kv_head * group; h < (item->kv_head + 1) * group; h++)
        for (int64_t r = item->q_first; r < item->q_end; r += BLOCK)
            block(b, item, m, r, item->q_end - r < BLOCK ? item->q_end - r : BLOCK, h);
    // q was packed with scale * log2(e)
    if (b->dk.data) put_rows(b->dk, item->k_first, column, keys, size, m->dk, m->width, LN_2, b->acc);
    if (b->dv.data) put_rows(b->dv, item->k_first, column, keys, size, m->dv, m->width, 1.0f, b->acc);
}

static void attend_back_items(const void *args, int64_t first, int64_t end, int worker) {
    const job *b = args;
    room m = room_at(b->scratch + b->floats * (size_t)worker, b->most_keys, b->at->head_size);
    for (int64_t i = first; i < end; i++) {
        drt_item item = drt_item_of(b->at, i, 1);
        attend_back(b, &item, &m);
    }
}

void DRT_FN(attention_back)(drt_device *dev, const drt_attention *at, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                            drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq, drt_mat dk,
                            drt_mat dv) {
    if (!DRT_READY(dev, "attention_back", q, k, v, out, lse, mass, dout, dmass, dq, dk, dv)) return;
    if (!at->visual) dmass.data = NULL;
    if (drt_attention_is_wide(at)) {
        DRT_FN(attention_wide_back)(dev, at, q, k, v, out, lse, mass, dout, dmass, acc, dq, dk, dv);
        return;
    }
    int64_t items = (int64_t)at->sequences * at->kv_heads, keys = drt_most_keys(at);
    bool alone = dev->threads == 1 || drt_attention_work(at) < DRT_SMALL_ATTENTION;
    job b = {at, q, k, v, out, lse, mass, dout, dmass, dq, dk, dv, acc, .most_keys = keys};
    b.floats = room_floats(keys, at->head_size);
    b.scratch = drt_cpu_scratch(dev, b.floats * (size_t)(alone ? 1 : dev->threads));
    if (!b.scratch) return;
    if (alone && !dev->dry) attend_back_items(&b, 0, items, 0);
    else drt_cpu_each(dev, items, attend_back_items, &b);
}
