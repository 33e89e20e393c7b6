// clang -fsanitize=fuzzer,address,undefined: any bytes are a file of torch.save or a refusal with a message, and every
// accepted tensor is readable. Seeds: tests/golden/torch.
//
// Input: a file; or, where it does not begin with "PK", a pickle, which is put into a zip file with two storages, so
// that the machine is reached without guessing a directory.
#include "base/text.h"
#include "format/weights.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void put(drt_text *t, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) drt_text_add(t, &(unsigned char){(unsigned char)(i < 8 ? v >> 8 * i : 0)}, 1);
}

static drt_text zip(const uint8_t *pickle, size_t size) {
    static const char storage[64];
    const struct {
        const char *name;
        const void *bytes;
        size_t size;
    } e[] = {{"a/data.pkl", pickle, size}, {"a/data/0", storage, 64}, {"a/data/1", storage, 24}};
    drt_text out = {0}, central = {0};
    for (int i = 0; i < 3; i++) {
        put(&central, 0x02014b50, 4), put(&central, 0, 16), put(&central, e[i].size, 4), put(&central, e[i].size, 4);
        put(&central, strlen(e[i].name), 2), put(&central, 0, 12), put(&central, out.size, 4);
        drt_text_puts(&central, e[i].name);
        put(&out, 0x04034b50, 4), put(&out, 0, 22), put(&out, strlen(e[i].name), 2), put(&out, 0, 2);
        drt_text_puts(&out, e[i].name);
        drt_text_add(&out, e[i].bytes, e[i].size);
    }
    size_t at = out.size;
    drt_text_add(&out, central.bytes, central.size);
    put(&out, 0x06054b50, 4), put(&out, 0, 4), put(&out, 3, 2), put(&out, 3, 2);
    put(&out, central.size, 4), put(&out, at, 4), put(&out, 0, 2);
    drt_text_free(&central);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    drt_error err = {0};
    drt_weights *w;
    drt_text made = {0};
    unsigned sum = 0;
    if (size < 2 || memcmp(bytes, "PK", 2)) {
        made = zip(bytes, size);
        bytes = (const uint8_t *)made.bytes, size = made.size;
    }
    if (drt_weights_open_memory(&w, bytes, size, "fuzz", &err)) {
        if (!err.text[0] || w) abort();
    } else {
        for (int i = 0; i < drt_weights_count(w); i++) {
            const drt_weight *t = drt_weights_at(w, i);
            if (drt_weights_find(w, t->name) != t) abort();
            if (t->size != (size_t)drt_weight_elements(t) * (size_t)drt_weight_dtype_size(t->dtype)) abort();
            for (size_t k = 0; k < t->size; k++) sum += ((const uint8_t *)t->bytes)[k];
            sum += drt_weight_not_finite(t) >= 0;
        }
        drt_weights_close(w);
    }
    drt_text_free(&made);
    return sum == 1u << 31;
}
