// A report in characters: the terminal's table and report.md.
#include "eval/report_parts.h"
#include "eval/text_metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME = 12, BLOCK = 28, PRIOR = 8 };

int drt_report_characters(const char *s) {
    int n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void drt_report_cell(drt_text *out, int width, const char *s) {
    int pad = (width < 0 ? -width : width) - drt_report_characters(s);
    if (width < 0) drt_text_puts(out, s);
    while (pad-- > 0) drt_text_puts(out, " ");
    if (width > 0) drt_text_puts(out, s);
}

static void put_rule(const drt_report *r, int name, drt_text *out) {
    for (int i = 0; i < name + PRIOR + r->n_models * (BLOCK + 2); i++) drt_text_puts(out, "─");
    drt_text_puts(out, "\n");
}

static void put_row(const drt_report *r, int name, const char *task, drt_text *out) {
    char number[16];
    drt_report_cell(out, -name, task ? task : "mean");
    for (int m = 0; m < r->n_models; m++) {
        drt_report_task t = task ? drt_report_result(&r->models[m], task) : drt_report_mean(&r->models[m]);
        if (!m) drt_report_cell(out, PRIOR, drt_report_percent(number, t.prior));
        drt_text_puts(out, "  ");
        drt_report_cell(out, 9, drt_report_percent(number, t.sighted));
        drt_report_cell(out, 8, drt_report_percent(number, t.blind));
        drt_report_cell(out, 11, drt_report_percent(number, t.blind_restricted));
    }
    drt_text_puts(out, "\n");
}

void drt_report_table(const drt_report *r, drt_text *out) {
    const char *tasks[DRT_REPORT_MOST_TASKS];
    int n = drt_report_task_names(r, tasks), name = NAME;
    for (int t = 0; t < n; t++)
        if (drt_report_characters(tasks[t]) + 1 > name) name = drt_report_characters(tasks[t]) + 1;
    for (int f = 0; f < DRT_REPORT_FACTS; f++) {
        drt_report_fact fact = drt_report_fact_of(r, f);
        if (fact.shown && drt_report_characters(fact.name) + 1 - PRIOR > name)
            name = drt_report_characters(fact.name) + 1 - PRIOR;
    }
    drt_report_cell(out, name + PRIOR, "");
    for (int m = 0; m < r->n_models; m++) {
        drt_text_puts(out, "  ");
        drt_report_cell(out, BLOCK, r->models[m].name);
    }
    drt_text_puts(out, "\n");
    drt_report_cell(out, -name, "accuracy, %");
    drt_report_cell(out, PRIOR, "prior");
    for (int m = 0; m < r->n_models; m++) drt_text_puts(out, "    sighted   blind restricted");
    drt_text_puts(out, "\n");
    put_rule(r, name, out);
    for (int t = 0; t < n; t++) put_row(r, name, tasks[t], out);
    put_rule(r, name, out);
    if (n > 1) put_row(r, name, NULL, out);
    for (int f = 0; f < DRT_REPORT_FACTS; f++) {
        drt_report_fact fact = drt_report_fact_of(r, f);
        if (!fact.shown) continue;
        drt_report_cell(out, -(name + PRIOR), fact.name);
        for (int m = 0; m < r->n_models; m++) {
            drt_text cell = {0};
            drt_report_fact_cell(&r->models[m], f, &cell);
            drt_text_puts(out, "  ");
            drt_report_cell(out, BLOCK, cell.failed ? "" : cell.bytes);
            drt_text_free(&cell);
        }
        drt_text_puts(out, "\n");
    }
}

void drt_report_escape(drt_text *out, const char *s) {
    for (; *s; s++) {
        if (*s == '\n') drt_text_puts(out, " ");
        else if (strchr("|\\`*_<[", *s)) drt_text_printf(out, "\\%c", *s);
        else drt_text_add(out, s, 1);
    }
}

static void put_markdown_row(const drt_report *r, const char *task, drt_text *out) {
    char a[16], b[16], c[16];
    drt_text_puts(out, "| ");
    drt_report_escape(out, task ? task : "mean");
    for (int m = 0; m < r->n_models; m++) {
        drt_report_task t = task ? drt_report_result(&r->models[m], task) : drt_report_mean(&r->models[m]);
        double margin = task ? drt_report_margin(t.sighted, t.n) : NAN;
        if (!m) drt_text_printf(out, " | %lld | %s", (long long)t.n, drt_report_percent(a, t.prior));
        drt_text_printf(out, " | %s", drt_report_percent(a, t.sighted));
        if (!isnan(margin)) drt_text_printf(out, " ± %s", drt_report_percent(a, margin));
        drt_text_printf(out, " | %s | %s", drt_report_percent(b, t.blind), drt_report_percent(c, t.blind_restricted));
    }
    drt_text_puts(out, " |\n");
}

static void put_markdown_facts(const drt_report *r, drt_text *out) {
    drt_text_puts(out, "\n| |");
    for (int m = 0; m < r->n_models; m++) {
        drt_text_puts(out, " ");
        drt_report_escape(out, r->models[m].name);
        drt_text_puts(out, " |");
    }
    drt_text_puts(out, "\n|---|");
    for (int m = 0; m < r->n_models; m++) drt_text_puts(out, "---:|");
    drt_text_puts(out, "\n");
    for (int f = 0; f < DRT_REPORT_FACTS; f++) {
        drt_report_fact fact = drt_report_fact_of(r, f);
        if (!fact.shown) continue;
        drt_text_printf(out, "| %s |", fact.name);
        for (int m = 0; m < r->n_models; m++) {
            drt_text_puts(out, " ");
            drt_report_fact_cell(&r->models[m], f, out);
            drt_text_puts(out, " |");
        }
        drt_text_puts(out, "\n");
    }
}

static void put_markdown_examples(const drt_report *r, drt_text *out) {
    if (!r->n_examples) return;
    drt_text_puts(out, "\n## Examples\n\nThe pictures are in report.html.\n\n| task | question | answer |");
    for (int m = 0; m < r->n_models; m++) {
        drt_text_puts(out, " ");
        drt_report_escape(out, r->models[m].name);
        drt_text_puts(out, " |");
    }
    drt_text_puts(out, "\n|---|---|---|");
    for (int m = 0; m < r->n_models; m++) drt_text_puts(out, "---|");
    for (int i = 0; i < r->n_examples; i++) {
        const drt_report_example *e = &r->examples[i];
        const char *const cells[] = {e->task, e->question, e->answer};
        drt_text_puts(out, "\n|");
        for (int c = 0; c < 3; c++) {
            drt_text_puts(out, " ");
            drt_report_escape(out, cells[c] ? cells[c] : "");
            drt_text_puts(out, " |");
        }
        for (int m = 0; m < r->n_models; m++) {
            const char *given = e->answers[m];
            drt_text_puts(out, given && drt_answer_matches(given, e->answer) ? " ✓ " : " ✗ ");
            drt_report_escape(out, given ? given : "–");
            drt_text_puts(out, " |");
        }
    }
    drt_text_puts(out, "\n");
}

void drt_report_markdown(const drt_report *r, drt_text *out) {
    const char *tasks[DRT_REPORT_MOST_TASKS];
    int n = drt_report_task_names(r, tasks);
    drt_text_printf(out, "# %s\n\n", r->title);
    if (r->note) drt_text_printf(out, "%s\n\n", r->note);
    drt_text_puts(out, "Accuracy in per cent (± 95 % interval). *Blind*: the picture is black. *Restricted*: blind, "
                       "answering only with the task's own answers.\n*Prior*: always the most frequent answer.\n\n"
                       "| task | n | prior |");
    for (int m = 0; m < r->n_models; m++) {
        const char *const columns[] = {"sighted", "blind", "restricted"};
        for (int c = 0; c < 3; c++) {
            drt_text_puts(out, " ");
            drt_report_escape(out, r->models[m].name);
            drt_text_printf(out, " %s |", columns[c]);
        }
    }
    drt_text_puts(out, "\n|---|---:|---:|");
    for (int m = 0; m < 3 * r->n_models; m++) drt_text_puts(out, "---:|");
    drt_text_puts(out, "\n");
    for (int t = 0; t < n; t++) put_markdown_row(r, tasks[t], out);
    if (n > 1) put_markdown_row(r, NULL, out);
    put_markdown_facts(r, out);
    put_markdown_examples(r, out);
    if (!r->n_commands) return;
    drt_text_puts(out, "\n## Try it\n\n```sh\n");
    for (int i = 0; i < r->n_commands; i++) drt_text_printf(out, "%s\n", r->commands[i]);
    drt_text_puts(out, "```\n");
}
