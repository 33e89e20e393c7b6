// An experiment: several models, each trained in two stages by recipes on the same world, then asked the same questions
// with the picture and without, and a report. What is done already is not done again.
//
//   drt_experiment e = {.out = "out/demo", .models = models, .n = 2, .train = 6000, .eval = 300, .seed = 1};
//   if (drt_experiment_run(&e, &hooks, &table, &err)) ...
//
// The folder: world/ (drt_shapes_generate), NAME/stage1, NAME/stage2 (run folders), NAME/results.json, report.html,
// report.md, report.json.
#ifndef DRT_TRAIN_EXPERIMENT_H
#define DRT_TRAIN_EXPERIMENT_H

#include "train/run.h"

typedef struct {
    const char *name;      // in the report and as a folder
    const char *title;     // for people
    const char *recipe[2]; // stage 1, stage 2; stage 2 starts from the model of stage 1
} drt_experiment_model;

typedef struct {
    const char *out, *title;
    const drt_experiment_model *models;
    int n;                       // 1…8
    int64_t train, eval;         // pictures of the world
    uint64_t seed;               // of the world and of training
    int64_t steps[2];            // steps of each stage, 0: as the recipes say
    int64_t limit;               // questions of a task, 0: all
    const char *const *override; // [n_override] "key=value" for every stage of every model
    int n_override;
} drt_experiment;

// *table: the report as text for a terminal; may be NULL.
drt_status drt_experiment_run(const drt_experiment *e, const drt_run_hooks *hooks, drt_text *table, drt_error *err);

#endif
