// What is known of every sample of a dataset without reading it again: 32 bytes a sample, kept in a file beside the
// data (DATA.drt-index) and reused while the content is the same. docs/data.md has the file.
//
//   drt_index x;
//   if (drt_index_open(&x, "train.json", &progress, &err)) ...     // reads DATA.drt-index, or the data
//   x.fact[i].words ...
//   if (drt_index_record(&x, i, folder, DRT_PICTURES_ALL, &record, name, &err)) ...  // from any thread
//   if (x.unsaved) drt_index_save(&x, &err);
//   drt_index_close(&x);
//
// The content is taken for the same when every file has its size, its time of change and the hash of pieces of it
// (sources.h) that it had. Where only the time differs (a copy, a checkout), the whole file is hashed and compared; a
// tar shard is then read anew, because most of it is pictures.
#ifndef DRT_DATA_INDEX_H
#define DRT_DATA_INDEX_H

#include "base/progress.h"
#include "data/record.h"
#include "data/sources.h"

enum {
    DRT_FACT_BAD = 1,        // no template can use it: a key, a turn, its placeholders
    DRT_FACT_NO_CAPTION = 2, // a template that writes captions cannot use it
    DRT_FACT_PICTURE = 4,    // look at its pictures again: one was missing or did not decode, as far as `seen` says
    DRT_FACT_SYNTAX = 8      // and BAD: a line or a shard's entry that is no JSON
};

typedef struct {
    uint64_t at;            // where it begins in its file: in a shard the header of its first entry
    uint32_t size, prompt;  // bytes; of which text in front of the first answer, at most
    int32_t file, words;    // words: LLaVA's length, at least 1
    uint16_t images, turns; // 65535 stands for that many and more
    uint32_t flags;
} drt_fact;

typedef struct {
    drt_sources sources;
    drt_fact *fact; // [n]
    int32_t n;
    drt_image_check seen; // how pictures were looked at: DRT_IMAGES_IGNORE, not at all
    uint64_t seen_in;     // digest of the folder that their names started from
    bool made, unsaved;   // made anew; differs from what the file beside the data says
} drt_index;

// DRT_EFORMAT: a syntax error in an array or between samples, with line and column (bytes, from 1); a damaged shard.
drt_status drt_index_open(drt_index *out, const char *path, drt_progress *progress, drt_error *err);
void drt_index_close(drt_index *x); // a zeroed one is allowed
drt_status drt_index_save(drt_index *x, drt_error *err);
// The record of sample i, pictures relative to `folder` (NULL: that of the data); `name` as drt_record_parse. picture:
// which pictures' bytes are read of a sample in a shard, by number or as below; of the others only the size is told.
// DRT_EDATA: it cannot be used, or is no JSON (DRT_FACT_SYNTAX).
enum { DRT_PICTURES_ALL = -1, DRT_PICTURES_NONE = -2 };
drt_status drt_index_record(const drt_index *x, int32_t i, const char *folder, int picture, drt_record **out,
                            char name[DRT_RECORD_NAME], drt_error *err);
// Where a sample lies for a person: *line of its file, from 1; 0 in a shard. *c, zeroed to begin with, counts on from
// sample to sample, which come in ascending order.
typedef struct {
    int file;
    uint64_t at;
    int64_t lines;
} drt_index_lines;
drt_status drt_index_line(const drt_index *x, int32_t i, drt_index_lines *c, int64_t *line, drt_error *err);
// What seen_in is for pictures that start from `folder` (NULL: that of the data), however that is spelled.
uint64_t drt_index_folder(const drt_index *x, const char *folder);
// Digest of the data as a whole; changes when any byte of it does (of a shard: when its sketch does).
uint64_t drt_index_digest(const drt_index *x);
// A file's bytes as an index of x->sources: what drt_index_open does with what it reads. DRT_EFORMAT says why not.
drt_status drt_index_parse(drt_index *x, const void *bytes, size_t size, drt_error *err);
void drt_index_print(const drt_index *x, drt_text *out); // the bytes of the file

#endif
