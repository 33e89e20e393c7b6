// A dataset in LLaVA's schema: one file with an array of samples or one sample a line, a folder of such files
// (*.jsonl, *.json, in the order of their names), or a shard of WebDataset or a folder of them (*.tar, data/tar.h). A
// sample is
//   {"id": "...", "image": "a.jpg" or ["a.jpg", ...], "conversations": [{"from": "human"|"gpt", "value": "..."}]}
// `id` and `image` are optional, other keys are ignored. Three more are ours and feed the contrastive training of a
// vision tower: "caption" (instead of `conversations`: becomes the turns "<image>", caption), "negatives": ["...", ...]
// and "patches": [[color, shape, size, word, background], ...].
//
//   drt_dataset *ds;
//   drt_text bad = {0};
//   if (drt_dataset_open(&ds, "train.json", "images", &(drt_dataset_options){.bad = &bad}, NULL, &err)) ...
//   for (int32_t i = 0; i < drt_dataset_size(ds); i++) {
//       drt_record *r;
//       if (drt_dataset_at(ds, i, &r, &err)) ...
//       drt_conversation_encode(how, tok, r->turns, r->n_turns, r->n_images, &e, &err);
//       drt_record_free(r);
//   }
//   drt_dataset_close(ds);
//
// The files must not change while they are open. In memory are 40 bytes a sample; a record is read and parsed when it
// is asked for. What must be known of all samples beforehand is kept beside the data (data/index.h). An open dataset is
// immutable: several threads may read it.
#ifndef DRT_DATA_DATASET_H
#define DRT_DATA_DATASET_H

#include "base/error.h"
#include "base/progress.h"
#include "base/text.h"
#include "data/conversation.h"
#include "format/image.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct drt_dataset drt_dataset;

enum { DRT_PATCH_LABELS = 5 }; // of a patch: colour, shape, size, word, background

typedef enum {
    DRT_IMAGES_EXIST,  // every image file must be there
    DRT_IMAGES_DECODE, // every image file is decoded in full (on all cores)
    DRT_IMAGES_IGNORE  // not looked at
} drt_image_check;

// What a model makes of a sample, so that those in which it would learn nothing are refused: when the context cuts
// off all answers.
typedef struct {
    const drt_tokenizer *tokenizer;
    int context;    // rows that a sequence has at most
    int image_rows; // that a picture takes
    int spare;      // rows of the context that a sample with pictures leaves to the directed token
} drt_dataset_rows;

typedef struct {
    bool skip; // false: a bad sample stops the opening; true: bad samples are left out, always the same ones
    drt_image_check images;
    const drt_template *how;      // also check what this template asks of a sample; NULL: what all ask
    const drt_dataset_rows *rows; // also refuse samples without a trained token, with `how`; NULL: not
    const char *quarantine;       // file of samples to leave out unasked (data/quarantine.h); NULL: none
    bool keep_index; // write the index beside the data when it is new; a folder that refuses it is no fault
    drt_text *bad;   // all bad samples are appended, one line each, also when opening fails; NULL: not wanted
} drt_dataset_options;

// image_folder: NULL for the folder of the data. options: NULL for all zero. progress may be NULL.
// DRT_EFORMAT: a syntax error, with line and column (bytes, from 1). DRT_EDATA: bad samples (their number, and the
// first 20 as far as the message has room), or no sample is left.
drt_status drt_dataset_open(drt_dataset **out, const char *path, const char *image_folder,
                            const drt_dataset_options *options, drt_progress *progress, drt_error *err);
void drt_dataset_close(drt_dataset *ds); // NULL is allowed

int32_t drt_dataset_size(const drt_dataset *ds);        // samples that can be used
int32_t drt_dataset_skipped(const drt_dataset *ds);     // bad samples left out
int32_t drt_dataset_quarantined(const drt_dataset *ds); // samples left out because the quarantine names them
const char *drt_dataset_path(const drt_dataset *ds);
uint64_t drt_dataset_digest(const drt_dataset *ds);   // of the files' content (drt_index_digest)
const char *drt_dataset_notes(const drt_dataset *ds); // what a person should know, a line each; ""
// LLaVA's lengths (LLAVA.md 4.1), [size]: words of all turns split at white space ("<image>" is a word), at least 1;
// negative for samples without images. What drt_sampler groups by.
const int32_t *drt_dataset_lengths(const drt_dataset *ds);

// The first sample of each tar shard, [*n]; *n 0: the data are in no shards, and it does not matter what is read when.
const int32_t *drt_dataset_shards(const drt_dataset *ds, int *n);

// A picture's file that came with its sample.
typedef struct {
    const unsigned char *bytes; // NULL: only its size is known
    size_t size;
} drt_held_picture;

typedef struct {
    int32_t index;       // position in the file, from 0; bad samples count
    const char *id;      // "" if the file gives none; a number is given as its digits
    const char **images; // [n_images] paths: image_folder joined with the file's spelling
    int n_images;
    const drt_held_picture *held; // [n_images] of a shard; NULL: pictures are files of their own
    drt_turn *turns;              // [n_turns]
    int n_turns;
    const char **negatives; // [n_negatives]
    int n_negatives;
    int16_t (*patches)[DRT_PATCH_LABELS]; // [n_patches] color, shape, size, word, background
    int n_patches;
    int32_t words; // |length|
} drt_record;

// Sample i of 0 <= i < size; *out is one block that lives on its own, drt_record_free releases it.
drt_status drt_dataset_at(const drt_dataset *ds, int32_t i, drt_record **out, drt_error *err);
// The same by its number in the data (drt_record.index), whether it can be used or not.
drt_status drt_dataset_numbered(const drt_dataset *ds, int32_t number, drt_record **out, drt_error *err);
void drt_record_free(drt_record *r); // NULL is allowed
// Picture k of a record, decoded; messages name it.
drt_status drt_record_image(const drt_record *r, int k, drt_image *image, drt_error *err);
// The bytes of its file. *owned is what the caller frees in the end: NULL where the record holds the bytes.
drt_status drt_record_picture(const drt_record *r, int k, const void **bytes, size_t *size, void **owned,
                              drt_error *err);
// Puts "FILE: sample 12 (id 'abc'): " in front of the message in *err; returns err->code.
drt_status drt_dataset_fail_in(const drt_dataset *ds, const drt_record *r, drt_error *err);

#endif
