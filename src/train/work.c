// What a run costs, before it and after it.
#include "eval/log_read.h"
#include "kernels/count.h"
#include "train/run.h"
#include "train/step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static drt_status gradients(drt_tape *tape, drt_model *m, const drt_recipe *r, drt_loader *loader, drt_error *err) {
    drt_step_data *data;
    drt_step_report report;
    drt_status status = drt_loader_next(loader, &data, err);
    if (status) return status;
    status = drt_train_gradients(tape, m, r, drt_loader_options(loader), data, &report, err);
    drt_loader_release(loader);
    return status;
}

drt_status drt_train_flops(const drt_recipe *r, int64_t steps, double *flops, drt_error *err) {
    drt_device *dev = NULL;
    drt_tape *tape = NULL;
    drt_model *m = NULL;
    drt_loader *loader = NULL;
    int32_t *bank = NULL;
    int cells;
    drt_counter count;
    *flops = 0;
    drt_status status = drt_device_open(&dev, r->device, (int)r->threads, err);
    if (status) return status;
    drt_count_begin(&count, dev);
    status = drt_recipe_model(r, &m, &bank, &cells, NULL, err);
    if (!status && !(tape = drt_tape_new(dev, err))) status = DRT_ENOMEM;
    if (!status) status = drt_loader_open(&loader, r, m, bank, 0, &steps, NULL, NULL, err);
    double before = count.flops;
    for (int64_t i = 0; i < steps && !status; i++) status = gradients(tape, m, r, loader, err);
    if (!status) *flops = (count.flops - before) / (double)steps;
    drt_loader_close(loader);
    if (tape) drt_tape_free(tape);
    drt_model_close(m);
    free(bank);
    drt_count_end(&count, dev);
    drt_device_close(dev);
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
