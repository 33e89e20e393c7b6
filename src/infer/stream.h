// From tokens to the text of an answer while it is being written: whole characters only, stop strings recognised,
// white space around the answer left out (LLaVA strips it).
#ifndef DRT_INFER_STREAM_H
#define DRT_INFER_STREAM_H

#include "format/tokenizer.h"

typedef struct {
    const char *const *stop; // [stops] strings that end the answer and do not belong to it
    int stops;
    bool ended; // one of them was seen: feed no more
    // private: zero at the start
    drt_detokenizer detokenizer;
    drt_text text;
    size_t start, sent;
} drt_stream;

void drt_stream_init(drt_stream *s, const drt_tokenizer *tokenizer, const char *const *stop, int stops);
void drt_stream_free(drt_stream *s);
drt_status drt_stream_put(drt_stream *s, int32_t id, drt_error *err);
drt_status drt_stream_finish(drt_stream *s, drt_error *err); // no more tokens come: everything is ready
// What has become certain since the last call: it cannot be the beginning of a stop string, nor white space at the end.
// All pieces together are drt_stream_text. *size 0: nothing yet. Valid until the next put.
const char *drt_stream_ready(drt_stream *s, size_t *size);
// The answer so far, stripped; malloc'ed, NULL when memory is out.
char *drt_stream_text(const drt_stream *s);

#endif
