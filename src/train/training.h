// A training, opened: the device, the model that the recipe starts from, the tape and the data. What is done with it is
// somebody else's: a run (run.h) writes a folder, a replay (replay.h) compares, work.c counts.
//
//   drt_training t;
//   drt_status status = drt_training_open(&t, &recipe, false, NULL, &err);
//   if (!status) status = drt_training_data(&t, 0, NULL, NULL, &err);
//   for (int64_t i = 0; !status && i < t.steps; i++) {
//       status = drt_training_measure(&t, i, &report, &err);
//       if (!status) status = drt_training_update(&t, i, &report, &err);
//   }
//   drt_training_close(&t);                            // also after a failure
#ifndef DRT_TRAIN_TRAINING_H
#define DRT_TRAIN_TRAINING_H

#include "kernels/count.h"
#include "train/step.h"

typedef struct {
    const drt_recipe *r;
    drt_device *dev;
    drt_counter count; // arithmetic since opening
    drt_tape *tape;
    drt_model *m;
    int32_t *bank; // [order.bank, cells]; NULL: no order objective
    int cells;
    drt_loader *loader;
    drt_step_data *data; // of the step that was measured last; NULL before the first
    int64_t steps;       // of the schedule
    drt_features *store; // the caller's, set before drt_training_data; NULL: features are not kept
} drt_training;

// Device, model and tape; progress (may be NULL) sees the weights being read. The recipe must outlive *t.
// dry: nothing will be computed and weights take no memory, but shapes, arithmetic and the tape's bytes are what they
// would be; the loader then gives shapes alone (drt_training_shape).
drt_status drt_training_open(drt_training *t, const drt_recipe *r, bool dry, drt_progress *progress, drt_error *err);
// The data from step `first` on, and t->steps. bad: as for drt_loader_open.
drt_status drt_training_data(drt_training *t, int64_t first, drt_progress *progress, drt_text *bad, drt_error *err);
// Losses and gradients of step `step` (0-based), which is the one that the data stand at; and its update.
drt_status drt_training_measure(drt_training *t, int64_t step, drt_step_report *report, drt_error *err);
drt_status drt_training_update(drt_training *t, int64_t step, const drt_step_report *report, drt_error *err);
// Forward and backward of any step of a dry training; what it takes is in t->tape, t->dev and t->count. data: whose
// arena is dry, too.
drt_status drt_training_shape(drt_training *t, int64_t step, drt_step_data *data, drt_error *err);
void drt_training_close(drt_training *t);

// The model that a recipe starts from, with the parts its objectives need; *bank: the permutation bank (malloc'ed
// [classes, cells]; NULL without image order), drawn from the seed or taken from the model's directed.safetensors.
// dry: the model's weights are addresses alone (drt_model_options). progress: reading weights; may be NULL.
drt_status drt_recipe_model(const drt_recipe *r, bool dry, drt_model **out, int32_t **bank, int *cells,
                            drt_progress *progress, drt_error *err);

#endif
