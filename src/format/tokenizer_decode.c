#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

// ---- pieces before they are joined ----

static void strip_char(const tok_decode_op *op, const drt_text *in, drt_text *out) {
    size_t n = (size_t)op->pattern.literal_size, from = 0, to = in->size;
    for (int i = 0; i < op->left && to - from >= n && !memcmp(in->bytes + from, op->pattern.literal, n); i++) from += n;
    for (int i = 0; i < op->right && to - from >= n && !memcmp(in->bytes + to - n, op->pattern.literal, n); i++)
        to -= n;
    drt_text_add(out, in->bytes + from, to - from);
}

// Stops where out has more than `most` bytes.
static drt_status apply(const tok_decode_op *op, tok_scratch *s, const drt_text *in, size_t most, drt_text *out,
                        drt_error *err) {
    out->size = 0;
    drt_text_puts(out, "");
    if (op->strip) return strip_char(op, in, out), DRT_OK;
    s->next.n = 0;
    drt_status status =
        drt_tok_pattern_cut(&op->pattern, s, (const unsigned char *)in->bytes, 0, (int32_t)in->size, &s->next, err);
    for (int32_t i = 0; i < s->next.n && !status && out->size <= most; i++) {
        tok_range r = s->next.at[i];
        if (r.match) drt_text_puts(out, op->content);
        else drt_text_add(out, in->bytes + r.from, (size_t)(r.to - r.from));
    }
    if (s->next.failed) out->failed = true;
    return status;
}

static int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

// The byte that "<0x41>" means; -1: another text.
static int byte_of(const char *t, size_t n) {
    if (n != 6 || memcmp(t, "<0x", 3) || t[5] != '>') return -1;
    int high = t[3] == '+' ? 0 : digit(t[3]), low = digit(t[4]); // HF reads "+4" as a number, too
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

// text[0] ends as what the piece decodes to.
static drt_status piece_text(const drt_tokenizer *tok, const tok_piece *p, const tok_decode_op *ops, int n,
                             tok_scratch *s, drt_text text[2], drt_error *err) {
    drt_status status = DRT_OK;
    const size_t most = (size_t)drt_tok_most((int64_t)p->text_size);
    text[0].size = 0;
    drt_text_puts(&text[0], "");
    drt_text_add(&text[0], p->text, p->text_size - (p->ends_word ? tok->bpe.suffix_size : 0));
    for (int i = 0; i < n && !status; i++) {
        if (text[0].failed) break;
        status = apply(&ops[i], s, &text[0], most, &text[1], err);
        if (!status && text[1].size > most) status = drt_tok_too_long(tok->name, "decoder", (int64_t)p->text_size, err);
        drt_text swap = text[0];
        text[0] = text[1], text[1] = swap;
    }
    if (!status && (text[0].failed || text[1].failed)) status = drt_tok_no_memory(tok->name, err);
    return status;
}

// Letters of the byte alphabet become bytes; a text with any other character stays (as in HF).
static void unletter(drt_text *all, size_t from) {
    size_t n = all->size - from;
    unsigned char *bytes = n ? malloc(n) : NULL;
    int32_t size = bytes ? drt_tok_unletter(bytes, all->bytes + from, n) : -1;
    if (n && !bytes) all->failed = true;
    if (size >= 0) {
        memcpy(all->bytes + from, bytes, (size_t)size);
        all->size = from + (size_t)size;
    }
    free(bytes);
}

drt_status drt_tok_decoding_prepare(drt_tokenizer *tok, const tok_decode_op *ops, int n, drt_error *err) {
    tok_scratch s = {0};
    drt_text all = {0}, text[2] = {{0}};
    drt_status status = DRT_OK;
    size_t *starts = malloc(((size_t)tok->size + 1) * sizeof *starts);
    if (!starts) status = drt_tok_no_memory(tok->name, err);
    for (int32_t id = 0; id < tok->size && !status; id++) {
        tok_piece *p = &tok->pieces[id];
        starts[id] = all.size;
        if (!p->text) continue;
        status = piece_text(tok, p, ops, n, &s, text, err);
        if (status) break;
        if (tok->decoding.kind == DECODE_BYTE_RUNS) p->byte = (int16_t)byte_of(text[0].bytes, text[0].size);
        drt_text_add(&all, text[0].bytes, text[0].size);
        if (tok->decoding.kind == DECODE_BYTES && !all.failed) unletter(&all, starts[id]);
        p->raw_size = (uint32_t)(all.size - starts[id]);
    }
    unsigned char *raw = status || all.failed ? NULL : drt_arena_alloc(tok->arena, all.size + 1);
    if (!status && !raw) status = drt_tok_no_memory(tok->name, err);
    if (raw && all.size) memcpy(raw, all.bytes, all.size);
    for (int32_t id = 0; id < tok->size && raw; id++) tok->pieces[id].raw = raw + starts[id];
    drt_text_free(&all), drt_text_free(&text[0]), drt_text_free(&text[1]);
    drt_tok_scratch_free(&s);
    free(starts);
    return status;
}

// ---- the stream ----

static void emit(drt_detokenizer *d, const void *bytes, size_t n, drt_text *out) {
    const tok_decoding *how = &d->tokenizer->decoding;
    const char *p = bytes;
    size_t size = how->strip ? strlen(how->strip) : 0;
    while (size && !d->begun && d->stripped < how->strip_most && n >= size && !memcmp(p, how->strip, size))
        p += size, n -= size, d->stripped++;
    if (!n) return;
    d->begun = true;
    drt_text_add(out, p, n);
}

static void replacement(drt_detokenizer *d, int times, drt_text *out) {
    while (times-- > 0) emit(d, "\xef\xbf\xbd", 3, out);
}

// U+FFFD stands for the whole beginning of a character that does not end; to SentencePiece, for each of its bytes.
static int times(const drt_detokenizer *d, int bytes) {
    return d->tokenizer->decoding.kind == DECODE_CHARACTERS ? bytes : 1;
}

// Resolves the held bytes as far as they can be.
static void settle(drt_detokenizer *d, drt_text *out) {
    while (d->held) {
        int32_t code;
        bool cut;
        int size = drt_tok_utf8(d->hold, d->held, &code, &cut), step = size < 0 ? -size : size;
        if (cut) return;
        if (size > 0) emit(d, d->hold, (size_t)size, out);
        else replacement(d, times(d, step), out);
        d->held -= step;
        memmove(d->hold, d->hold + step, (size_t)d->held);
    }
}

static void feed(drt_detokenizer *d, const unsigned char *p, int64_t n, drt_text *out) {
    while (n > 0 && d->held) {
        d->hold[d->held++] = *p++;
        n--;
        settle(d, out);
    }
    while (n > 0) {
        int32_t code;
        bool cut;
        int64_t valid = drt_tok_utf8_valid(p, n);
        emit(d, p, (size_t)valid, out);
        p += valid, n -= valid;
        if (!n) return;
        int bad = -drt_tok_utf8(p, n, &code, &cut);
        if (cut) {
            memcpy(d->hold, p, (size_t)n);
            d->held = (int)n;
            return;
        }
        replacement(d, times(d, bad), out);
        p += bad, n -= bad;
    }
}

// The bytes of pieces in a row are text only if all of them together are, and so have to wait for the last of them.
static void end_run(drt_detokenizer *d, drt_text *out) {
    if (d->held) replacement(d, times(d, d->held), out); // what is held begins one character
    d->held = 0;
    const unsigned char *p = (const unsigned char *)d->run.bytes;
    int64_t n = (int64_t)d->run.size;
    if (!n) return;
    if (drt_tok_utf8_valid(p, n) == n) emit(d, p, (size_t)n, out);
    else replacement(d, (int)n, out);
    d->run.size = 0;
}

// The first piece has no spaces for its marks: only other text, or other text behind the first mark.
static void put_first(drt_detokenizer *d, const tok_piece *p, drt_text *out) {
    const tok_decoding *how = &d->tokenizer->decoding;
    size_t n = strlen(how->mark);
    const char *at = p->text, *end = p->text + p->text_size;
    if (how->mark_first_space) {
        bool marked = (size_t)(end - at) >= n && !memcmp(at, how->mark, n);
        d->mark_seen = marked && !how->collapsed;
        emit(d, p->raw + marked, p->raw_size - marked, out); // the mark has become one space
        return;
    }
    while (at < end) {
        const char *mark = memmem(at, (size_t)(end - at), how->mark, n), *stop = mark ? mark : end;
        emit(d, at, (size_t)(stop - at), out);
        at = mark ? mark + n : end;
    }
}

static drt_status result(drt_detokenizer *d, const drt_text *out, drt_error *err) {
    return out->failed || d->run.failed ? drt_fail(err, DRT_ENOMEM, "no memory for the decoded text") : DRT_OK;
}

drt_status drt_detokenizer_put(drt_detokenizer *d, int32_t id, drt_text *out, drt_error *err) {
    const drt_tokenizer *tok = d->tokenizer;
    const tok_decoding *how = &tok->decoding;
    if (id < 0 || id >= tok->size || !tok->pieces[id].text)
        return drt_fail(err, DRT_EARG, "%s: no piece has the id %d", tok->name, id);
    const tok_piece *p = &tok->pieces[id];
    if (how->mark_first_space && (d->mark_seen || d->begun)) d->later = true;
    if (d->skip_special && p->special) {
        if (how->kind == DECODE_CHARACTERS) end_run(d, out); // to HF the special token was never there
        return result(d, out, err);
    }
    if (p->byte >= 0 && how->kind == DECODE_BYTE_RUNS) {
        drt_text_add(&d->run, &(unsigned char){(unsigned char)p->byte}, 1);
        d->later = true;
        return result(d, out, err);
    }
    if (p->byte >= 0 && how->kind == DECODE_CHARACTERS) {
        feed(d, &(unsigned char){(unsigned char)p->byte}, 1, out);
        return result(d, out, err);
    }
    if (how->kind != DECODE_BYTES) end_run(d, out);
    if (d->space_due) feed(d, (const unsigned char *)" ", 1, out);
    if (how->mark_first_space && d->begun) d->later = true;
    bool first = how->mark && !d->later;
    if (!how->mark_first_space) d->later = true;
    if (first) put_first(d, p, out);
    else if (how->kind == DECODE_BYTES) feed(d, p->raw, p->raw_size, out);
    else emit(d, p->raw, p->raw_size, out);
    d->space_due = p->ends_word;
    return result(d, out, err);
}

drt_status drt_detokenizer_finish(drt_detokenizer *d, drt_text *out, drt_error *err) {
    end_run(d, out);
    drt_status status = result(d, out, err);
    drt_detokenizer_free(d);
    return status;
}

void drt_detokenizer_free(drt_detokenizer *d) {
    drt_text_free(&d->run);
    *d = (drt_detokenizer){.tokenizer = d->tokenizer, .skip_special = d->skip_special};
}

drt_status drt_tokenizer_decode(const drt_tokenizer *tok, const int32_t *ids, int n, bool skip_special, drt_text *out,
                                drt_error *err) {
    drt_detokenizer d = {.tokenizer = tok, .skip_special = skip_special};
    drt_status status = DRT_OK;
    drt_text_puts(out, ""); // so that the bytes are "" even if nothing is decoded
    for (int i = 0; i < n && !status; i++) status = drt_detokenizer_put(&d, ids[i], out, err);
    if (!status) return drt_detokenizer_finish(&d, out, err);
    drt_detokenizer_free(&d);
    return status;
}
