// The model that a recipe starts from.
#include "align/bank.h"
#include "align/methods.h"
#include "base/file.h"
#include "train/optimizer.h"
#include "train/training.h"

#include <stdlib.h>
#include <string.h>

static drt_model_options options_of(const drt_recipe *r) {
    drt_model_options o = {.seed = (uint64_t)r->seed, .keep = r->dtype, .scales = r->s2_scales};
    if (r->objectives.image_order > 0 || r->objectives.text_order > 0) o.order_classes = (int)r->order.bank;
    if (r->weights == DRT_WEIGHTS_LEARNED) o.objectives = DRT_OBJECTIVES;
    o.temperature = r->objectives.sea > 0;
    if (r->objectives.patch_words > 0) o.probe_classes = drt_patch_classes_total();
    for (int g = 0; g < DRT_GROUPS; g++) o.learns[g] = drt_group_factor(r, (drt_group)g) > 0;
    // A part that no loss reads learns nothing: its state would be dead weight in every checkpoint.
    if (!(r->objectives.image_order > 0)) o.learns[DRT_ORDER_HEAD] = false;
    if (!o.order_classes || r->order.token == DRT_ORDER_VISUAL) o.learns[DRT_DIRECTED] = false;
    return o; // o.permuter is the caller's
}

// Where directed.safetensors is sought: beside the adapter that training goes on with, if it is there.
static bool directed_beside(const char *folder) {
    char *path = *folder ? drt_path_join(folder, "directed.safetensors") : NULL;
    bool there = path && drt_file_exists(path);
    free(path);
    return there;
}

static drt_status bank_for(const drt_recipe *r, drt_model *m, int32_t **bank, int *cells, drt_error *err) {
    int side = m->config.vision.image / m->config.vision.patch, grid = r->order.grid ? (int)r->order.grid : side,
        classes = 0;
    const char *folder = directed_beside(r->lora.from) ? r->lora.from : m->folder;
    drt_status status = folder ? drt_directed_load(m, folder, bank, &classes, cells, err) : DRT_OK;
    if (!status && *bank && (classes != r->order.bank || *cells != grid * grid))
        status = drt_fail(err, DRT_ECONFIG,
                          "%s/directed.safetensors holds %d permutations of %d cells, the recipe wants %lld of %d; "
                          "set order.bank and order.grid as in stage 1",
                          folder, classes, *cells, (long long)r->order.bank, grid * grid);
    if (!status && *bank) status = drt_bank_check(*bank, classes, *cells, err);
    if (!status && !*bank) {
        *cells = grid * grid;
        status = drt_bank_draw(bank, (int)r->order.bank, *cells, (uint64_t)r->seed, err);
    }
    return status;
}

drt_status drt_recipe_model(const drt_recipe *r, bool dry, drt_model **out, int32_t **bank, int *cells,
                            drt_progress *progress, drt_error *err) {
    static const drt_model_kind kind[] = {
        [DRT_TASK_LLAVA] = DRT_MODEL_LLAVA, [DRT_TASK_CLIP] = DRT_MODEL_CLIP, [DRT_TASK_LANGUAGE] = DRT_MODEL_LANGUAGE};
    static const char *const kind_name[] = {"llava", "clip", "language", "vision"};
    drt_model_options o = options_of(r);
    const drt_lora lora = {.rank = (int)r->lora.rank, .alpha = r->lora.alpha, .dropout = r->lora.dropout};
    if (drt_group_factor(r, DRT_ADAPTER) > 0) o.lora = &lora, o.targets = r->lora.targets;
    if (*r->lora.from) o.adapter = r->lora.from;
    // What is saved must be a folder for transformers; an adapter's base stays as it is.
    o.progress = progress;
    o.dry = dry;
    o.image_row = !o.lora && !o.adapter;
    const drt_permuter_shape permuter = drt_recipe_permuter(r);
    o.permuter = &permuter;
    *bank = NULL;
    *out = NULL;
    drt_status status;
    if (*r->model) status = drt_model_open(out, r->model, &o, err);
    else
        status = drt_model_assemble(out, r->vision, r->language, drt_projector_layers(r->projector),
                                    (int)r->vision_select_layer, &o, err);
    if (!status && (*out)->config.kind != kind[r->task])
        status =
            drt_fail(err, DRT_ECONFIG, "%s is a %s model, the recipe's task is %s",
                     *r->model ? r->model : "the assembled model", kind_name[(*out)->config.kind], kind_name[r->task]);
    if (!status && o.order_classes) status = bank_for(r, *out, bank, cells, err);
    if (!status && o.temperature && (*out)->folder) status = drt_sea_load(*out, (*out)->folder, err);
    if (!status && o.temperature && *r->lora.from) status = drt_sea_load(*out, r->lora.from, err);
    if (status) {
        drt_model_close(*out);
        free(*bank);
        *out = NULL;
        *bank = NULL;
    }
    return status;
}
