#include "base/file.h"
#include "format/hf_config_read.h"
#include "format/hf_llava.h"

#include <stdio.h>

const char *const drt_act_names[DRT_ACTS] = {"gelu", "quick_gelu", "silu", "gelu_pytorch_tanh"};

// ---- towers --------------------------------------------------------------------------------------------------------

const drt_family drt_clip = {.pair = "clip",
                             .vision = "clip_vision_model",
                             .text = "clip_text_model",
                             .architecture = {"CLIPModel", "CLIPVisionModel"},
                             .class_row = true,
                             .pre_norm = true,
                             .causal = true};
const drt_family drt_siglip = {.pair = "siglip",
                               .vision = "siglip_vision_model",
                               .text = "siglip_text_model",
                               .architecture = {"SiglipModel", "SiglipVisionModel"},
                               .patch_bias = true,
                               .logit_bias = true};

// Hugging Face's defaults: what stands for keys that are left out.
static const drt_tower clip_vision = {
    &drt_clip, 768, 12, 12, 3072, .act = DRT_ACT_QUICK_GELU, .eps = 1e-5f, .joint = 512, .image = 224, .patch = 32};
static const drt_tower clip_text = {&drt_clip,
                                    512,
                                    12,
                                    8,
                                    2048,
                                    .act = DRT_ACT_QUICK_GELU,
                                    .eps = 1e-5f,
                                    .joint = 512,
                                    .vocab = 49408,
                                    .positions = 77,
                                    .bos = 49406,
                                    .eos = 49407,
                                    .pad = 1};
static const drt_tower siglip_vision = {
    &drt_siglip, 768, 12, 12, 3072, .act = DRT_ACT_GELU_TANH, .eps = 1e-6f, .image = 224, .patch = 16, .head = true};
static const drt_tower siglip_text = {
    &drt_siglip,     768,          12,           12,      3072, .act = DRT_ACT_GELU_TANH, .eps = 1e-6f, .vocab = 32000,
    .positions = 64, .bos = 49406, .eos = 49407, .pad = 1};

static void tower_read(reader *r, const json_t *o, const char *part, drt_tower *t) {
    r->part = part;
    t->width = whole(r, o, "hidden_size", t->width);
    t->ffn = whole(r, o, "intermediate_size", t->ffn);
    t->layers = whole(r, o, "num_hidden_layers", t->layers);
    t->heads = whole(r, o, "num_attention_heads", t->heads);
    t->act = act(r, o, "hidden_act", t->act);
    t->eps = (float)real(r, o, "layer_norm_eps", (double)t->eps);
}

static void vision_read(reader *r, const json_t *o, const char *part, const drt_family *family, drt_tower *v) {
    *v = family == &drt_siglip ? siglip_vision : clip_vision;
    tower_read(r, o, part, v);
    v->image = whole(r, o, "image_size", v->image);
    v->patch = whole(r, o, "patch_size", v->patch);
    v->joint = family->class_row ? whole(r, o, "projection_dim", v->joint) : v->width;
    v->head = v->head && !json_is_false(json_object_get(o, "vision_use_head"));
}

static void text_read(reader *r, const json_t *o, const drt_family *family, drt_tower *t) {
    *t = family == &drt_siglip ? siglip_text : clip_text;
    tower_read(r, o, "text_config.", t);
    t->vocab = whole(r, o, "vocab_size", t->vocab);
    t->positions = whole(r, o, "max_position_embeddings", t->positions);
    t->joint = family->class_row ? whole(r, o, "projection_dim", t->joint) : whole(r, o, "projection_size", t->width);
    t->bos = whole(r, o, "bos_token_id", t->bos);
    t->eos = whole(r, o, "eos_token_id", t->eos);
    t->pad = whole(r, o, "pad_token_id", t->pad);
}

// CLIP's configs of 2022 have their halves twice; where they differ, transformers believes those named _dict.
static const json_t *half_of(const json_t *o, const drt_family *family, const char *key, const char *old) {
    const json_t *first = family->class_row ? json_object_get(o, old) : NULL;
    return json_is_object(first) ? first : json_object_get(o, key);
}

static void pair_read(reader *r, const json_t *o, const drt_family *family, drt_model_config *c) {
    c->kind = DRT_MODEL_CLIP;
    vision_read(r, half_of(o, family, "vision_config", "vision_config_dict"), "vision_config.", family, &c->vision);
    text_read(r, half_of(o, family, "text_config", "text_config_dict"), family, &c->text);
    r->part = "";
    if (family->class_row) c->vision.joint = c->text.joint = whole(r, o, "projection_dim", c->vision.joint);
}

// ---- models --------------------------------------------------------------------------------------------------------

static void projector_read(reader *r, const char *name, const char *key, drt_model_config *c) {
    c->projector = drt_projector_layers(name);
    if (c->projector < 0 && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG, "%s: %s \"%s\" is not one of linear, identity, mlpNx_gelu (N to %d)",
                             r->name, key, name, DRT_PROJECTOR_LAYERS);
}

const char *const drt_input_order_names[] = {"none", "token_mixer", "gps"};
const char *const drt_mixer_side_names[] = {"before", "after"};

static void order_read(reader *r, const json_t *o, drt_token_mixer *out) {
    if (!o || r->status) return;
    int order = drt_place_of(word(o, "name", "?"), drt_input_order_names, DRT_INPUT_ORDERS),
        side = drt_place_of(word(o, "side", "before"), drt_mixer_side_names, DRT_MIXER_SIDES);
    const json_t *tau = json_object_get(o, "tau");
    double least = json_is_number(tau) ? json_number_value(tau) : order == DRT_INPUT_TOKEN_MIXER ? 2 : 0;
    *out = (drt_token_mixer){(drt_input_order)order, (float)least, (drt_mixer_side)side};
    if (order == DRT_INPUT_ORDERS || side == DRT_MIXER_SIDES || !(least >= -1 && least <= 1))
        r->status = drt_fail(r->err, DRT_ECONFIG,
                             "%s: drt_order is no order of the input that this version knows; it has \"name\" "
                             "(none, token_mixer, gps), of token_mixer \"tau\" from -1 to 1, \"side\" (before, after)",
                             r->name);
}

static void halves_read(reader *r, const json_t *o, drt_model_config *c) {
    const json_t *vision = json_object_get(o, "vision_config"), *text = json_object_get(o, "text_config");
    const char *tower = word(vision, "model_type", "clip_vision_model");
    bool siglip = !strcmp(tower, "siglip_vision_model");
    if (!siglip && strcmp(tower, "clip_vision_model") && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG,
                             "%s: vision_config.model_type \"%s\" is not clip_vision_model or siglip_vision_model",
                             r->name, tower);
    vision_read(r, vision, "vision_config.", siglip ? &drt_siglip : &drt_clip, &c->vision);
    drt_decoder_config_parse(r, text, "text_config.", word(text, "model_type", "llama"), &c->language);
    r->part = "";
    c->kind = DRT_MODEL_LLAVA;
}

// All of a picture's rows are left, or all but the first, which is the class row where there is one.
static int front_of(const drt_tower *v, bool all) { return v->family->class_row - !all; }

static void llava_read(reader *r, const json_t *o, drt_model_config *c) {
    const char *rows = word(o, "vision_feature_select_strategy", "default");
    halves_read(r, o, c);
    c->language.tied |= truth(o, "tie_word_embeddings", false); // as transformers: either may say so
    // Its LLaVA has an output projection of its own, without bias whatever the decoder: Phi's survives under our key.
    c->language.head_bias &= truth(json_object_get(o, "text_config"), "drt_head_bias", false);
    if (json_array_size(json_object_get(o, "vision_feature_layer")) > 1 && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG,
                             "%s: vision_feature_layer lists several layers; this version reads one", r->name);
    c->select_layer = whole(r, o, "vision_feature_layer", -2);
    if (strcmp(rows, "default") && strcmp(rows, "full"))
        refuse(r, "vision_feature_select_strategy \"%s\" is neither default nor full", rows);
    c->front = front_of(&c->vision, !strcmp(rows, "full"));
    if (!r->status) r->status = drt_scales_parse(c, word(o, "drt_s2_scales", ""), r->name, "drt_s2_scales", r->err);
    c->image_token = whole(r, o, "image_token_index", whole(r, o, "image_token_id", 32000));
    c->visual_scaled = c->language.words_scaled && truth(o, "drt_visual_scaled", false);
    projector_read(r, word(o, "drt_projector", "mlp2x_gelu"), "drt_projector", c);
    if (act(r, o, "projector_hidden_act", DRT_ACT_GELU) != DRT_ACT_GELU && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG, "%s: projector_hidden_act must be gelu", r->name);
}

// TinyLLaVA Factory: the halves as in llava-hf, the rest under names of its own. Its images are spliced in by place.
static void tinyllava_read(reader *r, const json_t *o, drt_model_config *c) {
    const char *feature = word(o, "vision_feature_select_strategy", "patch");
    halves_read(r, o, c);
    c->visual_scaled = c->language.words_scaled; // it runs on transformers 4
    if (strcmp(feature, "patch") && strcmp(feature, "cls_patch"))
        refuse(r, "vision_feature_select_strategy \"%s\" is neither patch nor cls_patch", feature);
    c->front = front_of(&c->vision, !strcmp(feature, "cls_patch"));
    c->select_layer = whole(r, o, "vision_feature_layer", -2);
    c->pad = !strcmp(word(o, "image_aspect_ratio", "square"), "pad");
    c->image_token = -1;
    projector_read(r, word(o, "connector_type", "?"), "connector_type", c);
}

drt_status drt_model_config_parse(drt_model_config *c, const char *json, const char *name, drt_error *err) {
    json_error_t at;
    reader r = {name, "", err, DRT_OK};
    memset(c, 0, sizeof *c);
    json_t *o = json_loads(json, JSON_REJECT_DUPLICATES, &at);
    if (!o) return drt_fail(err, DRT_EFORMAT, "%s:%d:%d: %s", name, at.line, at.column, at.text);
    const char *type = word(o, "model_type", "");
    if (drt_is_original_llava(o)) {
        drt_status status = drt_original_llava_parse(c, o, name, err);
        json_decref(o);
        return status;
    }
    if (!strcmp(type, "llava") && json_object_get(o, "text_config")) {
        llava_read(&r, o, c);
    } else if (!strcmp(type, "tinyllava")) {
        tinyllava_read(&r, o, c);
    } else if (!strcmp(type, "clip") || !strcmp(type, "siglip")) {
        pair_read(&r, o, *type == 's' ? &drt_siglip : &drt_clip, c);
    } else if (!strcmp(type, "clip_vision_model") || !strcmp(type, "siglip_vision_model")) {
        c->kind = DRT_MODEL_VISION;
        vision_read(&r, o, "", *type == 's' ? &drt_siglip : &drt_clip, &c->vision);
    } else if (drt_is_decoder(type)) {
        c->kind = DRT_MODEL_LANGUAGE;
        drt_decoder_config_parse(&r, o, "", type, &c->language);
    } else
        r.status = drt_fail(err, DRT_ECONFIG,
                            "%s: model_type \"%s\" is not one of llava, tinyllava, clip, clip_vision_model, "
                            "siglip, siglip_vision_model, " DRT_DECODERS,
                            name, type);
    order_read(&r, json_object_get(o, "drt_order"), &c->order);
    snprintf(c->conversation, sizeof c->conversation, "%s", word(o, "drt_template", ""));
    json_decref(o);
    return r.status ? r.status : drt_model_config_check(c, name, err);
}

drt_status drt_model_config_read(drt_model_config *c, const char *folder, drt_error *err) {
    if (!drt_is_folder(folder))
        return drt_fail(err, DRT_EIO, "%s: there is no such folder; a model is a folder with config.json and weights",
                        folder);
    char *path = drt_path_join(folder, "config.json"), *inner = drt_path_join(folder, "model/config.json"),
         *json = NULL;
    drt_status status = path && inner ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status && !drt_file_exists(path))
        status = drt_fail(err, DRT_EIO, "%s: there is none, so that folder holds no model%s%.*s", path,
                          drt_file_exists(inner) ? "; one is in " : "",
                          drt_file_exists(inner) ? (int)(strlen(inner) - strlen("/config.json")) : 0, inner);
    if (!status) status = drt_file_read(&json, NULL, path, 16 << 20, err);
    if (!status) status = drt_model_config_parse(c, json, path, err);
    free(json);
    free(path), free(inner);
    return status;
}

// ---- checks --------------------------------------------------------------------------------------------------------

static drt_status tower_check(const drt_tower *v, bool vision, const char *name, drt_error *err) {
    drt_status status = v->family ? DRT_OK : drt_fail(err, DRT_EARG, "%s: a tower of no family", name);
    WITHIN("hidden_size", v->width, 1, 1 << 16);
    WITHIN("intermediate_size", v->ffn, 1, 1 << 20);
    WITHIN("num_hidden_layers", v->layers, 1, 1024);
    WITHIN("num_attention_heads", v->heads, 1, v->width);
    WITHIN("projection_dim", v->joint, 1, 1 << 16);
    if (!status) status = eps_check(name, "layer_norm_eps", v->eps, err);
    if (vision) {
        WITHIN("image_size", v->image, 1, 1 << 14);
        WITHIN("patch_size", v->patch, 1, v->image);
    } else {
        WITHIN("vocab_size", v->vocab, 1, 1 << 24);
        WITHIN("max_position_embeddings", v->positions, 1, 1 << 24);
    }
    if (!status && v->width % v->heads)
        status = drt_fail(err, DRT_ECONFIG, "%s: hidden_size %d is not a multiple of num_attention_heads %d", name,
                          v->width, v->heads);
    return status;
}

static drt_status scales_check(const drt_model_config *c, const char *name, drt_error *err) {
    int own = c->vision.image;
    if (c->scales && c->front)
        return drt_fail(err, DRT_ECONFIG,
                        "%s: scales are merged patch by patch; a class row cannot be kept, nor a patch left out", name);
    for (int i = 0; i < c->scales; i++) {
        int side = c->scale[i];
        if (side % own || (i ? side <= c->scale[i - 1] : side != own) || side > 16 * own)
            return drt_fail(err, DRT_ECONFIG,
                            "%s: scales begin with the tower's %d pixels and go on with larger multiples of it, not %d",
                            name, own, side);
    }
    return DRT_OK;
}

drt_status drt_model_config_check(const drt_model_config *c, const char *name, drt_error *err) {
    drt_status status = DRT_OK;
    if (drt_has_vision(c)) status = tower_check(&c->vision, true, name, err);
    if (!status && c->kind == DRT_MODEL_CLIP) status = tower_check(&c->text, false, name, err);
    if (!status && c->kind == DRT_MODEL_CLIP && c->vision.joint != c->text.joint)
        status = drt_fail(err, DRT_ECONFIG, "%s: pictures end in %d numbers, texts in %d (text_config.projection_size)",
                          name, c->vision.joint, c->text.joint);
    if (!status && c->kind == DRT_MODEL_CLIP && !c->vision.family->class_row && !c->vision.head)
        status =
            drt_fail(err, DRT_ECONFIG, "%s: vision_use_head is false: pictures have no embedding to compare", name);
    if (!status && drt_has_decoder(c)) status = drt_decoder_config_check(&c->language, name, err);
    if (!status && c->kind == DRT_MODEL_LLAVA) {
        int layer = c->select_layer < 0 ? c->vision.layers + 1 + c->select_layer : c->select_layer;
        WITHIN("vision_feature_layer", layer, 0, c->vision.layers);
        if (!status && c->front > c->vision.family->class_row)
            status = drt_fail(err, DRT_ECONFIG, "%s: a class row is to be kept, but this tower has none", name);
        if (!status && drt_visual_rows(c) < 1)
            status =
                drt_fail(err, DRT_ECONFIG,
                         "%s: vision_feature_select_strategy leaves out the first patch, and there is no other", name);
        WITHIN("projector layers", c->projector, 0, DRT_PROJECTOR_LAYERS);
        if (!status) status = scales_check(c, name, err);
        if (!status && !c->projector && drt_feature_width(c) != c->language.width)
            status = drt_fail(err, DRT_ECONFIG,
                              "%s: projector identity needs a tower and a decoder of one width, not %d and %d", name,
                              drt_feature_width(c), c->language.width);
    }
    return status;
}

int drt_patches(const drt_tower *v) { return (v->image / v->patch) * (v->image / v->patch); }
int drt_tower_rows(const drt_tower *v) { return drt_patches(v) + v->family->class_row; }
int drt_visual_rows(const drt_model_config *c) { return drt_patches(&c->vision) + c->front; }

int drt_projector_layers(const char *name) {
    if (!strcmp(name, "identity")) return 0;
    if (!strcmp(name, "linear")) return 1;
    bool mlp = !strncmp(name, "mlp", 3) && name[3] >= '1' && name[3] <= '0' + DRT_PROJECTOR_LAYERS;
    return mlp && !strcmp(name + 4, "x_gelu") ? name[3] - '0' : -1;
}

void drt_projector_name(char out[16], int layers) {
    static const char *const few[] = {"identity", "linear"};
    snprintf(out, 16, "%s", layers < 2 ? few[layers] : "mlpNx_gelu");
    if (layers >= 2) out[3] = (char)('0' + layers);
}

int drt_views(const drt_model_config *c) {
    int n = c->scales ? 0 : 1;
    for (int i = 0; i < c->scales; i++) n += (c->scale[i] / c->vision.image) * (c->scale[i] / c->vision.image);
    return n;
}
int drt_feature_width(const drt_model_config *c) { return c->vision.width * (c->scales ? c->scales : 1); }

drt_status drt_scales_parse(drt_model_config *c, const char *text, const char *name, const char *key, drt_error *err) {
    const char *at = text ? text : "";
    c->scales = 0;
    while (*at) {
        char *end;
        long side = strtol(at, &end, 10);
        if (end == at || (*end && (*end != ',' || !end[1])) || side < 1 || side > 1 << 14 || c->scales == DRT_SCALES)
            return drt_fail(err, DRT_ECONFIG, "%s: %s \"%s\" is not a list of 1 to %d sides in pixels, as 336,672,1008",
                            name, key, text, DRT_SCALES);
        int i = c->scales++;
        for (; i && c->scale[i - 1] > side; i--) c->scale[i] = c->scale[i - 1];
        c->scale[i] = (int)side;
        at = *end ? end + 1 : end;
    }
    return DRT_OK;
}

void drt_scales_name(char out[64], const drt_model_config *c) {
    int n = 0;
    out[0] = 0;
    for (int i = 0; i < c->scales; i++) n += snprintf(out + n, (size_t)(64 - n), "%s%d", i ? "," : "", c->scale[i]);
}
