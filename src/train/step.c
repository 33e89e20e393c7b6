#include "train/step.h"

#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

double drt_objective_weight(const drt_recipe *r, int objective) {
    const double w[DRT_OBJECTIVES] = {
        [DRT_LANGUAGE_LOSS] = r->objectives.language,
        [DRT_IMAGE_ORDER] = r->objectives.image_order,
        [DRT_TEXT_ORDER] = r->objectives.text_order,
        [DRT_GUIDED] = r->objectives.guided,
        [DRT_CONTRASTIVE] = r->objectives.contrastive,
        [DRT_PATCH_WORDS] = r->objectives.patch_words,
        [DRT_SEA] = r->objectives.sea,
    };
    return w[objective];
}

// What stands in messages: the step's samples by their place in the file.
static void name_samples(const drt_step_data *d, char *out, size_t room) {
    size_t at = 0;
    for (int i = 0; i < d->n; i++)
        for (int k = 0; k < d->batch[i]->samples && at + 16 < room; k++)
            at += (size_t)snprintf(out + at, room - at, "%s%d", at ? ", " : "", d->batch[i]->sample[k]);
}

int64_t drt_objective_count(const drt_totals *all, int objective) {
    switch (objective) {
    case DRT_LANGUAGE_LOSS: return all->words[DRT_PASS_PLAIN];
    case DRT_IMAGE_ORDER: return all->orders;
    case DRT_TEXT_ORDER: return all->words[DRT_PASS_TEXT_ORDER];
    case DRT_GUIDED: return all->guided;
    case DRT_CONTRASTIVE: return all->captions;
    case DRT_SEA: return all->pairs;
    default: return all->samples;
    }
}

// What part of the step's mean this batch brings to an objective: its share of the rows or samples counted there.
static float share_of(const drt_forward *f, int objective) {
    const drt_batch *b = f->batch;
    const drt_totals here = {
        .words =
            {[DRT_PASS_PLAIN] = b->words[DRT_PASS_PLAIN].n, [DRT_PASS_TEXT_ORDER] = b->words[DRT_PASS_TEXT_ORDER].n},
        .orders = b->orders,
        .guided = b->guided,
        .samples = b->samples,
        .captions = b->captions,
        .pairs = b->pairs};
    return (float)drt_objective_count(&here, objective) / (float)drt_objective_count(f->totals, objective);
}

// Losses of one batch, weighted and added; adds to the report.
static drt_tensor *losses(drt_tape *t, const drt_forward *f, const drt_recipe *r, drt_step_report *report) {
    drt_tensor *term[DRT_OBJECTIVES], *balance[DRT_OBJECTIVES];
    float weight[DRT_OBJECTIVES], share[DRT_OBJECTIVES];
    int n = 0;
    for (int k = 0; k < DRT_OBJECTIVES; k++) {
        double w = drt_objective_weight(r, k);
        drt_tensor *loss = w > 0 ? drt_objectives[k].loss(t, f, &report->score[k]) : NULL;
        if (!loss) continue;
        drt_param *s = f->model->extra.balance;
        balance[n] = s ? drt_part(t, &s->tensor, k, 1, 0, 1) : NULL;
        weight[n] = (float)w;
        share[n] = share_of(f, k);
        term[n++] = loss;
        report->part[k] = (isnan(report->part[k]) ? 0 : report->part[k]) + drt_scalar(loss);
    }
    return n ? drt_total_loss(t, term, weight, balance, share, n) : NULL;
}

static drt_status run_batches(drt_tape *t, drt_model *m, const drt_recipe *r, const drt_align_options *options,
                              const drt_step_data *data, bool learn, drt_step_report *report, drt_error *err) {
    bool guided = r->objectives.guided > 0, gps = options->mixer.order == DRT_INPUT_GPS;
    drt_gps_step order = {.how = data->gps, .dropout = (float)r->gps.dropout, .noise = r->gps.noise ? data->noise : 0};
    memset(report, 0, sizeof *report);
    for (int k = 0; k < DRT_OBJECTIVES; k++) report->part[k] = NAN;
    report->rows = data->rows;
    for (int i = 0; i < data->n; i++) {
        drt_forward f = {
            .model = m, .batch = data->batch[i], .totals = &data->totals, .options = options, .store = data->store};
        if (gps) f.gps = &order;
        report->remembered += data->batch[i]->images - data->batch[i]->pixels;
        drt_tape_begin(t, learn);
        if (data->noise)
            drt_tape_set_noise(t, drt_hash((uint64_t[]){data->noise, (uint64_t)i}, 2 * sizeof(uint64_t)) | 1);
        drt_forward_run(t, &f, guided, learn && r->train.recompute);
        order.first += data->batch[i]->sequences;
        report->moved += (double)f.places.moved;
        report->movable += (double)f.places.movable;
        drt_tensor *loss = losses(t, &f, r, report);
        if (loss) report->loss += drt_scalar(loss);
        if (learn && !drt_tape_failed(t, NULL) && loss && isfinite(drt_scalar(loss))) drt_backward(t, loss);
        if (drt_tape_failed(t, err)) return drt_tape_failed(t, NULL);
    }
    return DRT_OK;
}

drt_status drt_train_gradients(drt_tape *t, drt_model *m, const drt_recipe *r, const drt_align_options *options,
                               const drt_step_data *data, drt_step_report *report, drt_error *err) {
    return run_batches(t, m, r, options, data, true, report, err);
}

drt_status drt_train_losses(drt_tape *t, drt_model *m, const drt_recipe *r, const drt_align_options *options,
                            const drt_step_data *data, drt_step_report *report, drt_error *err) {
    return run_batches(t, m, r, options, data, false, report, err);
}

drt_status drt_train_measure(drt_tape *t, drt_model *m, const drt_recipe *r, const drt_align_options *options,
                             const drt_step_data *data, int64_t step, int64_t steps, drt_step_report *report,
                             drt_error *err) {
    char names[300] = "";
    drt_params_zero_grads(m->params);
    drt_status status = drt_train_gradients(t, m, r, options, data, report, err);
    if (status) return status;
    report->lr = drt_learning_rate(r, step, steps);
    name_samples(data, names, sizeof names);
    if (!isfinite(report->loss))
        return drt_fail(err, DRT_ENUMERIC,
                        "step %lld: the loss is %s (samples %s); nothing was updated. Lower lr, set optimizer.clip, "
                        "or look at these samples",
                        (long long)step + 1, isnan(report->loss) ? "NaN" : "infinite", names);
    report->grad_norm = drt_gradient_norm(drt_tape_device(t), m->params);
    if (!isfinite(report->grad_norm))
        return drt_fail(err, DRT_ENUMERIC,
                        "step %lld: the gradient is not finite (samples %s); nothing was updated. Lower lr or set "
                        "optimizer.clip",
                        (long long)step + 1, names);
    return DRT_OK;
}

drt_status drt_train_update(drt_device *dev, drt_model *m, const drt_recipe *r, int64_t step,
                            const drt_step_report *report, drt_error *err) {
    drt_status status = drt_optimizer_step(dev, m->params, r, report->lr, step, report->grad_norm, err);
    if (!status) drt_sea_clamp(m);
    return status;
}

drt_status drt_train_step(drt_tape *t, drt_model *m, const drt_recipe *r, const drt_align_options *options,
                          const drt_step_data *data, int64_t step, int64_t steps, drt_step_report *report,
                          drt_error *err) {
    drt_status status = drt_train_measure(t, m, r, options, data, step, steps, report, err);
    return status ? status : drt_train_update(drt_tape_device(t), m, r, step, report, err);
}
