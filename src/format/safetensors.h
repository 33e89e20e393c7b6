// safetensors: named tensors in one file or in the shards of a folder, memory-mapped.
//
//   drt_safetensors *st;
//   if (drt_safetensors_open(&st, "vicuna-7b", &err)) ...         // a file, or a folder
//   const drt_st_tensor *t = drt_safetensors_find(st, "model.norm.weight");
//   if (t && drt_st_to_f32(t, out, 4096, &err)) ...
//   drt_safetensors_close(st);                                    // every pointer obtained from it dies here
//
// The format: 8 bytes little-endian header length, that many bytes of JSON {"name": {"dtype", "shape",
// "data_offsets": [from, to]}, ..., "__metadata__": {"key": "value"}}, then the tensors' bytes without gaps.
// Everything is checked at opening: afterwards every tensor's bytes lie inside its file. Immutable after opening,
// so usable from several threads.
#ifndef DRT_FORMAT_SAFETENSORS_H
#define DRT_FORMAT_SAFETENSORS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { DRT_ST_DIMS = 8 };

typedef struct drt_safetensors drt_safetensors;

// All pointers belong to the drt_safetensors.
typedef struct {
    const char *name;
    const char *dtype; // as in the file: "F32", "BF16", "F16", "I64", ...
    int ndim;          // 0: a scalar, one element
    int64_t shape[DRT_ST_DIMS];
    const void *bytes; // little-endian, row-major, perhaps unaligned: memcpy. Never NULL, even when size is 0
    size_t size;       // in bytes
    const char *file;  // the path of the file that holds it
} drt_st_tensor;

// `path`: a file, or a folder with model.safetensors or model.safetensors.index.json and its shards.
// DRT_EIO: cannot be read. DRT_EFORMAT: the message names file, tensor, place and remedy.
drt_status drt_safetensors_open(drt_safetensors **out, const char *path, drt_error *err);
// The same from memory, which must outlive *out. `name` stands for the file in messages and in drt_st_tensor.file.
drt_status drt_safetensors_open_memory(drt_safetensors **out, const void *bytes, size_t size, const char *name,
                                       drt_error *err);
void drt_safetensors_close(drt_safetensors *st); // NULL is allowed

int drt_safetensors_count(const drt_safetensors *st);
// Ordered by name (strcmp); NULL if `i` is out of range.
const drt_st_tensor *drt_safetensors_at(const drt_safetensors *st, int i);
const drt_st_tensor *drt_safetensors_find(const drt_safetensors *st, const char *name); // NULL if absent; O(log n)
// A value of "__metadata__", of the first shard that has the key; NULL if absent.
const char *drt_safetensors_metadata(const drt_safetensors *st, const char *key);

int64_t drt_st_elements(const drt_st_tensor *t); // product of the shape; 1 for a scalar
// Converts every element to f32: F32, BF16 and F16 sources, others are refused (DRT_EFORMAT). `out` has room for n
// floats; n must be the number of elements (DRT_EARG).
drt_status drt_st_to_f32(const drt_st_tensor *t, float *out, int64_t n, drt_error *err);

// One tensor to write. `bytes` (little-endian, row-major) may be NULL when the tensor has no elements.
typedef struct {
    const char *name, *dtype;
    int ndim;
    int64_t shape[DRT_ST_DIMS];
    const void *bytes;
} drt_st_entry;

// Writes all entries in the given order, atomically (base/file.h). `metadata` is key, value, ..., NULL; NULL means
// "format": "pt", without which transformers refuses the file. The header is padded with spaces to 8 bytes.
// DRT_EARG: unknown dtype, a negative size, two entries of one name. DRT_EIO: the disk.
drt_status drt_safetensors_write(const char *path, const drt_st_entry *entries, int n, const char *const *metadata,
                                 drt_error *err);
// Bytes of one element of a safetensors dtype ("F32" -> 4), 0 if the dtype is unknown.
int drt_st_dtype_size(const char *dtype);

#endif
