#include "data/json_split.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *bytes, *name;
    size_t size, at;
    drt_json_piece *piece;
    int32_t n, room;
    drt_error *err;
} splitter;

void drt_json_where(const char *bytes, size_t at, int64_t *line, int64_t *column) {
    *line = *column = 1;
    for (size_t i = 0; i < at; i++) {
        ++*column;
        if (bytes[i] == '\n') ++*line, *column = 1;
    }
}

static drt_status refuse(splitter *s, size_t at, const char *what) {
    int64_t line, column;
    drt_json_where(s->bytes, at, &line, &column);
    return drt_fail(s->err, DRT_EFORMAT, "%s: line %lld, column %lld: %s", s->name, (long long)line, (long long)column,
                    what);
}

// An object without end: the real fault lies somewhere inside it, which the parser finds.
static drt_status refuse_open(splitter *s, size_t from) {
    json_error_t why;
    json_t *tree = json_loadb(s->bytes + from, s->size - from, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &why);
    if (!tree) return refuse(s, from + (size_t)why.position, why.text);
    json_decref(tree);
    return refuse(s, from, "this object has no end");
}

static void skip_space(splitter *s) {
    while (s->at < s->size && strchr(" \t\r\n", s->bytes[s->at]) && s->bytes[s->at]) s->at++;
}

// Moves behind the object that begins at s->at.
static drt_status skip_object(splitter *s) {
    size_t from = s->at;
    int depth = 0;
    for (; s->at < s->size; s->at++) {
        char c = s->bytes[s->at];
        if (c == '"') {
            for (s->at++; s->at < s->size && s->bytes[s->at] != '"'; s->at++)
                if (s->bytes[s->at] == '\\') s->at++;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            s->at++;
            return DRT_OK;
        }
    }
    s->at = s->size;
    return refuse_open(s, from);
}

static drt_status add_object(splitter *s) {
    size_t from = s->at;
    if (s->bytes[from] != '{') return refuse(s, from, "a sample was expected, which is an object in { }");
    drt_status bad = skip_object(s);
    if (bad) return bad;
    if (s->at - from > UINT32_MAX) return refuse(s, from, "this sample is larger than 4 GiB");
    if (s->n == s->room) {
        int32_t more = s->room ? s->room * 2 : 256;
        drt_json_piece *p = s->room <= INT32_MAX / 2 ? realloc(s->piece, (size_t)more * sizeof *p) : NULL;
        if (!p) return drt_fail(s->err, DRT_ENOMEM, "%s: no memory for more than %d samples", s->name, s->n);
        s->piece = p;
        s->room = more;
    }
    s->piece[s->n] = (drt_json_piece){from, (uint32_t)(s->at - from), s->n};
    s->n++;
    return DRT_OK;
}

static drt_status split_array(splitter *s) {
    s->at++;
    for (skip_space(s); s->at < s->size; skip_space(s)) {
        if (s->bytes[s->at] == ']') {
            if (s->n) return refuse(s, s->at, "a sample was expected after the comma");
            break;
        }
        drt_status bad = add_object(s);
        if (bad) return bad;
        skip_space(s);
        if (s->at >= s->size || s->bytes[s->at] != ',') break;
        s->at++;
    }
    if (s->at >= s->size) return refuse(s, s->size, "the file ends inside the array; copy it again");
    if (s->bytes[s->at] != ']') return refuse(s, s->at, "',' or ']' was expected after a sample");
    s->at++;
    skip_space(s);
    return s->at < s->size ? refuse(s, s->at, "something stands behind the array") : DRT_OK;
}

static drt_status split_lines(splitter *s) {
    drt_status bad = DRT_OK;
    for (; !bad && s->at < s->size; skip_space(s)) bad = add_object(s);
    return bad;
}

drt_status drt_json_split(const char *bytes, size_t size, const char *name, drt_json_piece **out, int32_t *n,
                          drt_error *err) {
    splitter s = {.bytes = bytes, .size = size, .name = name, .err = err};
    drt_status bad;
    if (size >= 3 && !memcmp(bytes, "\xEF\xBB\xBF", 3)) s.at = 3;
    skip_space(&s);
    if (s.at == size) bad = drt_fail(err, DRT_EFORMAT, "%s: the file is empty; it must hold an array of samples", name);
    else if (bytes[s.at] == '[') bad = split_array(&s);
    else if (bytes[s.at] == '{') bad = split_lines(&s);
    else bad = refuse(&s, s.at, "neither an array of samples nor one sample a line begins here");
    if (bad) {
        free(s.piece);
        s.piece = NULL;
        s.n = 0;
    }
    *out = s.piece;
    *n = s.n;
    return bad;
}
