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

drt_status drt_tok_added_room(drt_tokenizer *tok, int64_t count, drt_error *err) {
    tok->plain.at = drt_arena_array(tok->arena, count + 1, sizeof(tok_added));
    tok->normalised.at = drt_arena_array(tok->arena, count + 1, sizeof(tok_added));
    tok->user_defined.at = drt_arena_array(tok->arena, count + 1, sizeof(tok_added));
    return tok->plain.at && tok->normalised.at && tok->user_defined.at ? DRT_OK : drt_tok_no_memory(tok->name, err);
}

void drt_tok_added_put(drt_tokenizer *tok, int32_t id, bool special, const json_t *how) {
    tok_piece *p = &tok->pieces[id];
    bool again = p->added;
    p->added = true;
    p->special = special;
    if (again || !p->text_size) return;
    const json_t *normal = json_object_get(how, "normalized");
    tok_added t = {.text = (const unsigned char *)p->text,
                   .size = (int32_t)p->text_size,
                   .id = id,
                   .single_word = json_is_true(json_object_get(how, "single_word")),
                   .lstrip = json_is_true(json_object_get(how, "lstrip")),
                   .rstrip = json_is_true(json_object_get(how, "rstrip")),
                   .normalized = normal ? json_is_true(normal) : how && !special};
    tok_added_set *set = t.normalized ? &tok->normalised : &tok->plain;
    set->at[set->n++] = t;
}

drt_status drt_tok_added_finish(drt_tokenizer *tok, drt_error *err) {
    tok_scratch s = {0};
    drt_status status = DRT_OK;
    for (int32_t i = 0; i < tok->normalised.n && !status; i++) {
        tok_added *t = &tok->normalised.at[i];
        tok_chunk in = {t->text, NULL, t->size, 0}, out;
        if (!t->normalized) continue; // SentencePiece's user-defined pieces stand in normalised text as they are
        status = drt_tok_normalise(tok, &s, &in, &out, err);
        if (status || out.bytes == in.bytes) continue;
        unsigned char *copy = drt_arena_alloc(tok->arena, (size_t)out.n + 1);
        if (!copy) status = drt_tok_no_memory(tok->name, err);
        else {
            if (out.n) memcpy(copy, out.bytes, (size_t)out.n);
            t->text = copy;
            t->size = out.n;
        }
    }
    drt_tok_scratch_free(&s);
    drt_tok_added_sort(&tok->plain);
    drt_tok_added_sort(&tok->normalised);
    drt_tok_added_sort(&tok->user_defined);
    return status;
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

const tok_added *drt_tok_added_longest(const tok_added_set *set, const unsigned char *p, int32_t n) {
    if (!n || !set->first[p[0]]) return NULL;
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
        const tok_added *t = drt_tok_added_longest(set, c->bytes + at, c->n - at);
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
