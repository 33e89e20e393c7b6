#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MOST_TEXT = 1024 }; // bytes that one rule may put; the longest of the public maps are below 40

static uint32_t little_endian(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

// The texts: valid UTF-8, none too long, the last with its NUL.
static drt_status check_texts(const char *p, size_t n, const char *where, drt_error *err) {
    if (n && p[n - 1]) return drt_fail(err, DRT_EFORMAT, "%s: precompiled_charsmap: the last text does not end", where);
    for (size_t i = 0; i < n;) {
        size_t size = strlen(p + i);
        if (size > MOST_TEXT)
            return drt_fail(err, DRT_EFORMAT, "%s: precompiled_charsmap: a rule puts %zu bytes, more than %d", where,
                            size, MOST_TEXT);
        if (drt_tok_utf8_valid((const unsigned char *)p + i, (int64_t)size) < (int64_t)size)
            return drt_fail(err, DRT_EFORMAT, "%s: precompiled_charsmap: a text at byte %zu is not UTF-8", where, i);
        i += size + 1;
    }
    return DRT_OK;
}

drt_status drt_tok_charsmap_load(tok_charsmap *m, drt_arena *a, const void *blob, size_t size, const char *where,
                                 drt_error *err) {
    const unsigned char *p = blob;
    *m = (tok_charsmap){0};
    if (!size) return DRT_OK;
    uint32_t trie = size >= 4 ? little_endian(p) : 0;
    if (size < 4 || size > 64u << 20 || trie % 4 || !trie || trie > size - 4)
        return drt_fail(err, DRT_EFORMAT,
                        "%s: precompiled_charsmap: %zu bytes that say they begin with %u bytes of a table; the file is "
                        "damaged",
                        where, size, trie);
    uint32_t n = trie / 4, texts = (uint32_t)size - 4 - trie;
    drt_status status = check_texts((const char *)p + 4 + trie, texts, where, err);
    if (status) return status;
    uint32_t *units = drt_arena_array(a, n, sizeof *units);
    char *copy = drt_arena_alloc(a, (size_t)texts + 1);
    if (!units || !copy) return drt_tok_no_memory(where, err);
    for (uint32_t i = 0; i < n; i++) units[i] = little_endian(p + 4 + 4 * i);
    memcpy(copy, p + 4 + trie, texts);
    copy[texts] = 0;
    *m = (tok_charsmap){units, copy, n, texts};
    return DRT_OK;
}

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

drt_status drt_tok_charsmap_base64(tok_charsmap *m, drt_arena *a, const char *text, const char *where, drt_error *err) {
    size_t n = strlen(text), size = 0;
    uint32_t bits = 0;
    unsigned char *blob = malloc(n / 4 * 3 + 4);
    if (!blob) return drt_tok_no_memory(where, err);
    while (n && text[n - 1] == '=') n--;
    for (size_t i = 0; i < n; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0) {
            free(blob);
            return drt_fail(err, DRT_EFORMAT, "%s: precompiled_charsmap: byte %zu is not base64", where, i);
        }
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4) blob[size++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
    }
    drt_status status = size ? drt_tok_charsmap_load(m, a, blob, size, where, err)
                             : drt_fail(err, DRT_EFORMAT, "%s: precompiled_charsmap is empty", where);
    free(blob);
    return status;
}

// A unit of the double array: bit 31 marks a value (of a node's child 0), bit 8 a node with a value; bits 0 to 7 are
// the byte that leads here, the rest is the offset to the children, in steps of 256 if bit 9 is set.
static uint32_t offset_of(uint32_t unit) { return unit >> 10 << (unit >> 6 & 8); }

// The text for the longest (or the shortest) beginning of p[0, n) that has a rule, NULL if none has; *used of its
// bytes.
static const char *rule(const tok_charsmap *m, const unsigned char *p, int32_t n, bool shortest, int32_t *used) {
    const char *found = NULL;
    if (!m->n) return NULL;
    uint32_t at = offset_of(m->units[0]);
    for (int32_t i = 0; i < n; i++) {
        at ^= p[i];
        if (at >= m->n || (m->units[at] & 0x800000ff) != p[i]) break;
        uint32_t unit = m->units[at];
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1) || at >= m->n) continue;
        uint32_t value = m->units[at] & 0x7fffffff;
        if (value >= m->texts_size) continue; // a damaged table
        found = m->texts + value;
        *used = i + 1;
        if (shortest) break;
    }
    return found;
}

// ---- HF: by characters as a reader sees them ----

// The end of the grapheme cluster at `from`.
static int32_t cluster_end(const tok_chunk *in, int32_t from) {
    int32_t code, next;
    utf8proc_int32_t state = 0;
    bool cut;
    int32_t at = from + drt_tok_utf8(in->bytes + from, in->n - from, &code, &cut);
    while (at < in->n) {
        if (in->bytes[at] < 0x80 && code < 0x80 && !(code == '\r' && in->bytes[at] == '\n')) break;
        int size = drt_tok_utf8(in->bytes + at, in->n - at, &next, &cut);
        if (utf8proc_grapheme_break_stateful(code, next, &state)) break;
        code = next;
        at += size;
    }
    return at;
}

// A cluster below six bytes becomes the text for the shortest beginning that has a rule, all of it; else each of its
// characters is looked up alone, again by its shortest beginning. That is what HF does.
void drt_tok_precompiled(const tok_charsmap *m, const tok_chunk *in, tok_buffer *out, bool *changed) {
    int32_t same = 0, gone = -1; // [same, from) stays and is not yet copied; gone: text at the beginning was left out
    out->n = 0;
    *changed = false;
    for (int32_t from = 0, to, end; from < in->n; from = end) {
        end = cluster_end(in, from);
        for (int32_t i = from; i < end; i = to) {
            int32_t code, used;
            bool cut;
            bool whole = end - from < 6 && i == from;
            to = whole ? end : i + drt_tok_utf8(in->bytes + i, in->n - i, &code, &cut);
            const char *text = rule(m, in->bytes + i, to - i, true, &used);
            if (!text && whole && (to = i + drt_tok_utf8(in->bytes + i, in->n - i, &code, &cut)) < end)
                text = rule(m, in->bytes + i, to - i, true, &used);
            if (!text) continue;
            drt_tok_copy(out, in, same, i);
            tok_place place = drt_tok_place(in, i, to);
            if (!out->n) place.from = drt_tok_place(in, 0, 1).from; // HF counts on from the first character
            drt_tok_add(out, text, (int32_t)strlen(text), place);
            if (!out->n && gone < 0) gone = place.from;
            *changed = true;
            same = to;
        }
    }
    if (*changed) drt_tok_copy(out, in, same, in->n);
    if (gone >= 0 && out->n) out->place[0].from = gone;
}

// ---- SentencePiece ----

typedef struct {
    const char *text; // NULL: the input itself
    int32_t size, used;
} prefix;

// What the beginning of in[at..) becomes.
static prefix next_prefix(const drt_tokenizer *tok, const tok_normal *op, const tok_chunk *in, int32_t at) {
    const unsigned char *p = in->bytes + at;
    int32_t n = in->n - at, code, used;
    bool cut;
    const tok_added *own = drt_tok_added_longest(&tok->user_defined, p, n);
    if (own) return (prefix){NULL, own->size, own->size};
    const char *text = rule(&op->charsmap, p, n, false, &used);
    if (text) return (prefix){text, (int32_t)strlen(text), used};
    used = drt_tok_utf8(p, n, &code, &cut);
    return (prefix){NULL, used, used};
}

static void put_escaped(const tok_normal *op, const char *text, int32_t n, tok_place place, tok_buffer *out) {
    for (int32_t i = 0; i < n;) {
        const char *space = op->escape_spaces ? memchr(text + i, ' ', (size_t)(n - i)) : NULL;
        int32_t to = space ? (int32_t)(space - text) : n;
        drt_tok_add(out, text + i, to - i, place);
        if (space) drt_tok_add(out, TOK_MARK, TOK_MARK_SIZE, place);
        i = to + (space != NULL);
    }
}

static void strip_end(const tok_normal *op, tok_buffer *out) {
    const char *space = op->escape_spaces ? TOK_MARK : " ";
    int32_t n = (int32_t)strlen(space);
    while (out->n >= n && !memcmp(out->bytes + out->n - n, space, (size_t)n)) out->n -= n;
}

void drt_tok_sentencepiece(const drt_tokenizer *tok, const tok_normal *op, const tok_chunk *in, tok_buffer *out,
                           bool *changed) {
    int32_t at = 0;
    bool after_space = op->collapse_spaces && !op->goes_on;
    out->n = 0;
    *changed = true;
    while (after_space && at < in->n) {
        prefix p = next_prefix(tok, op, in, at);
        if (p.size != 1 || (p.text ? *p.text : in->bytes[at]) != ' ') break;
        at += p.used;
    }
    if (at >= in->n) return;
    bool first = drt_tok_place(in, 0, 1).from == 0;
    if (op->dummy_prefix && (first || !op->first_only)) put_escaped(op, " ", 1, drt_tok_place(in, at, at + 1), out);
    while (at < in->n && !out->failed) {
        prefix p = next_prefix(tok, op, in, at);
        const char *text = p.text ? p.text : (const char *)in->bytes + at;
        tok_place place = drt_tok_place(in, at, at + p.used);
        while (after_space && p.size && *text == ' ') text++, p.size--;
        if (p.size) {
            put_escaped(op, text, p.size, place, out);
            after_space = op->collapse_spaces && text[p.size - 1] == ' ';
        }
        at += p.used;
    }
    if (op->collapse_spaces) strip_end(op, out);
}
