#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

// Words are merged WINDOW symbols at a time, of which the next window makes the last OVERLAP pieces again.
enum { WINDOW = 512, OVERLAP = 8 };

// ---- merging ----

// A tree of minima over pairs of neighbours, each the least of four: leaf i is rank << 32 | i of the pair that symbol i
// begins, so that the root is the best pair, of equals the leftmost. Its work does not depend on the data: a heap
// mispredicts at each level.
enum { LEVELS = 17 }; // of fours, enough for 2^31 leaves
typedef struct {
    uint64_t *level[LEVELS]; // leaves first; each level filled up to whole fours
    int levels;
    int32_t *before, *after; // neighbours of a symbol; after the last: n
    uint32_t *into;          // what the pair that it begins becomes
    int32_t n;
} merging;

#define NO_PAIR UINT64_MAX

static bool merging_room(tok_scratch *s, merging *m, int32_t n) {
    size_t size[LEVELS], nodes = 0;
    m->levels = 0;
    for (size_t k = (size_t)n; m->levels == 0 || size[m->levels - 1] > 4; k = (k + 3) / 4)
        nodes += size[m->levels++] = (k + 3) / 4 * 4;
    if (n > s->merging_room) {
        void *grown = realloc(s->merging, nodes * sizeof(uint64_t) + (size_t)n * 3 * sizeof(int32_t));
        if (!grown) return false;
        s->merging = grown;
        s->merging_room = n;
    }
    uint64_t *at = s->merging;
    for (size_t i = 0; i < nodes; i++) at[i] = NO_PAIR;
    for (int l = 0; l < m->levels; at += size[l++]) m->level[l] = at;
    m->before = (int32_t *)at;
    m->after = m->before + n;
    m->into = (uint32_t *)(m->after + n);
    m->n = n;
    return true;
}

static void set_pair(const tok_bpe *b, merging *m, const int32_t *id, int32_t i) {
    int32_t next = m->after[i];
    m->level[0][i] = NO_PAIR;
    if (next == m->n) return;
    uint32_t pair = drt_tok_pair_hash((uint32_t)id[i], (uint32_t)id[next]) & b->mergeable_mask;
    if (!(b->mergeable[pair / 64] >> pair % 64 & 1)) return;
    const tok_merge *found = drt_tok_merge_slot(b, (uint32_t)id[i], (uint32_t)id[next]);
    if (found->rank != TOK_NO_RANK) m->level[0][i] = (uint64_t)found->rank << 32 | (uint32_t)i;
    m->into[i] = found->id;
}

static uint64_t least(const uint64_t *of) {
    uint64_t a = of[0] < of[1] ? of[0] : of[1], b = of[2] < of[3] ? of[2] : of[3];
    return a < b ? a : b;
}

// Merges until no pair is left that merges; how many pieces, -1: no memory.
static int32_t merge(const tok_bpe *b, tok_scratch *s, int32_t *id, int32_t *end, int32_t n) {
    merging m;
    if (n < 2) return n;
    if (!merging_room(s, &m, n)) return -1;
    for (int32_t i = 0; i < n; i++) m.before[i] = i - 1, m.after[i] = i + 1;
    for (int32_t i = 0; i < n; i++) set_pair(b, &m, id, i);
    for (int l = 1; l < m.levels; l++)
        for (uint64_t *low = m.level[l - 1], *up = m.level[l]; low < m.level[l]; low += 4) *up++ = least(low);
    for (uint64_t best; (best = least(m.level[m.levels - 1])) != NO_PAIR;) {
        int32_t i = (int32_t)(best & 0xffffffff), right = m.after[i], left = m.before[i] < 0 ? i : m.before[i];
        id[i] = (int32_t)m.into[i];
        end[i] = end[right];
        m.after[i] = m.after[right];
        if (m.after[i] < n) m.before[m.after[i]] = i;
        m.level[0][right] = NO_PAIR;
        set_pair(b, &m, id, i);
        set_pair(b, &m, id, left);
        for (int l = 1, x = left / 4, y = i / 4, z = right / 4; l < m.levels; l++, x /= 4, y /= 4, z /= 4) {
            const uint64_t *low = m.level[l - 1];
            m.level[l][x] = least(low + 4 * (size_t)x);
            m.level[l][y] = least(low + 4 * (size_t)y);
            m.level[l][z] = least(low + 4 * (size_t)z);
        }
    }
    int32_t out = 0;
    for (int32_t i = 0; i < n; i = m.after[i]) id[out] = id[i], end[out++] = end[i];
    return out;
}

// ---- words without end ----
// A window is merged as if the word ended with it, so that its last pieces may be wrong. But where two windows overlap
// and both have made one piece of the same symbols, the pieces of the first up to there, followed by those of the
// second, are the pieces of both together. For suppose they were not: then some merge crosses a border between two of
// these pieces. Until the first such merge nothing reaches over any border, so that the pair of pieces beside that
// border is merged as it is alone, and as it was in the window in which the two stood side by side; there, too, the
// merge would have crossed. This holds for any table of merges.

typedef struct {
    int32_t id[WINDOW], end[WINDOW], n; // end: symbols of the word up to here
} window;

// The first piece that a->id[*i..) and b->id[*k..), which begin at the same symbol, have in common. False: none.
static bool meet(const window *a, const window *b, int32_t *i, int32_t *k) {
    bool together = true;
    while (*i < a->n && *k < b->n) {
        int32_t a_end = a->end[*i], b_end = b->end[*k];
        if (together && a_end == b_end) return true;
        *i += a_end <= b_end;
        *k += b_end <= a_end;
        together = a_end == b_end;
    }
    return false;
}

// Appends the pieces w->id[from, to) to id and end, whose entries behind *n still are symbols.
static void put(const window *w, int32_t from, int32_t to, int32_t *id, int32_t *end, int32_t *n) {
    for (int32_t i = from; i < to; i++) id[*n] = w->id[i], end[(*n)++] = end[w->end[i] - 1];
}

// How many pieces; 0: two windows have none in common, and symbols are lost; -1: no memory.
static int32_t merge_windows(const tok_bpe *b, tok_scratch *s, int32_t *id, int32_t *end, int32_t n) {
    window windows[2];
    int32_t out = 0, kept = 0; // kept: pieces of the window before that are put
    for (int32_t at = 0, turn = 0;; turn = !turn) {
        window *now = &windows[turn], *before = &windows[!turn];
        int32_t size = n - at < WINDOW ? n - at : WINDOW, first = 0, last = kept;
        for (int32_t i = 0; i < size; i++) now->id[i] = id[at + i], now->end[i] = at + i + 1;
        now->n = merge(b, s, now->id, now->end, size);
        if (now->n < 0) return -1;
        if (at) {
            if (!meet(before, now, &last, &first)) return 0;
            put(before, kept, last, id, end, &out);
        }
        kept = at + size < n ? now->n - OVERLAP : now->n;
        if (kept <= first) return 0;
        put(now, first, kept, id, end, &out);
        if (kept == now->n) return out;
        at = now->end[kept - 1];
    }
}

// ---- a word ----

static int32_t find_word(const tok_bpe *b, uint32_t hash, const unsigned char *w, int32_t size) {
    if (size > b->longest) return -1;
    const tok_table *t = &b->words;
    for (uint32_t i = hash & t->mask; t->slots[i].id >= 0; i = (i + 1) & t->mask) {
        if (t->slots[i].hash != hash) continue;
        const tok_word *word = &b->word[t->slots[i].id];
        if (word->size == size && !memcmp(word->bytes, w, (size_t)size)) return t->slots[i].id;
    }
    return -1;
}

// The symbol of one character (or byte) of a word; `last`: with the suffix.
static int32_t symbol(const drt_tokenizer *tok, const unsigned char *w, int32_t n, int32_t code, bool last) {
    const tok_bpe *b = &tok->bpe;
    if (b->byte_level) return (last ? b->last_byte_id : b->byte_id)[*w];
    if (!last || !b->suffix_size) return drt_tok_char_slot(b, code)->id;
    char text[256];
    memcpy(text, w, (size_t)n);
    memcpy(text + n, b->suffix, b->suffix_size);
    return drt_tok_find_in_model(tok, text, (size_t)n + b->suffix_size);
}

// Where the stretch that begins at `from` ends: no piece reaches over that place.
static int32_t stretch_end(const tok_bpe *b, const unsigned char *w, int32_t from, int32_t size) {
    int32_t code, next;
    bool cut;
    if (!b->joins) return size;
    int32_t at = from + drt_tok_utf8(w + from, size - from, &code, &cut);
    while (at < size) {
        int step = drt_tok_utf8(w + at, size - at, &next, &cut);
        uint32_t bit = drt_tok_joins_bit(b, code, next);
        if (!(b->joins[bit / 64] >> bit % 64 & 1)) break;
        code = next;
        at += step;
    }
    return at;
}

// Appends the pieces of w[from, to), whose `count` symbols stand at s->ids[*n]. One without a piece may become one for
// each of its bytes. Symbols are first moved so that the last stands at to - 1: none is then overwritten before its
// turn, because pieces are never more than the bytes they cover.
static drt_status put_stretch(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t from,
                              int32_t to, int32_t count, int32_t *n, bool *open, drt_error *err) {
    drt_status status = DRT_OK;
    int32_t *id = s->ids + to - count, *end = s->ends + to - count;
    memmove(id, s->ids + *n, (size_t)count * sizeof *id);
    memmove(end, s->ends + *n, (size_t)count * sizeof *end);
    for (int32_t i = 0; i < count && !status; i++) {
        int32_t symbol_end = end[i];
        if (id[i] < 0 || id[i] >= tok->size) status = drt_tok_put_unknown(tok, s, w, from, symbol_end, n, open, err);
        else {
            s->ids[*n] = id[i], s->ends[(*n)++] = symbol_end;
            *open = false;
        }
        from = symbol_end;
    }
    return status;
}

static int32_t put_symbols(const drt_tokenizer *tok, const unsigned char *w, int32_t from, int32_t to, int32_t size,
                           int32_t *id, int32_t *end) {
    int32_t count = 0;
    for (int32_t i = from, step; i < to; i += step, count++) {
        int32_t code = 0;
        bool cut;
        step = tok->bpe.byte_level ? 1 : drt_tok_utf8(w + i, to - i, &code, &cut);
        id[count] = symbol(tok, w + i, step, code, i + step == size);
        end[count] = i + step;
    }
    return count;
}

// Appends the pieces of w[from, to).
static drt_status stretch(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t from, int32_t to,
                          int32_t size, int32_t *n, bool *open, drt_error *err) {
    const tok_bpe *b = &tok->bpe;
    uint32_t hash = drt_tok_hash(w + from, (size_t)(to - from));
    int32_t whole = b->ignore_merges ? -1 : find_word(b, hash, w + from, to - from);
    if (whole >= 0) s->ids[*n] = whole, s->ends[(*n)++] = to;
    if (whole >= 0 || drt_tok_cache_get(s, hash, w, from, to, n)) return *open = false, DRT_OK;
    int32_t *id = s->ids + *n, *end = s->ends + *n, unknown = 0, symbols = put_symbols(tok, w, from, to, size, id, end);
    int32_t count = symbols <= WINDOW ? merge(b, s, id, end, symbols) : merge_windows(b, s, id, end, symbols);
    if (!count) count = merge(b, s, id, end, put_symbols(tok, w, from, to, size, id, end));
    if (count < 0) return drt_tok_no_memory(tok->name, err);
    for (int32_t i = 0; i < count; i++) unknown += id[i] < 0 || id[i] >= tok->size;
    if (!unknown) {
        *n += count;
        *open = false;
        drt_tok_cache_put(s, hash, w, from, to, *n - count, *n);
        return DRT_OK;
    }
    return put_stretch(tok, s, w, from, to, count, n, open, err);
}

drt_status drt_tok_bpe_word(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t size, int32_t *n,
                            drt_error *err) {
    const tok_bpe *b = &tok->bpe;
    bool open = false;
    *n = 0;
    if (!drt_tok_piece_room(s, size)) return drt_tok_no_memory(tok->name, err);
    int32_t whole = b->ignore_merges ? find_word(b, drt_tok_hash(w, (size_t)size), w, size) : -1;
    if (whole >= 0) return s->ids[0] = whole, s->ends[0] = size, *n = 1, DRT_OK;
    for (int32_t from = 0, to; from < size; from = to) {
        to = stretch_end(b, w, from, size);
        drt_status status = stretch(tok, s, w, from, to, size, n, &open, err);
        if (status) return status;
    }
    return DRT_OK;
}
