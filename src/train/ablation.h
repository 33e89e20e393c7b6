// Ablations: a base of two recipes, variations of it, and seeds, from one YAML file to one table.
//
//   drt_ablation_plan p;
//   if (drt_ablation_load(&p, "configs/ablate-directed.yaml", n, (const char *const[]){"seeds=1,2", "steps=40"}, &err))
//   ... if (drt_ablation_run(&p, &hooks, &table, &err)) ... drt_ablation_plan_free(&p);
//
// The file:
//
//   title: Direct-LLaVA, part by part
//   out: out/ablate-directed
//   seeds: 1, 2, 3                       # of world and training, one experiment (train/experiment.h) each
//   compute: samples                     # or equal: as much arithmetic as the base, in other numbers of steps
//   tasks: exist, count                  # questions; left out: those of the demo
//   questions: 0                         # most of each task; 0: all
//   world: {train: 8000, eval: 400}      # pictures
//   base:
//     name: Direct-LLaVA
//     stage1: {recipe: configs/demo-direct-1.yaml, train.steps: 100}    # any keys of recipes
//     stage2: {recipe: configs/demo-direct-2.yaml}
//   variations:
//     no guided loss: {both: {objectives.guided: 0}}                    # both stages; or stage1, stage2
//     shuffled in stage 1 only: {stage2: {objectives.image_order: 0}}
//
// A variation's recipes are the base's, or its own where it names one (stage2: {recipe: FILE}), with the base's keys and
// then its own. Overrides set keys of the file (out, seeds, world.train, ...) or, where there is none of that name, keys
// of every stage of every variation.
//
// The folder: seedN/ as an experiment's, seedN/NAME/stage2/results.json, report.html, report.md, report.json. What is
// finished is not done again. The report is written after every seed, of those that are done.
#ifndef DRT_TRAIN_ABLATION_H
#define DRT_TRAIN_ABLATION_H

#include "base/arena.h"
#include "train/experiment.h"

enum { DRT_ABLATION_MOST_SEEDS = 16 };

typedef struct {
    drt_experiment e; // out, seed: the folder of all seeds, 0
    drt_experiment_model model[DRT_EXPERIMENT_MODELS];
    uint64_t seed[DRT_ABLATION_MOST_SEEDS];
    int seeds;
    char *command; // for the report; NULL: none. Whoever sets it owns it
    drt_arena *arena;
} drt_ablation_plan;

// Refuses what is unknown, missing or twice there, with file, line and column; and every recipe that does not load.
// On failure the plan is empty.
drt_status drt_ablation_load(drt_ablation_plan *p, const char *path, int n_overrides, const char *const *overrides,
                             drt_error *err);
void drt_ablation_plan_free(drt_ablation_plan *p);

// *table: the report as text for a terminal; may be NULL.
drt_status drt_ablation_run(const drt_ablation_plan *p, const drt_run_hooks *hooks, drt_text *table, drt_error *err);

#endif
