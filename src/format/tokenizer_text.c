#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

int drt_tok_utf8(const unsigned char *p, int64_t n, int32_t *code, bool *cut) {
    unsigned c = p[0], low = 0x80, high = 0xbf; // the second byte's range rules out overlong forms and surrogates
    int size = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    *cut = false;
    *code = 0xfffd;
    if (size == 1) return *code = (int32_t)c, 1;
    if (!size) return -1;
    if (c == 0xe0) low = 0xa0;
    if (c == 0xed) high = 0x9f;
    if (c == 0xf0) low = 0x90;
    if (c == 0xf4) high = 0x8f;
    int32_t v = (int32_t)(c & (0x7fu >> size));
    for (int i = 1; i < size; i++) {
        if (i == n) return *cut = true, -i;
        if (p[i] < low || p[i] > high) return -i;
        v = v << 6 | (p[i] & 0x3f);
        low = 0x80, high = 0xbf;
    }
    *code = v;
    return size;
}

int64_t drt_tok_utf8_valid(const unsigned char *p, int64_t n) {
    int64_t i = 0;
    while (i < n) {
        uint64_t eight;
        if (n - i >= 8 && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        int32_t code;
        bool cut;
        int size = drt_tok_utf8(p + i, n - i, &code, &cut);
        if (size < 0) return i;
        i += size;
    }
    return n;
}

int32_t drt_tok_char_before(const unsigned char *p, int32_t at, int32_t *code) {
    int32_t start = at - 1;
    bool cut;
    while (start > 0 && (p[start] & 0xc0) == 0x80) start--;
    drt_tok_utf8(p + start, at - start, code, &cut);
    return start;
}

bool drt_tok_is_space(int32_t c) { // Unicode's White_Space
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool drt_tok_is_word(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: // the joiners, and symbols that are Alphabetic all the same
        return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    }
}

// ---- stretches ----

tok_chunk drt_tok_part(const tok_chunk *c, int32_t from, int32_t to) {
    return (tok_chunk){c->bytes + from, c->place ? c->place + from : NULL, to - from, c->base + from};
}

tok_chunk drt_tok_chunk_of(const tok_buffer *b) { return (tok_chunk){b->bytes, b->place, b->n, 0}; }

tok_place drt_tok_place(const tok_chunk *c, int32_t from, int32_t to) {
    if (c->place) return (tok_place){c->place[from].from, c->place[to > from ? to - 1 : from].to};
    while (from > 0 && (c->bytes[from] & 0xc0) == 0x80) from--;
    while (to < c->n && (c->bytes[to] & 0xc0) == 0x80) to++;
    return (tok_place){c->base + from, c->base + to};
}

void drt_tok_add(tok_buffer *b, const void *bytes, int32_t n, tok_place place) {
    if (!n) return;
    if (b->failed || n > INT32_MAX - b->n) {
        b->failed = true;
        return;
    }
    if (b->n + n > b->room) {
        int64_t room = b->room ? 2 * (int64_t)b->room : 256;
        if (room < b->n + n) room = b->n + n;
        if (room > INT32_MAX) room = INT32_MAX;
        unsigned char *grown = realloc(b->bytes, (size_t)room);
        if (grown) b->bytes = grown;
        tok_place *places = grown ? realloc(b->place, (size_t)room * sizeof *places) : NULL;
        if (!places) {
            b->failed = true;
            return;
        }
        b->place = places;
        b->room = (int32_t)room;
    }
    memcpy(b->bytes + b->n, bytes, (size_t)n);
    for (int32_t i = 0; i < n; i++) b->place[b->n + i] = place;
    b->n += n;
}

void drt_tok_copy(tok_buffer *b, const tok_chunk *c, int32_t from, int32_t to) {
    while (from < to) {
        int32_t end = from + 1;
        while (end < to && (c->bytes[end] & 0xc0) == 0x80) end++;
        drt_tok_add(b, c->bytes + from, end - from, drt_tok_place(c, from, end));
        from = end;
    }
}

void drt_tok_clean(tok_buffer *out, const unsigned char *p, int32_t n) {
    for (int32_t i = 0; i < n;) {
        int32_t code;
        bool cut;
        int size = drt_tok_utf8(p + i, n - i, &code, &cut), step = size < 0 ? -size : size;
        if (size < 0) drt_tok_add(out, "\xef\xbf\xbd", 3, (tok_place){i, i + step});
        else drt_tok_add(out, p + i, size, (tok_place){i, i + size});
        i += step;
    }
}

void drt_tok_push(tok_ranges *r, int32_t from, int32_t to, bool match) {
    if (from == to || r->failed) return;
    if (r->n == r->room) {
        int64_t room = r->room ? 2 * (int64_t)r->room : 64;
        tok_range *grown = room <= INT32_MAX ? realloc(r->at, (size_t)room * sizeof *grown) : NULL;
        if (!grown) {
            r->failed = true;
            return;
        }
        r->at = grown;
        r->room = (int32_t)room;
    }
    r->at[r->n++] = (tok_range){from, to, -1, match};
}

static void free_buffer(tok_buffer *b) { free(b->bytes), free(b->place); }

void drt_tok_scratch_free(tok_scratch *s) {
    free_buffer(&s->clean);
    for (int i = 0; i < 2; i++) free_buffer(&s->normal[i]), free_buffer(&s->spaced[i]);
    free(s->first.at), free(s->second.at), free(s->words.at), free(s->next.at);
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    free(s->heap), free(s->ids), free(s->ends), free(s->out);
    memset(s, 0, sizeof *s);
}
