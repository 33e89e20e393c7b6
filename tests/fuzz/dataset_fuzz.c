// clang -fsanitize=fuzzer,address,undefined: any bytes are samples or a refusal, however they are cut; every sample can
// be parsed or is refused; and what the reader of JSON accepts is what jansson accepts.
#include "data/json_split.h"
#include "data/record.h"
#include "format/json_read.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef struct {
    const char *json;
    uint64_t at[256], size[256];
    int n;
} dataset_pieces;

static drt_status dataset_piece(void *user, uint64_t at, uint64_t size, drt_error *err) {
    dataset_pieces *p = user;
    (void)err;
    if (p->n == 256) return DRT_OK;
    p->at[p->n] = at, p->size[p->n++] = size;
    return DRT_OK;
}

static drt_status dataset_split(const char *json, size_t size, size_t step, bool lines, dataset_pieces *p) {
    drt_json_splitter s = {.found = dataset_piece, .user = p, .lines = lines};
    drt_error err = {0};
    drt_status bad = DRT_OK;
    p->n = 0;
    for (size_t at = 0; !bad && at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        bad = drt_json_split_feed(&s, json + at, n, &err);
        if (!bad && drt_json_split_keep(&s) > at + n) abort();
    }
    if (!bad) bad = drt_json_split_end(&s, &err);
    if (bad && (!err.text[0] || s.fault > size)) abort();
    return bad;
}

// jansson refuses numbers that do not fit and levels beyond 2048; of the two, this reader refuses more levels only.
// jansson also takes a byte 0 for the end of the text.
static void dataset_compare(const char *json, size_t size) {
    if (size && memchr(json, 0, size)) return;
    drt_json_reader r = {.at = json, .end = json + size};
    json_error_t why;
    json_t *tree = json_loadb(json, size, JSON_ALLOW_NUL | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &why);
    drt_json_skip(&r);
    drt_json_finish(&r);
    bool overflow = !tree && json_error_code(&why) == json_error_numeric_overflow;
    if (!tree && !r.why && !overflow) abort();
    if (tree && r.why && !strstr(r.why, "levels")) abort();
    json_decref(tree);
}

static void dataset_read(const char *json, size_t size, bool lines) {
    static dataset_pieces p, again;
    drt_error err = {0};
    drt_status bad = dataset_split(json, size, size + 1, lines, &p);
    if (dataset_split(json, size, 1 + size % 7, lines, &again) != bad || again.n != p.n) abort();
    for (int i = 0; i < p.n; i++) {
        char name[DRT_RECORD_NAME];
        size_t at = 0;
        drt_record *r;
        if (p.at[i] + p.size[i] > size || p.at[i] != again.at[i] || p.size[i] != again.size[i]) abort();
        const drt_record_source from = {.json = json + p.at[i], .size = p.size[i], .folder = "folder", .index = i};
        bad = drt_record_parse(&from, &r, &at, name, &err);
        if ((bad == DRT_OK) != (r != NULL) || at > p.size[i]) abort();
        drt_text text = {0};
        if (r) drt_conversation_text(drt_template_find("v1"), r->turns, r->n_turns, r->n_images, &text, &err);
        drt_text_free(&text);
        drt_record_free(r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    dataset_compare((const char *)bytes, size);
    for (int lines = 0; lines < 2; lines++) dataset_read((const char *)bytes, size, lines);
    return 0;
}
