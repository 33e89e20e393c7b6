// Before the first step of a run.
#include "train/run_parts.h"

#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

// A folder that another process trains in is left alone; one with an unfinished or finished run is not written over
// unless asked to go on.
static drt_status claim_folder(drt_run *u, drt_error *err) {
    const drt_recipe *r = u->r;
    int64_t *steps = NULL;
    int n = 0;
    drt_status status = drt_make_folders(r->out, err);
    if (!status) status = drt_folder_claim(&u->claim, r->out, err);
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

// A run may go on by another recipe; it is said.
static void tell_of_change(const drt_run *u) {
    static const char *const beside[] = {"out",       "threads",     "memory",    "checkpoint.resume",
                                         "log.every", "log.history", "train.stop"};
    drt_recipe before;
    drt_text how = {0};
    char *path = drt_path_join(u->r->out, "recipe.yaml");
    if (path && !drt_recipe_load(&before, path, 0, NULL, NULL)) {
        if (drt_recipe_differs(&before, u->r, beside, sizeof beside / sizeof *beside, &how) && !how.failed)
            drt_run_say(u, "another recipe than this run's before: %s", how.bytes);
        drt_recipe_free(&before);
    }
    drt_text_free(&how);
    free(path);
}

static drt_status write_recipe(const drt_recipe *r, drt_error *err) {
    drt_text yaml = {0};
    drt_recipe_write(r, &yaml);
    drt_status status = yaml.failed ? drt_fail(err, DRT_ENOMEM, "no memory for a recipe")
                                    : drt_run_file(r, "recipe.yaml", yaml.bytes, yaml.size, err);
    drt_text_free(&yaml);
    return status;
}

// At the start: whether all checkpoints that will be kept, the one being written beside them, and the model have room.
static void warn_of_disk(const drt_run *u) {
    const drt_params *p = u->t.m->params;
    int64_t free = drt_disk_free(u->r->out), model = (u->t.m->adapter.n ? p->learning : p->size) * 4;
    int64_t kept = u->r->checkpoint.keep + 1 + (u->validation != NULL); // one is written before one is removed
    double need = (double)drt_checkpoint_bytes(p) * (double)kept + (double)model;
    char line[200];
    if (free < 0 || (double)free >= need) return;
    snprintf(line, sizeof line, "the run may need %.3g GB (%lld checkpoints and the model), %.3g GB are free",
             1e-9 * need, (long long)kept, 1e-9 * (double)free);
    drt_run_note(u, u->step, "disk", line);
}

// A tower that nothing trains answers the same every time: data.features says how much of that is kept.
static drt_status open_store(drt_run *u, drt_error *err) {
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
static drt_status remember(drt_run *u, drt_error *err) {
    drt_run_log log;
    drt_status status = drt_run_log_of(&log, u->r->out, err);
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
static drt_status plan_run(drt_run *u, drt_error *unplanned, drt_error *err) {
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
    if (u->given) drt_text_printf(&what, "; memory %s", drt_memory_text(given, u->given));
    if (!what.failed) drt_run_say(u, "plan: %s", what.bytes);
    drt_text_free(&what);
    return DRT_OK;
}

// What will be trained on what; unplanned: why there is no plan, or NULL.
static void announce(const drt_run *u, const char *unplanned) {
    const drt_dataset *data = drt_loader_dataset(u->t.loader);
    for (const char *line = drt_dataset_notes(data); *line;) {
        const char *end = strchr(line, '\n');
        drt_run_say(u, "%.*s", (int)(end - line), line);
        line = end + 1;
    }
    int64_t skipped = drt_dataset_skipped(data);
    if (skipped) drt_run_say(u, "%lld unusable samples are left out", (long long)skipped);
    drt_run_say(u, "%s: %lld samples, %lld steps of %lld; %.2f M parameters, %.2f M learn; %d threads", u->r->out,
                (long long)drt_dataset_size(data), (long long)u->t.steps, (long long)u->r->train.batch,
                1e-6 * (double)u->t.m->params->size, 1e-6 * (double)u->t.m->params->learning, u->t.dev->threads);
    if (unplanned) drt_run_say(u, "there is no plan (%s): memory is taken as it is needed", unplanned);
    if (u->step) drt_run_say(u, "going on after step %lld", (long long)u->step);
}

drt_status drt_run_open(drt_run *u, drt_error *err) {
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
    if (!status && u->step) tell_of_change(u);
    if (!status) status = write_recipe(r, err); // a run that cannot go on keeps the recipe that it was made by
    if (!status) status = open_store(u, err);
    if (!status) status = drt_training_data(&u->t, u->step, u->hooks->progress, &bad, err);
    if (bad.size) { // kept beside the run, whether it goes on without them or not
        if (!drt_run_file(r, "bad_samples.txt", bad.bytes, bad.size, NULL))
            drt_run_say(u, "unusable samples are listed in %s/bad_samples.txt", r->out);
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
    announce(u, *unplanned.text ? unplanned.text : NULL);
    warn_of_disk(u);
    return DRT_OK;
}
