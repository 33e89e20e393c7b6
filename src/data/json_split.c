#include "data/json_split.h"

#include <string.h>

enum { START, SAMPLE_OR_END, SAMPLE, INSIDE, COMMA, DONE }; // what comes next

static drt_status refuse(drt_json_splitter *s, uint64_t at, const char *what, drt_error *err) {
    s->fault = at;
    return drt_fail(err, DRT_EFORMAT, "%s", what);
}

#define EACH(byte) (0x0101010101010101u * (uint64_t)(byte))

// The first quote or backslash in [p, end), or end. Eight bytes at a time; the lowest top bit that is set is exact.
static const char *plain_run(const char *p, const char *end) {
    for (uint64_t w; end - p >= 8; p += 8) {
        memcpy(&w, p, 8);
        uint64_t quote = w ^ EACH('"'), slash = w ^ EACH('\\');
        uint64_t hit = (((quote - EACH(1)) & ~quote) | ((slash - EACH(1)) & ~slash)) & EACH(0x80);
        if (hit) return p + __builtin_ctzll(hit) / 8;
    }
    while (p < end && *p != '"' && *p != '\\') p++;
    return p;
}

// Moves *p behind the string's closing quote, or to the end of the piece.
static void pass_string(drt_json_splitter *s, const char **p, const char *end) {
    const char *at = *p;
    if (s->escape && at < end) s->escape = false, at++;
    for (; at < end; at++) {
        at = plain_run(at, end);
        if (at == end) break;
        if (*at == '"') {
            s->string = false;
            at++;
            break;
        }
        if (*at == '\\' && ++at == end) {
            s->escape = true;
            break;
        }
    }
    *p = at;
}

// Moves *p behind the object's last bracket, or to the end of the piece.
static void pass_object(drt_json_splitter *s, const char **p, const char *end) {
    while (*p < end) {
        if (s->string) {
            pass_string(s, p, end);
            continue;
        }
        char c = *(*p)++;
        if (c == '"') s->string = true;
        else if (c == '{' || c == '[') s->depth++;
        else if ((c == '}' || c == ']') && --s->depth == 0) return;
    }
}

// The same of a line, whose end is passed by who comes next.
static bool pass_line(const char **p, const char *end) {
    const char *at = memchr(*p, '\n', (size_t)(end - *p));
    *p = at ? at : end;
    return at != NULL;
}

static drt_status between(drt_json_splitter *s, char c, drt_error *err) {
    static const char mark[] = "\xEF\xBB\xBF";
    bool space = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (s->state == START && s->begun < 3 && s->at == (uint64_t)s->begun && c == mark[s->begun]) {
        s->begun++;
        return DRT_OK;
    }
    if (space) return DRT_OK;
    switch (s->state) {
    case START:
        s->array = c == '[';
        if (s->array) s->lines = false;
        else if (c != '{' && !s->lines)
            return refuse(s, s->at, "neither an array of samples nor one sample a line begins here", err);
        s->state = SAMPLE_OR_END;
        if (s->array) return DRT_OK;
        break;
    case SAMPLE_OR_END:
        if (!s->array || c != ']') break;
        s->state = DONE;
        return DRT_OK;
    case SAMPLE:
        if (c == ']') return refuse(s, s->at, "a sample was expected after the comma", err);
        break;
    case COMMA:
        if (c != ',' && c != ']') return refuse(s, s->at, "',' or ']' was expected after a sample", err);
        s->state = c == ',' ? SAMPLE : DONE;
        return DRT_OK;
    default: return refuse(s, s->at, "something stands behind the array", err);
    }
    if (c != '{' && !s->lines) return refuse(s, s->at, "a sample was expected, which is an object in { }", err);
    s->state = INSIDE;
    s->from = s->at;
    s->depth = !s->lines;
    return DRT_OK;
}

static drt_status cut(drt_json_splitter *s, drt_error *err) {
    s->state = s->array ? COMMA : SAMPLE_OR_END;
    return s->found(s->user, s->from, s->at - s->from, err);
}

drt_status drt_json_split_feed(drt_json_splitter *s, const char *bytes, size_t n, drt_error *err) {
    drt_status bad = DRT_OK;
    const char *p = bytes, *end = bytes + n;
    while (!bad && p < end) {
        if (s->state != INSIDE) {
            bad = between(s, *p++, err);
            s->at += !bad;
            continue;
        }
        const char *from = p;
        bool whole = s->lines && pass_line(&p, end);
        if (!s->lines) pass_object(s, &p, end), whole = !s->depth;
        s->at += (uint64_t)(p - from);
        if (whole) bad = cut(s, err); // else it goes on in the next piece
    }
    return bad;
}

drt_status drt_json_split_end(drt_json_splitter *s, drt_error *err) {
    if (s->state == DONE || (s->state == SAMPLE_OR_END && !s->array)) return DRT_OK;
    if (s->state == INSIDE && s->lines) return cut(s, err);
    if (s->state == START) return refuse(s, s->at, "the file is empty; it must hold an array of samples", err);
    if (s->state == INSIDE) return refuse(s, s->from, "this object has no end", err);
    return refuse(s, s->at, "the file ends inside the array; copy it again", err);
}

uint64_t drt_json_split_keep(const drt_json_splitter *s) { return s->state == INSIDE ? s->from : s->at; }
