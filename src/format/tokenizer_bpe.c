#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// Words up to this many symbols are merged by looking for the best pair again and again; longer ones with a heap.
enum { SHORT_WORD = 48 };

// ---- loading ----

static uint32_t pair_hash(uint32_t left, uint32_t right) {
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32 ^ h >> 15);
}

static tok_merge *merge_slot(const tok_bpe *b, uint32_t left, uint32_t right) {
    for (uint32_t i = pair_hash(left, right) & b->mask;; i = (i + 1) & b->mask) {
        tok_merge *m = &b->merges[i];
        if (m->rank == TOK_NO_RANK || (m->left == left && m->right == right)) return m;
    }
}

// The two sides of a merge: "a b" or ["a", "b"]. *a and *b point into j.
static bool merge_sides(const json_t *j, const char **a, size_t *a_size, const char **b, size_t *b_size) {
    if (json_is_array(j) && json_array_size(j) == 2) {
        *a = json_string_value(json_array_get(j, 0));
        *b = json_string_value(json_array_get(j, 1));
        if (!*a || !*b) return false;
        *a_size = strlen(*a);
    } else {
        *a = json_string_value(j);
        const char *space = *a ? strchr(*a, ' ') : NULL;
        if (!space || strchr(space + 1, ' ')) return false;
        *a_size = (size_t)(space - *a);
        *b = space + 1;
    }
    *b_size = strlen(*b);
    return true;
}

static drt_status add_merge(drt_tokenizer *tok, const json_t *j, uint32_t rank, drt_text *joined, drt_error *err) {
    const char *a, *b;
    size_t a_size, b_size;
    if (!merge_sides(j, &a, &a_size, &b, &b_size))
        return drt_fail(err, DRT_EFORMAT, "%s: merges[%u] is neither \"a b\" nor [\"a\", \"b\"]", tok->name, rank);
    joined->size = 0;
    drt_text_add(joined, a, a_size);
    drt_text_add(joined, b, b_size);
    if (joined->failed) return drt_tok_no_memory(tok->name, err);
    int32_t left = drt_tok_find(tok, a, a_size), right = drt_tok_find(tok, b, b_size);
    int32_t id = drt_tok_find(tok, joined->bytes, joined->size);
    if (left < 0 || right < 0 || id < 0) {
        const char *lacks = right < 0 ? b : joined->bytes;
        if (left < 0) joined->bytes[a_size] = 0, lacks = joined->bytes;
        return drt_fail(err, DRT_EFORMAT, "%s: merges[%u] needs the piece '%.200s', which the vocabulary lacks",
                        tok->name, rank, lacks);
    }
    tok_merge *m = merge_slot(&tok->bpe, (uint32_t)left, (uint32_t)right);
    *m = (tok_merge){(uint32_t)left, (uint32_t)right, rank, (uint32_t)id}; // of a pair listed twice the last counts
    return DRT_OK;
}

static drt_status load_merges(drt_tokenizer *tok, const json_t *merges, drt_error *err) {
    size_t n = json_array_size(merges), index;
    uint32_t room = 16, rank = 0;
    json_t *j;
    drt_text joined = {0};
    drt_status status = DRT_OK;
    if (n > 1u << 28) return drt_fail(err, DRT_EFORMAT, "%s: %zu merges are too many", tok->name, n);
    while (room < 2 * n) room *= 2;
    tok->bpe.merges = drt_arena_array(tok->arena, room, sizeof *tok->bpe.merges);
    if (!tok->bpe.merges) return drt_tok_no_memory(tok->name, err);
    for (uint32_t i = 0; i < room; i++) tok->bpe.merges[i].rank = TOK_NO_RANK;
    tok->bpe.mask = room - 1;
    json_array_foreach(merges, index, j) {
        const char *text = json_string_value(j);
        if (text && !strncmp(text, "#version", 8)) continue;
        status = add_merge(tok, j, rank++, &joined, err);
        if (status) break;
    }
    drt_text_free(&joined);
    return status;
}

static void load_bytes(drt_tokenizer *tok) {
    tok_bpe *b = &tok->bpe;
    for (int byte = 0; byte < 256; byte++) {
        char text[256];
        size_t n = (size_t)utf8proc_encode_char(drt_tok_byte_letter(byte), (utf8proc_uint8_t *)text);
        b->byte_id[byte] = drt_tok_find(tok, text, n);
        if (b->suffix_size) memcpy(text + n, b->suffix, b->suffix_size);
        b->last_byte_id[byte] = drt_tok_find(tok, text, n + b->suffix_size);
    }
}

// The word that a piece is, NULL if no word can be just this piece.
static const unsigned char *word_of(const drt_tokenizer *tok, int32_t id, int32_t *size) {
    const tok_piece *p = &tok->pieces[id];
    const tok_bpe *b = &tok->bpe;
    // With ignore_merges the vocabulary is asked for the word as it is, without the suffix.
    bool suffix = b->suffix_size && !b->ignore_merges;
    if (!p->text || (suffix && !p->ends_word)) return NULL;
    int32_t text_size = (int32_t)(p->text_size - (suffix ? b->suffix_size : 0));
    if (!b->byte_level) return *size = text_size, text_size ? (const unsigned char *)p->text : NULL;
    if (p->ends_word && !suffix) return NULL;
    // raw is the letters undone, unless some character is no letter: then no word has this piece.
    *size = (int32_t)p->raw_size;
    for (int32_t i = 0; i < text_size;) {
        int32_t code;
        bool cut;
        i += drt_tok_utf8((const unsigned char *)p->text + i, text_size - i, &code, &cut);
        if (drt_tok_letter_byte(code) < 0) return NULL;
    }
    return *size ? p->raw : NULL;
}

static int32_t find_word(const drt_tokenizer *tok, const unsigned char *w, int32_t size) {
    const tok_table *t = &tok->bpe.words;
    uint32_t hash = drt_tok_hash(w, (size_t)size);
    for (uint32_t i = hash & t->mask; t->slots[i].id >= 0; i = (i + 1) & t->mask) {
        if (t->slots[i].hash != hash) continue;
        int32_t n = 0;
        const tok_piece *p = &tok->pieces[t->slots[i].id];
        const unsigned char *key =
            tok->bpe.byte_level ? (n = (int32_t)p->raw_size, p->raw) : word_of(tok, t->slots[i].id, &n);
        if (n == size && !memcmp(key, w, (size_t)n)) return t->slots[i].id;
    }
    return -1;
}

// Lists the words that the merges make one piece of (all pieces, with ignore_merges).
static drt_status load_words(drt_tokenizer *tok, const json_t *vocab, drt_error *err) {
    tok_bpe *b = &tok->bpe;
    tok_scratch s = {0};
    const char *text;
    json_t *value;
    drt_status status = DRT_OK;
    b->words.slots = drt_tok_slots(tok->arena, (int64_t)json_object_size(vocab), &b->words.mask);
    if (!b->words.slots) return drt_tok_no_memory(tok->name, err);
    tok_table whole = b->words;
    uint32_t empty_mask;
    tok_table empty = {drt_tok_slots(tok->arena, 0, &empty_mask), 0};
    if (!empty.slots) return drt_tok_no_memory(tok->name, err);
    empty.mask = empty_mask;
    json_object_foreach((json_t *)vocab, text, value) {
        int32_t id = (int32_t)json_integer_value(value), size = 0, n = 0;
        const unsigned char *w = word_of(tok, id, &size);
        if (!w) continue;
        if (!b->ignore_merges) {
            b->words = empty; // so that the merges decide
            status = drt_tok_bpe_word(tok, &s, w, size, &n, NULL);
            b->words = whole;
            if (status == DRT_ENOMEM) break;
            if (status || n != 1 || s.ids[0] != id) continue;
        }
        uint32_t hash = drt_tok_hash(w, (size_t)size), i = hash & whole.mask;
        while (whole.slots[i].id >= 0) i = (i + 1) & whole.mask;
        whole.slots[i] = (tok_slot){hash, id};
    }
    drt_tok_scratch_free(&s);
    return status == DRT_ENOMEM ? drt_tok_no_memory(tok->name, err) : DRT_OK;
}

static drt_status refuse_unsupported(const drt_tokenizer *tok, const json_t *model, drt_error *err) {
    const json_t *dropout = json_object_get(model, "dropout");
    const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    if (json_is_true(json_object_get(model, "byte_fallback")))
        return drt_fail(err, DRT_EFORMAT, "%s: BPE with byte_fallback is not supported yet", tok->name);
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return drt_fail(err, DRT_EFORMAT, "%s: BPE with dropout gives random ids; set \"dropout\" to null", tok->name);
    if (prefix && *prefix)
        return drt_fail(err, DRT_EFORMAT, "%s: continuing_subword_prefix \"%.40s\" is not supported", tok->name,
                        prefix);
    return DRT_OK;
}

drt_status drt_tok_bpe_load(drt_tokenizer *tok, const json_t *model, drt_error *err) {
    tok_bpe *b = &tok->bpe;
    const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    const char *unk = json_string_value(json_object_get(model, "unk_token"));
    drt_status status = refuse_unsupported(tok, model, err);
    if (status) return status;
    if (!json_is_array(merges)) return drt_fail(err, DRT_EFORMAT, "%s: the model has no \"merges\" list", tok->name);
    b->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    b->fuse_unk = json_is_true(json_object_get(model, "fuse_unk"));
    b->unk = unk ? drt_tok_find(tok, unk, strlen(unk)) : -1;
    if (unk && b->unk < 0)
        return drt_fail(err, DRT_EFORMAT, "%s: unk_token '%.200s' is not in the vocabulary", tok->name, unk);
    status = load_merges(tok, merges, err);
    if (status) return status;
    load_bytes(tok);
    return load_words(tok, vocab, err);
}

// ---- a word ----

static void look_up(const tok_bpe *b, int32_t left, int32_t right, uint32_t *rank, uint32_t *id) {
    const tok_merge *m = merge_slot(b, (uint32_t)left, (uint32_t)right);
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

static bool piece_room(tok_scratch *s, int32_t n) {
    if (n <= s->piece_room) return true;
    int32_t *ids = realloc(s->ids, (size_t)n * sizeof *ids);
    if (ids) s->ids = ids;
    int32_t *ends = ids ? realloc(s->ends, (size_t)n * sizeof *ends) : NULL;
    if (ends) s->ends = ends;
    if (ends) s->piece_room = n;
    return ends;
}

// The id of one character (or byte) of a word; `last`: with the suffix.
static int32_t symbol(const drt_tokenizer *tok, const unsigned char *w, int32_t n, bool last) {
    const tok_bpe *b = &tok->bpe;
    if (b->byte_level) return (last ? b->last_byte_id : b->byte_id)[*w];
    if (!last || !b->suffix_size) return drt_tok_find(tok, (const char *)w, (size_t)n);
    char text[256];
    memcpy(text, w, (size_t)n);
    memcpy(text + n, b->suffix, b->suffix_size);
    return drt_tok_find(tok, text, (size_t)n + b->suffix_size);
}

static drt_status no_piece(const drt_tokenizer *tok, const unsigned char *p, int32_t n, drt_error *err) {
    if (tok->bpe.byte_level)
        return drt_fail(err, DRT_EDATA, "%s: has no piece for the byte 0x%02x and no unk_token", tok->name, *p);
    return drt_fail(err, DRT_EDATA, "%s: has no piece for '%.*s' and no unk_token", tok->name, (int)n, (const char *)p);
}

drt_status drt_tok_bpe_word(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t size, int32_t *n,
                            drt_error *err) {
    const tok_bpe *b = &tok->bpe;
    if (!piece_room(s, size)) return drt_tok_no_memory(tok->name, err);
    int32_t whole = find_word(tok, w, size), count = 0;
    bool unknown = false;
    if (whole >= 0) return s->ids[0] = whole, s->ends[0] = size, *n = 1, DRT_OK;
    for (int32_t i = 0, step; i < size; i += step) {
        int32_t code;
        bool cut;
        step = b->byte_level ? 1 : drt_tok_utf8(w + i, size - i, &code, &cut);
        int32_t id = symbol(tok, w + i, step, i + step == size);
        if (id < 0 && b->unk < 0) return no_piece(tok, w + i, step, err);
        if (id < 0 && unknown && b->fuse_unk) {
            s->ends[count - 1] = i + step;
            continue;
        }
        unknown = id < 0;
        s->ids[count] = unknown ? b->unk : id;
        s->ends[count++] = i + step;
    }
    *n = count <= SHORT_WORD ? merge_short(b, s->ids, s->ends, count) : merge_long(b, s, s->ids, s->ends, count);
    return *n < 0 ? drt_tok_no_memory(tok->name, err) : DRT_OK;
}
