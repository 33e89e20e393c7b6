// CLIP and SigLIP, two sizes each, against transformers: every hidden state, pooled rows, embeddings, gradients of
// every parameter under the family's own loss; CLIP's old rule of where a text is read.
#include "support/rig.h"
#include "support/tolerance.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

static const char *const devices[] = {"ref", "cpu"};
static const char *const recipe[] = {"task=clip",
                                     "groups.vision=1",
                                     "groups.clip_text=1",
                                     "groups.clip_projection=1",
                                     "groups.temperature=1",
                                     "objectives.contrastive=1",
                                     "dtype=f32"};
static const char *const half_recipe[] = {"task=clip",
                                          "groups.vision=1",
                                          "groups.clip_text=1",
                                          "groups.clip_projection=1",
                                          "groups.temperature=1",
                                          "objectives.contrastive=1",
                                          "dtype=bf16"};
static const char *const folders[] = {"model/clip", "model/clip_odd", "model/siglip", "model/siglip_odd"};
enum { IMAGES = 3, FOLDERS = 4 };

// The golden's pictures and texts as samples of one image and one caption each.
static void open_pair_in(rig *r, const char *folder, const char *device, const char *const *recipe) {
    char golden[100];
    snprintf(golden, sizeof golden, "%s/expected.safetensors", folder);
    rig_open(r, folder, golden, device, 7, recipe);
    rig_pairs(r, IMAGES);
}

static void open_pair(rig *r, const char *folder, const char *device) { open_pair_in(r, folder, device, recipe); }

static double from_golden(rig *r, const char *name, int64_t skip, drt_mat have) {
    return rig_apart(have.data, rig_numbers(r, name, NULL) + skip, have.rows * have.cols);
}

static void forward(void **state) {
    (void)state;
    for (int d = 0; d < 2 * FOLDERS; d++) {
        rig r;
        drt_forward f;
        drt_error err = {0};
        open_pair(&r, folders[d / 2], devices[d % 2]);
        const drt_tower *v = &r.m->config.vision;
        drt_mat pixels = drt_mat_f32(r.batch[0]->patches, (int64_t)IMAGES * drt_patches(v), 3LL * v->patch * v->patch);
        double worst = 0;
        for (int l = 0; l <= v->layers; l++) {
            drt_tape_begin(r.t, false);
            drt_tensor *h = drt_vision_hidden(r.t, &r.m->vision, pixels, l, false);
            drt_tensor *same = drt_vision_hidden(r.t, &r.m->vision, pixels, l - v->layers - 1, false);
            check_ok(drt_tape_failed(r.t, &err));
            int64_t n = h->value.rows * h->value.cols;
            worst = fmax(worst, from_golden(&r, "hidden", l * n, h->value));
            check(!memcmp(h->value.data, same->value.data, (size_t)n * sizeof(float)));
            h = drt_vision_pooled(r.t, &r.m->vision, drt_vision_rest(r.t, &r.m->vision, h, l, false));
            worst = fmax(worst, from_golden(&r, "pooled_images", 0, h->value));
        }
        rig_forward(&r, &f, false);
        worst = fmax(worst, from_golden(&r, "images", 0, f.pooled_images->value));
        worst = fmax(worst, from_golden(&r, "texts", 0, f.pooled_texts->value));
        print_message("%s on %s: %.1e apart\n", folders[d / 2], devices[d % 2], worst);
        check(worst <= RIG_GAP);
        check(from_golden(&r, "images", 1, f.pooled_texts->value) > RIG_GAP);
        // The comparison sees a tower that is almost right: another activation, another mask.
        drt_family other = *v->family;
        other.causal = !other.causal;
        r.m->vision.size.act = v->act == DRT_ACT_GELU ? DRT_ACT_GELU_TANH : DRT_ACT_GELU;
        r.m->clip_text.size.family = &other;
        rig_forward(&r, &f, false);
        check(from_golden(&r, "images", 0, f.pooled_images->value) > RIG_GAP);
        check(from_golden(&r, "texts", 0, f.pooled_texts->value) > RIG_GAP);
        rig_close(&r);
    }
}

static void gradients(void **state) {
    (void)state;
    for (int d = 0; d < 2 * FOLDERS; d++) {
        rig r;
        open_pair(&r, folders[d / 2], devices[d % 2]);
        rig_gradients(&r);
        double want = rig_numbers(&r, "loss", NULL)[0], loss = fabs(r.report.loss - want),
               gap = rig_gradient_gap(&r, "grad.");
        print_message("%s on %s: loss %.1e, gradients %.1e apart\n", folders[d / 2], devices[d % 2], loss, gap);
        check(loss <= RIG_GAP && gap <= RIG_GAP);
        // Two batches that hold the same samples are the step's mean, not its double.
        rig_pack(&r, 0, IMAGES);
        rig_gradients(&r);
        check(fabs(r.report.loss - want) <= RIG_GAP && rig_gradient_gap(&r, "grad.") <= RIG_GAP);
        r.quiet = true;
        ((float *)r.m->clip_text.token->tensor.grad.data)[0] += 0.1f;
        check(rig_gradient_gap(&r, "grad.") > RIG_GAP);
        rig_close(&r);
    }
}

// How far embeddings of the first batch are from `way` of half.safetensors (tools/golden_half.py).
static double from_half(rig *r, const drt_weights *half, const char *folder, const char *way) {
    static const char *const whose[] = {"images", "texts"};
    drt_forward f;
    drt_error err = {0};
    double worst = 0;
    rig_forward(r, &f, false);
    for (int i = 0; i < 2; i++) {
        const drt_mat have = (i ? f.pooled_texts : f.pooled_images)->value;
        const int64_t n = have.rows * have.cols;
        char key[100];
        snprintf(key, sizeof key, "%s.%s.%s", strchr(folder, '/') + 1, whose[i], way);
        const drt_weight *want = drt_weights_find(half, key);
        if (!want) fail_msg("the golden file lacks %s", key);
        float *x = drt_arena_array(r->arena, n, sizeof *x);
        check_ok(drt_weight_to_f32(want, x, n, &err));
        worst = fmax(worst, rig_apart(have.data, x, n));
    }
    return worst;
}

// Weights and products in 16 bits: about four products a layer, three layers, twice as many with the way back. The
// gradients' reference has unrounded weights.
static void in_bf16(void **state) {
    const double most = rounding_tolerance(DRT_BF16, 12), steep = rounding_tolerance(DRT_BF16, 24);
    drt_weights *half;
    drt_error err = {0};
    (void)state;
    check_ok(drt_weights_open(&half, "tests/golden/model/half.safetensors", &err));
    for (int d = 0; d < 2 * FOLDERS; d++) {
        rig r;
        const char *folder = folders[d / 2];
        open_pair_in(&r, folder, devices[d % 2], half_recipe);
        check(r.m->vision.encoder.layer[0].out->tensor.value.type == DRT_BF16);
        check(r.m->clip_text.encoder.layer[0].out->tensor.value.type == DRT_BF16);
        double exact = from_half(&r, half, folder, "exact"), theirs = from_half(&r, half, folder, "bf16");
        r.quiet = true;
        rig_gradients(&r);
        double want = rig_numbers(&r, "loss", NULL)[0], loss = fabs(r.report.loss / want - 1),
               slope = rig_gradient_gap(&r, "grad.");
        print_message("%s in bf16 on %s: %.1e from exact, %.1e from transformers' bf16, loss %.1e, gradients %.1e\n",
                      folder, devices[d % 2], exact, theirs, loss, slope);
        check(exact > 0 && exact <= most);
        check(theirs <= most);
        check(loss <= most);
        check(slope <= steep);
        // The comparison sees one wrong matrix: it is used with the other sign.
        drt_param *w = r.m->clip_text.encoder.layer[0].out;
        for (int64_t i = 0; i < w->master.rows * w->master.cols; i++) ((float *)w->master.data)[i] *= -1;
        drt_params_refresh(r.m->params);
        check(from_half(&r, half, folder, "exact") > most);
        rig_close(&r);
    }
    drt_weights_close(half);
}

// Folders of 2022 say eos_token_id 2, whatever the tokenizer: the row of the largest id is read.
static void old_rule(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        rig r;
        int32_t id[32], offsets[4] = {0};
        drt_error err = {0};
        open_pair(&r, "model/clip", devices[d]);
        for (int i = 0; i < 3; i++) {
            char name[32];
            int64_t n;
            snprintf(name, sizeof name, "old_ids.%d", i);
            const int32_t *own = rig_whole(&r, name, &n);
            memcpy(id + offsets[i], own, (size_t)n * sizeof *own);
            offsets[i + 1] = offsets[i] + (int32_t)n;
        }
        drt_tape_begin(r.t, false);
        drt_tensor *new_rule = drt_text_tower_pooled(r.t, &r.m->clip_text, id, offsets, 3, false);
        check(from_golden(&r, "old_pooled", 0, new_rule->value) > RIG_GAP);
        r.m->clip_text.size.eos = 2;
        drt_tensor *y = drt_text_tower_pooled(r.t, &r.m->clip_text, id, offsets, 3, false);
        check_ok(drt_tape_failed(r.t, &err));
        check(from_golden(&r, "old_pooled", 0, y->value) <= RIG_GAP);
        id[0] = r.m->config.text.vocab;
        check(!drt_text_tower_pooled(r.t, &r.m->clip_text, id, offsets, 3, false));
        check_refused(drt_tape_failed(r.t, &err), DRT_EDATA, "text 0: token 30 is not among 30");
        drt_tape_begin(r.t, false);
        offsets[1] = 10;
        check(!drt_text_tower_pooled(r.t, &r.m->clip_text, id, offsets, 1, false));
        check_refused(drt_tape_failed(r.t, &err), DRT_EDATA, "10 tokens");
        rig_close(&r);
    }
}

// CLIP's config of 2022: both halves twice, and those named _dict count. SigLIP has no such keys.
static void old_config(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *path = i ? "tests/golden/model/siglip/config.json" : "tests/golden/model/clip/config.json";
        drt_error err = {0};
        drt_model_config want, have;
        json_t *o = json_load_file(path, 0, NULL);
        check(o != NULL);
        check_ok(drt_model_config_read(&want, i ? "tests/golden/model/siglip" : "tests/golden/model/clip", &err));
        json_t *other = json_pack("{s:i}", "num_hidden_layers", 17);
        static const char *const keys[] = {"vision_config", "text_config"};
        for (int k = 0; k < 2; k++) {
            char old[40];
            snprintf(old, sizeof old, "%s_dict", keys[k]);
            check(!json_object_set(o, old, i ? other : json_object_get(o, keys[k])));
            if (!i) check(!json_object_set(o, keys[k], other));
        }
        char *text = json_dumps(o, 0);
        check_ok(drt_model_config_parse(&have, text, "place", &err));
        check(!memcmp(&want, &have, sizeof want));
        free(text);
        json_decref(other), json_decref(o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forward), cmocka_unit_test(gradients),
                                       cmocka_unit_test(in_bf16), cmocka_unit_test(old_rule),
                                       cmocka_unit_test(old_config)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
