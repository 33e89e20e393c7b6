#include "eval/ablation.h"

#include "base/file.h"
#include "eval/ablation_parts.h"
#include "eval/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const drt_ablation_fact_keys[DRT_ABLATION_FACTS] = {"blind",     "image_order", "text_order",
                                                                "attention", "flops",       "seconds"};

double drt_ablation_value(const drt_ablation_view *v, int row, int t, int seed) {
    const drt_report_model *m = &v->a->rows[row].seed[seed];
    return t < v->n_tasks ? drt_report_result(m, v->task[t]).sighted : drt_report_mean(m).sighted;
}

double drt_ablation_fact(const drt_ablation_view *v, int row, int fact, int seed) {
    const drt_report_model *m = &v->a->rows[row].seed[seed];
    drt_report_task mean = drt_report_mean(m);
    const double all[DRT_ABLATION_FACTS] = {isnan(mean.blind_restricted) ? mean.blind : mean.blind_restricted,
                                            m->image_order_accuracy,
                                            m->text_order_exact,
                                            m->guided_after,
                                            m->train_flops > 0 ? m->train_flops : NAN,
                                            m->train_seconds > 0 ? m->train_seconds : NAN};
    return all[fact];
}

bool drt_ablation_significant(const drt_ablation_cell *c) { return c->holm < 0.05; }

static void fill_cell(drt_ablation_view *v, int row, int t) {
    double value[DRT_ABLATION_SEEDS], change[DRT_ABLATION_SEEDS];
    for (int s = 0; s < v->a->n_seeds; s++) {
        value[s] = drt_ablation_value(v, row, t, s);
        change[s] = value[s] - drt_ablation_value(v, 0, t, s);
    }
    drt_ablation_cell *c = &v->cell[row][t];
    c->value = drt_interval_of(value, v->a->n_seeds);
    c->change = drt_interval_of(change, v->a->n_seeds);
    c->holm = row ? c->change.p : NAN;
}

// Corrects the p of all rows over columns [from, to) as one family; returns how many comparisons it has.
static int correct(drt_ablation_view *v, int from, int to) {
    double p[DRT_ABLATION_ROWS * DRT_ABLATION_TASKS];
    int n = 0;
    for (int r = 1; r < v->a->n_rows; r++)
        for (int t = from; t < to; t++) p[n++] = v->cell[r][t].holm;
    int comparisons = drt_holm(p, n);
    n = 0;
    for (int r = 1; r < v->a->n_rows; r++)
        for (int t = from; t < to; t++) v->cell[r][t].holm = p[n++];
    return comparisons;
}

drt_status drt_ablation_look(const drt_ablation *a, drt_ablation_view **out, drt_error *err) {
    *out = NULL;
    if (a->n_rows < 1 || a->n_rows > DRT_ABLATION_ROWS || a->n_seeds < 1 || a->n_seeds > DRT_ABLATION_SEEDS)
        return drt_fail(err, DRT_EARG, "an ablation has 1 to %d variations and 1 to %d seeds, not %d and %d",
                        DRT_ABLATION_ROWS, DRT_ABLATION_SEEDS, a->n_rows, a->n_seeds);
    drt_ablation_view *v = calloc(1, sizeof *v);
    if (!v) return drt_fail(err, DRT_ENOMEM, "no memory for a report");
    v->a = a;
    for (; v->n_tasks < a->rows[0].seed[0].n_tasks && v->n_tasks < DRT_ABLATION_TASKS; v->n_tasks++)
        v->task[v->n_tasks] = a->rows[0].seed[0].tasks[v->n_tasks].name;
    for (int r = 0; r < a->n_rows; r++) {
        for (int t = 0; t <= v->n_tasks; t++) fill_cell(v, r, t);
        for (int f = 0; f < DRT_ABLATION_FACTS; f++) {
            double value[DRT_ABLATION_SEEDS];
            for (int s = 0; s < a->n_seeds; s++) value[s] = drt_ablation_fact(v, r, f, s);
            v->fact[r][f] = drt_interval_of(value, a->n_seeds);
        }
    }
    v->task_comparisons = correct(v, 0, v->n_tasks);
    v->comparisons = correct(v, v->n_tasks, v->n_tasks + 1);
    *out = v;
    return DRT_OK;
}

const drt_ablation_cell *drt_ablation_cell_at(const drt_ablation_view *v, int row, int column) {
    return &v->cell[row][column ? column - 1 : v->n_tasks];
}

// ---- cells ---------------------------------------------------------------------------------------------------------

int drt_ablation_first(int table) { return table == DRT_ABLATION_CHANGE; }

int drt_ablation_columns(const drt_ablation_view *v, int table) {
    return table == DRT_ABLATION_REST ? DRT_ABLATION_FACTS : v->n_tasks + 1;
}

const char *drt_ablation_heading(const drt_ablation_view *v, int table, int column) {
    static const char *const facts[DRT_ABLATION_FACTS] = {"blind mean", "image order", "text order",
                                                          "attention",  "TFLOP",       "minutes"};
    if (table == DRT_ABLATION_REST) return facts[column];
    return column ? v->task[column - 1] : "mean";
}

void drt_ablation_caption(const drt_ablation_view *v, int table, drt_text *out) {
    const char *over = v->a->n_seeds > 1 ? " ± half a 95 % interval" : "";
    if (table == DRT_ABLATION_ACCURACY)
        drt_text_printf(out, "Accuracy with the picture, %%: mean of %d seed%s%s", v->a->n_seeds,
                        v->a->n_seeds > 1 ? "s" : "", over);
    else if (table == DRT_ABLATION_CHANGE)
        drt_text_printf(out, "Difference to %s, points, paired by seed%s; * significant", v->a->rows[0].name, over);
    else
        drt_text_puts(out, "With a black picture (answers restricted), permutations named, sentences wholly in order, "
                           "attention on the picture, all in %; arithmetic and time of both trainings");
}

static void put_interval(drt_interval i, double scale, const char *format, drt_text *out) {
    if (isnan(i.mean)) {
        drt_text_puts(out, "–");
        return;
    }
    drt_text_printf(out, format, scale * i.mean);
    if (!isnan(i.half)) drt_text_printf(out, " ± %.1f", scale * i.half);
}

void drt_ablation_put(const drt_ablation_view *v, int table, int row, int column, drt_text *out) {
    if (table == DRT_ABLATION_REST) {
        static const double scale[DRT_ABLATION_FACTS] = {100, 100, 100, 100, 1e-12, 1.0 / 60};
        bool cost = column == DRT_ABLATION_FLOPS || column == DRT_ABLATION_TIME;
        drt_interval i = v->fact[row][column];
        if (cost) i.half = NAN; // known, not measured
        put_interval(i, scale[column], cost ? "%.3g" : "%.1f", out);
        return;
    }
    const drt_ablation_cell *c = drt_ablation_cell_at(v, row, column);
    if (table == DRT_ABLATION_ACCURACY) put_interval(c->value, 100, "%.1f", out);
    else put_interval(c->change, 100, "%+.1f", out);
    if (table == DRT_ABLATION_CHANGE && drt_ablation_significant(c)) drt_text_puts(out, " *");
}

// The names of the rows whose mean differs significantly, or does not.
static int put_names(const drt_ablation_view *v, bool significant, drt_text *out) {
    int n = 0;
    for (int r = 1; r < v->a->n_rows; r++) {
        const drt_ablation_cell *c = &v->cell[r][v->n_tasks];
        if (isnan(c->holm) || drt_ablation_significant(c) != significant) continue;
        drt_text_printf(out, "%s%s", n++ ? "; " : "", v->a->rows[r].name);
    }
    if (!n) drt_text_puts(out, "none");
    return n;
}

void drt_ablation_verdict(const drt_ablation_view *v, drt_text *out) {
    int marked = 0;
    if (v->a->n_rows < 2) return;
    if (v->a->n_seeds < 2) {
        drt_text_puts(out, "One seed: no difference can be told from chance; two or more give intervals and tests.");
        return;
    }
    for (int r = 1; r < v->a->n_rows; r++)
        for (int t = 0; t < v->n_tasks; t++) marked += drt_ablation_significant(&v->cell[r][t]);
    drt_text_printf(out,
                    "Not significantly different from %s on the mean of the tasks (5 %%, paired t-test over %d "
                    "seeds, Holm's correction for %d comparison%s): ",
                    v->a->rows[0].name, v->a->n_seeds, v->comparisons, v->comparisons > 1 ? "s" : "");
    put_names(v, false, out);
    drt_text_puts(out, ". Significantly different: ");
    put_names(v, true, out);
    drt_text_printf(out, ". Of %d differences on single tasks %d %s significant (Holm's correction for all of them).",
                    v->task_comparisons, marked, marked == 1 ? "is" : "are");
}

// ---- faces in characters -------------------------------------------------------------------------------------------

static drt_status failed(const drt_text *out, drt_error *err) {
    return out->failed ? drt_fail(err, DRT_ENOMEM, "no memory for a report") : DRT_OK;
}

static int width_of(const drt_ablation_view *v, int table, int column) {
    int width = drt_report_characters(drt_ablation_heading(v, table, column));
    for (int r = drt_ablation_first(table); r < v->a->n_rows; r++) {
        drt_text cell = {0};
        drt_ablation_put(v, table, r, column, &cell);
        int n = cell.bytes ? drt_report_characters(cell.bytes) : 0;
        if (n > width) width = n;
        drt_text_free(&cell);
    }
    return width;
}

static void put_table(const drt_ablation_view *v, int table, drt_text *out) {
    int name = 0, n = drt_ablation_columns(v, table), width[DRT_ABLATION_TASKS + 1];
    for (int r = 0; r < v->a->n_rows; r++)
        if (drt_report_characters(v->a->rows[r].name) > name) name = drt_report_characters(v->a->rows[r].name);
    drt_ablation_caption(v, table, out);
    drt_text_puts(out, "\n");
    drt_report_cell(out, name, "");
    for (int c = 0; c < n; c++) {
        width[c] = width_of(v, table, c);
        drt_text_puts(out, "  ");
        drt_report_cell(out, width[c], drt_ablation_heading(v, table, c));
    }
    for (int r = drt_ablation_first(table); r < v->a->n_rows; r++) {
        drt_text_puts(out, "\n");
        drt_report_cell(out, -name, v->a->rows[r].name);
        for (int c = 0; c < n; c++) {
            drt_text cell = {0};
            drt_ablation_put(v, table, r, c, &cell);
            drt_text_puts(out, "  ");
            drt_report_cell(out, width[c], cell.bytes ? cell.bytes : "");
            drt_text_free(&cell);
        }
    }
    drt_text_puts(out, "\n\n");
}

drt_status drt_ablation_table(const drt_ablation *a, drt_text *out, drt_error *err) {
    drt_ablation_view *v;
    drt_status status = drt_ablation_look(a, &v, err);
    if (status) return status;
    for (int t = 0; t < DRT_ABLATION_TABLES; t++)
        if (drt_ablation_first(t) < a->n_rows) put_table(v, t, out);
    drt_ablation_verdict(v, out);
    drt_text_puts(out, "\n");
    free(v);
    return failed(out, err);
}

static void put_markdown_table(const drt_ablation_view *v, int table, drt_text *out) {
    int n = drt_ablation_columns(v, table);
    drt_ablation_caption(v, table, out);
    drt_text_puts(out, ".\n\n| |");
    for (int c = 0; c < n; c++) {
        drt_text_puts(out, " ");
        drt_report_escape(out, drt_ablation_heading(v, table, c));
        drt_text_puts(out, " |");
    }
    drt_text_puts(out, "\n|---|");
    for (int c = 0; c < n; c++) drt_text_puts(out, "---:|");
    for (int r = drt_ablation_first(table); r < v->a->n_rows; r++) {
        drt_text_puts(out, "\n| ");
        drt_report_escape(out, v->a->rows[r].name);
        drt_text_puts(out, " |");
        for (int c = 0; c < n; c++) {
            drt_text cell = {0};
            drt_ablation_put(v, table, r, c, &cell);
            drt_text_puts(out, " ");
            drt_report_escape(out, cell.bytes ? cell.bytes : "");
            drt_text_puts(out, " |");
            drt_text_free(&cell);
        }
    }
    drt_text_puts(out, "\n\n");
}

drt_status drt_ablation_markdown(const drt_ablation *a, drt_text *out, drt_error *err) {
    drt_ablation_view *v;
    drt_status status = drt_ablation_look(a, &v, err);
    if (status) return status;
    drt_text_printf(out, "# %s\n\n", a->title);
    if (a->note) drt_text_printf(out, "%s\n\n", a->note);
    drt_ablation_verdict(v, out);
    drt_text_puts(out, "\n\n");
    for (int t = 0; t < DRT_ABLATION_TABLES; t++)
        if (drt_ablation_first(t) < a->n_rows) put_markdown_table(v, t, out);
    if (a->command) drt_text_printf(out, "Made by\n\n    %s\n", a->command);
    free(v);
    return failed(out, err);
}

// ---- JSON ----------------------------------------------------------------------------------------------------------

static void put_number(drt_text *out, const char *before, double value) {
    drt_text_puts(out, before);
    if (isfinite(value)) drt_text_printf(out, "%.6g", value);
    else drt_text_puts(out, "null");
}

// "name": {"values": [...], "mean": ..., "half": ... -- left open
static void put_values(const drt_ablation_view *v, const char *name, const double *value, drt_interval i,
                       drt_text *out) {
    drt_text_puts(out, "\n      ");
    drt_text_json(out, name);
    drt_text_puts(out, ": {\"values\": [");
    for (int s = 0; s < v->a->n_seeds; s++) put_number(out, s ? ", " : "", value[s]);
    put_number(out, "], \"mean\": ", i.mean);
    put_number(out, ", \"half\": ", i.half);
}

static void put_row(const drt_ablation_view *v, int row, drt_text *out) {
    double value[DRT_ABLATION_SEEDS];
    drt_text_puts(out, "    ");
    drt_text_json(out, v->a->rows[row].name);
    drt_text_puts(out, ": {\"tasks\": {");
    for (int t = 0; t <= v->n_tasks; t++) {
        const drt_ablation_cell *c = &v->cell[row][t];
        for (int s = 0; s < v->a->n_seeds; s++) value[s] = drt_ablation_value(v, row, t, s);
        put_values(v, t < v->n_tasks ? v->task[t] : "mean", value, c->value, out);
        put_number(out, ", \"change\": {\"mean\": ", row ? c->change.mean : NAN);
        put_number(out, ", \"half\": ", row ? c->change.half : NAN);
        put_number(out, ", \"p\": ", row ? c->change.p : NAN);
        put_number(out, ", \"holm\": ", c->holm);
        drt_text_puts(out, t < v->n_tasks ? "}}," : "}}},");
    }
    for (int f = 0; f < DRT_ABLATION_FACTS; f++) {
        for (int s = 0; s < v->a->n_seeds; s++) value[s] = drt_ablation_fact(v, row, f, s);
        put_values(v, drt_ablation_fact_keys[f], value, v->fact[row][f], out);
        drt_text_puts(out, f + 1 < DRT_ABLATION_FACTS ? "}," : "}}");
    }
}

drt_status drt_ablation_json(const drt_ablation *a, drt_text *out, drt_error *err) {
    drt_ablation_view *v;
    drt_text verdict = {0};
    drt_status status = drt_ablation_look(a, &v, err);
    if (status) return status;
    drt_text_puts(out, "{\n  \"title\": ");
    drt_text_json(out, a->title);
    drt_text_printf(out, ",\n  \"compute\": \"%s\",\n  \"seeds\": [", a->equal_compute ? "equal" : "samples");
    for (int s = 0; s < a->n_seeds; s++) drt_text_printf(out, "%s%llu", s ? ", " : "", (unsigned long long)a->seeds[s]);
    drt_text_printf(out, "],\n  \"comparisons\": {\"mean\": %d, \"tasks\": %d},\n  \"verdict\": ", v->comparisons,
                    v->task_comparisons);
    drt_ablation_verdict(v, &verdict);
    drt_text_json(out, verdict.bytes ? verdict.bytes : "");
    drt_text_puts(out, ",\n  \"variations\": {\n");
    for (int r = 0; r < a->n_rows; r++) {
        put_row(v, r, out);
        drt_text_puts(out, r + 1 < a->n_rows ? ",\n" : "\n");
    }
    drt_text_puts(out, "  }\n}\n");
    out->failed |= verdict.failed;
    drt_text_free(&verdict);
    free(v);
    return failed(out, err);
}

drt_status drt_ablation_write(const drt_ablation *a, const char *folder, drt_error *err) {
    drt_status (*const face[])(const drt_ablation *, drt_text *,
                               drt_error *) = {drt_ablation_html, drt_ablation_markdown, drt_ablation_json};
    static const char *const name[] = {"report.html", "report.md", "report.json"};
    drt_status status = drt_make_folders(folder, err);
    for (int i = 0; i < 3 && !status; i++) {
        drt_text text = {0};
        status = face[i](a, &text, err);
        if (!status) status = drt_report_save(&text, folder, name[i], err);
        drt_text_free(&text);
    }
    return status;
}
