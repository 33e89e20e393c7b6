// Words come again: what the model made of one is kept for the rest of the call. Texts below a few kilobytes are done
// before this would pay.
#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_TEXT = 16 << 10, ROOM = 8192, MOST_BYTES = 32, MOST_PIECES = 8 };

struct tok_cached {
    uint32_t hash;
    uint8_t size, n; // size 0: free
    unsigned char bytes[MOST_BYTES];
    uint8_t end[MOST_PIECES];
    int32_t id[MOST_PIECES];
};

void drt_tok_cache_open(tok_scratch *s, int64_t text_size) {
    if (text_size >= LEAST_TEXT) s->cache = calloc(ROOM, sizeof *s->cache); // without memory for it: no cache
}

bool drt_tok_cache_get(tok_scratch *s, uint32_t hash, const unsigned char *w, int32_t from, int32_t to, int32_t *n) {
    int32_t size = to - from;
    if (!s->cache || size > MOST_BYTES) return false;
    const tok_cached *c = &s->cache[hash % ROOM];
    if (c->hash != hash || c->size != size || memcmp(c->bytes, w + from, (size_t)size)) return false;
    for (int i = 0; i < c->n; i++) s->ids[*n] = c->id[i], s->ends[(*n)++] = from + c->end[i];
    return true;
}

void drt_tok_cache_put(tok_scratch *s, uint32_t hash, const unsigned char *w, int32_t from, int32_t to, int32_t first,
                       int32_t n) {
    int32_t size = to - from;
    if (!s->cache || size > MOST_BYTES || n - first > MOST_PIECES) return;
    tok_cached *c = &s->cache[hash % ROOM];
    c->hash = hash;
    c->size = (uint8_t)size;
    c->n = (uint8_t)(n - first);
    memcpy(c->bytes, w + from, (size_t)size);
    for (int32_t i = first; i < n; i++) c->id[i - first] = s->ids[i], c->end[i - first] = (uint8_t)(s->ends[i] - from);
}
