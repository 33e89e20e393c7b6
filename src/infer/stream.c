#include "infer/stream.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void drt_stream_init(drt_stream *s, const drt_tokenizer *tokenizer, const char *const *stop, int stops) {
    *s = (drt_stream){.stop = stop, .stops = stops, .detokenizer = {.tokenizer = tokenizer, .skip_special = true}};
}

void drt_stream_free(drt_stream *s) {
    drt_text_free(&s->text);
    drt_detokenizer_free(&s->detokenizer);
    *s = (drt_stream){0};
}

static bool is_space(const drt_stream *s, size_t at) { return isspace((unsigned char)s->text.bytes[at]); }

// Cuts the text at the first stop string. One that was complete before `from` would have been found then.
static void look_for_stops(drt_stream *s, size_t from) {
    size_t at = s->text.size;
    for (int k = 0; k < s->stops && s->text.bytes; k++) {
        size_t n = strlen(s->stop[k]);
        if (!n) continue;
        const char *found = strstr(s->text.bytes + (from >= n ? from - n + 1 : 0), s->stop[k]);
        if (found && (size_t)(found - s->text.bytes) < at) at = (size_t)(found - s->text.bytes);
    }
    if (at == s->text.size) return;
    s->text.size = at;
    s->text.bytes[at] = 0;
    s->ended = true;
}

static drt_status took(drt_stream *s, size_t from, drt_status status, drt_error *err) {
    if (!status && s->text.failed) status = drt_fail(err, DRT_ENOMEM, "no memory for the answer's text");
    if (status) return status;
    look_for_stops(s, from);
    while (s->start < s->text.size && is_space(s, s->start)) s->start++;
    if (s->sent < s->start) s->sent = s->start;
    return DRT_OK;
}

drt_status drt_stream_put(drt_stream *s, int32_t id, drt_error *err) {
    if (s->ended || !s->detokenizer.tokenizer) return DRT_OK;
    size_t from = s->text.size;
    return took(s, from, drt_detokenizer_put(&s->detokenizer, id, &s->text, err), err);
}

drt_status drt_stream_finish(drt_stream *s, drt_error *err) {
    if (s->ended || !s->detokenizer.tokenizer) return DRT_OK;
    size_t from = s->text.size;
    drt_status status = took(s, from, drt_detokenizer_finish(&s->detokenizer, &s->text, err), err);
    s->ended = true;
    return status;
}

// Bytes at the end that may be the beginning of a stop string.
static size_t doubtful(const drt_stream *s) {
    size_t most = 0;
    for (int k = 0; k < s->stops && !s->ended; k++) {
        size_t n = strlen(s->stop[k]);
        for (size_t have = n ? n - 1 : 0; have > most; have--)
            if (have <= s->text.size && !memcmp(s->text.bytes + s->text.size - have, s->stop[k], have)) most = have;
    }
    return most;
}

static size_t stripped_end(const drt_stream *s, size_t end) {
    while (end > s->start && is_space(s, end - 1)) end--;
    return end > s->start ? end : s->start;
}

const char *drt_stream_ready(drt_stream *s, size_t *size) {
    *size = 0;
    if (!s->text.bytes) return "";
    size_t end = stripped_end(s, s->text.size - doubtful(s)), from = s->sent;
    if (end <= from) return "";
    *size = end - from;
    s->sent = end;
    return s->text.bytes + from;
}

char *drt_stream_text(const drt_stream *s) {
    if (!s->text.bytes) return strdup("");
    return strndup(s->text.bytes + s->start, stripped_end(s, s->text.size) - s->start);
}
