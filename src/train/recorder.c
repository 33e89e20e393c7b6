#include "train/recorder.h"

#include "base/file.h"
#include "train/history.h"
#include "train/run_log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct drt_recorder {
    const drt_recipe *r;
    drt_history *history;   // NULL: none
    drt_event_file *events; // NULL: none, or given up
    bool told;              // that the history could not be written
    void (*say)(void *user, const char *line);
    void *user;
};

static void tell(const drt_recorder *rec, const char *what, const drt_error *err) {
    char line[sizeof err->text + 80];
    snprintf(line, sizeof line, "%s: %s", what, err->text);
    if (rec->say) rec->say(rec->user, line);
}

// The history is tried again with the next numbers; that is said once.
static void check_history(drt_recorder *rec, drt_status status, const drt_error *err) {
    if (!status || rec->told) return;
    rec->told = true;
    tell(rec, "not recorded for now", err);
}

static void open_history(drt_recorder *rec, const drt_recorder_facts *f, const char *recipe) {
    const drt_recipe *r = rec->r;
    drt_error err = {0};
    char *path = NULL, hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)f->data);
    const drt_history_entry entry = {.folder = r->out,
                                     .recipe = recipe,
                                     .data = r->data.file,
                                     .data_hash = hash,
                                     .device = r->device,
                                     .seed = r->seed,
                                     .threads = f->threads,
                                     .samples = f->samples,
                                     .steps = f->steps,
                                     .resumed = f->step > 0};
    drt_status status = drt_history_path(r->log.history, &path, &err);
    if (!status && path) status = drt_history_begin(&rec->history, path, &entry, &err);
    free(path);
    if (status) tell(rec, "not recorded", &err);
}

static void open_events(drt_recorder *rec, int64_t step, const char *recipe) {
    drt_error err = {0};
    char *folder = drt_path_join(rec->r->out, "tensorboard");
    drt_status status = folder ? drt_event_file_open(&rec->events, folder, step ? step + 1 : 0, &err)
                               : drt_fail(&err, DRT_ENOMEM, "no memory");
    free(folder);
    if (status) return tell(rec, "not recorded", &err);
    drt_text text = {0};
    drt_text_printf(&text, "```yaml\n%s```\n", recipe);
    if (!text.failed) drt_event_text(rec->events, "recipe", text.bytes);
    drt_text_free(&text);
    drt_recorder_put(rec, step);
}

drt_recorder *drt_recorder_open(const drt_recipe *r, const drt_recorder_facts *f,
                                void (*say)(void *user, const char *line), void *user) {
    drt_recorder *rec = calloc(1, sizeof *rec);
    drt_text recipe = {0};
    drt_recipe_write(r, &recipe);
    if (rec && !recipe.failed) {
        *rec = (drt_recorder){.r = r, .say = say, .user = user};
        open_history(rec, f, recipe.bytes);
        if (r->log.tensorboard) open_events(rec, f->step, recipe.bytes);
    }
    drt_text_free(&recipe);
    return rec;
}

drt_event_file *drt_recorder_events(drt_recorder *rec) { return rec ? rec->events : NULL; }

void drt_recorder_put(drt_recorder *rec, int64_t step) {
    drt_error err = {0};
    if (!rec || !rec->events || !drt_event_file_put(rec->events, step, &err)) return;
    tell(rec, "not recorded any further", &err);
    drt_event_file_close(rec->events);
    rec->events = NULL;
}

void drt_recorder_listen(void *user, int64_t step, int n, const char *const *names, const double *values) {
    drt_recorder *rec = user;
    drt_error err = {0};
    if (!rec) return;
    if (rec->history) check_history(rec, drt_history_metrics(rec->history, step, n, names, values, &err), &err);
    if (!rec->events) return;
    for (int i = 0; i < n; i++) {
        char tag[80];
        snprintf(tag, sizeof tag, "%s%s", drt_log_is_cost(names[i]) ? "cost/" : "", names[i]);
        char *dot = strchr(tag, '.');
        if (dot) *dot = '/';
        drt_event_scalar(rec->events, tag, values[i]);
    }
    drt_recorder_put(rec, step);
}

// The norm of one parameter's gradient.
static double norm_of(drt_device *dev, const drt_params *p, const drt_param *q) {
    double squares = 0;
    dev->k->sum_squares(
        dev, drt_mat_f32(p->grads + drt_param_grad_offset(p, q), 1, q->tensor.value.rows * q->tensor.value.cols),
        &squares);
    return sqrt(squares);
}

void drt_recorder_gradients(drt_recorder *rec, drt_device *dev, const drt_params *p, int64_t step) {
    if (!rec || !rec->events || !rec->r->log.histograms || step % rec->r->log.histograms) return;
    double *norms = calloc((size_t)p->n + 1, sizeof *norms);
    for (int g = 0; norms && g < DRT_GROUPS; g++) {
        char tag[64];
        double squares = 0;
        int n = 0;
        for (int i = 0; i < p->n; i++) {
            if (p->at[i]->group != (drt_group)g || drt_param_grad_offset(p, p->at[i]) < 0) continue;
            norms[n] = norm_of(dev, p, p->at[i]);
            squares += norms[n] * norms[n];
            n++;
        }
        if (!n) continue;
        snprintf(tag, sizeof tag, "gradient/%s", drt_group_names[g]);
        drt_event_histogram(rec->events, tag, norms, n);
        snprintf(tag, sizeof tag, "gradient_norm/%s", drt_group_names[g]);
        drt_event_scalar(rec->events, tag, sqrt(squares));
    }
    free(norms);
    drt_recorder_put(rec, step);
}

void drt_recorder_note(drt_recorder *rec, int64_t step, const char *kind, const char *text) {
    drt_error err = {0};
    if (!rec) return;
    if (rec->history) check_history(rec, drt_history_note(rec->history, step, kind, text, &err), &err);
    if (!rec->events) return;
    drt_event_text(rec->events, kind, text);
    drt_recorder_put(rec, step);
}

void drt_recorder_close(drt_recorder *rec, const char *state, const char *reason, uint64_t weights) {
    drt_error err = {0};
    if (!rec) return;
    if (drt_history_end(rec->history, state, reason, weights, &err)) tell(rec, "the end is not recorded", &err);
    drt_event_file_close(rec->events);
    free(rec);
}
