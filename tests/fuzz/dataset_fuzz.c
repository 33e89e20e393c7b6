// clang -fsanitize=fuzzer,address,undefined: any bytes are samples or a refusal, and every sample can be parsed.
#include "data/json_split.h"
#include "data/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const char *json = (const char *)bytes;
    drt_error err = {0};
    drt_json_piece *piece;
    int32_t n;
    if (drt_json_split(json, size, "fuzz", &piece, &n, &err)) return err.text[0] ? 0 : (abort(), 0);
    for (int32_t i = 0; i < n; i++) {
        char name[DRT_RECORD_NAME];
        size_t at = 0;
        drt_record *r;
        if (piece[i].at + piece[i].size > size) abort();
        drt_status bad = drt_record_parse(json + piece[i].at, piece[i].size, "folder", i, &r, &at, name, &err);
        if ((bad == DRT_OK) != (r != NULL) || at > piece[i].size) abort();
        drt_text text = {0};
        if (r) drt_conversation_text(drt_template_find("v1"), r->turns, r->n_turns, r->n_images, &text, &err);
        drt_text_free(&text);
        drt_record_free(r);
    }
    free(piece);
    return 0;
}
