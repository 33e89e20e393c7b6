// drt_model_inspect tells all faults of a folder at once, where drt_model_open stops at the first, and says of sound
// folders that they run. And a vocabulary that grew by <image>, tokenizer files included.
#include "support/check.h"

#include "base/file.h"
#include "format/safetensors.h"
#include "model/inspect.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>

#define GOLDEN "tests/golden/model/"

// What is told of a path; the caller frees.
static drt_text told(const char *path, const drt_inspect_options *o, int *faults) {
    static const drt_inspect_options plain = {0};
    drt_error err = {0};
    drt_text t = {0};
    check_ok(drt_model_inspect(path, o ? o : &plain, &t, faults, &err));
    return t;
}

static void tells(const char *path, const drt_inspect_options *o, int faults, const char *const *parts) {
    int n;
    drt_text t = told(path, o, &n);
    for (; *parts; parts++)
        if (!strstr(t.bytes, *parts)) fail_msg("%s: no \"%s\" in\n%s", path, *parts, t.bytes);
    if (n != faults) fail_msg("%d faults, not %d:\n%s", n, faults, t.bytes);
    drt_text_free(&t);
}
#define TELLS(path, options, faults, ...) tells(path, options, faults, (const char *const[]){__VA_ARGS__, NULL})

static void sound(void **state) {
    (void)state;
    const drt_inspect_options all = {.tensors = true};
    TELLS("models/tiny-llama", NULL, 0, "language model", "39 tensors", "(39 BF16)", "2.01 MiB", "it runs",
          "775 tokens");
    TELLS("models/tiny-clip", NULL, 0, "vision and text towers", "CLIP, 4 layers of 128", "it runs");
    TELLS("tests/golden/torch/plain.bin", &all, 0, "19 tensors", "1 BOOL", "F32  [4, 2, 3] turned");
    TELLS(GOLDEN "llava_original", NULL, 1, "the original's layout", "somebody/tiny-tower", "tiny-tower: 55 tensors",
          "no tokenizer.json");
}

static void broken(void **state) {
    (void)state;
    drt_error err = {0};
    drt_text t = {0};
    int n;
    char *folder = test_folder("inspect"), *path = drt_path_join(folder, "model.safetensors"),
         *config = drt_path_join(folder, "config.json"), *text;
    check_refused(drt_model_inspect("/nowhere/at/all", &(drt_inspect_options){0}, &t, &n, &err), DRT_EIO, "no such");
    TELLS(folder, NULL, 2, "config.json: there is none", "holds no weights");
    // A missing, a misshapen, a poisoned and a strange tensor, all four told.
    drt_weights *w;
    drt_st_entry e[200];
    float bad[400];
    int k = 0;
    check_ok(drt_weights_open(&w, GOLDEN "llama", &err));
    for (int i = 0; i < drt_weights_count(w); i++) {
        const drt_weight *s = drt_weights_at(w, i);
        if (!strcmp(s->name, "model.norm.weight")) continue;
        e[k] = (drt_st_entry){.name = s->name, .dtype = s->dtype, .ndim = s->ndim, .bytes = s->bytes};
        memcpy(e[k].shape, s->shape, sizeof s->shape);
        if (!strcmp(s->name, "model.layers.0.input_layernorm.weight")) {
            memcpy(bad, s->bytes, s->size);
            bad[7] = NAN;
            e[k].bytes = bad;
        }
        if (!strcmp(s->name, "model.layers.1.input_layernorm.weight")) e[k].ndim = 2, e[k].shape[1] = 1;
        k++;
    }
    e[k++] = (drt_st_entry){.name = "model.adapter", .dtype = "F32", .ndim = 1, .shape = {3}, .bytes = bad};
    check_ok(drt_safetensors_write(path, e, k, NULL, &err));
    check_ok(drt_file_read(&text, NULL, GOLDEN "llama/config.json", 0, &err));
    check_ok(drt_file_write(config, text, strlen(text), &err));
    free(text);
    TELLS(folder, NULL, 5, "'model.norm.weight' (24) is missing", "'model.layers.1.input_layernorm.weight' is 24x1",
          "'model.layers.0.input_layernorm.weight' holds NaN at element 7", "'model.adapter' belongs to no part",
          "no tokenizer.json");
    // An architecture that nobody knows: the known ones are listed, the weights shown all the same.
    check_ok(drt_file_write(config, "{\"model_type\": \"blip\"}", 22, &err));
    TELLS(folder, NULL, 2, "\"blip\" is not one of llava", "siglip", "llama", "holds NaN");
    check_ok(drt_file_write(config, "{", 1, &err));
    TELLS(folder, NULL, 2, "config.json:1", "holds NaN");
    check_ok(drt_file_write(path, "short", 5, &err));
    TELLS(folder, NULL, 2, "config.json:1", "too short for a safetensors file");
    drt_weights_close(w);
    free(folder), free(path), free(config);
}

// A language model whose tokenizer has no <image>, under a tower: the vocabulary grows, everything names the new token.
static void grown(void **state) {
    (void)state;
    drt_error err = {0};
    drt_model *m, *tiny;
    drt_tokenizer *was, *now;
    char *language = test_folder("language"), *out = test_folder("assembled");
    const drt_model_options o = {.seed = 3, .image_row = true};
    check_ok(drt_tokenizer_open(&was, "tests/golden/data/byte_level", &err));
    check(drt_tokenizer_id(was, "<image>") < 0);
    int tokens = drt_tokenizer_size(was);
    check_ok(drt_model_open(&tiny, "models/tiny-llama", &o, &err));
    drt_model_config c = tiny->config;
    c.language.layers = 1, c.language.vocab = tokens;
    drt_model_close(tiny);
    check_ok(drt_model_new(&m, &c, &(drt_model_options){.seed = 4}, &err));
    m->folder = strdup("tests/golden/data/byte_level");
    check_ok(drt_model_save(m, language, "F32", &err));
    drt_model_close(m);
    check_ok(drt_model_assemble(&m, "models/tiny-clip", language, 3, -2, &o, &err));
    check(m->config.image_token == tokens && m->config.language.vocab % 64 == 0 && m->config.projector == 3);
    check_ok(drt_model_save(m, out, "BF16", &err));
    check_ok(drt_model_compare(m, out, "BF16", &err));
    drt_model_close(m);
    TELLS(out, NULL, 0, "mlp3x_gelu", "it runs");
    check_ok(drt_tokenizer_open(&now, out, &err));
    check(drt_tokenizer_id(now, "<image>") == tokens && drt_tokenizer_is_special(now, tokens));
    drt_token *t;
    int n;
    check_ok(drt_tokenizer_encode(now, "a<image>b", 9, &t, &n, &err));
    check(n >= 3 && t[n - 2].id == tokens);
    free(t);
    drt_tokenizer_close(was), drt_tokenizer_close(now);
    free(language), free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sound), cmocka_unit_test(broken), cmocka_unit_test(grown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
