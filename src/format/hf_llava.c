// config.json of the original LLaVA: the decoder's keys at the top, what LLaVA adds under names with mm_ in front.
// Source: the released checkpoints and the training program's arguments; for decoders other than LLaMA, those of
// LLaVA-NeXT (qwen, gemma), FastVLM (qwen2), MoE-LLaVA (qwen1_5, phi), LLaVA-Phi and LLaVA++ (phi with Phi-3).
#include "format/hf_llava.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// model_type and class of the whole -> model_type of its decoder, every family's. Written is the first row of a
// decoder.
static const struct {
    const char *type, *architecture, *decoder;
} programs[] = {{"llava", "LlavaLlamaForCausalLM", "llama"},
                {"llava_llama", "LlavaLlamaForCausalLM", "llama"},
                {"llava_mistral", "LlavaMistralForCausalLM", "mistral"},
                {"llava_qwen", "LlavaQwenForCausalLM", "qwen2"},
                {"llava_qwen2", "LlavaQwen2ForCausalLM", "qwen2"},
                {"llava_qwen1_5", "LlavaQwen1_5ForCausalLM", "qwen2"},
                {"llava_gemma", "LlavaGemmaForCausalLM", "gemma"},
                {"llava_phi", "LlavaPhiForCausalLM", "phi"},
                {"llava_phi", "LlavaPhiForCausalLM", "phi3"},
                {"llava_phi3", "LlavaPhi3ForCausalLM", "phi3"}};
enum { PROGRAMS = sizeof programs / sizeof *programs };

static const char *word(const json_t *o, const char *key, const char *standard) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : standard;
}

// LLaVA-NeXT's Qwens may call themselves llava_llama: then the class tells. Two programs call theirs llava_phi; only
// Phi-3 has RMS norms.
static const char *decoder_of(const json_t *o) {
    const char *type = word(o, "model_type", ""), *found = NULL;
    const char *name = json_string_value(json_array_get(json_object_get(o, "architectures"), 0));
    for (int i = 0; !found && i < PROGRAMS; i++)
        if (!strcmp(type, programs[i].type)) found = programs[i].decoder;
    if (found && !strcmp(found, "phi") && json_object_get(o, "rms_norm_eps")) found = "phi3";
    if (!found || !name || strcmp(found, "llama")) return found;
    for (int i = 0; i < PROGRAMS; i++)
        if (!strcmp(name, programs[i].architecture)) return programs[i].decoder;
    return found;
}

bool drt_is_original_llava(const json_t *o) { return decoder_of(o) && !json_object_get(o, "text_config"); }

// Keys whose presence means a model that computes something else.
static drt_status refuse_others(const json_t *o, const char *name, drt_error *err) {
    static const struct {
        const char *key, *why;
    } flags[] = {{"mm_use_im_start_end", "tokens around images are not supported"},
                 {"mm_resampler_type", "resamplers are not supported"}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        const json_t *v = json_object_get(o, flags[i].key);
        if (json_is_true(v) || json_is_string(v))
            return drt_fail(err, DRT_ECONFIG, "%s: %s: %s", name, flags[i].key, flags[i].why);
    }
    const char *aspect = word(o, "image_aspect_ratio", "square"), *merge = word(o, "mm_patch_merge_type", "flat");
    if (strcmp(aspect, "pad") && strcmp(aspect, "square"))
        return drt_fail(err, DRT_ECONFIG, "%s: image_aspect_ratio \"%s\" is not one of pad, square", name, aspect);
    if (strcmp(merge, "flat"))
        return drt_fail(err, DRT_ECONFIG, "%s: mm_patch_merge_type \"%s\" is not flat", name, merge);
    return DRT_OK;
}

static drt_status keys_read(drt_model_config *c, const json_t *o, const char *name, drt_error *err) {
    const char *tower = word(o, "mm_vision_tower", word(o, "vision_tower", "")), *why = NULL;
    const char *feature = word(o, "mm_vision_select_feature", "patch"), *kind = word(o, "mm_projector_type", "linear");
    const json_t *layer = json_object_get(o, "mm_vision_select_layer");
    drt_status status = refuse_others(o, name, err);
    if (status) return status;
    c->projector = drt_projector_layers(kind);
    c->front = !strcmp(feature, "cls_patch");
    c->select_layer = json_is_integer(layer) ? (int)json_integer_value(layer) : -1;
    c->tower_inside = json_is_true(json_object_get(o, "unfreeze_mm_vision_tower"));
    if (json_is_true(json_object_get(o, "s2"))) // the default is LLaVA's
        status = drt_scales_parse(c, word(o, "s2_scales", "336,672,1008"), name, "s2_scales", err);
    if (status) return status;
    c->pad = !strcmp(word(o, "image_aspect_ratio", "square"), "pad");
    c->image_token = -1; // the vocabulary has none: images are spliced in by place
    snprintf(c->tower, sizeof c->tower, "%s", tower);
    if (!*tower) why = "mm_vision_tower is missing: which tower does it see with?";
    else if (strlen(tower) >= sizeof c->tower) why = "mm_vision_tower is too long";
    else if (!c->front && strcmp(feature, "patch")) why = "mm_vision_select_feature is neither patch nor cls_patch";
    else if (json_is_integer(layer) && (c->select_layer < -1000 || json_integer_value(layer) > 1000))
        why = "mm_vision_select_layer is no layer";
    if (why) return drt_fail(err, DRT_ECONFIG, "%s: %s", name, why);
    if (c->projector >= 0) return DRT_OK;
    return drt_fail(err, DRT_ECONFIG,
                    "%s: mm_projector_type \"%s\" is not one of linear, identity, mlpNx_gelu (N to %d)", name, kind,
                    DRT_PROJECTOR_LAYERS);
}

drt_status drt_original_llava_parse(drt_model_config *c, const json_t *o, const char *name, drt_error *err) {
    json_t *decoder = json_copy((json_t *)o);
    if (decoder) json_object_set_new(decoder, "model_type", json_string(decoder_of(o)));
    char *text = decoder ? json_dumps(decoder, 0) : NULL;
    json_decref(decoder);
    if (!text) return drt_fail(err, DRT_ENOMEM, "no memory for %s", name);
    drt_status status = drt_model_config_parse(c, text, name, err);
    free(text);
    c->kind = DRT_MODEL_LLAVA;
    c->visual_scaled = c->language.words_scaled; // the programs of this layout run on transformers 4
    return status ? status : keys_read(c, o, name, err);
}

drt_status drt_original_llava_write(const drt_model_config *c, const char *tower, const char *dtype, drt_text *out,
                                    drt_error *err) {
    drt_model_config decoder = *c;
    drt_text text = {0};
    char projector[16];
    decoder.kind = DRT_MODEL_LANGUAGE;
    if (c->front < 0)
        return drt_fail(err, DRT_ECONFIG,
                        "the original LLaVA layout cannot say that the first patch of a picture is left out; "
                        "llava-hf can");
    if (c->language.words_scaled && !c->visual_scaled)
        return drt_fail(err, DRT_ECONFIG,
                        "in the original LLaVA layout visual tokens are multiplied by the root of Gemma's width, as "
                        "words are, and this model is not run so; llava-hf can hold it");
    drt_model_config_write(&decoder, dtype, &text);
    json_t *o = text.failed ? NULL : json_loadb(text.bytes, text.size, 0, NULL);
    drt_text_free(&text);
    const char *kind = word(o, "model_type", "");
    int is = 0;
    while (is < PROGRAMS && strcmp(kind, programs[is].decoder)) is++;
    drt_projector_name(projector, c->projector);
    json_t *more = json_pack("{s:[s],s:s,s:s,s:s,s:i,s:i,s:s,s:b,s:s,s:b,s:b,s:b,s:s}", "architectures",
                             o ? programs[is].architecture : "", "model_type", o ? programs[is].type : "",
                             "mm_vision_tower", tower, "mm_projector_type", projector, "mm_hidden_size",
                             drt_feature_width(c), "mm_vision_select_layer", c->select_layer,
                             "mm_vision_select_feature", c->front ? "cls_patch" : "patch", "use_mm_proj", 1,
                             "image_aspect_ratio", c->pad ? "pad" : "square", "mm_use_im_start_end", 0,
                             "mm_use_im_patch_token", 0, "unfreeze_mm_vision_tower", 0, "mm_patch_merge_type", "flat");
    char scales[64];
    drt_scales_name(scales, c);
    if (more && c->scales &&
        (json_object_set_new(more, "s2", json_true()) || json_object_set_new(more, "s2_scales", json_string(scales)))) {
        json_decref(more);
        more = NULL;
    }
    char *json = o && more && !json_object_update(o, more) ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o), json_decref(more);
    if (json) drt_text_puts(out, json), drt_text_puts(out, "\n");
    free(json);
    return json && !out->failed ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for config.json");
}

// ---- towers by name ------------------------------------------------------------------------------------------------

bool drt_tower_known(drt_tower *out, const char *name) {
    static const struct {
        const char *name;
        int image, patch;
    } clip[] = {{"clip-vit-large-patch14-336", 336, 14}, {"clip-vit-large-patch14", 224, 14}};
    const char *slash = strrchr(name, '/');
    for (size_t i = 0; i < sizeof clip / sizeof *clip; i++) {
        if (strcmp(slash ? slash + 1 : name, clip[i].name)) continue;
        *out = (drt_tower){.family = &drt_clip,
                           .width = 1024,
                           .layers = 24,
                           .heads = 16,
                           .ffn = 4096,
                           .act = DRT_ACT_QUICK_GELU,
                           .eps = 1e-5f,
                           .joint = 768,
                           .image = clip[i].image,
                           .patch = clip[i].patch};
        return true;
    }
    return false;
}
