// Cuts a large JSON file into its samples without building a tree of the whole: an array of objects, or objects one
// after another (JSON lines). Objects are found by their brackets; what is inside them is checked by whoever parses
// them.
#ifndef DRT_DATA_JSON_SPLIT_H
#define DRT_DATA_JSON_SPLIT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t at; // byte offset of '{'
    uint32_t size;
    int32_t index; // position in the file, from 0
} drt_json_piece;

// *out is malloc'ed (NULL when *n is 0). DRT_EFORMAT: with line and column; `name` stands for the file.
drt_status drt_json_split(const char *bytes, size_t size, const char *name, drt_json_piece **out, int32_t *n,
                          drt_error *err);

// Line and column (in bytes) of an offset, both from 1.
void drt_json_where(const char *bytes, size_t at, int64_t *line, int64_t *column);

#endif
