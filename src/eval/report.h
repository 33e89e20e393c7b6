// The report of an experiment: models side by side on the same tasks, with the picture and without it.
//
//   drt_report r = {.title = "LLaVA and Direct-LLaVA", .n_models = 2, .models = models, ...};
//   if (drt_report_write(&r, "out/demo", &err)) ...      // report.html, report.md, report.json
//   drt_text table = {0};
//   drt_report_table(&r, &table);                        // the same table for a terminal
//
// Everything is borrowed. Accuracies, masses and shares are fractions in [0, 1]; a number that was not measured is NaN
// (`null` in report.json, a dash elsewhere). report.json holds, per model, tasks.TASK = {sighted, blind,
// blind_restricted, prior, n}, image_order_accuracy, image_order_chance, text_order_exact, text_order_exact_blind,
// guided_mass = {before, after}, train_seconds and train_flops.
#ifndef DRT_EVAL_REPORT_H
#define DRT_EVAL_REPORT_H

#include "base/error.h"
#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name;
    double sighted;          // accuracy with the picture
    double blind;            // with the picture blacked out, free answers
    double blind_restricted; // the same, answers chosen among the task's own
    double prior;            // of always giving the task's most frequent answer
    int64_t n;               // questions
} drt_report_task;

typedef struct {
    const char *stage; // heading of its curves; the same name in several models overlays them
    const char *path;  // a run.jsonl
} drt_report_log;

typedef struct {
    const char *name;
    int n_tasks;
    const drt_report_task *tasks;
    double image_order_accuracy, image_order_chance;
    double text_order_exact, text_order_exact_blind; // share of sentences wholly put in order
    double guided_before, guided_after;              // attention mass from response to picture
    double train_seconds, train_flops;               // flops: of products and attention; 0: not counted
    int n_logs;
    const drt_report_log *logs;
} drt_report_model;

typedef struct {
    const void *picture; // bytes of a PNG, JPEG or WebP file; NULL: none
    size_t picture_size;
    const char *task, *question, *answer; // question without its prompt's suffix; answer: the right one
    const char *const *answers;           // one per model, NULL: none given
} drt_report_example;

typedef struct {
    const char *title, *note; // note: a paragraph under the title; NULL: none
    int n_models;             // 1…8
    const drt_report_model *models;
    int n_examples;
    const drt_report_example *examples;
    int n_commands; // shell lines that try the models; NULL and 0: none
    const char *const *commands;
} drt_report;

// Writes report.html (self-contained), report.md and report.json into `folder`, each atomically. Fails as files do,
// and as drt_run_log_read does if a log cannot be read.
drt_status drt_report_write(const drt_report *report, const char *folder, drt_error *err);

// The same as texts.
void drt_report_table(const drt_report *report, drt_text *out); // for a terminal, in characters only
void drt_report_json(const drt_report *report, drt_text *out);
void drt_report_model_json(const drt_report_model *model, drt_text *out); // the object of one model
void drt_report_markdown(const drt_report *report, drt_text *out);
drt_status drt_report_html(const drt_report *report, drt_text *out, drt_error *err); // reads the logs

#endif
