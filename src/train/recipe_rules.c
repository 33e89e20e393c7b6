// What must hold between keys of a recipe.
#include "train/optimizer.h"
#include "train/recipe_keys.h"

#include "base/memory.h"

#include <math.h>
#include <stddef.h>

// Objectives by the task that can compute them.
static drt_status check_objectives(const drt_recipe *r, const drt_recipe_key **key, drt_error *err) {
    const struct {
        const char *path;
        double weight;
        drt_task tasks[2]; // both may be the same
        const char *why;
    } rows[] = {
        {"objectives.language", r->objectives.language, {DRT_TASK_LLAVA, DRT_TASK_LANGUAGE}, "it predicts next tokens"},
        {"objectives.image_order",
         r->objectives.image_order,
         {DRT_TASK_LLAVA, DRT_TASK_LLAVA},
         "it shuffles a picture that a language model sees"},
        {"objectives.text_order",
         r->objectives.text_order,
         {DRT_TASK_LLAVA, DRT_TASK_LLAVA},
         "it orders words by looking at a picture"},
        {"objectives.guided",
         r->objectives.guided,
         {DRT_TASK_LLAVA, DRT_TASK_LLAVA},
         "it guides a language model's attention to a picture"},
        {"objectives.contrastive",
         r->objectives.contrastive,
         {DRT_TASK_CLIP, DRT_TASK_CLIP},
         "it compares two towers' embeddings"},
        {"objectives.patch_words",
         r->objectives.patch_words,
         {DRT_TASK_CLIP, DRT_TASK_CLIP},
         "it trains a vision tower's patches"},
        {"objectives.sea",
         r->objectives.sea,
         {DRT_TASK_LLAVA, DRT_TASK_LLAVA},
         "it draws visual tokens to a language model's words"},
    };
    static const char *const tasks[] = {"llava", "clip", "language"};
    double sum = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sum += rows[i].weight;
        if (rows[i].weight == 0 || r->task == rows[i].tasks[0] || r->task == rows[i].tasks[1]) continue;
        *key = drt_recipe_key_find(rows[i].path);
        return drt_fail(err, DRT_ECONFIG, "%s: %s, which task %s does not do; set it to 0, or task: %s", rows[i].path,
                        rows[i].why, tasks[r->task], tasks[rows[i].tasks[0]]);
    }
    *key = drt_recipe_key_find("task");
    if (sum == 0) return drt_fail(err, DRT_ECONFIG, "objectives: all weights are 0, so there is nothing to learn");
    *key = drt_recipe_key_find("token_mixer.order");
    if (r->token_mixer.order != DRT_INPUT_NONE && r->task != DRT_TASK_LLAVA)
        return drt_fail(err, DRT_ECONFIG,
                        "token_mixer.order: it orders visual tokens and words, and task %s has no two of them in one "
                        "sequence; set it to none, or task: llava",
                        tasks[r->task]);
    if (r->token_mixer.order == DRT_INPUT_GPS && r->objectives.image_order > 0 && r->order.token == DRT_ORDER_VISUAL)
        return drt_fail(err, DRT_ECONFIG,
                        "token_mixer.order: gps mixes visual rows with words, and order.token=visual reads the visual "
                        "rows; set order.token to end or start");
    return DRT_OK;
}

static drt_status check_parts(const drt_recipe *r, const drt_recipe_key **key, drt_error *err) {
    double learning = 0;
    if (r->task == DRT_TASK_LLAVA)
        learning = r->groups.vision + r->groups.projector + r->groups.language + r->groups.directed +
                   r->groups.order_head + (r->token_mixer.order == DRT_INPUT_GPS ? r->groups.permuter : 0);
    else if (r->task == DRT_TASK_CLIP)
        learning = r->groups.vision + r->groups.clip_text + r->groups.clip_projection + r->groups.patch_head;
    else learning = r->groups.language;
    learning += *r->lora.targets || *r->lora.from;
    *key = drt_recipe_key_find(r->task == DRT_TASK_LANGUAGE ? "groups.language" : "groups.vision");
    if (learning == 0)
        return drt_fail(err, DRT_ECONFIG, "groups: every part that this task trains is frozen; raise one above 0");
    *key = drt_recipe_key_find("projector");
    if (drt_projector_layers(r->projector) < 0)
        return drt_fail(err, DRT_ECONFIG, "projector: '%s' is not one of linear, identity, mlpNx_gelu (N to %d)",
                        r->projector, DRT_PROJECTOR_LAYERS);
    *key = drt_recipe_key_find("model");
    if (*r->model && (*r->vision || *r->language))
        return drt_fail(err, DRT_ECONFIG,
                        "model: a whole model and parts to assemble (%s) are both given; leave one of them empty",
                        *r->vision ? "vision" : "language");
    return DRT_OK;
}

static drt_status check_sea(const drt_recipe *r, const drt_recipe_key **key, drt_error *err) {
    *key = drt_recipe_key_find("objectives.sea");
    if (!(r->objectives.sea > 0)) return DRT_OK;
    if (r->groups.vision > 0)
        return drt_fail(err, DRT_ECONFIG,
                        "objectives.sea: labels are of the vision tower as it was; set groups.vision=0");
    return DRT_OK;
}

static drt_status check_lora(const drt_recipe *r, const drt_recipe_key **key, drt_error *err) {
    *key = drt_recipe_key_find(*r->lora.from ? "lora.from" : "lora.targets");
    if (!*r->lora.targets && !*r->lora.from) return DRT_OK;
    if (*r->lora.targets && *r->lora.from)
        return drt_fail(err, DRT_ECONFIG,
                        "lora.from: a folder's adapters are what they are; leave lora.targets empty with it");
    static const drt_group frozen[][4] = {
        [DRT_TASK_LLAVA] = {DRT_LANGUAGE, DRT_VISION, DRT_LANGUAGE, DRT_VISION},
        [DRT_TASK_CLIP] = {DRT_VISION, DRT_CLIP_TEXT, DRT_CLIP_PROJECTION, DRT_TEMPERATURE},
        [DRT_TASK_LANGUAGE] = {DRT_LANGUAGE, DRT_LANGUAGE, DRT_LANGUAGE, DRT_LANGUAGE}};
    for (int i = 0; i < 4; i++)
        if (drt_group_factor(r, frozen[r->task][i]) > 0)
            return drt_fail(err, DRT_ECONFIG, "%s: adapters stand beside frozen weights; set groups.%s=0", (*key)->path,
                            drt_group_names[frozen[r->task][i]]);
    return DRT_OK;
}

static drt_status check_sizes(const drt_recipe *r, const drt_recipe_key **key, drt_error *err) {
    int64_t bytes;
    *key = drt_recipe_key_find("memory");
    if (*r->memory && !drt_memory_parse(r->memory, &bytes))
        return drt_fail(err, DRT_ECONFIG, "memory: '%s' is no size; write it as 4G, 512M or 4GB", r->memory);
    *key = drt_recipe_key_find("train.epochs");
    if (r->train.epochs == 0 && r->train.steps == 0)
        return drt_fail(err, DRT_ECONFIG, "train.epochs: it is 0 and so is train.steps; raise one of them");
    *key = drt_recipe_key_find("train.accumulate");
    if (r->train.batch % r->train.accumulate)
        return drt_fail(err, DRT_ECONFIG, "train.accumulate: %lld does not divide train.batch (%lld)",
                        (long long)r->train.accumulate, (long long)r->train.batch);
    if (r->train.accumulate > 1 && r->train.tokens > 0)
        return drt_fail(err, DRT_ECONFIG,
                        "train.accumulate: it and train.tokens both say how a batch is divided; give one of them");
    *key = drt_recipe_key_find("optimizer.min_lr");
    if (r->optimizer.min_lr > r->optimizer.lr)
        return drt_fail(err, DRT_ECONFIG, "optimizer.min_lr: %g is above optimizer.lr (%g)", r->optimizer.min_lr,
                        r->optimizer.lr);
    return DRT_OK;
}

static drt_status check_validation(const drt_recipe *r, const drt_recipe_key **key, drt_error *err) {
    const char *path = r->validate.every                       ? "validate.every"
                       : r->validate.samples                   ? "validate.samples"
                       : r->validate.patience                  ? "validate.patience"
                       : r->checkpoint.final == DRT_FINAL_BEST ? "checkpoint.final"
                                                               : NULL;
    if (*r->data.validation) {
        *key = drt_recipe_key_find("validate.patience");
        if (r->validate.patience && !r->validate.every)
            return drt_fail(err, DRT_ECONFIG,
                            "validate.patience: there is one validation, at the end; say how often in validate.every");
        return DRT_OK;
    }
    if (!path) return DRT_OK;
    *key = drt_recipe_key_find(path);
    return drt_fail(err, DRT_ECONFIG, "%s: there is nothing to validate on; name a file in data.validation", path);
}

const drt_template *drt_recipe_template(const drt_recipe *r) {
    char name[64];
    bool named = drt_recipe_choice(drt_recipe_key_find("data.template")->choices, r->data.template, name);
    return named && r->data.template != DRT_TEMPLATE_AUTO ? drt_template_find(name) : NULL;
}

drt_token_mixer drt_recipe_mixer(const drt_recipe *r) {
    return (drt_token_mixer){r->token_mixer.order, (float)r->token_mixer.tau, r->token_mixer.side};
}

drt_permuter_shape drt_recipe_permuter(const drt_recipe *r) {
    if (r->token_mixer.order != DRT_INPUT_GPS) return (drt_permuter_shape){0};
    return (drt_permuter_shape){.hidden = r->gps.ffn, .layers = (int)r->gps.layers};
}

drt_gps_how drt_recipe_gps(const drt_recipe *r, int64_t step, int64_t steps) {
    drt_gps_how how = drt_gps_defaults;
    how.alpha = (float)r->gps.alpha;
    // Far below what the bound on scores lets through, and still a number to divide by.
    how.tau = fmaxf(drt_gps_tau((float)r->gps.tau_first, (float)r->gps.tau_last, step, steps), 1e-6f);
    how.sinkhorn.sweeps = (int)r->gps.sweeps;
    how.sinkhorn.implicit = r->gps.gradient == DRT_GPS_IMPLICIT;
    how.choice = r->gps.hard;
    how.hard = r->gps.hard_from < 1 && (double)step >= r->gps.hard_from * (double)steps;
    return how;
}

drt_status drt_recipe_contradiction(const drt_recipe *r, const drt_recipe_key **key, drt_error *err) {
    drt_status status = check_objectives(r, key, err);
    if (!status) status = check_parts(r, key, err);
    if (!status) status = check_lora(r, key, err);
    if (!status) status = check_sea(r, key, err);
    if (!status) status = check_sizes(r, key, err);
    if (!status) status = check_validation(r, key, err);
    return status;
}

drt_status drt_recipe_complete(const drt_recipe *r, drt_error *err) {
    static const char *const hint = "give it in the recipe or on the command line";
    if (!*r->out) return drt_fail(err, DRT_ECONFIG, "out: the run folder is not named; %s (out=FOLDER)", hint);
    if (!*r->data.file) return drt_fail(err, DRT_ECONFIG, "data.file: no samples are named; %s (data.file=FILE)", hint);
    if (r->objectives.sea > 0 && !*r->sea.labels)
        return drt_fail(
            err, DRT_ECONFIG,
            "sea.labels: objective sea needs the words of every patch; make them with drt sea-labels and %s "
            "(sea.labels=FILE)",
            hint);
    if (*r->model) return DRT_OK;
    if (*r->lora.targets || *r->lora.from)
        return drt_fail(err, DRT_ECONFIG,
                        "model: an adapter belongs to a model's folder; make one with `drt assemble` and name it");
    if (r->task != DRT_TASK_LANGUAGE && !*r->vision)
        return drt_fail(err, DRT_ECONFIG, "model: no model is named, and no vision tower to assemble one; %s", hint);
    if (r->task != DRT_TASK_CLIP && !*r->language)
        return drt_fail(err, DRT_ECONFIG, "model: no model is named, and no language model to assemble one; %s", hint);
    return DRT_OK;
}
