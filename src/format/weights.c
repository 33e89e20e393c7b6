#include "format/weights_internal.h"

#include "base/half.h"
#include "format/torch_bin.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_INDEX = 100 << 20, MOST_SHARDS = 10000 };

static const struct {
    const char *name;
    int size;
} dtypes[] = {{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"F64", 8}, {"I64", 8},  {"I32", 4},     {"I16", 2},     {"I8", 1},
              {"U64", 8}, {"U32", 4},  {"U16", 2}, {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"C64", 8}};

int drt_weight_dtype_size(const char *dtype) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, dtype)) return dtypes[i].size;
    return 0;
}

const char *drt_weight_dtype(const char *dtype) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, dtype)) return dtypes[i].name;
    return NULL;
}

int64_t drt_weight_elements(const drt_weight *t) {
    int64_t n = 1;
    for (int d = 0; d < t->ndim; d++) n *= t->shape[d];
    return n;
}

static drt_status no_memory(const char *file, drt_error *err) {
    return drt_fail(err, DRT_ENOMEM, "%s: no memory for its list of tensors", file);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const drt_weight *)a)->name, ((const drt_weight *)b)->name);
}

drt_weight *drt_weights_add(drt_weights *w, const char *name, const char *file, drt_error *err) {
    if (w->count == w->room) {
        int room = w->room ? 2 * w->room : 64;
        drt_weight *grown = realloc(w->tensors, (size_t)room * sizeof *grown);
        if (grown) w->tensors = grown, w->room = room;
    }
    const char *copy = drt_arena_strdup(w->arena, name);
    if (w->count == w->room || !copy) {
        no_memory(file, err);
        return NULL;
    }
    drt_weight *t = &w->tensors[w->count++];
    *t = (drt_weight){.name = copy, .file = file};
    return t;
}

void *drt_weights_block(drt_weights *w, size_t bytes) {
    void **grown = realloc(w->blocks, ((size_t)w->block_count + 1) * sizeof *grown);
    if (grown) w->blocks = grown;
    void *block = grown ? malloc(bytes ? bytes : 1) : NULL;
    if (block) w->blocks[w->block_count++] = block;
    return block;
}

// A file is what its first bytes say, whatever its name.
static drt_status add_file(drt_weights *w, const char *file, const unsigned char *bytes, size_t size, drt_error *err) {
    if (drt_is_torch_bin(bytes, size)) return drt_torch_bin_read(w, file, bytes, size, err);
    return drt_safetensors_read(w, file, bytes, size, err);
}

static drt_status add_path(drt_weights *w, const char *path, drt_error *err) {
    drt_map *grown = realloc(w->maps, ((size_t)w->map_count + 1) * sizeof *grown);
    const char *file = drt_arena_strdup(w->arena, path);
    if (grown) w->maps = grown;
    if (!grown || !file) return no_memory(path, err);
    drt_map *map = &w->maps[w->map_count];
    drt_status status = drt_map_open(map, path, err);
    if (status) return status;
    w->map_count++;
    return add_file(w, file, map->bytes, map->size, err);
}

// Opens each file that weight_map names, once.
static drt_status add_shards(drt_weights *w, const json_t *weights, const char *index, const char *folder,
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
            else status = add_path(w, path, err);
            free(path);
        }
    }
    json_decref(seen);
    return status;
}

static drt_status finish(drt_weights *w, const char *path, drt_error *err) {
    if (w->count) qsort(w->tensors, (size_t)w->count, sizeof *w->tensors, by_name);
    for (int i = 1; i < w->count; i++) {
        const drt_weight *a = &w->tensors[i - 1], *b = &w->tensors[i];
        if (!strcmp(a->name, b->name))
            return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' stands twice, in %.200s and in %.200s", path,
                            a->name, a->file, b->file);
    }
    return DRT_OK;
}

static drt_status check_index(const drt_weights *w, const json_t *weights, const char *index, drt_error *err) {
    const char *tensor;
    json_t *shard;
    json_object_foreach((json_t *)weights, tensor, shard) {
        const drt_weight *t = drt_weights_find(w, tensor);
        const char *name = json_string_value(shard), *slash = t ? strrchr(t->file, '/') : NULL;
        if (!t || strcmp(slash ? slash + 1 : t->file, name))
            return drt_fail(err, DRT_EFORMAT,
                            "%s: tensor '%.200s' is not in the shard '%.200s' that the index names; "
                            "index and shards are not of one model",
                            index, tensor, name);
    }
    return DRT_OK;
}

static drt_status open_index(drt_weights *w, const char *index, const char *folder, drt_error *err) {
    char *text;
    size_t size;
    json_error_t why;
    drt_status status = drt_file_read(&text, &size, index, MOST_INDEX, err);
    if (status) return status;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!root) return drt_fail(err, DRT_EFORMAT, "%s: line %d: %s", index, why.line, why.text);
    const json_t *weights = json_object_get(root, "weight_map");
    if (!json_is_object(weights)) status = drt_fail(err, DRT_EFORMAT, "%s: has no \"weight_map\" object", index);
    else {
        status = add_shards(w, weights, index, folder, err);
        if (!status) status = finish(w, folder, err);
        if (!status) status = check_index(w, weights, index, err);
    }
    json_decref(root);
    return status;
}

// The files of a folder in the order in which they are preferred.
static const char *const whole_files[] = {"model.safetensors", "pytorch_model.bin"};

static drt_status open_folder(drt_weights *w, const char *folder, drt_error *err) {
    for (size_t i = 0; i < 2 * sizeof whole_files / sizeof *whole_files; i++) {
        bool index = i % 2;
        char name[80];
        snprintf(name, sizeof name, "%s%s", whole_files[i / 2], index ? ".index.json" : "");
        char *path = drt_path_join(folder, name);
        if (!path) return no_memory(folder, err);
        bool there = drt_file_exists(path);
        drt_status status = DRT_OK;
        if (there && index) status = open_index(w, path, folder, err);
        else if (there) status = add_path(w, path, err);
        if (there && !index && !status) status = finish(w, path, err);
        free(path);
        if (there || status) return status;
    }
    return drt_fail(err, DRT_EIO,
                    "%s: holds no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, "
                    "pytorch_model.bin.index.json",
                    folder);
}

static drt_status start(drt_weights **out, const char *name, drt_error *err) {
    drt_weights *w = calloc(1, sizeof *w);
    *out = NULL;
    if (w) w->arena = drt_arena_new(0);
    if (!w || !w->arena) {
        free(w);
        return no_memory(name, err);
    }
    *out = w;
    return DRT_OK;
}

static drt_status end(drt_weights **out, drt_status status) {
    if (status) {
        drt_weights_close(*out);
        *out = NULL;
    }
    return status;
}

drt_status drt_weights_open(drt_weights **out, const char *path, drt_error *err) {
    drt_status status = start(out, path, err);
    if (status) return status;
    if (drt_is_folder(path)) return end(out, open_folder(*out, path, err));
    status = add_path(*out, path, err);
    return end(out, status ? status : finish(*out, path, err));
}

drt_status drt_weights_open_memory(drt_weights **out, const void *bytes, size_t size, const char *name,
                                   drt_error *err) {
    drt_status status = start(out, name, err);
    if (status) return status;
    const char *file = drt_arena_strdup((*out)->arena, name);
    status = file ? add_file(*out, file, bytes, size, err) : no_memory(name, err);
    return end(out, status ? status : finish(*out, name, err));
}

void drt_weights_close(drt_weights *w) {
    if (!w) return;
    for (int i = 0; i < w->map_count; i++) drt_map_close(&w->maps[i]);
    for (int i = 0; i < w->block_count; i++) free(w->blocks[i]);
    free(w->maps), free(w->blocks), free(w->tensors), free(w->metadata);
    drt_arena_free(w->arena);
    free(w);
}

void drt_weights_forget(const drt_weights *w, const drt_weight *t) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)t->bytes, end = from + t->size;
    from = (from + page - 1) / page * page;
    end = end / page * page;
    for (int i = 0; i < w->map_count && from < end; i++) { // never memory of another kind, which would be lost
        uintptr_t first = (uintptr_t)w->maps[i].bytes;
        if (from >= first && end <= first + w->maps[i].size) madvise((void *)from, end - from, MADV_DONTNEED);
    }
}

int drt_weights_count(const drt_weights *w) { return w->count; }

const drt_weight *drt_weights_at(const drt_weights *w, int i) { return i >= 0 && i < w->count ? &w->tensors[i] : NULL; }

const drt_weight *drt_weights_find(const drt_weights *w, const char *name) {
    drt_weight key = {.name = name};
    return w->count ? bsearch(&key, w->tensors, (size_t)w->count, sizeof key, by_name) : NULL;
}

const char *drt_weights_metadata(const drt_weights *w, const char *key) {
    for (int i = 0; i < w->metadata_count; i++)
        if (!strcmp(w->metadata[i].key, key)) return w->metadata[i].value;
    return NULL;
}

bool drt_weight_is_float(const char *dtype) {
    return !strcmp(dtype, "F32") || !strcmp(dtype, "BF16") || !strcmp(dtype, "F16");
}

void drt_weight_numbers(float *out, const char *dtype, const void *bytes, int64_t n) {
    enum { CHUNK = 2048 };
    uint16_t half[CHUNK];
    bool bf16 = !strcmp(dtype, "BF16");
    if (!strcmp(dtype, "F32")) {
        memcpy(out, bytes, (size_t)n * sizeof *out);
        return;
    }
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = n - at < CHUNK ? n - at : CHUNK;
        memcpy(half, (const char *)bytes + 2 * at, (size_t)m * 2);
        if (bf16) drt_bf16_to_f32_n(out + at, half, m);
        else drt_f16_to_f32_n(out + at, half, m);
    }
}

drt_status drt_weight_to_f32(const drt_weight *t, float *out, int64_t n, drt_error *err) {
    int64_t elements = drt_weight_elements(t);
    if (n != elements)
        return drt_fail(err, DRT_EARG, "%s: tensor '%.200s' has %lld elements, not %lld", t->file, t->name,
                        (long long)elements, (long long)n);
    if (!drt_weight_is_float(t->dtype))
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%.200s' is %s; F32, BF16 or F16 is needed here: convert it",
                        t->file, t->name, t->dtype);
    drt_weight_numbers(out, t->dtype, t->bytes, n);
    return DRT_OK;
}

// Numbers at any address.
typedef uint16_t odd16 __attribute__((aligned(1), may_alias));
typedef uint32_t odd32 __attribute__((aligned(1), may_alias));

// An exponent of ones alone is NaN or infinity: adding 1 to the exponent carries into the top bit. Whole chunks are
// tested without a branch, so at the speed of memory.
#define NOT_FINITE(type, exponent)                                                                                     \
    for (int64_t at = 0; at < n; at += CHUNK) {                                                                        \
        const type *x = (const type *)t->bytes + at;                                                                   \
        const type all = exponent, one = all & -all, top = ~((type)-1 >> 1);                                           \
        int64_t m = n - at < CHUNK ? n - at : CHUNK;                                                                   \
        type bad = 0;                                                                                                  \
        for (int64_t i = 0; i < m; i++) bad |= (type)((x[i] & all) + one);                                             \
        for (int64_t i = 0; (bad & top) && i < m; i++)                                                                 \
            if ((x[i] & all) == all) return at + i;                                                                    \
    }

int64_t drt_weight_not_finite(const drt_weight *t) {
    enum { CHUNK = 4096 };
    int64_t n = drt_weight_elements(t);
    if (!strcmp(t->dtype, "F32")) NOT_FINITE(odd32, 0x7f800000u)
    else if (!strcmp(t->dtype, "BF16")) NOT_FINITE(odd16, 0x7f80)
    else if (!strcmp(t->dtype, "F16")) NOT_FINITE(odd16, 0x7c00)
    return -1;
}
