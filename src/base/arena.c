#include "base/arena.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, DEFAULT_BLOCK = 1 << 20, PIECE = 1 << 16 };
static const size_t dry_block = (size_t)1 << 40;

typedef struct block {
    struct block *prev;
    size_t size; // usable bytes
    size_t base; // arena offset of the block's first byte
    char *bytes;
} block;

struct drt_arena {
    block *top;
    size_t used; // arena offset of the next byte
    size_t peak, held;
    size_t first;
    drt_arena_limit *limit, own;
    bool dry;
};

static block *block_new(drt_arena *a, size_t size) {
    if (a->limit->most && (size > a->limit->most || a->limit->held > a->limit->most - size)) return NULL;
    block *b = malloc(sizeof *b);
    if (!b) return NULL;
    b->bytes = a->dry ? drt_memory_reserve(size) : drt_memory_take(size);
    if (!b->bytes) {
        free(b);
        return NULL;
    }
    b->size = size;
    b->prev = a->top;
    b->base = a->used;
    a->held += size;
    a->limit->held += size;
    a->top = b;
    return b;
}

static void block_pop(drt_arena *a) {
    block *b = a->top;
    a->top = b->prev;
    a->held -= b->size;
    a->limit->held -= b->size;
    drt_memory_return(b->bytes, b->size);
    free(b);
}

drt_arena *drt_arena_new(size_t first_block_bytes) {
    drt_arena *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->first = first_block_bytes ? (first_block_bytes + ALIGN - 1) / ALIGN * ALIGN : DEFAULT_BLOCK;
    a->limit = &a->own;
    return a;
}

drt_arena *drt_arena_new_dry(void) {
    drt_arena *a = drt_arena_new(dry_block);
    if (a) a->dry = true;
    return a;
}

void drt_arena_free(drt_arena *a) {
    if (!a) return;
    while (a->top) block_pop(a);
    free(a);
}

void *drt_arena_alloc(drt_arena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t n = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (n == 0) n = ALIGN;
    block *b = a->top;
    if (!b || a->used - b->base + n > b->size) {
        // Grow by at least what is held already, so that few blocks are needed before the first reset.
        size_t want = a->limit->most ? PIECE : a->held > a->first ? a->held : a->first;
        b = block_new(a, n > want ? n : want);
        if (!b && n < want) b = block_new(a, n);
        if (!b) return NULL;
    }
    void *p = b->bytes + (a->used - b->base);
    a->used += n;
    if (a->used > a->peak) a->peak = a->used;
    return p;
}

void *drt_arena_zalloc(drt_arena *a, size_t bytes) {
    void *p = drt_arena_alloc(a, bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

void *drt_arena_array(drt_arena *a, int64_t count, size_t size) {
    size_t bytes;
    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes)) return NULL;
    return drt_arena_alloc(a, bytes);
}

char *drt_arena_strdup(drt_arena *a, const char *s) {
    size_t n = strlen(s) + 1;
    char *p = drt_arena_alloc(a, n);
    return p ? memcpy(p, s, n) : NULL;
}

size_t drt_arena_mark(const drt_arena *a) { return a->used; }

void drt_arena_release(drt_arena *a, size_t mark) {
    // The lowest block stays: a mark taken before the first allocation must not cost the memory.
    while (a->top && a->top->prev && a->top->base >= mark) block_pop(a);
    a->used = mark;
}

void drt_arena_reset(drt_arena *a) {
    while (a->dry && a->top) block_pop(a); // so that the next round reads zeros, too
    while (a->limit->most && a->top && a->top->prev) block_pop(a);
    if (a->top && a->top->prev) {
        while (a->top) block_pop(a);
        a->used = 0;
        // One block for the whole peak; if it cannot be had, growing block by block still works.
        block_new(a, a->peak);
    }
    a->used = 0;
}

size_t drt_arena_peak(const drt_arena *a) { return a->peak; }

size_t drt_arena_spare(const drt_arena *a) { return a->held > a->used ? a->held - a->used : 0; }

bool drt_arena_reserve(drt_arena *a, size_t bytes) {
    while (a->top) block_pop(a);
    a->used = 0;
    return block_new(a, (bytes + ALIGN) / ALIGN * ALIGN) != NULL;
}

void drt_arena_share(drt_arena *a, drt_arena_limit *limit) { a->limit = limit; }
