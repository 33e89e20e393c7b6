// A whole training run: model and data from a recipe, steps, checkpoints, log, the finished model.
//
//   drt_run_hooks hooks = {.progress = ..., .watch = drt_log_terminal, .watch_user = &screen};
//   if (drt_train_run(&recipe, &hooks, &result, &err)) ...
//
// The run folder: run.jsonl, recipe.yaml, checkpoints/step-N/, model/ (Hugging Face, with directed.safetensors beside
// it), or adapter/ (PEFT) of a run that trains one, curves.svg.
#ifndef DRT_TRAIN_RUN_H
#define DRT_TRAIN_RUN_H

#include "base/progress.h"
#include "train/recipe.h"
#include "train/run_log.h"

typedef struct {
    drt_progress *progress; // reading weights, checking the data; NULL: silent
    drt_log_report watch;   // the live line; NULL: silent
    void *watch_user;
    void (*say)(void *user, const char *line); // what a person should know (sizes, skipped samples); NULL: silent
    void *say_user;
    // Features of pictures, shared by the runs that it is given to one after the other; NULL: each run keeps its own.
    struct drt_features *store;
    int (*stop)(void *user); // asked before every step: nonzero saves a checkpoint and ends with DRT_ESTOP; NULL
    void *stop_user;
} drt_run_hooks;

typedef struct {
    int64_t steps, skipped;
    double loss, seconds, waited; // loss: of the last step, NAN where none was left; waited: seconds without data
    uint64_t weights;             // hash of what learns (drt_params_learned)
} drt_run_result;

drt_status drt_train_run(const drt_recipe *r, const drt_run_hooks *hooks, drt_run_result *result, drt_error *err);

// What the first `steps` of a run cost a step: floating-point operations of its products and attention, forward and
// backward, as counted from their shapes (kernels/count.h). Nothing is trained or written. What was done is in
// run.jsonl.
drt_status drt_train_flops(const drt_recipe *r, int64_t steps, double *flops, drt_error *err);
// The sum of a field ("flops", "seconds") over all steps of folder/run.jsonl: a resumed run counts whole.
drt_status drt_run_sum(const char *folder, const char *field, double *sum, drt_error *err);

#endif
