#include "model/model.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// CLIP projects both towers, without biases; SigLIP's text tower ends in a biased layer, its vision tower in the head.
static void joint_declare(drt_model *m) {
    const drt_model_config *c = &m->config;
    const drt_family *is = c->vision.family;
    drt_params *p = m->params;
    int64_t joint = c->text.joint, v = c->vision.width, d = c->text.width;
    if (is->class_row)
        m->visual_projection = drt_param_named(p, DRT_CLIP_PROJECTION, joint, v, false, DRT_INIT_NORMAL,
                                               1 / sqrtf((float)v), "visual_projection.weight");
    m->text_projection = drt_param_named(p, DRT_CLIP_PROJECTION, joint, d, false, DRT_INIT_NORMAL, 1 / sqrtf((float)d),
                                         is->class_row ? "text_projection.weight" : "text_model.head.weight");
    if (!is->class_row)
        m->text_projection_b =
            drt_param_named(p, DRT_CLIP_PROJECTION, 1, joint, true, DRT_INIT_CONSTANT, 0, "text_model.head.bias");
    // Both as their papers start them.
    m->logit_scale = drt_param_add(p, DRT_TEMPERATURE, 1, 1, DRT_INIT_CONSTANT, logf(is->logit_bias ? 10 : 1 / 0.07f));
    drt_param_name(p, m->logit_scale, 0, 1, "logit_scale", is->logit_bias, (int64_t[]){1});
    if (is->logit_bias)
        m->logit_bias = drt_param_named(p, DRT_TEMPERATURE, 1, 1, true, DRT_INIT_CONSTANT, -10, "logit_bias");
}

static void projector_declare(drt_model *m) {
    const drt_model_config *c = &m->config;
    int64_t in = drt_feature_width(c), d = c->language.width;
    for (int i = 0; i < c->projector; i++) {
        m->projector[i] = drt_param_named(m->params, DRT_PROJECTOR, d, i ? d : in, false, DRT_INIT_UNIFORM, 0,
                                          "multi_modal_projector.linear_%d.weight", i + 1);
        m->projector_b[i] = drt_param_named(m->params, DRT_PROJECTOR, 1, d, true, DRT_INIT_UNIFORM, (float)(i ? d : in),
                                            "multi_modal_projector.linear_%d.bias", i + 1);
    }
}

static drt_status extras_declare(drt_model *m, const drt_model_options *o, drt_error *err) {
    drt_params *p = m->params;
    int64_t d = m->config.language.width;
    if (o->order_classes) {
        m->extra.token = drt_param_add(p, DRT_DIRECTED, 1, d, DRT_INIT_NORMAL, 1 / sqrtf((float)d));
        // Zero: at first every permutation is as likely, and the head's gradient is the plain difference of states.
        m->extra.order = drt_param_add(p, DRT_ORDER_HEAD, o->order_classes, d, DRT_INIT_CONSTANT, 0);
        m->extra.order_b = drt_param_add(p, DRT_ORDER_HEAD, 1, o->order_classes, DRT_INIT_CONSTANT, 0);
    }
    if (o->objectives) m->extra.balance = drt_param_add(p, DRT_BALANCE, o->objectives, 1, DRT_INIT_CONSTANT, 0);
    // Scale 1, the 0 that memory begins with: of two towers, files fill this group.
    if (o->temperature) m->extra.temperature = drt_param_add(p, DRT_TEMPERATURE, 1, 1, DRT_INIT_CONSTANT, 0);
    if (o->probe_classes) {
        m->extra.probe =
            drt_param_add(p, DRT_PATCH_HEAD, o->probe_classes, m->config.vision.width, DRT_INIT_CONSTANT, 0);
    }
    if (!o->permuter || !o->permuter->layers) return DRT_OK;
    drt_permuter_shape shape = *o->permuter;
    shape.width = d;
    if (!shape.hidden) shape.hidden = 4 * d;
    m->extra.permuter = drt_permuter_new(p, &shape, err);
    return m->extra.permuter ? DRT_OK : err ? err->code : DRT_ENOMEM;
}

static drt_status declare(drt_model *m, const drt_model_options *o, drt_error *err) {
    const drt_model_config *c = &m->config;
    drt_status status = DRT_OK;
    if (drt_has_vision(c)) status = drt_vision_declare(&m->vision, &c->vision, m->params, err);
    if (!status && c->kind == DRT_MODEL_CLIP) {
        status = drt_text_tower_declare(&m->clip_text, &c->text, m->params, err);
        if (!status) joint_declare(m);
    }
    if (!status && c->kind == DRT_MODEL_LLAVA) projector_declare(m);
    if (!status && drt_has_decoder(c)) status = drt_decoder_declare(&m->language, &c->language, m->params, err);
    if (!status) status = extras_declare(m, o, err);
    return status ? status : drt_adapter_declare(m, o, err); // last: the random numbers of others stay as they are
}

// Whether files fill a part that drt_model_open or drt_model_assemble makes.
static bool from_files(drt_group g) { return g <= DRT_TEMPERATURE || g == DRT_LANGUAGE; }

static drt_status stored_enough(const drt_model *m, int64_t stored, drt_error *err) {
    double want = 0;
    for (int i = 0; i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        double n = 1;
        for (int k = 0; k < s->ndim; k++) n *= (double)s->shape[k];
        if (from_files(s->param->group)) want += n;
    }
    if (want <= (double)stored) return DRT_OK;
    return drt_fail(err, DRT_EFORMAT,
                    "config.json describes a model of %.0f weights, the files hold %.0f; they do not belong together",
                    want, (double)stored);
}

drt_status drt_model_declare(drt_model **out, const drt_model_config *config, const drt_model_options *options,
                             drt_error *err) {
    *out = NULL;
    drt_status status = drt_model_config_check(config, "model", err);
    if (status) return status;
    drt_model *m = calloc(1, sizeof *m);
    if (m) m->params = drt_params_new();
    if (!m || !m->params) {
        free(m);
        return drt_fail(err, DRT_ENOMEM, "no memory for a model");
    }
    m->config = *config;
    m->dtype = "F32";
    m->added = (drt_added_tokens){-1, -1};
    if (drt_has_vision(config)) {
        m->preprocess = config->vision.family == &drt_siglip ? drt_preprocess_siglip : drt_preprocess_clip;
        drt_preprocess *how = &m->preprocess;
        how->scales = config->scales;
        for (int i = 0; i < config->scales; i++) how->multiple[i] = config->scale[i] / config->vision.image;
        how->size = config->scales ? config->scale[config->scales - 1] : config->vision.image;
    }
    status = drt_template_choose(&m->how, config->conversation, NULL, err);
    if (!status) status = declare(m, options, err);
    if (status) {
        drt_model_close(m);
        return status;
    }
    *out = m;
    return DRT_OK;
}

drt_status drt_model_allocate(drt_model *m, const drt_model_options *options, drt_error *err) {
    drt_status status = options->stored ? stored_enough(m, options->stored, err) : DRT_OK;
    m->params->dry = options->dry;
    if (!status) status = drt_params_allocate(m->params, options->learns, err);
    if (status || options->dry) return status;
    for (int g = 0; g < DRT_GROUPS; g++)
        if (!options->stored || !from_files((drt_group)g)) drt_params_init(m->params, (drt_group)g, options->seed);
    if (drt_has_decoder(&m->config) && !options->stored) drt_decoder_init(&m->language);
    return DRT_OK;
}

drt_status drt_model_new(drt_model **out, const drt_model_config *config, const drt_model_options *options,
                         drt_error *err) {
    drt_model *m;
    drt_status status = drt_model_declare(&m, config, options, err);
    *out = NULL;
    if (!status && (status = drt_model_allocate(m, options, err))) drt_model_close(m);
    if (!status) *out = m;
    return status;
}

void drt_model_close(drt_model *m) {
    if (!m) return;
    drt_encoder_free(&m->vision.encoder);
    drt_encoder_free(&m->clip_text.encoder);
    drt_decoder_free(&m->language);
    drt_adapter_free(&m->adapter);
    drt_permuter_free(m->extra.permuter);
    drt_params_free(m->params);
    for (int i = 0; i < 3; i++) drt_weights_close(m->files[i]);
    drt_tokenizer_close(m->tokenizer);
    free(m->folder);
    free(m);
}

drt_status drt_model_template(const drt_model *m, const drt_template *wanted, const drt_template **out,
                              drt_error *err) {
    const char *name = m->folder ? m->folder : "the model";
    *out = wanted ? wanted : m->how;
    if (!m->tokenizer)
        return drt_fail(err, DRT_ECONFIG,
                        "%s has no tokenizer.json, tokenizer.model or spiece.model; copy the one it was trained with",
                        name);
    if (!*out)
        return drt_fail(err, DRT_ECONFIG,
                        "%s has a chat template that drt does not know; name the one that fits (--template, or "
                        "drt_template in its config.json)",
                        name);
    return drt_template_check(*out, m->tokenizer, err);
}

// ---- forward -------------------------------------------------------------------------------------------------------

drt_mat drt_picture_rows(const drt_model *m, float *patches, int64_t pictures) {
    const drt_tower *v = &m->config.vision;
    return drt_mat_f32(patches, pictures * drt_views(&m->config) * drt_patches(v), 3LL * v->patch * v->patch);
}

// Row (p, s) of the result, P x scales of them a picture, is the mean of the features that scale s has where the
// tower's own scale has patch p; rows of one patch then become one row.
static drt_tensor *merge_scales(drt_tape *t, const drt_model *m, drt_tensor *x) {
    if (!x || drt_tape_failed(t, NULL)) return NULL;
    const drt_model_config *c = &m->config;
    int64_t n = x->value.rows, side = c->vision.image / c->vision.patch, p = side * side, row = 0;
    int64_t pictures = n / (p * drt_views(c)), out = pictures * p * c->scales;
    int32_t *to = drt_tape_alloc(t, n, sizeof *to);
    float *share = drt_tape_alloc(t, n, sizeof *share);
    if (!to || !share) return NULL;
    for (int64_t i = 0; i < pictures; i++)
        for (int s = 0; s < c->scales; s++) {
            int64_t k = c->scale[s] / c->vision.image;
            for (int64_t tile = 0; tile < k * k; tile++)
                for (int64_t j = 0; j < p; j++, row++) {
                    int64_t y = (tile / k * side + j / side) / k, x0 = (tile % k * side + j % side) / k;
                    to[row] = (int32_t)(((i * p) + y * side + x0) * c->scales + s);
                    share[row] = 1 / (float)(k * k);
                }
        }
    x = drt_gather(t, out, c->vision.width, false, &(drt_rows){x, to, NULL, share, n}, 1);
    return drt_reshape(t, x, pictures * p, drt_feature_width(c));
}

drt_tensor *drt_visual_features(drt_tape *t, const drt_model *m, drt_mat patches, bool recompute) {
    bool learns = m->vision.patch->tensor.needs_grad || m->adapter.vision,
         was = drt_tape_set_recording(t, learns && drt_tape_recording(t));
    // A frozen tower answers the same whatever stands beside a picture, so that its answer can be kept (features.h).
    if (!learns) drt_tape_device(t)->alone = patches.rows / drt_patches(&m->config.vision);
    drt_tensor *x = drt_vision_hidden(t, &m->vision, patches, m->config.select_layer, recompute);
    drt_tape_device(t)->alone = 0;
    if (m->config.front < m->vision.size.family->class_row) x = drt_vision_but_first(t, &m->vision, x);
    if (m->config.scales) x = merge_scales(t, m, x);
    drt_tape_set_recording(t, was);
    return x;
}

drt_tensor *drt_project(drt_tape *t, const drt_model *m, drt_tensor *x) {
    for (int i = 0; i < m->config.projector; i++) {
        if (i) x = drt_activate(t, DRT_GELU, x);
        x = drt_linear(t, x, &m->projector[i]->tensor, &m->projector_b[i]->tensor);
    }
    drt_tape_show(t, "projector", -1, x);
    return x;
}

drt_tensor *drt_visual_tokens(drt_tape *t, const drt_model *m, drt_mat patches, bool recompute) {
    return drt_project(t, m, drt_visual_features(t, m, patches, recompute));
}

drt_tensor *drt_image_embedding(drt_tape *t, const drt_model *m, drt_tensor *hidden) {
    drt_tensor *x = drt_vision_pooled(t, &m->vision, hidden);
    if (m->visual_projection) x = drt_linear(t, x, &m->visual_projection->tensor, NULL);
    x = drt_unit_rows(t, x);
    drt_tape_show(t, "vision.joint", -1, x);
    return x;
}

drt_tensor *drt_text_embedding(drt_tape *t, const drt_model *m, const int32_t *id, const int32_t *offsets, int n,
                               bool recompute) {
    drt_tensor *x = drt_text_tower_pooled(t, &m->clip_text, id, offsets, n, recompute);
    drt_tensor *b = m->text_projection_b ? &m->text_projection_b->tensor : NULL;
    x = drt_unit_rows(t, drt_linear(t, x, &m->text_projection->tensor, b));
    drt_tape_show(t, "text.joint", -1, x);
    return x;
}

drt_tensor *drt_splice_rows(drt_tape *t, const drt_model *m, const drt_splice *s, drt_tensor *visual) {
    int64_t words = 0, seen = 0, directed = 0;
    int32_t *index = drt_tape_alloc(t, 6 * s->rows, sizeof *index);
    if (!index) return NULL;
    int32_t *word_to = index, *word = word_to + s->rows, *seen_to = word + s->rows, *seen_from = seen_to + s->rows;
    int32_t *drt_to = seen_from + s->rows, *zero = drt_to + s->rows;
    for (int64_t r = 0; r < s->rows; r++) {
        if (s->token[r] >= 0) {
            if (s->token[r] >= m->config.language.vocab) {
                drt_tape_fail(t, DRT_EDATA,
                              "row %lld: token %d is not among the model's %d; tokenizer and model differ",
                              (long long)r, s->token[r], m->config.language.vocab);
                return NULL;
            }
            word_to[words] = (int32_t)r;
            word[words++] = s->token[r];
        } else if (s->visual[r] >= 0) {
            seen_to[seen] = (int32_t)r;
            seen_from[seen++] = s->visual[r];
        } else drt_to[directed++] = (int32_t)r;
    }
    if ((seen && !visual) || (directed && !m->extra.token)) {
        if (!drt_tape_failed(t, NULL))
            drt_tape_fail(t, DRT_EARG, "a batch wants %s that the model lacks", seen ? "images" : "the directed token");
        return NULL;
    }
    float scale = drt_word_scale(&m->language), *scales = NULL;
    if (scale != 1) { // of words and, as the case may be, of visual tokens
        const int64_t most = words > seen ? words : seen;
        scales = drt_tape_alloc(t, most, sizeof *scales);
        if (!scales) return NULL;
        for (int64_t i = 0; i < most; i++) scales[i] = scale;
    }
    drt_rows sources[3] = {{&m->language.embedding->tensor, word_to, word, scales, words}};
    int n = 1;
    if (seen) sources[n++] = (drt_rows){visual, seen_to, seen_from, m->config.visual_scaled ? scales : NULL, seen};
    if (directed) sources[n++] = (drt_rows){&m->extra.token->tensor, drt_to, zero, NULL, directed};
    return drt_gather(t, s->rows, m->config.language.width, true, sources, n);
}
