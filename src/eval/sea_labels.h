// Makes a file of word labels (data/word_labels.h): the words of a list that are most like each patch of every picture
// of a data set, as a CLIP or SigLIP folder sees it (SEA, METHODS 3).
//
//   drt_sea_labels_options o = {.words = "words.txt", .data = "pretrain.json", .out = "labels.sea"};
//   drt_sea_labels_result r;
//   if (drt_sea_labels(model, tape, &o, &r, &err)) ...
//
// Words are encoded once, chunk by chunk, into an unnamed file beside `out`; pictures then run in batches past all of
// them. Memory is that of a batch and a chunk, and 16 bytes a picture.
#ifndef DRT_EVAL_SEA_LABELS_H
#define DRT_EVAL_SEA_LABELS_H

#include "align/sea.h"
#include "base/progress.h"
#include "model/model.h"

typedef struct {
    const char *words;         // one a line
    const char *data, *images; // LLaVA's JSON; images NULL: the folder of `data`
    const char *out;
    drt_sea_negate negate; // AUTO: CLIP's scores are -cosine, SigLIP's the cosine
    drt_aspect aspect;     // as training will prepare pictures (data.aspect)
    int64_t limit;         // the first n samples; 0: all
    int most;              // labels of a patch; 0: 10
    int batch, chunk;      // pictures and words at a time; 0: 8 and 1024
    drt_progress *progress;
} drt_sea_labels_options;

typedef struct {
    int64_t pictures, words, patches, labelled; // patches with a label
    bool negated;
} drt_sea_labels_result;

// DRT_ECONFIG: the model has no text tower or no head (says which methods still work); DRT_EDATA: the list, a picture,
// or no patch got a label. Pictures that are alike to the byte are labelled once.
drt_status drt_sea_labels(const drt_model *m, drt_tape *t, const drt_sea_labels_options *options,
                          drt_sea_labels_result *out, drt_error *err);

#endif
