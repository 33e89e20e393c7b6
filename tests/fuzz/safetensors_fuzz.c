// clang -fsanitize=fuzzer,address,undefined: any bytes are a file or a refusal, and every accepted tensor is readable.
#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    drt_error err = {0};
    drt_weights *st;
    if (drt_weights_open_memory(&st, bytes, size, "fuzz", &err)) return err.text[0] ? 0 : (abort(), 0);
    unsigned sum = 0;
    for (int i = 0; i < drt_weights_count(st); i++) {
        const drt_weight *t = drt_weights_at(st, i);
        if (drt_weights_find(st, t->name) != t) abort();
        for (size_t k = 0; k < t->size; k++) sum += ((const uint8_t *)t->bytes)[k];
        int64_t n = drt_weight_elements(t);
        float *out = malloc((size_t)n * sizeof *out + 1);
        if (out) drt_weight_to_f32(t, out, n, &err);
        free(out);
    }
    drt_weights_metadata(st, sum % 2 ? "format" : "x");
    drt_weights_close(st);
    return 0;
}
