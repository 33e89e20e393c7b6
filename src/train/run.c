#include "train/run.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/curves.h"
#include "eval/log_read.h"
#include "train/checkpoint.h"
#include "train/guard.h"
#include "train/plan.h"
#include "train/recorder.h"
#include "train/show_samples.h"
#include "train/validation.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const drt_recipe *r;
    const drt_run_hooks *hooks;
    drt_training t;
    drt_features *own; // where nobody lends a store
    drt_plan plan;     // peak 0: there is none
    int64_t given;     // memory
    double counted;    // arithmetic before this step
    drt_log *log;
    drt_recorder *recorder;
    drt_guard guard;
    drt_validation *validation; // NULL: none
    drt_best best;
    int64_t saved;     // step of the newest checkpoint
    int64_t kept;      // step of the best validation's checkpoint; 0: there is none
    bool shown;        // TensorBoard has the pictures of validation
    uint64_t weights;  // after the last step
    char early[120];   // why training ended before its schedule
    int64_t step, end; // done; to do (train.stop)
    double loss;
} run;

static void say(const run *u, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const run *u, const char *format, ...) {
    if (!u->hooks->say) return;
    char line[1500];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    u->hooks->say(u->hooks->say_user, line);
}

static drt_status in_folder(const drt_recipe *r, const char *name, const char *text, size_t size, drt_error *err) {
    char *path = drt_path_join(r->out, name);
    drt_status status = path ? drt_file_write(path, text, size, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    free(path);
    return status;
}

// A folder with an unfinished or finished run is not written over unless asked to go on.
static drt_status claim_folder(run *u, drt_error *err) {
    const drt_recipe *r = u->r;
    int64_t *steps = NULL;
    int n = 0;
    drt_status status = drt_make_folders(r->out, err);
    if (!status) status = drt_checkpoint_steps(r->out, &steps, &n, err);
    int64_t last = n ? steps[n - 1] : -1;
    free(steps);
    char *model = drt_path_join(r->out, u->t.m->adapter.n ? "adapter/adapter_config.json" : "model/config.json");
    if (!status && !model) status = drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status && !r->checkpoint.resume && (last >= 0 || drt_file_exists(model)))
        status = drt_fail(err, DRT_ECONFIG, "%s: holds %s; go on with --resume, or choose another out=FOLDER", r->out,
                          last >= 0 ? "the checkpoints of a run" : "a finished run");
    free(model);
    if (!status && r->checkpoint.resume && last >= 0) u->step = u->saved = last;
    return status;
}

static drt_status write_recipe(const drt_recipe *r, drt_error *err) {
    drt_text yaml = {0};
    drt_recipe_write(r, &yaml);
    drt_status status = in_folder(r, "recipe.yaml", yaml.bytes, yaml.size, err);
    drt_text_free(&yaml);
    return status;
}

// What a person should find later, too: said, and kept in the history.
static void note(const run *u, int64_t step, const char *kind, const char *text) {
    say(u, "step %lld: %s: %s", (long long)step, kind, text);
    drt_recorder_note(u->recorder, step, kind, text);
}

// At the start: whether all checkpoints that will be kept, the one being written beside them, and the model have room.
static void warn_of_disk(const run *u) {
    const drt_params *p = u->t.m->params;
    int64_t free = drt_disk_free(u->r->out), model = (u->t.m->adapter.n ? p->learning : p->size) * 4;
    int64_t kept = u->r->checkpoint.keep + 1 + (u->validation != NULL); // one is written before one is removed
    double need = (double)drt_checkpoint_bytes(p) * (double)kept + (double)model;
    char line[200];
    if (free < 0 || (double)free >= need) return;
    snprintf(line, sizeof line, "the run may need %.3g GB (%lld checkpoints and the model), %.3g GB are free",
             1e-9 * need, (long long)kept, 1e-9 * (double)free);
    note(u, u->step, "disk", line);
}

// A tower that nothing trains answers the same every time: data.features says how much of that is kept.
static drt_status open_store(run *u, drt_error *err) {
    const drt_recipe *r = u->r;
    drt_preprocess how = u->t.m->preprocess;
    how.aspect = r->data.aspect;
    if (!r->data.features || !drt_features_fit(u->t.m)) return DRT_OK;
    if (!u->hooks->store && !(u->own = drt_features_new())) return drt_fail(err, DRT_ENOMEM, "no memory for a store");
    u->t.store = u->own ? u->own : u->hooks->store;
    drt_features_open(u->t.store, drt_features_tag(u->t.m, &how, u->t.dev), r->data.features * 1000000);
    return DRT_OK;
}

// What the log of a run that goes on tells: spikes are judged by the steps before, validations count.
static drt_status remember(run *u, drt_error *err) {
    drt_run_log log;
    char *path = drt_path_join(u->r->out, "run.jsonl");
    drt_status status = path ? drt_run_log_read(&log, path, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    free(path);
    if (status) return status;
    drt_guard_remember(&u->guard, &log);
    drt_best_remember(&u->best, &log);
    drt_run_log_free(&log);
    int n;
    int64_t *steps;
    status = drt_checkpoint_steps(u->r->out, &steps, &n, err);
    for (int i = 0; i < n; i++)
        if (steps[i] == u->best.step) u->kept = u->best.step;
    free(steps);
    return status;
}

// Before anything is taken. What is wrong with the model or the data is told by their opening, which comes next;
// *unplanned: why else there is no plan.
static drt_status plan_run(run *u, drt_error *unplanned, drt_error *err) {
    drt_text what = {0};
    char given[24];
    u->given = drt_plan_memory(u->r);
    if (drt_plan_make(&u->plan, u->r, u->hooks->store ? drt_features_bytes(u->hooks->store) : 0, u->hooks->progress,
                      unplanned)) {
        u->plan = (drt_plan){0};
        return DRT_OK;
    }
    if (u->given && u->plan.peak > u->given) return drt_plan_refuse(&u->plan, u->r, u->given, err);
    drt_plan_say(&u->plan, &what);
    if (!what.failed) say(u, "plan: %s of %s", what.bytes, drt_memory_text(given, u->given));
    drt_text_free(&what);
    return DRT_OK;
}

static drt_status open_all(run *u, drt_error *err) {
    const drt_recipe *r = u->r;
    drt_text bad = {0};
    drt_error unplanned = {0};
    drt_progress reading = {0};
    if (u->hooks->progress)
        reading = (drt_progress){u->hooks->progress->report, u->hooks->progress->user, "reading weights", 0, 0};
    drt_status status = plan_run(u, &unplanned, err);
    if (!status) status = drt_training_open(&u->t, r, false, &reading, err);
    if (!status && u->plan.peak) status = drt_plan_apply(&u->plan, &u->t, u->given, err);
    if (!status) status = claim_folder(u, err);
    if (!status && u->step) status = drt_checkpoint_load(u->t.m->params, r->out, u->step, err);
    if (!status) status = write_recipe(r, err); // a run that cannot go on keeps the recipe that it was made by
    if (!status) status = open_store(u, err);
    if (!status) status = drt_training_data(&u->t, u->step, u->hooks->progress, &bad, err);
    if (bad.size) { // kept beside the run, whether it goes on without them or not
        if (!in_folder(r, "bad_samples.txt", bad.bytes, bad.size, NULL))
            say(u, "unusable samples are listed in %s/bad_samples.txt", r->out);
    }
    drt_text_free(&bad);
    if (!status && *r->data.validation) status = drt_validation_open(&u->validation, &u->t, u->hooks->progress, err);
    if (!status) status = drt_log_open(&u->log, r->out, u->step, err);
    if (!status && u->step) status = remember(u, err);
    if (status) return status;
    drt_log_every(u->log, r->log.every);
    u->end = r->train.stop && r->train.stop < u->t.steps ? r->train.stop : u->t.steps;
    if (u->hooks->watch) drt_log_watch(u->log, u->end, u->hooks->watch, u->hooks->watch_user);
    const drt_recorder_facts facts = {.step = u->step,
                                      .samples = drt_dataset_size(drt_loader_dataset(u->t.loader)),
                                      .steps = u->t.steps,
                                      .threads = u->t.dev->threads,
                                      .data = drt_dataset_digest(drt_loader_dataset(u->t.loader))};
    u->recorder = drt_recorder_open(r, &facts, u->hooks->say, u->hooks->say_user);
    drt_log_listen(u->log, drt_recorder_listen, u->recorder);
    for (const char *line = drt_dataset_notes(drt_loader_dataset(u->t.loader)); *line;) {
        const char *end = strchr(line, '\n');
        say(u, "%.*s", (int)(end - line), line);
        line = end + 1;
    }
    int64_t skipped = drt_dataset_skipped(drt_loader_dataset(u->t.loader));
    if (skipped) say(u, "%lld unusable samples are left out", (long long)skipped);
    say(u, "%s: %lld samples, %lld steps of %lld; %.2f M parameters, %.2f M learn; %d threads", r->out,
        (long long)drt_dataset_size(drt_loader_dataset(u->t.loader)), (long long)u->t.steps, (long long)r->train.batch,
        1e-6 * (double)u->t.m->params->size, 1e-6 * (double)u->t.m->params->learning, u->t.dev->threads);
    if (*unplanned.text) say(u, "there is no plan (%s): memory is taken as it is needed", unplanned.text);
    if (u->step) say(u, "going on after step %lld", (long long)u->step);
    warn_of_disk(u);
    return DRT_OK;
}

// Whether the state after this step is kept: in the middle of a run, or at its end by finish().
static bool due(const run *u) {
    int64_t every = u->r->checkpoint.every;
    return u->step == u->end || (every && u->step % every == 0);
}

// Whether the model is to be validated after this step.
static bool validation_due(const run *u) {
    int64_t every = u->r->validate.every;
    return u->validation && (u->step == u->t.steps || (every && u->step && u->step % every == 0));
}

static drt_status log_step(run *u, const drt_step_report *s, double seconds, const char *spike, drt_error *err) {
    char name[80];
    drt_log_begin(u->log, u->step);
    drt_log_number(u->log, "lr", s->lr);
    drt_log_number(u->log, "loss", s->loss);
    for (int k = 0; k < DRT_OBJECTIVES; k++) {
        if (isnan(s->part[k])) continue;
        snprintf(name, sizeof name, "loss.%s", drt_objectives[k].name);
        drt_log_number(u->log, name, s->part[k]);
        if (s->score[k].count > 0)
            drt_log_number(u->log, drt_objectives[k].score, s->score[k].hits / s->score[k].count);
    }
    for (int k = 0; u->t.m->extra.balance && k < DRT_OBJECTIVES; k++) {
        if (isnan(s->part[k])) continue;
        snprintf(name, sizeof name, "weight.%s", drt_objectives[k].name);
        drt_log_number(u->log, name,
                       exp(-drt_row(u->t.m->extra.balance->tensor.value, k)[0]) * drt_objective_weight(u->r, k));
    }
    if (u->t.m->extra.temperature)
        drt_log_number(u->log, "sea_scale", exp(drt_scalar(&u->t.m->extra.temperature->tensor)));
    if (s->movable > 0) {
        drt_log_number(u->log, "gps_tau", (double)drt_recipe_gps(u->r, u->step - 1, u->t.steps).tau);
        drt_log_number(u->log, "gps_moved", s->moved / s->movable);
    }
    drt_log_number(u->log, "grad_norm", s->grad_norm);
    if (due(u) || validation_due(u)) {
        snprintf(name, sizeof name, "%016llx", (unsigned long long)drt_params_learned(u->t.m->params));
        drt_log_text(u->log, "weights", name);
    }
    if (spike) drt_log_text(u->log, "spike", spike);
    drt_log_number(u->log, "rows", (double)s->rows);
    // As if the tower had looked at every picture: what a run costs shall not depend on what ran before it.
    double spared = s->remembered ? (double)s->remembered * drt_features_flops(u->t.m) : 0;
    drt_log_number(u->log, "flops", u->t.count.flops - u->counted + spared);
    if (u->t.store) drt_log_number(u->log, "remembered", (double)s->remembered);
    drt_log_number(u->log, "seconds", seconds);
    drt_log_number(u->log, "tokens_per_second", seconds > 0 ? (double)s->rows / seconds : 0);
    drt_log_number(u->log, "memory", (double)drt_peak_memory());
    return drt_log_end(u->log, err);
}

static drt_status save(run *u, int64_t keep, drt_error *err) {
    int64_t best = u->best.step == u->step ? u->step : u->kept; // the one before stays until this one is there
    drt_status status = drt_checkpoint_room(u->t.m->params, u->r->out, u->step, err);
    if (!status) status = drt_checkpoint_save(u->t.m->params, u->r->out, u->step, keep, best, err);
    if (status) return status;
    u->kept = best;
    if (u->saved == u->step) return DRT_OK;
    u->saved = u->step;
    say(u, "checkpoint after step %lld, weights %016llx", (long long)u->step,
        (unsigned long long)drt_params_learned(u->t.m->params));
    return DRT_OK;
}

// A checkpoint in the middle of a run. One that has no room is not begun: the run goes on, and tries again when the
// next one is due.
static drt_status save_midway(run *u, drt_error *err) {
    drt_error low = {0};
    if (!drt_checkpoint_room(u->t.m->params, u->r->out, u->step, &low)) return save(u, u->r->checkpoint.keep, err);
    note(u, u->step, "disk", low.text);
    return DRT_OK;
}

// A line of the log of its own, which a run that goes on finds again.
static drt_status log_validation(run *u, const drt_validation_report *v, double seconds, drt_error *err) {
    char name[80];
    drt_log_begin(u->log, u->step);
    drt_log_keep(u->log);
    drt_log_number(u->log, "validation.loss", v->loss);
    for (int k = 0; k < DRT_OBJECTIVES; k++) {
        if (isnan(v->part[k])) continue;
        snprintf(name, sizeof name, "validation.%s", drt_objectives[k].name);
        drt_log_number(u->log, name, v->part[k]);
        snprintf(name, sizeof name, "validation.%s", drt_objectives[k].score ? drt_objectives[k].score : "");
        if (v->score[k].count > 0) drt_log_number(u->log, name, v->score[k].hits / v->score[k].count);
    }
    drt_log_number(u->log, "validation.seconds", seconds);
    return drt_log_end(u->log, err);
}

static void show_samples(run *u) {
    int n = (int)u->r->validate.pictures;
    if (!n || !drt_recorder_events(u->recorder)) return;
    drt_show_samples(&u->t, drt_validation_dataset(u->validation), n, u->step, !u->shown,
                     drt_recorder_events(u->recorder));
    drt_recorder_put(u->recorder, u->step);
    u->shown = true;
}

static drt_status validate(run *u, drt_error *err) {
    drt_validation_report v;
    double start = drt_clock();
    drt_status status = drt_validation_run(u->validation, u->step, u->hooks->stop, u->hooks->stop_user, &v, err);
    if (status) return status;
    bool best = drt_best_add(&u->best, u->step, v.loss);
    if ((status = log_validation(u, &v, drt_clock() - start, err))) return status;
    show_samples(u);
    say(u, "validation after step %lld: loss %.4f%s", (long long)u->step, v.loss, best ? ", the best so far" : "");
    return best && u->step < u->end ? save_midway(u, err) : DRT_OK;
}

// Early stopping; also of a run that had stopped so and is asked to go on.
static void lose_patience(run *u) {
    if (!u->r->validate.patience || u->best.since < u->r->validate.patience || u->step >= u->end) return;
    u->end = u->step;
    snprintf(u->early, sizeof u->early, "early stopping after step %lld: no better validation since step %lld (%.4f)",
             (long long)u->step, (long long)u->best.step, u->best.loss);
    say(u, "%s", u->early);
}

static drt_status one_step(run *u, drt_error *err) {
    drt_step_report report;
    drt_text spike = {0};
    double start = drt_clock();
    u->counted = u->t.count.flops;
    drt_status status = drt_training_measure(&u->t, u->step, &report, err);
    if (status == DRT_ENUMERIC) drt_guard_keep(&u->t, u->r->out, u->step, err);
    if (!status) status = drt_guard_judge(&u->guard, &u->t, u->step, &report, &spike, err);
    if (!status) status = drt_training_update(&u->t, u->step, &report, err);
    if (!status) {
        u->step++;
        u->loss = report.loss;
        drt_recorder_gradients(u->recorder, u->t.dev, u->t.m->params, u->step);
        if (spike.size) note(u, u->step, "spike", spike.bytes);
        status = log_step(u, &report, drt_clock() - start, spike.size ? spike.bytes : NULL, err);
    }
    drt_text_free(&spike);
    return status;
}

static drt_status stop_here(run *u, drt_error *err) {
    drt_status status = u->step ? save(u, u->r->checkpoint.keep, err) : DRT_OK;
    return status ? status
                  : drt_fail(err, DRT_ESTOP, "stopped after step %lld of %lld; go on with --resume", (long long)u->step,
                             (long long)u->end);
}

static drt_status steps_run(run *u, drt_error *err) {
    drt_status status = DRT_OK;
    // One that was stopped, or killed, before its validation.
    if (validation_due(u) && u->best.last < u->step) status = validate(u, err);
    if (!status) lose_patience(u);
    while (!status && u->step < u->end) {
        if (u->hooks->stop && u->hooks->stop(u->hooks->stop_user)) return stop_here(u, err);
        status = one_step(u, err);
        if (!status && validation_due(u)) status = validate(u, err);
        if (!status && due(u) && u->step < u->end) status = save_midway(u, err);
        if (!status) lose_patience(u);
    }
    if (status == DRT_ESTOP) return stop_here(u, err);
    if (status && status != DRT_EIO) { // worth keeping, though the trouble may be in it already: older ones stay, too
        drt_error second = {0};
        if (u->step && save(u, INT64_MAX, &second))
            say(u, "the state after step %lld could not be saved: %s", (long long)u->step, second.text);
        else if (u->step) say(u, "the state after step %lld is saved; go on with --resume", (long long)u->step);
    }
    return status;
}

// curves.svg: the loss and its parts over the steps.
static drt_status draw_curves(const run *u, drt_error *err) {
    enum { MOST = 1 + DRT_OBJECTIVES };
    char *path = drt_path_join(u->r->out, "run.jsonl");
    drt_run_log log;
    drt_status status = path ? drt_run_log_read(&log, path, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    free(path);
    if (status) return status;
    drt_curve curve[MOST];
    int n = 0;
    for (int i = 0; i < log.n_series && n < MOST; i++) {
        const drt_run_series *s = &log.series[i];
        if (strncmp(s->name, "loss", 4)) continue;
        curve[n++] = (drt_curve){.name = s->name[4] ? s->name + 5 : "total", .n = s->n, .x = s->step, .y = s->value};
    }
    // One objective alone is the total.
    int first = n == 2;
    drt_text svg = {0};
    drt_curves_svg(curve + first, n - first,
                   &(drt_curve_options){.title = "Loss",
                                        .x_label = "step",
                                        .smoothing = u->t.steps >= 100 ? (double)u->t.steps / 50 : 0},
                   &svg);
    status =
        svg.failed ? drt_fail(err, DRT_ENOMEM, "no memory") : in_folder(u->r, "curves.svg", svg.bytes, svg.size, err);
    drt_text_free(&svg);
    drt_run_log_free(&log);
    return status;
}

// The weights that model/ is made of, where they are not those of the last step.
static drt_status take_best(run *u, drt_error *err) {
    if (u->r->checkpoint.final != DRT_FINAL_BEST || u->best.step == u->step) return DRT_OK;
    if (!u->kept || u->kept != u->best.step)
        return drt_fail(err, DRT_EIO,
                        "%s: the best validation was after step %lld, and its checkpoint is not there; "
                        "checkpoint.final=last --resume makes the model of the last step",
                        u->r->out, (long long)u->best.step);
    say(u, "the model is of step %lld, the best validation (%.4f)", (long long)u->best.step, u->best.loss);
    return drt_checkpoint_load(u->t.m->params, u->r->out, u->best.step, err);
}

static drt_status finish(run *u, drt_error *err) {
    bool beside = u->t.m->adapter.n > 0; // the base is not written again
    char *folder = drt_path_join(u->r->out, beside ? "adapter" : "model");
    const drt_template *how = drt_recipe_template(u->r);
    u->t.m->preprocess.aspect = u->r->data.aspect;
    u->t.m->config.order = drt_recipe_mixer(u->r);
    drt_permuter *permuter = u->t.m->extra.permuter;
    if (permuter) permuter->how = drt_recipe_gps(u->r, u->step, u->t.steps);
    // A caption is no way to talk with the model: after stage 1 it keeps the one that it came with.
    if (how && !how->caption)
        snprintf(u->t.m->config.conversation, sizeof u->t.m->config.conversation, "%s", how->name);
    drt_status status = folder ? save(u, u->r->checkpoint.keep, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = take_best(u, err);
    if (!status) status = drt_make_folders(folder, err);
    // config.json is written last by drt_model_save's order: a folder without it is no model yet.
    if (!status && u->t.bank)
        status = drt_directed_save(u->t.m, u->t.bank, (int)u->r->order.bank, u->t.cells, folder, err);
    if (!status) status = drt_sea_save(u->t.m, folder, err);
    if (!status && permuter && beside) status = drt_permuter_save(permuter, u->t.m->params, folder, err);
    if (!status) status = beside ? drt_adapter_save(u->t.m, folder, err) : drt_model_save(u->t.m, folder, "F32", err);
    if (!status) status = draw_curves(u, err);
    free(folder);
    return status;
}

drt_status drt_train_run(const drt_recipe *r, const drt_run_hooks *hooks, drt_run_result *result, drt_error *err) {
    run u = {.r = r, .hooks = hooks};
    double start = drt_clock();
    drt_error own = {0};
    if (!err) err = &own; // the history wants the reason
    drt_status status = open_all(&u, err);
    if (!status) status = steps_run(&u, err);
    if (u.t.m) u.weights = drt_params_learned(u.t.m->params);
    if (!status) status = finish(&u, err);
    const char *state = !status ? "finished" : status == DRT_ESTOP ? "stopped" : "failed";
    const char *done = *u.early ? u.early : u.end < u.t.steps ? "train.stop" : "all steps are done";
    drt_recorder_close(u.recorder, state, !status ? done : err->text, u.weights);
    if (result) {
        *result = (drt_run_result){.steps = u.step, .loss = u.loss, .seconds = drt_clock() - start};
        if (u.t.loader) {
            result->waited = drt_loader_waited(u.t.loader);
            result->skipped = drt_dataset_skipped(drt_loader_dataset(u.t.loader));
        }
        result->weights = u.weights;
    }
    drt_log_close(u.log);
    drt_validation_close(u.validation);
    drt_training_close(&u.t);
    drt_features_free(u.own);
    return status;
}
