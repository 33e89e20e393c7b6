// Validation during training: the losses of a recipe over samples that nothing is learned from (data.validation), each
// exactly once, without dropout; which step was best; when to give up. Permutations and shuffled words are the same at
// every validation.
//
//   drt_validation *v;
//   if (drt_validation_open(&v, &training, progress, &err)) ...
//   if (drt_validation_run(v, step, stop, user, &report, &err)) ...
//   bool best = drt_best_add(&b, step, report.loss);
//   drt_validation_close(v);
#ifndef DRT_TRAIN_VALIDATION_H
#define DRT_TRAIN_VALIDATION_H

#include "eval/log_read.h"
#include "train/training.h"

typedef struct drt_validation drt_validation;

typedef struct {
    double loss;                 // by the recipe's weights, also where training has learned ones
    double part[DRT_OBJECTIVES]; // means over all samples; NaN: not there. sea is left out: its labels are of the data
    drt_score score[DRT_OBJECTIVES];
} drt_validation_report;

// t (its recipe, model, tape) must outlive *out. Errors as drt_loader_open.
drt_status drt_validation_open(drt_validation **out, const drt_training *t, drt_progress *progress, drt_error *err);
// After `step` steps; nothing of the training changes. stop (may be NULL) is asked before every batch: DRT_ESTOP.
drt_status drt_validation_run(drt_validation *v, int64_t step, int (*stop)(void *user), void *user,
                              drt_validation_report *report, drt_error *err);
// Of a dry training: the shapes of all batches, one after the other, in data->arena.
drt_status drt_validation_shape(drt_validation *v, drt_step_data *data, drt_error *err);
const drt_dataset *drt_validation_dataset(const drt_validation *v);
void drt_validation_close(drt_validation *v); // NULL is allowed

// The best validation so far. Zeroed at first.
typedef struct {
    double loss;
    int64_t step;  // at which it was; 0: none yet
    int64_t since; // validations after it
    int64_t last;  // step of the last one
} drt_best;

// Whether this one is the best: lower than all before. A loss that is not a number never is.
bool drt_best_add(drt_best *b, int64_t step, double loss);
// As a run log tells it ("validation.loss"); NULL: nothing.
void drt_best_remember(drt_best *b, const drt_run_log *log);

#endif
