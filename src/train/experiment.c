#include "train/experiment.h"

#include "base/file.h"
#include "data/shapes.h"
#include "eval/sea_labels.h"
#include "train/experiment_parts.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void drt_experiment_say(const drt_run_hooks *hooks, const char *format, ...) {
    if (!hooks->say) return;
    char line[600];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    hooks->say(hooks->say_user, line);
}

// ---- the world -----------------------------------------------------------------------------------------------------

// A world that is there already must be the one that was asked for.
static drt_status same_world(const drt_experiment *e, const char *path, drt_error *err) {
    json_error_t fault;
    json_int_t seed = -1, train = -1, eval = -1;
    json_t *world = json_load_file(path, 0, &fault);
    int missing = json_unpack(world, "{s:I, s:I, s:I}", "seed", &seed, "train", &train, "eval", &eval);
    json_decref(world);
    if (missing)
        return drt_fail(err, DRT_EFORMAT, "%s: it does not tell which world lies there (%s); remove that folder", path,
                        world ? "no seed, train or eval" : fault.text);
    if ((uint64_t)seed == e->seed && train == e->train && eval == e->eval) return DRT_OK;
    return drt_fail(err, DRT_ECONFIG,
                    "%s: a world of %lld + %lld pictures and seed %lld lies there, not one of %lld + %lld and seed "
                    "%llu; choose another folder, or remove this one",
                    path, (long long)train, (long long)eval, (long long)seed, (long long)e->train, (long long)e->eval,
                    (unsigned long long)e->seed);
}

static drt_status make_world(const drt_experiment *e, const drt_run_hooks *hooks, drt_error *err) {
    char world[PATH_ROOM], done[PATH_ROOM];
    snprintf(world, sizeof world, "%s/world", e->out);
    snprintf(done, sizeof done, "%s/world/world.json", e->out);
    if (drt_file_exists(done)) return same_world(e, done, err);
    drt_experiment_say(hooks, "drawing %lld + %lld pictures in %s", (long long)e->train, (long long)e->eval, world);
    drt_shapes_config c = {.out = world, .train = e->train, .eval = e->eval, .seed = e->seed};
    drt_shapes_summary summary;
    if (hooks->progress) c.progress = (drt_progress){hooks->progress->report, hooks->progress->user, "drawing", 0, 0};
    return drt_shapes_generate(&c, &summary, err);
}

// ---- plans ---------------------------------------------------------------------------------------------------------

void drt_experiment_folder(const drt_experiment *e, int model, int stage, char out[PATH_ROOM]) {
    snprintf(out, PATH_ROOM, "%s/%s/stage%d", e->out, e->models[model].name, stage + 1);
}

static bool finished(const char *folder) {
    char path[PATH_ROOM + 40];
    snprintf(path, sizeof path, "%s/model/config.json", folder);
    if (drt_file_exists(path)) return true;
    snprintf(path, sizeof path, "%s/adapter/adapter_config.json", folder);
    return drt_file_exists(path);
}

// Whether "KEY=VALUE" sets this key, by its path or its last word.
static bool sets(const char *text, const char *path) {
    const char *dot = strrchr(path, '.'), *names[] = {path, dot ? dot + 1 : path};
    size_t n = strcspn(text, "=");
    for (int i = 0; i < 2; i++)
        if (strlen(names[i]) == n && !strncmp(text, names[i], n)) return true;
    return false;
}

static bool says(const drt_experiment_model *m, int stage, const char *text) {
    for (int i = 0; i < m->n_keys[stage]; i++)
        if (!strcmp(m->key[stage][i], text)) return true;
    return false;
}

static drt_status check_key(const drt_experiment *e, int model, int stage, const char *text, drt_error *err) {
    static const char *const own[] = {"out", "seed", "data.file", "checkpoint.resume", "model", "vision", "language"};
    for (int i = 0; i < (stage ? 7 : 4); i++)
        if (sets(text, own[i]))
            return drt_fail(err, DRT_ECONFIG, "%s: the experiment itself sets %s; leave it out", text, own[i]);
    if (e->equal_compute && model && sets(text, "train.steps") && !says(&e->models[0], stage, text))
        return drt_fail(err, DRT_ECONFIG, "%s: equal compute finds the steps of all but the first model", text);
    return DRT_OK;
}

// Where the labels lie that the experiment makes for a recipe that names none.
static void labels_path(const drt_experiment *e, const drt_recipe *r, char out[PATH_ROOM]) {
    snprintf(out, PATH_ROOM, "%s/world/labels-%s.sea", e->out, drt_sea_negate_names[r->sea.negate]);
}

static bool makes_labels(const drt_experiment *e, const drt_recipe *r) {
    char own[PATH_ROOM];
    labels_path(e, r, own);
    return r->objectives.sea > 0 && !strcmp(r->sea.labels, own);
}

// Paths and seeds of a stage are the experiment's; everything else is the recipe's.
static drt_status load_stage(const drt_experiment *e, int model, int stage, int from, drt_recipe *r, drt_error *err) {
    enum { OWN = 7, LINE = PATH_ROOM + 40 };
    const drt_experiment_model *m = &e->models[model];
    char own[OWN][LINE], folder[PATH_ROOM];
    int n = 0, theirs = m->n_keys[stage] + e->n_override;
    const char **all = calloc((size_t)(theirs + OWN), sizeof *all);
    if (!all) return drt_fail(err, DRT_ENOMEM, "no memory");
    for (int i = 0; i < m->n_keys[stage]; i++) all[n++] = m->key[stage][i];
    for (int i = 0; i < e->n_override; i++) all[n++] = e->override[i];
    drt_experiment_folder(e, model, stage, folder);
    snprintf(own[0], LINE, "out=%s", folder);
    snprintf(own[1], LINE, "data.file=%s/world/%s", e->out, stage ? "finetune.json" : "pretrain.json");
    snprintf(own[2], LINE, "seed=%llu", (unsigned long long)e->seed);
    snprintf(own[3], LINE, "checkpoint.resume=true");
    drt_experiment_folder(e, from, 0, folder);
    snprintf(own[4], LINE, "model=%s/model", folder);
    snprintf(own[5], LINE, "vision=");
    snprintf(own[6], LINE, "language=");
    drt_status status = DRT_OK;
    for (int i = 0; i < n && !status; i++) status = check_key(e, i < m->n_keys[stage] ? model : 0, stage, all[i], err);
    for (int i = 0; i < (stage ? OWN : 4); i++) all[n++] = own[i];
    if (!status) status = drt_recipe_load(r, m->recipe[stage], n, all, err);
    free(all);
    if (!status && r->objectives.sea > 0 && !*r->sea.labels) {
        labels_path(e, r, folder);
        status = drt_recipe_set(r, "sea.labels", folder, err);
    }
    return status ? drt_fail_in(err, "%s, stage %d", m->title, stage + 1) : DRT_OK;
}

// Keys in which runs may differ and yet learn the same, and paths that move with the experiment's folder.
static const char *const beside[] = {"out",       "threads",   "checkpoint.every", "checkpoint.keep",
                                     "log.every", "data.file", "checkpoint.resume"};
enum { BESIDE = sizeof beside / sizeof *beside };

// Whether two recipes of one stage learn the same from the same start.
static bool same_recipe(const drt_recipe *a, const drt_recipe *b) {
    return !drt_recipe_differs(a, b, beside, BESIDE, NULL);
}

// What lies in a run's folder, finished or begun, must have been made by this recipe. The steps of equal compute are
// not known before they are measured: those that were found then stand.
static drt_status same_as_before(const drt_experiment *e, int model, int stage, drt_recipe *r, drt_error *err) {
    char path[PATH_ROOM + 20];
    const char *skip[BESIDE + 3];
    int n = BESIDE;
    drt_recipe before;
    drt_text how = {0};
    snprintf(path, sizeof path, "%s/recipe.yaml", r->out);
    if (!drt_file_exists(path)) return DRT_OK;
    drt_status status = drt_recipe_load(&before, path, 0, NULL, err);
    if (status) return status;
    memcpy(skip, beside, sizeof beside);
    bool scaled = e->equal_compute && model > 0;
    if (stage) skip[n++] = "model"; // in the experiment's folder, as are labels of its own
    if (makes_labels(e, r)) skip[n++] = "sea.labels";
    if (scaled) skip[n++] = "train.steps";
    if (drt_recipe_differs(&before, r, skip, n, &how))
        status = drt_fail(err, DRT_ECONFIG, "%s was made by another recipe (%s); remove that folder, or choose another",
                          r->out, how.failed ? "" : how.bytes);
    else if (scaled) r->train.steps = before.train.steps;
    drt_text_free(&how);
    drt_recipe_free(&before);
    return status;
}

static drt_status plan_one(const drt_experiment *e, int i, drt_experiment_plan *plans, drt_error *err) {
    drt_experiment_plan *p = &plans[i];
    drt_status status = load_stage(e, i, 0, i, &p->recipe[0], err);
    p->from = i;
    for (int k = 0; k < i && !status; k++)
        if (p->from == i && same_recipe(&plans[k].recipe[0], &p->recipe[0])) p->from = plans[k].from;
    if (!status) status = load_stage(e, i, 1, p->from, &p->recipe[1], err);
    for (int k = 0; k < i && !status; k++)
        if (plans[k].from == p->from && same_recipe(&plans[k].recipe[1], &p->recipe[1]))
            status = drt_fail(err, DRT_ECONFIG, "'%s' and '%s' are the same, key by key; leave one of them out",
                              e->models[k].title, e->models[i].title);
    return status;
}

drt_status drt_experiment_plans(const drt_experiment *e, drt_experiment_plan **out, drt_error *err) {
    drt_status status = DRT_OK;
    char second[PATH_ROOM], first[PATH_ROOM];
    *out = NULL;
    if (e->n < 1 || e->n > DRT_EXPERIMENT_MODELS)
        return drt_fail(err, DRT_EARG, "an experiment has 1 to %d models, not %d", DRT_EXPERIMENT_MODELS, e->n);
    for (int i = 0; i < e->n; i++)
        if (strlen(e->out) + strlen(e->models[i].name) + 80 > PATH_ROOM)
            return drt_fail(err, DRT_EARG, "the name of the folder is too long");
    drt_experiment_plan *plans = calloc((size_t)e->n, sizeof *plans);
    if (!plans) return drt_fail(err, DRT_ENOMEM, "no memory");
    for (int i = 0; !status && i < e->n; i++) status = plan_one(e, i, plans, err);
    // Only now: what equal compute scales must not keep two models from sharing a stage.
    for (int i = 0; !status && i < e->n; i++) {
        if (plans[i].from == i) status = same_as_before(e, i, 0, &plans[i].recipe[0], err);
        if (!status) status = same_as_before(e, i, 1, &plans[i].recipe[1], err);
        drt_experiment_folder(e, plans[i].from, 0, first);
        drt_experiment_folder(e, i, 1, second);
        if (!status && finished(second) && !finished(first))
            status = drt_fail(err, DRT_ECONFIG, "%s began from %s, which is gone; remove it, too", second, first);
    }
    if (status) drt_experiment_plans_free(plans, e->n);
    else *out = plans;
    return status;
}

void drt_experiment_plans_free(drt_experiment_plan *plans, int n) {
    for (int i = 0; plans && i < n; i++) {
        drt_recipe_free(&plans[i].recipe[0]);
        drt_recipe_free(&plans[i].recipe[1]);
    }
    free(plans);
}

// ---- training ------------------------------------------------------------------------------------------------------

// So many steps that this stage costs what it cost the first model. Steps of equal batches differ little in their
// rows: a few tell what the rest will cost.
static drt_status scale_steps(const drt_experiment *e, int stage, drt_recipe *r, const drt_run_hooks *hooks,
                              drt_error *err) {
    enum { MEASURED = 4 };
    char folder[PATH_ROOM];
    double base = 0, flops = 0;
    drt_experiment_folder(e, 0, stage, folder);
    drt_status status = drt_run_sum(folder, "flops", &base, err);
    if (!status) status = drt_train_flops(r, MEASURED, &flops, err);
    if (status) return status;
    if (!(base > 0) || !(flops > 0))
        return drt_fail(err, DRT_EDATA, "%s/run.jsonl does not tell its flops; train it anew for equal compute",
                        folder);
    r->train.steps = llround(fmax(1, base / flops));
    drt_experiment_say(hooks, "equal compute: %lld steps of %.3g GFLOP make the %.3g GFLOP of %s",
                       (long long)r->train.steps, 1e-9 * flops, 1e-9 * base, folder);
    return DRT_OK;
}

// The words for every patch of the world, by the text tower of the folder that stage 1 takes its eyes from.
static drt_status make_labels(const drt_experiment *e, const drt_recipe *r, const drt_run_hooks *hooks,
                              drt_error *err) {
    char words[PATH_ROOM];
    drt_device *dev = NULL;
    drt_tape *tape = NULL;
    drt_model *m = NULL;
    const drt_model_options inference = {0};
    drt_progress progress = {0};
    drt_sea_labels_result result;
    if (!makes_labels(e, r) || drt_file_exists(r->sea.labels)) return DRT_OK;
    snprintf(words, sizeof words, "%s/world/words.txt", e->out);
    if (hooks->progress) progress = (drt_progress){hooks->progress->report, hooks->progress->user, "labels", 0, 0};
    const drt_sea_labels_options o = {.words = words,
                                      .data = r->data.file,
                                      .out = r->sea.labels,
                                      .negate = r->sea.negate,
                                      .aspect = r->data.aspect,
                                      .progress = &progress};
    drt_experiment_say(hooks, "labels for objective sea: %s", o.out);
    drt_status status = drt_device_open(&dev, r->device, (int)r->threads, err);
    if (!status && !(tape = drt_tape_new(dev, err))) status = DRT_ENOMEM;
    if (!status) status = drt_model_open(&m, *r->vision ? r->vision : r->model, &inference, err);
    if (!status) status = drt_sea_labels(m, tape, &o, &result, err);
    drt_model_close(m);
    if (tape) drt_tape_free(tape);
    drt_device_close(dev);
    return status;
}

static drt_status train_stage(const drt_experiment *e, int model, int stage, drt_recipe *r, const drt_run_hooks *hooks,
                              drt_error *err) {
    char begun[PATH_ROOM + 20];
    if (finished(r->out)) return DRT_OK;
    drt_status status = drt_recipe_complete(r, err);
    if (!status) status = make_labels(e, r, hooks, err);
    snprintf(begun, sizeof begun, "%s/recipe.yaml", r->out);
    if (!status && e->equal_compute && model && !drt_file_exists(begun)) status = scale_steps(e, stage, r, hooks, err);
    if (status) return status;
    drt_experiment_say(hooks, "%s, stage %d: %s", e->models[model].title, stage + 1, e->models[model].recipe[stage]);
    drt_run_result result;
    status = drt_train_run(r, hooks, &result, err);
    return status != DRT_ESTOP
               ? status
               : drt_fail(err, DRT_ESTOP,
                          "%s: stopped and saved after step %lld of %lld; the same command goes on there", r->out,
                          (long long)result.steps, (long long)r->train.steps);
}

drt_status drt_experiment_train(const drt_experiment *e, drt_experiment_plan *plans, const drt_run_hooks *hooks,
                                drt_error *err) {
    drt_run_hooks shared = *hooks; // all runs look at the same pictures
    drt_features *own = hooks->store ? NULL : drt_features_new();
    drt_status status = drt_make_folders(e->out, err);
    if (own) shared.store = own;
    if (!status) status = make_world(e, hooks, err);
    for (int i = 0; !status && i < e->n; i++)
        for (int stage = 0; !status && stage < 2; stage++)
            if (stage || plans[i].from == i) status = train_stage(e, i, stage, &plans[i].recipe[stage], &shared, err);
    drt_features_free(own);
    return status;
}

drt_status drt_experiment_run(const drt_experiment *e, const drt_run_hooks *hooks, drt_text *table, drt_error *err) {
    drt_experiment_plan *plans = NULL;
    drt_status status = drt_experiment_plans(e, &plans, err);
    if (!status) status = drt_experiment_train(e, plans, hooks, err);
    drt_findings *found = status ? NULL : calloc((size_t)e->n, sizeof *found);
    if (!status && !found) status = drt_fail(err, DRT_ENOMEM, "no memory");
    for (int i = 0; !status && i < e->n; i++) status = drt_experiment_examine(e, i, &plans[i], hooks, &found[i], err);
    if (!status) status = drt_experiment_report(e, plans, found, table, err);
    for (int i = 0; found && i < e->n; i++) drt_findings_free(&found[i]);
    free(found);
    drt_experiment_plans_free(plans, e->n);
    return status;
}
