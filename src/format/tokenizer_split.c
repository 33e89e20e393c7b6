#include "format/tokenizer_internal.h"

#include <string.h>
#include <utf8proc.h>

// Every character of a class is a match of its own.
static void cut_class(tok_split_kind kind, const unsigned char *text, int32_t from, int32_t to, tok_ranges *r) {
    int32_t done = from;
    for (int32_t i = from; i < to;) {
        int32_t c;
        bool cut;
        int size = drt_tok_utf8(text + i, to - i, &c, &cut);
        bool hit = kind == SPLIT_DIGITS  ? drt_tok_is_number(c)
                   : kind == SPLIT_SPACE ? drt_tok_is_space(c)
                                         : drt_tok_is_punctuation(c);
        if (hit) {
            drt_tok_push(r, done, i, false);
            drt_tok_push(r, i, i + size, true);
            done = i + size;
        }
        i += size;
    }
    drt_tok_push(r, done, to, false);
}

// The ranges r->at[first..) of one word, kept as the split says. In place.
static void keep(const tok_split *op, tok_ranges *r, int32_t first) {
    int32_t n = first;
    bool before = false;
    tok_range *at = r->at;
    if (op->keep == KEEP_ISOLATED) return;
    for (int32_t i = first; i < r->n; i++) {
        bool match = at[i].match != op->invert, join = false;
        if (op->keep == KEEP_REMOVED && match) continue;
        if (op->keep == KEEP_CONTIGUOUS) join = n > first && match == before;
        if (op->keep == KEEP_PREVIOUS) join = n > first && match && !before;
        if (join) at[n - 1].to = at[i].to;
        else at[n++] = at[i];
        before = match;
    }
    r->n = n;
}

// A match joins what follows it; of several matches in a row the last one does.
static void keep_next(const tok_split *op, tok_ranges *r, int32_t first) {
    int32_t n = first;
    tok_range *at = r->at;
    for (int32_t i = first; i < r->n; i++) {
        bool match = at[i].match != op->invert;
        bool join = match && i + 1 < r->n && at[i + 1].match == op->invert;
        int32_t from = at[i].from;
        if (join) i++;
        at[n++] = (tok_range){from, at[i].to, -1, false};
    }
    r->n = n;
}

// Puts a space before each word that does not begin with one.
static void prefix_spaces(const tok_chunk *in, tok_ranges *words, tok_buffer *out) {
    out->n = 0;
    for (int32_t i = 0; i < words->n; i++) {
        tok_range *w = &words->at[i];
        int32_t from = out->n;
        if (in->bytes[w->from] != ' ') drt_tok_add(out, " ", 1, drt_tok_place(in, w->from, w->from + 1));
        drt_tok_copy(out, in, w->from, w->to);
        w->from = from;
        w->to = out->n;
    }
}

// Puts marks for spaces, and one before each word that does not begin with one.
static void metaspace(const tok_split *op, const tok_chunk *in, tok_ranges *words, tok_buffer *out) {
    const char *mark = op->pattern.literal;
    int32_t n = op->pattern.literal_size;
    out->n = 0;
    for (int32_t i = 0; i < words->n; i++) {
        tok_range *w = &words->at[i];
        int32_t from = out->n;
        const unsigned char *p = in->bytes + w->from;
        tok_place start = drt_tok_place(in, w->from, w->from + 1);
        bool marked = *p == ' ' || (w->to - w->from >= n && !memcmp(p, mark, (size_t)n));
        bool due = op->prefix == PREFIX_ALWAYS || (op->prefix == PREFIX_FIRST && start.from == 0);
        if (due && !marked) drt_tok_add(out, mark, n, start);
        for (int32_t k = w->from; k < w->to;) {
            const unsigned char *space = memchr(in->bytes + k, ' ', (size_t)(w->to - k));
            int32_t to = space ? (int32_t)(space - in->bytes) : w->to;
            drt_tok_copy(out, in, k, to);
            if (space) drt_tok_add(out, mark, n, drt_tok_place(in, to, to + 1));
            k = to + (space != NULL);
        }
        w->from = from;
        w->to = out->n;
    }
}

static void letters(const tok_chunk *in, tok_ranges *words, tok_buffer *out) {
    out->n = 0;
    for (int32_t i = 0; i < words->n; i++) {
        tok_range *w = &words->at[i];
        int32_t from = out->n;
        for (int32_t k = w->from; k < w->to; k++) {
            utf8proc_uint8_t bytes[4];
            int32_t n = (int32_t)utf8proc_encode_char(drt_tok_byte_letter(in->bytes[k]), bytes);
            drt_tok_add(out, bytes, n, drt_tok_place(in, k, k + 1));
        }
        w->from = from;
        w->to = out->n;
    }
}

static drt_status cut_words(const tok_split *op, tok_scratch *s, const tok_chunk *c, drt_error *err) {
    tok_ranges swap;
    s->next.n = 0;
    for (int32_t i = 0; i < s->words.n; i++) {
        tok_range w = s->words.at[i];
        int32_t first = s->next.n;
        drt_status status = DRT_OK;
        if (op->kind == SPLIT_PATTERN)
            status = drt_tok_pattern_cut(&op->pattern, s, c->bytes, w.from, w.to, &s->next, err);
        else cut_class(op->kind, c->bytes, w.from, w.to, &s->next);
        if (status) return status;
        if (s->next.failed) break;
        if (op->keep == KEEP_NEXT) keep_next(op, &s->next, first);
        else keep(op, &s->next, first);
    }
    swap = s->words, s->words = s->next, s->next = swap;
    return DRT_OK;
}

drt_status drt_tok_split(const drt_tokenizer *tok, tok_scratch *s, tok_chunk *chunk, drt_error *err) {
    int use = 0;
    const int32_t n = chunk->n;
    s->spaced[0].most = s->spaced[1].most = drt_tok_most(n);
    s->words.n = 0;
    drt_tok_push(&s->words, 0, chunk->n, false);
    for (int i = 0; i < tok->split_count; i++) {
        const tok_split *op = &tok->split[i];
        drt_status status = DRT_OK;
        if (op->kind == SPLIT_PREFIX_SPACE || op->kind == SPLIT_BYTE_LETTERS || op->kind == SPLIT_METASPACE) {
            tok_buffer *to = &s->spaced[use];
            if (op->kind == SPLIT_PREFIX_SPACE) prefix_spaces(chunk, &s->words, to);
            else if (op->kind == SPLIT_METASPACE) metaspace(op, chunk, &s->words, to);
            else letters(chunk, &s->words, to);
            if (to->full) return drt_tok_too_long(tok->name, "pre_tokenizer", n, err);
            if (to->failed) return drt_tok_no_memory(tok->name, err);
            *chunk = drt_tok_chunk_of(to);
            use = !use;
        } else status = cut_words(op, s, chunk, err);
        if (status) return status;
    }
    return s->words.failed || s->next.failed ? drt_tok_no_memory(tok->name, err) : DRT_OK;
}
