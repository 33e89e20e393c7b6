// TinyLLaVA Factory's folders: in one, as published, and in a folder a part, as training leaves them. The golden one
// (tools/golden_layouts.py) holds the tensors of model/llava_siglip_cut.
#include "support/check.h"

#include "base/file.h"
#include "base/text.h"
#include "format/safetensors.h"
#include "model/model.h"

#include <stdio.h>
#include <unistd.h>

#define TINY "tests/golden/model/tinyllava"
static const drt_model_options plain = {0};

static drt_model *opened(const char *folder) {
    drt_error err = {0};
    drt_model *m;
    check_ok(drt_model_open(&m, folder, &plain, &err));
    return m;
}

// FOLDER/config.json of the golden TinyLLaVA with `from` replaced.
static void put_tiny(const char *folder, const char *from, const char *to) {
    drt_error err = {0};
    drt_text out = {0};
    char *path = drt_path_join(folder, "config.json"), *text;
    check_ok(drt_file_read(&text, NULL, TINY "/config.json", 0, &err));
    const char *at = strstr(text, from);
    if (!at) fail_msg("config.json has no %s", from);
    drt_text_printf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    check_ok(drt_file_write(path, out.bytes, out.size, &err));
    drt_text_free(&out);
    free(text), free(path);
}

// The tensors of `source` whose names begin with `front`, without `drop` of it, as FOLDER/PART/model.safetensors.
static void put_part(const char *source, const char *folder, const char *part, const char *front, size_t drop) {
    static drt_st_entry e[200];
    drt_error err = {0};
    drt_weights *w;
    char *inner = drt_path_join(folder, part), *path = drt_path_join(inner, "model.safetensors");
    int n = 0;
    check_ok(drt_make_folders(inner, &err));
    check_ok(drt_weights_open(&w, source, &err));
    for (int i = 0; i < drt_weights_count(w); i++) {
        const drt_weight *t = drt_weights_at(w, i);
        if (strncmp(t->name, front, strlen(front))) continue;
        e[n] = (drt_st_entry){.name = t->name + drop, .dtype = t->dtype, .ndim = t->ndim, .bytes = t->bytes};
        memcpy(e[n++].shape, t->shape, sizeof t->shape);
    }
    check_ok(drt_safetensors_write(path, e, n, NULL, &err));
    drt_weights_close(w);
    free(path), free(inner);
}

static void in_one_folder(void **state) {
    (void)state;
    drt_error err = {0};
    drt_model *want = opened("tests/golden/model/llava_siglip_cut"), *m = opened(TINY);
    char *out = test_folder("tinyllava-out"), *none = test_folder("tinyllava-none");
    check(drt_params_hash(want->params) == drt_params_hash(m->params));
    check(want->config.front == -1 && m->config.front == -1 && m->config.select_layer == -2);
    check(drt_visual_rows(&m->config) == 15 && m->preprocess.aspect == DRT_ASPECT_SQUARE && m->preprocess.size == 13);
    assert_memory_equal(&want->config.language, &m->config.language, sizeof m->config.language);
    assert_memory_equal(&want->config.vision, &m->config.vision, sizeof m->config.vision);
    check_ok(drt_model_save_as(m, out, DRT_LAYOUT_HF, "F32", &err));
    check_ok(drt_model_compare(m, out, "F32", &err));
    drt_model *again = opened(out);
    check(drt_params_hash(want->params) == drt_params_hash(again->params));
    check(again->config.front == -1);
    drt_model_close(again);
    check_refused(drt_model_save_as(m, none, DRT_LAYOUT_LLAVA, "F32", &err), DRT_ECONFIG, "first patch of a picture");
    drt_model_close(m), drt_model_close(want);
    free(out), free(none);
}

static char *in_parts(void) {
    char *parts = test_folder("tinyllava-parts");
    put_part(TINY, parts, "language_model", "language_model.", sizeof "language_model." - 1);
    put_part(TINY, parts, "vision_tower", "vision_tower.", sizeof "vision_tower._vision_tower." - 1);
    put_part(TINY, parts, "connector", "connector.", sizeof "connector." - 1);
    return parts;
}

static void a_folder_a_part(void **state) {
    (void)state;
    drt_error err = {0};
    drt_model *want = opened("tests/golden/model/llava_siglip_cut"), *m;
    char *parts = in_parts(), *tower = drt_path_join(parts, "vision_tower/model.safetensors");
    put_tiny(parts, "\"square\"", "\"pad\"");
    m = opened(parts);
    check(drt_params_hash(want->params) == drt_params_hash(m->params));
    check(m->preprocess.aspect == DRT_ASPECT_PAD);
    drt_model_close(m), drt_model_close(want);
    check(!unlink(tower));
    check_refused(drt_model_open(&m, parts, &plain, &err), DRT_EIO, "vision_tower");
    free(tower), free(parts);
}

// Its program runs on transformers 4, which multiplies Gemma's visual tokens, too; as llava-hf that has a key of ours.
static void gemma(void **state) {
    (void)state;
    drt_error err = {0};
    drt_model_config c, back;
    drt_text out = {0};
    char *folder = test_folder("tinyllava-gemma");
    put_tiny(folder, "\"model_type\": \"llama\"", "\"model_type\": \"gemma\"");
    check_ok(drt_model_config_read(&c, folder, &err));
    check(c.visual_scaled && c.language.family == DRT_GEMMA);
    drt_model_config_write(&c, "F32", &out);
    check(strstr(out.bytes, "\"drt_visual_scaled\": true"));
    check_ok(drt_model_config_parse(&back, out.bytes, "written", &err));
    check(back.visual_scaled && back.front == -1);
    drt_text_free(&out);
    check_ok(drt_model_config_read(&c, TINY, &err));
    check(!c.visual_scaled);
    free(folder);
}

static void configs(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *told;
    } wrong[] = {
        {"\"mlp2x_gelu\"", "\"qformer\"", "connector_type \"qformer\" is not one of"},
        {"\"mlp2x_gelu\"", "null", "connector_type"},
        {"\"mlp2x_gelu\"", "\"mlp3x_gelu\"", "linear_3.weight"},
        {"\"patch\"", "\"cls\"", "neither patch nor cls_patch"},
        {"\"patch\"", "\"cls_patch\"", NULL},
        {"\"model_type\": \"llama\"", "\"model_type\": \"openelm\"", "\"openelm\" is none of the decoders"},
        {"\"model_type\": \"siglip_vision_model\"", "\"model_type\": \"dinov2\"",
         "\"dinov2\" is not clip_vision_model"},
        {"\"model_type\": \"tinyllava\"", "\"model_type\": \"tiny_llava_phi\"", "is not one of llava, tinyllava"},
        {"\"model_type\": \"tinyllava\"", "\"model_type\": \"bunny-phi\"", "is not one of llava, tinyllava"},
    };
    drt_error err = {0};
    drt_model *m;
    char *parts = in_parts();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_tiny(parts, wrong[i].from, wrong[i].to);
        drt_status status = drt_model_open(&m, parts, &plain, &err);
        if (wrong[i].told && (!status || !strstr(err.text, wrong[i].told)))
            fail_msg("%s: \"%s\"", wrong[i].to, err.text);
        if (wrong[i].told) continue;
        check_ok(status); // SigLIP's first patch stays
        check(!m->config.front && drt_visual_rows(&m->config) == 16);
        drt_model_close(m);
    }
    free(parts);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_one_folder), cmocka_unit_test(a_folder_a_part),
                                       cmocka_unit_test(gemma), cmocka_unit_test(configs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
