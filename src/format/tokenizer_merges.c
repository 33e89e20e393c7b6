#include "format/tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// ---- tables ----

tok_merge *drt_tok_merge_slot(const tok_bpe *b, uint32_t left, uint32_t right) {
    for (uint32_t i = drt_tok_pair_hash(left, right) & b->mask;; i = (i + 1) & b->mask) {
        tok_merge *m = &b->merges[i];
        if (m->rank == TOK_NO_RANK || (m->left == left && m->right == right)) return m;
    }
}

tok_char *drt_tok_char_slot(const tok_bpe *b, int32_t code) {
    for (uint32_t i = drt_tok_pair_hash((uint32_t)code, 1) & b->char_mask;; i = (i + 1) & b->char_mask) {
        tok_char *c = &b->chars[i];
        if (c->id == TOK_UNKNOWN || c->code == code) return c;
    }
}

uint32_t drt_tok_joins_bit(const tok_bpe *b, int32_t left, int32_t right) {
    return drt_tok_pair_hash((uint32_t)left, (uint32_t)right) & b->joins_mask;
}

static uint32_t power_above(size_t n) { // n < 2^31
    uint32_t room = 16;
    while (room < n) room *= 2;
    return room;
}

static drt_status make_merges(drt_tokenizer *tok, size_t n, drt_error *err) {
    tok_bpe *b = &tok->bpe;
    if (n > 1u << 28) return drt_fail(err, DRT_EFORMAT, "%s: %zu merges are too many", tok->name, n);
    uint32_t room = power_above(2 * n), bits = 4 * power_above(4 * (n > 1u << 26 ? 1u << 26 : n));
    b->merges = drt_arena_array(tok->arena, room, sizeof *b->merges);
    b->mergeable_mask = power_above(16 * (n > 1u << 26 ? 1u << 26 : n)) - 1;
    b->mergeable = drt_arena_zalloc(tok->arena, (b->mergeable_mask + 1) / 8);
    // Characters are cut apart only where words are characters and the last is not another symbol than in the middle.
    bool cuts = !b->byte_level && !b->suffix_size;
    b->joins_mask = bits - 1;
    b->joins = cuts ? drt_arena_zalloc(tok->arena, bits / 8) : NULL;
    if (!b->merges || !b->mergeable || (cuts && !b->joins)) return drt_tok_no_memory(tok->name, err);
    for (uint32_t i = 0; i < room; i++) b->merges[i].rank = TOK_NO_RANK;
    b->mask = room - 1;
    return DRT_OK;
}

static void put_merge(tok_bpe *b, tok_merge m, const char *left, size_t left_size, const char *right) {
    *drt_tok_merge_slot(b, m.left, m.right) = m; // of a pair listed twice the last counts
    uint32_t pair = drt_tok_pair_hash(m.left, m.right) & b->mergeable_mask;
    b->mergeable[pair / 64] |= (uint64_t)1 << pair % 64;
    if (!b->joins) return;
    int32_t x, y;
    bool cut;
    drt_tok_char_before((const unsigned char *)left, (int32_t)left_size, &x);
    drt_tok_utf8((const unsigned char *)right, (int64_t)strlen(right), &y, &cut);
    uint32_t bit = drt_tok_joins_bit(b, x, y);
    b->joins[bit / 64] |= (uint64_t)1 << bit % 64;
}

// The character that a text is, -1 if it is none or several.
static int32_t only_char(const char *text, size_t n) {
    int32_t code;
    bool cut;
    int size = n ? drt_tok_utf8((const unsigned char *)text, (int64_t)n, &code, &cut) : 0;
    return size > 0 && (size_t)size == n ? code : -1;
}

// ---- merges that are listed ----

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

static drt_status lacking_piece(const drt_tokenizer *tok, uint32_t rank, const char *text, size_t n, drt_error *err) {
    return drt_fail(err, DRT_EFORMAT, "%s: merges[%u] needs the piece '%.*s', which the vocabulary lacks", tok->name,
                    rank, (int)(n < 200 ? n : 200), text);
}

static bool is_fallback(const tok_fallback *f, int32_t id) {
    for (int byte = 0; f->bytes && byte < 256; byte++)
        if (f->byte_id[byte] == id) return true;
    return id == f->unk;
}

static drt_status add_merge(drt_tokenizer *tok, const json_t *j, uint32_t rank, drt_text *joined, drt_error *err) {
    const char *a, *b;
    size_t a_size, b_size;
    if (!merge_sides(j, &a, &a_size, &b, &b_size) || !a_size || !b_size)
        return drt_fail(err, DRT_EFORMAT, "%s: merges[%u] is neither \"a b\" nor [\"a\", \"b\"]", tok->name, rank);
    joined->size = 0;
    drt_text_add(joined, a, a_size);
    drt_text_add(joined, b, b_size);
    if (joined->failed) return drt_tok_no_memory(tok->name, err);
    int32_t left = drt_tok_find_in_model(tok, a, a_size), right = drt_tok_find_in_model(tok, b, b_size);
    int32_t id = drt_tok_find_in_model(tok, joined->bytes, joined->size);
    if (left < 0) return lacking_piece(tok, rank, a, a_size, err);
    if (right < 0) return lacking_piece(tok, rank, b, b_size, err);
    if (id < 0) return lacking_piece(tok, rank, joined->bytes, joined->size, err);
    if (is_fallback(&tok->fallback, left) || is_fallback(&tok->fallback, right))
        return drt_fail(err, DRT_EFORMAT,
                        "%s: merges[%u] joins a byte or unknown piece to something ('%.200s'), which is not supported",
                        tok->name, rank, joined->bytes);
    put_merge(&tok->bpe, (tok_merge){(uint32_t)left, (uint32_t)right, rank, (uint32_t)id}, a, a_size, b);
    return DRT_OK;
}

static drt_status load_merges(drt_tokenizer *tok, const json_t *merges, drt_error *err) {
    size_t index;
    uint32_t rank = 0;
    json_t *j;
    drt_text joined = {0};
    drt_status status = make_merges(tok, json_array_size(merges), err);
    if (status) return status;
    json_array_foreach(merges, index, j) {
        const char *text = json_string_value(j);
        if (text && !strncmp(text, "#version", 8)) continue;
        status = add_merge(tok, j, rank++, &joined, err);
        if (status) break;
    }
    drt_text_free(&joined);
    return status;
}

// ---- words and characters ----

static void load_bytes(drt_tokenizer *tok) {
    tok_bpe *b = &tok->bpe;
    for (int byte = 0; byte < 256; byte++) {
        char text[256];
        size_t n = (size_t)utf8proc_encode_char(drt_tok_byte_letter(byte), (utf8proc_uint8_t *)text);
        b->byte_id[byte] = drt_tok_find_in_model(tok, text, n);
        if (b->suffix_size) memcpy(text + n, b->suffix, b->suffix_size);
        b->last_byte_id[byte] = drt_tok_find_in_model(tok, text, n + b->suffix_size);
    }
}

// Room for the symbols of `most` characters.
static bool make_chars(drt_tokenizer *tok, size_t most) {
    tok_bpe *b = &tok->bpe;
    uint32_t room = power_above(2 * most);
    b->chars = drt_arena_array(tok->arena, room, sizeof *b->chars);
    if (!b->chars) return false;
    for (uint32_t i = 0; i < room; i++) b->chars[i] = (tok_char){0, TOK_UNKNOWN};
    b->char_mask = room - 1;
    return true;
}

static drt_status load_chars(drt_tokenizer *tok, drt_error *err) {
    size_t most = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !make_chars(tok, most)) return drt_tok_no_memory(tok->name, err);
        for (int32_t id = 0; id < tok->size; id++) {
            const tok_piece *p = &tok->pieces[id];
            int32_t code = p->in_model ? only_char(p->text, p->text_size) : -1;
            if (code < 0) continue;
            most++;
            if (pass) *drt_tok_char_slot(&tok->bpe, code) = (tok_char){code, id};
        }
    }
    return DRT_OK;
}

// The same, and symbols without piece for all other characters that occur in pieces.
static drt_status load_all_chars(drt_tokenizer *tok, drt_error *err) {
    enum { CODES = 0x110000 };
    size_t most = 0;
    uint8_t *seen = calloc(CODES / 8, 1);
    if (!seen) return drt_tok_no_memory(tok->name, err);
    for (int32_t id = 0; id < tok->size; id++) {
        const tok_piece *p = &tok->pieces[id];
        for (uint32_t i = 0; p->in_model && i < p->text_size;) {
            int32_t code;
            bool cut;
            i += (uint32_t)drt_tok_utf8((const unsigned char *)p->text + i, p->text_size - i, &code, &cut);
            most += !(seen[code / 8] >> code % 8 & 1);
            seen[code / 8] |= (uint8_t)(1 << code % 8);
        }
    }
    bool made = make_chars(tok, most);
    int32_t next = tok->size;
    for (int32_t code = 0; made && code < CODES; code++) {
        char text[4];
        if (!(seen[code / 8] >> code % 8 & 1)) continue;
        size_t n = (size_t)utf8proc_encode_char(code, (utf8proc_uint8_t *)text);
        int32_t id = drt_tok_find_in_model(tok, text, n);
        *drt_tok_char_slot(&tok->bpe, code) = (tok_char){code, id >= 0 ? id : next++};
    }
    free(seen);
    return made ? DRT_OK : drt_tok_no_memory(tok->name, err);
}

// The words that pieces are. With ignore_merges the vocabulary is asked for the word as it is, without the suffix.
static drt_status load_keys(drt_tokenizer *tok, drt_error *err) {
    const tok_bpe *b = &tok->bpe;
    bool suffix = b->suffix_size && !b->ignore_merges;
    size_t bytes = 0;
    for (int32_t id = 0; id < tok->size; id++) bytes += tok->pieces[id].text_size;
    tok_word *word = drt_arena_zalloc(tok->arena, ((size_t)tok->size + 1) * sizeof *word);
    unsigned char *room = b->byte_level ? drt_arena_alloc(tok->arena, bytes + 1) : NULL;
    if (!word || (b->byte_level && !room)) return drt_tok_no_memory(tok->name, err);
    for (int32_t id = 0; id < tok->size; id++) {
        const tok_piece *p = &tok->pieces[id];
        if (!p->in_model || (suffix && !p->ends_word)) continue;
        size_t n = p->text_size - (suffix ? b->suffix_size : 0);
        word[id] = (tok_word){(const unsigned char *)p->text, (int32_t)n};
        if (!b->byte_level) continue;
        int32_t size = drt_tok_unletter(room, p->text, n); // no word has a piece with other characters
        word[id] = (tok_word){room, size > 0 ? size : 0};
        room += word[id].size;
    }
    tok->bpe.word = word;
    return DRT_OK;
}

// Lists the words that the merges make one piece of (all pieces, with ignore_merges).
static drt_status load_words(drt_tokenizer *tok, drt_error *err) {
    tok_bpe *b = &tok->bpe;
    tok_scratch s = {0};
    drt_status status = load_keys(tok, err);
    int64_t pieces = 0;
    int32_t longest = 0;
    for (int32_t id = 0; id < tok->size && !status; id++) pieces += tok->pieces[id].in_model;
    tok_slot *slots = status ? NULL : drt_tok_slots(tok->arena, pieces, &b->words.mask);
    if (!slots) return status ? status : drt_tok_no_memory(tok->name, err);
    b->words.slots = slots;
    b->longest = 0; // so that the merges decide
    for (int32_t id = 0; id < tok->size; id++) {
        const tok_word *w = &b->word[id];
        int32_t n = 0;
        if (!w->size) continue;
        if (!b->ignore_merges) {
            status = drt_tok_bpe_word(tok, &s, w->bytes, w->size, &n, NULL);
            if (status == DRT_ENOMEM) break;
            if (status || n != 1 || s.ids[0] != id) continue;
        }
        uint32_t hash = drt_tok_hash(w->bytes, (size_t)w->size), i = hash & b->words.mask;
        while (slots[i].id >= 0) i = (i + 1) & b->words.mask;
        slots[i] = (tok_slot){hash, id};
        if (w->size > longest) longest = w->size;
    }
    drt_tok_scratch_free(&s);
    b->longest = longest;
    return status == DRT_ENOMEM ? drt_tok_no_memory(tok->name, err) : DRT_OK;
}

// ---- tokenizer.json ----

static drt_status refuse_unsupported(const drt_tokenizer *tok, const json_t *model, drt_error *err) {
    const json_t *dropout = json_object_get(model, "dropout");
    const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    if (json_is_true(json_object_get(model, "byte_fallback")) && tok->bpe.suffix_size)
        return drt_fail(err, DRT_EFORMAT, "%s: byte_fallback together with an end_of_word_suffix is not supported",
                        tok->name);
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return drt_fail(err, DRT_EFORMAT, "%s: BPE with dropout gives random ids; set \"dropout\" to null", tok->name);
    if (prefix && *prefix)
        return drt_fail(err, DRT_EFORMAT, "%s: continuing_subword_prefix \"%.40s\" is not supported", tok->name,
                        prefix);
    return DRT_OK;
}

// Where every byte has its letter nothing is left to fall back from.
static drt_status load_fallback(drt_tokenizer *tok, drt_error *err) {
    if (!tok->bpe.byte_level) return drt_tok_fallback_load(tok, err);
    for (int byte = 0; byte < 256; byte++)
        if (tok->bpe.byte_id[byte] < 0)
            return drt_fail(err, DRT_EFORMAT,
                            "%s: byte_fallback behind ByteLevel is supported only if the vocabulary has a letter for "
                            "every byte; 0x%02x has none",
                            tok->name, (unsigned)byte);
    return DRT_OK;
}

drt_status drt_tok_bpe_load(drt_tokenizer *tok, const json_t *model, drt_error *err) {
    tok_bpe *b = &tok->bpe;
    const json_t *merges = json_object_get(model, "merges");
    const char *unk = json_string_value(json_object_get(model, "unk_token"));
    drt_status status = refuse_unsupported(tok, model, err);
    if (status) return status;
    if (!json_is_array(merges)) return drt_fail(err, DRT_EFORMAT, "%s: the model has no \"merges\" list", tok->name);
    b->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    tok->fallback.fuse = json_is_true(json_object_get(model, "fuse_unk"));
    tok->fallback.unk = unk ? drt_tok_find_in_model(tok, unk, strlen(unk)) : -1;
    if (unk && tok->fallback.unk < 0)
        return drt_fail(err, DRT_EFORMAT, "%s: unk_token '%.200s' is not in the vocabulary", tok->name, unk);
    load_bytes(tok);
    if (json_is_true(json_object_get(model, "byte_fallback"))) status = load_fallback(tok, err);
    if (!status) status = load_merges(tok, merges, err);
    if (!status && !b->byte_level) status = load_chars(tok, err);
    return status ? status : load_words(tok, err);
}

// ---- merges from scores ----

typedef struct {
    double score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

// Ranks by id: the best score is 0, equal scores have one rank, so that of equals the leftmost pair merges first.
static uint32_t *make_ranks(const drt_tokenizer *tok, const double *scores) {
    scored *all = malloc(((size_t)tok->size + 1) * sizeof *all);
    uint32_t *ranks = malloc(((size_t)tok->size + 1) * sizeof *ranks), rank = 0;
    for (int32_t i = 0; all && i < tok->size; i++) all[i] = (scored){scores[i], i};
    if (all && ranks) qsort(all, (size_t)tok->size, sizeof *all, by_score);
    for (int32_t i = 0; all && ranks && i < tok->size; i++) {
        if (i && all[i].score != all[i - 1].score) rank++;
        ranks[all[i].id] = rank;
    }
    free(all);
    return ranks;
}

static int32_t symbol_of(const drt_tokenizer *tok, const char *text, size_t n) {
    int32_t code = only_char(text, n);
    return code >= 0 ? drt_tok_char_slot(&tok->bpe, code)->id : drt_tok_find_in_model(tok, text, n);
}

// Of one piece: counts the pairs of symbols it consists of, and lists them if ranks are given.
static size_t add_pairs(drt_tokenizer *tok, int32_t id, const uint32_t *ranks) {
    const tok_piece *p = &tok->pieces[id];
    size_t n = p->text_size, pairs = 0;
    for (size_t i = 1; p->in_model && i < n; i++) {
        if ((p->text[i] & 0xc0) == 0x80) continue;
        int32_t left = symbol_of(tok, p->text, i), right = left < 0 ? -1 : symbol_of(tok, p->text + i, n - i);
        if (right < 0) continue;
        pairs++;
        tok_merge m = {(uint32_t)left, (uint32_t)right, ranks ? ranks[id] : 0, (uint32_t)id};
        if (ranks) put_merge(&tok->bpe, m, p->text, i, p->text + i);
    }
    return pairs;
}

drt_status drt_tok_bpe_from_scores(drt_tokenizer *tok, const double *scores, drt_error *err) {
    size_t pairs = 0;
    drt_status status = load_all_chars(tok, err);
    if (status) return status;
    for (int32_t id = 0; id < tok->size; id++) pairs += add_pairs(tok, id, NULL);
    status = make_merges(tok, pairs, err);
    uint32_t *ranks = status ? NULL : make_ranks(tok, scores);
    if (!status && !ranks) status = drt_tok_no_memory(tok->name, err);
    for (int32_t id = 0; id < tok->size && !status; id++) add_pairs(tok, id, ranks);
    free(ranks);
    return status ? status : load_words(tok, err);
}
