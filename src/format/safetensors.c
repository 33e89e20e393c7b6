#include "format/safetensors.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/half.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_HEADER = 100 << 20, MOST_SHARDS = 10000 };

typedef struct {
    const char *key, *value;
} pair;

struct drt_safetensors {
    drt_arena *arena;       // names, paths, metadata
    drt_st_tensor *tensors; // ordered by name
    int count, room;
    pair *metadata;
    int metadata_count;
    drt_map *maps;
    int map_count;
};

typedef struct {
    const char *file;
    const unsigned char *data; // after the header
    uint64_t size;             // of data
} section;

static const struct {
    const char *name;
    int size;
} dtypes[] = {{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"F64", 8}, {"I64", 8},  {"I32", 4},     {"I16", 2},     {"I8", 1},
              {"U64", 8}, {"U32", 4},  {"U16", 2}, {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"C64", 8}};

int drt_st_dtype_size(const char *dtype) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, dtype)) return dtypes[i].size;
    return 0;
}

static const char *dtype_constant(const char *dtype) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, dtype)) return dtypes[i].name;
    return NULL;
}

int64_t drt_st_elements(const drt_st_tensor *t) {
    int64_t n = 1;
    for (int d = 0; d < t->ndim; d++) n *= t->shape[d];
    return n;
}

static drt_status no_memory(const char *file, drt_error *err) {
    return drt_fail(err, DRT_ENOMEM, "%s: no memory for its list of tensors", file);
}

// "shape": [...] into t; *bytes = product of the sizes and of the element size.
static drt_status read_shape(drt_st_tensor *t, const json_t *shape, int64_t *bytes, drt_error *err) {
    size_t ndim = json_array_size(shape);
    if (!json_is_array(shape))
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' has no \"shape\" list", t->file, t->name);
    if (ndim > DRT_ST_DIMS)
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' has %zu dimensions, at most %d are supported", t->file,
                        t->name, ndim, DRT_ST_DIMS);
    t->ndim = (int)ndim;
    *bytes = drt_st_dtype_size(t->dtype);
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

static drt_status read_offsets(drt_st_tensor *t, const json_t *offsets, const section *s, int64_t need,
                               drt_error *err) {
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

static drt_status read_tensor(drt_safetensors *st, const char *name, const json_t *entry, const section *s,
                              drt_error *err) {
    if (st->count == st->room) {
        int room = st->room ? 2 * st->room : 64;
        drt_st_tensor *grown = realloc(st->tensors, (size_t)room * sizeof *grown);
        if (!grown) return no_memory(s->file, err);
        st->tensors = grown;
        st->room = room;
    }
    drt_st_tensor *t = &st->tensors[st->count];
    *t = (drt_st_tensor){.name = drt_arena_strdup(st->arena, name), .file = s->file};
    if (!t->name) return no_memory(s->file, err);
    if (!json_is_object(entry))
        return drt_fail(err, DRT_EFORMAT, "%s: the header's entry '%.200s' is not an object", s->file, name);
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype) return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' has no \"dtype\"", s->file, name);
    t->dtype = dtype_constant(dtype);
    if (!t->dtype)
        return drt_fail(err, DRT_EFORMAT,
                        "%s: tensor '%.200s' has the unknown dtype \"%.40s\"; convert it to F32 or "
                        "BF16 first",
                        s->file, name, dtype);
    int64_t need = 0;
    drt_status status = read_shape(t, json_object_get(entry, "shape"), &need, err);
    if (!status) status = read_offsets(t, json_object_get(entry, "data_offsets"), s, need, err);
    if (!status) st->count++;
    return status;
}

static drt_status read_metadata(drt_safetensors *st, json_t *meta, const char *file, drt_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(meta)) return drt_fail(err, DRT_EFORMAT, "%s: \"__metadata__\" is not an object", file);
    size_t n = (size_t)st->metadata_count + json_object_size(meta);
    pair *grown = realloc(st->metadata, (n + 1) * sizeof *grown);
    if (!grown) return no_memory(file, err);
    st->metadata = grown;
    json_object_foreach(meta, key, value) {
        if (!json_is_string(value))
            return drt_fail(err, DRT_EFORMAT, "%s: \"__metadata__\": the value of '%.200s' is not a string", file, key);
        pair p = {drt_arena_strdup(st->arena, key), drt_arena_strdup(st->arena, json_string_value(value))};
        if (!p.key || !p.value) return no_memory(file, err);
        st->metadata[st->metadata_count++] = p;
    }
    return DRT_OK;
}

static int by_place(const void *a, const void *b) {
    const drt_st_tensor *x = a, *y = b;
    const unsigned char *p = x->bytes, *q = y->bytes;
    if (p != q) return p < q ? -1 : 1;
    return (x->size > y->size) - (x->size < y->size);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const drt_st_tensor *)a)->name, ((const drt_st_tensor *)b)->name);
}

// The tensors must cover the data without gap or overlap, as the format demands: no byte is hidden or read twice.
static drt_status check_cover(drt_st_tensor *t, int n, const section *s, drt_error *err) {
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

static drt_status read_header(drt_safetensors *st, json_t *root, const section *s, drt_error *err) {
    const char *name;
    json_t *entry;
    int first = st->count;
    drt_status status = DRT_OK;
    if (!json_is_object(root)) return drt_fail(err, DRT_EFORMAT, "%s: the header is not a JSON object", s->file);
    json_object_foreach(root, name, entry) {
        if (!strcmp(name, "__metadata__")) status = read_metadata(st, entry, s->file, err);
        else status = read_tensor(st, name, entry, s, err);
        if (status) return status;
    }
    return check_cover(st->tensors + first, st->count - first, s, err);
}

// Adds the tensors of one file's bytes. `file` belongs to the arena.
static drt_status add_file(drt_safetensors *st, const char *file, const unsigned char *bytes, size_t size,
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
    drt_status status = read_header(st, root, &s, err);
    json_decref(root);
    return status;
}

static drt_status add_path(drt_safetensors *st, const char *path, drt_error *err) {
    drt_map *grown = realloc(st->maps, ((size_t)st->map_count + 1) * sizeof *grown);
    const char *file = drt_arena_strdup(st->arena, path);
    if (grown) st->maps = grown;
    if (!grown || !file) return no_memory(path, err);
    drt_map *map = &st->maps[st->map_count];
    drt_status status = drt_map_open(map, path, err);
    if (status) return status;
    st->map_count++;
    return add_file(st, file, map->bytes, map->size, err);
}

// Opens each file that weight_map names, once.
static drt_status add_shards(drt_safetensors *st, const json_t *weights, const char *index, const char *folder,
                             drt_error *err) {
    const char *tensor;
    json_t *shard, *seen = json_object();
    drt_status status = seen ? DRT_OK : no_memory(index, err);
    json_object_foreach((json_t *)weights, tensor, shard) {
        const char *name = json_string_value(shard);
        if (status) break;
        if (!name || !*name || strchr(name, '/')) {
            status = drt_fail(err, DRT_EFORMAT, "%s: weight_map: '%.200s' must name a file of the same folder", index,
                              tensor);
        } else if (!json_object_get(seen, name)) {
            char *path = drt_path_join(folder, name);
            if (!path || json_object_set_new(seen, name, json_true())) status = no_memory(index, err);
            else if (json_object_size(seen) > MOST_SHARDS)
                status = drt_fail(err, DRT_EFORMAT, "%s: names more than %d files", index, MOST_SHARDS);
            else if (!drt_file_exists(path))
                status = drt_fail(err, DRT_EIO,
                                  "%s: names the shard '%.200s', which is missing; download it into the "
                                  "same folder",
                                  index, name);
            else status = add_path(st, path, err);
            free(path);
        }
    }
    json_decref(seen);
    return status;
}

static drt_status finish(drt_safetensors *st, const char *path, drt_error *err) {
    if (st->count) qsort(st->tensors, (size_t)st->count, sizeof *st->tensors, by_name);
    for (int i = 1; i < st->count; i++) {
        const drt_st_tensor *a = &st->tensors[i - 1], *b = &st->tensors[i];
        if (!strcmp(a->name, b->name))
            return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' stands in two shards, %.200s and %.200s", path,
                            a->name, a->file, b->file);
    }
    return DRT_OK;
}

static drt_status check_index(const drt_safetensors *st, const json_t *weights, const char *index, drt_error *err) {
    const char *tensor;
    json_t *shard;
    json_object_foreach((json_t *)weights, tensor, shard) {
        const drt_st_tensor *t = drt_safetensors_find(st, tensor);
        const char *name = json_string_value(shard), *slash = t ? strrchr(t->file, '/') : NULL;
        if (!t || strcmp(slash ? slash + 1 : t->file, name))
            return drt_fail(err, DRT_EFORMAT,
                            "%s: tensor '%.200s' is not in the shard '%.200s' that the index names; "
                            "index and shards are not of one model",
                            index, tensor, name);
    }
    return DRT_OK;
}

static drt_status open_index(drt_safetensors *st, const char *index, const char *folder, drt_error *err) {
    char *text;
    size_t size;
    json_error_t why;
    drt_status status = drt_file_read(&text, &size, index, MOST_HEADER, err);
    if (status) return status;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!root) return drt_fail(err, DRT_EFORMAT, "%s: line %d: %s", index, why.line, why.text);
    const json_t *weights = json_object_get(root, "weight_map");
    if (!json_is_object(weights)) status = drt_fail(err, DRT_EFORMAT, "%s: has no \"weight_map\" object", index);
    else {
        status = add_shards(st, weights, index, folder, err);
        if (!status) status = finish(st, folder, err);
        if (!status) status = check_index(st, weights, index, err);
    }
    json_decref(root);
    return status;
}

static drt_status open_folder(drt_safetensors *st, const char *folder, drt_error *err) {
    char *one = drt_path_join(folder, "model.safetensors");
    char *index = drt_path_join(folder, "model.safetensors.index.json");
    drt_status status;
    if (!one || !index) status = no_memory(folder, err);
    else if (drt_file_exists(one)) {
        status = add_path(st, one, err);
        if (!status) status = finish(st, one, err);
    } else if (drt_file_exists(index)) status = open_index(st, index, folder, err);
    else
        status = drt_fail(err, DRT_EIO, "%s: holds neither model.safetensors nor model.safetensors.index.json", folder);
    free(one), free(index);
    return status;
}

static drt_status start(drt_safetensors **out, const char *name, drt_error *err) {
    drt_safetensors *st = calloc(1, sizeof *st);
    *out = NULL;
    if (st) st->arena = drt_arena_new(0);
    if (!st || !st->arena) {
        free(st);
        return no_memory(name, err);
    }
    *out = st;
    return DRT_OK;
}

static drt_status end(drt_safetensors **out, drt_status status) {
    if (status) {
        drt_safetensors_close(*out);
        *out = NULL;
    }
    return status;
}

drt_status drt_safetensors_open(drt_safetensors **out, const char *path, drt_error *err) {
    drt_status status = start(out, path, err);
    if (status) return status;
    if (drt_is_folder(path)) return end(out, open_folder(*out, path, err));
    status = add_path(*out, path, err);
    return end(out, status ? status : finish(*out, path, err));
}

drt_status drt_safetensors_open_memory(drt_safetensors **out, const void *bytes, size_t size, const char *name,
                                       drt_error *err) {
    drt_status status = start(out, name, err);
    if (status) return status;
    const char *file = drt_arena_strdup((*out)->arena, name);
    status = file ? add_file(*out, file, bytes, size, err) : no_memory(name, err);
    return end(out, status ? status : finish(*out, name, err));
}

void drt_safetensors_close(drt_safetensors *st) {
    if (!st) return;
    for (int i = 0; i < st->map_count; i++) drt_map_close(&st->maps[i]);
    free(st->maps), free(st->tensors), free(st->metadata);
    drt_arena_free(st->arena);
    free(st);
}

int drt_safetensors_count(const drt_safetensors *st) { return st->count; }

const drt_st_tensor *drt_safetensors_at(const drt_safetensors *st, int i) {
    return i >= 0 && i < st->count ? &st->tensors[i] : NULL;
}

const drt_st_tensor *drt_safetensors_find(const drt_safetensors *st, const char *name) {
    drt_st_tensor key = {.name = name};
    return st->count ? bsearch(&key, st->tensors, (size_t)st->count, sizeof key, by_name) : NULL;
}

const char *drt_safetensors_metadata(const drt_safetensors *st, const char *key) {
    for (int i = 0; i < st->metadata_count; i++)
        if (!strcmp(st->metadata[i].key, key)) return st->metadata[i].value;
    return NULL;
}

drt_status drt_st_to_f32(const drt_st_tensor *t, float *out, int64_t n, drt_error *err) {
    enum { CHUNK = 2048 };
    uint16_t half[CHUNK];
    int64_t elements = drt_st_elements(t);
    if (n != elements)
        return drt_fail(err, DRT_EARG, "%s: tensor '%.200s' has %lld elements, not %lld", t->file, t->name,
                        (long long)elements, (long long)n);
    if (!strcmp(t->dtype, "F32")) {
        memcpy(out, t->bytes, t->size);
        return DRT_OK;
    }
    int bf16 = !strcmp(t->dtype, "BF16");
    if (!bf16 && strcmp(t->dtype, "F16"))
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' is %s; F32, BF16 or F16 is needed here: convert it",
                        t->file, t->name, t->dtype);
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = n - at < CHUNK ? n - at : CHUNK;
        memcpy(half, (const char *)t->bytes + 2 * at, (size_t)m * 2);
        if (bf16) drt_bf16_to_f32_n(out + at, half, m);
        else drt_f16_to_f32_n(out + at, half, m);
    }
    return DRT_OK;
}
