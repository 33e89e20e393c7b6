// What the forward and the backward of attention share: the work item and its rows.
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

INLINE int64_t drt_reach(const drt_attention *at, const drt_item *item, int64_t r) {
    int64_t n = at->reach ? at->reach[r] : item->keys;
    return n < 0 ? 0 : n > item->keys ? item->keys : n;
}

INLINE int64_t drt_most_keys(const drt_attention *at) {
    int64_t most = 1;
    for (int s = 0; s < at->sequences; s++) {
        int64_t n = at->k_offsets[s + 1] - at->k_offsets[s];
        most = n > most ? n : most;
    }
    return most;
}

// Item i of `chunks` per sequence and key head; chunks divide the query rows.
INLINE drt_item drt_item_of(const drt_attention *at, int64_t i, int64_t chunks) {
    int64_t chunk = i % chunks;
    int s = (int)(i / chunks / at->kv_heads);
    int64_t q0 = at->q_offsets[s], q1 = at->q_offsets[s + 1], tiles = (q1 - q0 + TILE_ROWS - 1) / TILE_ROWS;
    int64_t first = q0 + drt_part_first(tiles, chunk, chunks) * TILE_ROWS;
    int64_t end = q0 + drt_part_first(tiles, chunk + 1, chunks) * TILE_ROWS;
    return (drt_item){s,
                      (int)(i / chunks % at->kv_heads),
                      first,
                      end < q1 ? end : q1,
                      at->k_offsets[s],
                      at->k_offsets[s + 1] - at->k_offsets[s]};
}

// Multiply-adds of one product over all items; below DRT_SMALL_ATTENTION (some 10 us) one thread does them all.
enum { DRT_SMALL_ATTENTION = 200000 };
INLINE int64_t drt_attention_work(const drt_attention *at) {
    int64_t n = 0;
    for (int s = 0; s < at->sequences; s++)
        n += (int64_t)(at->q_offsets[s + 1] - at->q_offsets[s]) * (at->k_offsets[s + 1] - at->k_offsets[s]);
    return n * at->heads * at->head_size;
}

// Reach of every row of a block (0 for rows that only pad) and, per tile of rows, the largest.
INLINE int64_t drt_block_reach(const drt_attention *at, const drt_item *item, int64_t r, int64_t n, int64_t padded,
                               int64_t *reach, int64_t *tile) {
    int64_t most = 0;
    for (int64_t i = 0; i < padded; i++) {
        reach[i] = i < n ? drt_reach(at, item, r + i) : 0;
        if (i % TILE_ROWS == 0) tile[i / TILE_ROWS] = 0;
        if (reach[i] > tile[i / TILE_ROWS]) tile[i / TILE_ROWS] = reach[i];
        if (reach[i] > most) most = reach[i];
    }
    return most;
}

// scores[i][j] = a[i] . keys[j] for a block of `padded` rows and, tile by tile, as many keys as it reaches.
INLINE void drt_block_scores(const float *a, int64_t a_row, int64_t size, const float *panels, int64_t padded,
                             const int64_t *tile, int64_t most, float *scores, int64_t ls) {
    for (int64_t j = 0; j < most; j += PANEL)
        for (int64_t i = 0; i < padded; i += TILE_ROWS) {
            int64_t left = tile[i / TILE_ROWS] - j;
            if (left <= 0) continue;
            int vectors = left >= PANEL ? TILE_VECTORS : (int)((left + VL - 1) / VL);
            tile_rows(vectors, size, a + i * a_row, a_row, panels + j * size, PANEL, scores + i * ls + j, ls);
        }
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

// One row: scores to probabilities (zero from n to `end`), dout . v to dS before scaling.
INLINE void drt_gradient_row(float *p, float *ds, int64_t n, int64_t end, float lse, float d, float g,
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
