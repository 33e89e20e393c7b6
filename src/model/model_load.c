// Reading and assembling models from Hugging Face folders.
#include "model/model.h"

#include "base/file.h"
#include "model/storage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// `grown`: rows of the vocabulary that the file does not have.
static drt_status slice_load(drt_slice *slice, const drt_weight *found, int grown, const char *folder, size_t *left,
                             drt_error *err) {
    drt_slice stored = *slice;
    stored.shape[0] -= grown;
    drt_status status = drt_layout_fits(&stored, found, folder, err);
    if (!status) status = drt_storage_fill(slice, found, left, err);
    if (!status && grown)
        drt_fill_added_rows(drt_slice_numbers(slice).data, slice->shape[0], slice->ndim > 1 ? slice->shape[1] : 1,
                            grown);
    return status;
}

// Looking for NaN reads everything, which someone who wants an answer from many gigabytes cannot wait for: of what
// stays where it lies, this much is looked through. Beyond it NaN shows in the answer, which is refused (infer/pick.c).
// A training looks at all: it takes hours, and what it makes is lost.
enum { LOOKED_THROUGH = 128 << 20 };

// Fills every parameter of a part that the files hold. A tensor that belongs nowhere means another kind of model
// (biases, adapters, ...): run without it, it would be wrong.
static drt_status weights_load(drt_model *m, drt_model_files *f, const drt_model_options *o, drt_error *err) {
    drt_status status = DRT_OK;
    int part = 0, at = 0;
    size_t left = m->params->learning || o->look_through ? SIZE_MAX : LOOKED_THROUGH;
    for (int i = 0; !status && i < m->params->slices; i++) {
        drt_slice *slice = &m->params->slice[i];
        bool held = false;
        for (int p = 0; p < f->parts; p++) held = held || f->part[p].holds[slice->param->group];
        const drt_weight *found = held ? drt_model_files_find(f, slice) : NULL;
        if (held) status = slice_load(slice, found, drt_storage_grown(f, slice), f->part[0].folder, &left, err);
        for (int p = 0; p < f->parts && found && !slice->param->mapped; p++)
            drt_weights_forget(f->part[p].weights, found);
        drt_progress_at(o->progress, i + 1, m->params->slices);
    }
    drt_params_refresh(m->params);
    const drt_weight *stranger = status ? NULL : drt_model_files_stranger(f, &part, &at);
    return stranger ? drt_model_files_refuse(stranger, err) : status;
}

static drt_status preprocess_load(drt_model *m, const char *folder, drt_error *err) {
    int size = m->preprocess.size;
    // No folder: a tower known by its name, whose pictures are its family's.
    drt_status status = folder ? drt_preprocess_read(&m->preprocess, folder, err) : DRT_OK;
    if (!status && m->preprocess.size != size)
        status =
            drt_fail(err, DRT_ECONFIG, "%s: preprocessor_config.json makes pictures of %d pixels, the tower takes %d",
                     folder, m->preprocess.size, size);
    if (m->config.pad) m->preprocess.aspect = DRT_ASPECT_PAD;
    return status;
}

static drt_status tokenizer_load(drt_model *m, const char *folder, drt_error *err) {
    drt_status status = DRT_OK;
    if (m->config.kind != DRT_MODEL_VISION && drt_tokenizer_in_folder(folder))
        status = drt_tokenizer_open(&m->tokenizer, folder, err);
    int vocab = m->config.kind == DRT_MODEL_CLIP ? m->config.text.vocab : m->config.language.vocab;
    if (!status && m->tokenizer && drt_tokenizer_size(m->tokenizer) > vocab)
        status = drt_fail(err, DRT_ECONFIG, "%s: its tokenizer has %d tokens, but config.json says vocab_size %d",
                          folder, drt_tokenizer_size(m->tokenizer), vocab);
    return status;
}

// An id for <image>: the tokenizer's; else, if the vocabulary may grow, the first behind the tokenizer's ids; else the
// last row, which then must not be a word.
static drt_status image_token(drt_model_files *f, const char *folder, bool grow, drt_added_tokens *added,
                              drt_error *err) {
    drt_tokenizer *t = NULL;
    drt_status status = drt_tokenizer_in_folder(folder) ? drt_tokenizer_open(&t, folder, err) : DRT_OK;
    if (status) return status;
    int vocab = f->config.language.vocab, tokens = t ? drt_tokenizer_size(t) : vocab;
    int image = t ? drt_tokenizer_id(t, "<image>") : -1;
    if (image < 0 && !grow) image = vocab - 1;
    else if (image < 0) {
        image = added->image = tokens;
        if (!t || drt_tokenizer_pad(t) < 0) added->pad = tokens + 1;
        int need = tokens + 1 + (added->pad >= 0);
        if (need > vocab) {
            need = (need + DRT_VOCABULARY_STEP - 1) / DRT_VOCABULARY_STEP * DRT_VOCABULARY_STEP;
            f->grown = need - vocab;
            f->config.language.vocab = need;
        }
        if (added->pad >= 0) f->config.language.pad = added->pad;
    }
    f->config.image_token = image;
    drt_tokenizer_close(t);
    return DRT_OK;
}

static drt_status finish(drt_model *m, const char *folder, drt_error *err) {
    m->folder = strdup(folder);
    drt_status status = m->folder ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = tokenizer_load(m, folder, err);
    if (!status && m->config.kind != DRT_MODEL_CLIP)
        status = drt_template_choose(&m->how, m->config.conversation, folder, err);
    return status;
}

// The model keeps the files that its weights are mapped in.
static void keep_files(drt_model *m, drt_model_files *f) {
    bool mapped = false;
    for (int i = 0; i < m->params->n; i++) mapped |= m->params->at[i]->mapped;
    for (int i = 0; mapped && i < f->parts; i++) {
        m->files[i] = f->part[i].weights;
        f->part[i].weights = NULL;
    }
}

// The folder that a permuter is read from, of the model's and its adapter's; NULL: none is. `shape`, to which o then
// points, is the file's.
static drt_status find_permuter(const drt_model_files *f, drt_model_options *o, const char *folder,
                                drt_permuter_shape *shape, const char **from, drt_error *err) {
    const drt_permuter_shape *want = o->permuter;
    const int64_t width = f->config.language.width, hidden = want && want->hidden ? want->hidden : 4 * width;
    drt_gps_how how;
    *from = NULL;
    if (want ? !want->layers : f->config.kind != DRT_MODEL_LLAVA) return DRT_OK;
    if (o->adapter && drt_permuter_in_folder(o->adapter)) *from = o->adapter;
    else if (folder && (want ? drt_permuter_in_folder(folder) : f->config.order.order == DRT_INPUT_GPS)) *from = folder;
    if (!*from) return DRT_OK;
    drt_status status = drt_permuter_read(*from, width, shape, &how, err);
    if (!status && want && (want->layers != shape->layers || hidden != shape->hidden))
        status = drt_fail(err, DRT_ECONFIG,
                          "%s/gps.safetensors has %d layers with %lld columns inside, the recipe wants %d with %lld; "
                          "set gps.layers and gps.ffn as it was trained with",
                          *from, shape->layers, (long long)shape->hidden, want->layers, (long long)hidden);
    o->permuter = shape;
    return status;
}

// `folder`: of a whole model, NULL where it is assembled.
static drt_status open_files(drt_model **out, drt_model_files *f, const char *folder, const drt_model_options *options,
                             drt_error *err) {
    drt_model *m = NULL;
    drt_model_options o = *options;
    drt_permuter_shape shape;
    const char *permuter = NULL;
    drt_added_tokens added = {-1, -1};
    drt_status status = DRT_OK;
    if (f->config.kind == DRT_MODEL_LLAVA && f->config.image_token < 0)
        status = image_token(f, f->text, options->image_row, &added, err);
    o.stored = drt_model_files_numbers(f) + 2LL * f->grown * f->config.language.width;
    if (!status) status = find_permuter(f, &o, folder, &shape, &permuter, err);
    if (!status) status = drt_model_declare(&m, &f->config, &o, err);
    if (!status) drt_storage_settle(m->params, f, o.keep, o.learns);
    if (!status) status = drt_model_allocate(m, &o, err);
    if (!status && !o.dry) status = weights_load(m, f, &o, err);
    if (!status && !o.dry) status = drt_adapter_load(m, f->part[0].folder, err);
    if (!status && permuter && !o.dry) status = drt_permuter_load(m->extra.permuter, m->params, permuter, err);
    if (!status && permuter) m->config.order.order = DRT_INPUT_GPS; // an adapter's config does not tell
    if (!status && drt_has_vision(&f->config)) status = preprocess_load(m, f->vision, err);
    if (!status) status = finish(m, f->text, err);
    if (status) {
        drt_model_close(m);
        m = NULL;
    } else {
        m->added = added;
        m->dtype = drt_model_files_dtype(f);
        keep_files(m, f);
        *m->config.tower = 0; // from here on the tower is the model's own
    }
    *out = m;
    return status;
}

drt_status drt_model_open(drt_model **out, const char *folder, const drt_model_options *options, drt_error *err) {
    drt_model_files f;
    *out = NULL;
    drt_status status = drt_model_files_open(&f, folder, options->vision, options->decoder, err);
    if (status) return status;
    status = open_files(out, &f, folder, options, err);
    drt_model_files_close(&f);
    return status;
}

// Scales the projector's last layer to the length of words, for features of unit variance. Features of real towers are
// several times longer, and so are the visual tokens at first. Whether that is better than no scaling, or than scaling
// by measured features, is open: docs/results.md has the trials.
static void scale_projector(drt_model *m) {
    int last = m->config.projector - 1;
    if (last < 0) return;
    drt_mat e = m->language.embedding->tensor.value;
    drt_mat w = m->projector[last]->master, b = m->projector_b[last]->master;
    double words = 0, rows = 0;
    for (int64_t i = 0; i < e.rows * e.cols; i++) {
        float x;
        drt_weight_numbers(&x, drt_storage_name(e.type), (char *)e.data + i * (int64_t)drt_dtype_size(e.type), 1);
        words += x * x;
    }
    for (int64_t i = 0; i < w.rows * w.cols; i++) rows += ((float *)w.data)[i] * ((float *)w.data)[i];
    double want = drt_word_scale(&m->language) * sqrt(words / (double)(e.rows * e.cols)),
           have = sqrt(rows / (double)w.rows);
    // GELU of a unit-variance input through PyTorch's uniform init leaves a root mean square of about 0.36.
    double factor = want / (have * (last ? 0.36 : 1));
    for (int64_t i = 0; i < w.rows * w.cols; i++) ((float *)w.data)[i] *= (float)factor;
    for (int64_t i = 0; i < b.cols; i++) ((float *)b.data)[i] *= (float)factor;
}

drt_status drt_model_assemble(drt_model **out, const char *vision, const char *language, int projector,
                              int select_layer, const drt_model_options *options, drt_error *err) {
    drt_model_config like = {.projector = projector, .select_layer = select_layer, .image_token = -1};
    drt_model_files f;
    drt_model *m = NULL;
    *out = NULL;
    drt_status status = drt_scales_parse(&like, options->scales, "the assembled model", "s2_scales", err);
    if (!status) status = drt_model_files_pair(&f, &like, vision, language, err);
    if (status) return status;
    status = open_files(&m, &f, NULL, options, err);
    drt_model_files_close(&f);
    if (status) return status;
    if (!options->dry) {
        scale_projector(m);
        drt_params_refresh(m->params);
    }
    *out = m;
    return DRT_OK;
}
