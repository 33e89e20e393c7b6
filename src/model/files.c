#include "model/files.h"

#include "base/file.h"
#include "format/hf_llava.h"

#include <stdlib.h>
#include <string.h>

static drt_status add_part(drt_model_files *f, const char *path, bool whole, drt_error *err) {
    drt_files_part *p = &f->part[f->parts];
    *p = (drt_files_part){.whole = whole};
    drt_status status = drt_weights_open(&p->weights, path, err);
    if (status) return status;
    f->parts++;
    p->folder = strdup(path);
    p->used = calloc((size_t)drt_weights_count(p->weights) + 1, sizeof *p->used);
    return p->folder && p->used ? DRT_OK : drt_fail(err, DRT_ENOMEM, "%s: no memory for its list of tensors", path);
}

// Sets *out to FOLDER/NAME if that is a folder; frees what it held.
static bool try_folder(char **out, const char *folder, const char *name) {
    free(*out);
    *out = drt_path_join(folder, name);
    return *out && drt_is_folder(*out);
}

// The folder of an original LLaVA's tower in f->vision, or NULL where a tower known by name has its weights inside.
static drt_status find_tower(drt_model_files *f, const char *folder, const char *wanted, drt_error *err) {
    drt_model_config *c = &f->config, eye;
    const char *slash = strrchr(c->tower, '/'), *last = slash ? slash + 1 : c->tower;
    char *beside = NULL;
    bool found = false;
    if (wanted) {
        f->vision = strdup(wanted);
        found = f->vision != NULL;
    } else {
        beside = drt_path_join(folder, "..");
        found = beside && (try_folder(&f->vision, folder, c->tower) || try_folder(&f->vision, folder, last) ||
                           try_folder(&f->vision, beside, last));
        free(beside);
    }
    if (!found) {
        free(f->vision);
        f->vision = NULL;
        if (c->tower_inside && drt_tower_known(&c->vision, c->tower)) return DRT_OK;
        return drt_fail(err, DRT_EIO,
                        "%s: its vision tower '%s' is not here; download that model and put it beside this folder as "
                        "'%s', or name its folder with --vision",
                        folder, c->tower, last);
    }
    drt_status status = drt_model_config_read(&eye, f->vision, err);
    if (!status && (!drt_has_vision(&eye) || !eye.vision.family))
        status = drt_fail(err, DRT_ECONFIG, "%s: has no vision tower of its own", f->vision);
    if (!status) c->vision = eye.vision;
    return status;
}

// mm_projector.bin, as stage 1 of the original LLaVA leaves it; *path is NULL if the folder has none.
static drt_status projector_file(char **path, const char *folder, drt_error *err) {
    *path = drt_path_join(folder, "mm_projector.bin");
    if (!*path) return drt_fail(err, DRT_ENOMEM, "no memory");
    if (drt_file_exists(*path)) return DRT_OK;
    free(*path);
    *path = NULL;
    return DRT_OK;
}

static drt_status open_original(drt_model_files *f, const char *folder, const char *vision, const char *language,
                                drt_error *err) {
    char *projector = NULL, *text = NULL;
    bool all[DRT_GROUPS] = {[DRT_PROJECTOR] = true, [DRT_LANGUAGE] = true, [DRT_VISION] = f->config.tower_inside};
    drt_status status = find_tower(f, folder, vision, err);
    if (!status) status = projector_file(&projector, folder, err);
    if (!status && !(text = strdup(language ? language : folder))) status = drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) {
        status = add_part(f, text, true, err);
        if (status == DRT_EIO && projector && !language)
            status = drt_fail(err, DRT_EIO,
                              "%s: holds mm_projector.bin and no other weights; name the folder of the language model "
                              "it was trained on with --language",
                              folder);
    }
    if (!status) memcpy(f->part[0].holds, all, sizeof all);
    // Programs with Phi-2 differ in it, and their configs do not tell.
    if (!status && !drt_weights_find(f->part[0].weights, "lm_head.bias")) f->config.language.head_bias = false;
    if (!status && projector) {
        status = add_part(f, projector, true, err);
        f->part[f->parts - 1].holds[DRT_PROJECTOR] = !status;
    }
    if (!status && f->vision) {
        bool inside = f->config.tower_inside;
        if (!inside) status = add_part(f, f->vision, false, err);
        if (!status && !inside) f->part[f->parts - 1].holds[DRT_VISION] = true;
    }
    f->text = text;
    free(projector);
    return status ? status : drt_model_config_check(&f->config, folder, err);
}

// TinyLLaVA Factory saves what it trains in a folder a part, what it publishes in one.
static drt_status open_parts(drt_model_files *f, const char *folder, drt_error *err) {
    static const struct {
        const char *name;
        drt_group group;
    } parts[] = {{"language_model", DRT_LANGUAGE}, {"vision_tower", DRT_VISION}, {"connector", DRT_PROJECTOR}};
    drt_status status = DRT_OK;
    for (int i = 0; i < 3 && !status; i++) {
        char *path = drt_path_join(folder, parts[i].name);
        status = path ? add_part(f, path, true, err) : drt_fail(err, DRT_ENOMEM, "no memory");
        if (!status) f->part[i].holds[parts[i].group] = true;
        free(path);
    }
    return status;
}

static bool has_parts(const char *folder) {
    char *path = drt_path_join(folder, "connector");
    bool is = path && drt_is_folder(path);
    free(path);
    return is;
}

drt_status drt_model_files_open(drt_model_files *f, const char *folder, const char *vision, const char *language,
                                drt_error *err) {
    *f = (drt_model_files){0};
    drt_status status = drt_model_config_read(&f->config, folder, err);
    if (!status && *f->config.tower) status = open_original(f, folder, vision, language, err);
    else if (!status) {
        bool parts = f->config.kind == DRT_MODEL_LLAVA && has_parts(folder);
        status = parts ? open_parts(f, folder, err) : add_part(f, folder, true, err);
        if (!status && !parts) memset(f->part[0].holds, 1, sizeof f->part[0].holds);
        if (!status) f->part[0].holds[DRT_PERMUTER] = false; // it has a file of its own
        f->text = strdup(folder);
        f->vision = strdup(folder);
        if (!status && (!f->text || !f->vision)) status = drt_fail(err, DRT_ENOMEM, "no memory");
    }
    if (status) drt_model_files_close(f);
    return status;
}

drt_status drt_model_files_pair(drt_model_files *f, const drt_model_config *like, const char *vision,
                                const char *language, drt_error *err) {
    drt_model_config eye, tongue;
    *f = (drt_model_files){.config = *like};
    drt_status status = drt_model_config_read(&eye, vision, err);
    if (!status) status = drt_model_config_read(&tongue, language, err);
    if (!status && (!drt_has_vision(&eye) || !eye.vision.family))
        status = drt_fail(err, DRT_ECONFIG, "%s: has no vision tower; CLIP, SigLIP and LLaVA have one", vision);
    if (!status && !drt_has_decoder(&tongue))
        status = drt_fail(err, DRT_ECONFIG, "%s: has no decoder; give the folder of a language model", language);
    if (status) return status;
    f->config.kind = DRT_MODEL_LLAVA;
    f->config.vision = eye.vision;
    f->config.language = tongue.language;
    memcpy(f->config.conversation, tongue.conversation, sizeof tongue.conversation);
    f->vision = strdup(vision);
    f->text = strdup(language);
    if (!f->vision || !f->text) status = drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = add_part(f, vision, false, err);
    if (!status) f->part[0].holds[DRT_VISION] = true;
    if (!status) status = add_part(f, language, tongue.kind == DRT_MODEL_LANGUAGE, err);
    if (!status) f->part[1].holds[DRT_LANGUAGE] = true;
    if (!status) status = drt_model_config_check(&f->config, "the assembled model", err);
    if (status) drt_model_files_close(f);
    return status;
}

void drt_model_files_close(drt_model_files *f) {
    for (int i = 0; i < f->parts; i++) {
        drt_weights_close(f->part[i].weights);
        free(f->part[i].folder), free(f->part[i].used);
    }
    free(f->vision), free(f->text);
    *f = (drt_model_files){0};
}

int64_t drt_model_files_numbers(const drt_model_files *f) {
    int64_t n = 0;
    for (int p = 0; p < f->parts; p++)
        for (int i = 0; i < drt_weights_count(f->part[p].weights); i++)
            n += drt_weight_elements(drt_weights_at(f->part[p].weights, i));
    return n;
}

const char *drt_model_files_dtype(const drt_model_files *f) {
    const char *all = NULL;
    for (int p = 0; p < f->parts; p++)
        for (int i = 0; i < drt_weights_count(f->part[p].weights); i++) {
            const char *own = drt_weights_at(f->part[p].weights, i)->dtype;
            if (!drt_weight_is_float(own)) continue;
            if (all && strcmp(all, own)) return "F32";
            all = own;
        }
    return all && !strcmp(all, "BF16") ? "BF16" : all && !strcmp(all, "F16") ? "F16" : "F32";
}

const drt_weight *drt_model_files_find(drt_model_files *f, const drt_slice *slice) {
    for (int i = 0; i < f->parts; i++) {
        drt_files_part *p = &f->part[i];
        const drt_weight *found = p->holds[slice->param->group] ? drt_layout_find(p->weights, slice) : NULL;
        if (!found) continue;
        p->used[found - drt_weights_at(p->weights, 0)] = true;
        return found;
    }
    return NULL;
}

const drt_weight *drt_model_files_stranger(const drt_model_files *f, int *part, int *at) {
    for (; *part < f->parts; ++*part, *at = 0) {
        const drt_files_part *p = &f->part[*part];
        while (p->whole && *at < drt_weights_count(p->weights)) {
            const drt_weight *t = drt_weights_at(p->weights, *at);
            if (!p->used[(*at)++] && !drt_layout_needless(&f->config, t->name)) return t;
        }
    }
    return NULL;
}

drt_status drt_model_files_refuse(const drt_weight *stranger, drt_error *err) {
    return drt_fail(err, DRT_EFORMAT, "%s: tensor '%s' belongs to no part of the model that config.json describes",
                    stranger->file, stranger->name);
}
