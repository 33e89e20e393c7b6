// What the faces of a report share. Private to report*.c.
#ifndef DRT_EVAL_REPORT_PARTS_H
#define DRT_EVAL_REPORT_PARTS_H

#include "eval/report.h"

#include <stdbool.h>

enum { DRT_REPORT_MOST_TASKS = 64 };

// The names of all tasks of all models, in order of first appearance. Returns how many.
int drt_report_task_names(const drt_report *report, const char *names[DRT_REPORT_MOST_TASKS]);
// One model's result on a task; every number is NaN and n is 0 if it has none.
drt_report_task drt_report_result(const drt_report_model *model, const char *task);
// Means over the model's tasks of what was measured; name "mean".
drt_report_task drt_report_mean(const drt_report_model *model);
// Half of the 95 % interval of an accuracy over n questions (normal approximation); NaN without n.
double drt_report_margin(double accuracy, int64_t n);
// A fraction as per cent with one decimal, "–" for NaN.
const char *drt_report_percent(char out[16], double fraction);

// The rows below the tasks: what the puzzles and the guidance taught.
typedef struct {
    const char *name;
    bool shown; // some model has a number
} drt_report_fact;
enum { DRT_REPORT_IMAGE_ORDER, DRT_REPORT_TEXT_ORDER, DRT_REPORT_GUIDED, DRT_REPORT_TIME, DRT_REPORT_FACTS };
drt_report_fact drt_report_fact_of(const drt_report *report, int fact);
// Appends one model's cell of such a row, "62.5 (chance 1.6)"; "–" if it was not measured.
void drt_report_fact_cell(const drt_report_model *model, int fact, drt_text *out);

// Appends one <figure> per stage and objective found in the models' logs; nothing if there are none.
drt_status drt_report_curves(const drt_report *report, drt_text *out, drt_error *err);

extern const char drt_report_style[]; // CSS of the page

#endif
