// clang -fsanitize=fuzzer,address,undefined: any bytes are a shard, or the entries of one sample, or a refusal; samples
// that a shard was found to have lie inside it and can be read, with their pictures and without, or are refused.
#include "data/index_build.h"
#include "data/tar.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static drt_record *tar_read(const drt_index *x, int32_t i, int picture) {
    char name[DRT_RECORD_NAME];
    drt_record *r;
    drt_error err = {0};
    drt_status bad = drt_tar_record(x, i, picture, &r, name, &err);
    if ((bad == DRT_OK) != (r != NULL) || (bad && !err.text[0]) || (r && r->index != i)) abort();
    for (int k = 0; r && k < r->n_images; k++) { // ASan looks at what is touched
        const drt_held_picture *p = &r->held[k];
        if ((p->bytes != NULL) != (picture == DRT_PICTURES_ALL || picture == k)) abort();
        volatile uint8_t last = p->bytes && p->size ? p->bytes[p->size - 1] : 0;
        (void)last;
    }
    return r;
}

static void tar_both(const drt_index *x, int32_t i) {
    drt_record *all = tar_read(x, i, DRT_PICTURES_ALL), *none = tar_read(x, i, DRT_PICTURES_NONE);
    if (all && (!none || all->n_images != none->n_images || all->n_turns != none->n_turns)) abort();
    if (none && none->n_images) drt_record_free(tar_read(x, i, none->n_images - 1));
    drt_record_free(all), drt_record_free(none);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static int fd = -1;
    drt_error err = {0};
    if (fd < 0) fd = memfd_create("fuzz.tar", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, bytes, size, 0) != (ssize_t)size) abort();
    drt_source file = {.path = (char *)"fuzz.tar", .fd = fd, .size = size};
    drt_index x = {.sources = {.path = file.path, .folder = (char *)"", .file = &file, .n = 1, .tar = true}};
    drt_status bad = drt_tar_index(&x, 0, &err);
    if (bad && !err.text[0]) abort();
    for (int32_t i = 0; i < x.n && !bad; i++) {
        if (x.fact[i].at > size || x.fact[i].size > size - x.fact[i].at) abort();
        tar_both(&x, i);
    }
    free(x.fact);
    drt_fact whole = {.size = (uint32_t)size, .words = 1}; // entries without a shard's end mark
    x.fact = &whole;
    x.n = 1;
    tar_both(&x, 0);
    return 0;
}
