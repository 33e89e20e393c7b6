// What a run costs, before it and after it.
#include "eval/log_read.h"
#include "train/run.h"
#include "train/training.h"

#include <math.h>
#include <stdio.h>

static drt_status gradients(drt_training *t, drt_error *err) {
    drt_step_data *data;
    drt_step_report report;
    drt_status status = drt_loader_next(t->loader, &data, err);
    if (status) return status;
    status = drt_train_gradients(t->tape, t->m, t->r, drt_loader_options(t->loader), data, &report, err);
    drt_loader_release(t->loader);
    return status;
}

drt_status drt_train_flops(const drt_recipe *r, int64_t steps, double *flops, drt_error *err) {
    drt_training t;
    *flops = 0;
    drt_status status = drt_training_open(&t, r, NULL, err);
    if (!status) status = drt_training_data(&t, 0, NULL, NULL, err);
    if (steps > t.steps) steps = t.steps;
    double before = t.count.flops;
    for (int64_t i = 0; i < steps && !status; i++) status = gradients(&t, err);
    if (!status) *flops = (t.count.flops - before) / (double)steps;
    drt_training_close(&t);
    return status;
}

drt_status drt_run_sum(const char *folder, const char *field, double *sum, drt_error *err) {
    char path[4096];
    drt_run_log log;
    *sum = 0;
    snprintf(path, sizeof path, "%s/run.jsonl", folder);
    drt_status status = drt_run_log_read(&log, path, err);
    if (status) return status;
    const drt_run_series *s = drt_run_log_find(&log, field);
    for (int64_t i = 0; s && i < s->n; i++) *sum += isfinite(s->value[i]) ? s->value[i] : 0;
    // Steps that log.every left out cost what the others cost.
    if (s && s->n) *sum *= s->step[s->n - 1] / (double)s->n;
    drt_run_log_free(&log);
    return DRT_OK;
}
