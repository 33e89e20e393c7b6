// What the faces of an ablation's report share. Private to ablation*.c.
#ifndef DRT_EVAL_ABLATION_PARTS_H
#define DRT_EVAL_ABLATION_PARTS_H

#include "eval/ablation.h"
#include "eval/statistics.h"

typedef struct {
    drt_interval value, change; // over seeds; change: paired differences to the base
    double holm;                // p of the change, corrected within its family; NaN of the base
} drt_ablation_cell;

enum {
    DRT_ABLATION_BLIND,
    DRT_ABLATION_IMAGE,
    DRT_ABLATION_TEXT,
    DRT_ABLATION_MASS,
    DRT_ABLATION_FLOPS,
    DRT_ABLATION_TIME,
    DRT_ABLATION_FACTS
};
extern const char *const drt_ablation_fact_keys[DRT_ABLATION_FACTS]; // in report.json

typedef struct {
    const drt_ablation *a;
    int n_tasks;
    const char *task[DRT_ABLATION_TASKS];
    drt_ablation_cell cell[DRT_ABLATION_ROWS][DRT_ABLATION_TASKS + 1]; // [n_tasks]: the mean over the tasks
    drt_interval fact[DRT_ABLATION_ROWS][DRT_ABLATION_FACTS];
    int comparisons, task_comparisons;
} drt_ablation_view;

// *out: malloc'ed. DRT_EARG: more rows or seeds than there may be.
drt_status drt_ablation_look(const drt_ablation *a, drt_ablation_view **out, drt_error *err);
bool drt_ablation_significant(const drt_ablation_cell *c); // at 5 %, after correction
// One seed's number of a row: accuracy of task t (n_tasks: their mean), or a fact.
double drt_ablation_value(const drt_ablation_view *v, int row, int t, int seed);
double drt_ablation_fact(const drt_ablation_view *v, int row, int fact, int seed);

// The tables of a report as cells of text: rows from drt_ablation_first on, columns behind the row's name.
enum { DRT_ABLATION_ACCURACY, DRT_ABLATION_CHANGE, DRT_ABLATION_REST, DRT_ABLATION_TABLES };
void drt_ablation_caption(const drt_ablation_view *v, int table, drt_text *out);
int drt_ablation_first(int table);
int drt_ablation_columns(const drt_ablation_view *v, int table);
// Of the first two tables: column 0 is the mean, the others are the tasks.
const drt_ablation_cell *drt_ablation_cell_at(const drt_ablation_view *v, int row, int column);
const char *drt_ablation_heading(const drt_ablation_view *v, int table, int column);
void drt_ablation_put(const drt_ablation_view *v, int table, int row, int column, drt_text *out);
// What is significant and what is not, in sentences.
void drt_ablation_verdict(const drt_ablation_view *v, drt_text *out);

#endif
