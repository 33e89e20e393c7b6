#include "train/run_parts.h"

#include "base/file.h"
#include "train/checkpoint.h"
#include "train/show_samples.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

void drt_run_say(const drt_run *u, const char *format, ...) {
    if (!u->hooks->say) return;
    char line[1500];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    u->hooks->say(u->hooks->say_user, line);
}

drt_status drt_run_file(const drt_recipe *r, const char *name, const char *text, size_t size, drt_error *err) {
    char *path = drt_path_join(r->out, name);
    drt_status status = path ? drt_file_write(path, text, size, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    free(path);
    return status;
}

void drt_run_note(const drt_run *u, int64_t step, const char *kind, const char *text) {
    drt_run_say(u, "step %lld: %s: %s", (long long)step, kind, text);
    drt_recorder_note(u->recorder, step, kind, text);
}

// Whether the state after this step is kept: in the middle of a run, or at its end by drt_run_finish().
static bool due(const drt_run *u) {
    int64_t every = u->r->checkpoint.every;
    return u->step == u->end || (every && u->step % every == 0);
}

// Whether the model is to be validated after this step.
static bool validation_due(const drt_run *u) {
    int64_t every = u->r->validate.every;
    return u->validation && (u->step == u->t.steps || (every && u->step && u->step % every == 0));
}

drt_status drt_run_save(drt_run *u, int64_t keep, drt_error *err) {
    int64_t best = u->best.step == u->step ? u->step : u->kept; // the one before stays until this one is there
    drt_status status = drt_checkpoint_room(u->t.m->params, u->r->out, u->step, err);
    if (!status) status = drt_checkpoint_save(u->t.m->params, u->r->out, u->step, keep, best, err);
    if (status) return status;
    u->kept = best;
    if (u->saved == u->step) return DRT_OK;
    u->saved = u->step;
    drt_run_say(u, "checkpoint after step %lld, weights %016llx", (long long)u->step,
                (unsigned long long)drt_params_learned(u->t.m->params));
    return DRT_OK;
}

// A checkpoint in the middle of a run. One that has no room is not begun: the run goes on, and tries again when the
// next one is due.
static drt_status save_midway(drt_run *u, drt_error *err) {
    drt_error low = {0};
    if (!drt_checkpoint_room(u->t.m->params, u->r->out, u->step, &low))
        return drt_run_save(u, u->r->checkpoint.keep, err);
    drt_run_note(u, u->step, "disk", low.text);
    return DRT_OK;
}

static void show_samples(drt_run *u) {
    int n = (int)u->r->validate.pictures;
    if (!n || !drt_recorder_events(u->recorder)) return;
    drt_show_samples(&u->t, drt_validation_dataset(u->validation), n, u->step, !u->shown,
                     drt_recorder_events(u->recorder));
    drt_recorder_put(u->recorder, u->step);
    u->shown = true;
}

static drt_status validate(drt_run *u, drt_error *err) {
    drt_validation_report v;
    double start = drt_clock();
    drt_status status = drt_validation_run(u->validation, u->step, u->hooks->stop, u->hooks->stop_user, &v, err);
    if (status) return status;
    bool best = drt_best_add(&u->best, u->step, v.loss);
    if ((status = drt_run_log_validation(u, &v, drt_clock() - start, err))) return status;
    show_samples(u);
    drt_run_say(u, "validation after step %lld: loss %.4f%s", (long long)u->step, v.loss,
                best ? ", the best so far" : "");
    return best && u->step < u->end ? save_midway(u, err) : DRT_OK;
}

// Early stopping; also of a run that had stopped so and is asked to go on.
static void lose_patience(drt_run *u) {
    if (!u->r->validate.patience || u->best.since < u->r->validate.patience || u->step >= u->end) return;
    u->end = u->step;
    snprintf(u->early, sizeof u->early, "early stopping after step %lld: no better validation since step %lld (%.4f)",
             (long long)u->step, (long long)u->best.step, u->best.loss);
    drt_run_say(u, "%s", u->early);
}

static drt_status one_step(drt_run *u, drt_error *err) {
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
        if (spike.size) drt_run_note(u, u->step, "spike", spike.bytes);
        status = drt_run_log_step(u, &report, drt_clock() - start, spike.size ? spike.bytes : NULL,
                                  due(u) || validation_due(u), err);
    }
    drt_text_free(&spike);
    return status;
}

static drt_status stop_here(drt_run *u, drt_error *err) {
    drt_status status = u->step ? drt_run_save(u, u->r->checkpoint.keep, err) : DRT_OK;
    return status ? status
                  : drt_fail(err, DRT_ESTOP, "stopped after step %lld of %lld; go on with --resume", (long long)u->step,
                             (long long)u->end);
}

static drt_status steps_run(drt_run *u, drt_error *err) {
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
        if (u->step && drt_run_save(u, INT64_MAX, &second))
            drt_run_say(u, "the state after step %lld could not be saved: %s", (long long)u->step, second.text);
        else if (u->step) drt_run_say(u, "the state after step %lld is saved; go on with --resume", (long long)u->step);
    }
    return status;
}

drt_status drt_train_run(const drt_recipe *r, const drt_run_hooks *hooks, drt_run_result *result, drt_error *err) {
    drt_run u = {.r = r, .hooks = hooks, .claim = -1, .loss = NAN};
    double start = drt_clock();
    drt_error own = {0};
    if (!err) err = &own; // the history wants the reason
    drt_status status = drt_run_open(&u, err);
    if (!status) status = steps_run(&u, err);
    if (u.t.m) u.weights = drt_params_learned(u.t.m->params);
    if (!status) status = drt_run_finish(&u, err);
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
    drt_folder_leave(u.claim);
    return status;
}
