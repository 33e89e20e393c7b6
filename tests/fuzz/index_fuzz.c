// clang -fsanitize=fuzzer,address,undefined: any bytes are the index of a file or a refusal, and facts that are taken
// lie inside the file; any text is a quarantine list or a refusal. The first byte says which; an index's digest is made
// right here, because nothing would come past it else.
#include "base/digest.h"
#include "data/index.h"
#include "data/quarantine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void index_take(const uint8_t *bytes, size_t size, drt_index *x) {
    drt_error err = {0};
    uint8_t *own = malloc(size + 8);
    if (!own) abort();
    memcpy(own, bytes, size);
    uint64_t digest = drt_digest_of(own, size);
    memcpy(own + size, &digest, sizeof digest);
    drt_status bad = drt_index_parse(x, own, size + 8, &err);
    if (bad && (!err.text[0] || x->fact || x->n)) abort();
    for (int32_t i = 0; i < x->n; i++) {
        const drt_fact *f = &x->fact[i];
        if (f->file || f->at > x->sources.file[0].size || f->size > x->sources.file[0].size - f->at) abort();
    }
    free(x->fact);
    free(own);
}

static void index_list(const uint8_t *bytes, size_t size, drt_index *x) {
    drt_error err = {0};
    drt_fact facts[4] = {{.size = 1, .words = 1}};
    bool out[4];
    int32_t n = 0, marked = 0;
    x->fact = facts;
    x->n = 4;
    // Names are looked for in the file, which is not there: such lists fail, and say so.
    drt_status bad = drt_quarantine_parse((const char *)bytes, size, "fuzz", x, out, &n, &err);
    for (int i = 0; i < 4; i++) marked += out[i];
    if (bad ? !err.text[0] : marked != n) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    // A file of which nothing but its name and numbers is asked.
    drt_source file = {
        .path = (char *)"folder/data.json", .fd = -1, .size = 1000, .sketch = 7, .changed = 5, .digest = 9};
    drt_index x = {.sources = {.path = file.path, .folder = (char *)"folder", .file = &file, .n = 1}};
    if (!size) return 0;
    if (*bytes & 1) index_take(bytes + 1, size - 1, &x);
    else index_list(bytes + 1, size - 1, &x);
    return 0;
}
