#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TEXT = 1 << 30 };

static bool emit(tok_scratch *s, int32_t id, tok_place place) {
    if (s->n == s->room) {
        int32_t room = s->room ? 2 * s->room : 64; // at most one piece per byte, so below 2^31
        drt_token *grown = realloc(s->out, (size_t)room * sizeof *grown);
        if (!grown) return false;
        s->out = grown;
        s->room = room;
    }
    s->out[s->n++] = (drt_token){id, place.from, place.to};
    return true;
}

static drt_status encode_words(const drt_tokenizer *tok, tok_scratch *s, tok_chunk chunk, drt_error *err) {
    drt_status status = drt_tok_split(tok, s, &chunk, err);
    if (status) return status;
    for (int32_t i = 0; i < s->words.n; i++) {
        tok_range w = s->words.at[i];
        int32_t n = 0, from = w.from;
        const unsigned char *bytes = chunk.bytes + w.from;
        if (tok->is_unigram) status = drt_tok_unigram_word(tok, s, bytes, w.to - w.from, &n, err);
        else status = drt_tok_bpe_word(tok, s, bytes, w.to - w.from, &n, err);
        if (status) return status;
        for (int32_t k = 0; k < n; k++) {
            int32_t to = w.from + s->ends[k];
            if (!emit(s, s->ids[k], drt_tok_place(&chunk, from, to))) return drt_tok_no_memory(tok->name, err);
            from = to;
        }
    }
    return DRT_OK;
}

// A stretch without tokens of the first kind: normalise, cut out those of the second, encode the rest.
static drt_status encode_plain(const drt_tokenizer *tok, tok_scratch *s, const tok_chunk *raw, drt_error *err) {
    tok_chunk c;
    drt_status status = drt_tok_normalise(tok, s, raw, &c, err);
    if (status) return status;
    s->second.n = 0;
    drt_tok_added_cut(&tok->normalised, &c, &s->second);
    if (s->second.failed) return drt_tok_no_memory(tok->name, err);
    for (int32_t i = 0; i < s->second.n && !status; i++) {
        tok_range r = s->second.at[i];
        if (r.id < 0) status = encode_words(tok, s, drt_tok_part(&c, r.from, r.to), err);
        else if (!emit(s, r.id, drt_tok_place(&c, r.from, r.to))) status = drt_tok_no_memory(tok->name, err);
    }
    return status;
}

static drt_status encode(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *text, int32_t size,
                         drt_error *err) {
    tok_chunk all = {text, NULL, size, 0};
    drt_status status = DRT_OK;
    drt_tok_cache_open(s, size);
    if (drt_tok_utf8_valid(text, size) < size) {
        drt_tok_clean(&s->clean, text, size);
        if (s->clean.failed) return drt_tok_no_memory(tok->name, err);
        all = drt_tok_chunk_of(&s->clean);
    }
    drt_tok_added_cut(&tok->plain, &all, &s->first);
    if (s->first.failed) return drt_tok_no_memory(tok->name, err);
    for (int32_t i = 0; i < s->first.n && !status; i++) {
        tok_range r = s->first.at[i];
        tok_chunk part = drt_tok_part(&all, r.from, r.to);
        if (r.id < 0) status = encode_plain(tok, s, &part, err);
        else if (!emit(s, r.id, drt_tok_place(&all, r.from, r.to))) status = drt_tok_no_memory(tok->name, err);
    }
    return status;
}

drt_status drt_tokenizer_encode(const drt_tokenizer *tok, const char *text, size_t size, drt_token **out, int *n,
                                drt_error *err) {
    tok_scratch s = {0};
    *out = NULL;
    *n = 0;
    if (size > MOST_TEXT)
        return drt_fail(err, DRT_EARG, "a text of %zu bytes, more than the %d that can be encoded at once", size,
                        MOST_TEXT);
    drt_status status = encode(tok, &s, (const unsigned char *)text, (int32_t)size, err);
    if (!status) {
        *out = s.out;
        *n = s.n;
        s.out = NULL;
    }
    drt_tok_scratch_free(&s);
    return status;
}
