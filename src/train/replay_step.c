#include "train/replay_step.h"

#include "base/file.h"
#include "train/blame.h"
#include "train/checkpoint.h"
#include "train/step_file.h"
#include "train/training.h"

#include <stdlib.h>
#include <string.h>

// The folder of the run that left RUN/replay/FILE; malloc'ed.
static char *run_of(const char *file, drt_error *err) {
    char *folder = strdup(file);
    for (int i = 0; i < 2 && folder; i++) {
        char *slash = strrchr(folder, '/');
        if (slash) *slash = 0;
        else strcpy(folder, i ? "." : "..");
        if (!slash && !i) break; // a bare name: the working folder is RUN/replay
    }
    if (!folder) drt_fail(err, DRT_ENOMEM, "%s: no memory", file);
    return folder;
}

static drt_status measure(drt_training *t, const char *file, const char *run, drt_step_replay *out, drt_error *err) {
    drt_align_options options;
    drt_pack_options pack;
    drt_error said = {0};
    drt_step_data d = {.arena = drt_arena_new(0)};
    drt_blame *blame = NULL;
    drt_status status = d.arena ? drt_loader_settings(t->r, t->m, t->bank, &options, &pack, err)
                                : drt_fail(err, DRT_ENOMEM, "%s: no memory", file);
    int64_t step = 0;
    if (!status) status = drt_step_file_read(file, t->r, t->m, &pack, &d, &step, err);
    if (!status && step) status = drt_checkpoint_load(t->m->params, run, step, err);
    if (!status && !(blame = calloc((size_t)d.samples + 1, sizeof *blame)))
        status = drt_fail(err, DRT_ENOMEM, "%s: no memory", file);
    out->step = step + 1;
    out->samples = d.samples;
    if (!status) {
        drt_status how = drt_train_measure(t->tape, t->m, t->r, &options, &d, step, step + 1, &out->report, &said);
        out->finite = !how;
        if (how && how != DRT_ENUMERIC) status = how, *err = said;
    }
    const drt_blame_with who = {t->tape, t->m, t->r, &options, &pack};
    if (!status && drt_blame_possible(t->r)) status = drt_blame_samples(&who, &d, blame, err);
    if (!status && out->finite)
        drt_text_printf(&out->text, "step %lld again: loss %.6g, gradient %.6g; all is finite\n", (long long)out->step,
                        out->report.loss, out->report.grad_norm);
    else if (!status) drt_text_printf(&out->text, "%s\n", said.text);
    for (int i = 0; i < d.samples && !status && drt_blame_possible(t->r); i++) {
        out->bad += *blame[i].where != 0;
        drt_text_puts(&out->text, "  ");
        drt_blame_text(&blame[i], 1, 1, &out->report, &out->text);
        drt_text_puts(&out->text, "\n");
    }
    if (!status && out->text.failed) status = drt_fail(err, DRT_ENOMEM, "%s: no memory", file);
    free(blame);
    if (d.arena) drt_arena_free(d.arena);
    return status;
}

drt_status drt_replay_step(const char *file, int n, const char *const *overrides, drt_progress *progress,
                           drt_step_replay *out, drt_error *err) {
    *out = (drt_step_replay){0};
    drt_training t = {0};
    drt_recipe r;
    char *run = run_of(file, err), *path = run ? drt_path_join(run, "recipe.yaml") : NULL;
    if (!path) {
        free(run);
        return drt_fail(err, DRT_ENOMEM, "%s: no memory", file);
    }
    drt_status status = drt_file_exists(file) ? drt_recipe_load(&r, path, n, overrides, err)
                                              : drt_fail(err, DRT_EIO, "%s: no such file", file);
    if (!status) {
        status = drt_training_open(&t, &r, false, progress, err);
        if (!status) status = measure(&t, file, run, out, err);
        drt_training_close(&t);
        drt_recipe_free(&r);
    }
    free(run), free(path);
    if (status) drt_step_replay_free(out);
    return status;
}

void drt_step_replay_free(drt_step_replay *s) { drt_text_free(&s->text); }
