// The files that a dataset is made of: one file of JSON or JSON lines, a folder of such (*.jsonl, *.json), one shard of
// WebDataset (*.tar) or a folder of them. Nothing stays mapped: what is read is what memory is needed for.
//
//   drt_sources s;
//   if (drt_sources_open(&s, "train.json", &err)) ...
//   drt_sources_read(&s, 0, at, bytes, size, &err);    // from any thread
//   drt_sources_close(&s);
#ifndef DRT_DATA_SOURCES_H
#define DRT_DATA_SOURCES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *path;
    int fd; // -1: there are many files, this one is opened for every read
    uint64_t size;
    int64_t changed; // when it was changed last, nanoseconds since 1970
    // Digest of its size and of pieces of 64 KiB, evenly over the file: 64 of all files together, at least 2 of each. A
    // few milliseconds.
    uint64_t sketch;
    uint64_t digest; // of all its bytes; 0: not read yet
    int32_t first;   // number of its first sample, set by the index
} drt_source;

typedef struct {
    char *path, *folder; // as given, without '/' at its end; the folder that names of pictures start from
    drt_source *file;    // [n] by name
    int n;
    bool tar;
} drt_sources;

// A folder's files are taken in the order of their names (bytes); names that begin with '.' and what drt itself writes
// beside data are passed over. DRT_EDATA: no file of a known kind, or of two kinds.
drt_status drt_sources_open(drt_sources *out, const char *path, drt_error *err);
void drt_sources_close(drt_sources *s); // a zeroed one is allowed
// Exactly `size` bytes; DRT_EIO: the file ends before, or cannot be read.
drt_status drt_sources_read(const drt_sources *s, int file, uint64_t at, void *bytes, size_t size, drt_error *err);
// Fills in the digest of a file, reading it whole. NULL progress is allowed.
drt_status drt_sources_digest(drt_sources *s, int file, drt_error *err);
// Lines in [from, to) of a file end: how many '\n' there are; and how many bytes behind the last of them (or from
// `from`) up to `to`.
drt_status drt_sources_lines(const drt_sources *s, int file, uint64_t from, uint64_t to, int64_t *lines,
                             int64_t *behind, drt_error *err);
// "train.json" and ".drt-index" -> "train.json.drt-index", malloc'ed; NULL: no memory. What is kept beside the data.
char *drt_beside(const char *data, const char *ending);
#define DRT_INDEX_ENDING ".drt-index"
#define DRT_QUARANTINE_ENDING ".quarantine.jsonl"

#endif
