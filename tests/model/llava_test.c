// LLaVA and LLaMA against transformers: tests/golden/model, made by tools/golden_model.py.
#include "support/rig.h"
#include "support/shell.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>

static const char *const devices[] = {"ref", "cpu"};
static const char *const everything[] = {"groups.vision=1", "groups.language=1", "objectives.language=1",
                                         "train.select_rows=false"};

static void parity(const char *folder) {
    char golden[100];
    snprintf(golden, sizeof golden, "%s/expected.safetensors", folder);
    for (int d = 0; d < 2; d++) {
        rig r;
        rig_open(&r, folder, golden, devices[d], 4, everything);
        rig_pack(&r, 0, r.samples);
        double gap = rig_logit_gap(&r);
        rig_gradients(&r);
        double loss = fabs(r.report.loss - rig_numbers(&r, "loss", NULL)[0]), slope = rig_gradient_gap(&r, "grad.");
        print_message("%s on %s: logits %.1e, loss %.1e, gradients %.1e apart\n", folder, devices[d], gap, loss, slope);
        check(gap <= RIG_GAP);
        check(loss <= RIG_GAP);
        check(slope <= RIG_GAP);
        // The comparison sees a wrong gradient: one element half as large again.
        r.quiet = true;
        ((float *)r.m->language.layer[0].qkv->tensor.grad.data)[3] *= 1.5f;
        check(rig_gradient_gap(&r, "grad.") > RIG_GAP);
        rig_close(&r);
    }
}

static void llava(void **state) { (void)state, parity("model/llava"); }
static void llava_old_names(void **state) { (void)state, parity("model/llava_old"); }
static void projectors(void **state) {
    (void)state;
    parity("model/llava_linear"), parity("model/llava_mlp3"), parity("model/llava_identity");
}
static void gemma_of_transformers_4(void **state) {
    static const char folder[] = "model/llava_gemma_scaled";
    rig r;
    (void)state;
    parity(folder);
    rig_open(&r, folder, "model/llava_gemma_scaled/expected.safetensors", "cpu", 4, everything);
    rig_pack(&r, 0, r.samples);
    r.m->config.visual_scaled = false;
    check(rig_logit_gap(&r) > 1e-2);
    rig_close(&r);
}
static void llava_siglip(void **state) {
    (void)state;
    parity("model/llava_siglip"), parity("model/llava_siglip_bare"), parity("model/llava_siglip_cut");
}
static void llava_scales(void **state) {
    (void)state;
    parity("model/llava_s2"), parity("model/llava_s2_b");
}
static void llama(void **state) { (void)state, parity("model/llama"); }
static void llama_tied(void **state) { (void)state, parity("model/llama_tied"); }

// 64 greedy tokens about a picture, through the cache.
static void greedy(void **state) {
    static const char *const folders[] = {"llava",          "llava_old",    "llava_linear",      "llava_mlp3",
                                          "llava_identity", "llava_siglip", "llava_siglip_bare", "llava_siglip_cut",
                                          "llava_s2",       "llava_s2_b",   "llava_gemma_scaled"};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof folders / sizeof *folders; i++) {
        rig r;
        char model[100], golden[140];
        snprintf(model, sizeof model, "model/%s", folders[i / 2]);
        snprintf(golden, sizeof golden, "%s/expected.safetensors", model);
        print_message("%s on %s\n", model, devices[i % 2]);
        rig_open(&r, model, golden, devices[i % 2], 4, everything);
        rig_greedy(&r);
        rig_close(&r);
    }
}

// Recomputed blocks give the same bits; frozen parts change no gradient of the others; only selected rows, likewise.
static void ways_agree(void **state) {
    static const char *const file = "model/llava/expected.safetensors";
    (void)state;
    for (int d = 0; d < 2; d++) {
        rig a, b;
        rig_open(&a, "model/llava", file, devices[d], 4, everything);
        rig_pack(&a, 0, a.samples);
        rig_gradients(&a);
        float *kept = rig_gradient_copy(&a);
        drt_recipe_free(&a.recipe);
        drt_error err = {0};
        check_ok(drt_recipe_load(
            &a.recipe, NULL, 5,
            (const char *const[]){everything[0], everything[1], everything[2], everything[3], "train.recompute=true"},
            &err));
        rig_gradients(&a);
        check(!memcmp(kept, a.m->params->grads, (size_t)a.m->params->learning * sizeof *kept));
        check(a.data.n == 1);

        rig_open(&b, "model/llava", file, devices[d], 3,
                 (const char *const[]){"groups.vision=1", "groups.language=1", "objectives.language=1"});
        check(b.recipe.train.select_rows);
        rig_pack(&b, 0, b.samples);
        check(b.batch[0]->selected < b.batch[0]->rows);
        rig_gradients(&b);
        double gap = rig_gradient_moved(&b, kept);
        print_message("selected rows only, on %s: gradients %.1e apart\n", devices[d], gap);
        check(gap <= RIG_GAP);
        rig_close(&b);

        rig_open(&b, "model/llava", file, devices[d], 3,
                 (const char *const[]){"groups.vision=0", "groups.language=0", "objectives.language=1"});
        rig_pack(&b, 0, b.samples);
        rig_gradients(&b);
        check(rig_gradient_gap(&b, "grad.") <= RIG_GAP);
        check(!b.m->language.embedding->tensor.needs_grad && !b.m->vision.patch->tensor.needs_grad);
        check(b.m->projector[0]->tensor.needs_grad);
        rig_close(&b);
        free(kept);
        rig_close(&a);
    }
}

// A step cut into batches, by hand, adds up to the gradients of one batch.
static void cut_steps(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        rig r;
        rig_open(&r, "model/llava", "model/llava/expected.safetensors", devices[d], 4, everything);
        for (int i = 0; i < r.samples; i++) rig_pack(&r, i, i + 1);
        rig_gradients(&r);
        double gap = rig_gradient_gap(&r, "grad.");
        print_message("three batches of one on %s: gradients %.1e apart\n", devices[d], gap);
        check(gap <= RIG_GAP);
        rig_close(&r);
    }
}

// What drt writes it reads again to the bit, and as bf16 within its rounding.
static void saved_and_read(void **state) {
    static const char *const folders[] = {
        "model/llava",    "model/llava_old",    "model/llama_tied",        "model/clip",
        "model/siglip",   "model/llava_siglip", "model/llava_siglip_bare", "model/llava_siglip_cut",
        "model/llava_s2", "model/llava_s2_b"};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[300];
        drt_error err = {0};
        drt_model *a, *b;
        drt_model_options o = {0};
        char *out = test_folder("saved");
        snprintf(path, sizeof path, "tests/golden/%s", folders[i]);
        check_ok(drt_model_open(&a, path, &o, &err));
        check_ok(drt_model_save(a, out, "F32", &err));
        check_ok(drt_model_open(&b, out, &o, &err));
        check(!memcmp(&a->config, &b->config, sizeof a->config));
        check(drt_params_hash(a->params) == drt_params_hash(b->params));
        drt_model_close(b);
        check_ok(drt_model_save(a, out, "BF16", &err));
        check_ok(drt_model_open(&b, out, &o, &err));
        double gap = rig_apart(b->params->weights, a->params->weights, a->params->size);
        check(gap > 0 && gap < 1.0 / 256); // bf16 keeps 8 bits
        drt_model_close(b);
        drt_model_close(a);
        free(out);
    }
}

// What transformers makes of a folder that drt wrote (tools/check_saved.py), where there is a Python that has it.
static void transformers_reads_it(void **state) {
    (void)state;
    const char *python = python_with_transformers();
    if (!python) skip();
    static const char *const folders[] = {"model/llava", "model/llava_old", "model/llava_siglip",
                                          "model/llava_siglip_bare", "model/llava_siglip_cut"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        rig r;
        char golden[100], path[400];
        drt_error err = {0};
        int64_t n;
        char *out = test_folder("for-transformers");
        snprintf(golden, sizeof golden, "%s/expected.safetensors", folders[i]);
        rig_open(&r, folders[i], golden, "ref", 4, everything);
        rig_pack(&r, 0, r.samples);
        float *logits = rig_logits(&r, &n);
        int64_t vocab = r.m->config.language.vocab;
        check_ok(drt_model_save(r.m, out, "F32", &err));
        snprintf(path, sizeof path, "%s/logits.safetensors", out);
        const drt_st_entry e = {"logits", "F32", 2, {n / vocab, vocab}, logits, NULL};
        check_ok(drt_safetensors_write(path, &e, 1, NULL, &err));
        int rc;
        free(shell(&rc, "%s tools/check_saved.py %s tests/golden/%s %s >&2", python, out, golden, path));
        check(rc == 0);
        rig_close(&r);
        free(out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llava),
        cmocka_unit_test(llava_old_names),
        cmocka_unit_test(projectors),
        cmocka_unit_test(gemma_of_transformers_4),
        cmocka_unit_test(llava_siglip),
        cmocka_unit_test(llava_scales),
        cmocka_unit_test(greedy),
        cmocka_unit_test(llama),
        cmocka_unit_test(llama_tied),
        cmocka_unit_test(ways_agree),
        cmocka_unit_test(cut_steps),
        cmocka_unit_test(saved_and_read),
        cmocka_unit_test(transformers_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
