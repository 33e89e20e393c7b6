// drt verify on a tiny LLaVA, CLIP and SigLIP: the certificate holds, and whatever is spoilt is named as the first
// stage that differs.
#include "support/check.h"

#include "base/file.h"
#include "data/conversation.h"
#include "eval/verify.h"
#include "format/safetensors.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#define HERE "tests/golden/verify/"
#define FOLDER HERE "model"
#define GOLDEN HERE "golden.safetensors"
#define CLIP HERE "clip/"
#define SIGLIP HERE "siglip/"

typedef struct {
    drt_device *dev;
    drt_tape *t;
    drt_model *m;
} world;

static void open_kept(world *w, const char *folder, const char *device, drt_keep keep) {
    drt_error err = {0};
    const drt_model_options nothing_learns = {.keep = keep};
    check_ok(drt_device_open(&w->dev, device, 2, &err));
    assert_non_null(w->t = drt_tape_new(w->dev, &err));
    check_ok(drt_model_open(&w->m, folder, &nothing_learns, &err));
}

static void open_world(world *w, const char *device) { open_kept(w, FOLDER, device, DRT_KEEP_F32); }

static void close_world(world *w) {
    drt_model_close(w->m);
    drt_tape_free(w->t);
    drt_device_close(w->dev);
}

static void the_certificate_holds(void **state) {
    (void)state;
    static const char *const devices[] = {"ref", "cpu"};
    for (int d = 0; d < 2; d++) {
        world w;
        drt_error err = {0};
        drt_certificate c;
        drt_text table = {0}, json = {0};
        open_world(&w, devices[d]);
        check_ok(drt_verify(w.m, w.t, GOLDEN, &c, &err));
        drt_certificate_table(&c, &table);
        if (c.first) fail_msg("%s", table.bytes);
        assert_int_equal(c.n, 15); // tokens, pixels, 5 of vision, projector, splice, 3 layers, final, logits, greedy
        for (int i = 1; i < c.n - 1; i++) assert_true(c.stage[i].tolerance > 0 && c.stage[i].tolerance < 1e-4);
        assert_string_equal(c.stage[c.n - 1].name, "greedy");
        assert_int_equal(c.stage[c.n - 1].rows, 32);
        assert_non_null(strstr(table.bytes, "All 15 stages agree."));
        drt_certificate_json(&c, &json);
        json_t *root = json_loads(json.bytes, 0, NULL);
        assert_true(json_is_true(json_object_get(root, "ok")) && json_is_null(json_object_get(root, "first")));
        assert_int_equal(json_array_size(json_object_get(root, "stages")), 15);
        json_decref(root);
        drt_text_free(&table), drt_text_free(&json);
        drt_certificate_free(&c);
        close_world(&w);
    }
}

static void copy(const char *from, const char *to, const char *name, const char *part, const char *with) {
    drt_error err = {0};
    char *source = drt_path_join(from, name), *target = drt_path_join(to, name), *bytes;
    size_t size;
    check_ok(drt_file_read(&bytes, &size, source, 0, &err));
    char *at = part ? strstr(bytes, part) : NULL;
    drt_text text = {0};
    if (at) drt_text_add(&text, bytes, (size_t)(at - bytes)), drt_text_puts(&text, with);
    drt_text_add(&text, at ? at + strlen(part) : bytes, at ? strlen(at + strlen(part)) : size);
    check(!part || at);
    check_ok(drt_file_write(target, text.bytes, text.size, &err));
    drt_text_free(&text);
    free(source), free(target), free(bytes);
}

// A LLaVA with a permuter is held against a run in its order where the golden file is of one, and plainly where not.
static void a_learned_order(void **state) {
    (void)state;
    static const char *const hard[] = {"argmax", "assignment", "soft"}, *const files[] = {"model.safetensors",
                                                                                          "preprocessor_config.json",
                                                                                          "tokenizer.json",
                                                                                          "tokenizer_config.json"};
    for (int i = 0; i < 6; i++) {
        char own[200], golden[240], *folder = test_folder("permuted");
        world w;
        drt_error err = {0};
        drt_certificate c;
        drt_text table = {0};
        snprintf(own, sizeof own, HERE "gps/%s", hard[i / 2]);
        snprintf(golden, sizeof golden, "%s/golden.safetensors", own);
        for (int k = 0; k < 4; k++) copy(FOLDER, folder, files[k], NULL, NULL);
        copy(FOLDER, folder, "config.json", "{\n", "{\n  \"drt_order\": {\"name\": \"gps\"},\n");
        copy(own, folder, "gps.safetensors", NULL, NULL);
        open_kept(&w, folder, i % 2 ? "cpu" : "ref", DRT_KEEP_F32);
        check_ok(drt_verify(w.m, w.t, golden, &c, &err));
        drt_certificate_table(&c, &table);
        if (c.first) fail_msg("%s: %s", hard[i / 2], table.bytes);
        assert_int_equal(c.n, 15);
        for (int k = 1; k < c.n - 1; k++) assert_true(c.stage[k].tolerance < 1e-3);
        drt_certificate_free(&c);
        check_ok(drt_verify(w.m, w.t, GOLDEN, &c, &err)); // spliced as transformers does
        assert_null(c.first);
        drt_certificate_free(&c);
        // Another temperature is another order.
        w.m->extra.permuter->how.tau *= 1.5f;
        w.m->extra.permuter->how.alpha = 0;
        check_ok(drt_verify(w.m, w.t, golden, &c, &err));
        check(c.first && !strcmp(c.first->name, "splice"));
        drt_certificate_free(&c);
        close_world(&w);
        open_world(&w, "cpu");
        check_refused(drt_verify(w.m, w.t, golden, &c, &err), DRT_EDATA, "of a model with a permuter");
        close_world(&w);
        drt_text_free(&table);
        free(folder);
    }
}

// Products of bf16 weights round their other operand: they are held to the tolerance of that, which f32 does not need.
static void in_bf16(const char *folder, const char *exact, const char *rounded) {
    world w;
    drt_error err = {0};
    drt_certificate f32, bf16;
    open_kept(&w, folder, "cpu", DRT_KEEP_F32);
    check_ok(drt_verify(w.m, w.t, exact, &f32, &err));
    close_world(&w);
    open_kept(&w, folder, "cpu", DRT_KEEP_BF16);
    check_ok(drt_verify(w.m, w.t, rounded, &bf16, &err));
    assert_null(bf16.first);
    assert_int_equal(bf16.n, f32.n);
    int beyond = 0;
    for (int i = 0; i < f32.n; i++) beyond += bf16.stage[i].difference > f32.stage[i].tolerance;
    check(beyond > 5);
    drt_certificate_free(&f32), drt_certificate_free(&bf16);
    close_world(&w);
}

static void weights_in_bf16(void **state) {
    (void)state;
    in_bf16(FOLDER, GOLDEN, HERE "golden_bf16.safetensors");
    in_bf16(CLIP "model", CLIP "golden.safetensors", CLIP "golden_bf16.safetensors");
    in_bf16(SIGLIP "model", SIGLIP "golden.safetensors", SIGLIP "golden_bf16.safetensors");
}

// Tokens, pixels, all layers of both towers, their rows in the joint space, and the scores.
static void towers_hold(void **state) {
    (void)state;
    static const struct {
        const char *folder, *golden;
        int stages;
    } pairs[] = {{CLIP "model", CLIP "golden.safetensors", 15}, {SIGLIP "model", SIGLIP "golden.safetensors", 15}};
    for (int i = 0; i < 4; i++) {
        world w;
        drt_error err = {0};
        drt_certificate c;
        drt_text table = {0};
        open_kept(&w, pairs[i / 2].folder, i % 2 ? "cpu" : "ref", DRT_KEEP_F32);
        check_ok(drt_verify(w.m, w.t, pairs[i / 2].golden, &c, &err));
        drt_certificate_table(&c, &table);
        if (c.first) fail_msg("%s", table.bytes);
        assert_int_equal(c.n, pairs[i / 2].stages);
        assert_string_equal(c.stage[0].name, "tokens");
        assert_string_equal(c.stage[1].name, "pixels");
        assert_string_equal(c.stage[c.n - 1].name, "logits");
        assert_int_equal(c.stage[c.n - 1].cols, 3);
        for (int k = 1; k < c.n; k++) assert_true(c.stage[k].tolerance > 0 && c.stage[k].tolerance < 1e-4);
        drt_text_free(&table);
        drt_certificate_free(&c);
        close_world(&w);
    }
}

// Makes the numbers of a tensor wrong by one part in 200, up and down: a factor of all is lost in rows of length 1.
static void spoil(drt_model *m, const char *name) {
    for (int i = 0; i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (strcmp(s->name, name)) continue;
        drt_mat v = s->param->tensor.value;
        float *x = (float *)v.data + s->row * (v.rows == 1 ? 1 : v.cols);
        int64_t n = 1;
        for (int k = 0; k < s->ndim; k++) n *= s->shape[k];
        for (int64_t k = 0; k < n; k++) x[k] *= k % 2 ? 1.005f : 0.995f;
        return;
    }
    fail_msg("no tensor %s", name);
}

typedef struct {
    const char *tensor, *first; // "": nothing that the model reads
} spoilt;

static void names_first(const char *folder, const char *golden, const spoilt *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        world w;
        drt_error err = {0};
        drt_certificate c;
        open_kept(&w, folder, "cpu", DRT_KEEP_F32);
        spoil(w.m, cases[i].tensor);
        check_ok(drt_verify(w.m, w.t, golden, &c, &err));
        assert_string_equal(c.first ? c.first->name : "", cases[i].first);
        if (c.first) {
            drt_text table = {0};
            char line[80];
            assert_true(c.first->difference > c.first->tolerance && isfinite(c.first->difference));
            drt_certificate_table(&c, &table);
            snprintf(line, sizeof line, "The first stage that differs is %s, by ", cases[i].first);
            assert_non_null(strstr(table.bytes, line));
            drt_text_free(&table);
        }
        drt_certificate_free(&c);
        close_world(&w);
    }
}

static void what_is_spoilt_is_named(void **state) {
    (void)state;
    static const spoilt llava[] = {{"vision_model.embeddings.patch_embedding.weight", "vision.embedding"},
                                   {"vision_model.pre_layrnorm.weight", "vision.0"},
                                   {"vision_model.encoder.layers.0.self_attn.v_proj.weight", "vision.1"},
                                   {"vision_model.encoder.layers.1.mlp.fc1.bias", "vision.2"},
                                   {"vision_model.encoder.layers.2.layer_norm1.weight", "vision.3"},
                                   {"vision_model.encoder.layers.3.mlp.fc2.weight", ""},
                                   {"multi_modal_projector.linear_2.bias", "projector"},
                                   {"model.embed_tokens.weight", "splice"},
                                   {"model.layers.0.self_attn.k_proj.weight", "decoder.1"},
                                   {"model.layers.1.mlp.gate_proj.weight", "decoder.2"},
                                   {"model.layers.2.self_attn.o_proj.weight", "decoder.3"},
                                   {"model.norm.weight", "final"},
                                   {"lm_head.weight", "logits"}};
    static const spoilt clip[] = {{"vision_model.embeddings.class_embedding", "vision.embedding"},
                                  {"vision_model.encoder.layers.2.mlp.fc2.weight", "vision.3"},
                                  {"vision_model.post_layernorm.weight", "vision.pooled"},
                                  {"visual_projection.weight", "vision.joint"},
                                  {"text_model.embeddings.position_embedding.weight", "text.embedding"},
                                  {"text_model.encoder.layers.0.self_attn.q_proj.weight", "text.1"},
                                  {"text_model.encoder.layers.1.mlp.fc1.bias", "text.2"},
                                  {"text_model.final_layer_norm.weight", "text.pooled"},
                                  {"text_projection.weight", "text.joint"},
                                  {"logit_scale", "logits"}};
    static const spoilt siglip[] = {{"vision_model.embeddings.patch_embedding.bias", "vision.embedding"},
                                    {"vision_model.head.probe", "vision.pooled"},
                                    {"vision_model.head.mlp.fc2.weight", "vision.pooled"},
                                    {"text_model.embeddings.token_embedding.weight", "text.embedding"},
                                    {"text_model.encoder.layers.2.self_attn.out_proj.bias", "text.3"},
                                    {"text_model.head.weight", "text.joint"},
                                    {"logit_bias", "logits"}};
#define SPOILT(cases) cases, sizeof cases / sizeof *cases
    names_first(FOLDER, GOLDEN, SPOILT(llava));
    names_first(CLIP "model", CLIP "golden.safetensors", SPOILT(clip));
    names_first(SIGLIP "model", SIGLIP "golden.safetensors", SPOILT(siglip));
}

// Pixels that differ are named, and the rest is judged on the golden ones.
static void pixels_do_not_hide_the_rest(void **state) {
    (void)state;
    world w;
    drt_error err = {0};
    drt_certificate c;
    open_world(&w, "cpu");
    w.m->preprocess.aspect = DRT_ASPECT_SQUARE;
    check_ok(drt_verify(w.m, w.t, GOLDEN, &c, &err));
    assert_string_equal(c.first->name, "pixels");
    for (int i = 0; i < c.n; i++) assert_int_equal(c.stage[i].ok, &c.stage[i] != c.first);
    drt_certificate_free(&c);
    close_world(&w);
}

#define ENTRY(name_, dtype_, ndim_, data, ...)                                                                         \
    { .name = name_, .dtype = dtype_, .ndim = ndim_, .shape = {__VA_ARGS__}, .bytes = data }
#define WRITE(...)                                                                                                     \
    do {                                                                                                               \
        const drt_st_entry entries[] = {__VA_ARGS__};                                                                  \
        check_ok(drt_safetensors_write(path, entries, sizeof entries / sizeof *entries, metadata, &err));              \
    } while (0)

static void other_goldens_are_refused_or_fail(void **state) {
    (void)state;
    world w;
    drt_error err = {0};
    drt_certificate c;
    char *folder = test_folder("verify"), *path = drt_path_join(folder, "golden.safetensors");
    const int64_t text[] = {1, 5, 6}, far[] = {1, 100000}, two[] = {DRT_IMAGE_TOKEN, 1, DRT_IMAGE_TOKEN},
                  one[] = {DRT_IMAGE_TOKEN, 1};
    const float layer[3 * 18] = {0};
    const char *const metadata[] = {"prompt", "x", NULL};
    open_world(&w, "cpu");
    WRITE(ENTRY("stage.x", "F32", 1, layer, 1));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EFORMAT, "no `ids`");
    WRITE(ENTRY("ids", "I64", 1, far, 2));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "belongs to another model");
    WRITE(ENTRY("ids", "I64", 1, two, 3));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "more than one picture");
    WRITE(ENTRY("ids", "I64", 1, one, 2), ENTRY("stage.x", "F32", 1, layer, 1));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "1 images, but 0 placeholders");
    // stages of another shape, and one too many
    WRITE(ENTRY("ids", "I64", 1, text, 3), ENTRY("stage.decoder.1", "F32", 2, layer, 3, 17),
          ENTRY("stage.decoder.2", "F32", 2, layer, 3, 18), ENTRY("stage.decoder.4", "F32", 2, layer, 3, 18));
    check_ok(drt_verify(w.m, w.t, path, &c, &err));
    assert_int_equal(c.n, 4);
    const char *const names[] = {"tokens", "decoder.1", "decoder.2", "decoder.4"};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(c.stage[i].name, names[i]);
        assert_false(c.stage[i].ok);
    }
    assert_non_null(strstr(c.stage[1].note, "the golden file has 3 x 17"));
    assert_non_null(strstr(c.stage[3].note, "computes no such stage"));
    drt_certificate_free(&c);
    // a decoder alone: no picture, and none for it
    drt_model *words;
    const drt_model_options nothing_learns = {0};
    check_ok(drt_model_open(&words, "tests/golden/model/llama", &nothing_learns, &err));
    WRITE(ENTRY("ids", "I64", 1, text, 3), ENTRY("stage.decoder.1", "F32", 2, layer, 1, 1));
    check_ok(drt_verify(words, w.t, path, &c, &err));
    assert_int_equal(c.n, 1);
    assert_string_equal(c.first->name, "decoder.1");
    drt_certificate_free(&c);
    WRITE(ENTRY("ids", "I64", 1, one, 2));
    check_refused(drt_verify(words, w.t, path, &c, &err), DRT_EDATA, "has no eyes");
    drt_model_close(words);
    check_refused(drt_verify(w.m, w.t, "no/such.safetensors", &c, &err), DRT_EIO, "no/such");
    close_world(&w);
    free(path), free(folder);
}

// A golden file with an infinite number, with tokens of another type, or with nothing that could differ.
static void goldens_that_prove_nothing(void **state) {
    (void)state;
    world w;
    drt_error err = {0};
    drt_certificate c;
    char *folder = test_folder("verify-nothing"), *path = drt_path_join(folder, "golden.safetensors");
    const int64_t text[] = {1, 5, 6};
    const float infinite[3 * 18] = {INFINITY};
    const char *const *const metadata = NULL;
    open_world(&w, "cpu");
    WRITE(ENTRY("ids", "I64", 1, text, 3), ENTRY("stage.decoder.1", "F32", 2, infinite, 3, 18));
    check_ok(drt_verify(w.m, w.t, path, &c, &err));
    assert_int_equal(c.n, 1);
    assert_false(c.stage[0].ok);
    drt_certificate_free(&c);
    WRITE(ENTRY("ids", "I64", 1, text, 3), ENTRY("greedy", "F32", 1, infinite, 3));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "`greedy` is not");
    WRITE(ENTRY("ids", "I64", 1, text, 3));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "nothing to compare");
    close_world(&w);
    free(path), free(folder);
}

// Of a vision tower alone only what it computes is asked; texts that do not fit the model are refused.
static void other_towers(void **state) {
    (void)state;
    world w;
    drt_error err = {0};
    drt_certificate c;
    char *folder = test_folder("verify-towers"), *path = drt_path_join(folder, "golden.safetensors");
    const int64_t ids[] = {1, 5, 2, 1, 6, 2}, far[] = {1, 480}, image[] = {1, DRT_IMAGE_TOKEN, 2}, two[] = {3, 3},
                  less[] = {3, 2}, more[] = {3, 4}, none[] = {0, 6}, many[] = {1, 1, 1, 1, 1, 1, 1};
    const float pixels[3 * 15 * 15] = {1, -1, 0.5}, row[2 * 9] = {1}, wide[10 * 20] = {0};
    const char *const *const metadata = NULL;
    open_kept(&w, CLIP "model", "cpu", DRT_KEEP_F32);
    WRITE(ENTRY("stage.x", "F32", 1, row, 1));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EFORMAT, "no `ids`");
    WRITE(ENTRY("ids", "I64", 1, far, 2));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "belongs to another model");
    WRITE(ENTRY("ids", "I64", 1, image, 3));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "belongs to another model");
    WRITE(ENTRY("ids", "I64", 1, ids, 6), ENTRY("lengths", "I64", 1, less, 2));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "leave some of `ids` over");
    WRITE(ENTRY("ids", "I64", 1, ids, 6), ENTRY("lengths", "I64", 1, more, 2));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "not those of the texts");
    WRITE(ENTRY("ids", "I64", 1, ids, 6), ENTRY("lengths", "I64", 1, none, 2));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "not those of the texts");
    WRITE(ENTRY("ids", "I64", 1, ids, 6), ENTRY("lengths", "I64", 1, many, 7));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "`lengths` is not");
    WRITE(ENTRY("ids", "I64", 1, ids, 6), ENTRY("lengths", "F32", 1, row, 2));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "`lengths` is not");
    // Texts without a picture and without a prompt: nothing is scored, what there is is compared.
    WRITE(ENTRY("ids", "I64", 1, ids, 6), ENTRY("lengths", "I64", 1, two, 2),
          ENTRY("stage.text.joint", "F32", 2, row, 2, 9), ENTRY("stage.logits", "F32", 2, row, 1, 2));
    check_ok(drt_verify(w.m, w.t, path, &c, &err));
    assert_int_equal(c.n, 2);
    assert_string_equal(c.stage[0].name, "text.joint");
    assert_string_equal(c.stage[1].note, "the model computes no such stage");
    drt_certificate_free(&c);
    close_world(&w);
    open_kept(&w, "tests/golden/model/llava_original/tiny-tower", "cpu", DRT_KEEP_F32);
    WRITE(ENTRY("stage.pixels", "F32", 3, pixels, 3, 15, 15), ENTRY("stage.vision.3", "F32", 2, wide, 10, 20),
          ENTRY("stage.vision.pooled", "F32", 2, wide, 1, 20));
    check_ok(drt_verify(w.m, w.t, path, &c, &err));
    assert_int_equal(c.n, 2);
    assert_string_equal(c.first->name, "vision.3");
    assert_string_equal(c.stage[1].name, "vision.pooled");
    drt_certificate_free(&c);
    WRITE(ENTRY("ids", "I64", 1, ids, 6));
    check_refused(drt_verify(w.m, w.t, path, &c, &err), DRT_EDATA, "no picture to a vision tower");
    close_world(&w);
    free(path), free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_certificate_holds),
        cmocka_unit_test(a_learned_order),
        cmocka_unit_test(towers_hold),
        cmocka_unit_test(other_towers),
        cmocka_unit_test(weights_in_bf16),
        cmocka_unit_test(what_is_spoilt_is_named),
        cmocka_unit_test(pixels_do_not_hide_the_rest),
        cmocka_unit_test(other_goldens_are_refused_or_fail),
        cmocka_unit_test(goldens_that_prove_nothing),
    };
    return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
