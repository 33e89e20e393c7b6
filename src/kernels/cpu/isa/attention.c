// Varlen attention, forward. Per item the keys and values are packed once, then strips of query rows run: scores by
// tiles and the largest of each row on the way, exponentials and their sums, times the values. Memory is one strip of
// scores and one sequence's keys per thread. The guided mass is one more sum among the exponentials.
#include "kernels/cpu/isa/attention.h"

typedef struct {
    float *p, *q, *k, *v, *visual; // scores [keys][PANEL], queries [size][PANEL], keys and values [keys][width], [keys]
    int64_t width;
} room;

static size_t room_floats(int64_t keys, int64_t size) {
    int64_t padded = round_up(keys, VL), width = round_up(size, VL);
    return (size_t)round_up(padded * (PANEL + 2 * width + 1) + width * PANEL, 16);
}

static room room_at(float *at, int64_t keys, int64_t size) {
    int64_t padded = round_up(keys, VL), width = round_up(size, VL);
    room m = {.p = at, .width = width};
    m.q = m.p + padded * PANEL;
    m.k = m.q + width * PANEL;
    m.v = m.k + padded * width;
    m.visual = m.v + padded * width;
    return m;
}

typedef struct {
    const drt_attention *at;
    drt_mat q, k, v, out, lse, mass;
    int chunks, threads;
    int64_t items;
    float *scratch; // [threads][floats]
    size_t floats;
    int64_t most_keys;
} job;

// What the columns of a strip come to: the largest score, the sum of exponentials, that of visual keys.
typedef struct {
    vf most[TILE_VECTORS], sum[TILE_VECTORS], seen[TILE_VECTORS];
} sums;

// A score that its row does not reach: below any other, but no infinity, whose difference to itself is no number.
#define HIDDEN (-1e38f)

// Scores of TILE_ROWS keys from key j on; reach is NULL where every column reaches all of them.
INLINE void score_tile(const int vectors, int64_t size, int64_t j, const float *k, int64_t width, const float *q,
                       const int32_t *reach, float *p, vf *most) {
    const vf zero[TILE_VECTORS] = {{0}};
    drt_tile s;
    tile_fill(vectors, zero, s);
    tile_add(vectors, size, k, width, 1, q, PANEL, s);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        vf m = most[v];
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) {
            if (reach) s[i][v] = vselect(vload_int(reach + v * VL) > (int32_t)(j + i), s[i][v], vset(HIDDEN));
            m = vmax(m, s[i][v]);
            vstore(p + i * PANEL + v * VL, s[i][v]);
        }
        most[v] = m;
    }
}

static void scores(const drt_strip *s, const room *m, int64_t size, vf *most, drt_ahead *ahead) {
    for (int v = 0; v < s->vectors; v++) most[v] = vset(-INFINITY);
    for (int64_t j = 0; j < drt_strip_keys(s); j += TILE_ROWS) {
        int v = drt_strip_from(s, j);
        drt_fetch(ahead, 2);
        const int32_t *reach = j + TILE_ROWS > s->least[v] ? s->reach + v * VL : NULL;
        BY_VECTORS(s->vectors - v, score_tile, size, j, m->k + j * m->width, m->width, m->q + v * VL, reach,
                   m->p + j * PANEL + v * VL, most + v);
    }
}

// Scores (in units of log 2) of keys [from, end) to probabilities before normalisation, and their sums.
INLINE void weigh(const int vectors, int64_t from, int64_t end, const float *visual, float *p, const vf *most, vf *sum,
                  vf *seen) {
    vf m[TILE_VECTORS], s[TILE_VECTORS], g[TILE_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) m[v] = most[v], s[v] = sum[v], g[v] = seen[v];
    for (int64_t j = from; j < end; j++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            vf e = vexp2(vload(p + j * PANEL + v * VL) - m[v]);
            s[v] += e;
            if (visual) g[v] += e * visual[j];
            vstore(p + j * PANEL + v * VL, e);
        }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[v] = s[v], seen[v] = g[v];
}

static void probabilities(const drt_strip *s, const room *m, const float *visual, sums *t) {
    int64_t from = 0;
    for (int v = 0; v < s->vectors; v++) t->sum[v] = t->seen[v] = vset(0.0f);
    for (int v = 0; v < s->vectors; from = s->most[v++]) // keys that no column of the vectors before v reaches
        BY_VECTORS(s->vectors - v, weigh, from, s->most[v], visual, m->p + v * VL, t->most + v, t->sum + v,
                   t->seen + v);
}

static void put_sums(const job *b, const drt_strip *s, const sums *t, float *by) {
    float lse[PANEL], mass[PANEL];
    for (int v = 0; v < s->vectors; v++) {
        vi some = vload_int(s->reach + v * VL) > 0;
        vf f = vselect(some, 1.0f / t->sum[v], vset(0.0f)); // a sum is at least 1, or NaN, which shows
        vstore(by + v * VL, f);
        vstore(mass + v * VL, t->seen[v] * f);
        vstore(lse + v * VL, vselect(some, t->most[v] * LN_2 + vlog(t->sum[v]), vset(-INFINITY)));
    }
    for (int64_t c = 0; c < s->n; c++) {
        if (b->lse.data) drt_row(b->lse, s->at[c].row)[s->at[c].head] = lse[c];
        if (b->mass.data) drt_row(b->mass, s->at[c].row)[s->at[c].head] = mass[c];
    }
}

static void attend_strip(const job *b, const drt_strip *s, const room *m, drt_ahead *ahead) {
    int64_t size = b->at->head_size, all = m->width / VL;
    int split = tile_split(all);
    const float *q[PANEL];
    float by[PANEL];
    sums t;
    drt_heads(b->q, s, size, q);
    pack_transposed(q, s->n, size, b->at->scale * LOG2_E, m->q);
    scores(s, m, size, t.most, ahead);
    probabilities(s, m, b->mass.data ? m->visual : NULL, &t);
    put_sums(b, s, &t, by);
    for (int64_t c = 0; b->out.data && c < s->n; c += TILE_ROWS) {
        drt_fetch(ahead, 3);
        for (int64_t d = 0; d < all; d += split)
            BY_VECTORS(all - d < split ? all - d : split, drt_sum_over_keys, b->out, s, size, c, d * VL, m->p, m->v,
                       m->width, by, 1, false);
    }
}

// One query row without packing, which would cost more than the product when one new token reads a cache of keys.
static void single_row(const job *b, const drt_item *item, const room *m, int64_t r, int h) {
    const drt_attention *at = b->at;
    int64_t size = at->head_size, n = drt_reach(at, item, r), column = item->kv_head * size;
    const float *q = drt_row(b->q, r) + h * size;
    float most, sum, seen, *o = m->q;
    for (int64_t j = 0; j < n; j++)
        m->p[j] = at->scale * LOG2_E * drt_dot(q, drt_row(b->k, item->k_first + j) + column, size);
    drt_softmax_row(m->p, n, round_up(n, VL), b->mass.data ? m->visual : NULL, &most, &sum, &seen);
    memset(o, 0, (size_t)size * sizeof *o);
    for (int64_t j = 0; j < n; j++) {
        const float *v = drt_row(b->v, item->k_first + j) + column;
        float p = m->p[j];
#pragma omp simd
        for (int64_t d = 0; d < size; d++) o[d] += p * v[d];
    }
    float by = sum > 0 ? 1.0f / sum : 0.0f;
    if (sum != sum) by = sum; // NaN shows
    for (int64_t d = 0; b->out.data && d < size; d++) drt_row(b->out, r)[h * size + d] = o[d] * by;
    if (b->lse.data) drt_row(b->lse, r)[h] = sum == 0 ? -INFINITY : most * LN_2 + logf(sum);
    if (b->mass.data) drt_row(b->mass, r)[h] = seen * by;
}

static void attend(const job *b, const drt_item *item, drt_ahead *ahead, const room *m) {
    const drt_attention *at = b->at;
    int64_t rows = item->q_end - item->q_first, size = at->head_size, column = item->kv_head * size;
    int64_t together = at->q_offsets[item->sequence + 1] - at->q_offsets[item->sequence];
    int group = at->heads / at->kv_heads, h0 = item->kv_head * group;
    if (rows <= 0) return;
    if (b->mass.data) drt_mark_visual(at, item, m->visual, round_up(item->keys, VL));
    // By the whole sequence, so that a row's bits do not depend on how the sequence was divided.
    if (together * group < TILE_ROWS) {
        for (int64_t i = 0; i < rows * group; i++)
            single_row(b, item, m, item->q_first + i / group, h0 + (int)(i % group));
        return;
    }
    if (item->keys) {
        int64_t padded = round_up(item->keys, TILE_ROWS);
        pack_rows(drt_row(b->k, item->k_first) + column, b->k.ld, item->keys, size, padded, m->width, m->k);
        pack_rows(drt_row(b->v, item->k_first) + column, b->v.ld, item->keys, size, 0, m->width, m->v);
    }
    for (int64_t first = 0; first < rows * group; first += PANEL) {
        drt_strip s;
        drt_strip_of(at, item, first, &s);
        attend_strip(b, &s, m, ahead);
    }
}

static void attend_items(const void *args, int64_t first, int64_t end, int worker) {
    const job *b = args;
    room m = room_at(b->scratch + b->floats * (size_t)worker, b->most_keys, b->at->head_size);
    for (int64_t i = first; i < end; i++) {
        drt_item item = drt_item_of(b->at, i, b->chunks);
        drt_ahead ahead = {0};
        if (i + b->threads < b->items) {
            drt_item next = drt_item_of(b->at, i + b->threads, b->chunks);
            drt_ahead_of_queries(&ahead, b->at, &next, b->q);
            drt_ahead_of_keys(&ahead, b->at, &next, b->k);
            drt_ahead_of_keys(&ahead, b->at, &next, b->v);
        }
        attend(b, &item, &ahead, &m);
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
    b.threads = alone ? 1 : dev->threads, b.items = items * b.chunks;
    b.scratch = drt_cpu_scratch(dev, b.floats * (size_t)(alone ? 1 : dev->threads));
    if (!b.scratch) return;
    if (alone && !dev->dry) attend_items(&b, 0, items, 0);
    else drt_cpu_each(dev, items * b.chunks, attend_items, &b);
}
