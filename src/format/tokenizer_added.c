#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

static int by_bytes(const void *a, const void *b) {
    const tok_added *x = a, *y = b;
    int32_t n = x->size < y->size ? x->size : y->size;
    int c = memcmp(x->text, y->text, (size_t)n);
    if (c) return c;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

void drt_tok_added_sort(tok_added_set *set) {
    if (set->n) qsort(set->at, (size_t)set->n, sizeof *set->at, by_bytes);
    memset(set->first, 0, sizeof set->first);
    for (int32_t i = 0; i < set->n; i++)
        if (set->at[i].size) set->first[set->at[i].text[0]] = true;
}

// The first entry of [low, high) whose byte `depth` is at least c. All share the bytes before; shorter ones come first.
static int32_t bound(const tok_added_set *set, int32_t low, int32_t high, int32_t depth, int c) {
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        const tok_added *t = &set->at[middle];
        if (t->size <= depth || t->text[depth] < c) low = middle + 1;
        else high = middle;
    }
    return low;
}

// The longest token that p[0, n) begins with.
static const tok_added *longest(const tok_added_set *set, const unsigned char *p, int32_t n) {
    const tok_added *best = NULL;
    int32_t low = 0, high = set->n;
    for (int32_t depth = 0; depth < n && low < high; depth++) {
        low = bound(set, low, high, depth, p[depth]);
        high = bound(set, low, high, depth, p[depth] + 1);
        if (low < high && set->at[low].size == depth + 1) best = &set->at[low];
    }
    return best;
}

static bool stands_alone(const tok_chunk *c, int32_t from, int32_t to) {
    int32_t code;
    bool cut;
    if (from > 0 && (drt_tok_char_before(c->bytes, from, &code), drt_tok_is_word(code))) return false;
    return to >= c->n || (drt_tok_utf8(c->bytes + to, c->n - to, &code, &cut), !drt_tok_is_word(code));
}

static int32_t spaces_before(const tok_chunk *c, int32_t at, int32_t least) {
    int32_t code;
    if (at < least) return least;
    while (at > least) {
        int32_t start = drt_tok_char_before(c->bytes, at, &code);
        if (start < least || !drt_tok_is_space(code)) break;
        at = start;
    }
    return at;
}

static int32_t spaces_after(const tok_chunk *c, int32_t at) {
    int32_t code;
    bool cut;
    while (at < c->n) {
        int size = drt_tok_utf8(c->bytes + at, c->n - at, &code, &cut);
        if (!drt_tok_is_space(code)) break;
        at += size;
    }
    return at;
}

void drt_tok_added_cut(const tok_added_set *set, const tok_chunk *c, tok_ranges *r) {
    int32_t done = 0, at = set->n ? 0 : c->n;
    while (at < c->n) {
        if (!set->first[c->bytes[at]]) {
            at++;
            continue;
        }
        const tok_added *t = longest(set, c->bytes + at, c->n - at);
        int32_t from = at, to = at + (t ? t->size : 1);
        at = to;
        if (!t || (t->single_word && !stands_alone(c, from, to))) continue;
        // Spaces that the token before has stripped may be a token themselves: HF gives both, so do we.
        if (t->lstrip) from = spaces_before(c, from, done);
        if (t->rstrip) to = spaces_after(c, to);
        if (from < to && done < from) drt_tok_push(r, done, from, false);
        if (from >= to) continue;
        drt_tok_push(r, from, to, true);
        if (!r->failed) r->at[r->n - 1].id = t->id;
        done = to;
    }
    if (done < c->n) drt_tok_push(r, done, c->n, false);
}
