// Folders that contradict themselves are refused with the file, the place and the reason: sizes that cannot be, tensors
// that are missing, misshapen, strange or not numbers, tokens and labels out of range. Run under ASan by `make asan
// T=model`.
#include "support/rig.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>

static const char source[] = "tests/golden/model/llava";

static char *config_text(void) {
    drt_error err = {0};
    char *text;
    check_ok(drt_file_read(&text, NULL, "tests/golden/model/llava/config.json", 0, &err));
    return text;
}

// The config with the first `from` replaced; malloc'ed.
static char *replaced(const char *from, const char *to) {
    char *text = config_text(), *at = strstr(text, from), *out = malloc(strlen(text) + strlen(to) + 1);
    if (!at) fail_msg("config.json has no %s", from);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    free(text);
    return out;
}

static void configs(void **state) {
    static const struct {
        const char *from, *to, *told;
    } wrong[] = {
        {"\"num_attention_heads\": 3", "\"num_attention_heads\": 0", "num_attention_heads"},
        {"\"num_attention_heads\": 3", "\"num_attention_heads\": -3", "num_attention_heads"},
        {"\"num_attention_heads\": 3", "\"num_attention_heads\": 3.5", "num_attention_heads"},
        {"\"num_attention_heads\": 3", "\"num_attention_heads\": \"three\"", "num_attention_heads"},
        {"\"num_attention_heads\": 3", "\"num_attention_heads\": 99999999999", "num_attention_heads"},
        {"\"num_attention_heads\": 3", "\"num_attention_heads\": []", "num_attention_heads"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 2", "num_key_value_heads"},
        {"\"head_dim\": 6", "\"head_dim\": 5", "head_dim"},
        {"\"head_dim\": 6", "\"head_dim\": 0", "head_dim"},
        {"\"vocab_size\": 37", "\"vocab_size\": 0", "vocab_size"},
        {"\"max_position_embeddings\": 96", "\"max_position_embeddings\": 99999999", "max_position_embeddings"},
        {"\"max_position_embeddings\": 96", "\"max_position_embeddings\": 0", "max_position_embeddings"},
        {"\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", "hidden_act"},
        {"\"hidden_act\": \"quick_gelu\"", "\"hidden_act\": \"tanh\"", "hidden_act"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"linear\"", "factor"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"ntk\", \"factor\": 2", "rope scaling \"ntk\""},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"longrope\"", "short_factor has 0 numbers, but 3 pairs"},
        {"\"rope_type\": \"default\"",
         "\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1], \"long_factor\": [1, 2]",
         "long_factor has 2 numbers, short_factor 3"},
        {"\"rope_type\": \"default\"",
         "\"rope_type\": \"longrope\", \"short_factor\": [1, \"1\", 1], \"long_factor\": [1, 2, 3]",
         "short_factor: number 2 divides no angle"},
        {"\"rope_type\": \"default\"",
         "\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1], \"long_factor\": [1, 2, 0]",
         "long_factor: number 3 divides no angle"},
        {"\"rope_type\": \"default\"",
         "\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1], \"long_factor\": [1, 2, 3], "
         "\"original_max_position_embeddings\": 0",
         "original_max_position_embeddings is 0"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"yarn\", \"factor\": 0.5", "factor"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"yarn\", \"factor\": 2, \"beta_slow\": 40", "beta_slow"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"yarn\", \"factor\": 2, \"attention_factor\": -1",
         "attention_factor -1"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"linear\", \"factor\": 0.5", "factor"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"llama3\", \"factor\": 2", "low_freq_factor"},
        {"\"rope_theta\": 10000.0", "\"rope_theta\": 0", "rope_theta"},
        {"\"rope_theta\": 10000.0", "\"rope_theta\": 1e300", "rope_theta is not a number that a model could have"},
        {"\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": -1e-06", "rms_norm_eps is -1e-06, outside [0, 1]"},
        {"\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 1e50", "rms_norm_eps"},
        {"\"rope_theta\": 10000.0", "\"rope_theta\": 1, \"partial_rotary_factor\": 0.5", "partial_rotary_factor"},
        {"\"head_dim\": 6", "\"layer_types\": [\"full_attention\"]", "layer_types"},
        {"\"head_dim\": 6", "\"layer_types\": [\"full_attention\", \"linear_attention\"]", "linear_attention"},
        {"\"head_dim\": 6", "\"layer_types\": [\"full_attention\", \"sliding_attention\"]", "sliding_window"},
        {"\"hidden_size\": 18", "\"hidden_size\": 18, \"qk_layernorm\": true", "qk_layernorm"},
        {"\"image_size\": 15", "\"image_size\": 4", "patch_size"},
        {"\"patch_size\": 5", "\"patch_size\": 0", "patch_size"},
        {"\"num_attention_heads\": 2", "\"num_attention_heads\": 3", "num_attention_heads"},
        {"\"num_hidden_layers\": 3", "\"num_hidden_layers\": 0", "num_hidden_layers"},
        {"\"vision_feature_layer\": -2", "\"vision_feature_layer\": -9", "vision_feature_layer"},
        {"\"vision_feature_layer\": -2", "\"vision_feature_layer\": 4", "vision_feature_layer"},
        {"\"vision_feature_layer\": -2", "\"vision_feature_layer\": [-2, -3]", "vision_feature_layer"},
        {"\"vision_feature_select_strategy\": \"default\"", "\"vision_feature_select_strategy\": \"patch\"",
         "neither default nor full"},
        {"\"model_type\": \"clip_vision_model\"", "\"model_type\": \"dinov2\"", "dinov2"},
        {"\"model_type\": \"clip_vision_model\",\n    \"num_attention_heads\": 2,\n    \"num_channels\": 3,\n"
         "    \"num_hidden_layers\": 3,\n    \"patch_size\": 5",
         "\"model_type\": \"siglip_vision_model\", \"num_attention_heads\": 2, \"patch_size\": 15",
         "leaves out the first patch, and there is no other"},
        {"\"vision_feature_layer\": -2", "\"drt_s2_scales\": \"15,31\"", "not 31"},
        {"\"vision_feature_layer\": -2", "\"drt_s2_scales\": \"30,45\"", "not 30"},
        {"\"vision_feature_layer\": -2", "\"drt_s2_scales\": \"15,30,30\"", "not 30"},
        {"\"vision_feature_layer\": -2", "\"drt_s2_scales\": \"15,,30\"", "drt_s2_scales"},
        {"\"vision_feature_layer\": -2", "\"drt_s2_scales\": \"15,30,45,60,75\"", "drt_s2_scales"},
        {"\"vision_feature_layer\": -2", "\"drt_s2_scales\": \"15,-30\"", "drt_s2_scales"},
        {"\"vision_feature_layer\": -2", "\"drt_order\": {\"name\": \"sort\", \"tau\": 0.1}", "drt_order"},
        {"\"vision_feature_layer\": -2", "\"drt_order\": {\"name\": \"token_mixer\", \"tau\": 2}", "drt_order"},
        {"\"vision_feature_layer\": -2", "\"drt_order\": \"token_mixer\"", "drt_order"},
        {"\"model_type\": \"llama\"", "\"model_type\": \"gpt2\"", "llama, mistral, qwen2, gemma, phi3, phi"},
        {"\"model_type\": \"llava\"", "\"model_type\": \"blip\"", "blip"},
        {"\"projector_hidden_act\": \"gelu\"", "\"projector_hidden_act\": \"silu\"", "projector_hidden_act"},
        {"\"dtype\"", "dtype", "place:"},
        {"\"vocab_size\": 37", "\"vocab_size\": 37, \"vocab_size\": 38", "place:"},
    };
    drt_model_config c;
    drt_error err = {0};
    (void)state;
    char *text = config_text();
    check_ok(drt_model_config_parse(&c, text, "place", &err));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *bad = replaced(wrong[i].from, wrong[i].to);
        err.text[0] = 0;
        if (drt_model_config_parse(&c, bad, "place", &err) == DRT_OK) fail_msg("%s was taken", wrong[i].to);
        if (strncmp(err.text, "place", 5) || !strstr(err.text, wrong[i].told))
            fail_msg("%s: %s", wrong[i].to, err.text);
        free(bad);
    }
    // Whatever is cut off or no object: a message, no crash.
    size_t whole = strlen(text);
    while (whole && text[whole] != '}') whole--;
    for (size_t n = 0; n < whole; n += 7) {
        char *cut = strndup(text, n);
        check(drt_model_config_parse(&c, cut, "place", &err) != DRT_OK);
        free(cut);
    }
    static const char *const odd[] = {"[]",
                                      "3",
                                      "null",
                                      "{}",
                                      "{\"model_type\": 3}",
                                      "{\"model_type\": \"llava\"}",
                                      "{\"model_type\": \"llama\", \"hidden_size\": {}}"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        check(drt_model_config_parse(&c, odd[i], "place", &err) != DRT_OK);
    free(text);
}

// A copy of the folder in which tensor `name` is dropped, renamed, given another shape, or holds `poison`.
typedef struct {
    const char *name, *rename;
    bool drop, flat;
    float poison;
} damage;

static char *damaged(const damage *d, const char *config) {
    enum { MOST = 200 };
    static drt_st_entry e[MOST];
    drt_error err = {0};
    drt_weights *s;
    char *out = test_folder("damaged"), path[600], *poisoned = NULL;
    int n = 0, hit = 0;
    check_ok(drt_weights_open(&s, source, &err));
    for (int i = 0; i < drt_weights_count(s); i++) {
        const drt_weight *t = drt_weights_at(s, i);
        bool this = d->name && !strcmp(t->name, d->name);
        hit += this;
        if (this && d->drop) continue;
        e[n] = (drt_st_entry){
            .name = this && d->rename ? d->rename : t->name, .dtype = t->dtype, .ndim = t->ndim, .bytes = t->bytes};
        memcpy(e[n].shape, t->shape, sizeof t->shape);
        if (this && d->flat) {
            e[n].ndim = 1;
            e[n].shape[0] = drt_weight_elements(t);
        }
        if (this && d->poison != 0) {
            poisoned = malloc(t->size);
            memcpy(poisoned, t->bytes, t->size);
            memcpy(poisoned + t->size - 4, &d->poison, 4);
            e[n].bytes = poisoned;
        }
        n++;
    }
    check(!d->name || hit == 1);
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    check_ok(drt_safetensors_write(path, e, n, NULL, &err));
    snprintf(path, sizeof path, "%s/config.json", out);
    check_ok(drt_file_write(path, config, strlen(config), &err));
    drt_weights_close(s);
    free(poisoned);
    return out;
}

static void weights(void **state) {
    static const char q[] = "language_model.model.layers.1.self_attn.q_proj.weight",
                      norm[] = "vision_tower.post_layernorm.bias";
    const struct {
        damage d;
        const char *told[3];
    } wrong[] = {
        {{.name = q, .drop = true}, {"layers.1.self_attn.q_proj.weight", "missing", "damaged"}},
        {{.name = norm, .drop = true}, {"post_layernorm.bias", "missing", "damaged"}},
        {{.name = q, .flat = true}, {"q_proj.weight", "324", "18x18"}},
        {{.name = q, .poison = NAN}, {"q_proj.weight", "NaN", "element 323"}},
        {{.name = norm, .poison = INFINITY}, {"post_layernorm.bias", "infinity", "model.safetensors"}},
        {{.name = q, .rename = "language_model.model.layers.1.self_attn.q_proj.bias"},
         {"q_proj.weight", "missing", ""}},
    };
    drt_model *m;
    drt_error err = {0};
    const drt_model_options o = {0};
    (void)state;
    char *text = config_text();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *folder = damaged(&wrong[i].d, text);
        check(drt_model_open(&m, folder, &o, &err) != DRT_OK && !m);
        for (int k = 0; k < 3; k++)
            if (!strstr(err.text, wrong[i].told[k]))
                fail_msg("case %zu: \"%s\" lacks \"%s\"", i, err.text, wrong[i].told[k]);
        free(folder);
    }
    free(text);
}

// A config that asks for other weights than there are.
static void config_and_weights(void **state) {
    static const struct {
        const char *from, *to, *told;
    } wrong[] = {
        {"\"vocab_size\": 37", "\"vocab_size\": 36", "37x18, config.json says 36x18"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "belongs to no part"}, // a layer that would not be run
        {"\"image_size\": 15", "\"image_size\": 10", "position_embedding"},
        {"\"hidden_size\": 18", "\"hidden_size\": 65536", "do not belong together"}, // before memory is taken
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000", "do not belong together"},
        {"\"text_config\": {", "\"text_config\": {}, \"was\": {",
         "do not belong together"}, // Hugging Face's defaults: 7B
    };
    drt_model *m;
    drt_error err = {0};
    const drt_model_options o = {0};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *bad = replaced(wrong[i].from, wrong[i].to), *folder = damaged(&(damage){0}, bad);
        check(drt_model_open(&m, folder, &o, &err) != DRT_OK && !m);
        if (!strstr(err.text, wrong[i].told)) fail_msg("%s: \"%s\" lacks \"%s\"", wrong[i].to, err.text, wrong[i].told);
        free(bad);
        free(folder);
    }
}

// A tokenizer with more tokens than the model has rows.
static void tokenizer(void **state) {
    drt_model *m;
    drt_error err = {0};
    const drt_model_options o = {0};
    char *text = config_text(), *folder = damaged(&(damage){0}, text), path[600], *json;
    (void)state;
    check_ok(drt_file_read(&json, NULL, "tests/golden/data/byte_level/tokenizer.json", 0, &err));
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    check_ok(drt_file_write(path, json, strlen(json), &err));
    check_refused(drt_model_open(&m, folder, &o, &err), DRT_ECONFIG, "vocab_size 37");
    free(json);
    free(text);
    free(folder);
}

// Tokens and labels that the model does not have: told with the row, nothing is computed.
static void out_of_range(void **state) {
    static const char *const keys[] = {"groups.vision=1", "groups.language=1", "objectives.language=1"};
    static const int32_t strange[] = {37, 1 << 30};
    (void)state;
    for (int k = 0; k < 4; k++) {
        rig r;
        drt_error err = {0};
        rig_open(&r, "model/llava", "model/llava/expected.safetensors", k % 2 ? "cpu" : "ref", 3, keys);
        if (k < 2) r.sample[0].pass[0].id[3] = strange[k];
        else r.sample[0].pass[0].label[4] = strange[k - 2];
        rig_pack(&r, 0, r.samples);
        check_refused(drt_train_gradients(r.t, r.m, &r.recipe, &r.options, &r.data, &r.report, &err), DRT_EDATA,
                      "tokenizer and model differ");
        rig_close(&r);
    }
    // More rows than the model has positions.
    rig r;
    drt_error err = {0};
    rig_open(&r, "model/llava", "model/llava/expected.safetensors", "cpu", 3, keys);
    drt_pass *p = &r.sample[2].pass[0];
    int32_t *id = drt_arena_array(r.arena, 97, sizeof *id), *label = drt_arena_array(r.arena, 97, sizeof *label);
    for (int i = 0; i < 97; i++) id[i] = label[i] = 5;
    *p = (drt_pass){DRT_PASS_PLAIN, id, label, 97, 97, -1};
    rig_pack(&r, 2, 3);
    check_refused(drt_train_gradients(r.t, r.m, &r.recipe, &r.options, &r.data, &r.report, &err), DRT_EDATA,
                  "position 96, the model has 96");
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(configs), cmocka_unit_test(weights),
                                       cmocka_unit_test(config_and_weights), cmocka_unit_test(tokenizer),
                                       cmocka_unit_test(out_of_range)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
