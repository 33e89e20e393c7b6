#include "train/replay.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/rng.h"
#include "eval/log_read.h"
#include "train/checkpoint.h"
#include "train/run_log.h"
#include "train/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *folder;
    drt_recipe r;
    drt_run_log log;
    bool opened;
} side;

// What a run computes, as hashes in the order of computing. The first run writes it down, the second compares.
typedef struct {
    uint64_t *entry;
    int64_t n, room, at; // at: of the second run
    bool second, apart, failed;
    int64_t step;     // at hand, from 1
    int parts, part;  // of the step; the one at hand
    uint64_t opening; // the stage that a part begins with
    char tensor[300];
} trace;

static void note(trace *c, const char *name, uint64_t value) {
    if (c->apart || c->failed) return;
    const uint64_t what[] = {(uint64_t)c->step, drt_hash(name, strlen(name)), value};
    uint64_t e = drt_hash(what, sizeof what);
    if (c->second) {
        if (c->at < c->n && c->entry[c->at++] == e) return;
        c->apart = true;
        snprintf(c->tensor, sizeof c->tensor, "%s", name);
        return;
    }
    if (c->n == c->room) {
        int64_t room = c->room ? 2 * c->room : 4096;
        uint64_t *more = realloc(c->entry, (size_t)room * sizeof *more);
        if (!more) {
            c->failed = true;
            return;
        }
        c->entry = more;
        c->room = room;
    }
    c->entry[c->n++] = e;
}

static uint64_t hash_rows(drt_mat m) {
    size_t row = (size_t)m.cols * drt_dtype_size(m.type);
    if (m.ld == m.cols) return drt_digest_of(m.data, (uint64_t)m.rows * row);
    uint64_t h[2] = {0};
    for (int64_t r = 0; r < m.rows; r++) {
        h[1] = drt_digest_of((char *)m.data + (size_t)(r * m.ld) * drt_dtype_size(m.type), row);
        h[0] = drt_hash(h, sizeof h);
    }
    return h[0];
}

static void note_part(trace *c, const char *name, uint64_t value) {
    char full[200];
    snprintf(full, sizeof full, "%s, part %d of %d", name, c->part, c->parts);
    note(c, c->parts > 1 ? full : name, value);
}

static void tap(void *user, const char *stage, int index, drt_mat value) {
    trace *c = user;
    char name[100];
    snprintf(name, sizeof name, index < 0 ? "stage %s" : "stage %s, layer %d", stage, index);
    uint64_t h = drt_hash(name, strlen(name));
    if (!c->part) c->opening = h;
    c->part += h == c->opening;
    note_part(c, name, hash_rows(value));
}

static void note_batches(trace *c, const drt_training *t, const drt_step_data *d) {
    const drt_pack_options pack = drt_pack_options_of(t->m, NULL, 1);
    c->parts = d->n;
    for (int i = 0; i < d->n; i++) {
        const drt_batch *b = d->batch[i];
        c->part = i + 1;
        note_part(c, "the choice of samples", drt_digest_of(b->sample, (uint64_t)b->samples * sizeof *b->sample));
        note_part(c, "the tokens", drt_digest_of(b->token, (uint64_t)b->rows * sizeof *b->token));
        for (int k = 0; k < DRT_PASS_KINDS; k++)
            note_part(c, "the labels", drt_digest_of(b->words[k].label, (uint64_t)b->words[k].n * sizeof(int32_t)));
        note_part(c, "the pixels",
                  drt_digest_of(b->patches, (uint64_t)(b->pixels * drt_pack_picture(&pack)) * sizeof *b->patches));
    }
    c->part = 0;
}

// What training adds beside the model has no name in files.
static void name_added(const drt_model *m, const drt_param *q, char name[280]) {
    snprintf(name, 280, "%s, parameter %d", drt_group_names[q->group], q->index);
    for (int i = 0; i < m->adapter.n; i++) {
        const drt_adapter_module *a = &m->adapter.module[i];
        if (a->a == q || a->b == q)
            snprintf(name, 280, "lora_%s of %s", a->a == q ? "A" : "B", m->params->slice[a->slice].name);
    }
}

// Every tensor that learns: its numbers, or with `from` what lies in that buffer for it.
static void note_params(trace *c, const drt_model *m, const char *before, const float *from) {
    const drt_params *p = m->params;
    char own[280], name[280];
    for (int i = 0; i < p->n; i++) {
        const drt_param *q = p->at[i];
        int64_t at = drt_param_grad_offset(p, q);
        int named = 0;
        for (int k = 0; at >= 0 && k < p->slices; k++) {
            const drt_slice *s = &p->slice[k];
            if (s->param != q) continue;
            drt_mat v = drt_slice_numbers(s);
            if (from) v.data = (float *)from + at + ((const float *)v.data - (const float *)q->master.data);
            snprintf(name, sizeof name, "%s%s", before, s->name);
            note(c, name, hash_rows(v));
            named++;
        }
        if (at < 0 || named) continue;
        drt_mat v = q->master;
        if (from) v.data = (float *)from + at;
        name_added(m, q, own);
        snprintf(name, sizeof name, "%s%.240s", before, own);
        note(c, name, hash_rows(v));
    }
}

static void note_number(trace *c, const char *name, double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    note(c, name, bits);
}

static drt_status traced_step(drt_training *t, trace *c, int64_t step, drt_step_report *report, drt_error *err) {
    drt_step_data *data;
    char name[100];
    drt_status status = drt_loader_next(t->loader, &data, err);
    if (status) return status;
    c->step = step + 1;
    note_batches(c, t, data);
    drt_tape_set_tap(t->tape, tap, c);
    status = drt_train_step(t->tape, t->m, t->r, drt_loader_options(t->loader), data, step, t->steps, report, err);
    drt_loader_release(t->loader);
    if (status) return status;
    for (int k = 0; k < DRT_OBJECTIVES; k++) {
        snprintf(name, sizeof name, "the loss of %s", drt_objectives[k].name);
        note_number(c, name, report->part[k]);
    }
    note_number(c, "the loss", report->loss);
    note_params(c, t->m, "the gradient of ", t->m->params->grads);
    note_number(c, "the learning rate", report->lr);
    note_params(c, t->m, "", NULL);
    return c->failed ? drt_fail(err, DRT_ENOMEM, "no memory for what %lld steps compute", (long long)step) : DRT_OK;
}

// ---- what the folders tell -----------------------------------------------------------------------------------------

static drt_status side_open(side *s, const char *folder, drt_error *err) {
    *s = (side){.folder = folder};
    char *recipe = drt_path_join(folder, "recipe.yaml");
    drt_status status =
        recipe ? drt_recipe_load(&s->r, recipe, 0, NULL, err) : drt_fail(err, DRT_ENOMEM, "%s: no memory", folder);
    s->opened = !status;
    if (!status) status = drt_run_log_of(&s->log, folder, err);
    free(recipe);
    return status;
}

static void side_close(side *s) {
    if (s->opened) drt_recipe_free(&s->r);
    drt_run_log_free(&s->log);
}

// Of a series, at a step: its place, or -1.
static int64_t place_of(const drt_run_series *s, double step) {
    int64_t low = 0, high = s ? s->n : 0;
    while (low < high) {
        int64_t mid = (low + high) / 2;
        if (s->step[mid] < step) low = mid + 1;
        else high = mid;
    }
    return s && low < s->n && s->step[low] == step ? low : -1;
}

static int64_t last_step(const drt_run_log *log) {
    const drt_run_series *s = drt_run_log_find(log, "loss");
    return s && s->n ? (int64_t)s->step[s->n - 1] : 0;
}

// Time and memory belong to the machine, and which features were known in time; all else to the run, its arithmetic and
// the rows of its steps included.
static bool is_measured(const char *name) {
    return drt_log_is_cost(name) && strcmp(name, "flops") && strcmp(name, "rows");
}

static void differs(drt_replay_result *out, int64_t step, const char *field, double a, double b) {
    if (out->known && out->known <= step) return;
    out->known = step;
    out->value[0] = a, out->value[1] = b;
    snprintf(out->field, sizeof out->field, "%s", field);
}

// What a has in its lines and b has not, or otherwise.
static void compare_lines(const drt_run_log *a, const drt_run_log *b, bool turned, drt_replay_result *out) {
    const drt_run_series *lines = drt_run_log_find(b, "loss");
    for (int i = 0; i < a->n_series; i++) {
        const drt_run_series *s = &a->series[i], *o = drt_run_log_find(b, s->name);
        if (is_measured(s->name)) continue;
        for (int64_t k = 0; k < s->n; k++) {
            if (place_of(lines, s->step[k]) < 0) continue;
            int64_t at = place_of(o, s->step[k]);
            if (at < 0 && !strncmp(s->name, "validation.", 11))
                continue; // only one of them looked; that changes nothing
            double x = s->value[k], y = at < 0 ? NAN : o->value[at];
            if (at >= 0 && (x == y || (isnan(x) && isnan(y)))) continue;
            differs(out, (int64_t)s->step[k], s->name, turned ? y : x, turned ? x : y);
            break;
        }
    }
}

static const drt_run_hash *hash_at(const drt_run_log *log, int64_t step) {
    for (int64_t i = 0; i < log->n_hashes; i++)
        if (log->hash[i].step == step) return &log->hash[i];
    return NULL;
}

// The last checkpoint that is the same in both, before the first step known to differ; a checkpoint that is not the
// same makes that step known.
static drt_status compare_checkpoints(const side s[2], drt_replay_result *out, drt_error *err) {
    int n[2] = {0}, at = 0;
    int64_t *all[2] = {NULL}, *steps;
    drt_status status = DRT_OK;
    for (int k = 0; k < 2 && !status; k++) status = drt_checkpoint_steps(s[k].folder, &all[k], &n[k], err);
    steps = all[0];
    for (int i = 0; i < n[0] && !status && (!out->known || steps[i] <= out->known); i++) {
        uint64_t h[2];
        while (at < n[1] && all[1][at] < steps[i]) at++;
        if (at == n[1]) break;
        if (all[1][at] != steps[i]) continue;
        for (int k = 0; k < 2 && !status; k++) status = drt_checkpoint_hash(s[k].folder, steps[i], &h[k], err);
        if (status) break;
        if (h[0] != h[1]) differs(out, steps[i], "checkpoint", NAN, NAN);
        else if (!out->known || steps[i] < out->known) out->from = steps[i];
    }
    free(all[0]), free(all[1]);
    return status;
}

static drt_status compare_folders(const side s[2], drt_replay_result *out, drt_error *err) {
    static const char *const aside[] = {"out",
                                        "checkpoint.every",
                                        "checkpoint.keep",
                                        "checkpoint.resume",
                                        "checkpoint.final",
                                        "log.every",
                                        "log.history",
                                        "log.tensorboard",
                                        "log.histograms",
                                        "guard.spike",
                                        "validate.pictures",
                                        "train.stop",
                                        "memory",
                                        "data.features",
                                        "data.validation",
                                        "validate.every",
                                        "validate.samples",
                                        "validate.patience"};
    int64_t last[2] = {last_step(&s[0].log), last_step(&s[1].log)};
    drt_text how = {0};
    out->steps = last[0] < last[1] ? last[0] : last[1];
    if (drt_recipe_differs(&s[0].r, &s[1].r, aside, sizeof aside / sizeof *aside, &how) && how.bytes)
        snprintf(out->recipe, sizeof out->recipe, "%s", how.bytes);
    drt_text_free(&how);
    compare_lines(&s[0].log, &s[1].log, false, out);
    compare_lines(&s[1].log, &s[0].log, true, out);
    for (int64_t i = 0; i < s[0].log.n_hashes; i++) {
        const drt_run_hash *h = &s[0].log.hash[i], *o = hash_at(&s[1].log, h->step);
        if (o && o->weights != h->weights) differs(out, h->step, "weights", NAN, NAN);
    }
    return compare_checkpoints(s, out, err);
}

// ---- running again -------------------------------------------------------------------------------------------------

// Whether the step came out as the log has it; numbers are kept there as exactly as a float is.
static bool as_logged(const drt_run_log *log, int64_t step, const drt_step_report *report, const drt_params *p) {
    static const char *const names[] = {"loss", "grad_norm"};
    const double value[] = {report->loss, report->grad_norm};
    for (int i = 0; i < 2; i++) {
        const drt_run_series *s = drt_run_log_find(log, names[i]);
        int64_t at = place_of(s, (double)step);
        if (at >= 0 && (float)s->value[at] != (float)value[i]) return false;
    }
    const drt_run_hash *h = hash_at(log, step);
    return !h || h->weights == drt_params_learned(p);
}

// The first weight, or moment of it, that the checkpoints of both runs after step `known` have different.
static drt_status compare_stored(drt_training *t, const side s[2], drt_replay_result *out, drt_error *err) {
    trace c = {0};
    drt_status status = DRT_OK;
    for (int k = 0; k < 2 && !status; k++) {
        c.second = k == 1;
        status = drt_checkpoint_load(t->m->params, s[k].folder, out->known, err);
        if (status) break;
        note_params(&c, t->m, "", NULL);
        note_params(&c, t->m, "the mean gradient of ", t->m->params->m);
        note_params(&c, t->m, "the mean squared gradient of ", t->m->params->v);
    }
    if (c.apart) snprintf(out->tensor, sizeof out->tensor, "%s", c.tensor);
    free(c.entry);
    return status;
}

static drt_status run_again(const side s[2], int which, trace *c, drt_progress *progress, drt_replay_result *out,
                            drt_error *err) {
    drt_training t;
    drt_step_report report;
    int64_t last = out->known;
    c->second = which == 1;
    drt_status status = drt_training_open(&t, &s[which].r, false, NULL, err);
    if (!status && out->from) status = drt_checkpoint_load(t.m->params, s[which].folder, out->from, err);
    if (!status) status = drt_training_data(&t, out->from, NULL, NULL, err);
    c->step = out->from + 1;
    if (!status) note_params(c, t.m, "what it begins with: ", NULL);
    if (last > t.steps) last = t.steps;
    for (int64_t i = out->from; i < last && !status && !c->apart; i++) {
        status = traced_step(&t, c, i, &report, err);
        if (status || c->apart) break;
        if (!out->unlike[which] && !as_logged(&s[which].log, i + 1, &report, t.m->params)) out->unlike[which] = i + 1;
        drt_progress_at(progress, which * (last - out->from) + i + 1 - out->from, 2 * (last - out->from));
    }
    if (c->apart) {
        out->step = c->step;
        snprintf(out->tensor, sizeof out->tensor, "%s", c->tensor);
    }
    if (!status && c->second && !c->apart && !strcmp(out->field, "checkpoint"))
        status = compare_stored(&t, s, out, err);
    drt_training_close(&t);
    return status ? drt_fail_in(err, "%s, run again", s[which].folder) : DRT_OK;
}

drt_status drt_replay(const char *a, const char *b, drt_progress *progress, drt_replay_result *out, drt_error *err) {
    side s[2] = {{.folder = a}, {.folder = b}};
    trace c = {0};
    *out = (drt_replay_result){0};
    drt_status status = side_open(&s[0], a, err);
    if (!status) status = side_open(&s[1], b, err);
    if (!status) status = compare_folders(s, out, err);
    for (int k = 0; k < 2 && !status && out->known; k++) status = run_again(s, k, &c, progress, out, err);
    free(c.entry);
    side_close(&s[0]);
    side_close(&s[1]);
    return status;
}
