// Varlen attention, forward. Per item the keys are packed transposed and the values padded once, then blocks of query
// rows run: scores by tiles, exact softmax of whole rows in L1, times the values. Memory is one block of scores and one
// sequence's keys per thread. The guided mass is one more sum in the softmax pass.
#include "kernels/cpu/isa/attention.h"

enum { BLOCK = 4 * TILE_ROWS };

typedef struct {
    float *kt, *v, *q, *p, *o, *visual;
    int64_t ls, width; // row lengths of p and of v, o
} room;

static size_t room_floats(int64_t keys, int64_t size) {
    int64_t ls = round_up(keys, PANEL), width = round_up(size, VL);
    return (size_t)round_up(ls * size + keys * width + BLOCK * width * 2 + (BLOCK + 1) * ls, 16);
}

static room room_at(float *at, int64_t keys, int64_t size) {
    room m = {.ls = round_up(keys, PANEL), .width = round_up(size, VL)};
    m.p = at;
    m.visual = m.p + BLOCK * m.ls;
    m.kt = m.visual + m.ls;
    m.v = m.kt + m.ls * size;
    m.q = m.v + keys * m.width;
    m.o = m.q + BLOCK * m.width;
    return m;
}

typedef struct {
    const drt_attention *at;
    drt_mat q, k, v, out, lse, mass;
    int chunks;
    float *scratch; // [threads][floats]
    size_t floats;
    int64_t most_keys;
} job;

static void finish_row(const job *b, int64_t r, int h, const float *o, float most, float sum, float seen) {
    int64_t size = b->at->head_size;
    float by = sum > 0 ? 1.0f / sum : 0.0f;
    if (sum != sum) by = sum; // NaN shows
    if (b->out.data)
        for (int64_t d = 0; d < size; d += VL) vstore_n(drt_row(b->out, r) + h * size + d, size - d, vload(o + d) * by);
    if (b->lse.data) drt_row(b->lse, r)[h] = sum == 0 ? -INFINITY : most * LN_2 + logf(sum);
    if (b->mass.data) drt_row(b->mass, r)[h] = seen * by;
}

// Query rows [r, r + n) of head h.
static void block(const job *b, const drt_item *item, const room *m, int64_t r, int64_t n, int h) {
    const drt_attention *at = b->at;
    int64_t size = at->head_size, padded = round_up(n, TILE_ROWS), reach[BLOCK], tile[BLOCK / TILE_ROWS];
    int64_t longest = drt_block_reach(at, item, r, n, padded, reach, tile);
    float most[BLOCK], sum[BLOCK], seen[BLOCK];
    pack_rows(drt_row(b->q, r) + h * size, b->q.ld, n, size, at->scale * LOG2_E, padded, m->width, m->q);
    drt_block_scores(m->q, m->width, size, m->kt, padded, tile, longest, m->p, m->ls);
    int split = tile_split(m->width / VL);
    for (int64_t i = 0; i < padded; i += TILE_ROWS) {
        int64_t depth = tile[i / TILE_ROWS], end = round_up(depth, VL);
        for (int64_t j = i; j < i + TILE_ROWS; j++)
            drt_softmax_row(m->p + j * m->ls, reach[j], end, b->mass.data ? m->visual : NULL, &most[j], &sum[j],
                            &seen[j]);
        for (int64_t d = 0, all = m->width / VL; d < all; d += split)
            tile_rows(all - d < split ? (int)(all - d) : split, depth, m->p + i * m->ls, m->ls, m->v + d * VL, m->width,
                      m->o + i * m->width + d * VL, m->width);
    }
    for (int64_t i = 0; i < n; i++) finish_row(b, r + i, h, m->o + i * m->width, most[i], sum[i], seen[i]);
}

static void mark_visual(const drt_attention *at, const drt_item *item, float *visual, int64_t padded) {
    for (int64_t j = 0; j < item->keys; j++) visual[j] = at->visual[item->k_first + j] ? 1.0f : 0.0f;
    for (int64_t j = item->keys; j < padded; j++) visual[j] = 0.0f;
}

// One query row without packing, which would cost more than the product when one new token reads a cache of keys.
static void single_row(const job *b, const drt_item *item, const room *m, int64_t r, int h) {
    const drt_attention *at = b->at;
    int64_t size = at->head_size, n = drt_reach(at, item, r), column = item->kv_head * size;
    const float *q = drt_row(b->q, r) + h * size;
    float most, sum, seen;
    for (int64_t j = 0; j < n; j++)
        m->p[j] = at->scale * LOG2_E * drt_dot(q, drt_row(b->k, item->k_first + j) + column, size);
    drt_softmax_row(m->p, n, round_up(n, VL), b->mass.data ? m->visual : NULL, &most, &sum, &seen);
    memset(m->o, 0, (size_t)m->width * sizeof(float));
    for (int64_t j = 0; j < n; j++) {
        const float *v = drt_row(b->v, item->k_first + j) + column;
        float p = m->p[j];
#pragma omp simd
        for (int64_t d = 0; d < size; d++) m->o[d] += p * v[d];
    }
    finish_row(b, r, h, m->o, most, sum, seen);
}

static void attend(const job *b, const drt_item *item, const room *m) {
    const drt_attention *at = b->at;
    int64_t rows = item->q_end - item->q_first, size = at->head_size, column = item->kv_head * size;
    int64_t together = at->q_offsets[item->sequence + 1] - at->q_offsets[item->sequence];
    int group = at->heads / at->kv_heads, h0 = item->kv_head * group;
    if (rows <= 0) return;
    if (b->mass.data) mark_visual(at, item, m->visual, m->ls);
    // By the whole sequence, so that a row's bits do not depend on how the sequence was divided.
    if (together * group < TILE_ROWS) {
        for (int64_t i = 0; i < rows * group; i++)
            single_row(b, item, m, item->q_first + i / group, h0 + (int)(i % group));
        return;
    }
    if (item->keys) {
        pack_transposed(drt_row(b->k, item->k_first) + column, b->k.ld, item->keys, size, m->kt);
        pack_rows(drt_row(b->v, item->k_first) + column, b->v.ld, item->keys, size, 1.0f, 0, m->width, m->v);
    }
    for (int h = h0; h < h0 + group; h++)
        for (int64_t r = item->q_first; r < item->q_end; r += BLOCK)
            block(b, item, m, r, item->q_end - r < BLOCK ? item->q_end - r : BLOCK, h);
}

static void attend_items(const void *args, int64_t first, int64_t end, int worker) {
    const job *b = args;
    room m = room_at(b->scratch + b->floats * (size_t)worker, b->most_keys, b->at->head_size);
    for (int64_t i = first; i < end; i++) {
        drt_item item = drt_item_of(b->at, i, b->chunks);
        attend(b, &item, &m);
    }
}

void DRT_FN(attention)(drt_device *dev, const drt_attention *at, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                       drt_mat lse, drt_mat mass) {
    if (!DRT_READY(dev, "attention", q, k, v, out, lse, mass)) return;
    if (!at->visual) mass.data = NULL;
    if (drt_attention_is_wide(at)) {
        DRT_FN(attention_wide)(dev, at, q, k, v, out, lse, mass);
        return;
    }
    int64_t work = drt_attention_work(at), items = (int64_t)at->sequences * at->kv_heads, keys = drt_most_keys(at);
    bool alone = dev->threads == 1 || work < DRT_SMALL_ATTENTION;
    job b = {at, q, k, v, out, lse, mass, .chunks = 1, .most_keys = keys, .floats = room_floats(keys, at->head_size)};
    // With few items the query rows divide too; every part packs the keys again.
    if (!alone && items && items < 2 * dev->threads) b.chunks = (int)((2 * dev->threads + items - 1) / items);
    b.scratch = drt_cpu_scratch(dev, b.floats * (size_t)(alone ? 1 : dev->threads));
    if (!b.scratch) return;
    if (alone && !dev->dry) attend_items(&b, 0, items, 0);
    else drt_cpu_each(dev, items * b.chunks, attend_items, &b);
}
