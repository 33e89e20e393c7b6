#include "train/validation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct drt_validation {
    const drt_training *t;
    drt_recipe recipe; // the training's; strings are borrowed
    drt_loader *loader;
    char beside[1]; // "": the list of bad samples beside the file, if there is one
};

drt_status drt_validation_open(drt_validation **out, const drt_training *t, drt_progress *progress, drt_error *err) {
    *out = NULL;
    drt_validation *v = calloc(1, sizeof *v);
    if (!v) return drt_fail(err, DRT_ENOMEM, "no memory for validation");
    v->t = t;
    v->recipe = *t->r;
    drt_recipe *r = &v->recipe;
    r->data.file = t->r->data.validation;
    r->data.limit = t->r->validate.samples;
    r->data.shuffled = 0;
    r->data.group_by_modality = false;
    // A list that was named is of the training data; one beside the file is its own.
    if (strcmp(r->data.quarantine, "none")) r->data.quarantine = v->beside;
    r->train.batch /= r->train.accumulate;
    r->train.accumulate = 1;
    r->objectives.sea = 0;
    int64_t steps = 0;
    drt_status status = drt_loader_open(&v->loader, r, t->m, t->bank, INT64_MAX, &steps, t->store, progress, NULL, err);
    if (status) free(v);
    else *out = v;
    return status;
}

const drt_dataset *drt_validation_dataset(const drt_validation *v) { return drt_loader_dataset(v->loader); }

void drt_validation_close(drt_validation *v) {
    if (!v) return;
    drt_loader_close(v->loader);
    free(v);
}

// Means over all samples from means over batches.
static void add(const drt_step_report *s, const drt_totals *totals, drt_validation_report *sum, double *counts) {
    for (int k = 0; k < DRT_OBJECTIVES; k++) {
        double count = (double)drt_objective_count(totals, k);
        if (isnan(s->part[k]) && !count) continue;
        sum->part[k] += s->part[k] * count;
        counts[k] += count;
        sum->score[k].hits += s->score[k].hits;
        sum->score[k].count += s->score[k].count;
    }
}

static void divide(const drt_recipe *r, drt_validation_report *sum, const double *counts) {
    for (int k = 0; k < DRT_OBJECTIVES; k++) {
        double weight = drt_objective_weight(r, k);
        sum->part[k] = weight > 0 && counts[k] > 0 ? sum->part[k] / counts[k] : NAN;
        if (weight > 0 && counts[k] > 0) sum->loss += weight * sum->part[k];
    }
}

drt_status drt_validation_run(drt_validation *v, int64_t step, int (*stop)(void *user), void *user,
                              drt_validation_report *report, drt_error *err) {
    const drt_training *t = v->t;
    double counts[DRT_OBJECTIVES] = {0};
    int64_t steps;
    *report = (drt_validation_report){0};
    drt_status status = drt_loader_once(v->loader, &steps, err);
    for (int64_t i = 0; i < steps && !status; i++) {
        drt_step_data *data;
        drt_step_report s;
        if (stop && stop(user)) return drt_fail(err, DRT_ESTOP, "stopped");
        if ((status = drt_loader_next(v->loader, &data, err))) break;
        data->noise = 0;
        data->gps = drt_recipe_gps(t->r, step, t->steps);
        status = drt_train_losses(t->tape, t->m, &v->recipe, drt_loader_options(v->loader), data, &s, err);
        if (!status) add(&s, &data->totals, report, counts);
        drt_loader_release(v->loader);
    }
    if (!status) divide(&v->recipe, report, counts);
    return status;
}

drt_status drt_validation_shape(drt_validation *v, drt_step_data *data, drt_error *err) {
    const drt_training *t = v->t;
    drt_step_report s;
    int64_t steps;
    drt_status status = drt_loader_once(v->loader, &steps, err);
    for (int64_t i = 0; i < steps && !status; i++) {
        status = drt_loader_shape(v->loader, i, data, err);
        data->noise = 0;
        if (!status) status = drt_train_losses(t->tape, t->m, &v->recipe, drt_loader_options(v->loader), data, &s, err);
    }
    return status;
}

bool drt_best_add(drt_best *b, int64_t step, double loss) {
    bool best = !isnan(loss) && (!b->step || loss < b->loss);
    b->last = step;
    b->since = best ? 0 : b->since + 1;
    if (best) b->loss = loss, b->step = step;
    return best;
}

void drt_best_remember(drt_best *b, const drt_run_log *log) {
    const drt_run_series *s = log ? drt_run_log_find(log, "validation.loss") : NULL;
    for (int64_t i = 0; s && i < s->n; i++) drt_best_add(b, (int64_t)s->step[i], s->value[i]);
}
