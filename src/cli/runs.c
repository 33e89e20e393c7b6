// drt runs: the history of trainings.
#include "cli/commands.h"
#include "cli/options.h"

#include "base/file.h"
#include "base/progress.h"
#include "eval/curves.h"
#include "eval/log_read.h"
#include "train/history_diff.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "drt runs list [--last N]              the newest runs (20), one a line\n"
    "drt runs show RUN                     everything about one run\n"
    "drt runs diff RUN RUN                 facts and recipe keys that differ, last values of all metrics\n"
    "drt runs plot RUN... [--metric NAME]  a curve for each run (metric: loss)\n"
    "\n"
    "Every training enters the history by itself. RUN is its number, its folder, or the end of its\n"
    "folder's path.\n"
    "\n"
    "  --last N       how many runs to list\n"
    "  --metric NAME  a field of run.jsonl: loss, loss.language, grad_norm, lr, validation.loss, ...\n"
    "  --out FILE     write the plot as SVG instead of drawing it on the terminal\n"
    "  --history FILE the history; otherwise what $DRT_RUNS names, else out/runs.sqlite in the working folder\n"
    "\n"
    "A recipe's key log.history names another file, or none. It is SQLite: sqlite3 FILE .schema\n";

enum { MOST_RUNS = 8 };

static void put_metric(const drt_history_run *r, const char *name) {
    const drt_history_metric *m = drt_history_metric_find(r, name);
    if (m && isfinite(m->last)) printf("  %-9.5g", m->last);
    else printf("  %-9s", m ? "NaN" : "");
}

static int list(const drt_history_list *h, int64_t last) {
    char time[24];
    printf("%5s  %-19s  %-8s  %13s  %-9s  %-9s  %12s  %s\n", "run", "started (UTC)", "state", "steps", "loss",
           "validation", "time", "folder");
    for (int i = 0; i < h->n && i < last; i++) {
        const drt_history_run *r = &h->run[i];
        printf("%5lld  %-19s  %-8s  %6lld/%-6lld", (long long)r->id, r->started, r->state, (long long)r->step,
               (long long)r->steps);
        put_metric(r, "loss");
        put_metric(r, "validation.loss");
        printf("  %12s  %s\n", drt_duration(time, r->seconds), r->folder);
    }
    return 0;
}

static int show(const drt_history_run *r) {
    char time[24];
    printf("run %lld: %s\n  state     %s%s%s\n  steps     %lld of %lld, %s in %lld session%s\n", (long long)r->id,
           r->folder, r->state, *r->reason ? ": " : "", r->reason, (long long)r->step, (long long)r->steps,
           drt_duration(time, r->seconds), (long long)r->sessions, r->sessions == 1 ? "" : "s");
    printf("  started   %s UTC on %s (process %lld), %s, %lld threads\n", r->started, r->host, (long long)r->pid,
           r->device, (long long)r->threads);
    printf("  code      drt %s%s%s\n", r->version, *r->commit ? ", commit " : "", r->commit);
    printf("  data      %s: %lld samples, hash %s\n", r->data, (long long)r->samples,
           *r->data_hash ? r->data_hash : "(several files)");
    printf("  seed      %lld\n  weights   %s\n", (long long)r->seed, *r->weights ? r->weights : "-");
    if (r->metrics)
        printf("\n  %-28s %12s %12s  %-10s %12s  %s\n", "metric", "last", "least", "at step", "largest", "at step");
    for (int i = 0; i < r->metrics; i++) {
        const drt_history_metric *m = &r->metric[i];
        printf("  %-28s %12.6g %12.6g  %-10lld %12.6g  %lld\n", m->name, m->last, m->least, (long long)m->least_step,
               m->most, (long long)m->most_step);
    }
    if (r->notes) printf("\n");
    for (int i = 0; i < r->notes; i++)
        printf("  step %lld, %s: %s\n", (long long)r->note[i].step, r->note[i].kind, r->note[i].text);
    printf("\n%s", r->recipe);
    return 0;
}

static int diff(const drt_history_run *a, const drt_history_run *b, drt_error *err) {
    static const char *const heads[] = {"", "recipe", "metrics (last)"};
    drt_history_difference d;
    int widest = 8, column = 8, kind = -1;
    if (drt_history_compare(a, b, &d, err)) return 1;
    for (int i = 0; i < d.n; i++) {
        int n = (int)strlen(d.line[i].name), m = (int)strlen(d.line[i].a);
        widest = n > widest ? n : widest;
        column = m > column && m <= 48 ? m : column;
    }
    printf("  %-*s  %-*s  %s\n", widest, "run", column, a->folder, b->folder);
    for (int i = 0; i < d.n; i++) {
        const drt_difference_line *l = &d.line[i];
        if ((int)l->kind != kind && l->kind) printf("%s\n", heads[l->kind]);
        kind = (int)l->kind;
        printf("  %-*s  %-*s  %s\n", widest, l->name, column, l->a, l->b);
    }
    printf("%d recipe keys are the same\n", d.same);
    drt_history_difference_free(&d);
    return 0;
}

// The last two parts of a folder's path.
static const char *short_name(const char *folder) {
    const char *slash = strrchr(folder, '/');
    for (const char *p = slash; p && p > folder;)
        if (*--p == '/') return p + 1;
    return folder;
}

static int plot(const drt_history_run *const *runs, int n, const char *metric, const char *out, drt_error *err) {
    drt_run_log log[MOST_RUNS] = {0};
    drt_curve curve[MOST_RUNS];
    drt_status status = DRT_OK;
    int64_t longest = 0;
    for (int i = 0; i < n && !status; i++) {
        status = drt_run_log_of(&log[i], runs[i]->folder, err);
        const drt_run_series *s = status ? NULL : drt_run_log_find(&log[i], metric);
        if (!status && !s) {
            drt_text names = {0};
            for (int k = 0; k < log[i].n_series; k++)
                drt_text_printf(&names, "%s%s", k ? ", " : "", log[i].series[k].name);
            status = drt_fail(err, DRT_EARG, "%s: no metric '%s'; it has %s", runs[i]->folder, metric,
                              names.size ? names.bytes : "none yet");
            drt_text_free(&names);
        }
        if (s) curve[i] = (drt_curve){.name = short_name(runs[i]->folder), .n = s->n, .x = s->step, .y = s->value};
        if (s && s->n > longest) longest = s->n;
    }
    drt_text drawing = {0};
    const drt_curve_options o = {.title = metric,
                                 .x_label = "step",
                                 .smoothing = longest >= 100 ? (double)longest / 50 : 0,
                                 .width = out ? 720 : 0,
                                 .height = out ? 420 : 0,
                                 .plain = !isatty(STDOUT_FILENO)};
    if (!status && out) drt_curves_svg(curve, n, &o, &drawing);
    else if (!status) drt_curves_terminal(curve, n, &o, &drawing);
    if (drawing.failed) status = drt_fail(err, DRT_ENOMEM, "no memory for a plot");
    if (!status && out) status = drt_file_write(out, drawing.bytes, drawing.size, err);
    if (!status && out) printf("written: %s\n", out);
    else if (!status) fputs(drawing.bytes, stdout);
    drt_text_free(&drawing);
    for (int i = 0; i < n; i++) drt_run_log_free(&log[i]);
    return status ? 1 : 0;
}

static int wrong(const char *what) {
    fprintf(stderr, "drt runs: %s\nTry: drt runs --help\n", what);
    return 2;
}

int drt_cli_runs(int argc, char **argv) {
    const char *last = NULL, *metric = "loss", *out = NULL, *file = NULL, *rest[MOST_RUNS + 1];
    const drt_option options[] = {{.name = "--last", .value = &last},
                                  {.name = "--metric", .value = &metric},
                                  {.name = "--out", .value = &out},
                                  {.name = "--history", .value = &file}};
    static const char *const verbs[] = {"list", "show", "diff", "plot"};
    int n = MOST_RUNS + 1;
    int code = drt_options_parse(argc, argv, options, sizeof options / sizeof *options, rest, &n, help);
    if (code) return code == 1 ? 0 : code;
    long long most = 20;
    if (last && !drt_option_number("runs", "--last", last, 1, 1 << 30, &most)) return 2;
    int verb = n ? drt_place_of(rest[0], verbs, 4) : 0;
    if (verb == 4) return wrong("list, show, diff or plot?");
    if ((verb == 1 && n != 2) || (verb == 2 && n != 3) || (verb == 3 && n < 2) || (verb == 0 && n > 1))
        return wrong(verb == 1   ? "show wants one run"
                     : verb == 2 ? "diff wants two runs"
                     : verb == 3 ? "plot wants the runs to draw"
                                 : "list wants no run");
    drt_error err = {0};
    drt_history_list h = {0};
    const drt_history_run *run[MOST_RUNS];
    char *path = NULL;
    drt_status status = drt_history_path(file, &path, &err);
    if (!status && !path) status = drt_fail(&err, DRT_EARG, "%s says none: there is no history", DRT_HISTORY_VARIABLE);
    if (!status) status = drt_history_read(&h, path, &err);
    for (int i = 1; i < n && !status; i++) status = drt_history_find(&h, rest[i], &run[i - 1], &err);
    code = 1;
    if (!status)
        code = verb == 0   ? list(&h, most)
               : verb == 1 ? show(run[0])
               : verb == 2 ? diff(run[0], run[1], &err)
                           : plot(run, n - 1, metric, out, &err);
    if (code) fprintf(stderr, "drt runs: %s\n", err.text);
    drt_history_free(&h);
    free(path);
    return code;
}
