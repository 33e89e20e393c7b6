#include "train/experiment.h"

#include "base/file.h"
#include "data/shapes.h"
#include "train/experiment_parts.h"

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

static drt_status make_world(const drt_experiment *e, const drt_run_hooks *hooks, drt_error *err) {
    char world[PATH_ROOM], done[PATH_ROOM + 20];
    snprintf(world, sizeof world, "%s/world", e->out);
    snprintf(done, sizeof done, "%s/world.json", world);
    if (drt_file_exists(done)) return DRT_OK;
    drt_experiment_say(hooks, "drawing %lld + %lld pictures in %s", (long long)e->train, (long long)e->eval, world);
    drt_shapes_config c = {.out = world, .train = e->train, .eval = e->eval, .seed = e->seed};
    drt_shapes_summary summary;
    if (hooks->progress) c.progress = (drt_progress){hooks->progress->report, hooks->progress->user, "drawing", 0, 0};
    return drt_shapes_generate(&c, &summary, err);
}

// Paths and seeds of a stage are the experiment's; everything else is the recipe's.
static drt_status load_stage(const drt_experiment *e, const drt_experiment_model *m, int stage, drt_recipe *r,
                             drt_error *err) {
    enum { OWN = 8, LINE = PATH_ROOM + 40 };
    char own[OWN][LINE];
    int n = 0;
    const char **all = calloc((size_t)(e->n_override + OWN), sizeof *all);
    if (!all) return drt_fail(err, DRT_ENOMEM, "no memory");
    for (int i = 0; i < e->n_override; i++) all[n++] = e->override[i];
    snprintf(own[0], LINE, "out=%s/%s/stage%d", e->out, m->name, stage + 1);
    snprintf(own[1], LINE, "data.file=%s/world/%s", e->out, stage ? "finetune.json" : "pretrain.json");
    snprintf(own[2], LINE, "seed=%llu", (unsigned long long)e->seed);
    snprintf(own[3], LINE, "checkpoint.resume=true");
    snprintf(own[4], LINE, "train.steps=%lld", (long long)e->steps[stage]);
    snprintf(own[5], LINE, "model=%s/%s/stage1/model", e->out, m->name);
    snprintf(own[6], LINE, "vision=");
    snprintf(own[7], LINE, "language=");
    for (int i = 0; i < OWN; i++)
        if ((i != 4 || e->steps[stage]) && (i < 5 || stage)) all[n++] = own[i];
    drt_status status = drt_recipe_load(r, m->recipe[stage], n, all, err);
    free(all);
    return status;
}

static drt_status train_stage(const drt_experiment *e, const drt_experiment_model *m, int stage,
                              const drt_run_hooks *hooks, drt_error *err) {
    drt_recipe r;
    char done[PATH_ROOM + 40];
    snprintf(done, sizeof done, "%s/%s/stage%d/model/config.json", e->out, m->name, stage + 1);
    if (drt_file_exists(done)) return DRT_OK;
    drt_status status = load_stage(e, m, stage, &r, err);
    if (status) return status;
    drt_experiment_say(hooks, "%s, stage %d: %s", m->title, stage + 1, m->recipe[stage]);
    drt_run_result result;
    status = drt_recipe_complete(&r, err);
    if (!status) status = drt_train_run(&r, hooks, &result, err);
    drt_recipe_free(&r);
    return status;
}

drt_status drt_experiment_run(const drt_experiment *e, const drt_run_hooks *hooks, drt_text *table, drt_error *err) {
    if (e->n < 1 || e->n > DRT_EXPERIMENT_MODELS)
        return drt_fail(err, DRT_EARG, "an experiment has 1 to %d models, not %d", DRT_EXPERIMENT_MODELS, e->n);
    if (strlen(e->out) + 80 > PATH_ROOM) return drt_fail(err, DRT_EARG, "the name of the folder is too long");
    drt_status status = drt_make_folders(e->out, err);
    if (!status) status = make_world(e, hooks, err);
    for (int i = 0; !status && i < e->n; i++)
        for (int stage = 0; !status && stage < 2; stage++) status = train_stage(e, &e->models[i], stage, hooks, err);
    if (status) return status;
    drt_findings *found = calloc((size_t)e->n, sizeof *found);
    if (!found) return drt_fail(err, DRT_ENOMEM, "no memory");
    for (int i = 0; !status && i < e->n; i++) {
        drt_recipe first;
        status = load_stage(e, &e->models[i], 0, &first, err);
        if (status) break;
        status = drt_experiment_examine(e, i, &first, hooks, &found[i], err);
        drt_recipe_free(&first);
    }
    if (!status) status = drt_experiment_report(e, found, table, err);
    for (int i = 0; i < e->n; i++) drt_findings_free(&found[i]);
    free(found);
    return status;
}
