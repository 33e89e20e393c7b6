// An arena hands out memory by bumping a pointer and takes it all back at once.
//
//   drt_arena *a = drt_arena_new(0);
//   float *x = drt_arena_alloc(a, n * sizeof *x);     // NULL when memory is out
//   size_t m = drt_arena_mark(a);  ...  drt_arena_release(a, m);
//   drt_arena_reset(a);                               // keeps the memory for the next round
//
// The first round may take several blocks; at reset they are replaced by one block as large as the peak, so that
// later rounds of the same size never call malloc. Blocks are aligned to 64 bytes. Not thread-safe.
#ifndef DRT_BASE_ARENA_H
#define DRT_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct drt_arena drt_arena;

drt_arena *drt_arena_new(size_t first_block_bytes); // 0: a default; NULL when memory is out
// An arena of addresses alone: what is handed out reads as zero and takes memory only where it is written to.
// drt_arena_peak then tells what a computation would need (a dry run).
drt_arena *drt_arena_new_dry(void);
void drt_arena_free(drt_arena *a);                  // NULL is allowed
void *drt_arena_alloc(drt_arena *a, size_t bytes);  // uninitialised; NULL when memory is out
void *drt_arena_zalloc(drt_arena *a, size_t bytes); // zeroed
// count * size with the overflow check; NULL on overflow or when memory is out.
void *drt_arena_array(drt_arena *a, int64_t count, size_t size);
char *drt_arena_strdup(drt_arena *a, const char *s);
size_t drt_arena_mark(const drt_arena *a);         // bytes in use
void drt_arena_release(drt_arena *a, size_t mark); // everything handed out since the mark becomes invalid
void drt_arena_reset(drt_arena *a);                // release to 0 and merge blocks
size_t drt_arena_peak(const drt_arena *a);         // most bytes ever in use
size_t drt_arena_spare(const drt_arena *a);        // bytes held and not in use
// Memory that several arenas may hold together: an allocation past it returns NULL. An arena under a limit grows by
// little, and a reset gives back all but its first block, which is its own, to those it shares with.
typedef struct {
    size_t most, held; // most 0: there is none
} drt_arena_limit;
// *limit must outlive the arena, which holds nothing yet.
void drt_arena_share(drt_arena *a, drt_arena_limit *limit);
// Gives an arena, from which nothing is handed out, one block of so many bytes. False when memory is out.
bool drt_arena_reserve(drt_arena *a, size_t bytes);

#endif
