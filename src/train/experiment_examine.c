#include "train/experiment_parts.h"

#include "base/file.h"
#include "train/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER_PASSES = 2, PUZZLES = 300 };

void drt_findings_free(drt_findings *f) {
    drt_eval_result_free(&f->sighted);
    drt_eval_result_free(&f->blind);
}

typedef struct {
    const drt_experiment *e;
    drt_tape *tape;
    const drt_token_mixer *mixer; // order of the input; NULL: the model's own
    char world[PATH_ROOM], captions[PATH_ROOM + 30], order[PATH_ROOM + 30];
    drt_progress progress;
} bench;

static drt_puzzle_options puzzle(bench *b, const char *file, bool blind) {
    return (drt_puzzle_options){.file = file,
                                .images = b->world,
                                .blind = blind,
                                .limit = b->e->limit ? b->e->limit : PUZZLES,
                                .order = b->mixer,
                                .seed = b->e->seed};
}

// The guided mass of the model that stage 1 starts from.
static drt_status mass_before(bench *b, const drt_recipe *first, drt_findings *f, drt_error *err) {
    drt_model *m = NULL;
    int32_t *bank = NULL;
    int cells;
    drt_status status = drt_recipe_model(first, false, &m, &bank, &cells, NULL, err);
    const drt_puzzle_options o = puzzle(b, b->captions, false);
    if (!status) status = drt_eval_guided_mass(m, b->tape, &o, &f->mass_before, err);
    drt_model_close(m);
    free(bank);
    return status;
}

static drt_status puzzles(bench *b, drt_model *m, const int32_t *bank, int grid, drt_order_token token, drt_findings *f,
                          drt_error *err) {
    const drt_puzzle_options captions = puzzle(b, b->captions, false), seen = puzzle(b, b->order, false),
                             unseen = puzzle(b, b->order, true);
    drt_status status = drt_eval_guided_mass(m, b->tape, &captions, &f->mass_after, err);
    if (!status && bank)
        status = drt_eval_image_order(m, b->tape, bank, f->classes, grid, token, ORDER_PASSES, &captions,
                                      &f->image_order, err);
    if (!status) status = drt_eval_text_order(m, b->tape, &seen, &f->order, err);
    if (!status) status = drt_eval_text_order(m, b->tape, &unseen, &f->order_blind, err);
    return status;
}

static drt_status questions(bench *b, const drt_model *m, drt_findings *f, drt_error *err) {
    static const char *const all[] = {"exist", "count", "color", "relation", "text", "choice"};
    const drt_experiment *e = b->e;
    drt_eval_options o = {.data = b->world,
                          .tasks = e->tasks ? e->tasks : all,
                          .n_tasks = e->tasks ? e->n_tasks : 6,
                          .limit = e->limit,
                          .order = b->mixer,
                          .progress = &b->progress};
    o.max_new_tokens = 16; // the longest answer of this world has two words
    drt_status status = drt_eval_run(m, b->tape, &o, &f->sighted, err);
    o.blind = true;
    return status ? status : drt_eval_run(m, b->tape, &o, &f->blind, err);
}

static drt_status costs(const drt_experiment *e, int model, int from, drt_findings *f, drt_error *err) {
    drt_status status = DRT_OK;
    for (int stage = 0; stage < 2 && !status; stage++) {
        char folder[PATH_ROOM];
        double seconds, flops = 0;
        drt_experiment_folder(e, stage ? model : from, stage, folder);
        status = drt_run_sum(folder, "seconds", &seconds, err);
        if (!status) status = drt_run_sum(folder, "flops", &flops, err);
        f->train_seconds += seconds;
        f->train_flops += flops;
    }
    return status;
}

drt_status drt_experiment_examine(const drt_experiment *e, int model, const drt_experiment_plan *plan,
                                  const drt_run_hooks *hooks, drt_findings *f, drt_error *err) {
    bench b = {.e = e};
    char folder[PATH_ROOM + 20], adapter[PATH_ROOM + 60];
    const drt_recipe *first = &plan->recipe[0];
    const drt_token_mixer mixer = drt_recipe_mixer(&plan->recipe[1]); // an adapter's folder does not tell
    drt_device *dev = NULL;
    drt_model *m = NULL;
    int32_t *bank = NULL;
    int grid = 0;
    snprintf(b.world, sizeof b.world, "%s/world", e->out);
    snprintf(b.captions, sizeof b.captions, "%s/eval/captions.json", b.world);
    snprintf(b.order, sizeof b.order, "%s/eval/order.json", b.world);
    // A stage 2 that trained an adapter left its base where it was.
    snprintf(adapter, sizeof adapter, "%s/adapter/adapter_config.json", plan->recipe[1].out);
    bool beside = drt_file_exists(adapter);
    *strrchr(adapter, '/') = 0;
    if (beside) snprintf(folder, sizeof folder, "%s", plan->recipe[1].model);
    else snprintf(folder, sizeof folder, "%s/model", plan->recipe[1].out);
    if (hooks->progress) b.progress = (drt_progress){hooks->progress->report, hooks->progress->user, "asking", 0, 0};
    drt_experiment_say(hooks, "%s: questions with and without the picture, puzzles", e->models[model].title);
    drt_status status = drt_device_open(&dev, first->device, (int)first->threads, err);
    if (!status && !(b.tape = drt_tape_new(dev, err))) status = DRT_ENOMEM;
    if (!status) status = mass_before(&b, first, f, err);
    b.mixer = &mixer;
    if (!status)
        status =
            drt_puzzle_model_open(&m, folder, beside ? adapter : NULL, DRT_KEEP_F32, &bank, &f->classes, &grid, err);
    if (!status) status = questions(&b, m, f, err);
    if (!status) status = puzzles(&b, m, bank, grid, plan->recipe[1].order.token, f, err);
    if (!status) status = costs(e, model, plan->from, f, err);
    drt_model_close(m);
    free(bank);
    drt_tape_free(b.tape);
    drt_device_close(dev);
    return status;
}
