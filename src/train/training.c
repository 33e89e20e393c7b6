#include "train/training.h"

#include <stdlib.h>

drt_status drt_training_open(drt_training *t, const drt_recipe *r, bool dry, drt_progress *progress, drt_error *err) {
    *t = (drt_training){.r = r, .steps = r->train.steps};
    drt_status status = drt_device_open(&t->dev, dry ? "cpu" : r->device, (int)r->threads, err);
    if (status) return status;
    t->dev->dry = dry;
    drt_count_begin(&t->count, t->dev);
    status = drt_recipe_model(r, dry, &t->m, &t->bank, &t->cells, progress, err);
    if (!status && !(t->tape = dry ? drt_tape_new_dry(t->dev, err) : drt_tape_new(t->dev, err))) status = DRT_ENOMEM;
    if (!status && !t->m->params->learning)
        status = drt_fail(err, DRT_ECONFIG, "nothing learns: every groups.* that this task has is 0");
    return status;
}

drt_status drt_training_data(drt_training *t, int64_t first, drt_progress *progress, drt_text *bad, drt_error *err) {
    return drt_loader_open(&t->loader, t->r, t->m, t->bank, first, &t->steps, t->store, progress, bad, err);
}

drt_status drt_training_measure(drt_training *t, int64_t step, drt_step_report *report, drt_error *err) {
    if (t->data) drt_loader_release(t->loader);
    t->data = NULL;
    drt_status status = drt_loader_next(t->loader, &t->data, err);
    if (status) return status;
    return drt_train_measure(t->tape, t->m, t->r, drt_loader_options(t->loader), t->data, step, t->steps, report, err);
}

drt_status drt_training_update(drt_training *t, int64_t step, const drt_step_report *report, drt_error *err) {
    return drt_train_update(t->dev, t->m, t->r, step, report, err);
}

drt_status drt_training_shape(drt_training *t, int64_t step, drt_step_data *data, drt_error *err) {
    drt_step_report report;
    drt_status status = drt_loader_shape(t->loader, step, data, err);
    if (status) return status;
    return drt_train_gradients(t->tape, t->m, t->r, drt_loader_options(t->loader), data, &report, err);
}

void drt_training_close(drt_training *t) {
    drt_loader_close(t->loader);
    drt_tape_free(t->tape);
    drt_model_close(t->m);
    if (t->dev) drt_count_end(&t->count, t->dev);
    drt_device_close(t->dev);
    free(t->bank);
    *t = (drt_training){0};
}
