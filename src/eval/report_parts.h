// What the faces of a report share, and other pages that look like it: data_report.c, ablation_html.c,
// train/preview_html.c.
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

int drt_report_characters(const char *s); // as many as a terminal shows
// Right-aligned in `width` characters (left-aligned if negative), whatever the bytes are.
void drt_report_cell(drt_text *out, int width, const char *s);
// Text inside a Markdown table: one line, bars and markup escaped.
void drt_report_escape(drt_text *out, const char *s);
// Writes folder/name atomically; DRT_ENOMEM if the text failed.
drt_status drt_report_save(const drt_text *text, const char *folder, const char *name, drt_error *err);

// The rows below the tasks: what the puzzles and the guidance taught.
typedef struct {
    const char *name;
    bool shown; // some model has a number
} drt_report_fact;
enum { DRT_REPORT_IMAGE_ORDER, DRT_REPORT_TEXT_ORDER, DRT_REPORT_GUIDED, DRT_REPORT_TIME, DRT_REPORT_FACTS };
drt_report_fact drt_report_fact_of(const drt_report *report, int fact);
// Appends one model's cell of such a row, "62.5 (chance 1.6)"; "–" if it was not measured.
void drt_report_fact_cell(const drt_report_model *model, int fact, drt_text *out);

// Appends one <figure> per stage and objective found in the models' logs; nothing if there are none. A model's logs of
// one stage are seeds of it: their mean is drawn.
drt_status drt_report_curves(const drt_report *report, drt_text *out, drt_error *err);

extern const char drt_report_style[]; // CSS of the page
// A page up to its title; more: CSS beside drt_report_style.
void drt_report_page_begin(const char *title, const char *more, drt_text *out);
// An <img> that holds its picture (JPEG, PNG or WebP); attributes: those beside alt and src.
void drt_report_picture(const char *attributes, const void *bytes, size_t n, drt_text *out);

#endif
