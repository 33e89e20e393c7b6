// What the readers of the formats fill. Nobody outside src/format/weights*.c, safetensors.c and torch_*.c includes this.
#ifndef DRT_FORMAT_WEIGHTS_INTERNAL_H
#define DRT_FORMAT_WEIGHTS_INTERNAL_H

#include "base/arena.h"
#include "base/file.h"
#include "format/weights.h"

typedef struct {
    const char *key, *value;
} drt_weights_pair;

struct drt_weights {
    drt_arena *arena;    // names, paths, metadata
    drt_weight *tensors; // ordered by name once all files are read
    int count, room;
    drt_weights_pair *metadata;
    int metadata_count;
    drt_map *maps;
    int map_count;
    void **blocks; // malloc'ed bytes of tensors that could not be mapped
    int block_count;
};

// A new entry at the end with a copy of `name`, no dtype, no bytes; NULL after DRT_ENOMEM in *err. Valid until the next.
drt_weight *drt_weights_add(drt_weights *w, const char *name, const char *file, drt_error *err);
// malloc'ed memory that lives as long as w; NULL when there is none.
void *drt_weights_block(drt_weights *w, size_t bytes);
// The constant with this spelling, NULL if the dtype is unknown.
const char *drt_weight_dtype(const char *dtype);

// Adds the tensors of one file's bytes, which outlive w. `file` belongs to the arena.
drt_status drt_safetensors_read(drt_weights *w, const char *file, const unsigned char *bytes, size_t size,
                                drt_error *err);

#endif
