// Linear probes: what can be read off a vision tower's patch features by one linear layer. The features are those that
// LLaVA's projector reads (the selected layer, -2 for a CLIP folder, class row dropped); they are frozen, each column
// brought to mean 0 and deviation 1. Five softmax regressions tell the colour, shape and size of what covers a patch
// and the word on a sign (from the patches that have one), two more the row and the column of the patch (from all).
//
//   drt_probe_options o = {.data = "out/shapes"};
//   drt_probe_result r;
//   if (drt_probe_run(model, tape, &o, &r, &err)) ...
#ifndef DRT_EVAL_PROBE_H
#define DRT_EVAL_PROBE_H

#include "base/progress.h"
#include "model/model.h"

typedef enum {
    DRT_PROBE_COLOR,
    DRT_PROBE_SHAPE,
    DRT_PROBE_SIZE,
    DRT_PROBE_WORD,
    DRT_PROBE_ROW,
    DRT_PROBE_COLUMN,
    DRT_PROBES
} drt_probe_kind;
extern const char *const drt_probe_names[DRT_PROBES];

typedef struct {
    const char *data;       // folder: DIR/eval/clip.json with `patches` (docs/shapes.md), pictures relative to DIR
    int64_t limit;          // pictures; 0: 1000
    int batch;              // pictures through the tower at a time; 0: 64
    int steps;              // of AdamW on all training patches at once; 0: 300
    drt_progress *progress; // may be NULL
} drt_probe_options;

typedef struct {
    int classes;
    int64_t train, test; // patches
    double accuracy;     // on the test patches
    double chance;       // of always naming the class most frequent in training
} drt_probe_score;

typedef struct {
    int64_t train_pictures, test_pictures; // every fifth picture is held out
    int width;
    drt_probe_score probe[DRT_PROBES];
} drt_probe_result;

// Deterministic. model: CLIP or LLaVA, on a tape that may record. DRT_ECONFIG: no vision tower. DRT_EDATA: labels that
// do not fit the tower's patches, too few pictures.
drt_status drt_probe_run(const drt_model *model, drt_tape *tape, const drt_probe_options *options,
                         drt_probe_result *out, drt_error *err);
void drt_probe_table(const drt_probe_result *r, drt_text *out);
void drt_probe_json(const drt_probe_result *r, drt_text *out);

#endif
