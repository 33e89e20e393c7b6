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
    return (drt_item){s, (int)(i / chunks % at->kv_heads), first, end < q1 ? end : q1, at->k_offsets[s],
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

#endif
