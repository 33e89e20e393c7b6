// clang -fsanitize=fuzzer,address,undefined: input = tokenizer.json, a zero byte, a text; or, where the first byte is
// not '{', a tokenizer.model. Either is a tokenizer or a refusal; of an accepted one every text is encoded to places
// inside it, in order, and decodes.
#include "format/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void use(const drt_tokenizer *tok, const char *text, size_t size) {
    drt_error err = {0};
    drt_token *t;
    int n;
    if (drt_tokenizer_encode(tok, text, size, &t, &n, &err)) return;
    drt_text all = {0}, stream = {0};
    drt_detokenizer d = {.tokenizer = tok};
    int32_t *ids = malloc(((size_t)n + 1) * sizeof *ids);
    for (int i = 0; i < n; i++) {
        if (t[i].from < 0 || t[i].to < t[i].from || (size_t)t[i].to > size) abort();
        if (!drt_tokenizer_piece(tok, t[i].id)) abort();
        ids[i] = t[i].id;
        if (drt_detokenizer_put(&d, ids[i], &stream, &err)) abort();
    }
    if (drt_detokenizer_finish(&d, &stream, &err) || drt_tokenizer_decode(tok, ids, n, false, &all, &err)) abort();
    if (all.size != stream.size || (all.size && memcmp(all.bytes, stream.bytes, all.size))) abort();
    drt_text_free(&all), drt_text_free(&stream);
    free(ids), free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    drt_error err = {0};
    drt_tokenizer *tok;
    if (size && *bytes != '{') {
        if (drt_tokenizer_open_sentencepiece(&tok, bytes, size, "fuzz", &err)) return err.text[0] ? 0 : (abort(), 0);
        use(tok, (const char *)bytes, size);
        drt_tokenizer_close(tok);
        return 0;
    }
    const uint8_t *zero = size ? memchr(bytes, 0, size) : NULL;
    size_t json = zero ? (size_t)(zero - bytes) : size;
    if (drt_tokenizer_open_memory(&tok, (const char *)bytes, json, "fuzz", &err)) return err.text[0] ? 0 : (abort(), 0);
    if (zero) use(tok, (const char *)zero + 1, size - json - 1);
    use(tok, (const char *)bytes, size);
    drt_tokenizer_close(tok);
    return 0;
}
