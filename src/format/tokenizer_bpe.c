#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

// Words up to this many symbols are merged by looking for the best pair again and again; longer ones with a heap.
enum { SHORT_WORD = 48 };

// ---- merging ----

static void look_up(const tok_bpe *b, int32_t left, int32_t right, uint32_t *rank, uint32_t *id) {
    const tok_merge *m = drt_tok_merge_slot(b, (uint32_t)left, (uint32_t)right);
    *rank = m->rank;
    *id = m->id;
}

static int32_t merge_short(const tok_bpe *b, int32_t *id, int32_t *end, int32_t n) {
    uint32_t rank[SHORT_WORD], into[SHORT_WORD];
    for (int32_t i = 0; i + 1 < n; i++) look_up(b, id[i], id[i + 1], &rank[i], &into[i]);
    while (n > 1) {
        int32_t best = 0;
        for (int32_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == TOK_NO_RANK) break;
        id[best] = (int32_t)into[best];
        n--;
        for (int32_t i = best; i < n; i++) {
            end[i] = end[i + 1];
            if (i > best) id[i] = id[i + 1], rank[i] = rank[i + 1], into[i] = into[i + 1];
        }
        if (best > 0) look_up(b, id[best - 1], id[best], &rank[best - 1], &into[best - 1]);
        if (best + 1 < n) look_up(b, id[best], id[best + 1], &rank[best], &into[best]);
    }
    return n;
}

// A heap of pairs by rank, then place; entries that a merge has made stale are skipped when they come up.
typedef struct {
    uint64_t *heap; // rank << 32 | symbol
    int32_t size;
    int32_t *before, *after; // neighbours of a symbol, -1: none
    uint32_t *rank, *into;   // of the pair (symbol, the next), TOK_NO_RANK: no merge
} long_word;

static void heap_push(long_word *w, uint64_t key) {
    int32_t i = w->size++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
}

static uint64_t heap_pop(long_word *w) {
    uint64_t top = w->heap[0], key = w->heap[--w->size];
    int32_t i = 0;
    for (;;) {
        int32_t child = 2 * i + 1;
        if (child >= w->size) break;
        if (child + 1 < w->size && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= key) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = key;
    return top;
}

static void set_pair(const tok_bpe *b, long_word *w, const int32_t *id, int32_t i) {
    w->rank[i] = TOK_NO_RANK;
    if (w->after[i] < 0) return;
    look_up(b, id[i], id[w->after[i]], &w->rank[i], &w->into[i]);
    if (w->rank[i] != TOK_NO_RANK) heap_push(w, (uint64_t)w->rank[i] << 32 | (uint32_t)i);
}

static bool long_room(tok_scratch *s, long_word *w, int32_t n) {
    size_t entry = 3 * sizeof *w->heap + 4 * sizeof(int32_t); // at most n - 1 pairs, and two more for each merge
    if (n > s->heap_room) {
        void *grown = realloc(s->heap, (size_t)n * entry);
        if (!grown) return false;
        s->heap = grown;
        s->heap_room = n;
    }
    w->heap = s->heap;
    w->size = 0;
    w->before = (int32_t *)(w->heap + 3 * (size_t)n);
    w->after = w->before + n;
    w->rank = (uint32_t *)(w->after + n);
    w->into = w->rank + n;
    return true;
}

static int32_t merge_long(const tok_bpe *b, tok_scratch *s, int32_t *id, int32_t *end, int32_t n) {
    long_word w;
    if (!long_room(s, &w, n)) return -1;
    for (int32_t i = 0; i < n; i++) w.before[i] = i - 1, w.after[i] = i + 1 < n ? i + 1 : -1;
    for (int32_t i = 0; i < n; i++) set_pair(b, &w, id, i);
    while (w.size) {
        uint64_t top = heap_pop(&w);
        int32_t i = (int32_t)(top & 0xffffffff), right = w.after[i];
        if (w.rank[i] != (uint32_t)(top >> 32)) continue;
        id[i] = (int32_t)w.into[i];
        end[i] = end[right];
        w.after[i] = w.after[right];
        if (w.after[i] >= 0) w.before[w.after[i]] = i;
        w.rank[right] = TOK_NO_RANK;
        set_pair(b, &w, id, i);
        if (w.before[i] >= 0) set_pair(b, &w, id, w.before[i]);
    }
    int32_t out = 0;
    for (int32_t i = 0; i >= 0; i = w.after[i]) id[out] = id[i], end[out++] = end[i];
    return out;
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

// Appends the pieces of w[from, to).
static drt_status stretch(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t from, int32_t to,
                          int32_t size, int32_t *n, bool *open, drt_error *err) {
    const tok_bpe *b = &tok->bpe;
    uint32_t hash = drt_tok_hash(w + from, (size_t)(to - from));
    int32_t whole = b->ignore_merges ? -1 : find_word(b, hash, w + from, to - from);
    if (whole >= 0) s->ids[*n] = whole, s->ends[(*n)++] = to;
    if (whole >= 0 || drt_tok_cache_get(s, hash, w, from, to, n)) return *open = false, DRT_OK;
    int32_t *id = s->ids + *n, *end = s->ends + *n, count = 0, unknown = 0;
    for (int32_t i = from, step; i < to; i += step, count++) {
        int32_t code = 0;
        bool cut;
        step = b->byte_level ? 1 : drt_tok_utf8(w + i, to - i, &code, &cut);
        id[count] = symbol(tok, w + i, step, code, i + step == size);
        end[count] = i + step;
    }
    count = count <= SHORT_WORD ? merge_short(b, id, end, count) : merge_long(b, s, id, end, count);
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
