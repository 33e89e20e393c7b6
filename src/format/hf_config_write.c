#include "format/hf_config_read.h"

// The keys of a tower's config, one a line after `indent`; no braces.
static void tower_write(const drt_tower *v, bool vision, const char *indent, drt_text *out) {
    const struct {
        const char *key;
        int value;
    } keys[] = {{"hidden_size", v->width},
                {"intermediate_size", v->ffn},
                {"num_hidden_layers", v->layers},
                {"num_attention_heads", v->heads},
                {vision ? "image_size" : "vocab_size", vision ? v->image : v->vocab},
                {vision ? "patch_size" : "max_position_embeddings", vision ? v->patch : v->positions},
                {vision ? "num_channels" : "bos_token_id", vision ? 3 : v->bos}};
    drt_text_printf(out, "%s\"model_type\": \"%s\",\n", indent, vision ? v->family->vision : v->family->text);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        drt_text_printf(out, "%s\"%s\": %d,\n", indent, keys[i].key, keys[i].value);
    if (!vision)
        drt_text_printf(out, "%s\"eos_token_id\": %d,\n%s\"pad_token_id\": %d,\n", indent, v->eos, indent, v->pad);
    if (v->family->class_row) drt_text_printf(out, "%s\"projection_dim\": %d,\n", indent, v->joint);
    else if (vision) drt_text_printf(out, "%s\"vision_use_head\": %s,\n", indent, v->head ? "true" : "false");
    else drt_text_printf(out, "%s\"projection_size\": %d,\n", indent, v->joint);
    drt_text_printf(out, "%s\"hidden_act\": \"%s\",\n%s\"layer_norm_eps\": %.9g,\n%s\"attention_dropout\": 0.0", indent,
                    drt_act_names[v->act], indent, (double)v->eps, indent);
}

static void sub_config(const drt_tower *v, bool vision, drt_text *out) {
    drt_text_printf(out, "  \"%s\": {\n", vision ? "vision_config" : "text_config");
    tower_write(v, vision, "    ", out);
    drt_text_puts(out, "\n  }");
}

static void llava_write(const drt_model_config *c, drt_text *out) {
    sub_config(&c->vision, true, out);
    drt_text_puts(out, ",\n  \"text_config\": {\n");
    drt_decoder_config_write(&c->language, "    ", out);
    if (c->language.head_bias) drt_text_puts(out, ",\n    \"drt_head_bias\": true");
    drt_text_printf(out,
                    "\n  },\n  \"image_token_index\": %d,\n  \"image_seq_length\": %d,\n"
                    "  \"projector_hidden_act\": \"gelu\",\n  \"multimodal_projector_bias\": true,\n"
                    "  \"vision_feature_layer\": %d,\n  \"vision_feature_select_strategy\": \"%s\",\n"
                    "  \"tie_word_embeddings\": %s",
                    c->image_token, drt_visual_rows(c), c->select_layer,
                    c->front == c->vision.family->class_row ? "full" : "default", c->language.tied ? "true" : "false");
    char projector[16];
    drt_projector_name(projector, c->projector);
    char scales[64];
    drt_scales_name(scales, c);
    if (c->scales) drt_text_printf(out, ",\n  \"drt_s2_scales\": \"%s\"", scales);
    if (c->visual_scaled) drt_text_puts(out, ",\n  \"drt_visual_scaled\": true");
    if (c->projector != 2) drt_text_printf(out, ",\n  \"drt_projector\": \"%s\"", projector);
}

void drt_model_config_write(const drt_model_config *c, const char *dtype, drt_text *out) {
    const char *torch = !strcmp(dtype, "BF16") ? "bfloat16" : !strcmp(dtype, "F16") ? "float16" : "float32";
    const drt_family *family = c->vision.family;
    const char *architecture = c->kind == DRT_MODEL_LLAVA      ? "LlavaForConditionalGeneration"
                               : c->kind == DRT_MODEL_LANGUAGE ? drt_decoder_architecture(&c->language)
                                                               : family->architecture[c->kind == DRT_MODEL_VISION];
    drt_text_printf(out, "{\n  \"architectures\": [\"%s\"],\n  \"torch_dtype\": \"%s\",\n", architecture, torch);
    if (c->kind == DRT_MODEL_LLAVA) {
        drt_text_puts(out, "  \"model_type\": \"llava\",\n");
        llava_write(c, out);
    } else if (c->kind == DRT_MODEL_LANGUAGE) drt_decoder_config_write(&c->language, "  ", out);
    else if (c->kind == DRT_MODEL_VISION) tower_write(&c->vision, true, "  ", out);
    else {
        drt_text_printf(out, "  \"model_type\": \"%s\",\n", family->pair);
        sub_config(&c->vision, true, out);
        drt_text_puts(out, ",\n");
        sub_config(&c->text, false, out);
        if (family->class_row)
            drt_text_printf(out, ",\n  \"projection_dim\": %d,\n  \"logit_scale_init_value\": 2.6592", c->text.joint);
    }
    if (c->order.order == DRT_INPUT_GPS) // the rest is in gps.safetensors
        drt_text_puts(out, ",\n  \"drt_order\": {\"name\": \"gps\"}");
    else if (c->order.order != DRT_INPUT_NONE)
        drt_text_printf(out, ",\n  \"drt_order\": {\"name\": \"%s\", \"tau\": %.9g, \"side\": \"%s\"}",
                        drt_input_order_names[c->order.order], (double)c->order.tau,
                        drt_mixer_side_names[c->order.side]);
    if (*c->conversation) drt_text_printf(out, ",\n  \"drt_template\": \"%s\"", c->conversation);
    drt_text_puts(out, "\n}\n");
}
