#include "format/hf_config.h"

#include "base/file.h"
#include "format/hf_llava.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name, *part; // file; "vision_config." or ""
    drt_error *err;
    drt_status status;
} reader;

static int whole(reader *r, const json_t *o, const char *key, int standard) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return standard;
    if (json_is_array(v)) v = json_array_get(v, 0); // LLaMA-3 lists several eos ids; the first is the document's end
    if (json_is_integer(v) && json_integer_value(v) >= -1000 && json_integer_value(v) <= 1 << 30)
        return (int)json_integer_value(v);
    if (!r->status)
        r->status = drt_fail(r->err, DRT_EFORMAT, "%s: %s%s is not a whole number that a model could have", r->name,
                             r->part, key);
    return standard;
}

static double real(reader *r, const json_t *o, const char *key, double standard) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return standard;
    if (json_is_number(v)) return json_number_value(v);
    if (!r->status) r->status = drt_fail(r->err, DRT_EFORMAT, "%s: %s%s is not a number", r->name, r->part, key);
    return standard;
}

static const char *word(const json_t *o, const char *key, const char *standard) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : standard;
}

static drt_act act(reader *r, const json_t *o, const char *key, const char *standard) {
    const char *s = word(o, key, standard);
    if (!strcmp(s, "gelu")) return DRT_ACT_GELU;
    if (!strcmp(s, "quick_gelu")) return DRT_ACT_QUICK_GELU;
    if (!strcmp(s, "silu")) return DRT_ACT_SILU;
    if (!strcmp(s, "gelu_pytorch_tanh")) return DRT_ACT_GELU_TANH;
    if (!r->status)
        r->status =
            drt_fail(r->err, DRT_ECONFIG, "%s: %s%s \"%s\" is not one of gelu, quick_gelu, gelu_pytorch_tanh, silu",
                     r->name, r->part, key, s);
    return DRT_ACT_GELU;
}

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
    static const char *const acts[] = {"gelu", "quick_gelu", "silu", "gelu_pytorch_tanh"};
    r->part = part;
    t->width = whole(r, o, "hidden_size", t->width);
    t->ffn = whole(r, o, "intermediate_size", t->ffn);
    t->layers = whole(r, o, "num_hidden_layers", t->layers);
    t->heads = whole(r, o, "num_attention_heads", t->heads);
    t->act = act(r, o, "hidden_act", acts[t->act]);
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

static void pair_read(reader *r, const json_t *o, const drt_family *family, drt_model_config *c) {
    c->kind = DRT_MODEL_CLIP;
    vision_read(r, json_object_get(o, "vision_config"), "vision_config.", family, &c->vision);
    text_read(r, json_object_get(o, "text_config"), family, &c->text);
    r->part = "";
    if (family->class_row) c->vision.joint = c->text.joint = whole(r, o, "projection_dim", c->vision.joint);
}

// ---- decoders ------------------------------------------------------------------------------------------------------

static void language_read(reader *r, const json_t *o, const char *part, drt_decoder_config *l) {
    r->part = part;
    const char *type = word(o, "model_type", "llama");
    if (strcmp(type, "llama") && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG, "%s: %smodel_type \"%s\": this version runs llama decoders", r->name,
                             part, type);
    l->width = whole(r, o, "hidden_size", 4096);
    l->ffn = whole(r, o, "intermediate_size", 11008);
    l->layers = whole(r, o, "num_hidden_layers", 32);
    l->heads = whole(r, o, "num_attention_heads", 32);
    l->kv_heads = whole(r, o, "num_key_value_heads", l->heads);
    l->head_size = whole(r, o, "head_dim", l->heads > 0 ? l->width / l->heads : 0);
    l->vocab = whole(r, o, "vocab_size", 32000);
    l->positions = whole(r, o, "max_position_embeddings", 2048);
    l->eps = (float)real(r, o, "rms_norm_eps", 1e-6);
    // transformers 5 keeps theta in rope_parameters
    const json_t *rope = json_object_get(o, "rope_parameters"), *scaling = json_object_get(o, "rope_scaling");
    l->rope_theta = real(r, json_is_object(rope) ? rope : o, "rope_theta", 10000);
    const char *kind = word(json_is_object(scaling) ? scaling : rope, "rope_type", word(scaling, "type", "default"));
    if (strcmp(kind, "default") && !r->status)
        r->status =
            drt_fail(r->err, DRT_ECONFIG, "%s: %srope scaling \"%s\" is not supported yet", r->name, part, kind);
    if (act(r, o, "hidden_act", "silu") != DRT_ACT_SILU && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG, "%s: %shidden_act must be silu", r->name, part);
    l->tied = json_is_true(json_object_get(o, "tie_word_embeddings"));
    l->bos = whole(r, o, "bos_token_id", 1);
    l->eos = whole(r, o, "eos_token_id", 2);
    l->pad = whole(r, o, "pad_token_id", -1);
}

static void projector_read(reader *r, const char *name, const char *key, drt_model_config *c) {
    c->projector = drt_projector_layers(name);
    if (c->projector < 0 && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG, "%s: %s \"%s\" is not one of linear, identity, mlpNx_gelu (N to %d)",
                             r->name, key, name, DRT_PROJECTOR_LAYERS);
}

static void llava_read(reader *r, const json_t *o, drt_model_config *c) {
    const json_t *vision = json_object_get(o, "vision_config"), *text = json_object_get(o, "text_config");
    const char *tower = word(vision, "model_type", "clip_vision_model");
    bool siglip = !strcmp(tower, "siglip_vision_model");
    if (!siglip && strcmp(tower, "clip_vision_model") && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG,
                             "%s: vision_config.model_type \"%s\" is not clip_vision_model or siglip_vision_model",
                             r->name, tower);
    vision_read(r, vision, "vision_config.", siglip ? &drt_siglip : &drt_clip, &c->vision);
    language_read(r, text, "text_config.", &c->language);
    // LLaVA's own text_config defaults: LLaMA with the sizes above and a longer context.
    if (!json_object_get(text, "rms_norm_eps")) c->language.eps = 1e-6f;
    if (!json_object_get(text, "tie_word_embeddings"))
        c->language.tied = json_is_true(json_object_get(o, "tie_word_embeddings"));
    r->part = "";
    if (json_array_size(json_object_get(o, "vision_feature_layer")) > 1 && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG,
                             "%s: vision_feature_layer lists several layers; this version reads one", r->name);
    c->select_layer = whole(r, o, "vision_feature_layer", -2);
    bool full = !strcmp(word(o, "vision_feature_select_strategy", "default"), "full");
    c->keep_class = full && c->vision.family->class_row;
    // transformers would cut off the first patch of each picture.
    if (!full && !c->vision.family->class_row && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG,
                             "%s: vision_feature_select_strategy \"default\" drops the class row, and a %s has none; "
                             "it must be \"full\"",
                             r->name, tower);
    c->image_token = whole(r, o, "image_token_index", whole(r, o, "image_token_id", 32000));
    projector_read(r, word(o, "drt_projector", "mlp2x_gelu"), "drt_projector", c);
    if (act(r, o, "projector_hidden_act", "gelu") != DRT_ACT_GELU && !r->status)
        r->status = drt_fail(r->err, DRT_ECONFIG, "%s: projector_hidden_act must be gelu", r->name);
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
        c->kind = DRT_MODEL_LLAVA;
        llava_read(&r, o, c);
    } else if (!strcmp(type, "clip") || !strcmp(type, "siglip")) {
        pair_read(&r, o, *type == 's' ? &drt_siglip : &drt_clip, c);
    } else if (!strcmp(type, "clip_vision_model") || !strcmp(type, "siglip_vision_model")) {
        c->kind = DRT_MODEL_VISION;
        vision_read(&r, o, "", *type == 's' ? &drt_siglip : &drt_clip, &c->vision);
    } else if (!strcmp(type, "llama")) {
        c->kind = DRT_MODEL_LANGUAGE;
        language_read(&r, o, "", &c->language);
    } else
        r.status = drt_fail(err, DRT_ECONFIG,
                            "%s: model_type \"%s\" is not one of llava, clip, clip_vision_model, siglip, "
                            "siglip_vision_model, llama",
                            name, type);
    snprintf(c->conversation, sizeof c->conversation, "%s", word(o, "drt_template", ""));
    json_decref(o);
    return r.status ? r.status : drt_model_config_check(c, name, err);
}

drt_status drt_model_config_read(drt_model_config *c, const char *folder, drt_error *err) {
    char *path = drt_path_join(folder, "config.json"), *json = NULL;
    drt_status status = path ? drt_file_read(&json, NULL, path, 16 << 20, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = drt_model_config_parse(c, json, path, err);
    free(json);
    free(path);
    return status;
}

// ---- checks --------------------------------------------------------------------------------------------------------

static drt_status within(const char *name, const char *key, int v, int least, int most, drt_error *err) {
    if (v >= least && v <= most) return DRT_OK;
    return drt_fail(err, DRT_ECONFIG, "%s: %s is %d, outside [%d, %d]", name, key, v, least, most);
}

#define WITHIN(key, v, least, most)                                                                                    \
    if (!status) status = within(name, key, v, least, most, err)

static drt_status tower_check(const drt_tower *v, bool vision, const char *name, drt_error *err) {
    drt_status status = v->family ? DRT_OK : drt_fail(err, DRT_EARG, "%s: a tower of no family", name);
    WITHIN("hidden_size", v->width, 1, 1 << 16);
    WITHIN("intermediate_size", v->ffn, 1, 1 << 20);
    WITHIN("num_hidden_layers", v->layers, 1, 1024);
    WITHIN("num_attention_heads", v->heads, 1, v->width);
    WITHIN("projection_dim", v->joint, 1, 1 << 16);
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

static drt_status language_check(const drt_decoder_config *l, const char *name, drt_error *err) {
    drt_status status = DRT_OK;
    WITHIN("hidden_size", l->width, 1, 1 << 17);
    WITHIN("intermediate_size", l->ffn, 1, 1 << 20);
    WITHIN("num_hidden_layers", l->layers, 1, 1024);
    WITHIN("num_attention_heads", l->heads, 1, 1 << 12);
    WITHIN("num_key_value_heads", l->kv_heads, 1, l->heads);
    WITHIN("head_dim", l->head_size, 2, 1 << 12);
    WITHIN("vocab_size", l->vocab, 1, 1 << 24);
    // Rotary angles are a table: a GB of them is more than any model needs.
    WITHIN("max_position_embeddings", l->positions, 1, (1 << 28) / l->head_size);
    if (!status && l->heads % l->kv_heads)
        status = drt_fail(err, DRT_ECONFIG, "%s: num_attention_heads %d is not a multiple of num_key_value_heads %d",
                          name, l->heads, l->kv_heads);
    if (!status && l->head_size % 2) status = drt_fail(err, DRT_ECONFIG, "%s: head_dim %d is odd", name, l->head_size);
    return status;
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
    if (!status && drt_has_decoder(c)) status = language_check(&c->language, name, err);
    if (!status && c->kind == DRT_MODEL_LLAVA) {
        int layer = c->select_layer < 0 ? c->vision.layers + 1 + c->select_layer : c->select_layer;
        WITHIN("vision_feature_layer", layer, 0, c->vision.layers);
        if (!status && c->keep_class && !c->vision.family->class_row)
            status = drt_fail(err, DRT_ECONFIG, "%s: a class row is to be kept, but this tower has none", name);
        WITHIN("projector layers", c->projector, 0, DRT_PROJECTOR_LAYERS);
        if (!status && !c->projector && c->vision.width != c->language.width)
            status = drt_fail(err, DRT_ECONFIG,
                              "%s: projector identity needs a tower and a decoder of one width, not %d and %d", name,
                              c->vision.width, c->language.width);
    }
    return status;
}

int drt_patches(const drt_tower *v) { return (v->image / v->patch) * (v->image / v->patch); }
int drt_tower_rows(const drt_tower *v) { return drt_patches(v) + v->family->class_row; }
int drt_visual_rows(const drt_model_config *c) { return drt_patches(&c->vision) + c->keep_class; }

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
