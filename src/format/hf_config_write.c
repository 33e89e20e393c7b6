#include "format/hf_config.h"

static const char *const act_names[] = {"gelu", "quick_gelu", "silu"};

static void tower_write(const drt_clip_tower *v, bool vision, drt_text *out) {
    drt_text_printf(out,
                    "{\n    \"model_type\": \"%s\",\n    \"hidden_size\": %d,\n    \"intermediate_size\": %d,\n"
                    "    \"num_hidden_layers\": %d,\n    \"num_attention_heads\": %d,\n    \"hidden_act\": \"%s\",\n"
                    "    \"layer_norm_eps\": %.9g,\n    \"projection_dim\": %d,\n    \"attention_dropout\": 0.0,\n",
                    vision ? "clip_vision_model" : "clip_text_model", v->width, v->ffn, v->layers, v->heads,
                    act_names[v->act], v->eps, v->joint);
    if (vision)
        drt_text_printf(out, "    \"image_size\": %d,\n    \"patch_size\": %d,\n    \"num_channels\": 3\n  }", v->image,
                        v->patch);
    else
        drt_text_printf(out,
                        "    \"vocab_size\": %d,\n    \"max_position_embeddings\": %d,\n    \"bos_token_id\": %d,\n"
                        "    \"eos_token_id\": %d,\n    \"pad_token_id\": %d\n  }",
                        v->vocab, v->positions, v->bos, v->eos, v->pad);
}

// The keys of LlamaConfig, one a line after `indent`; no braces.
static void language_write(const drt_decoder_config *l, const char *indent, drt_text *out) {
    const struct {
        const char *key;
        int value;
    } keys[] = {{"hidden_size", l->width},
                {"intermediate_size", l->ffn},
                {"num_hidden_layers", l->layers},
                {"num_attention_heads", l->heads},
                {"num_key_value_heads", l->kv_heads},
                {"head_dim", l->head_size},
                {"vocab_size", l->vocab},
                {"max_position_embeddings", l->positions},
                {"bos_token_id", l->bos},
                {"eos_token_id", l->eos}};
    drt_text_printf(out, "%s\"model_type\": \"llama\",\n%s\"hidden_act\": \"silu\",\n", indent, indent);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        drt_text_printf(out, "%s\"%s\": %d,\n", indent, keys[i].key, keys[i].value);
    if (l->pad >= 0) drt_text_printf(out, "%s\"pad_token_id\": %d,\n", indent, l->pad);
    drt_text_printf(out, "%s\"rms_norm_eps\": %.9g,\n%s\"rope_theta\": %.17g,\n%s\"attention_bias\": false,\n", indent,
                    (double)l->eps, indent, l->rope_theta, indent);
    drt_text_printf(out, "%s\"tie_word_embeddings\": %s", indent, l->tied ? "true" : "false");
}

void drt_model_config_write(const drt_model_config *c, drt_text *out) {
    static const char *const architecture[] = {"LlavaForConditionalGeneration", "CLIPModel", "LlamaForCausalLM"};
    drt_text_printf(out, "{\n  \"architectures\": [\"%s\"],\n", architecture[c->kind]);
    if (c->kind == DRT_MODEL_LANGUAGE) {
        drt_text_puts(out, "  \"torch_dtype\": \"float32\",\n");
        language_write(&c->language, "  ", out);
    } else {
        drt_text_printf(out, "  \"model_type\": \"%s\",\n  \"torch_dtype\": \"float32\",\n",
                        c->kind == DRT_MODEL_CLIP ? "clip" : "llava");
        drt_text_puts(out, "  \"vision_config\": ");
        tower_write(&c->vision, true, out);
        drt_text_puts(out, ",\n  \"text_config\": ");
        if (c->kind == DRT_MODEL_CLIP) {
            tower_write(&c->text, false, out);
            drt_text_printf(out, ",\n  \"projection_dim\": %d,\n  \"logit_scale_init_value\": 2.6592", c->text.joint);
        } else {
            drt_text_puts(out, "{\n");
            language_write(&c->language, "    ", out);
            drt_text_printf(out,
                            "\n  },\n  \"image_token_index\": %d,\n  \"image_seq_length\": %d,\n"
                            "  \"projector_hidden_act\": \"gelu\",\n  \"multimodal_projector_bias\": true,\n"
                            "  \"vision_feature_layer\": %d,\n  \"vision_feature_select_strategy\": \"%s\",\n"
                            "  \"tie_word_embeddings\": %s",
                            c->image_token, drt_visual_rows(c), c->select_layer, c->keep_class ? "full" : "default",
                            c->language.tied ? "true" : "false");
            if (c->projector == DRT_PROJECTOR_LINEAR) drt_text_puts(out, ",\n  \"drt_projector\": \"linear\"");
        }
    }
    drt_text_puts(out, "\n}\n");
}
