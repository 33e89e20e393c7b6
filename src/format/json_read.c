#include "format/json_read.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static bool fail(drt_json_reader *r, const char *at, const char *why) {
    if (r->why) return false;
    r->at = at;
    r->why = why;
    return false;
}

char drt_json_peek(drt_json_reader *r) {
    if (r->why) return 0;
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
    return r->at < r->end ? *r->at : 0;
}

static bool open(drt_json_reader *r, char bracket, const char *why) {
    if (drt_json_peek(r) != bracket) return fail(r, r->at, why);
    if (++r->depth > DRT_JSON_DEPTH) return fail(r, r->at, "too many levels of brackets");
    r->at++;
    return true;
}

// What stands between two entries, or behind the last. False: there is no further entry.
static bool next(drt_json_reader *r, bool *first, char open_bracket, char bracket, const char *wanted,
                 const char *between) {
    bool begin = *first;
    *first = false;
    if (begin && !open(r, open_bracket, wanted)) return false;
    char c = drt_json_peek(r);
    if (r->why) return false;
    if (c == bracket) {
        r->at++, r->depth--;
        return false;
    }
    if (begin) return true;
    if (c != ',') return fail(r, r->at, between);
    r->at++;
    return true;
}

bool drt_json_member(drt_json_reader *r, bool *first, drt_json_text *key) {
    if (!next(r, first, '{', '}', "an object was expected", "',' or '}' was expected")) return false;
    if (drt_json_peek(r) != '"') return fail(r, r->at, "a key in quotes was expected");
    if (!drt_json_string(r, key)) return false;
    if (drt_json_peek(r) != ':') return fail(r, r->at, "':' was expected");
    r->at++;
    return true;
}

bool drt_json_element(drt_json_reader *r, bool *first) {
    return next(r, first, '[', ']', "an array was expected", "',' or ']' was expected");
}

// ---- strings -------------------------------------------------------------------------------------------------------

#define EACH(byte) (0x0101010101010101u * (uint64_t)(byte))

// The bytes of w that end a run of plain characters have their top bit set: quotes, backslashes, control characters,
// and all beyond ASCII. Exact for the lowest such byte, which is the one that matters.
static uint64_t special(uint64_t w) {
    uint64_t quote = w ^ EACH('"'), slash = w ^ EACH('\\');
    uint64_t low = (w - EACH(0x20)) & ~w, q = (quote - EACH(1)) & ~quote, s = (slash - EACH(1)) & ~slash;
    return (low | q | s | w) & EACH(0x80);
}

static const char *plain_run(const char *p, const char *end) {
    for (uint64_t w, hit; end - p >= 8; p += 8) {
        memcpy(&w, p, 8);
        if ((hit = special(w))) return p + __builtin_ctzll(hit) / 8;
    }
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\') p++;
    return p;
}

// Four hexadecimal digits; -1: they are not.
static int hex4(const char *p, const char *end) {
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i], letter = (char)(c | 32);
        if (c >= '0' && c <= '9') v = v * 16 + (c - '0');
        else if (letter >= 'a' && letter <= 'f') v = v * 16 + (letter - 'a' + 10);
        else return -1;
    }
    return v;
}

// The escape at p, which is a backslash: its code point, and *size its bytes, both halves of a pair counted. -1: none.
static int escape(const char *p, const char *end, int *size) {
    static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
    *size = 2;
    if (end - p < 2) return -1;
    const char *name = p[1] ? strchr(names, p[1]) : NULL;
    if (name) return codes[name - names];
    int high = p[1] == 'u' ? hex4(p + 2, end) : -1;
    *size = 6;
    if (high < 0xD800 || high > 0xDFFF) return high;
    if (high > 0xDBFF || end - p < 12 || p[6] != '\\' || p[7] != 'u') return -1;
    int low = hex4(p + 8, end);
    *size = 12;
    return low >= 0xDC00 && low <= 0xDFFF ? 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00) : -1;
}

bool drt_json_string(drt_json_reader *r, drt_json_text *out) {
    if (drt_json_peek(r) != '"') return fail(r, r->at, "a string was expected");
    const char *from = r->at + 1, *p = from;
    *out = (drt_json_text){.bytes = from};
    for (int n;;) {
        p = plain_run(p, r->end);
        if (p == r->end) return fail(r, r->at, "this string has no end");
        if (*p == '"') break;
        if ((unsigned char)*p < 0x20) return fail(r, p, "a control character inside a string; write it as an escape");
        if (*p == '\\') {
            if (escape(p, r->end, &n) < 0) return fail(r, p, "not an escape that JSON has");
            out->escaped = true;
        } else if (!(n = drt_utf8(p, r->end))) {
            return fail(r, p, "these bytes are not UTF-8");
        }
        p += n;
    }
    out->size = (size_t)(p - from);
    r->at = p + 1;
    return true;
}

static char *put_utf8(char *out, int c) {
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6), *out++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | c >> 12), *out++ = (char)(0x80 | (c >> 6 & 63)), *out++ = (char)(0x80 | (c & 63));
    } else {
        *out++ = (char)(0xF0 | c >> 18), *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63)), *out++ = (char)(0x80 | (c & 63));
    }
    return out;
}

size_t drt_json_decode(const drt_json_text *text, char *out) {
    if (!text->size) return 0;
    const char *p = text->bytes, *end = p + text->size;
    char *to = out;
    while (p < end) {
        const char *hit = text->escaped ? memchr(p, '\\', (size_t)(end - p)) : NULL;
        size_t run = (size_t)((hit ? hit : end) - p);
        memcpy(to, p, run);
        to += run, p += run;
        int size;
        if (hit) to = put_utf8(to, escape(p, end, &size)), p += size;
    }
    return (size_t)(to - out);
}

bool drt_json_is(const drt_json_text *text, const char *plain) {
    size_t n = strlen(plain);
    if (!text->escaped) return text->size == n && !memcmp(text->bytes, plain, n);
    char decoded[256];
    if (text->size > sizeof decoded) return false; // keys are short; escaped ones hardly occur
    return drt_json_decode(text, decoded) == n && !memcmp(decoded, plain, n);
}

// ---- other values --------------------------------------------------------------------------------------------------

static bool digits(const char **p, const char *end) {
    const char *from = *p;
    while (*p < end && **p >= '0' && **p <= '9') ++*p;
    return *p > from;
}

bool drt_json_number(drt_json_reader *r, drt_json_text *out, bool *whole) {
    drt_json_peek(r);
    if (r->why) return false;
    const char *from = r->at, *p = from;
    *whole = true;
    if (p < r->end && *p == '-') p++;
    if (p < r->end && *p == '0') p++;
    else if (!digits(&p, r->end)) return fail(r, from, "a value was expected");
    if (p < r->end && *p == '.') {
        *whole = false;
        p++;
        if (!digits(&p, r->end)) return fail(r, from, "this number lacks the digits behind its point");
    }
    if (p < r->end && (*p | 32) == 'e') {
        *whole = false;
        p++;
        if (p < r->end && (*p == '+' || *p == '-')) p++;
        if (!digits(&p, r->end)) return fail(r, from, "this number lacks the digits of its exponent");
    }
    *out = (drt_json_text){.bytes = from, .size = (size_t)(p - from)};
    r->at = p;
    return true;
}

static bool literal(drt_json_reader *r, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n)) return fail(r, r->at, "a value was expected");
    r->at += n;
    return true;
}

bool drt_json_skip(drt_json_reader *r) {
    drt_json_text text;
    bool first = true, whole;
    switch (drt_json_peek(r)) {
    case '{':
        while (drt_json_member(r, &first, &text))
            if (!drt_json_skip(r)) return false;
        return !r->why;
    case '[':
        while (drt_json_element(r, &first))
            if (!drt_json_skip(r)) return false;
        return !r->why;
    case '"': return drt_json_string(r, &text);
    case 't': return literal(r, "true");
    case 'f': return literal(r, "false");
    case 'n': return literal(r, "null");
    default: return drt_json_number(r, &text, &whole);
    }
}

bool drt_json_integer(drt_json_reader *r, int64_t *out) {
    drt_json_text number;
    char c = drt_json_peek(r), text[19];
    bool whole = false;
    if (c != '-' && (c < '0' || c > '9')) {
        drt_json_skip(r);
        return false;
    }
    if (!drt_json_number(r, &number, &whole) || !whole || number.size >= sizeof text) return false;
    memcpy(text, number.bytes, number.size);
    text[number.size] = 0;
    *out = strtoll(text, NULL, 10);
    return true;
}

bool drt_json_finish(drt_json_reader *r) {
    drt_json_peek(r);
    if (!r->why && r->at < r->end) fail(r, r->at, "something stands behind the value");
    return !r->why;
}
