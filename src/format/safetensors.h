// Writing safetensors. Reading is format/weights.h.
//
// The format: 8 bytes little-endian header length, that many bytes of JSON {"name": {"dtype", "shape",
// "data_offsets": [from, to]}, ..., "__metadata__": {"key": "value"}}, then the tensors' bytes without gaps.
#ifndef DRT_FORMAT_SAFETENSORS_H
#define DRT_FORMAT_SAFETENSORS_H

#include "format/weights.h"

// One tensor to write. `bytes` (little-endian, row-major, perhaps unaligned) may be NULL when the tensor has no
// elements.
typedef struct {
    const char *name, *dtype;
    int ndim;
    int64_t shape[DRT_WEIGHT_DIMS];
    const void *bytes;
    // The dtype of `bytes` where it is another one (NULL: the same): F32, BF16 or F16, and so is dtype. Converted piece
    // by piece on the way to the file.
    const char *stored;
} drt_st_entry;

// Writes all entries in the given order, atomically (base/file.h). `metadata` is key, value, ..., NULL; NULL means
// "format": "pt", without which transformers refuses the file. The header is padded with spaces to 8 bytes.
// DRT_EARG: unknown dtype, a negative size, two entries of one name. DRT_EIO: the disk.
drt_status drt_safetensors_write(const char *path, const drt_st_entry *entries, int n, const char *const *metadata,
                                 drt_error *err);

#endif
