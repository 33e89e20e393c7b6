// pytorch_model.bin and whatever else torch.save wrote: a zip file with one pickle and the bytes of every storage.
//
// A pickle is a program. This reader runs the few instructions that build dicts of tensors and refuses all others; of
// the functions that a pickle may call it knows torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter and
// collections.OrderedDict, and it refuses any other by name. Nothing is ever imported or called.
//
//   NAME/data.pkl          the pickle                       format/torch_pickle.c
//   NAME/data/KEY          the bytes of storage KEY         format/torch_zip.c
//   NAME/byteorder         "little", if present
//
// Storages that the zip file holds uncompressed (as torch writes them) are used where they lie. Compressed ones are
// inflated, and tensors that are not contiguous are laid out anew: both are copies, bounded in all by 16 times the size
// of the file and 64 MiB.
#ifndef DRT_FORMAT_TORCH_BIN_H
#define DRT_FORMAT_TORCH_BIN_H

#include "format/weights_internal.h"

#include <stdbool.h>

// A zip file, or the pickle that torch wrote before version 1.6 (which drt_torch_bin_read refuses by name).
bool drt_is_torch_bin(const unsigned char *bytes, size_t size);
// Adds the tensors of one file's bytes, which outlive w. `file` belongs to w's arena.
drt_status drt_torch_bin_read(drt_weights *w, const char *file, const unsigned char *bytes, size_t size,
                              drt_error *err);

#endif
