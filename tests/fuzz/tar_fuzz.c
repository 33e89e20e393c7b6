// clang -fsanitize=fuzzer,address,undefined: any bytes are the entries of a sample or a refusal.
#include "data/record.h"
#include "data/tar.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char name[DRT_RECORD_NAME];
    drt_record *r;
    drt_error err = {0};
    drt_status bad = drt_tar_record(bytes, size, "fuzz.tar", 7, &r, name, &err);
    if ((bad == DRT_OK) != (r != NULL) || (bad && !err.text[0]) || (r && r->index != 7)) abort();
    for (int i = 0; r && i < r->n_images; i++) { // ASan looks at what is touched
        volatile uint8_t last = r->held[i].size ? r->held[i].bytes[r->held[i].size - 1] : 0;
        (void)last;
    }
    drt_record_free(r);
    return 0;
}
