#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// ---- normal forms ----
// Text falls into runs: a character followed by those that may combine with it. Each run is normalised alone; the
// characters of a changed run all point to the whole run in the input.

typedef struct {
    int32_t *code, *sorted;
    int64_t n, room;
    bool failed;
} code_points;

// Is c alone in its run left as it is?
static bool is_inert(int32_t c, bool compose, bool compatible) {
    int32_t parts[DRT_TOK_PARTS];
    if (c < 0x80) return true;
    if (compose && (c < 0xa0 || (c < 0x300 && !compatible) || (c >= 0xac00 && c <= 0xd7a3))) return true;
    return drt_tok_decompose(c, compatible, parts) == 1 && parts[0] == c;
}

static void append(code_points *v, int32_t c, bool compatible) {
    if (v->n + DRT_TOK_PARTS > v->room) {
        int64_t room = v->room ? 2 * v->room : 256;
        int32_t *a = realloc(v->code, (size_t)room * sizeof *a);
        if (a) v->code = a;
        int32_t *b = a ? realloc(v->sorted, (size_t)room * sizeof *b) : NULL;
        if (b) v->sorted = b;
        if (!b) {
            v->failed = true;
            return;
        }
        v->room = room;
    }
    v->n += drt_tok_decompose(c, compatible, v->code + v->n);
}

// Stable order of combining classes between characters of class 0. Counting keeps hostile runs of marks linear.
static void order_marks(code_points *v) {
    for (int64_t i = 0; i < v->n;) {
        int64_t end = i, start[257] = {0};
        while (end < v->n && drt_tok_combining_class(v->code[end])) end++;
        if (end - i > 1) {
            for (int64_t k = i; k < end; k++) start[drt_tok_combining_class(v->code[k]) + 1]++;
            for (int c = 1; c < 257; c++) start[c] += start[c - 1];
            for (int64_t k = i; k < end; k++) v->sorted[start[drt_tok_combining_class(v->code[k])]++] = v->code[k];
            memcpy(v->code + i, v->sorted, (size_t)(end - i) * sizeof *v->code);
        }
        i = end + 1;
    }
}

static void put_run(code_points *v, const tok_chunk *in, int32_t from, int32_t to, bool compose, bool compatible,
                    tok_buffer *out, bool *changed) {
    v->n = 0;
    for (int32_t i = from; i < to && !v->failed;) {
        int32_t c;
        bool cut;
        i += drt_tok_utf8(in->bytes + i, in->n - i, &c, &cut);
        append(v, c, compatible);
    }
    if (v->failed) {
        out->failed = true;
        return;
    }
    order_marks(v);
    int64_t n = compose ? utf8proc_normalize_utf32(v->code, v->n, UTF8PROC_STABLE | UTF8PROC_COMPOSE) : v->n;
    int32_t before = out->n;
    tok_place all = drt_tok_place(in, from, to);
    for (int64_t i = 0; i < n; i++) {
        utf8proc_uint8_t bytes[4];
        drt_tok_add(out, bytes, (int32_t)utf8proc_encode_char(v->code[i], bytes), all);
    }
    if (!out->failed && out->n - before == to - from &&
        !memcmp(out->bytes + before, in->bytes + from, (size_t)(to - from))) {
        out->n = before; // the same text: keep each character's own place
        drt_tok_copy(out, in, from, to);
    } else *changed = true;
}

void drt_tok_form(tok_normal_kind what, const tok_chunk *in, tok_buffer *out, bool *changed) {
    code_points v = {0};
    bool compose = what == NORMAL_NFC || what == NORMAL_NFKC, compatible = what == NORMAL_NFKC || what == NORMAL_NFKD;
    int32_t plain = 0, from = 0; // [plain, from) is inert and not yet copied
    out->n = 0;
    *changed = false;
    while (from < in->n && !out->failed) {
        int32_t c, next, to;
        bool cut;
        to = from + drt_tok_utf8(in->bytes + from, in->n - from, &c, &cut);
        bool inert = is_inert(c, compose, compatible);
        int marks = 0;
        while (to < in->n && in->bytes[to] >= 0xcc) { // U+0300 and above
            int size = drt_tok_utf8(in->bytes + to, in->n - to, &next, &cut);
            if (!drt_tok_may_combine(next, compatible)) break;
            to += size;
            marks++;
        }
        if (!inert || marks) {
            drt_tok_copy(out, in, plain, from);
            put_run(&v, in, from, to, compose, compatible, out, changed);
            plain = to;
        }
        from = to;
    }
    if (*changed) drt_tok_copy(out, in, plain, in->n);
    free(v.code), free(v.sorted);
}

// ---- the other normalisers ----

static void lower(const tok_chunk *in, tok_buffer *out, bool *changed) {
    int32_t same = 0; // [same, i) is lower case already and not yet copied
    out->n = 0;
    *changed = false;
    for (int32_t i = 0, size; i < in->n; i += size) {
        int32_t c = in->bytes[i], small;
        bool cut;
        size = 1;
        if (c < 0x80) small = c >= 'A' && c <= 'Z' ? c + 32 : c;
        else {
            size = drt_tok_utf8(in->bytes + i, in->n - i, &c, &cut);
            small = utf8proc_tolower(c);
        }
        if (small == c) continue;
        utf8proc_uint8_t bytes[4];
        tok_place place = drt_tok_place(in, i, i + size);
        drt_tok_copy(out, in, same, i);
        if (c == 0x130) drt_tok_add(out, "i\xcc\x87", 3, place); // the one lower case of two characters
        else drt_tok_add(out, bytes, (int32_t)utf8proc_encode_char(small, bytes), place);
        same = i + size;
        *changed = true;
    }
    if (*changed) drt_tok_copy(out, in, same, in->n);
}

static void prepend(const tok_normal *op, const tok_chunk *in, tok_buffer *out, bool *changed) {
    out->n = 0;
    *changed = in->n > 0 && (!op->first_only || drt_tok_place(in, 0, 1).from == 0);
    if (!*changed) return;
    drt_tok_add(out, op->content, (int32_t)strlen(op->content), drt_tok_place(in, 0, 1));
    drt_tok_copy(out, in, 0, in->n);
}

static void strip(const tok_normal *op, const tok_chunk *in, tok_buffer *out, bool *changed) {
    int32_t from = 0, to = in->n, code;
    bool cut;
    out->n = 0;
    while (op->left && from < to) {
        int size = drt_tok_utf8(in->bytes + from, to - from, &code, &cut);
        if (!drt_tok_is_space(code)) break;
        from += size;
    }
    while (op->right && to > from) {
        int32_t start = drt_tok_char_before(in->bytes, to, &code);
        if (!drt_tok_is_space(code)) break;
        to = start;
    }
    *changed = from > 0 || to < in->n;
    if (*changed) drt_tok_copy(out, in, from, to);
}

static drt_status replace(const tok_normal *op, tok_scratch *s, const tok_chunk *in, tok_buffer *out, bool *changed,
                          drt_error *err) {
    int32_t size = (int32_t)strlen(op->content);
    out->n = s->next.n = 0;
    drt_status status = drt_tok_pattern_cut(&op->pattern, s, in->bytes, 0, in->n, &s->next, err);
    *changed = false;
    for (int32_t i = 0; i < s->next.n && !*changed; i++) {
        tok_range r = s->next.at[i];
        *changed = r.match && (r.to - r.from != size || memcmp(in->bytes + r.from, op->content, (size_t)size));
    }
    for (int32_t i = 0; i < s->next.n && *changed && !status; i++) {
        tok_range r = s->next.at[i];
        if (r.match) drt_tok_add(out, op->content, size, drt_tok_place(in, r.to - 1, r.to)); // its last character
        else drt_tok_copy(out, in, r.from, r.to);
    }
    if (s->next.failed) out->failed = true;
    return status;
}

drt_status drt_tok_normalise(const drt_tokenizer *tok, tok_scratch *s, const tok_chunk *in, tok_chunk *out,
                             drt_error *err) {
    int use = 0;
    *out = *in;
    s->normal[0].most = s->normal[1].most = drt_tok_most(in->n);
    for (int i = 0; i < tok->normal_count; i++) {
        const tok_normal *op = &tok->normal[i];
        tok_buffer *to = &s->normal[use];
        drt_status status = DRT_OK;
        bool changed;
        if (op->kind == NORMAL_LOWER) lower(out, to, &changed);
        else if (op->kind == NORMAL_PREPEND) prepend(op, out, to, &changed);
        else if (op->kind == NORMAL_STRIP) strip(op, out, to, &changed);
        else if (op->kind == NORMAL_PRECOMPILED) drt_tok_precompiled(&op->charsmap, out, to, &changed);
        else if (op->kind == NORMAL_SENTENCEPIECE) drt_tok_sentencepiece(tok, op, out, to, &changed);
        else if (op->kind == NORMAL_REPLACE) status = replace(op, s, out, to, &changed, err);
        else drt_tok_form(op->kind, out, to, &changed);
        if (status) return status;
        if (to->full) return drt_tok_too_long(tok->name, "normalizer", in->n, err);
        if (to->failed) return drt_tok_no_memory(tok->name, err);
        if (!changed) continue;
        *out = drt_tok_chunk_of(to);
        use = !use;
    }
    return DRT_OK;
}
