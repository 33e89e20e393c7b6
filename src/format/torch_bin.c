#include "format/torch_bin.h"

#include "format/torch_pickle.h"
#include "format/torch_zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the pickle of torch before 1.6 begins with: protocol 2 and a magic number.
static const char old_magic[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

enum { MOST_PICKLE = 8 << 20, COPIES = 16 };

typedef struct {
    drt_weights *w;
    drt_zip zip;
    const char *file;
    const char *root; // name of the folder inside the zip file, with its slash; not terminated
    int root_size;
    size_t copies;                  // bytes that may still be inflated or laid out anew
    const unsigned char **inflated; // by entry; NULL: not yet
    drt_error *err;
} reader;

bool drt_is_torch_bin(const unsigned char *bytes, size_t size) {
    return (size >= 4 && !memcmp(bytes, "PK\3\4", 4)) || (size >= 2 && !memcmp(bytes, old_magic, 2));
}

static drt_status no_memory(const reader *r) { return drt_fail(r->err, DRT_ENOMEM, "%s: no memory", r->file); }

// The one entry of the form NAME/data.pkl.
static const drt_zip_entry *find_pickle(reader *r) {
    static const char tail[] = "/data.pkl";
    const size_t n = sizeof tail - 1;
    const drt_zip_entry *found = NULL;
    for (size_t i = 0; i < r->zip.count; i++) {
        const drt_zip_entry *e = &r->zip.entry[i];
        if (e->name_size <= n || e->name_size > 1000 || memcmp(e->name + e->name_size - n, tail, n) ||
            memchr(e->name, '/', e->name_size - n))
            continue;
        if (found) return NULL;
        found = e;
        r->root = e->name;
        r->root_size = (int)(e->name_size - n + 1);
    }
    return found;
}

static const drt_zip_entry *find(const reader *r, const char *folder, const char *name) {
    char path[1300];
    int n = snprintf(path, sizeof path, "%.*s%s%s", r->root_size, r->root, folder, name);
    return n > 0 && (size_t)n < sizeof path ? drt_zip_find(&r->zip, path) : NULL;
}

// Memory for a copy of n bytes, or NULL after a message.
static void *copy_room(reader *r, const char *what, size_t n) {
    if (n > r->copies) {
        drt_fail(r->err, DRT_EFORMAT,
                 "%s: '%.200s': its compressed or transposed tensors would take more than %d times the file; write it "
                 "again with torch.save, or as safetensors",
                 r->file, what, COPIES);
        return NULL;
    }
    void *p = drt_weights_block(r->w, n);
    if (p) r->copies -= n;
    else drt_fail(r->err, DRT_ENOMEM, "%s: no memory for the %zu bytes of '%.200s'", r->file, n, what);
    return p;
}

// The bytes of an entry: in the file, or inflated once.
static const unsigned char *bytes_of(reader *r, const drt_zip_entry *e, const char *what) {
    if (!e->deflated) return e->bytes;
    const unsigned char **slot = &r->inflated[e - r->zip.entry];
    if (*slot) return *slot;
    void *p = copy_room(r, what, e->size);
    if (!p || drt_zip_inflate(&r->zip, e, p, r->err)) return NULL;
    return *slot = p;
}

static bool contiguous(const drt_torch_tensor *t) {
    int64_t step = 1;
    for (int d = t->ndim - 1; d >= 0; d--) {
        if (t->shape[d] != 1 && t->stride[d] != step) return false;
        step *= t->shape[d];
    }
    return true;
}

// Copies element after element in row-major order.
static void lay_out(unsigned char *out, const unsigned char *from, const drt_torch_tensor *t, int64_t n, int size) {
    int64_t index[DRT_WEIGHT_DIMS] = {0}, at = 0;
    for (int64_t i = 0; i < n; i++) {
        memcpy(out + i * size, from + at * size, (size_t)size);
        for (int d = t->ndim - 1; d >= 0; d--) {
            at += t->stride[d];
            if (++index[d] < t->shape[d]) break;
            at -= t->stride[d] * t->shape[d];
            index[d] = 0;
        }
    }
}

static drt_status add_tensor(reader *r, const drt_torch_tensor *t) {
    const drt_torch_storage *s = t->storage;
    int size = drt_weight_dtype_size(s->dtype);
    int64_t bytes, n = 1;
    const drt_zip_entry *e = find(r, "data/", s->key);
    if (!e)
        return drt_fail(r->err, DRT_EFORMAT, "%s: tensor '%.200s': the storage data/%.100s is not in the file", r->file,
                        t->name, s->key);
    if (__builtin_mul_overflow(s->count, size, &bytes) || (uint64_t)bytes > e->size)
        return drt_fail(r->err, DRT_EFORMAT,
                        "%s: tensor '%.200s': its storage of %lld %s elements has only %zu bytes; copy or download the "
                        "file again",
                        r->file, t->name, (long long)s->count, s->dtype, e->size);
    const unsigned char *from = bytes_of(r, e, t->name);
    if (!from) return r->err->code;
    drt_weight *out = drt_weights_add(r->w, t->name, r->file, r->err);
    if (!out) return DRT_ENOMEM;
    out->dtype = s->dtype;
    out->ndim = t->ndim;
    for (int d = 0; d < t->ndim; d++) n *= out->shape[d] = t->shape[d];
    out->size = (size_t)n * (size_t)size;
    from += t->offset * size;
    out->bytes = from;
    if (!n || contiguous(t)) return DRT_OK;
    unsigned char *copy = copy_room(r, t->name, out->size);
    if (!copy) return r->err->code;
    lay_out(copy, from, t, n, size);
    out->bytes = copy;
    return DRT_OK;
}

static drt_status check_order(reader *r) {
    const drt_zip_entry *e = find(r, "", "byteorder");
    if (!e || e->deflated || (e->size == 6 && !memcmp(e->bytes, "little", 6))) return DRT_OK;
    return drt_fail(r->err, DRT_EFORMAT,
                    "%s: was written by a big-endian machine; load it there and save it with safetensors", r->file);
}

static drt_status read_archive(reader *r) {
    const drt_zip_entry *e = find_pickle(r);
    drt_torch_tensor *t;
    size_t count;
    if (!e) return drt_fail(r->err, DRT_EFORMAT, "%s: a zip file, but not of torch.save: no NAME/data.pkl", r->file);
    if (find(r, "", "constants.pkl"))
        return drt_fail(r->err, DRT_EFORMAT,
                        "%s: a TorchScript program, not a state dict; save model.state_dict() instead", r->file);
    if (e->size > MOST_PICKLE)
        return drt_fail(r->err, DRT_EFORMAT, "%s: its pickle has %zu bytes, more than the %d that weights need",
                        r->file, e->size, MOST_PICKLE);
    const unsigned char *pickle = bytes_of(r, e, "data.pkl");
    drt_status status = pickle ? check_order(r) : r->err->code;
    drt_arena *arena = drt_arena_new(0);
    if (!status && !arena) status = no_memory(r);
    if (!status) status = drt_torch_pickle_read(&t, &count, pickle, e->size, r->file, arena, r->err);
    for (size_t i = 0; !status && i < count; i++) status = add_tensor(r, &t[i]);
    drt_arena_free(arena);
    return status;
}

drt_status drt_torch_bin_read(drt_weights *w, const char *file, const unsigned char *bytes, size_t size,
                              drt_error *err) {
    drt_error own; // tells why where the caller does not ask
    reader r = {.w = w, .file = file, .err = err ? err : &own};
    if (memcmp(bytes, "PK", 2))
        return drt_fail(err, DRT_EFORMAT,
                        "%s: %s, which is not read. With a torch of 2020 or later: torch.save(torch.load(FILE, "
                        "weights_only=True), FILE)",
                        file,
                        size >= sizeof old_magic - 1 && !memcmp(bytes, old_magic, sizeof old_magic - 1)
                            ? "saved by torch before 1.6 as one pickle"
                            : "a bare pickle");
    if (__builtin_mul_overflow(size, (size_t)COPIES, &r.copies)) r.copies = SIZE_MAX / 2;
    r.copies += (size_t)64 << 20;
    drt_status status = drt_zip_open(&r.zip, bytes, size, file, err);
    if (status) return status;
    r.inflated = calloc(r.zip.count + 1, sizeof *r.inflated);
    status = r.inflated ? read_archive(&r) : no_memory(&r);
    free(r.inflated);
    drt_zip_close(&r.zip);
    return status;
}
