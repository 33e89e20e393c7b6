// One training step, on one screen: passes → towers → splice → decoder → losses → backward → clip → AdamW.
#ifndef DRT_TRAIN_STEP_H
#define DRT_TRAIN_STEP_H

#include "align/forward.h"
#include "train/loader.h"
#include "train/recipe.h"

typedef struct {
    double loss;                 // weighted total
    double part[DRT_OBJECTIVES]; // each objective's mean over the step; NaN where it had no row
    drt_score score[DRT_OBJECTIVES];
    double grad_norm, lr;
    double moved, movable; // places of prompts with another row in them, of those that GPS fills
    int64_t rows;
    int64_t remembered; // pictures that the vision tower did not have to look at
} drt_step_report;

// Step `step` (0-based) of `steps`, without its update: losses, gradients and their norm. A loss or gradient that is
// not finite is DRT_ENUMERIC, naming the samples.
drt_status drt_train_measure(drt_tape *t, drt_model *m, const drt_recipe *r, const drt_align_options *options,
                             const drt_step_data *data, int64_t step, int64_t steps, drt_step_report *report,
                             drt_error *err);
// The update of a step that was measured.
drt_status drt_train_update(drt_device *dev, drt_model *m, const drt_recipe *r, int64_t step,
                            const drt_step_report *report, drt_error *err);
// Both.
drt_status drt_train_step(drt_tape *t, drt_model *m, const drt_recipe *r, const drt_align_options *options,
                          const drt_step_data *data, int64_t step, int64_t steps, drt_step_report *report,
                          drt_error *err);
// Forward and backward alone (tests, benches): gradients are added to those there are.
drt_status drt_train_gradients(drt_tape *t, drt_model *m, const drt_recipe *r, const drt_align_options *options,
                               const drt_step_data *data, drt_step_report *report, drt_error *err);
// Losses alone: nothing is recorded for a backward.
drt_status drt_train_losses(drt_tape *t, drt_model *m, const drt_recipe *r, const drt_align_options *options,
                            const drt_step_data *data, drt_step_report *report, drt_error *err);
// How many rows or samples an objective's mean is over.
int64_t drt_objective_count(const drt_totals *all, int objective);
double drt_objective_weight(const drt_recipe *r, int objective);

#endif
