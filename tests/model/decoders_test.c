// Decoders of every family against transformers: tests/golden/decoders, made by tools/golden_decoders.py.
#include "support/rig.h"
#include "support/shell.h"
#include "support/tolerance.h"

#include "base/file.h"
#include "infer/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const devices[] = {"ref", "cpu"};
static const char *const alone[] = {"llama_a",    "llama_b",      "llama_linear", "llama_linear_b", "mistral_a",
                                    "mistral_b",  "qwen1_5_a",    "qwen1_5_b",    "qwen2_a",        "qwen2_b",
                                    "qwen2_yarn", "qwen2_yarn_b", "gemma_a",      "gemma_b",        "phi3_a",
                                    "phi3_b",     "phi3_long",    "phi3_long_b",  "phi_a",          "phi_b"};
static const char *const seeing[] = {"llava_gemma",   "llava_qwen2",   "llava_phi3",   "llava_phi",
                                     "llava_gemma_b", "llava_qwen2_b", "llava_phi3_b", "llava_phi_b"};
enum { ALONE = sizeof alone / sizeof *alone, SEEING = sizeof seeing / sizeof *seeing };

typedef enum { EXACT, FRUGAL, BF16, F16 } way;

static void open_rig(rig *r, const char *name, const char *device, way how) {
    static const char *const everything[] = {"groups.vision=1", "groups.language=1", "objectives.language=1",
                                             "train.select_rows=false"};
    static const char *const little[] = {"groups.vision=1", "groups.language=1", "objectives.language=1",
                                         "train.recompute=true"};
    static const char *const half[] = {"groups.vision=1", "groups.language=1", "train.select_rows=false", "dtype=bf16"};
    static const char *const f16[] = {"groups.vision=1", "groups.language=1", "train.select_rows=false", "dtype=f16"};
    static const char *const *const ways[] = {everything, little, half, f16};
    char model[100], golden[100];
    snprintf(model, sizeof model, "decoders/%s", name);
    snprintf(golden, sizeof golden, "decoders/%s/expected.safetensors", name);
    rig_open(r, model, golden, device, 4, ways[how]);
    rig_pack(r, 0, r->samples);
}

// All rows and everything kept; then selected rows only and everything computed again.
static void parity(const char *name) {
    for (int d = 0; d < 4; d++) {
        rig r;
        bool frugal = d / 2;
        open_rig(&r, name, devices[d % 2], frugal ? FRUGAL : EXACT);
        double logits = frugal ? 0 : rig_logit_gap(&r);
        rig_gradients(&r);
        double loss = fabs(r.report.loss - rig_numbers(&r, "loss", NULL)[0]), slope = rig_gradient_gap(&r, "grad.");
        print_message("%s on %s%s: logits %.1e, loss %.1e, gradients %.1e apart\n", name, devices[d % 2],
                      frugal ? ", frugal" : "", logits, loss, slope);
        check(logits <= RIG_GAP);
        check(loss <= RIG_GAP);
        check(slope <= RIG_GAP);
        // The comparison sees one element of one gradient half as large again.
        r.quiet = true;
        float *g = r.m->language.layer[0].norm1->tensor.grad.data;
        g[3] *= 1.5f;
        check(rig_gradient_gap(&r, "grad.") > RIG_GAP);
        rig_close(&r);
    }
}

static void values_and_gradients(void **state) {
    (void)state;
    for (int i = 0; i < ALONE; i++) parity(alone[i]);
}
// Weights and products in 16 bits: the same within their rounding, here also that of the weights. About four products a
// layer and three layers, each of rounded operands; twice as many with the way back.
static void in_16_bits(drt_dtype type) {
    const double most = product_tolerance(type, 12), steep = product_tolerance(type, 24);
    for (int i = 0; i < (ALONE + SEEING) * 2; i++) {
        rig r;
        int64_t n;
        const char *name = i / 2 < ALONE ? alone[i / 2] : seeing[i / 2 - ALONE];
        open_rig(&r, name, devices[i % 2], type == DRT_AS_BF16 ? BF16 : F16);
        const drt_tensor *head = &r.m->language.head->tensor;
        check(type == DRT_AS_BF16 ? head->value.type == DRT_BF16 : head->f16);
        const float *logits = rig_logits(&r, &n);
        double far = rig_apart(logits, rig_numbers(&r, "logits", NULL), n);
        r.quiet = true;
        rig_gradients(&r);
        double slope = rig_gradient_gap(&r, "grad.");
        print_message("%s, %s on %s: logits %.1e, gradients %.1e apart\n", name, drt_dtype_name(type), devices[i % 2],
                      far, slope);
        check(far > 0 && far <= most);
        check(slope <= steep);
        rig_close(&r);
    }
}

static void in_bf16(void **state) { (void)state, in_16_bits(DRT_AS_BF16); }
static void in_f16(void **state) { (void)state, in_16_bits(DRT_AS_F16); }

static void inside_llava(void **state) {
    (void)state;
    for (int i = 0; i < SEEING; i++) parity(seeing[i]);
}

// 64 greedy tokens through the cache; of a LLaVA about a picture.
static void greedy(void **state) {
    (void)state;
    for (int i = 0; i < (ALONE + SEEING) * 2; i++) {
        rig r;
        const char *name = i / 2 < ALONE ? alone[i / 2] : seeing[i / 2 - ALONE];
        print_message("%s on %s\n", name, devices[i % 2]);
        open_rig(&r, name, devices[i % 2], EXACT);
        rig_greedy(&r);
        rig_close(&r);
    }
}

// The folder with `from` in its config replaced; malloc'ed path.
static char *described_as(const char *name, const char *from, const char *to) {
    char path[600], *out = test_folder("described"), *text, *bytes;
    drt_error err = {0};
    size_t size;
    snprintf(path, sizeof path, "tests/golden/decoders/%s/config.json", name);
    check_ok(drt_file_read(&text, NULL, path, 0, &err));
    const char *at = strstr(text, from);
    if (!at) fail_msg("%s has no %s", path, from);
    drt_text config = {0};
    drt_text_printf(&config, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    snprintf(path, sizeof path, "%s/config.json", out);
    check_ok(drt_file_write(path, config.bytes, config.size, &err));
    snprintf(path, sizeof path, "tests/golden/decoders/%s/model.safetensors", name);
    check_ok(drt_file_read(&bytes, &size, path, 0, &err));
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    check_ok(drt_file_write(path, bytes, size, &err));
    free(bytes);
    free(text);
    drt_text_free(&config);
    return out;
}

// Weights under another description are refused by name, or give other logits: the comparison above sees every trait.
static void wrong_descriptions(void **state) {
    static const struct {
        const char *name, *from, *to, *told; // told NULL: it loads, and computes something else
    } wrong[] = {
        {"qwen2_a", "\"model_type\": \"qwen2\"", "\"model_type\": \"llama\"", "_proj.bias"},
        {"qwen2_b", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "describes a model of"},
        {"llama_a", "\"model_type\": \"llama\"", "\"model_type\": \"qwen2\"", "describes a model of"},
        {"llama_a", "\"model_type\": \"llama\"", "\"model_type\": \"gemma\"", NULL},
        {"llama_linear", "\"attention_bias\": true", "\"attention_bias\": false", "_proj.bias"},
        {"llama_linear", "\"mlp_bias\": true", "\"mlp_bias\": false", "_proj.bias"},
        {"llama_linear", "\"rope_type\": \"linear\"", "\"rope_type\": \"default\"", NULL},
        {"llama_b", "\"rope_type\": \"llama3\"", "\"rope_type\": \"default\"", NULL},
        {"llama_b", "\"rope_type\": \"llama3\"", "\"rope_type\": \"linear\"", NULL},
        {"llama_b", "\"high_freq_factor\": 4.0", "\"high_freq_factor\": 9.0", NULL},
        {"llama_b", "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 0.4", NULL},
        {"llama_b", "\"original_max_position_embeddings\": 64", "\"original_max_position_embeddings\": 32", NULL},
        {"mistral_b", "\"rope_theta\": 1000000.0", "\"rope_theta\": 10000.0", NULL},
        {"qwen1_5_a", "\"rope_theta\": 1000000.0", "\"rope_theta\": 10000.0", NULL},
        {"qwen1_5_a", "\"model_type\": \"qwen2\"", "\"model_type\": \"mistral\"", "_proj.bias"},
        {"qwen2_yarn_b", "\"truncate\": false", "\"truncate\": true", NULL},
        {"qwen2_yarn", "\"rope_type\": \"yarn\"", "\"rope_type\": \"default\"", NULL},
        {"qwen2_yarn", "\"factor\": 4.0", "\"factor\": 5.0", NULL},
        {"qwen2_yarn", "\"factor\": 4.0", "\"factor\": 4.0, \"attention_factor\": 1.0", NULL},
        {"qwen2_yarn", "\"beta_fast\": 2.0", "\"beta_fast\": 32.0", NULL},
        {"qwen2_yarn", "\"beta_fast\": 2.0", "\"beta_fast\": 2.0, \"truncate\": false", NULL},
        {"phi3_long", "\"rope_type\": \"longrope\"", "\"rope_type\": \"default\"", NULL},
        {"phi3_long", "1.1,", "1.2,", NULL},
        {"phi3_long", "\"original_max_position_embeddings\": 75,\n  \"pad", "\"pad", NULL}, // then it is 4096
        {"gemma_a", "\"model_type\": \"gemma\"", "\"model_type\": \"llama\"", NULL},
        {"gemma_a", "\"hidden_act\": \"gelu_pytorch_tanh\"", "\"hidden_act\": \"silu\"", NULL},
        {"gemma_a", "\"head_dim\": 10", "\"head_dim\": 8", "q_proj.weight"},
        {"phi3_a", "\"model_type\": \"phi3\"", "\"model_type\": \"llama\"", "q_proj.weight"},
        {"phi3_b", "\"partial_rotary_factor\": 0.75", "\"partial_rotary_factor\": 1.0", NULL},
        {"phi_a", "\"model_type\": \"phi\"", "\"model_type\": \"phi3\"", "describes a model of"},
        {"phi_a", "\"partial_rotary_factor\": 0.5", "\"partial_rotary_factor\": 1.0", NULL},
        {"phi_a", "\"hidden_act\": \"gelu_new\"", "\"hidden_act\": \"silu\"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        drt_error err = {0};
        drt_model *m;
        drt_model_options o = {0};
        char *folder = described_as(wrong[i].name, wrong[i].from, wrong[i].to);
        drt_status status = drt_model_open(&m, folder, &o, &err);
        if (wrong[i].told) {
            if (!status) fail_msg("%s as %s was taken", wrong[i].name, wrong[i].to);
            if (!strstr(err.text, wrong[i].told)) fail_msg("%s as %s: %s", wrong[i].name, wrong[i].to, err.text);
        } else {
            rig r;
            if (status) fail_msg("%s as %s: %s", wrong[i].name, wrong[i].to, err.text);
            open_rig(&r, wrong[i].name, "cpu", EXACT);
            drt_model *right = r.m;
            r.m = m;
            double gap = rig_logit_gap(&r);
            if (!(gap > 1e-2)) fail_msg("%s as %s: logits only %.1e apart", wrong[i].name, wrong[i].to, gap);
            r.m = right;
            rig_close(&r);
            drt_model_close(m);
        }
        free(folder);
    }
}

#define ROPE(more, theta, kind)                                                                                        \
    "\"rope_parameters\": {\n" more "    \"rope_theta\": " theta ",\n    \"rope_type\": \"" kind "\"\n  }"

// What configs of other times say for the same thing, keys that are left out, and scalings that change nothing here.
static void same_descriptions(void **state) {
    static const struct {
        const char *name, *from, *to;
    } same[] = {
        {"llama_a", ROPE("", "10000.0", "default"), "\"rope_scaling\": null"},
        {"llama_a", "\"rope_type\": \"default\"", "\"rope_type\": \"dynamic\", \"factor\": 4.0"},
        {"llama_b",
         ROPE("    \"factor\": 8.0,\n    \"high_freq_factor\": 4.0,\n    \"low_freq_factor\": 1.0,\n"
              "    \"original_max_position_embeddings\": 64,\n",
              "500.0", "llama3"),
         "\"rope_theta\": 500, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"high_freq_factor\": 4, "
         "\"low_freq_factor\": 1, \"original_max_position_embeddings\": 64}"},
        {"llama_linear", ROPE("    \"factor\": 2.5,\n", "10000.0", "linear"),
         "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5}"},
        {"llama_a", "\"head_dim\": 6,", ""},
        {"llama_a", "\"num_key_value_heads\": 4,", ""},
        {"mistral_b", ROPE("", "1000000.0", "default"), "\"rope_theta\": 1e6"},
        {"qwen2_b",
         "\"layer_types\": [\n    \"full_attention\",\n    \"full_attention\",\n    \"sliding_attention\"\n  ],", ""},
        {"qwen2_yarn", "\"factor\": 4.0", "\"factor\": 4.0, \"mscale\": 0.7, \"mscale_all_dim\": 0, \"beta_slow\": 1"},
        {"qwen2_yarn", "\"factor\": 4.0", "\"factor\": 4.0, \"attention_factor\": 1.1386294361119891"},
        {"phi3_long", "\"rope_type\": \"longrope\"", "\"type\": \"su\""},
        {"phi3_long", "\"rope_type\": \"longrope\"", "\"rope_type\": \"yarn\", \"attention_factor\": null"},
        {"phi3_long", "20.0", "30.0"}, // of rows that it does not reach
        {"gemma_a", "\"hidden_act\": \"gelu_pytorch_tanh\"", "\"hidden_act\": \"gelu\", \"hidden_activation\": null"},
        {"gemma_a", "\"tie_word_embeddings\": true,", ""},
        {"phi3_b", ROPE("    \"partial_rotary_factor\": 0.75,\n", "10000.0", "default"),
         "\"partial_rotary_factor\": 0.75, \"rope_theta\": 10000.0, \"rope_scaling\": null"},
        {"phi_a", ROPE("    \"partial_rotary_factor\": 0.5,\n", "10000.0", "default"), "\"rope_scaling\": null"},
        {"phi_b", ROPE("    \"partial_rotary_factor\": 0.4,\n", "10000.0", "default"),
         "\"partial_rotary_factor\": 0.4, \"num_key_value_groups\": null"},
        {"phi_a", "\"hidden_act\": \"gelu_new\",", ""},
        {"phi_a", "\"num_key_value_heads\": 3", "\"num_key_value_heads\": null"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        rig r;
        drt_error err = {0};
        drt_model *m;
        char *folder = described_as(same[i].name, same[i].from, same[i].to);
        if (drt_model_open(&m, folder, &(drt_model_options){0}, &err))
            fail_msg("%s as %s: %s", same[i].name, same[i].to, err.text);
        open_rig(&r, same[i].name, "cpu", EXACT);
        drt_model *right = r.m;
        r.m = m;
        double gap = rig_logit_gap(&r);
        if (!(gap <= RIG_GAP)) fail_msg("%s as %s: logits %.1e apart", same[i].name, same[i].to, gap);
        check(m->config.language.window == right->config.language.window);
        r.m = right;
        rig_close(&r);
        drt_model_close(m);
        free(folder);
    }
}

// Chat models list several ids that end an answer: any of them does, and the list survives.
static void several_ends(void **state) {
    (void)state;
    rig r;
    drt_error err = {0};
    drt_model *m, *again;
    drt_reply reply;
    int64_t n;
    open_rig(&r, "llama_a", "cpu", EXACT);
    const int32_t *prompt = rig_whole(&r, "greedy.prompt", &n), *tokens = rig_whole(&r, "greedy.tokens", NULL);
    char list[60], *out = test_folder("ends");
    snprintf(list, sizeof list, "\"eos_token_id\": [2, 96, %d]", tokens[20]);
    char *folder = described_as("llama_a", "\"eos_token_id\": 2", list);
    check_ok(drt_model_open(&m, folder, &(drt_model_options){0}, &err));
    check_ok(drt_model_save(m, out, "F32", &err));
    check_ok(drt_model_open(&again, out, &(drt_model_options){0}, &err));
    check(again->config.language.more_eos == 2 && again->config.language.also_eos[1] == tokens[20]);
    int first = 0;
    while (tokens[first] != tokens[20] && tokens[first] != 2 && tokens[first] != 96) first++;
    const drt_generate_options o = {.max_new_tokens = 64};
    check_ok(drt_generate(again, r.t, &(drt_prompt){.id = prompt, .n = (int)n}, 1, &o, &reply, &err));
    check(reply.finish == DRT_FINISH_EOS && reply.n == first);
    drt_replies_free(&reply, 1);
    drt_model_close(again);
    drt_model_close(m);
    rig_close(&r);
    free(folder);
    free(out);
}

// Traits that no config can turn off: the same weights without them.
static void traits_matter(void **state) {
    (void)state;
    for (int k = 0; k < 5; k++) {
        static const char *const names[] = {"gemma_b", "gemma_b", "phi_a", "phi_a", "qwen2_a"};
        rig r;
        open_rig(&r, names[k], "cpu", EXACT);
        drt_decoder *l = &r.m->language;
        if (k == 0) l->size.norm_from_one = false;
        if (k == 1) l->size.words_scaled = false;
        if (k == 2) l->head_b = NULL;
        for (int i = 0; i < l->size.layers; i++) {
            if (k == 3) l->layer[i].norm2 = l->layer[i].norm1, l->layer[i].norm2_b = l->layer[i].norm1_b;
            if (k == 4) l->layer[i].qkv_b = NULL;
        }
        if (k == 3) l->size.parallel = false;
        check(rig_logit_gap(&r) > 1e-2);
        rig_close(&r);
    }
}

// Saved folders hold the same tensors to the bit and describe the same decoder.
static void saved(void **state) {
    (void)state;
    for (int i = 0; i < ALONE + SEEING; i++) {
        char path[300];
        drt_error err = {0};
        drt_model *a, *b;
        drt_model_options o = {0};
        drt_weights *was, *is;
        const char *name = i < ALONE ? alone[i] : seeing[i - ALONE];
        char *out = test_folder("saved");
        snprintf(path, sizeof path, "tests/golden/decoders/%s", name);
        check_ok(drt_model_open(&a, path, &o, &err));
        check_ok(drt_model_save(a, out, "F32", &err));
        check_ok(drt_model_open(&b, out, &o, &err));
        check(!memcmp(&a->config, &b->config, sizeof a->config));
        check(drt_params_hash(a->params) == drt_params_hash(b->params));
        if (i < ALONE) { // the same names, too
            snprintf(path, sizeof path, "tests/golden/decoders/%s/model.safetensors", name);
            check_ok(drt_weights_open(&was, path, &err));
            check_ok(drt_weights_open(&is, out, &err));
            check(drt_weights_count(was) == drt_weights_count(is));
            for (int k = 0; k < drt_weights_count(was); k++) {
                const drt_weight *x = drt_weights_at(was, k), *y = drt_weights_find(is, x->name);
                check(y && y->size == x->size && y->ndim == x->ndim && !memcmp(x->bytes, y->bytes, x->size));
            }
            drt_weights_close(is);
            drt_weights_close(was);
        }
        drt_model_close(b);
        drt_model_close(a);
        free(out);
    }
}

// Where stage 1 begins: CLIP's tower, a decoder, a new projector. Nothing of the decoder is lost on the way out.
static void assembled(void **state) {
    (void)state;
    for (int i = 0; i < ALONE; i++) {
        char path[300];
        drt_error err = {0};
        drt_model *a, *b;
        drt_model_options o = {.seed = 3};
        char *out = test_folder("assembled");
        snprintf(path, sizeof path, "tests/golden/decoders/%s", alone[i]);
        check_ok(drt_model_assemble(&a, "tests/golden/model/clip", path, 2, -2, &o, &err));
        check_ok(drt_model_save(a, out, "F32", &err));
        check_ok(drt_model_open(&b, out, &o, &err));
        check(!memcmp(&a->config.language, &b->config.language, sizeof a->config.language));
        check(drt_params_hash(a->params) == drt_params_hash(b->params));
        drt_model_close(b);
        drt_model_close(a);
        free(out);
    }
}

// What transformers makes of such folders (tools/check_saved.py), where there is a Python that has it.
static void transformers_reads_it(void **state) {
    (void)state;
    const char *python = python_with_transformers();
    if (!python) skip();
    drt_text all = {0};
    drt_text_printf(&all, "%s tools/check_saved.py", python);
    for (int i = 0; i < ALONE + SEEING; i++) {
        const char *name = i < ALONE ? alone[i] : seeing[i - ALONE];
        char path[300];
        drt_error err = {0};
        drt_model *m;
        char *out = test_folder(name);
        snprintf(path, sizeof path, "tests/golden/decoders/%s", name);
        check_ok(drt_model_open(&m, path, &(drt_model_options){0}, &err));
        check_ok(drt_model_save(m, out, "F32", &err));
        drt_text_printf(&all, " %s %s/expected.safetensors %s/expected.safetensors", out, path, path);
        drt_model_close(m);
        free(out);
    }
    drt_text_puts(&all, " >&2");
    check(!all.failed && system(all.bytes) == 0);
    drt_text_free(&all);
}

// A sliding window ends the context, and so does what LongRoPE is short for: no sample, no answer goes past it.
static void windows(void **state) {
    static const struct {
        const char *name;
        int rows;
    } cases[] = {{"mistral_a", 80}, {"mistral_b", 90}, {"qwen2_a", 90},
                 {"qwen2_b", 75},   {"phi3_a", 72},    {"phi3_long", 75}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rig r;
        drt_error err = {0};
        drt_reply reply;
        int32_t id[90];
        open_rig(&r, cases[i].name, "cpu", EXACT);
        r.m->config.language.eos = -1;
        check(drt_decoder_context(&r.m->config.language) == cases[i].rows);
        for (int k = 0; k < 90; k++) id[k] = (7 * k + 1) % 97;
        const drt_generate_options o = {.max_new_tokens = 1000};
        check_ok(drt_generate(r.m, r.t, &(drt_prompt){.id = id, .n = 9}, 1, &o, &reply, &err));
        check(reply.finish == DRT_FINISH_LENGTH && reply.n <= cases[i].rows - 9 + 1 && reply.n >= cases[i].rows - 9);
        drt_replies_free(&reply, 1);
        // The decoder itself refuses a row behind the window.
        int32_t offsets[] = {0, 1}, position[] = {cases[i].rows}, reach[] = {1}, select[] = {0};
        drt_tape_begin(r.t, false);
        drt_splice splice = {1, id, id};
        const drt_decoder_rows rows = {
            .sequences = 1, .offsets = offsets, .position = position, .reach = reach, .select = select, .selected = 1};
        drt_tensor *x = drt_splice_rows(r.t, r.m, &splice, NULL);
        check(!drt_decoder_run(r.t, &r.m->language, x, &rows, NULL));
        check(drt_tape_failed(r.t, &err) == DRT_EDATA);
        check(!strstr(err.text, "sliding_window") == (cases[i].rows == 90 || i == 5));
        check(!strstr(err.text, "original_max_position_embeddings") == (i != 5));
        rig_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_gradients),
        cmocka_unit_test(in_bf16),
        cmocka_unit_test(in_f16),
        cmocka_unit_test(inside_llava),
        cmocka_unit_test(greedy),
        cmocka_unit_test(wrong_descriptions),
        cmocka_unit_test(same_descriptions),
        cmocka_unit_test(several_ends),
        cmocka_unit_test(traits_matter),
        cmocka_unit_test(saved),
        cmocka_unit_test(assembled),
        cmocka_unit_test(windows),
        cmocka_unit_test(transformers_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
