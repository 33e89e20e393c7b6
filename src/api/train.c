// The public face of training, and of the shapes world that small models train on.
#include "api/watcher.h"

#include "data/shapes.h"
#include "train/run.h"

const char *drt_version(void) { return DRT_VERSION; }

static void report(drt_progress *p, int64_t done, int64_t total, double seconds) {
    const drt_watcher *w = p->user;
    (void)seconds;
    w->on_progress(w->user, p->what, done, total);
}

drt_progress drt_watcher_progress(drt_watcher *w, const char *what) {
    return (drt_progress){.report = w->on_progress ? report : NULL, .user = w, .what = what};
}

drt_status drt_world_make(const drt_world *world, drt_error *err) {
    drt_watcher w = {world->on_progress, world->user};
    const drt_shapes_config c = {.out = world->folder,
                                 .train = world->train,
                                 .eval = world->eval,
                                 .text = world->text,
                                 .seed = world->seed,
                                 .progress = drt_watcher_progress(&w, "drawing")};
    drt_shapes_summary summary;
    return drt_shapes_generate(&c, &summary, err);
}

static void step(void *user, const drt_log_view *v) {
    const drt_training_hooks *h = user;
    const drt_training_view view = {v->step, v->total, v->n_losses ? v->losses[0] : 0, v->tokens_per_second,
                                    v->seconds_left};
    h->on_step(h->user, &view);
}

static int stop(void *user) {
    const drt_training_hooks *h = user;
    return h->stop(h->user);
}

drt_status drt_train(const char *recipe, const char *const *overrides, int n, const drt_training_hooks *hooks,
                     drt_training_result *result, drt_error *err) {
    drt_training_hooks h = hooks ? *hooks : (drt_training_hooks){0};
    const drt_run_hooks run = {.say = h.on_line,
                               .say_user = h.user,
                               .watch = h.on_step ? step : NULL,
                               .watch_user = &h,
                               .stop = h.stop ? stop : NULL,
                               .stop_user = &h};
    drt_recipe r;
    drt_run_result done = {0};
    if (result) *result = (drt_training_result){0};
    drt_status status = drt_recipe_load(&r, recipe, n, overrides, err);
    if (status) return status;
    status = drt_recipe_complete(&r, err);
    if (!status) status = drt_train_run(&r, &run, &done, err);
    if (!status && result)
        *result = (drt_training_result){done.steps, done.skipped, done.loss, done.seconds, done.weights};
    drt_recipe_free(&r);
    return status;
}
