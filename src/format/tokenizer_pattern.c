#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

const char drt_tok_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

enum { MOST_PATTERN = 20000 };

// Tokenizer files are written for Oniguruma (Ruby's syntax). Where PCRE2 would quietly read something else, the
// pattern is put in other words (\s without U+180E, \w with marks, ...) or refused. One difference is left: without
// case, Oniguruma lets a letter match several ("st" the ligature U+FB06), PCRE2 does not. `in`: inside [ ].
static drt_status translate_escape(drt_text *out, char c, bool in, const char *where, drt_error *err) {
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define LATIN "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}" // digits and fractions, which Oniguruma counts only outside [ ]
    switch (c) {
    case 's': drt_text_puts(out, "\\p{White_Space}"); break;
    case 'S': drt_text_puts(out, "\\P{White_Space}"); break;
    case 'w': drt_text_puts(out, in ? WORD : "[" WORD LATIN "]"); break;
    case 'W':
        if (in) return drt_fail(err, DRT_EFORMAT, "%s: \\W inside [ ] of a pattern is not supported", where);
        drt_text_puts(out, "[^" WORD LATIN "]");
        break;
    case 'h':
    case 'H': // a hexadecimal digit there, horizontal space here
        return drt_fail(err, DRT_EFORMAT, "%s: \\%c in a pattern is not supported", where, c);
    default: drt_text_printf(out, "\\%c", c);
    }
    return DRT_OK;
#undef WORD
#undef LATIN
}

// \p{Han} is the script alone; to PCRE2 it would be the script's extensions too. p: at the p or P; returns the last
// byte read.
static const char *translate_property(drt_text *out, const char *p) {
    static const char *const not_scripts[] = {"Any",         "Alphabetic", "Uppercase", "Lowercase",
                                              "White_Space", "Emoji",      "Cased",     "Case_Ignorable"};
    const char *name = p + 2 + (p[2] == '^'), *end = strchr(name, '}');
    size_t n = end ? (size_t)(end - name) : 0;
    bool script = n > 2;
    for (size_t i = 0; i < sizeof not_scripts / sizeof *not_scripts; i++)
        if (n == strlen(not_scripts[i]) && !strncasecmp(name, not_scripts[i], n)) script = false;
    drt_text_printf(out, "\\%c{%s%s", *p, name > p + 2 ? "^" : "", script ? "sc:" : "");
    if (end) drt_text_add(out, name, n + 1);
    return end ? end : name - 1;
}

// [:name:] inside [ ]. p: at its [; returns the last byte read, NULL if it is not supported.
static const char *translate_class(drt_text *out, const char *p) {
    static const char *const classes[][2] = {{"alpha", "\\p{Alphabetic}"},  {"digit", "\\p{Nd}"},
                                             {"upper", "\\p{Uppercase}"},   {"lower", "\\p{Lowercase}"},
                                             {"space", "\\p{White_Space}"}, {"punct", "\\p{P}\\p{S}"}};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        size_t n = strlen(classes[i][0]);
        if (strncmp(p + 2, classes[i][0], n) || strncmp(p + 2 + n, ":]", 2)) continue;
        drt_text_puts(out, classes[i][1]);
        return p + n + 3;
    }
    return NULL;
}

static drt_status translate(drt_text *out, const char *p, const char *where, drt_error *err) {
    bool in = false;
    for (const char *start = p; *p; p++) {
        drt_status status = DRT_OK;
        const char *class_end = in && *p == '[' && p[1] == ':' ? translate_class(out, p) : NULL;
        if (*p == '\\' && (p[1] == 'p' || p[1] == 'P') && p[2] == '{') p = translate_property(out, p + 1);
        else if (*p == '\\' && p[1] && !(p[1] & 0x80)) status = translate_escape(out, *++p, in, where, err);
        else if (class_end) p = class_end;
        else if (in && (*p == '[' || (*p == '&' && p[1] == '&'))) {
            status = drt_fail(err, DRT_EFORMAT, "%s: byte %zd of a pattern: %s inside [ ] are not supported", where,
                              p - start, p[1] == ':' ? "such classes" : "sets");
        } else {
            drt_text_add(out, p, 1);
            if (!in && *p == '[') {
                in = true;
                if (p[1] == '^') drt_text_add(out, ++p, 1);
                if (p[1] == ']') drt_text_puts(out, "\\]"), p++; // a ] that comes first is an ordinary character
            } else if (*p == ']') in = false;
        }
        if (status) return status;
    }
    return out->failed ? drt_tok_no_memory(where, err) : DRT_OK;
}

drt_status drt_tok_pattern_regex(tok_pattern *p, const char *regex, const char *where, drt_error *err) {
    drt_text text = {0};
    *p = (tok_pattern){0};
    if (strlen(regex) > MOST_PATTERN)
        return drt_fail(err, DRT_EFORMAT, "%s: a pattern of more than %d bytes", where, MOST_PATTERN);
    drt_text_puts(&text, "");
    drt_status status = translate(&text, regex, where, err);
    pcre2_compile_context *how = status ? NULL : pcre2_compile_context_create(NULL);
    if (!status && !how) status = drt_tok_no_memory(where, err);
    if (!status) {
        int code;
        PCRE2_SIZE at;
        pcre2_set_newline(how, PCRE2_NEWLINE_LF);
        // Ruby's ^ and $ match at every line.
        uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
        p->code = pcre2_compile((PCRE2_SPTR)text.bytes, text.size, options, &code, &at, how);
        if (p->code) pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); // without it matching is slower, not different
        else if (code == PCRE2_ERROR_HEAP_FAILED) status = drt_tok_no_memory(where, err);
        else {
            PCRE2_UCHAR why[160];
            pcre2_get_error_message(code, why, sizeof why);
            status = drt_fail(err, DRT_EFORMAT, "%s: pattern \"%.200s\": %s at byte %zu", where, text.bytes,
                              (char *)why, (size_t)at);
        }
    }
    pcre2_compile_context_free(how);
    drt_text_free(&text);
    return status;
}

drt_status drt_tok_pattern_load(tok_pattern *p, drt_arena *a, const json_t *j, const char *where, drt_error *err) {
    const char *regex = json_string_value(json_object_get(j, "Regex"));
    const char *literal = json_string_value(json_object_get(j, "String"));
    *p = (tok_pattern){0};
    if (regex) return drt_tok_pattern_regex(p, regex, where, err);
    if (!literal) return drt_fail(err, DRT_EFORMAT, "%s: \"pattern\" has neither \"Regex\" nor \"String\"", where);
    if (!*literal) return drt_fail(err, DRT_EFORMAT, "%s: \"pattern\" is an empty string", where);
    p->literal = drt_arena_strdup(a, literal);
    p->literal_size = (int32_t)strlen(literal);
    return p->literal ? DRT_OK : drt_tok_no_memory(where, err);
}

void drt_tok_pattern_free(tok_pattern *p) { pcre2_code_free(p->code); }

static drt_status cut_literal(const tok_pattern *p, const unsigned char *text, int32_t from, int32_t to,
                              tok_ranges *r) {
    while (from < to) {
        size_t n = (size_t)(to - from);
        const unsigned char *hit = p->literal_size == 1 ? memchr(text + from, *p->literal, n)
                                                        : memmem(text + from, n, p->literal, (size_t)p->literal_size);
        int32_t at = hit ? (int32_t)(hit - text) : to;
        drt_tok_push(r, from, at, false);
        if (hit) drt_tok_push(r, at, at + p->literal_size, true);
        from = hit ? at + p->literal_size : to;
    }
    return DRT_OK;
}

static drt_status prepare(tok_scratch *s, drt_error *err) {
    if (!s->match) s->match = pcre2_match_data_create(1, NULL);
    if (!s->limits) s->limits = pcre2_match_context_create(NULL);
    return s->match && s->limits ? DRT_OK : drt_tok_no_memory("a pattern's match", err);
}

static drt_status match(const tok_pattern *p, tok_scratch *s, const unsigned char *text, int32_t n, int32_t at,
                        bool *found, drt_error *err) {
    const uint32_t options = PCRE2_NO_UTF_CHECK; // encode has checked
    int rc = pcre2_match(p->code, text, (PCRE2_SIZE)n, (PCRE2_SIZE)at, options, s->match, s->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(p->code, text, (PCRE2_SIZE)n, (PCRE2_SIZE)at, options | PCRE2_NO_JIT, s->match, s->limits);
    *found = rc >= 0;
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH) return DRT_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return drt_tok_no_memory("a pattern's match", err);
    PCRE2_UCHAR why[160];
    pcre2_get_error_message(rc, why, sizeof why);
    return drt_fail(err, DRT_EDATA, "the tokenizer's pattern gave up at byte %d of a text of %d bytes: %s", at, n,
                    (char *)why);
}

drt_status drt_tok_pattern_cut(const tok_pattern *p, tok_scratch *s, const unsigned char *text, int32_t from,
                               int32_t to, tok_ranges *r, drt_error *err) {
    if (!p->code) return cut_literal(p, text, from, to, r);
    drt_status status = prepare(s, err);
    if (status) return status;
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(s->match);
    // A pattern sees its range only, as in HF. Work is bounded by the length, so that no pattern can hang a run.
    const unsigned char *p0 = text + from;
    int32_t n = to - from, done = 0, at = 0;
    pcre2_set_match_limit(s->limits, 100000 + 100 * (uint32_t)(n < 10000000 ? n : 10000000));
    while (at < n) {
        bool hit;
        status = match(p, s, p0, n, at, &hit, err);
        if (status) return status;
        if (!hit) break;
        int32_t a = (int32_t)found[0], b = (int32_t)found[1];
        if (a < done || b < a) a = done; // \K may set a match's start anywhere
        if (b < a) b = a;
        drt_tok_push(r, from + done, from + a, false);
        drt_tok_push(r, from + a, from + b, true);
        done = b;
        at = b;
        if (a == b && at < n) // an empty match cuts; the search goes on after the next character
            for (at++; at < n && (p0[at] & 0xc0) == 0x80;) at++;
    }
    drt_tok_push(r, from + done, to, false);
    return DRT_OK;
}
