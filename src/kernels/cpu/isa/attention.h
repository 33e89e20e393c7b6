// What the forward and the backward of attention share: the work item and its strips of query rows.
//
// Query rows are the columns of every block of scores, so that a vector holds one key's scores of VL rows: largest
// scores, sums and row terms are vectors, nothing is summed across a vector, and rows end at any number of keys.
#ifndef DRT_KERNELS_CPU_ATTENTION_H
#define DRT_KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/isa/table.h"
#include "kernels/cpu/isa/tile.h"

#define LOG2_E 1.44269504f
#define LN_2 0.69314718f

// One sequence and one key head with the query heads of its group. An item owns its rows of every output, so items may
// run in any order on any thread and give the same bits.
typedef struct {
    int sequence, kv_head;
    int64_t q_first, q_end; // query rows; a part of the sequence's where there are few items
    int64_t k_first, keys;  // its key rows
} drt_item;

// Up to PANEL columns of a block of scores: query rows, and in each the heads of the group, in this order (they share
// their keys, and a row of generation fills a vector with its group).
typedef struct {
    int64_t n;
    int vectors; // of VL columns
    struct {
        int64_t row;
        int head;
    } at[PANEL];
    int32_t reach[PANEL];                            // not descending; columns after the last repeat it
    int64_t least[TILE_VECTORS], most[TILE_VECTORS]; // reach in each vector
} drt_strip;

INLINE int64_t drt_reach(const drt_attention *at, const drt_item *item, int64_t r) {
    int64_t n = at->reach ? at->reach[r] : item->keys;
    return n < 0 ? 0 : n > item->keys ? item->keys : n;
}

// Rows of the longest of so many sequences, at least 1.
INLINE int64_t drt_longest(int sequences, const int32_t *offsets) {
    int64_t most = 1;
    for (int s = 0; s < sequences; s++) {
        int64_t n = offsets[s + 1] - offsets[s];
        most = n > most ? n : most;
    }
    return most;
}
INLINE int64_t drt_most_keys(const drt_attention *at) { return drt_longest(at->sequences, at->k_offsets); }

// Item i of `chunks` per sequence and key head; chunks divide the query rows.
INLINE drt_item drt_item_of(const drt_attention *at, int64_t i, int64_t chunks) {
    int64_t chunk = i % chunks;
    int s = (int)(i / chunks / at->kv_heads);
    int64_t q0 = at->q_offsets[s], q1 = at->q_offsets[s + 1], runs = (q1 - q0 + VL - 1) / VL;
    int64_t first = q0 + drt_part_first(runs, chunk, chunks) * VL;
    int64_t end = q0 + drt_part_first(runs, chunk + 1, chunks) * VL;
    return (drt_item){s,
                      (int)(i / chunks % at->kv_heads),
                      first,
                      end < q1 ? end : q1,
                      at->k_offsets[s],
                      at->k_offsets[s + 1] - at->k_offsets[s]};
}

// Columns of all strips of an item, and its strip from column `first` on.
INLINE int64_t drt_columns(const drt_attention *at, const drt_item *item) {
    return (item->q_end - item->q_first) * (at->heads / at->kv_heads);
}
static inline void drt_strip_of(const drt_attention *at, const drt_item *item, int64_t first, drt_strip *s) {
    int group = at->heads / at->kv_heads, head = (int)(first % group);
    int64_t row = item->q_first + first / group, left = drt_columns(at, item) - first;
    s->n = left < PANEL ? left : PANEL;
    s->vectors = (int)((s->n + VL - 1) / VL);
    for (int64_t c = 0; c < s->n; c++) {
        s->at[c].row = row, s->at[c].head = item->kv_head * group + head;
        s->reach[c] = (int32_t)drt_reach(at, item, row);
        if (++head == group) head = 0, row++;
    }
    for (int64_t c = s->n; c < s->vectors * VL; c++) s->reach[c] = s->reach[s->n - 1];
    for (int v = 0; v < s->vectors; v++) s->least[v] = s->reach[v * VL], s->most[v] = s->reach[v * VL + VL - 1];
}
// Keys that some column of the strip reaches, and the first vector that reaches key j.
INLINE int64_t drt_strip_keys(const drt_strip *s) { return s->most[s->vectors - 1]; }
INLINE int drt_strip_from(const drt_strip *s, int64_t j) {
    int v = 0;
    while (s->most[v] <= j) v++;
    return v;
}

// The first n floats of a vector at y (=|+=) x
INLINE void drt_put(float *y, int64_t n, vf x, const bool acc) { vstore_n(y, n, acc ? vload_n(y, n) + x : x); }

// m's row of column c, and the rows of all columns.
INLINE float *drt_head(drt_mat m, const drt_strip *s, int64_t c, int64_t size) {
    return drt_row(m, s->at[c].row) + s->at[c].head * size;
}
INLINE void drt_heads(drt_mat m, const drt_strip *s, int64_t size, const float *rows[PANEL]) {
    for (int64_t c = 0; c < s->n; c++) rows[c] = drt_head(m, s, c, size);
}

// The heads' channels [d, d + vectors * VL) of n <= TILE_ROWS columns from c on (=|+=) factor[c + i], or `scale` where
// factor is NULL, times the sum over keys j that these columns reach of p[j][c + i] * rows[j].
INLINE void drt_sum_over_keys(const int vectors, drt_mat to, const drt_strip *s, int64_t size, int64_t c, int64_t d,
                              const float *p, const float *rows, int64_t width, const float *factor, float scale,
                              const bool acc) {
    const vf zero[TILE_VECTORS] = {{0}};
    int64_t n = s->n - c < TILE_ROWS ? s->n - c : TILE_ROWS;
    drt_tile x;
    tile_fill(vectors, zero, x);
    tile_add(vectors, s->reach[c + n - 1], p + c, 1, PANEL, rows + d, width, x);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++) {
        if (i >= n) break;
        float *y = drt_head(to, s, c + i, size) + d, f = factor ? factor[c + i] : scale;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) drt_put(y + v * VL, size - d - v * VL, x[i][v] * f, acc);
    }
}

// Multiply-adds of one product over all items; below DRT_SMALL_ATTENTION (some 10 us) one thread does them all.
enum { DRT_SMALL_ATTENTION = 200000 };
INLINE int64_t drt_attention_work(const drt_attention *at) {
    int64_t n = 0;
    for (int s = 0; s < at->sequences; s++)
        n += (int64_t)(at->q_offsets[s + 1] - at->q_offsets[s]) * (at->k_offsets[s + 1] - at->k_offsets[s]);
    return n * at->heads * at->head_size;
}

// Items read short rows that lie far apart, which the processor does not foresee. While an item runs, a few rows at a
// time of what its thread will touch next are asked for: more at once would wait for each other, and large items, which
// compute longer on each row, would push their own rows out of the cache.
enum { DRT_AHEAD_FLOATS = 16384 };
typedef struct {
    int mats;
    struct {
        const float *at;
        int64_t ld, floats, rows;
    } mat[7];
    int64_t row;
} drt_ahead;

// `heads` of an item's own in rows [first, end) of m.
INLINE void drt_ahead_of(drt_ahead *a, const drt_attention *at, const drt_item *item, drt_mat m, int64_t first,
                         int64_t end, int heads) {
    int64_t floats = (int64_t)heads * at->head_size;
    if ((end - first) * floats > DRT_AHEAD_FLOATS) return;
    a->mat[a->mats].at = drt_row(m, first) + item->kv_head * floats;
    a->mat[a->mats].ld = m.ld, a->mat[a->mats].floats = floats, a->mat[a->mats++].rows = end - first;
}
INLINE void drt_ahead_of_queries(drt_ahead *a, const drt_attention *at, const drt_item *item, drt_mat m) {
    drt_ahead_of(a, at, item, m, item->q_first, item->q_end, at->heads / at->kv_heads);
}
INLINE void drt_ahead_of_keys(drt_ahead *a, const drt_attention *at, const drt_item *item, drt_mat m) {
    drt_ahead_of(a, at, item, m, item->k_first, item->k_first + item->keys, 1);
}
INLINE void drt_fetch(drt_ahead *a, int64_t rows) {
    for (int64_t end = a->row + rows; a->row < end; a->row++)
        for (int i = 0; i < a->mats; i++)
            for (int64_t d = 0; d < a->mat[i].floats && a->row < a->mat[i].rows; d += 16)
                __builtin_prefetch(a->mat[i].at + a->row * a->mat[i].ld + d, 0, 2);
}

// visual[j] is 1 for keys of the item that count in the mass, else 0.
static inline void drt_mark_visual(const drt_attention *at, const drt_item *item, float *visual, int64_t padded) {
    for (int64_t j = 0; j < item->keys; j++) visual[j] = at->visual[item->k_first + j] ? 1.0f : 0.0f;
    for (int64_t j = item->keys; j < padded; j++) visual[j] = 0.0f;
}

// Scores (in units of log 2) to probabilities before normalisation, in place, zero from n to `end`.
INLINE void drt_softmax_row(float *p, int64_t n, int64_t end, const float *visual, float *most, float *sum,
                            float *seen) {
    int64_t whole = n / VL * VL, c;
    vf m = vset(-INFINITY), s = vset(0.0f), g = vset(0.0f);
    for (c = 0; c < whole; c += VL) m = vmax(m, vload(p + c));
    *most = vlargest(m);
    for (; c < n; c++) *most = p[c] > *most ? p[c] : *most;
    m = vset(*most);
    for (c = 0; c < whole; c += VL) {
        vf e = vexp2(vload(p + c) - m);
        s += e;
        if (visual) g += e * vload(visual + c);
        vstore(p + c, e);
    }
    if (c < n) {
        vf e = vfirst(vexp2(vload(p + c) - m), n - c);
        s += e;
        if (visual) g += e * vload(visual + c);
        vstore(p + c, e);
        c += VL;
    }
    for (; c < end; c += VL) vstore(p + c, vset(0.0f));
    *sum = vsum(s);
    *seen = visual ? vsum(g) : 0.0f;
}

INLINE float drt_dot(const float *x, const float *y, int64_t n) {
    float t = 0;
#pragma omp simd reduction(+ : t)
    for (int64_t i = 0; i < n; i++) t += x[i] * y[i];
    return t;
}

// Heads from so many channels on, with so many query rows a sequence: keys and values of one leave the second cache
// before a block of rows comes back to them, and oneDNN's blocks are better (attention_wide.c).
enum { DRT_WIDE_HEAD = 512, DRT_WIDE_ROWS = 64 };
INLINE bool drt_attention_is_wide(const drt_attention *at) {
    return at->head_size >= DRT_WIDE_HEAD && at->q_offsets[at->sequences] >= DRT_WIDE_ROWS * at->sequences;
}
void DRT_FN(attention_wide)(drt_device *, const drt_attention *, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                            drt_mat lse, drt_mat mass);
void DRT_FN(attention_wide_back)(drt_device *, const drt_attention *, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                                 drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq,
                                 drt_mat dk, drt_mat dv);

#endif
