// Adapters against peft: tests/golden/lora, made by tools/golden_lora.py. Values, gradients, folders in and out,
// merging, and what is refused.
#include "support/rig.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static const struct {
    const char *name, *base;
    bool saved; // with a projector of its own
} cases[] = {{"llava", "model/llava", false},      {"llava_saved", "model/llava", true},
             {"phi3", "decoders/phi3_a", false},   {"qwen2", "decoders/qwen2_a", false},
             {"llava_ends", "model/llava", false}, // lm_head, the convolution of patches
             {"phi", "decoders/phi_a", false},     // lm_head with a bias; the base's own lm_head lies beside
             {"clip", "model/clip", false},        {"siglip", "model/siglip", false}};
enum { CASES = sizeof cases / sizeof *cases, PAIRS = CASES - 2 }; // PAIRS: the first of the two towers
static const char front[] = "base_model.model.";

static void open_rig(rig *r, int i, const char *device, bool frugal) {
    char from[100], golden[100];
    snprintf(from, sizeof from, "lora.from=tests/golden/lora/%s", cases[i].name);
    snprintf(golden, sizeof golden, "lora/%s/expected.safetensors", cases[i].name);
    const char *const keys[] = {from, cases[i].saved ? "groups.projector=1" : "groups.projector=0",
                                frugal ? "train.recompute=true" : "train.select_rows=false"};
    const char *const pair[] = {"task=clip",
                                "groups.vision=0",
                                "groups.clip_text=0",
                                "groups.clip_projection=0",
                                "groups.temperature=0",
                                "objectives.contrastive=1",
                                frugal ? "train.recompute=true" : "train.recompute=false",
                                from};
    if (i < PAIRS) rig_open(r, cases[i].base, golden, device, 3, keys);
    else rig_open(r, cases[i].base, golden, device, 8, pair);
    if (i < PAIRS) rig_pack(r, 0, r->samples);
    else rig_pairs(r, 3);
}

// Of the golden logits; of two towers, the scores of all pairs.
static double logit_gap(rig *r, int i) {
    if (i < PAIRS) return rig_logit_gap(r);
    drt_forward f;
    float have[9];
    rig_forward(r, &f, false);
    const drt_model *m = r->m;
    float scale = expf(*(float *)m->logit_scale->tensor.value.data),
          bias = m->logit_bias ? *(float *)m->logit_bias->tensor.value.data : 0;
    for (int64_t a = 0; a < 3; a++)
        for (int64_t b = 0; b < 3; b++) {
            const float *x = drt_row(f.pooled_images->value, a), *y = drt_row(f.pooled_texts->value, b);
            have[3 * a + b] = bias;
            for (int64_t k = 0; k < f.pooled_images->value.cols; k++) have[3 * a + b] += scale * x[k] * y[k];
        }
    return rig_apart(have, rig_numbers(r, "logits", NULL), 9);
}

// The largest distance of a gradient of A or B; golden ones that are absent must be 0 here (a layer nobody reads).
static double gradient_gap(rig *r, int *compared) {
    double worst = 0;
    char module[300], name[400];
    for (int i = 0; i < r->m->adapter.n; i++) {
        const drt_adapter_module *one = &r->m->adapter.module[i];
        drt_layout_module(module, sizeof module, &r->m->config, &r->m->params->slice[one->slice]);
        for (int k = 0; k < 2; k++) {
            drt_mat g = (k ? one->b : one->a)->tensor.grad;
            snprintf(name, sizeof name, "grad.%s%s.lora_%c.weight", front, module, "AB"[k]);
            bool known = drt_weights_find(r->golden, name);
            int64_t n = g.rows * g.cols;
            float *none = drt_arena_array(r->arena, n, sizeof *none);
            memset(none, 0, (size_t)n * sizeof *none);
            const float *want = known ? rig_numbers(r, name, NULL) : none;
            worst = fmax(worst, rig_apart(g.data, want, n));
            *compared += known;
        }
    }
    return worst;
}

static void values_and_gradients(void **state) {
    (void)state;
    for (int i = 0; i < CASES; i++)
        for (int d = 0; d < 4; d++) {
            rig r;
            bool frugal = d / 2;
            int compared = 0, golden = 0;
            open_rig(&r, i, d % 2 ? "cpu" : "ref", frugal);
            double logits = frugal ? 0 : logit_gap(&r, i);
            rig_gradients(&r);
            double loss = fabs(r.report.loss - rig_numbers(&r, "loss", NULL)[0]), slope = gradient_gap(&r, &compared);
            for (int k = 0; k < drt_weights_count(r.golden); k++)
                golden += strstr(drt_weights_at(r.golden, k)->name, ".lora_") != NULL;
            print_message("%s on %s%s: logits %.1e, loss %.1e, gradients of %d tensors %.1e apart\n", cases[i].name,
                          d % 2 ? "cpu" : "ref", frugal ? ", frugal" : "", logits, loss, compared, slope);
            check(compared == golden && golden >= 6);
            check(logits <= RIG_GAP && loss <= RIG_GAP && slope <= RIG_GAP);
            if (cases[i].saved) { // the projector's, which is stored beside
                const drt_param *p = r.m->projector[0];
                double gap = rig_apart(
                    p->tensor.grad.data,
                    rig_numbers(&r, "grad.base_model.model.model.multi_modal_projector.linear_1.weight", NULL),
                    p->master.rows * p->master.cols);
                check(gap <= RIG_GAP);
            }
            // Nothing of the base learns, and the comparison sees one number that is half as large again.
            if (i < PAIRS) check(!r.m->language.layer[0].qkv->tensor.needs_grad);
            float *g = r.m->adapter.module[0].b->tensor.grad.data;
            g[0] = g[0] * 1.5f + 1e-2f;
            check(gradient_gap(&r, &compared) > RIG_GAP);
            rig_close(&r);
        }
}

static bool same_tensors(const char *a, const char *b) {
    drt_error err = {0};
    drt_weights *wa, *wb;
    check_ok(drt_weights_open(&wa, a, &err));
    check_ok(drt_weights_open(&wb, b, &err));
    int own = 0; // the base's own lm_head, which peft stores as well
    for (int i = 0; i < drt_weights_count(wa); i++) own += strstr(drt_weights_at(wa, i)->name, ".base_layer.") != NULL;
    bool same = drt_weights_count(wa) == drt_weights_count(wb) + own;
    for (int i = 0; same && i < drt_weights_count(wb); i++) {
        const drt_weight *y = drt_weights_at(wb, i), *x = drt_weights_find(wa, y->name);
        same = x && !strcmp(x->name, y->name) && x->ndim == y->ndim && x->size == y->size &&
               !memcmp(x->bytes, y->bytes, x->size);
        for (int k = 0; k < x->ndim; k++) same &= x->shape[k] == y->shape[k];
    }
    drt_weights_close(wa);
    drt_weights_close(wb);
    return same;
}

// What is written holds peft's tensors, by name and to the last bit; opened again it says the same of itself.
static void written_as_peft_does(void **state) {
    (void)state;
    char path[2][400], *out = test_folder("adapter");
    for (int i = 0; i < CASES; i++) {
        rig r;
        drt_error err = {0};
        drt_lora again;
        char *base;
        open_rig(&r, i, "ref", false);
        snprintf(path[0], sizeof path[0], "tests/golden/lora/%s/adapter_model.safetensors", cases[i].name);
        snprintf(path[1], sizeof path[1], "%s/%s", out, cases[i].name);
        check_ok(drt_adapter_save(r.m, path[1], &err));
        check_ok(drt_peft_read(&again, &base, path[1], &err));
        check(base && strstr(base, cases[i].base));
        free(base);
        check(again.rank == r.m->adapter.lora.rank && again.alpha == r.m->adapter.lora.alpha &&
              again.root == r.m->adapter.lora.root);
        snprintf(path[1], sizeof path[1], "%s/%s/adapter_model.safetensors", out, cases[i].name);
        check(same_tensors(path[0], path[1]));
        rig_close(&r);
    }
    free(out);
}

static void merged(void **state) {
    (void)state;
    for (int i = 0; i < CASES; i++) {
        rig r;
        drt_error err = {0};
        open_rig(&r, i, "cpu", false);
        check_ok(drt_adapter_merge(r.m, r.dev, &err));
        double gap = logit_gap(&r, i);
        print_message("%s merged: logits %.1e apart\n", cases[i].name, gap);
        check(gap <= RIG_GAP && r.m->adapter.n == 0);
        rig_close(&r);
    }
}

// ---- what is chosen, and what is refused ---------------------------------------------------------------------------

static bool matches(const char *item, const char *name) {
    drt_error err = {0};
    bool yes;
    check_ok(drt_target_matches(item, strlen(item), name, &yes, &err));
    return yes;
}

static void names(void **state) {
    (void)state;
    static const char q[] = "model.language_model.layers.1.self_attn.q_proj";
    check(matches("q_proj", q) && matches("self_attn.q_proj", q) && matches(q, q) && matches("all-linear", q));
    check(!matches("_proj", q) && !matches("k_proj", q) && !matches("layers", q));
    check(matches("*.q_proj", q) && matches("model.language_model.*", q) && !matches("*.layers.0.*", q));
    check(matches("/.*\\.(q|v)_proj/", q) && !matches("/q_proj/", q) && matches("/.*[0-9]{1,2}.*/", q));
    const char *list = " q_proj, /a,b{1,2}/ ,mlp.*", *item;
    static const char *const want[] = {"q_proj", "/a,b{1,2}/", "mlp.*"};
    size_t n;
    for (int i = 0; i < 3; i++) {
        check(drt_target_next(&list, &item, &n));
        check(n == strlen(want[i]) && !strncmp(item, want[i], n));
    }
    check(!drt_target_next(&list, &item, &n));
    drt_error err = {0};
    bool yes;
    check_refused(drt_target_matches("/(/", 3, q, &yes, &err), DRT_ECONFIG, "/(/");
}

static drt_status open_new(const char *base, const drt_lora *lora, const char *targets, int *n, drt_error *err) {
    drt_model *m = NULL;
    drt_model_options o = {.lora = lora, .targets = targets};
    drt_status status = drt_model_open(&m, base, &o, err);
    if (n && m) *n = m->adapter.n;
    drt_model_close(m);
    return status;
}

static void new_ones(void **state) {
    (void)state;
    static const char llava[] = "tests/golden/model/llava";
    const drt_lora lora = {.rank = 4, .alpha = 8}, none = {.rank = 0, .alpha = 8};
    drt_error err = {0};
    int n;
    check_ok(open_new(llava, &lora, "all-linear", &n, &err));
    check(n == 34);
    check_ok(open_new(llava, &lora, "q_proj", &n, &err)); // decoder's and tower's, as in peft
    check(n == 5);
    check_ok(open_new(llava, &lora, "model.language_model.*_proj,linear_2", &n, &err));
    check(n == 15);
    check_refused(open_new(llava, &lora, "q_proj,qkv_proj", NULL, &err), DRT_ECONFIG,
                  "'qkv_proj' matches no linear layer");
    check(strstr(err.text, "gate_proj") && strstr(err.text, "fc1") && strstr(err.text, "linear_1"));
    check_refused(open_new(llava, &none, "q_proj", NULL, &err), DRT_ECONFIG, "rank 0");
    check_ok(open_new(llava, &lora, "lm_head,patch_embedding", &n, &err));
    check(n == 2);
    check_refused(open_new("tests/golden/model/llama_tied", &lora, "lm_head", NULL, &err), DRT_ECONFIG,
                  "lm_head is the word embedding");
    check_ok(open_new("tests/golden/model/clip", &lora, "text_model.*,visual_projection", &n, &err));
    check(n == 13);
}

static drt_status open_kept(const char *base, const char *adapter, drt_keep keep, drt_error *err) {
    drt_model *m = NULL;
    const drt_model_options o = {.adapter = adapter, .keep = keep};
    drt_status status = drt_model_open(&m, base, &o, err);
    drt_model_close(m);
    return status;
}

static drt_status open_with(const char *base, const char *adapter, drt_error *err) {
    return open_kept(base, adapter, DRT_KEEP_F32, err);
}

static void other_bases(void **state) {
    (void)state;
    drt_error err = {0};
    // Another width; a module that this model lacks; no adapter at all.
    check_refused(open_with("tests/golden/decoders/llama_a", "tests/golden/lora/qwen2", &err), DRT_EFORMAT,
                  "another base");
    check(strstr(err.text, ".lora_"));
    check_refused(open_with("tests/golden/decoders/qwen2_a", "tests/golden/lora/phi3", &err), DRT_EFORMAT,
                  "another base");
    check(strstr(err.text, "_proj.lora_"));
    check_refused(open_with("tests/golden/model/llava", "tests/golden/model/llava", &err), DRT_EIO,
                  "adapter_config.json");
}

// An adapter that brought a projector keeps it where nothing but the adapter learns.
static void keeps_its_projector(void **state) {
    (void)state;
    static const char saved[] = "tests/golden/lora/llava_saved";
    drt_error err = {0};
    drt_model *m;
    const drt_model_options o = {.adapter = saved, .learns = {[DRT_ADAPTER] = true}};
    char *out = test_folder("adapter_projector"), *file = drt_path_join(out, "adapter_model.safetensors");
    check_ok(drt_model_open(&m, "tests/golden/model/llava", &o, &err));
    check_ok(drt_adapter_save(m, out, &err));
    drt_model_close(m);
    check(same_tensors("tests/golden/lora/llava_saved/adapter_model.safetensors", file));
    check_ok(open_with("tests/golden/model/llava", out, &err)); // its own projector is not the base's
    free(out), free(file);
}

// Opens `from`, changes a number of each tensor of a part, and saves it as `to`.
static void save_changed(const char *from, drt_group part, const char *dtype, const char *to) {
    drt_error err = {0};
    drt_model *m;
    const drt_model_options o = {0};
    check_ok(drt_model_open(&m, from, &o, &err));
    for (int i = 0; i < m->params->slices; i++) {
        drt_mat v = drt_slice_numbers(&m->params->slice[i]);
        if (m->params->slice[i].param->group == part) ((float *)v.data)[v.cols / 2] *= 1.01f;
    }
    check_ok(drt_model_save(m, to, dtype, &err));
    drt_model_close(m);
}

// The same shapes and other weights: told apart, unless they are the same ones in fewer bits or in another layout, or
// the adapter brings the part along, or comes from peft, which does not say what it was trained beside.
static void same_shapes(void **state) {
    (void)state;
    static const char base[] = "tests/golden/model/llava";
    char other[400], *out = test_folder("adapter_base"), *own = drt_path_join(out, "own"),
                     *whole = drt_path_join(out, "whole");
    for (int i = 0; i < 2; i++) { // an adapter alone, and one with a projector of its own
        rig r;
        drt_error err = {0};
        open_rig(&r, i, "ref", false);
        check_ok(drt_adapter_save(r.m, i ? whole : own, &err));
        rig_close(&r);
        check_ok(open_with(base, i ? whole : own, &err));
    }
    static const struct {
        drt_group part;
        const char *dtype, *says;
    } made[] = {{DRT_VISION, "F32", "'vision'"},
                {DRT_PROJECTOR, "F32", "'projector'"},
                {DRT_LANGUAGE, "F32", "'language'"},
                {DRT_LANGUAGE, "BF16", "'language'"},
                {DRT_GROUPS, "F32", NULL},
                {DRT_GROUPS, "BF16", NULL},
                {DRT_GROUPS, "F16", NULL}};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        drt_error err = {0};
        snprintf(other, sizeof other, "%s/base%zu", out, i);
        save_changed(base, made[i].part, made[i].dtype, other);
        check_ok(open_with(other, "tests/golden/lora/llava", &err));
        if (!made[i].says) {
            check_ok(open_with(other, own, &err));
            check_ok(open_kept(other, own, DRT_KEEP_STORED, &err)); // mapped
            check_ok(open_kept(other, own, DRT_KEEP_BF16, &err));
            continue;
        }
        check_refused(open_with(other, own, &err), DRT_EFORMAT, "trained for another base");
        if (!strstr(err.text, base) || !strstr(err.text, other) || !strstr(err.text, made[i].says))
            fail_msg("%s", err.text);
        if (made[i].part == DRT_PROJECTOR) check_ok(open_with(other, whole, &err));
        else check_refused(open_with(other, whole, &err), DRT_EFORMAT, "trained for another base");
    }
    // peft says one thing: what the base's own lm_head was.
    drt_error err = {0};
    snprintf(other, sizeof other, "%s/phi", out);
    save_changed("tests/golden/decoders/phi_a", DRT_GROUPS, "BF16", other);
    check_ok(open_with(other, "tests/golden/lora/phi", &err));
    save_changed("tests/golden/decoders/phi_a", DRT_LANGUAGE, "F32", other);
    check_refused(open_with(other, "tests/golden/lora/phi", &err), DRT_EFORMAT, "lm_head.base_layer");
    free(out), free(own), free(whole);
}

// adapter_config.json with one thing changed.
static void configs(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {{"{\"peft_type\": \"LORA\", \"r\": 0, \"lora_alpha\": 1}", "rank 0"},
               {"{\"peft_type\": \"LORA\", \"lora_alpha\": 1}", "r, the rank"},
               {"{\"peft_type\": \"IA3\", \"r\": 2, \"lora_alpha\": 1}", "peft_type is IA3"},
               {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 1, \"use_dora\": true}", "use_dora"},
               {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 1, \"rank_pattern\": {\"q\": 3}}", "rank_pattern"},
               {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 1, \"bias\": \"all\"}", "biases"},
               {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": \"x\"}", "lora_alpha"},
               {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 1, \"lora_dropout\": 1}", "lora_dropout"},
               {"[]", "not an object"},
               {"{", "line 1"}};
    char *folder = test_folder("adapter_config"), *path = drt_path_join(folder, "adapter_config.json");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        drt_error err = {0};
        drt_lora l;
        char *base;
        check_ok(drt_file_write(path, bad[i].text, strlen(bad[i].text), &err));
        drt_status status = drt_peft_read(&l, &base, folder, &err);
        free(base);
        check(status == DRT_ECONFIG || status == DRT_EFORMAT);
        if (!strstr(err.text, bad[i].says)) fail_msg("\"%s\" lacks \"%s\"", err.text, bad[i].says);
    }
    free(path);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_and_gradients),
                                       cmocka_unit_test(written_as_peft_does),
                                       cmocka_unit_test(merged),
                                       cmocka_unit_test(names),
                                       cmocka_unit_test(new_ones),
                                       cmocka_unit_test(other_bases),
                                       cmocka_unit_test(keeps_its_projector),
                                       cmocka_unit_test(same_shapes),
                                       cmocka_unit_test(configs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
