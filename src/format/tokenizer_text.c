#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

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

static bool reserve(tok_buffer *b, int32_t more) {
    if (b->failed || more > INT32_MAX - b->n) return !(b->failed = true);
    if (b->most && b->n + more > b->most) return !(b->failed = b->full = true);
    if (b->n + more <= b->room) return true;
    int64_t room = b->room ? 2 * (int64_t)b->room : 256;
    if (room < b->n + more) room = b->n + more;
    if (room > INT32_MAX) room = INT32_MAX;
    unsigned char *grown = realloc(b->bytes, (size_t)room);
    if (grown) b->bytes = grown;
    tok_place *places = grown ? realloc(b->place, (size_t)room * sizeof *places) : NULL;
    if (!places) return !(b->failed = true);
    b->place = places;
    b->room = (int32_t)room;
    return true;
}

void drt_tok_add(tok_buffer *b, const void *bytes, int32_t n, tok_place place) {
    if (!n || !reserve(b, n)) return;
    memcpy(b->bytes + b->n, bytes, (size_t)n);
    for (int32_t i = 0; i < n; i++) b->place[b->n + i] = place;
    b->n += n;
}

void drt_tok_copy(tok_buffer *b, const tok_chunk *c, int32_t from, int32_t to) {
    int32_t n = to - from;
    if (n <= 0 || !reserve(b, n)) return;
    memcpy(b->bytes + b->n, c->bytes + from, (size_t)n);
    tok_place *place = b->place + b->n;
    b->n += n;
    if (c->place) {
        memcpy(place, c->place + from, (size_t)n * sizeof *place);
        return;
    }
    for (int32_t i = from, end; i < to; i = end) {
        for (end = i + 1; end < to && (c->bytes[end] & 0xc0) == 0x80;) end++;
        for (int32_t k = i; k < end; k++) place[k - from] = (tok_place){c->base + i, c->base + end};
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
    free(s->merging), free(s->path), free(s->cache), free(s->ids), free(s->ends), free(s->out);
    memset(s, 0, sizeof *s);
}
