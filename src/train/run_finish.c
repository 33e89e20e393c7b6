// What a run leaves at its end.
#include "train/run_parts.h"

#include "base/file.h"
#include "eval/curves.h"
#include "eval/log_read.h"
#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

// curves.svg: the loss and its parts over the steps.
static drt_status draw_curves(const drt_run *u, drt_error *err) {
    enum { MOST = 1 + DRT_OBJECTIVES };
    drt_run_log log;
    drt_status status = drt_run_log_of(&log, u->r->out, err);
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
    status = svg.failed ? drt_fail(err, DRT_ENOMEM, "no memory")
                        : drt_run_file(u->r, "curves.svg", svg.bytes, svg.size, err);
    drt_text_free(&svg);
    drt_run_log_free(&log);
    return status;
}

// The weights that model/ is made of, where they are not those of the last step.
static drt_status take_best(drt_run *u, drt_error *err) {
    if (u->r->checkpoint.final != DRT_FINAL_BEST || u->best.step == u->step) return DRT_OK;
    if (!u->kept || u->kept != u->best.step)
        return drt_fail(err, DRT_EIO,
                        "%s: the best validation was after step %lld, and its checkpoint is not there; "
                        "checkpoint.final=last --resume makes the model of the last step",
                        u->r->out, (long long)u->best.step);
    drt_run_say(u, "the model is of step %lld, the best validation (%.4f)", (long long)u->best.step, u->best.loss);
    return drt_checkpoint_load(u->t.m->params, u->r->out, u->best.step, err);
}

drt_status drt_run_finish(drt_run *u, drt_error *err) {
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
    drt_status status = folder ? drt_run_save(u, u->r->checkpoint.keep, err) : drt_fail(err, DRT_ENOMEM, "no memory");
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
