// Reading one safetensors file; what the format is stands in safetensors.h.
#include "format/weights_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_HEADER = 100 << 20 };

typedef struct {
    const char *file;
    const unsigned char *data; // after the header
    uint64_t size;             // of data
} section;

// "shape": [...] into t; *bytes = product of the sizes and of the element size.
static drt_status read_shape(drt_weight *t, const json_t *shape, int64_t *bytes, drt_error *err) {
    size_t ndim = json_array_size(shape);
    if (!json_is_array(shape))
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' has no \"shape\" list", t->file, t->name);
    if (ndim > DRT_WEIGHT_DIMS)
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' has %zu dimensions, at most %d are supported", t->file,
                        t->name, ndim, DRT_WEIGHT_DIMS);
    t->ndim = (int)ndim;
    *bytes = drt_weight_dtype_size(t->dtype);
    for (size_t d = 0; d < ndim; d++) {
        const json_t *v = json_array_get(shape, d);
        t->shape[d] = json_integer_value(v);
        if (!json_is_integer(v) || t->shape[d] < 0)
            return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s': shape[%zu] is not a whole number of 0 or more",
                            t->file, t->name, d);
        if (__builtin_mul_overflow(*bytes, t->shape[d], bytes))
            return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s': its shape overflows 63 bits", t->file, t->name);
    }
    return DRT_OK;
}

static drt_status read_offsets(drt_weight *t, const json_t *offsets, const section *s, int64_t need, drt_error *err) {
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to))
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' has no \"data_offsets\": [from, to]", t->file, t->name);
    int64_t a = json_integer_value(from), b = json_integer_value(to);
    if (a < 0 || b < a)
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s': data_offsets [%lld, %lld] run backwards", t->file,
                        t->name, (long long)a, (long long)b);
    if ((uint64_t)b > s->size)
        return drt_fail(err, DRT_EFORMAT,
                        "%s: tensor '%.200s' ends at byte %lld of the data, but the file holds only %llu: it is "
                        "truncated; copy or download it again",
                        t->file, t->name, (long long)b, (unsigned long long)s->size);
    if (b - a != need)
        return drt_fail(err, DRT_EFORMAT,
                        "%s: tensor '%.200s': data_offsets give %lld bytes, its shape and dtype %s need %lld", t->file,
                        t->name, (long long)(b - a), t->dtype, (long long)need);
    t->bytes = s->data + a;
    t->size = (size_t)need;
    return DRT_OK;
}

static drt_status read_tensor(drt_weights *w, const char *name, const json_t *entry, const section *s, drt_error *err) {
    drt_weight *t = drt_weights_add(w, name, s->file, err);
    if (!t) return DRT_ENOMEM;
    if (!json_is_object(entry))
        return drt_fail(err, DRT_EFORMAT, "%s: the header's entry '%.200s' is not an object", s->file, name);
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype) return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' has no \"dtype\"", s->file, name);
    t->dtype = drt_weight_dtype(dtype);
    if (!t->dtype)
        return drt_fail(err, DRT_EFORMAT,
                        "%s: tensor '%.200s' has the unknown dtype \"%.40s\"; convert it to F32 or "
                        "BF16 first",
                        s->file, name, dtype);
    int64_t need = 0;
    drt_status status = read_shape(t, json_object_get(entry, "shape"), &need, err);
    return status ? status : read_offsets(t, json_object_get(entry, "data_offsets"), s, need, err);
}

static drt_status read_metadata(drt_weights *w, json_t *meta, const char *file, drt_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(meta)) return drt_fail(err, DRT_EFORMAT, "%s: \"__metadata__\" is not an object", file);
    size_t n = (size_t)w->metadata_count + json_object_size(meta);
    drt_weights_pair *grown = realloc(w->metadata, (n + 1) * sizeof *grown);
    if (!grown) return drt_fail(err, DRT_ENOMEM, "%s: no memory for its metadata", file);
    w->metadata = grown;
    json_object_foreach(meta, key, value) {
        if (!json_is_string(value))
            return drt_fail(err, DRT_EFORMAT, "%s: \"__metadata__\": the value of '%.200s' is not a string", file, key);
        drt_weights_pair p = {drt_arena_strdup(w->arena, key), drt_arena_strdup(w->arena, json_string_value(value))};
        if (!p.key || !p.value) return drt_fail(err, DRT_ENOMEM, "%s: no memory for its metadata", file);
        w->metadata[w->metadata_count++] = p;
    }
    return DRT_OK;
}

static int by_place(const void *a, const void *b) {
    const drt_weight *x = a, *y = b;
    const unsigned char *p = x->bytes, *q = y->bytes;
    if (p != q) return p < q ? -1 : 1;
    return (x->size > y->size) - (x->size < y->size);
}

// The tensors must cover the data without gap or overlap, as the format demands: no byte is hidden or read twice.
static drt_status check_cover(drt_weight *t, int n, const section *s, drt_error *err) {
    uint64_t at = 0;
    if (n) qsort(t, (size_t)n, sizeof *t, by_place);
    for (int i = 0; i < n; i++) {
        uint64_t from = (uint64_t)((const unsigned char *)t[i].bytes - s->data);
        if (from != at)
            return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' begins at byte %llu of the data, %s byte %llu",
                            s->file, t[i].name, (unsigned long long)from,
                            from < at ? "overlapping another that ends at" : "leaving a gap after",
                            (unsigned long long)at);
        at = from + t[i].size;
    }
    if (at != s->size)
        return drt_fail(err, DRT_EFORMAT, "%s: %llu bytes after the last tensor belong to none", s->file,
                        (unsigned long long)(s->size - at));
    return DRT_OK;
}

static drt_status read_header(drt_weights *w, json_t *root, const section *s, drt_error *err) {
    const char *name;
    json_t *entry;
    int first = w->count;
    drt_status status = DRT_OK;
    if (!json_is_object(root)) return drt_fail(err, DRT_EFORMAT, "%s: the header is not a JSON object", s->file);
    json_object_foreach(root, name, entry) {
        if (!strcmp(name, "__metadata__")) status = read_metadata(w, entry, s->file, err);
        else status = read_tensor(w, name, entry, s, err);
        if (status) return status;
    }
    return check_cover(w->tensors + first, w->count - first, s, err);
}

drt_status drt_safetensors_read(drt_weights *w, const char *file, const unsigned char *bytes, size_t size,
                                drt_error *err) {
    uint64_t header = 0;
    if (size < 8)
        return drt_fail(err, DRT_EFORMAT, "%s: %zu bytes is too short for a safetensors file; download it again", file,
                        size);
    for (int i = 7; i >= 0; i--) header = header << 8 | bytes[i];
    if (header > MOST_HEADER)
        return drt_fail(err, DRT_EFORMAT,
                        "%s: the first 8 bytes announce a header of %llu bytes, more than %d allowed: not a "
                        "safetensors file (or a Git LFS pointer: run git lfs pull)",
                        file, (unsigned long long)header, MOST_HEADER);
    if (header > size - 8)
        return drt_fail(err, DRT_EFORMAT,
                        "%s: truncated inside its header (%llu bytes announced, %zu present); download it again", file,
                        (unsigned long long)header, size - 8);
    if (header < 2 || bytes[8] != '{')
        return drt_fail(err, DRT_EFORMAT, "%s: byte 8: the header does not begin with '{'", file);
    json_error_t why;
    json_t *root = json_loadb((const char *)bytes + 8, header, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return drt_fail(err, DRT_EFORMAT, "%s: byte %lld: header: %s", file, (long long)why.position + 8, why.text);
    section s = {file, bytes + 8 + header, size - 8 - header};
    drt_status status = read_header(w, root, &s, err);
    json_decref(root);
    return status;
}
