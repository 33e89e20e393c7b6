// Inside an experiment: what was found out about each model, and the report of it.
#ifndef DRT_TRAIN_EXPERIMENT_PARTS_H
#define DRT_TRAIN_EXPERIMENT_PARTS_H

#include "eval/puzzles.h"
#include "eval/tasks.h"
#include "train/experiment.h"

enum { PATH_ROOM = 3000, DRT_EXPERIMENT_MODELS = 8 };

typedef struct {
    drt_eval_result sighted, blind;
    drt_rate image_order; // count 0: the model has no order head
    int classes;
    drt_rate order, order_blind; // text order
    drt_rate mass_before, mass_after;
    double train_seconds;
} drt_findings;
void drt_findings_free(drt_findings *f);

void drt_experiment_say(const drt_run_hooks *hooks, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Puts all questions and puzzles to model i. first: the recipe of its stage 1 (what it started from).
drt_status drt_experiment_examine(const drt_experiment *e, int i, const drt_recipe *first, const drt_run_hooks *hooks,
                                  drt_findings *f, drt_error *err);
drt_status drt_experiment_report(const drt_experiment *e, const drt_findings *found, drt_text *table, drt_error *err);

#endif
