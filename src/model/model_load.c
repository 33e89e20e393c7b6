// Reading and assembling models from Hugging Face folders.
#include "model/model.h"

#include "base/file.h"
#include "format/weights.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Where a tensor may stand in a checkpoint, by the part it belongs to: alone, in llava-hf, in newer transformers.
// `drop` is the front of drt's own name that stands there no more (transformers 5 has no "vision_model." inside a
// LLaVA).
typedef struct {
    const char *prefix, *drop;
} place;
static const place vision_places[] = {{"", ""},
                                      {"", "vision_model."},
                                      {"vision_tower.", ""},
                                      {"model.vision_tower.", ""},
                                      {"vision_tower.", "vision_model."},
                                      {"model.vision_tower.", "vision_model."},
                                      {0}};
static const place language_places[] = {{"", ""}, {"language_model.", ""}, {"model.language_model.", "model."}, {0}};
static const place other_places[] = {{"", ""}, {"model.", ""}, {0}};

static const drt_weight *find(const drt_weights *s, const drt_slice *slice) {
    char name[400];
    drt_group g = slice->param->group;
    const place *p = g == DRT_VISION ? vision_places : g == DRT_LANGUAGE ? language_places : other_places;
    for (; p->prefix; p++) {
        size_t drop = strlen(p->drop);
        if (strncmp(slice->name, p->drop, drop)) continue;
        snprintf(name, sizeof name, "%s%s", p->prefix, slice->name + drop);
        const drt_weight *found = drt_weights_find(s, name);
        if (found) return found;
    }
    return NULL;
}

static void shape_text(char *out, size_t room, int ndim, const int64_t *shape) {
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < ndim && at < room; i++)
        at += (size_t)snprintf(out + at, room - at, "%s%lld", i ? "x" : "", (long long)shape[i]);
    if (!ndim) snprintf(out, room, "a scalar");
}

static drt_status slice_load(const drt_slice *slice, const drt_weight *found, const char *folder, drt_error *err) {
    char want[80], have[80];
    shape_text(want, sizeof want, slice->ndim, slice->shape);
    if (!found)
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%s' (%s) is missing; is this the folder of such a model?",
                        folder, slice->name, want);
    bool same = found->ndim == slice->ndim || (!slice->ndim && found->ndim == 1 && found->shape[0] == 1);
    int64_t n = 1;
    for (int i = 0; i < slice->ndim; i++) {
        same = same && found->shape[i] == slice->shape[i];
        n *= slice->shape[i];
    }
    if (!same) {
        shape_text(have, sizeof have, found->ndim, found->shape);
        return drt_fail(err, DRT_EFORMAT, "%s: tensor '%s' is %s, config.json says %s", found->file, found->name, have,
                        want);
    }
    drt_mat v = slice->param->tensor.value;
    float *out = (float *)v.data + slice->row * (v.rows == 1 ? 1 : v.cols);
    drt_status status = drt_weight_to_f32(found, out, n, err);
    int64_t bad = status ? -1 : drt_weight_not_finite(found);
    if (bad >= 0)
        status = drt_fail(err, DRT_ENUMERIC, "%s: tensor '%s' holds %s at element %lld", found->file, found->name,
                          isnan(out[bad]) ? "NaN" : "infinity", (long long)bad);
    return status;
}

// Tensors that older checkpoints carry though they are no weights, and an output projection tied to the embedding.
static bool needless(const drt_model *m, const char *name) {
    static const char *const endings[] = {"embeddings.position_ids", "rotary_emb.inv_freq", NULL};
    size_t n = strlen(name), tail = strlen("lm_head.weight");
    for (int i = 0; endings[i]; i++)
        if (n >= strlen(endings[i]) && !strcmp(name + n - strlen(endings[i]), endings[i])) return true;
    return m->config.language.tied && n >= tail && !strcmp(name + n - tail, "lm_head.weight");
}

// A tensor that belongs nowhere means another kind of model (biases, adapters, ...): run without it, it would be wrong.
static drt_status refuse_strangers(const drt_model *m, const drt_weights *s, bool *used, drt_error *err) {
    for (int i = 0; i < drt_weights_count(s); i++) {
        const drt_weight *t = drt_weights_at(s, i);
        if (!used[i] && !needless(m, t->name))
            return drt_fail(err, DRT_EFORMAT,
                            "%s: tensor '%s' belongs to no part of the model that config.json describes", t->file,
                            t->name);
    }
    return DRT_OK;
}

// Loads the groups chosen by `wanted` from a folder; whole: nothing else may be in it.
static drt_status weights_load(drt_model *m, const char *folder, const bool wanted[DRT_GROUPS], bool whole,
                               drt_error *err) {
    drt_weights *s = NULL;
    drt_status status = drt_weights_open(&s, folder, err);
    if (status) return status;
    bool *used = calloc((size_t)drt_weights_count(s) + 1, sizeof *used);
    if (!used) status = drt_fail(err, DRT_ENOMEM, "no memory for a list of tensors");
    for (int i = 0; !status && i < m->params->slices; i++) {
        const drt_slice *slice = &m->params->slice[i];
        if (!wanted[slice->param->group]) continue;
        const drt_weight *found = find(s, slice);
        if (found) used[found - drt_weights_at(s, 0)] = true;
        status = slice_load(slice, found, folder, err);
    }
    if (!status && whole) status = refuse_strangers(m, s, used, err);
    free(used);
    drt_weights_close(s);
    return status;
}

// Adds the numbers that a folder's files hold to o->stored.
static drt_status count_stored(drt_model_options *o, const char *folder, drt_error *err) {
    drt_weights *s = NULL;
    drt_status status = drt_weights_open(&s, folder, err);
    for (int i = 0; !status && i < drt_weights_count(s); i++) o->stored += drt_weight_elements(drt_weights_at(s, i));
    if (!status) drt_weights_close(s);
    return status;
}

// preprocessor_config.json: size, mean, std, and drt's own image_aspect_ratio.
static drt_status preprocess_load(drt_model *m, const char *folder, drt_error *err) {
    char *path = drt_path_join(folder, "preprocessor_config.json"), *text = NULL;
    json_error_t at;
    drt_status status = DRT_OK;
    if (path && drt_file_exists(path) && !(status = drt_file_read(&text, NULL, path, 1 << 20, err))) {
        json_t *o = json_loads(text, 0, &at), *mean = json_object_get(o, "image_mean"),
               *std = json_object_get(o, "image_std");
        if (!o) status = drt_fail(err, DRT_EFORMAT, "%s:%d:%d: %s", path, at.line, at.column, at.text);
        for (int i = 0; i < 3 && json_array_size(mean) == 3 && json_array_size(std) == 3; i++) {
            m->preprocess.mean[i] = (float)json_number_value(json_array_get(mean, (size_t)i));
            m->preprocess.std[i] = (float)json_number_value(json_array_get(std, (size_t)i));
            if (!status && !(m->preprocess.std[i] > 0))
                status = drt_fail(err, DRT_ECONFIG, "%s: image_std must be above 0", path);
        }
        const char *aspect = json_string_value(json_object_get(o, "image_aspect_ratio"));
        if (aspect && !strcmp(aspect, "pad")) m->preprocess.aspect = DRT_ASPECT_PAD;
        json_decref(o);
    }
    free(text);
    free(path);
    return status;
}

static drt_status tokenizer_load(drt_model *m, const char *folder, drt_error *err) {
    char *path = drt_path_join(folder, "tokenizer.json");
    drt_status status = path ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    if (path && m->config.kind != DRT_MODEL_VISION && drt_file_exists(path))
        status = drt_tokenizer_open(&m->tokenizer, folder, err);
    int vocab = m->config.kind == DRT_MODEL_CLIP ? m->config.text.vocab : m->config.language.vocab;
    if (!status && m->tokenizer && drt_tokenizer_size(m->tokenizer) > vocab)
        status = drt_fail(err, DRT_ECONFIG, "%s: %d tokens, but config.json says vocab_size %d", path,
                          drt_tokenizer_size(m->tokenizer), vocab);
    free(path);
    return status;
}

static drt_status finish(drt_model *m, const char *folder, drt_error *err) {
    m->folder = strdup(folder);
    drt_status status = m->folder ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = tokenizer_load(m, folder, err);
    if (!status && m->config.kind != DRT_MODEL_CLIP)
        status = drt_template_choose(&m->how, m->config.conversation, folder, err);
    return status;
}

drt_status drt_model_open(drt_model **out, const char *folder, const drt_model_options *options, drt_error *err) {
    drt_model_config config;
    bool all[DRT_GROUPS];
    *out = NULL;
    memset(all, 1, sizeof all);
    drt_status status = drt_model_config_read(&config, folder, err);
    drt_model *m = NULL;
    drt_model_options o = *options;
    if (!status) status = count_stored(&o, folder, err);
    if (!status) status = drt_model_new(&m, &config, &o, err);
    if (!status) status = weights_load(m, folder, all, true, err);
    if (!status && drt_has_vision(&config)) status = preprocess_load(m, folder, err);
    if (!status) status = finish(m, folder, err);
    if (status) {
        drt_model_close(m);
        return status;
    }
    *out = m;
    return DRT_OK;
}

// Scales the projector's last layer to the length of words, for features of unit variance. Features of real towers are
// several times longer, and so are the visual tokens at first. Whether that is better than no scaling, or than scaling
// by measured features, is open: docs/results.md has the trials.
static void scale_projector(drt_model *m) {
    int last = m->config.projector - 1;
    if (last < 0) return;
    drt_mat e = m->language.embedding->tensor.value;
    drt_mat w = m->projector[last]->tensor.value, b = m->projector_b[last]->tensor.value;
    double words = 0, rows = 0;
    for (int64_t i = 0; i < e.rows * e.cols; i++) words += ((float *)e.data)[i] * ((float *)e.data)[i];
    for (int64_t i = 0; i < w.rows * w.cols; i++) rows += ((float *)w.data)[i] * ((float *)w.data)[i];
    double want = sqrt(words / (double)(e.rows * e.cols)), have = sqrt(rows / (double)w.rows);
    // GELU of a unit-variance input through PyTorch's uniform init leaves a root mean square of about 0.36.
    double factor = want / (have * (last ? 0.36 : 1));
    for (int64_t i = 0; i < w.rows * w.cols; i++) ((float *)w.data)[i] *= (float)factor;
    for (int64_t i = 0; i < b.cols; i++) ((float *)b.data)[i] *= (float)factor;
}

drt_status drt_model_assemble(drt_model **out, const char *vision, const char *language, int projector,
                              int select_layer, const drt_model_options *options, drt_error *err) {
    drt_model_config eye, tongue,
        config = {.kind = DRT_MODEL_LLAVA, .projector = projector, .select_layer = select_layer};
    bool see[DRT_GROUPS] = {[DRT_VISION] = true}, speak[DRT_GROUPS] = {[DRT_LANGUAGE] = true};
    drt_model *m = NULL;
    *out = NULL;
    drt_status status = drt_model_config_read(&eye, vision, err);
    if (!status) status = drt_model_config_read(&tongue, language, err);
    if (!status && !drt_has_vision(&eye)) status = drt_fail(err, DRT_ECONFIG, "%s: has no vision tower", vision);
    if (!status && !drt_has_decoder(&tongue)) status = drt_fail(err, DRT_ECONFIG, "%s: has no decoder", language);
    if (status) return status;
    config.vision = eye.vision;
    config.language = tongue.language;
    memcpy(config.conversation, tongue.conversation, sizeof config.conversation);
    drt_model_options o = *options;
    status = count_stored(&o, vision, err);
    if (!status) status = count_stored(&o, language, err);
    if (!status) status = drt_model_new(&m, &config, &o, err);
    if (!status) status = weights_load(m, vision, see, false, err);
    if (!status) status = weights_load(m, language, speak, false, err);
    if (!status) status = preprocess_load(m, vision, err);
    if (!status) status = finish(m, language, err);
    if (!status) {
        int image = m->tokenizer ? drt_tokenizer_id(m->tokenizer, "<image>") : -1;
        m->config.image_token = image >= 0 ? image : config.language.vocab - 1;
        scale_projector(m);
        *out = m;
    } else drt_model_close(m);
    return status;
}
