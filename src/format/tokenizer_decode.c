#include "format/tokenizer_internal.h"

#include <string.h>

static void replacement(drt_text *out) { drt_text_add(out, "\xef\xbf\xbd", 3); }

// Resolves the held bytes as far as they can be.
static void settle(drt_detokenizer *d, drt_text *out) {
    while (d->held) {
        int32_t code;
        bool cut;
        int size = drt_tok_utf8(d->hold, d->held, &code, &cut), step = size < 0 ? -size : size;
        if (cut) return;
        if (size > 0) drt_text_add(out, d->hold, (size_t)size);
        else replacement(out);
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
        drt_text_add(out, p, (size_t)valid);
        p += valid, n -= valid;
        if (!n) return;
        int bad = -drt_tok_utf8(p, n, &code, &cut);
        if (cut) {
            memcpy(d->hold, p, (size_t)n);
            d->held = (int)n;
            return;
        }
        replacement(out);
        p += bad, n -= bad;
    }
}

static drt_status result(const drt_text *out, drt_error *err) {
    return out->failed ? drt_fail(err, DRT_ENOMEM, "no memory for the decoded text") : DRT_OK;
}

drt_status drt_detokenizer_put(drt_detokenizer *d, int32_t id, drt_text *out, drt_error *err) {
    const drt_tokenizer *tok = d->tokenizer;
    if (id < 0 || id >= tok->size || !tok->pieces[id].text)
        return drt_fail(err, DRT_EARG, "%s: no piece has the id %d", tok->name, id);
    const tok_piece *p = &tok->pieces[id];
    if (d->skip_special && p->special) return DRT_OK;
    if (d->space_due) feed(d, (const unsigned char *)" ", 1, out);
    feed(d, p->raw, p->raw_size, out);
    d->space_due = p->ends_word;
    return result(out, err);
}

drt_status drt_detokenizer_finish(drt_detokenizer *d, drt_text *out, drt_error *err) {
    if (d->held) replacement(out); // what is held begins one character
    d->held = 0;
    d->space_due = false;
    return result(out, err);
}

drt_status drt_tokenizer_decode(const drt_tokenizer *tok, const int32_t *ids, int n, bool skip_special, drt_text *out,
                                drt_error *err) {
    drt_detokenizer d = {.tokenizer = tok, .skip_special = skip_special};
    drt_text_puts(out, ""); // so that the bytes are "" even if nothing is decoded
    for (int i = 0; i < n; i++) {
        drt_status status = drt_detokenizer_put(&d, ids[i], out, err);
        if (status) return status;
    }
    return drt_detokenizer_finish(&d, out, err);
}
