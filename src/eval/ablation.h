// The report of an ablation: a base and its variations, each trained with several seeds, compared on the same tasks.
//
//   drt_ablation a = {.title = "Direct-LLaVA, part by part", .n_rows = 11, .rows = rows, .n_seeds = 3, .seeds = seeds};
//   if (drt_ablation_write(&a, "out/ablate", &err)) ...     // report.html, report.md, report.json
//   drt_ablation_table(&a, &text);                          // the same for a terminal
//
// Numbers are means over seeds with 95 % intervals (eval/statistics.h). Differences to the base are paired: a seed is
// one world and one order of samples, the same for all rows, so what it adds to both falls out. Two families of
// comparisons are each corrected by Holm: every row's mean over tasks, and every row on every task.
//
// Everything is borrowed; what was not measured is NaN. report.json holds title, compute, seeds, comparisons {mean,
// tasks}, verdict, and per variation tasks.TASK (and mean) = {values, mean, half, change: {mean, half, p, holm}} and
// blind, image_order, text_order, attention, flops, seconds = {values, mean, half}; null for NaN.
#ifndef DRT_EVAL_ABLATION_H
#define DRT_EVAL_ABLATION_H

#include "eval/report.h"

enum { DRT_ABLATION_ROWS = 32, DRT_ABLATION_SEEDS = 16, DRT_ABLATION_TASKS = 16 };

typedef struct {
    const char *name;
    const drt_report_model *seed; // [n_seeds]; its logs are drawn as the mean over seeds
} drt_ablation_row;

typedef struct {
    const char *title, *note, *command; // note, command: NULL: none
    bool equal_compute;                 // else equal samples
    int n_rows;                         // 1…DRT_ABLATION_ROWS, the first is the base
    const drt_ablation_row *rows;
    int n_seeds; // 1…DRT_ABLATION_SEEDS
    const uint64_t *seeds;
} drt_ablation;

drt_status drt_ablation_write(const drt_ablation *a, const char *folder, drt_error *err);
drt_status drt_ablation_table(const drt_ablation *a, drt_text *out, drt_error *err);
drt_status drt_ablation_json(const drt_ablation *a, drt_text *out, drt_error *err);
drt_status drt_ablation_markdown(const drt_ablation *a, drt_text *out, drt_error *err);
drt_status drt_ablation_html(const drt_ablation *a, drt_text *out, drt_error *err); // reads the logs

#endif
