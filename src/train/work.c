// What a run costs, before it and after it.
#include "eval/log_read.h"
#include "train/run.h"
#include "train/training.h"

#include <math.h>

drt_status drt_train_flops(const drt_recipe *r, int64_t steps, double *flops, drt_error *err) {
    drt_training t;
    drt_step_data data = {.arena = drt_arena_new_dry()};
    *flops = 0;
    drt_status status = drt_training_open(&t, r, true, NULL, err);
    if (!status && !data.arena) status = drt_fail(err, DRT_ENOMEM, "no memory for a step's data");
    if (!status) status = drt_training_data(&t, 0, NULL, NULL, err);
    if (steps > t.steps) steps = t.steps;
    for (int64_t i = 0; i < steps && !status; i++) status = drt_training_shape(&t, i, &data, err);
    if (!status) *flops = t.count.flops / (double)steps;
    drt_training_close(&t);
    drt_arena_free(data.arena);
    return status;
}

drt_status drt_run_sum(const char *folder, const char *field, double *sum, drt_error *err) {
    drt_run_log log;
    *sum = 0;
    drt_status status = drt_run_log_of(&log, folder, err);
    if (status) return status;
    const drt_run_series *s = drt_run_log_find(&log, field);
    for (int64_t i = 0; s && i < s->n; i++) *sum += isfinite(s->value[i]) ? s->value[i] : 0;
    // Steps that log.every left out cost what the others cost.
    if (s && s->n) *sum *= s->step[s->n - 1] / (double)s->n;
    drt_run_log_free(&log);
    return DRT_OK;
}
