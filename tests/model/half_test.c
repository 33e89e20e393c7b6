// Models in 16 bits: parity with transformers (tests/golden/model/half.safetensors, tools/golden_half.py), and how
// weights are kept.
#include "support/rig.h"
#include "support/tolerance.h"

#include "base/file.h"
#include "base/half.h"
#include "format/safetensors.h"
#include "model/inspect.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static const char *const devices[] = {"ref", "cpu"};

// About four products a layer and three layers, one behind the other, each of operands rounded to bf16; twice as many
// with the way back. Distances are Euclidean over a tensor.
enum { FORTH = 12, BOTH_WAYS = 24 };

static const float *numbers(rig *r, const drt_weights *w, const char *folder, const char *name, int64_t n) {
    char key[400];
    snprintf(key, sizeof key, "%s.%s", folder, name);
    const drt_weight *found = drt_weights_find(w, key);
    if (!found) fail_msg("the golden file lacks %s", key);
    float *out = drt_arena_array(r->arena, n, sizeof *out);
    drt_error err = {0};
    check_ok(drt_weight_to_f32(found, out, n, &err));
    return out;
}

// The largest distance of a tensor's gradient. A bias of keys has none (softmax does not see it).
static double gradients_apart(rig *r, const drt_weights *golden, const char *folder) {
    const drt_params *p = r->m->params;
    double worst = 0;
    for (int i = 0; i < p->slices; i++) {
        const drt_slice *s = &p->slice[i];
        drt_mat g = s->param->tensor.grad;
        char name[300], key[400];
        snprintf(name, sizeof name, "grad.%s", s->name);
        snprintf(key, sizeof key, "%s.%s", folder, name);
        if (strstr(name, "k_proj.bias") || !drt_weights_find(golden, key)) continue;
        int64_t n = drt_slice_numbers(s).cols;
        const float *have = (const float *)g.data + s->row * (g.rows == 1 ? 1 : g.cols);
        worst = fmax(worst, rig_apart(have, numbers(r, golden, folder, name, n), n));
    }
    return worst;
}

// Gradients of folders that half.safetensors has none of are held against those of unrounded weights.
static void parity(const char *room, const char *folder) {
    static const char *const keys[] = {"groups.vision=1", "groups.language=1", "train.select_rows=false", "dtype=bf16"};
    char model[100], samples[200], key[100];
    drt_weights *golden;
    drt_error err = {0};
    const double most = rounding_tolerance(DRT_BF16, FORTH), steep = rounding_tolerance(DRT_BF16, BOTH_WAYS);
    check_ok(drt_weights_open(&golden, "tests/golden/model/half.safetensors", &err));
    snprintf(model, sizeof model, "%s/%s", room, folder);
    snprintf(samples, sizeof samples, "%s/expected.safetensors", model);
    snprintf(key, sizeof key, "%s.grad.model.norm.weight", folder);
    const bool own = drt_weights_find(golden, key);
    for (int d = 0; d < 2; d++) {
        rig r;
        int64_t n;
        rig_open(&r, model, samples, devices[d], 4, keys);
        check(r.m->language.head->tensor.value.type == DRT_BF16);
        rig_pack(&r, 0, r.samples);
        const float *logits = rig_logits(&r, &n), *exact = numbers(&r, golden, folder, "exact", n);
        double far = rig_apart(logits, exact, n), other = rig_apart(logits, numbers(&r, golden, folder, "bf16", n), n);
        rig_gradients(&r);
        r.quiet = true;
        double loss = fabs(r.report.loss / *numbers(&r, golden, folder, "loss", 1) - 1),
               slope = own ? gradients_apart(&r, golden, folder) : rig_gradient_gap(&r, "grad.");
        print_message("%s on %s: %.1e from exact, %.1e from transformers' bf16, loss %.1e, gradients %.1e\n", folder,
                      devices[d], far, other, loss, slope);
        check(far > 0 && far <= most);
        check(other <= most);
        check(loss <= most);
        check(slope <= steep);
        // The comparison sees one wrong matrix: it is used with the other sign.
        drt_param *w = r.m->language.layer[0].out;
        for (int64_t i = 0; i < w->master.rows * w->master.cols; i++) ((float *)w->master.data)[i] *= -1;
        drt_params_refresh(r.m->params);
        check(rig_apart(rig_logits(&r, &n), exact, n) > most);
        rig_close(&r);
    }
    drt_weights_close(golden);
}

static void llava(void **state) { (void)state, parity("model", "llava"); }
static void llama(void **state) { (void)state, parity("model", "llama"); }
static void other_llavas(void **state) {
    static const char *const folders[] = {
        "llava_old",  "llava_siglip", "llava_siglip_bare", "llava_siglip_cut", "llava_s2",
        "llava_s2_b", "llava_linear", "llava_mlp3",        "llava_identity",   "llava_gemma_scaled"};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) parity("model", folders[i]);
}
static void other_decoders(void **state) {
    static const char *const folders[] = {"llava_gemma", "llava_gemma_b", "llava_qwen2", "llava_qwen2_b",
                                          "llava_phi3",  "llava_phi3_b",  "llava_phi",   "llava_phi_b"};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) parity("decoders", folders[i]);
}

static drt_model *opened(const char *folder, drt_keep keep) {
    drt_error err = {0};
    drt_model *m;
    const drt_model_options o = {.keep = keep};
    check_ok(drt_model_open(&m, folder, &o, &err));
    return m;
}

static bool same_files(const char *a, const char *b) {
    char path[2][400], *bytes[2];
    size_t size[2];
    drt_error err = {0};
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/model.safetensors", i ? b : a);
        check_ok(drt_file_read(&bytes[i], &size[i], path[i], 0, &err));
    }
    bool same = size[0] == size[1] && !memcmp(bytes[0], bytes[1], size[0]);
    free(bytes[0]), free(bytes[1]);
    return same;
}

// Logits of the samples by a model opened in some way.
static float *answer(rig *r, drt_model *m, int64_t *n) {
    drt_model *own = r->m;
    r->m = m;
    float *y = rig_logits(r, n), *copy = malloc((size_t)*n * sizeof *copy);
    check(copy != NULL);
    memcpy(copy, y, (size_t)*n * sizeof *copy);
    r->m = own;
    return copy;
}

// A folder in 16 bits stays where it lies, answers as its numbers do in f32, and is written again byte for byte.
static void stays_mapped(void **state) {
    static const char *const types[] = {[DRT_BF16] = "BF16", [DRT_F16] = "F16"};
    (void)state;
    for (drt_dtype type = DRT_BF16; type <= DRT_F16; type++) {
        char *out = test_folder("half"), *again = test_folder("half-again");
        drt_error err = {0};
        rig r;
        int64_t n;
        rig_open(&r, "model/llava", "model/llava/expected.safetensors", "cpu", 1,
                 (const char *const[]){"train.select_rows=false"});
        rig_pack(&r, 0, r.samples);
        check_ok(drt_model_save(r.m, out, types[type], &err));
        drt_model *f = opened(out, DRT_KEEP_F32), *m = opened(out, DRT_KEEP_STORED);
        check(!f->files[0] && m->files[0]);
        for (int i = 0; i < m->params->n; i++) {
            const drt_param *q = m->params->at[i];
            bool matrix = q->tensor.value.rows > 1;
            check(q->mapped == matrix && q->tensor.value.type == (matrix ? type : DRT_F32));
            check(!q->mapped == (q->master.data != NULL));
        }
        check(!m->params->halves && m->language.layer[0].qkv->tensor.block && !m->language.head->tensor.block);
        float *a = answer(&r, f, &n), *b = answer(&r, m, &n);
        double gap = rig_apart(b, a, n);
        print_message("mapped %s: %.1e from f32\n", types[type], gap);
        // f16 weights are multiplied in f32; bf16 rounds the other side, too.
        check(gap <= (type == DRT_F16 ? RIG_GAP : rounding_tolerance(DRT_BF16, FORTH)));
        check_ok(drt_model_save(m, again, types[type], &err));
        check(same_files(out, again));
        check_ok(drt_model_compare(m, again, types[type], &err));
        // Writing over the folder that is mapped is safe: files are replaced, not changed.
        check_ok(drt_model_save(m, out, types[type], &err));
        check(same_files(out, again));
        drt_model *rounded = opened(out, DRT_KEEP_BF16);
        check(rounded->language.head->mapped == (type == DRT_BF16));
        check(rounded->language.head->tensor.value.type == DRT_BF16);
        free(b);
        b = answer(&r, rounded, &n);
        check(rig_apart(b, a, n) <= rounding_tolerance(DRT_BF16, FORTH));
        drt_model_close(f), drt_model_close(m), drt_model_close(rounded);
        rig_close(&r);
        free(a), free(b), free(out), free(again);
    }
}

// Masters are what learns; what kernels read is their rounding; what is frozen has no f32.
static void masters(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        rig r;
        drt_error err = {0};
        rig_open(&r, "model/llava", "model/llava/expected.safetensors", devices[d], 2,
                 (const char *const[]){"groups.language=1", "dtype=bf16"});
        rig_pack(&r, 0, r.samples);
        drt_params *p = r.m->params;
        for (int step = 0; step < 2; step++) {
            int copies = 0, alone = 0;
            for (int i = 0; i < p->n; i++) {
                const drt_param *q = p->at[i];
                drt_mat v = q->tensor.value;
                if (v.type == DRT_F32) continue;
                check(v.type == DRT_BF16 && (q->master.data != NULL) == q->tensor.needs_grad);
                alone += !q->master.data, copies += q->master.data != NULL;
                for (int64_t k = 0; q->master.data && k < v.rows * v.cols; k++)
                    check(((uint16_t *)v.data)[k] == drt_f32_to_bf16(((float *)q->master.data)[k]));
            }
            check(copies > 5 && alone > 5);
            uint64_t before = drt_params_hash(p);
            rig_gradients(&r);
            check_ok(drt_optimizer_step(r.dev, p, &r.recipe, 1e-2, step, drt_gradient_norm(r.dev, p), &err));
            check(drt_params_hash(p) != before);
        }
        rig_close(&r);
    }
}

static void nan_is_refused(void **state) {
    (void)state;
    char *out = test_folder("half-nan");
    drt_error err = {0};
    drt_model *m = opened("tests/golden/model/llava", DRT_KEEP_F32), *none;
    *((float *)m->language.layer[1].down->master.data + 5) = NAN;
    check_ok(drt_model_save(m, out, "BF16", &err));
    drt_model_close(m);
    for (int keep = 0; keep < DRT_KEEPS; keep++) {
        const drt_model_options o = {.keep = (drt_keep)keep};
        check_refused(drt_model_open(&none, out, &o, &err), DRT_ENUMERIC, "down_proj.weight' holds NaN at element 5");
    }
    free(out);
}

// Weights that stay mapped are looked at as far as an answer can wait for, but all of them before a training.
static void nan_far_behind(void **state) {
    (void)state;
    enum { WIDTH = 64, WORDS = 1 << 20 }; // 128 MiB of words
    char *folder = test_folder("half-far"), *config = drt_path_join(folder, "config.json");
    char *file = drt_path_join(folder, "model.safetensors");
    static const char json[] =
        "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 8, \"num_hidden_layers\": 1,\n"
        "\"num_attention_heads\": 2, \"vocab_size\": 1048576, \"max_position_embeddings\": 8, "
        "\"tie_word_embeddings\": true}";
    static const struct {
        const char *name;
        int64_t rows, cols;
    } tensors[] = {{"model.embed_tokens.weight", WORDS, WIDTH},
                   {"model.layers.0.input_layernorm.weight", WIDTH, 0},
                   {"model.layers.0.self_attn.q_proj.weight", WIDTH, WIDTH},
                   {"model.layers.0.self_attn.k_proj.weight", WIDTH, WIDTH},
                   {"model.layers.0.self_attn.v_proj.weight", WIDTH, WIDTH},
                   {"model.layers.0.self_attn.o_proj.weight", WIDTH, WIDTH},
                   {"model.layers.0.post_attention_layernorm.weight", WIDTH, 0},
                   {"model.layers.0.mlp.gate_proj.weight", 8, WIDTH},
                   {"model.layers.0.mlp.up_proj.weight", 8, WIDTH},
                   {"model.layers.0.mlp.down_proj.weight", WIDTH, 8},
                   {"model.norm.weight", WIDTH, 0}};
    enum { TENSORS = sizeof tensors / sizeof *tensors };
    uint16_t *zeros = calloc((size_t)WORDS * WIDTH, 2), bad[8 * WIDTH] = {[77] = 0x7fc0};
    drt_st_entry e[TENSORS];
    drt_error err = {0};
    drt_model *m;
    check(zeros);
    for (int i = 0; i < TENSORS; i++)
        e[i] = (drt_st_entry){tensors[i].name,      "BF16", tensors[i].cols ? 2 : 1, {tensors[i].rows, tensors[i].cols},
                              i == 9 ? bad : zeros, NULL};
    check_ok(drt_file_write(config, json, strlen(json), &err));
    check_ok(drt_safetensors_write(file, e, TENSORS, NULL, &err));
    free(zeros);
    drt_model_options o = {.keep = DRT_KEEP_STORED};
    check_ok(drt_model_open(&m, folder, &o, &err));
    check(m->language.layer[0].down->mapped);
    drt_model_close(m);
    static const drt_lora lora = {.rank = 1, .alpha = 1};
    o = (drt_model_options){.keep = DRT_KEEP_BF16, .lora = &lora, .targets = "q_proj", .learns[DRT_ADAPTER] = true};
    check_refused(drt_model_open(&m, folder, &o, &err), DRT_ENUMERIC, "down_proj.weight' holds NaN at element 77");
    o = (drt_model_options){.keep = DRT_KEEP_STORED, .look_through = true};
    check_refused(drt_model_open(&m, folder, &o, &err), DRT_ENUMERIC, "down_proj.weight' holds NaN at element 77");
    drt_text report = {0};
    int faults;
    check_ok(drt_model_inspect(folder, &(drt_inspect_options){0}, &report, &faults, &err));
    check(strstr(report.bytes, "down_proj.weight' holds NaN at element 77"));
    drt_text_free(&report);
    unlink(file);
    free(folder), free(config), free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(llava),          cmocka_unit_test(llama),
                                       cmocka_unit_test(other_llavas),   cmocka_unit_test(other_decoders),
                                       cmocka_unit_test(stays_mapped),   cmocka_unit_test(masters),
                                       cmocka_unit_test(nan_is_refused), cmocka_unit_test(nan_far_behind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
