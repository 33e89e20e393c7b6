// Folders in every layout give the same model; what is written in one layout and back is the same to the last bit; a
// vocabulary without <image> gets a row for it; what is missing is asked for by name. The golden folders are made by
// tools/golden_layouts.py from the weights of model/llava.
#include "support/check.h"

#include "base/file.h"
#include "model/image_token.h"
#include "format/safetensors.h"
#include "model/model.h"

#include <jansson.h>
#include <stdio.h>

#define GOLDEN "tests/golden/model/"
static const drt_model_options plain = {0};

static drt_model *opened(const char *folder, const drt_model_options *o) {
    drt_error err = {0};
    drt_model *m;
    check_ok(drt_model_open(&m, folder, o, &err));
    return m;
}

static void same_weights(const drt_model *a, const drt_model *b) {
    assert_int_equal(a->params->slices, b->params->slices);
    for (int i = 0; i < a->params->slices; i++) {
        const drt_slice *s = &a->params->slice[i], *t = drt_params_find(b->params, s->name);
        if (!t) fail_msg("no %s", s->name);
        drt_mat x = s->param->tensor.value, y = t->param->tensor.value;
        assert_int_equal(s->row, t->row);
        assert_memory_equal(x.data, y.data, (size_t)(x.rows * x.cols) * sizeof(float));
    }
}

static void put(const char *folder, const char *name, const char *text) {
    drt_error err = {0};
    char *path = drt_path_join(folder, name);
    check_ok(drt_make_folders(folder, &err));
    check_ok(drt_file_write(path, text, strlen(text), &err));
    free(path);
}

static char *text_of(const char *path) {
    drt_error err = {0};
    char *text;
    check_ok(drt_file_read(&text, NULL, path, 0, &err));
    return text;
}

// FOLDER/config.json of the golden original with `from` replaced.
static void put_config(const char *folder, const char *from, const char *to) {
    char *text = text_of(GOLDEN "llava_original/config.json"), *at = strstr(text, from);
    char *out = malloc(strlen(text) + strlen(to) + 1);
    if (!at) fail_msg("config.json has no %s", from);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    put(folder, "config.json", out);
    free(out), free(text);
}

static void original(void **state) {
    (void)state;
    drt_model *a = opened(GOLDEN "llava", &plain), *b = opened(GOLDEN "llava_original", &plain);
    same_weights(a, b);
    check(b->config.select_layer == -2 && b->config.projector == 2 && !b->config.front && !*b->config.tower);
    check(b->preprocess.aspect == DRT_ASPECT_PAD && b->preprocess.mean[1] == 0.25f && b->preprocess.std[2] == 1);
    check(b->config.language.head_size == 6 && b->config.language.kv_heads == 1 && b->config.vision.patch == 5);
    assert_string_equal(b->dtype, "F32");
    drt_model_close(a), drt_model_close(b);
}

// Some of the golden tensors under other names, in a new folder.
static char *rewritten(const char *source, bool vision, bool decoder, const char *front) {
    static drt_st_entry e[200];
    static char name[200][200];
    drt_error err = {0};
    drt_weights *w;
    char *folder = test_folder("layout"), *path = drt_path_join(folder, "model.safetensors");
    int n = 0;
    check_ok(drt_weights_open(&w, source, &err));
    for (int i = 0; i < drt_weights_count(w); i++) {
        const drt_weight *t = drt_weights_at(w, i);
        bool tower = !strncmp(t->name, "vision_model.", 13);
        if (tower ? !vision : !decoder || strstr(t->name, "mm_projector")) continue;
        snprintf(name[n], sizeof *name, "%s%s", tower ? front : "", t->name);
        e[n] = (drt_st_entry){.name = name[n], .dtype = t->dtype, .ndim = t->ndim, .bytes = t->bytes};
        memcpy(e[n++].shape, t->shape, sizeof t->shape);
    }
    check_ok(drt_safetensors_write(path, e, n, NULL, &err));
    drt_weights_close(w);
    free(path);
    return folder;
}

static void stage_1(void **state) {
    (void)state;
    drt_error err = {0};
    drt_model *m, *want = opened(GOLDEN "llava", &plain);
    char *base = rewritten(GOLDEN "llava_original", false, true, "");
    const drt_model_options o = {.decoder = base};
    drt_model *got = opened(GOLDEN "llava_stage1", &o);
    same_weights(want, got);
    check_refused(drt_model_open(&m, GOLDEN "llava_stage1", &plain, &err), DRT_EIO, "--language");
    check(!m);
    drt_model_close(want), drt_model_close(got);
    free(base);
}

static void tower_inside(void **state) {
    (void)state;
    drt_error err = {0};
    drt_model *m;
    // The original loads the tower from its own folder unless the checkpoint says that it was trained.
    char *folder = rewritten(GOLDEN "llava_original/tiny-tower", true, false, "model.vision_tower.vision_tower.");
    char from[600], to[600];
    snprintf(from, sizeof from, "%s/model.safetensors", folder);
    snprintf(to, sizeof to, "%s/model-2.safetensors", folder);
    check(!rename(from, to));
    drt_weights *w, *llm;
    check_ok(drt_weights_open(&w, to, &err));
    check_ok(drt_weights_open(&llm, GOLDEN "llava_original", &err));
    drt_st_entry e[200];
    int n = 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < drt_weights_count(k ? llm : w); i++) {
            const drt_weight *t = drt_weights_at(k ? llm : w, i);
            e[n] = (drt_st_entry){.name = t->name, .dtype = t->dtype, .ndim = t->ndim, .bytes = t->bytes};
            memcpy(e[n++].shape, t->shape, sizeof t->shape);
        }
    // One number of the tower inside is another, to tell which of the two towers was read.
    static float other[4000];
    int k = 0;
    while (!strstr(e[k].name, "layers.0.mlp.fc1.weight")) k++;
    const drt_weight *fc1 = drt_weights_find(w, e[k].name);
    check(fc1->size <= sizeof other);
    memcpy(other, fc1->bytes, fc1->size);
    other[5] = 77;
    e[k].bytes = other;
    check_ok(drt_safetensors_write(from, e, n, NULL, &err));
    drt_weights_close(w), drt_weights_close(llm);
    drt_model *want = opened(GOLDEN "llava", &plain);
    const drt_model_options o = {.vision = GOLDEN "llava_original/tiny-tower"};
    for (int unfrozen = 0; unfrozen < 2; unfrozen++) {
        put_config(folder, "\"unfreeze_mm_vision_tower\": false",
                   unfrozen ? "\"unfreeze_mm_vision_tower\": true" : "\"unfreeze_mm_vision_tower\": false");
        drt_model *got = opened(folder, &o);
        const drt_slice *s = drt_params_find(got->params, "vision_model.encoder.layers.0.mlp.fc1.weight");
        float *fifth = (float *)s->param->tensor.value.data + 5, true_fifth = *fifth;
        const drt_slice *t = drt_params_find(want->params, s->name);
        check(unfrozen ? true_fifth == 77 : true_fifth != 77);
        *fifth = ((float *)t->param->tensor.value.data)[5];
        same_weights(want, got);
        drt_model_close(got);
    }
    check_refused(drt_model_open(&m, folder, &plain, &err), DRT_EIO,
                  "its vision tower 'somebody/tiny-tower' is not here");
    drt_model_close(want);
    free(folder);
}

static void configs(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *told;
    } wrong[] = {
        {"\"mm_use_im_start_end\": false", "\"mm_use_im_start_end\": true", "mm_use_im_start_end"},
        {"\"mm_resampler_type\": null", "\"mm_resampler_type\": \"perceiver\"", "mm_resampler_type"},
        {"\"image_aspect_ratio\": \"pad\"", "\"image_aspect_ratio\": \"anyres\"", "anyres"},
        {"\"image_aspect_ratio\": \"pad\"", "\"mm_patch_merge_type\": \"spatial\"", "spatial"},
        {"\"mm_projector_type\": \"mlp2x_gelu\"", "\"mm_projector_type\": \"mlp99x_gelu\"", "mlp99x_gelu"},
        {"\"mm_projector_type\": \"mlp2x_gelu\"", "\"mm_projector_type\": \"ldp\"", "ldp"},
        {"\"mm_projector_type\": \"mlp2x_gelu\"", "\"mm_projector_type\": \"identity\"", "one width, not 20 and 18"},
        {"\"mm_vision_select_feature\": \"patch\"", "\"mm_vision_select_feature\": \"cls\"",
         "mm_vision_select_feature"},
        {"\"mm_vision_select_layer\": -2", "\"mm_vision_select_layer\": -7", "vision_feature_layer"},
        {"\"mm_vision_tower\": \"somebody/tiny-tower\"", "\"was\": \"\"", "mm_vision_tower is missing"},
        {"\"model_type\": \"llava\"", "\"model_type\": \"llava_mpt\"", "\"llava_mpt\" is not one of llava"},
        {"\"mm_projector_type\": \"mlp2x_gelu\"", "\"mm_projector_type\": \"mlp3x_gelu\"", "linear_3.weight"},
        {"\"vocab_size\": 37", "\"vocab_size\": 36", "37x18, config.json says 36x18"},
    };
    drt_error err = {0};
    drt_model *m;
    char *folder = rewritten(GOLDEN "llava_original", false, true, "");
    char *bin = text_of(GOLDEN "llava_stage1/config.json"), path[600];
    free(bin);
    // Beside it, the projector as the first stage leaves it.
    drt_map map;
    check_ok(drt_map_open(&map, GOLDEN "llava_stage1/mm_projector.bin", &err));
    snprintf(path, sizeof path, "%s/mm_projector.bin", folder);
    check_ok(drt_file_write(path, map.bytes, map.size, &err));
    drt_map_close(&map);
    const drt_model_options o = {.vision = GOLDEN "llava_original/tiny-tower"};
    put_config(folder, "\"use_cache\": true", "\"use_cache\": false");
    drt_model_close(opened(folder, &o));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_config(folder, wrong[i].from, wrong[i].to);
        if (drt_model_open(&m, folder, &o, &err) == DRT_OK) fail_msg("%s was taken", wrong[i].to);
        if (!strstr(err.text, wrong[i].told)) fail_msg("%s: \"%s\"", wrong[i].to, err.text);
    }
    free(folder);
}

static void same_files(const char *a, const char *b) {
    drt_error err = {0};
    drt_weights *x, *y;
    check_ok(drt_weights_open(&x, a, &err));
    check_ok(drt_weights_open(&y, b, &err));
    assert_int_equal(drt_weights_count(x), drt_weights_count(y));
    for (int i = 0; i < drt_weights_count(x); i++) {
        const drt_weight *s = drt_weights_at(x, i), *t = drt_weights_at(y, i);
        assert_string_equal(s->name, t->name);
        assert_string_equal(s->dtype, t->dtype);
        assert_int_equal(s->size, t->size);
        assert_memory_equal(s->bytes, t->bytes, s->size);
    }
    drt_weights_close(x), drt_weights_close(y);
}

// What transformers will load the weights as.
static bool told_dtype(const char *folder, int dtype) {
    static const char *const names[] = {"\"float32\"", "\"bfloat16\"", "\"float16\""};
    char *path = drt_path_join(folder, "config.json"), *text = text_of(path);
    bool told = strstr(text, names[dtype]) != NULL;
    free(text), free(path);
    return told;
}

// hf -> llava -> hf, in every dtype, for models with and without a class row, a tied head, other projectors.
static void round_trips(void **state) {
    (void)state;
    static const char *const models[] = {"llava", "llava_old", "llava_mlp3", "llava_linear", "llava_identity"};
    static const char *const dtypes[] = {"F32", "BF16", "F16"};
    drt_error err = {0};
    for (int i = 0; i < 5; i++)
        for (int d = 0; d < 3; d++) {
            char source[100], *hf = test_folder("hf"), *llava = test_folder("llava"), *back = test_folder("back");
            snprintf(source, sizeof source, GOLDEN "%s", models[i]);
            drt_model *m = opened(source, &plain);
            check_ok(drt_model_save_as(m, hf, DRT_LAYOUT_HF, dtypes[d], &err));
            check_ok(drt_model_compare(m, hf, dtypes[d], &err));
            drt_model_close(m);
            m = opened(hf, &plain);
            assert_string_equal(m->dtype, dtypes[d]);
            check(told_dtype(hf, d));
            check_ok(drt_model_save_as(m, llava, DRT_LAYOUT_LLAVA, m->dtype, &err));
            check_ok(drt_model_compare(m, llava, dtypes[d], &err));
            check(told_dtype(llava, d));
            // The comparison sees a changed number.
            ((float *)m->params->slice[3].param->tensor.value.data)[0] += 1;
            check_refused(drt_model_compare(m, llava, dtypes[d], &err), DRT_EIO, "other numbers");
            drt_model_close(m);
            m = opened(llava, &plain);
            check_ok(drt_model_save_as(m, back, DRT_LAYOUT_HF, m->dtype, &err));
            same_files(hf, back);
            drt_model_close(m);
            free(hf), free(llava), free(back);
        }
}

static void same_text(const char *a, const char *b, const char *file) {
    char *x = drt_path_join(a, file), *y = drt_path_join(b, file), *left = text_of(x), *right = text_of(y);
    assert_string_equal(left, right);
    free(x), free(y), free(left), free(right);
}

// What a program calls its models, in a folder's config.json.
static void call(const char *folder, const char *type, const char *architecture) {
    char *path = drt_path_join(folder, "config.json");
    json_t *o = json_load_file(path, 0, NULL);
    check(o && !json_object_set_new(o, "model_type", json_string(type)));
    check(!json_object_set_new(o, "architectures", json_pack("[s]", architecture)));
    check(!json_dump_file(o, path, 0));
    json_decref(o);
    free(path);
}

static bool called(const char *folder, const char *type, const char *architecture) {
    char *path = drt_path_join(folder, "config.json");
    json_t *o = json_load_file(path, 0, NULL), *class = json_array_get(json_object_get(o, "architectures"), 0);
    bool both = !strcmp(json_string_value(json_object_get(o, "model_type")), type) &&
                !strcmp(json_string_value(class), architecture);
    json_decref(o);
    free(path);
    return both;
}

// hf -> llava -> hf with the other decoders that the layout has, under the first name, which is written, and under
// those of other programs. Phi-2 with and without a bias of its output projection.
static void other_decoders(void **state) {
    (void)state;
    static const struct {
        const char *decoder, *name[4][2];
    } rows[] = {
        {"mistral_a", {{"llava_mistral", "LlavaMistralForCausalLM"}}},
        {"qwen2_a",
         {{"llava_qwen", "LlavaQwenForCausalLM"},
          {"llava_qwen2", "LlavaQwen2ForCausalLM"},
          {"llava_qwen1_5", "LlavaQwen1_5ForCausalLM"},
          {"llava_llama", "LlavaQwenForCausalLM"}}},
        {"phi3_a", {{"llava_phi", "LlavaPhiForCausalLM"}, {"llava_phi3", "LlavaPhi3ForCausalLM"}, {"llava_phi3", "?"}}},
        {"phi_a", {{"llava_phi", "LlavaPhiForCausalLM"}, {"llava_phi", "?"}}},
        {"llava_phi", {{"llava_phi", "LlavaPhiForCausalLM"}}},
        {"llava_qwen2", {{"llava_qwen", "LlavaQwenForCausalLM"}}},
        {"../model/llava_gemma_scaled", {{"llava_gemma", "LlavaGemmaForCausalLM"}, {"llava_gemma", "?"}}},
    };
    const drt_token_mixer order = {DRT_INPUT_TOKEN_MIXER, 0.3f, DRT_MIXER_AFTER}; // that it was trained in stays, too
    drt_error err = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char source[200], *hf = test_folder("hf"), *llava = test_folder("llava"), *back = test_folder("back");
        drt_model *m;
        snprintf(source, sizeof source, "tests/golden/decoders/%s", rows[i].decoder);
        if (strstr(rows[i].decoder, "llava")) m = opened(source, &plain);
        else check_ok(drt_model_assemble(&m, GOLDEN "llava", source, 2, -2, &plain, &err));
        assert_int_equal(m->config.language.head_bias, !strcmp(rows[i].decoder, "phi_a"));
        m->config.order = order;
        check_ok(drt_model_save_as(m, hf, DRT_LAYOUT_HF, "BF16", &err));
        drt_model_close(m);
        m = opened(hf, &plain);
        check_ok(drt_model_save_as(m, llava, DRT_LAYOUT_LLAVA, "BF16", &err));
        check_ok(drt_model_compare(m, llava, "BF16", &err));
        check(m->config.visual_scaled == !strcmp(rows[i].name[0][0], "llava_gemma"));
        drt_model_close(m);
        check(called(llava, rows[i].name[0][0], rows[i].name[0][1]));
        for (int k = 0; k < 4 && rows[i].name[k][0]; k++) {
            call(llava, rows[i].name[k][0], rows[i].name[k][1]);
            m = opened(llava, &plain);
            assert_memory_equal(&m->config.order, &order, sizeof order);
            check_ok(drt_model_save_as(m, back, DRT_LAYOUT_HF, "BF16", &err));
            drt_model_close(m);
            same_files(hf, back);
            same_text(hf, back, "config.json");
        }
        free(hf), free(llava), free(back);
    }
    // What transformers 5 makes of Gemma the layout cannot say.
    drt_model *m = opened("tests/golden/decoders/llava_gemma", &plain);
    char *out = test_folder("gemma");
    check_refused(drt_model_save_as(m, out, DRT_LAYOUT_LLAVA, "F32", &err), DRT_ECONFIG, "root of Gemma's width");
    drt_model_close(m);
    free(out);
}

static void too_large_for_f16(void **state) {
    (void)state;
    drt_error err = {0};
    char *out = test_folder("large");
    drt_model *m = opened(GOLDEN "llava", &plain);
    ((float *)m->params->slice[3].param->tensor.value.data)[0] = 70000;
    check_ok(drt_model_save_as(m, out, DRT_LAYOUT_HF, "F16", &err));
    check_refused(drt_model_compare(m, out, "F16", &err), DRT_ENUMERIC, "infinity at element 0");
    drt_model_close(m);
    free(out);
}

static void image_row(void **state) {
    (void)state;
    drt_error err = {0};
    const drt_model_options grow = {.image_row = true};
    char *out = test_folder("grown");
    drt_model *want = opened(GOLDEN "llava_original", &plain), *m = opened(GOLDEN "llava_original", &grow);
    assert_int_equal(m->config.language.vocab, 64);
    assert_int_equal(m->config.image_token, 37);
    assert_int_equal(m->config.language.pad, 38);
    const drt_mat e = m->language.embedding->tensor.value, was = want->language.embedding->tensor.value;
    assert_memory_equal(e.data, was.data, 37 * 18 * sizeof(float));
    for (int c = 0; c < 18; c++) {
        double sum = 0;
        for (int r = 0; r < 37; r++) sum += (double)((float *)was.data)[r * 18 + c];
        for (int r = 37; r < 64; r++) check(((float *)e.data)[r * 18 + c] == (float)(sum / 37));
    }
    check_ok(drt_model_save(m, out, "F32", &err));
    drt_model *again = opened(out, &grow); // has one now: nothing grows
    same_weights(m, again);
    check(again->config.image_token == 37 && again->config.language.vocab == 64 && again->added.image < 0);
    drt_model_close(want), drt_model_close(m), drt_model_close(again);
    free(out);
}

// Tokens that a tokenizer.model has beside it stay when <image> joins them.
static void added_tokens(void **state) {
    (void)state;
    drt_error err = {0};
    const drt_added_tokens both = {.image = 12, .pad = 13}, image = {.image = 12, .pad = -1};
    char *from = test_folder("words_from"), *to = test_folder("words_to"), *text;
    char *model = drt_path_join(from, "tokenizer.model"), *own = drt_path_join(from, "added_tokens.json");
    char *written = drt_path_join(to, "added_tokens.json");
    const char *kept = "{\"<tool>\": 10, \"<end>\": 11}";
    check_ok(drt_file_write(model, "", 0, &err)); // only its being there counts
    check_ok(drt_added_tokens_write(&image, from, to, &err));
    check_ok(drt_file_read(&text, NULL, written, 1000, &err));
    assert_string_equal(text, "{\n  \"<image>\": 12\n}");
    free(text);
    check_ok(drt_file_write(own, kept, strlen(kept), &err));
    check_ok(drt_added_tokens_write(&both, from, to, &err));
    check_ok(drt_file_read(&text, NULL, written, 1000, &err));
    assert_string_equal(text, "{\n  \"<tool>\": 10,\n  \"<end>\": 11,\n  \"<image>\": 12,\n  \"<pad>\": 13\n}");
    free(text);
    // Numbers that fit no integer, as transformers' "no limit", are no fault.
    char *rules = drt_path_join(from, "tokenizer_config.json"),
         *rules_written = drt_path_join(to, "tokenizer_config.json");
    const char *no_limit = "{\"model_max_length\": 1000000000000000019884624838656, \"n\": 77}";
    check_ok(drt_file_write(rules, no_limit, strlen(no_limit), &err));
    check_ok(drt_added_tokens_write(&both, from, to, &err));
    check_ok(drt_file_read(&text, NULL, rules_written, 1000, &err));
    check(strstr(text, "\"model_max_length\": 1e30") && strstr(text, "\"n\": 77,"));
    free(text), free(rules), free(rules_written);
    check_ok(drt_file_write(own, "[]", 2, &err));
    check_refused(drt_added_tokens_write(&both, from, to, &err), DRT_EFORMAT, "not an object of JSON");
    free(from), free(to), free(model), free(own), free(written);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(original),          cmocka_unit_test(stage_1),     cmocka_unit_test(tower_inside),
        cmocka_unit_test(configs),           cmocka_unit_test(round_trips), cmocka_unit_test(other_decoders),
        cmocka_unit_test(too_large_for_f16), cmocka_unit_test(image_row),   cmocka_unit_test(added_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
