#include "train/guard.h"

#include "base/file.h"
#include "train/blame.h"
#include "train/step_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMED = 3 }; // samples in a message

static void remember(drt_spike_window *w, const drt_run_series *s) {
    drt_spike ignored;
    for (int64_t i = s && s->n > DRT_SPIKE_WINDOW ? s->n - DRT_SPIKE_WINDOW : 0; s && i < s->n; i++)
        drt_spike_judge(w, s->value[i], 0, &ignored);
}

void drt_guard_remember(drt_guard *g, const drt_run_log *log) {
    remember(&g->loss, drt_run_log_find(log, "loss"));
    remember(&g->gradient, drt_run_log_find(log, "grad_norm"));
}

static void put_spike(const char *name, const drt_spike *s, drt_text *text) {
    drt_text_printf(text, "%s%s %.4g, %.0f spreads above the median %.4g of the last %d steps", text->size ? "; " : "",
                    name, s->value, s->spreads, s->median, s->of);
}

static void put_names(const drt_step_data *d, drt_text *text) {
    drt_text_puts(text, ". Its samples:");
    for (int i = 0; i < d->samples; i++)
        drt_text_printf(text, "%s %d%s%.60s", i ? "," : "", (int)d->sample[i]->index, *d->sample[i]->id ? " " : "",
                        d->sample[i]->id);
}

// Appends the worst samples. The gradients are overwritten.
static drt_status put_blame(drt_training *t, const drt_step_report *report, drt_text *text, drt_error *err) {
    const drt_blame_with who = {t->tape, t->m, t->r, drt_loader_options(t->loader), drt_loader_pack(t->loader)};
    drt_blame *b = calloc((size_t)t->data->samples + 1, sizeof *b);
    drt_status status =
        b ? drt_blame_samples(&who, t->data, b, err) : drt_fail(err, DRT_ENOMEM, "no memory to run samples alone");
    if (!status) {
        drt_text_puts(text, ". Most of it: ");
        drt_blame_text(b, t->data->samples, NAMED, report, text);
    }
    free(b);
    return status;
}

drt_status drt_guard_judge(drt_guard *g, drt_training *t, int64_t step, drt_step_report *report, drt_text *text,
                           drt_error *err) {
    drt_spike loss, gradient;
    double threshold = t->r->guard.spike;
    bool high = drt_spike_judge(&g->loss, report->loss, threshold, &loss);
    bool steep = drt_spike_judge(&g->gradient, report->grad_norm, threshold, &gradient);
    if (threshold == 0 || !(high || steep)) return DRT_OK;
    if (high) put_spike("loss", &loss, text);
    if (steep) put_spike("gradient", &gradient, text);
    if (!drt_blame_possible(t->r)) return put_names(t->data, text), DRT_OK;
    drt_status status = put_blame(t, report, text, err);
    if (status) return status;
    return drt_train_measure(t->tape, t->m, t->r, drt_loader_options(t->loader), t->data, step, t->steps, report, err);
}

void drt_guard_keep(drt_training *t, const char *folder, int64_t step, drt_error *err) {
    drt_error second = {0};
    drt_text path = {0}, who = {0};
    const drt_step_report none = {0};
    drt_text_printf(&path, "%s/replay", folder);
    drt_status status = path.failed ? DRT_ENOMEM : drt_make_folders(path.bytes, &second);
    drt_text_printf(&path, "/step-%09lld.safetensors", (long long)step + 1);
    if (!status && path.failed) status = drt_fail(&second, DRT_ENOMEM, "no memory");
    if (!status) status = drt_loader_pixels(t->loader, t->data, &second);
    if (!status) status = drt_step_file_write(path.bytes, t->data, drt_loader_pack(t->loader), step, t->steps, &second);
    if (!status && drt_blame_possible(t->r)) status = put_blame(t, &none, &who, &second);
    drt_error first = *err;
    if (status) drt_fail(err, first.code, "%s. The step could not be kept: %.200s", first.text, second.text);
    else
        drt_fail(err, first.code, "%.480s%.330s. To do the step again: drt train --replay-batch %s", first.text,
                 who.size ? who.bytes : "", path.bytes);
    drt_text_free(&path), drt_text_free(&who);
}
