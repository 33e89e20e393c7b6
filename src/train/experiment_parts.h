// Inside an experiment: its trainings, what was found out about each model, and the report of it.
#ifndef DRT_TRAIN_EXPERIMENT_PARTS_H
#define DRT_TRAIN_EXPERIMENT_PARTS_H

#include "eval/puzzles.h"
#include "eval/report.h"
#include "eval/tasks.h"
#include "train/experiment.h"

enum { PATH_ROOM = 3000 };

// ---- trainings -----------------------------------------------------------------------------------------------------
typedef struct {
    drt_recipe recipe[2]; // as they are run; the second one's `model` is stage 1 of model `from`
    int from;             // the model itself, or an earlier one with the same stage 1
} drt_experiment_plan;

// The recipes of all models [e->n], malloc'ed. DRT_ECONFIG: a key of a recipe that the experiment sets, two models that
// are the same, a finished run that was made by another recipe.
drt_status drt_experiment_plans(const drt_experiment *e, drt_experiment_plan **out, drt_error *err);
void drt_experiment_plans_free(drt_experiment_plan *plans, int n);
// Draws the world and runs every stage that is not finished.
drt_status drt_experiment_train(const drt_experiment *e, drt_experiment_plan *plans, const drt_run_hooks *hooks,
                                drt_error *err);
void drt_experiment_folder(const drt_experiment *e, int model, int stage, char out[PATH_ROOM]); // of a run

// ---- findings ------------------------------------------------------------------------------------------------------
typedef struct {
    drt_eval_result sighted, blind;
    drt_rate image_order; // count 0: the model has no order head
    int classes;
    drt_rate order, order_blind; // text order
    drt_rate mass_before, mass_after;
    double train_seconds, train_flops;
} drt_findings;
void drt_findings_free(drt_findings *f);

// The same as numbers of a report; names are those of the findings and of the experiment.
typedef struct {
    drt_report_model model;
    drt_report_task task[DRT_EXPERIMENT_TASKS];
    drt_report_log log[2];
    char path[2][PATH_ROOM];
} drt_numbers;
void drt_experiment_numbers(const drt_experiment *e, int model, const drt_findings *f, drt_numbers *out);
// The logs of its two stages; from: as planned.
void drt_experiment_logs(const drt_experiment *e, int model, int from, drt_report_log log[2], char path[2][PATH_ROOM]);

void drt_experiment_say(const drt_run_hooks *hooks, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Puts all questions and puzzles to a model.
drt_status drt_experiment_examine(const drt_experiment *e, int model, const drt_experiment_plan *plan,
                                  const drt_run_hooks *hooks, drt_findings *f, drt_error *err);
drt_status drt_experiment_report(const drt_experiment *e, const drt_experiment_plan *plans, const drt_findings *found,
                                 drt_text *table, drt_error *err);

#endif
