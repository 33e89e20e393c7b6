// An experiment: several models, each trained in two stages by recipes on the same world, then asked the same questions
// with the picture and without, and a report. What is done already is not done again; what was done by another recipe
// is refused before the first step.
//
//   drt_experiment e = {.out = "out/demo", .models = models, .n = 2, .train = 6000, .eval = 300, .seed = 1};
//   if (drt_experiment_run(&e, &hooks, &table, &err)) ...
//
// The folder: world/ (drt_shapes_generate), NAME/stage1, NAME/stage2 (run folders), report.html, report.md,
// report.json. A model whose stage 1 is that of an earlier one, key by key, starts from that one's and has no folder of
// its own.
//
// One seed is one experiment; several of them are an ablation (train/ablation.h).
#ifndef DRT_TRAIN_EXPERIMENT_H
#define DRT_TRAIN_EXPERIMENT_H

#include "train/run.h"

typedef struct {
    const char *name;      // as a folder
    const char *title;     // for people
    const char *recipe[2]; // stage 1, stage 2; stage 2 starts from the model of stage 1
    // [n_keys[stage]] what is different from the recipe: "key=value"
    const char *const *key[2];
    int n_keys[2];
} drt_experiment_model;

typedef struct {
    const char *out, *title;
    const drt_experiment_model *models;
    int n;
    int64_t train, eval;      // pictures of the world
    uint64_t seed;            // of the world and of training
    int64_t limit;            // questions of a task, 0: all
    const char *const *tasks; // [n_tasks] names in the world; NULL: exist count color relation text choice
    int n_tasks;
    const char *const *override; // [n_override] "key=value" for every stage of every model, stronger than its own
    int n_override;
    // Steps of each later model's stage so many that its arithmetic (kernels/count.h) is as much as that of models[0].
    bool equal_compute;
} drt_experiment;

enum { DRT_EXPERIMENT_MODELS = 32, DRT_EXPERIMENT_TASKS = 16 };

// *table: the report as text for a terminal; may be NULL. Of at most eight models.
drt_status drt_experiment_run(const drt_experiment *e, const drt_run_hooks *hooks, drt_text *table, drt_error *err);

#endif
