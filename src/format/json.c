#include "format/json.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAFE_DIGITS = 18 }; // every number of so many fits 64 bits

static bool in_number(char c) { return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || (c | 32) == 'e'; }

// The end of the string or number that begins at text[from], or from + 1. *large: a whole number of many digits.
static size_t token_end(const char *text, size_t size, size_t from, bool *large) {
    size_t at = from + 1;
    *large = false;
    if (text[from] == '"') {
        while (at < size && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
        return at < size ? at + 1 : size;
    }
    if (text[from] != '-' && (text[from] < '0' || text[from] > '9')) return at;
    bool whole = true;
    for (; at < size && in_number(text[at]); at++) whole = whole && text[at] >= '0' && text[at] <= '9';
    *large = whole && at - from > SAFE_DIGITS;
    return at;
}

json_t *drt_json_load(const char *text, size_t size, size_t flags, json_error_t *why) {
    size_t many = 0, n = 0;
    bool large;
    for (size_t at = 0; at < size; many += large) at = token_end(text, size, at, &large);
    if (!many) return json_loadb(text, size, flags, why);
    char *more = malloc(size + 2 * many);
    if (!more) {
        *why = (json_error_t){.line = 1};
        snprintf(why->text, sizeof why->text, "no memory");
        return NULL;
    }
    for (size_t at = 0; at < size;) {
        size_t end = token_end(text, size, at, &large);
        memcpy(more + n, text + at, end - at);
        n += end - at;
        if (large) memcpy(more + n, ".0", 2), n += 2;
        at = end;
    }
    json_t *o = json_loadb(more, n, flags, why);
    free(more);
    return o;
}
