#include "format/safetensors.h"

#include "base/file.h"
#include "base/half.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static drt_status check_entry(const drt_st_entry *e, const char *path, size_t *bytes, drt_error *err) {
    int64_t n = drt_weight_dtype_size(e->dtype);
    if (!*e->name || !strcmp(e->name, "__metadata__") || !drt_is_utf8(e->name))
        return drt_fail(err, DRT_EARG, "%s: '%.200s' cannot be a tensor's name", path, e->name);
    if (!n) return drt_fail(err, DRT_EARG, "%s: tensor '%.200s': unknown dtype \"%.40s\"", path, e->name, e->dtype);
    if (e->ndim < 0 || e->ndim > DRT_WEIGHT_DIMS)
        return drt_fail(err, DRT_EARG, "%s: tensor '%.200s' has %d dimensions, 0 to %d are possible", path, e->name,
                        e->ndim, DRT_WEIGHT_DIMS);
    for (int d = 0; d < e->ndim; d++)
        if (e->shape[d] < 0 || __builtin_mul_overflow(n, e->shape[d], &n))
            return drt_fail(err, DRT_EARG, "%s: tensor '%.200s': shape[%d] = %lld is negative or too large", path,
                            e->name, d, (long long)e->shape[d]);
    if (n && !e->bytes)
        return drt_fail(err, DRT_EARG, "%s: tensor '%.200s' needs %lld bytes, none are given", path, e->name,
                        (long long)n);
    if (e->stored && strcmp(e->stored, e->dtype) && !(drt_weight_is_float(e->stored) && drt_weight_is_float(e->dtype)))
        return drt_fail(err, DRT_EARG, "%s: tensor '%.200s': %.40s cannot be written as %.40s", path, e->name,
                        e->stored, e->dtype);
    *bytes = (size_t)n;
    return DRT_OK;
}

static void put_metadata(drt_text *t, const char *const *pairs) {
    drt_text_puts(t, "\"__metadata__\":{");
    for (int i = 0; pairs[i]; i += 2) {
        if (i) drt_text_puts(t, ",");
        drt_text_json(t, pairs[i]);
        drt_text_puts(t, ":");
        drt_text_json(t, pairs[i + 1]);
    }
    drt_text_puts(t, "}");
}

static void put_entry(drt_text *t, const drt_st_entry *e, size_t from, size_t bytes) {
    drt_text_json(t, e->name);
    drt_text_printf(t, ":{\"dtype\":\"%s\",\"shape\":[", e->dtype);
    for (int d = 0; d < e->ndim; d++) drt_text_printf(t, "%s%lld", d ? "," : "", (long long)e->shape[d]);
    drt_text_printf(t, "],\"data_offsets\":[%zu,%zu]}", from, from + bytes);
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static drt_status check_names(const char *path, const drt_st_entry *entries, int n, drt_error *err) {
    const char **names = malloc(((size_t)n + 1) * sizeof *names);
    drt_status status = DRT_OK;
    if (!names) return drt_fail(err, DRT_ENOMEM, "%s: no memory for %d names", path, n);
    for (int i = 0; i < n; i++) names[i] = entries[i].name;
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 1; i < n && !status; i++)
        if (!strcmp(names[i - 1], names[i]))
            status = drt_fail(err, DRT_EARG, "%s: two tensors are named '%.200s'", path, names[i]);
    free(names);
    return status;
}

// The JSON header of all entries, padded; sizes[i] = bytes of entry i.
static drt_status make_header(drt_text *t, size_t *sizes, const char *path, const drt_st_entry *entries, int n,
                              const char *const *metadata, drt_error *err) {
    static const char *const standard[] = {"format", "pt", NULL};
    size_t at = 0;
    drt_status status = check_names(path, entries, n, err);
    if (!metadata) metadata = standard;
    for (int i = 0; metadata[i] && !status; i++) {
        if (i % 2 == 0 && !metadata[i + 1])
            return drt_fail(err, DRT_EARG, "%s: metadata '%.200s' has no value", path, metadata[i]);
        if (!drt_is_utf8(metadata[i])) return drt_fail(err, DRT_EARG, "%s: metadata text %d is not UTF-8", path, i);
    }
    drt_text_puts(t, "{");
    put_metadata(t, metadata);
    for (int i = 0; i < n && !status; i++) {
        status = check_entry(&entries[i], path, &sizes[i], err);
        if (status) break;
        drt_text_puts(t, ",");
        put_entry(t, &entries[i], at, sizes[i]);
        if (__builtin_add_overflow(at, sizes[i], &at) || at > INT64_MAX)
            status = drt_fail(err, DRT_EARG, "%s: the tensors together exceed 63 bits of bytes", path);
    }
    drt_text_puts(t, "}");
    while (t->size % 8 && !t->failed) drt_text_puts(t, " ");
    if (!status && t->failed) status = drt_fail(err, DRT_ENOMEM, "%s: no memory for the header", path);
    return status;
}

static void put_tensor(drt_writer *w, const drt_st_entry *e, size_t bytes) {
    enum { CHUNK = 4096 };
    float x[CHUNK];
    if (!e->stored || !strcmp(e->stored, e->dtype)) {
        drt_writer_put(w, e->bytes, bytes);
        return;
    }
    int from = drt_weight_dtype_size(e->stored), to = drt_weight_dtype_size(e->dtype);
    int64_t n = (int64_t)bytes / to;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = n - at < CHUNK ? n - at : CHUNK;
        drt_weight_numbers(x, e->stored, (const char *)e->bytes + at * from, m);
        uint16_t half[CHUNK];
        if (!strcmp(e->dtype, "BF16")) drt_f32_to_bf16_n(half, x, m);
        else if (!strcmp(e->dtype, "F16")) drt_f32_to_f16_n(half, x, m);
        drt_writer_put(w, to == 4 ? (const void *)x : half, (size_t)(m * to));
    }
}

drt_status drt_safetensors_write(const char *path, const drt_st_entry *entries, int n, const char *const *metadata,
                                 drt_error *err) {
    if (n < 0) return drt_fail(err, DRT_EARG, "%s: %d tensors", path, n);
    drt_text header = {0};
    size_t *sizes = calloc((size_t)n + 1, sizeof *sizes);
    drt_status status = sizes ? make_header(&header, sizes, path, entries, n, metadata, err)
                              : drt_fail(err, DRT_ENOMEM, "%s: no memory for %d sizes", path, n);
    drt_writer w;
    if (!status) status = drt_writer_open(&w, path, err);
    if (!status) {
        unsigned char length[8];
        for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)header.size >> (8 * i));
        drt_writer_put(&w, length, 8);
        drt_writer_put(&w, header.bytes, header.size);
        for (int i = 0; i < n; i++) put_tensor(&w, &entries[i], sizes[i]);
        status = drt_writer_commit(&w, err);
    }
    drt_text_free(&header);
    free(sizes);
    return status;
}
