#include "format/tokenizer_internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- the double array ----

enum { TRIES = 64 }; // free places that a node with several children looks at before it takes a new one

typedef struct {
    const unsigned char *text;
    int32_t size, id;
} key;

typedef struct {
    const key *keys;
    tok_node *nodes;
    int32_t *next; // of a free place: the next free one
    int32_t n, room, free;
    bool failed;
} builder;

static int by_text(const void *a, const void *b) {
    const key *x = a, *y = b;
    int c = memcmp(x->text, y->text, (size_t)(x->size < y->size ? x->size : y->size));
    return c ? c : (x->size > y->size) - (x->size < y->size);
}

// Places come in blocks of 256, so that base ^ c lies in the block of base.
static bool add_block(builder *b) {
    int32_t n = b->n + 256;
    if (n > b->room) {
        int32_t room = b->room ? 2 * b->room : 4096;
        tok_node *nodes = b->n < 1 << 29 ? realloc(b->nodes, (size_t)room * sizeof *nodes) : NULL;
        if (nodes) b->nodes = nodes;
        int32_t *next = nodes ? realloc(b->next, (size_t)room * sizeof *next) : NULL;
        if (next) b->next = next;
        if (!next) return !(b->failed = true);
        b->room = room;
    }
    for (int32_t i = b->n; i < n; i++) {
        b->nodes[i] = (tok_node){0, -1, -1};
        b->next[i] = i + 1 < n ? i + 1 : b->free;
    }
    b->free = b->n;
    b->n = n;
    return true;
}

static bool fits(const builder *b, int32_t base, const unsigned char *bytes, int count) {
    for (int i = 0; i < count; i++)
        if (b->nodes[base ^ bytes[i]].parent >= 0) return false;
    return true;
}

static int32_t find_base(builder *b, const unsigned char *bytes, int count) {
    // Places that were taken since they were listed are dropped on the way.
    int32_t *at = &b->free;
    for (int tries = 0; *at >= 0 && tries < TRIES;) {
        if (b->nodes[*at].parent >= 0) {
            *at = b->next[*at];
            continue;
        }
        if (fits(b, *at ^ bytes[0], bytes, count)) return *at ^ bytes[0];
        at = &b->next[*at];
        tries++;
    }
    return add_block(b) ? b->n - 256 : -1;
}

// Children of `node` for the sorted keys [from, to), which share their first `depth` bytes.
static void insert(builder *b, int32_t node, int32_t from, int32_t to, int32_t depth) {
    unsigned char bytes[256];
    int32_t starts[257];
    int count = 0;
    if (from < to && b->keys[from].size == depth) b->nodes[node].id = b->keys[from++].id;
    for (int32_t i = from; i < to; i++) {
        unsigned char c = b->keys[i].text[depth];
        if (count && bytes[count - 1] == c) continue;
        bytes[count] = c;
        starts[count++] = i;
    }
    starts[count] = to;
    if (!count || b->failed) return;
    int32_t base = find_base(b, bytes, count);
    if (base < 0) return;
    b->nodes[node].base = base;
    for (int i = 0; i < count; i++) b->nodes[base ^ bytes[i]].parent = node;
    for (int i = 0; i < count; i++) insert(b, base ^ bytes[i], starts[i], starts[i + 1], depth + 1);
}

static drt_status build(drt_tokenizer *tok, key *keys, int32_t n, drt_error *err) {
    builder b = {.keys = keys, .free = -1};
    qsort(keys, (size_t)n, sizeof *keys, by_text);
    if (add_block(&b)) {
        b.nodes[0].parent = INT32_MAX; // the root: a place that is taken, and no node's child
        insert(&b, 0, 0, n, 0);
    }
    if (!b.failed) tok->unigram.nodes = drt_arena_array(tok->arena, b.n, sizeof *b.nodes);
    if (tok->unigram.nodes) memcpy(tok->unigram.nodes, b.nodes, (size_t)b.n * sizeof *b.nodes);
    tok->unigram.n = b.n;
    free(b.nodes), free(b.next);
    return tok->unigram.nodes ? DRT_OK : drt_tok_no_memory(tok->name, err);
}

drt_status drt_tok_unigram_build(drt_tokenizer *tok, const double *scores, drt_error *err) {
    tok_unigram *u = &tok->unigram;
    enum { MOST_BYTES = 512 };
    double least = u->narrow ? FLT_MAX : INFINITY;
    int32_t n = 0;
    key *keys = malloc(((size_t)tok->size + 1) * sizeof *keys);
    if (!keys) return drt_tok_no_memory(tok->name, err);
    u->most = FLT_MIN; // SentencePiece's beginning, which no logarithm exceeds
    for (int32_t id = 0; id < tok->size; id++) {
        const tok_piece *p = &tok->pieces[id];
        if (!p->in_model || !p->text_size) continue;
        if (p->text_size > MOST_BYTES) {
            free(keys);
            return drt_fail(err, DRT_EFORMAT, "%s: piece %d has %u bytes; Unigram is supported up to %d", tok->name, id,
                            p->text_size, MOST_BYTES);
        }
        keys[n++] = (key){(const unsigned char *)p->text, (int32_t)p->text_size, id};
        if (p->user_defined) continue;
        if (scores[id] < least) least = scores[id];
        if (scores[id] > u->most) u->most = scores[id];
    }
    const double penalty = 10;
    u->unknown = u->narrow ? (double)((float)least - (float)penalty) : least - penalty;
    u->scores = scores;
    tok->is_unigram = true;
    drt_status status = build(tok, keys, n, err);
    free(keys);
    return status;
}

// ---- the best path ----

typedef struct {
    double score; // of the best path that ends here
    int32_t from; // where its last piece begins, -1: no path
    int32_t id;   // -1: a character without piece
} place;

static void offer(const tok_unigram *u, place *at, double score, int32_t from, int32_t id) {
    if (u->narrow) score = (double)(float)score;
    if (at->from >= 0 && !(score > at->score)) return;
    *at = (place){score, from, id};
}

// Fills path[0..size]. Paths go by whole characters; of equal ones the first found stays: the longest last piece.
static void find_path(const drt_tokenizer *tok, place *path, const unsigned char *w, int32_t size) {
    const tok_unigram *u = &tok->unigram;
    const tok_node *nodes = u->nodes;
    for (int32_t i = 0; i <= size; i++) path[i].from = -1;
    path[0] = (place){u->before, 0, -1};
    for (int32_t from = 0, step; from < size; from += step) {
        int32_t code, node = 0;
        bool cut, single = false;
        double till_here = path[from].score;
        step = drt_tok_utf8(w + from, size - from, &code, &cut);
        for (int32_t i = from; i < size;) {
            int32_t child = nodes[node].base ^ w[i];
            if (nodes[child].parent != node) break;
            node = child;
            i++;
            int32_t id = nodes[node].id;
            if (id < 0) continue;
            int32_t length = i - from;
            double score = u->scores[id];
            if (tok->pieces[id].user_defined) score = (double)((float)length * (float)u->most) - 0.1;
            offer(u, &path[i], score + till_here, from, id);
            if (length == step) single = true;
        }
        if (!single) offer(u, &path[from + step], u->unknown + till_here, from, -1);
    }
}

drt_status drt_tok_unigram_goes_on(drt_tokenizer *tok, const char *text, drt_error *err) {
    int32_t n = (int32_t)strlen(text);
    place *path = malloc(((size_t)n + 1) * sizeof *path);
    if (!path) return drt_tok_no_memory(tok->name, err);
    find_path(tok, path, (const unsigned char *)text, n);
    tok->unigram.before = path[n].score;
    free(path);
    return DRT_OK;
}

static bool path_room(tok_scratch *s, int64_t n) {
    if (n <= s->path_room) return true;
    void *grown = realloc(s->path, (size_t)n * sizeof(place));
    if (!grown) return false;
    s->path = grown;
    s->path_room = n;
    return true;
}

// No piece, or the unknown one itself, which HF finds where its text stands and joins with what is unknown beside it.
static bool is_unknown(const drt_tokenizer *tok, int32_t id) {
    return id < 0 || (id == tok->fallback.unk && !tok->unigram.narrow);
}

drt_status drt_tok_unigram_word(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t size,
                                int32_t *n, drt_error *err) {
    drt_status status = DRT_OK;
    *n = 0;
    if (!drt_tok_piece_room(s, size) || !path_room(s, (int64_t)size + 1)) return drt_tok_no_memory(tok->name, err);
    uint32_t hash = drt_tok_hash(w, (size_t)size);
    if (drt_tok_cache_get(s, hash, w, 0, size, n)) return DRT_OK;
    place *path = s->path;
    find_path(tok, path, w, size);
    // The path is read backwards into the end of ids and ends, then forwards from there. Pieces are never more than the
    // bytes they cover, so that none is overwritten before its turn.
    int32_t at = size, from = 0;
    for (int32_t to = size; to > 0; to = path[to].from) s->ids[--at] = path[to].id, s->ends[at] = to;
    while (at < size && !status) {
        int32_t id = s->ids[at], to = s->ends[at++];
        bool open = false;
        if (is_unknown(tok, id)) {
            while (at < size && is_unknown(tok, s->ids[at])) to = s->ends[at++];
            id = tok->unigram.narrow ? -1 : drt_tok_find_in_model(tok, (const char *)w + from, (size_t)(to - from));
        }
        if (id >= 0) s->ids[*n] = id, s->ends[(*n)++] = to;
        else status = drt_tok_put_unknown(tok, s, w, from, to, n, &open, err);
        from = to;
    }
    if (!status) drt_tok_cache_put(s, hash, w, 0, size, 0, *n);
    return status;
}
