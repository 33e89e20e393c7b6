// What a pickle of torch.save describes: names and the tensors behind them, as places inside storages.
//
// The machine knows the instructions of protocols 2 to 5 that build numbers, strings, tuples, lists, dicts, and the
// functions named in torch_bin.h. All else is refused with the instruction's or the function's name and its byte.
// Memory is proportional to the pickle's size: nothing is copied deeply, nothing repeated.
#ifndef DRT_FORMAT_TORCH_PICKLE_H
#define DRT_FORMAT_TORCH_PICKLE_H

#include "base/arena.h"
#include "base/error.h"
#include "format/weights.h"

typedef struct {
    const char *key;   // the entry data/KEY
    const char *dtype; // a constant, as in drt_weight
    int64_t count;     // elements
} drt_torch_storage;

typedef struct {
    const char *name;
    const drt_torch_storage *storage;
    int ndim;
    int64_t shape[DRT_WEIGHT_DIMS], stride[DRT_WEIGHT_DIMS], offset; // in elements; every element is inside the storage
} drt_torch_tensor;

// Reads the pickle of a dict from names to tensors (a state dict); entries that are no tensors are passed over. *out
// and all it names live in `arena`.
drt_status drt_torch_pickle_read(drt_torch_tensor **out, size_t *count, const unsigned char *bytes, size_t size,
                                 const char *file, drt_arena *arena, drt_error *err);

#endif
