// The curves of a report: one chart per stage and objective, all models in it.
#include "eval/curves.h"
#include "eval/log_read.h"
#include "eval/report_parts.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_MODELS = 8, MOST_LOGS = 16, MOST_SERIES = 32 };

typedef struct {
    const drt_report *report;
    drt_run_log logs[MOST_MODELS][MOST_LOGS];
} all_logs;

static int models_of(const drt_report *r) { return r->n_models < MOST_MODELS ? r->n_models : MOST_MODELS; }
static int logs_of(const drt_report_model *m) { return m->n_logs < MOST_LOGS ? m->n_logs : MOST_LOGS; }

static void put_chart(const all_logs *all, const char *stage, const char *series, drt_text *out) {
    const drt_report *r = all->report;
    drt_curve curves[MOST_MODELS];
    int n = 0;
    int64_t longest = 0;
    for (int m = 0; m < models_of(r); m++)
        for (int l = 0; l < logs_of(&r->models[m]); l++) {
            if (strcmp(r->models[m].logs[l].stage, stage) || n == MOST_MODELS) continue;
            const drt_run_series *s = drt_run_log_find(&all->logs[m][l], series);
            if (!s) continue;
            const char *name = r->models[m].name;
            curves[n++] = (drt_curve){.name = name, .n = s->n, .x = s->step, .y = s->value, .colour = m + 1};
            if (s->n > longest) longest = s->n;
        }
    drt_text title = {0};
    drt_text_printf(&title, "%s · %s", stage, !strncmp(series, "loss.", 5) ? series + 5 : "loss");
    for (char *p = title.bytes; p && *p; p++)
        if (*p == '_') *p = ' ';
    drt_curve_options o = {.title = title.bytes, .x_label = "step", .width = 480, .height = 300};
    o.smoothing = longest >= 100 ? (double)longest / 50 : 0;
    drt_text_puts(out, "<figure>");
    drt_curves_svg(curves, n, &o, out);
    drt_text_puts(out, "</figure>\n");
    drt_text_free(&title);
}

// The losses of a stage in any model; "loss" itself only where it is not split up.
static void put_stage(const all_logs *all, const char *stage, drt_text *out) {
    const drt_report *r = all->report;
    const char *names[MOST_SERIES];
    int n = 0;
    for (int m = 0; m < models_of(r); m++)
        for (int l = 0; l < logs_of(&r->models[m]); l++) {
            if (strcmp(r->models[m].logs[l].stage, stage)) continue;
            const drt_run_log *log = &all->logs[m][l];
            for (int s = 0; s < log->n_series && n < MOST_SERIES; s++) {
                const char *name = log->series[s].name;
                int i = 0;
                while (i < n && strcmp(names[i], name)) i++;
                if (i == n && !strncmp(name, "loss.", 5)) names[n++] = name;
            }
        }
    for (int i = 0; i < n; i++) put_chart(all, stage, names[i], out);
    if (!n) put_chart(all, stage, "loss", out);
}

static void put_stages(const all_logs *all, drt_text *out) {
    const drt_report *r = all->report;
    const char *stages[MOST_LOGS];
    int n = 0;
    for (int m = 0; m < models_of(r); m++)
        for (int l = 0; l < logs_of(&r->models[m]); l++) {
            int i = 0;
            while (i < n && strcmp(stages[i], r->models[m].logs[l].stage)) i++;
            if (i == n && n < MOST_LOGS) stages[n++] = r->models[m].logs[l].stage;
        }
    for (int i = 0; i < n; i++) put_stage(all, stages[i], out);
}

drt_status drt_report_curves(const drt_report *r, drt_text *out, drt_error *err) {
    drt_status status = DRT_OK;
    all_logs *all = calloc(1, sizeof *all);
    if (!all) return drt_fail(err, DRT_ENOMEM, "no memory for a report's curves");
    all->report = r;
    for (int m = 0; m < models_of(r) && !status; m++)
        for (int l = 0; l < logs_of(&r->models[m]) && !status; l++)
            status = drt_run_log_read(&all->logs[m][l], r->models[m].logs[l].path, err);
    if (!status) put_stages(all, out);
    for (int m = 0; m < MOST_MODELS; m++)
        for (int l = 0; l < MOST_LOGS; l++) drt_run_log_free(&all->logs[m][l]);
    free(all);
    return status;
}
