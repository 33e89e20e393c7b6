#include "align/share.h"

#include <string.h>

// All rows so far as a tree: what a row is depends on the row before it (-1: it is the first), its word and its visual
// token. Open addressing; a slot holds a row of the new batch + 1.
typedef struct {
    int32_t *slot, *before; // [mask + 1]; [rows]
    uint64_t mask;
} tree;

static bool tree_new(drt_tape *t, int64_t rows, tree *out) {
    uint64_t slots = 16;
    while (slots < 2 * (uint64_t)rows) slots *= 2;
    out->mask = slots - 1;
    out->slot = drt_tape_alloc(t, (int64_t)slots, sizeof *out->slot);
    out->before = drt_tape_alloc(t, rows, sizeof *out->before);
    return out->slot && out->before;
}

// The slot of such a row: its number + 1 is there, or 0 and it may be put there.
static int32_t *find(const tree *e, const drt_batch *made, int32_t before, int32_t token, int32_t visual) {
    uint64_t h = (uint64_t)(uint32_t)before * 0x9E3779B97F4A7C15u ^ (uint64_t)(uint32_t)token * 0xC2B2AE3D27D4EB4Fu ^
                 (uint64_t)(uint32_t)visual * 0x165667B19E3779F9u;
    for (h ^= h >> 29;; h++) {
        int32_t *slot = &e->slot[h & e->mask], row = *slot - 1;
        if (row < 0 || (e->before[row] == before && made->token[row] == token && made->visual[row] == visual))
            return slot;
    }
}

static bool allocate(drt_tape *t, const drt_batch *b, drt_batch *out) {
    *out = *b;
    int32_t **const field[] = {&out->token, &out->visual, &out->position, &out->reach,
                               &out->seen,  &out->select, &out->key_row,  &out->offsets};
    int64_t n = b->rows > b->sequences ? b->rows : b->sequences + 1;
    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        if (!(*field[i] = drt_tape_alloc(t, n, sizeof **field[i]))) return false;
    out->responds = drt_tape_alloc(t, n, sizeof *out->responds);
    out->key_offsets = b->offsets;
    return out->responds != NULL;
}

static int32_t add_row(const drt_batch *b, int64_t r, drt_batch *out) {
    int64_t to = out->rows++;
    out->token[to] = b->token[r];
    out->visual[to] = b->visual[r];
    out->position[to] = b->position[r];
    out->reach[to] = b->reach[r];
    out->seen[to] = b->seen[r];
    out->responds[to] = b->responds[r];
    return (int32_t)to;
}

const drt_batch *drt_share_prefixes(drt_tape *t, const drt_batch *b) {
    tree e;
    drt_batch *out = drt_tape_alloc(t, 1, sizeof *out);
    if (!out || !tree_new(t, b->rows, &e) || !allocate(t, b, out)) return NULL;
    int64_t selected = 0;
    out->rows = 0;
    for (int s = 0; s < b->sequences; s++) {
        bool own = false; // from its first row that is new, or read, a sequence goes its own way
        int32_t before = -1;
        out->offsets[s] = (int32_t)out->rows;
        for (int32_t r = b->offsets[s]; r < b->offsets[s + 1]; r++) {
            bool read = selected < b->selected && b->select[selected] == r;
            int32_t *slot = find(&e, out, before, b->token[r], b->visual[r]);
            if (!*slot || read) own = true;
            int32_t row = own ? add_row(b, r, out) : *slot - 1;
            e.before[row] = before;
            if (!*slot) *slot = row + 1;
            if (read) out->select[selected++] = row;
            out->key_row[r] = before = row;
        }
    }
    out->offsets[b->sequences] = (int32_t)out->rows;
    return out->rows < b->rows ? out : b;
}
