// The tensors of a checkpoint, memory-mapped, whatever file they stand in: model.safetensors, pytorch_model.bin, or the
// shards of either.
//
//   drt_weights *w;
//   if (drt_weights_open(&w, "vicuna-7b", &err)) ...              // a file, or a folder
//   const drt_weight *t = drt_weights_find(w, "model.norm.weight");
//   if (t && drt_weight_to_f32(t, out, 4096, &err)) ...
//   drt_weights_close(w);                                         // every pointer obtained from it dies here
//
// Everything is checked at opening: afterwards every tensor's bytes lie inside its file. Immutable after opening, so
// usable from several threads. The formats: format/safetensors.c, format/torch_bin.h.
#ifndef DRT_FORMAT_WEIGHTS_H
#define DRT_FORMAT_WEIGHTS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DRT_WEIGHT_DIMS = 8 };

typedef struct drt_weights drt_weights;

// All pointers belong to the drt_weights.
typedef struct {
    const char *name;
    const char *dtype; // as safetensors writes it: "F32", "BF16", "F16", "I64", ...
    int ndim;          // 0: a scalar, one element
    int64_t shape[DRT_WEIGHT_DIMS];
    const void *bytes; // little-endian, row-major, perhaps unaligned: memcpy. Never NULL, even when size is 0
    size_t size;       // in bytes
    const char *file;  // the path of the file that holds it
} drt_weight;

// `path`: a file, or a folder with one of model.safetensors, model.safetensors.index.json, pytorch_model.bin,
// pytorch_model.bin.index.json (the first of these that exists) and its shards.
// DRT_EIO: cannot be read. DRT_EFORMAT: the message names file, tensor, place and remedy.
drt_status drt_weights_open(drt_weights **out, const char *path, drt_error *err);
// The same from memory, which must outlive *out. `name` stands for the file in messages and in drt_weight.file.
drt_status drt_weights_open_memory(drt_weights **out, const void *bytes, size_t size, const char *name, drt_error *err);
void drt_weights_close(drt_weights *w); // NULL is allowed

// Lets go of the memory that holds a tensor's part of a mapped file; it is read again where it is looked at again.
void drt_weights_forget(const drt_weights *w, const drt_weight *t);

int drt_weights_count(const drt_weights *w);
// Ordered by name (strcmp); NULL if `i` is out of range.
const drt_weight *drt_weights_at(const drt_weights *w, int i);
const drt_weight *drt_weights_find(const drt_weights *w, const char *name); // NULL if absent; O(log n)
// A value of safetensors' "__metadata__", of the first shard that has the key; NULL if absent.
const char *drt_weights_metadata(const drt_weights *w, const char *key);

int64_t drt_weight_elements(const drt_weight *t); // product of the shape; 1 for a scalar
// Converts every element to f32: F32, BF16 and F16 sources, others are refused (DRT_EFORMAT). `out` has room for n
// floats; n must be the number of elements (DRT_EARG).
drt_status drt_weight_to_f32(const drt_weight *t, float *out, int64_t n, drt_error *err);
// Place of the first element that is NaN or infinite, -1 if there is none (or the dtype is not F32, BF16, F16).
int64_t drt_weight_not_finite(const drt_weight *t);
// n numbers at `bytes` (perhaps unaligned) of dtype F32, BF16 or F16 as f32.
void drt_weight_numbers(float *out, const char *dtype, const void *bytes, int64_t n);
bool drt_weight_is_float(const char *dtype); // F32, BF16 or F16
// Bytes of one element of a dtype ("F32" -> 4), 0 if the dtype is unknown.
int drt_weight_dtype_size(const char *dtype);

#endif
