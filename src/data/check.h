// The doctor of datasets: reads every sample and decodes every picture, on all cores, and says by name what is wrong.
//
//   drt_data_check_options o = {.eval = files, .n_eval = 2, .progress = &bar};
//   drt_data_check c;
//   if (drt_data_check_run(&c, "train.json", &o, &err)) ...
//   for (int64_t i = 0; i < c.n; i++) ... c.finding[i] ...
//   if (drt_data_check_save(&c, NULL, &err)) ...             // the quarantine list beside the data, and the index
//   drt_data_check_free(&c);
//
// Memory: some 150 bytes a sample and picture, the findings, and per thread one picture.
#ifndef DRT_DATA_CHECK_H
#define DRT_DATA_CHECK_H

#include "data/index.h"

typedef enum {
    DRT_FIND_SYNTAX,       // a line, or a shard's entry, that is no JSON
    DRT_FIND_MALFORMED,    // a key, a role, the order of turns
    DRT_FIND_EMPTY,        // an answer without a word
    DRT_FIND_PLACEHOLDERS, // as many <image> as pictures: not so
    DRT_FIND_MISSING,      // no such picture
    DRT_FIND_TRUNCATED,    // a picture's file ends too early
    DRT_FIND_CORRUPT,      // a picture does not decode, or with damage
    DRT_FIND_UNTRAINED,    // the context cuts off every answer
    DRT_FIND_EVALUATION,   // its picture, or without one its question, is in an evaluation file
    DRT_FIND_OVERLONG,     // the context cuts off some of it
    DRT_FIND_SAME,         // two files of pictures with the same bytes
    DRT_FIND_NEAR,         // two pictures that look the same
    DRT_FIND_NEAR_EVALUATION,
    DRT_FIND_KINDS
} drt_find_kind;

typedef struct {
    const char *name;   // "missing"
    const char *title;  // "Missing pictures"
    const char *advice; // what it means and what to do
    bool quarantined;   // training had better leave such samples out
} drt_find_about;
extern const drt_find_about drt_find_about_kind[DRT_FIND_KINDS];

// One thing that is wrong with one sample.
typedef struct {
    drt_find_kind kind;
    int32_t sample;             // its number in the data, from 0
    int32_t image;              // which of its pictures; -1: none of them
    int32_t other, other_image; // SAME, NEAR: the sample that has the other picture, which came first; else -1
    char *id, *text;            // malloc'ed; the sample's id, "" if it has none; what is wrong
} drt_finding;

typedef struct {
    const char *images;           // folder that pictures start from; NULL: that of the data
    const drt_template *how;      // with rows; NULL: only what all templates ask
    const drt_dataset_rows *rows; // a model's, to find what is too long; NULL: not looked for
    const char *const *eval;      // [n_eval] evaluation files: JSON lines with "image" and "text", or LLaVA's schema
    int n_eval;
    drt_progress *progress; // may be NULL
} drt_data_check_options;

typedef struct {
    drt_index index;
    const char *images;   // as asked
    drt_finding *finding; // [n], by sample, then kind
    int64_t n, of[DRT_FIND_KINDS], room;
    int32_t quarantined;     // samples
    int32_t *rows;           // [index.n] rows that a model sees of a sample, 0 where it cannot; NULL: no model
    int64_t uses, pictures;  // places where a picture is named; different ones
    int64_t bytes, pixels;   // of the pictures that were decoded
    int64_t failed, missing; // pictures that were not; of which those that are not there
    int64_t eval_questions, eval_pictures, eval_missing;
    double index_seconds, text_seconds, picture_seconds;
} drt_data_check;

// Everything that is found is a finding, not an error. Errors are DRT_EFORMAT (an array that is no JSON, a damaged
// shard), DRT_EIO, DRT_ENOMEM; *out is empty then.
drt_status drt_data_check_run(drt_data_check *out, const char *data, const drt_data_check_options *o, drt_error *err);
void drt_data_check_free(drt_data_check *c);
// Writes the quarantine list (path NULL: beside the data) and the index, which tells later openings that the pictures
// have been decoded. DRT_ECONFIG where not one picture was found, so that o->images was another folder than theirs:
// nothing is written then.
drt_status drt_data_check_save(drt_data_check *c, const char *path, drt_error *err);
// Whether a list of `drt data check` may be written to path (NULL: beside the data): DRT_ECONFIG where one stands that
// was written by hand.
drt_status drt_data_check_may_save(const char *data, const char *path, drt_error *err);

#endif
