#include "model/layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// In a checkpoint `put` stands for the front `drop` of drt's own name.
typedef struct {
    const char *drop, *put;
} place;
static const place vision_places[] = {{"", ""},
                                      {"vision_model.", ""},
                                      {"", "vision_tower."},
                                      {"", "model.vision_tower."},
                                      {"vision_model.", "vision_tower."},
                                      {"vision_model.", "model.vision_tower."},
                                      {"", "model.vision_tower.vision_tower."},
                                      {"", "vision_tower._vision_tower."},
                                      {0}};
static const place language_places[] = {{"", ""}, {"", "language_model."}, {"model.", "model.language_model."}, {0}};
static const place other_places[] = {{"", ""}, {"", "model."}, {0}};

// multi_modal_projector.linear_3.weight -> N = 3 and ".weight"; 0 if the name is of another form.
static int projector_layer(const char *name, const char **rest) {
    static const char front[] = "multi_modal_projector.linear_";
    if (strncmp(name, front, sizeof front - 1)) return 0;
    char *end;
    long n = strtol(name + sizeof front - 1, &end, 10);
    *rest = end;
    return n > 0 && n <= DRT_PROJECTOR_LAYERS ? (int)n : 0;
}

// The original's names and TinyLLaVA's: the linear layers of a torch.nn.Sequential with GELU between them, or one layer
// without number.
static const drt_weight *find_projector(const drt_weights *w, const char *name) {
    static const char *const fronts[] = {"model.mm_projector", "mm_projector", "connector._connector", "_connector"};
    const char *rest;
    char other[200];
    int layer = projector_layer(name, &rest);
    for (size_t i = 0; layer && i < 2 * sizeof fronts / sizeof *fronts; i++) {
        if (i % 2 && layer > 1) continue;
        if (i % 2) snprintf(other, sizeof other, "%s%s", fronts[i / 2], rest);
        else snprintf(other, sizeof other, "%s.%d%s", fronts[i / 2], 2 * (layer - 1), rest);
        const drt_weight *found = drt_weights_find(w, other);
        if (found) return found;
    }
    return NULL;
}

// `tail` takes the place of the last `cut` characters.
static const drt_weight *find(const drt_weights *w, const drt_slice *slice, const char *front, size_t cut,
                              const char *tail) {
    char name[400];
    drt_group g = slice->param->group;
    const place *p = g == DRT_VISION ? vision_places : g == DRT_LANGUAGE ? language_places : other_places;
    for (; p->put; p++) {
        size_t drop = strlen(p->drop);
        if (strncmp(slice->name, p->drop, drop)) continue;
        const char *rest = slice->name + drop;
        snprintf(name, sizeof name, "%s%s%.*s%s", front, p->put, (int)(strlen(rest) - cut), rest, tail);
        const drt_weight *found = drt_weights_find(w, name);
        if (found) return found;
    }
    return NULL;
}

const drt_weight *drt_layout_find(const drt_weights *w, const drt_slice *slice) {
    const drt_weight *found = find(w, slice, "", 0, "");
    return found || slice->param->group != DRT_PROJECTOR ? found : find_projector(w, slice->name);
}

const drt_weight *drt_layout_find_beside(const drt_weights *w, const drt_slice *slice, const char *front,
                                         const char *tail) {
    return find(w, slice, front, sizeof ".weight" - 1, tail);
}

void drt_layout_module(char *out, size_t room, const drt_model_config *c, const drt_slice *slice) {
    const char *name = slice->name, *front = "";
    size_t cut = sizeof ".weight" - 1;
    if (c->kind == DRT_MODEL_LLAVA && strcmp(name, "lm_head.weight")) {
        drt_group g = slice->param->group;
        front = g == DRT_VISION ? "model.vision_tower." : g == DRT_LANGUAGE ? "model.language_model." : "model.";
        name += g == DRT_VISION ? sizeof "vision_model." - 1 : g == DRT_LANGUAGE ? sizeof "model." - 1 : 0;
    }
    snprintf(out, room, "%s%.*s", front, (int)(strlen(name) - cut), name);
}

void drt_layout_name(char *out, size_t room, drt_layout layout, const drt_model_config *c, const drt_slice *slice) {
    drt_group g = slice->param->group;
    const char *rest, *front = "";
    int layer = g == DRT_PROJECTOR ? projector_layer(slice->name, &rest) : 0;
    if (layout == DRT_LAYOUT_LLAVA && layer) {
        if (c->projector == 1) snprintf(out, room, "model.mm_projector%s", rest);
        else snprintf(out, room, "model.mm_projector.%d%s", 2 * (layer - 1), rest);
        return;
    }
    if (layout == DRT_LAYOUT_HF && c->kind == DRT_MODEL_LLAVA)
        front = g == DRT_VISION ? "vision_tower." : g == DRT_LANGUAGE ? "language_model." : "";
    snprintf(out, room, "%s%s", front, slice->name);
}

bool drt_layout_needless(const drt_model_config *c, const char *name) {
    static const char *const endings[] = {"embeddings.position_ids", "rotary_emb.inv_freq", "lm_head.weight"};
    static const char inside[] = "model.vision_tower.";
    const int all = c->language.tied && drt_has_decoder(c) ? 3 : 2;
    size_t n = strlen(name);
    for (int i = 0; i < all; i++) {
        size_t tail = strlen(endings[i]);
        if (n >= tail && !strcmp(name + n - tail, endings[i])) return true;
    }
    return *c->tower && !strncmp(name, inside, sizeof inside - 1);
}

void drt_shape_text(char *out, size_t room, int ndim, const int64_t *shape) {
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < ndim && at < room; i++)
        at += (size_t)snprintf(out + at, room - at, "%s%lld", i ? "x" : "", (long long)shape[i]);
    if (!ndim) snprintf(out, room, "a scalar");
}

drt_status drt_layout_fits(const drt_slice *slice, const drt_weight *found, const char *folder, drt_error *err) {
    char want[100], have[200];
    drt_shape_text(want, sizeof want, slice->ndim, slice->shape);
    if (!found)
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%s' (%s) is missing; is this the folder of such a model?",
                        folder, slice->name, want);
    bool same = found->ndim == slice->ndim || (!slice->ndim && found->ndim == 1 && found->shape[0] == 1);
    for (int i = 0; same && i < slice->ndim; i++) same = found->shape[i] == slice->shape[i];
    if (!same) {
        drt_shape_text(have, sizeof have, found->ndim, found->shape);
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%s' is %s, config.json says %s", found->file, found->name, have,
                        want);
    }
    if (!drt_weight_is_float(found->dtype))
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%s' is %s; F32, BF16 or F16 is needed here: convert it",
                        found->file, found->name, found->dtype);
    return DRT_OK;
}

drt_status drt_layout_finite(const drt_weight *found, drt_error *err) {
    int64_t at = drt_weight_not_finite(found);
    float x;
    if (at < 0) return DRT_OK;
    int size = drt_weight_dtype_size(found->dtype);
    drt_weight_numbers(&x, found->dtype, (const char *)found->bytes + at * size, 1);
    return drt_fail(err, DRT_ENUMERIC, "%s: tensor '%s' holds %s at element %lld", found->file, found->name,
                    isnan(x) ? "NaN" : "infinity", (long long)at);
}
