// The curves of a report: one chart per stage and objective, all models in it.
#include "eval/curves.h"
#include "eval/log_read.h"
#include "eval/report_parts.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_MODELS = 8, MOST_LOGS = 32, MOST_SERIES = 32 };

typedef struct {
    const drt_report *report;
    drt_run_log logs[MOST_MODELS][MOST_LOGS];
} all_logs;

static int models_of(const drt_report *r) { return r->n_models < MOST_MODELS ? r->n_models : MOST_MODELS; }
static int logs_of(const drt_report_model *m) { return m->n_logs < MOST_LOGS ? m->n_logs : MOST_LOGS; }

// A model's curve of a series in a stage: the mean over its logs of it, as far as all go. *own: memory of it to free.
static drt_curve mean_curve(const all_logs *all, int m, const char *stage, const char *series, double **own) {
    const drt_report_model *model = &all->report->models[m];
    drt_curve c = {.name = model->name, .colour = m + 1};
    int seeds = 0;
    *own = NULL;
    for (int l = 0; l < logs_of(model); l++) {
        const drt_run_series *s =
            strcmp(model->logs[l].stage, stage) ? NULL : drt_run_log_find(&all->logs[m][l], series);
        if (!s) continue;
        if (!seeds++) {
            c.n = s->n;
            c.x = s->step;
            c.y = s->value;
            continue;
        }
        if (!*own && (*own = malloc((size_t)c.n * sizeof **own + 1))) memcpy(*own, c.y, (size_t)c.n * sizeof **own);
        if (!*own) break; // the first one's curve stands
        if (s->n < c.n) c.n = s->n;
        for (int64_t i = 0; i < c.n; i++) (*own)[i] += (s->value[i] - (*own)[i]) / seeds;
        c.y = *own;
    }
    return c;
}

static void put_chart(const all_logs *all, const char *stage, const char *series, drt_text *out) {
    const drt_report *r = all->report;
    drt_curve curves[MOST_MODELS];
    double *own[MOST_MODELS];
    int n = 0;
    int64_t longest = 0;
    for (int m = 0; m < models_of(r); m++) {
        curves[n] = mean_curve(all, m, stage, series, &own[n]);
        if (curves[n].n > longest) longest = curves[n].n;
        if (curves[n].n > 0) n++;
        else free(own[n]);
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
    for (int i = 0; i < n; i++) free(own[i]);
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
