// SEA: loss and gradients against their plain spelling in PyTorch (tools/golden_sea.py), the statistics of what is
// drawn, and that it follows from the seed alone.
#include "support/rig.h"

#include "align/sea.h"
#include "model/joint.h"

#include <math.h>
#include <stdio.h>

static const char *const devices[] = {"ref", "cpu"};

// ---- loss ----------------------------------------------------------------------------------------------------------

static void open_case(rig *r, const char *device, const char *language, const char *sea) {
    char a[64], b[64];
    snprintf(a, sizeof a, "objectives.language=%s", language);
    snprintf(b, sizeof b, "objectives.sea=%s", sea);
    const char *const overrides[] = {a, b, "groups.language=1"};
    rig_open(r, "model/llava", "align/sea.safetensors", device, 3, overrides);
}

static double gap_of(rig *r, const char *name) {
    char loss[64], prefix[64];
    snprintf(loss, sizeof loss, "loss.%s", name);
    snprintf(prefix, sizeof prefix, "grad.%s.", name);
    rig_gradients(r);
    double want = rig_numbers(r, loss, NULL)[0];
    return fmax(fabs(r->report.loss - want) / fabs(want), rig_gradient_gap(r, prefix));
}

static void as_in_pytorch(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        rig r;
        open_case(&r, devices[d], "0", "1");
        rig_pack(&r, 0, r.samples);
        check(r.batch[0]->pairs == 6 && r.batch[0]->pair_from[6] == 10);
        double gap = gap_of(&r, "whole");
        print_message("whole, %s: %.1e apart\n", devices[d], gap);
        check(gap <= RIG_GAP);
        // Near misses are seen: another patch, another token, another temperature.
        r.quiet = true;
        r.batch[0]->pair_row[2]--;
        check(gap_of(&r, "whole") > RIG_GAP);
        r.batch[0]->pair_row[2]++;
        r.batch[0]->pair_token[1]++;
        check(gap_of(&r, "whole") > RIG_GAP);
        r.batch[0]->pair_token[1]--;
        float *scale = r.m->extra.temperature->tensor.value.data;
        *scale += 0.01f;
        check(gap_of(&r, "whole") > RIG_GAP);
        *scale -= 0.01f;
        check(gap_of(&r, "whole") <= RIG_GAP);
        rig_close(&r);

        open_case(&r, devices[d], "0", "1");
        rig_pack(&r, 0, 1);
        rig_pack(&r, 1, r.samples);
        gap = gap_of(&r, "cut");
        print_message("cut, %s: %.1e apart\n", devices[d], gap);
        check(gap <= RIG_GAP);
        rig_close(&r);

        open_case(&r, devices[d], "1", "0.5");
        rig_pack(&r, 0, r.samples);
        gap = gap_of(&r, "sum");
        print_message("with language, %s: %.1e apart\n", devices[d], gap);
        check(gap <= RIG_GAP);
        rig_close(&r);
    }
}

// Without the objective language a batch needs no sequences.
static void visual_tokens_alone(void **state) {
    (void)state;
    rig r;
    open_case(&r, "cpu", "0", "1");
    for (int s = 0; s < r.samples; s++) r.sample[s].passes = 0;
    rig_pack(&r, 0, r.samples);
    check(r.batch[0]->rows == 0 && r.batch[0]->images == 3);
    check(gap_of(&r, "whole") <= RIG_GAP);
    rig_close(&r);
}

static void a_token_outside(void **state) {
    (void)state;
    rig r;
    drt_error err = {0};
    open_case(&r, "cpu", "0", "1");
    rig_pack(&r, 0, r.samples);
    r.batch[0]->pair_token[3] = r.m->config.language.vocab;
    check_refused(drt_train_gradients(r.t, r.m, &r.recipe, &r.options, &r.data, &r.report, &err), DRT_EDATA,
                  "is not among the model's");
    rig_close(&r);
}

static void scale_is_kept(void **state) {
    (void)state;
    rig r;
    open_case(&r, "cpu", "0", "1");
    float *scale = r.m->extra.temperature->tensor.value.data;
    *scale = 3;
    drt_sea_clamp(r.m);
    check(*scale == 3);
    *scale = 5;
    drt_sea_clamp(r.m);
    check(expf(*scale) <= 100.001f && expf(*scale) > 99.99f);
    rig_close(&r);
}

// ---- drawing -------------------------------------------------------------------------------------------------------

enum { SIDE = 5, MOST = 3, DRAWS = 40000 };

// The patch (y, x) has labels 10p, 10p + 1, ... with scores 3:2:1; every seventh patch has none, every fifth one.
static void labels(int32_t *word, float *score) {
    for (int p = 0; p < SIDE * SIDE; p++)
        for (int k = 0; k < MOST; k++) {
            bool there = p % 7 != 3 && (p % 5 != 2 || k == 0);
            word[p * MOST + k] = there ? 10 * p + k : 0;
            score[p * MOST + k] = there ? (float)(MOST - k) * 0.1f : 0;
        }
}

// |count - n p| within 5 standard deviations.
static bool likely(int64_t count, double n, double p) {
    return fabs((double)count - n * p) <= 5 * sqrt(n * p * (1 - p)) + 1e-9;
}

static void draws_in_proportion(void **state) {
    (void)state;
    int32_t word[SIDE * SIDE * MOST];
    float score[SIDE * SIDE * MOST];
    static int64_t patch[SIDE * SIDE], label[SIDE * SIDE][MOST];
    drt_word_pair out[9];
    drt_rng r;
    memset(patch, 0, sizeof patch), memset(label, 0, sizeof label);
    labels(word, score);
    drt_rng_init(&r, 1, 2);
    check(drt_sea_windows(SIDE, 2) == 9 && drt_sea_windows(24, 2) == 144 && drt_sea_windows(3, 5) == 1);
    for (int i = 0; i < DRAWS; i++) {
        int n = drt_sea_draw(&r, SIDE, 2, MOST, word, score, 7, out);
        int last = -1;
        for (int k = 0; k < n; k++) {
            int p = out[k].patch, window = p / SIDE / 2 * 3 + p % SIDE / 2;
            check(out[k].image == 7 && window > last); // one of every window, in their order
            last = window;
            check(out[k].word / 10 == p);
            patch[p]++;
            label[p][out[k].word % 10]++;
        }
    }
    for (int top = 0; top < SIDE; top += 2)
        for (int left = 0; left < SIDE; left += 2) {
            int there = 0;
            int64_t all = 0;
            for (int y = top; y < top + 2 && y < SIDE; y++)
                for (int x = left; x < left + 2 && x < SIDE; x++)
                    there += score[(y * SIDE + x) * MOST] > 0, all += patch[y * SIDE + x];
            check(all == (there ? DRAWS : 0));
            for (int y = top; y < top + 2 && y < SIDE; y++)
                for (int x = left; x < left + 2 && x < SIDE; x++) {
                    int p = y * SIDE + x;
                    bool has = score[p * MOST] > 0, one = p % 5 == 2;
                    check(has ? likely(patch[p], DRAWS, 1.0 / there) : patch[p] == 0);
                    double n = (double)patch[p];
                    for (int k = 0; has && k < MOST; k++)
                        check(likely(label[p][k], n, one ? k == 0 : (MOST - k) / 6.0));
                }
        }
}

// One of every word stays, each of those that share it equally often, and the same ones for the same stream.
static void thins_at_random(void **state) {
    (void)state;
    static const int32_t word[] = {4, 9, 4, 4, 1, 9, 4, 2};
    enum { N = 8 };
    int64_t kept[N] = {0};
    drt_arena *arena = drt_arena_new(0);
    drt_rng r;
    drt_rng_init(&r, 5, 5);
    for (int i = 0; i < DRAWS; i++) {
        uint8_t keep[N], again[N];
        drt_rng same = r;
        check(drt_sea_thin(&r, word, N, keep, arena) && drt_sea_thin(&same, word, N, again, arena));
        check(!memcmp(keep, again, N));
        int of[10] = {0};
        for (int k = 0; k < N; k++) kept[k] += keep[k], of[word[k]] += keep[k];
        check(of[4] == 1 && of[9] == 1 && of[1] == 1 && of[2] == 1);
    }
    for (int k = 0; k < N; k++) check(likely(kept[k], DRAWS, word[k] == 4 ? 0.25 : word[k] == 9 ? 0.5 : 1));
    check(drt_sea_thin(&r, word, 0, NULL, arena));
    drt_arena_free(arena);
}

// A word is spelled as behind a space, unless the tokenizer puts one in front.
static void words_as_in_a_sentence(void **state) {
    static const char *const folders[] = {"tests/golden/data/byte_level", "tests/golden/data/word_mark"};
    (void)state;
    drt_error err = {0};
    for (int k = 0; k < 2; k++) {
        drt_tokenizer *tok;
        check_ok(drt_tokenizer_open(&tok, folders[k], &err));
        int32_t *id;
        drt_token *sentence;
        int n, all;
        check_ok(drt_sea_tokens(tok, "picture", 7, &id, &n, &err));
        check_ok(drt_tokenizer_encode(tok, "a picture", 9, &sentence, &all, &err));
        check(n >= 1 && all > n);
        for (int i = 0; i < n; i++) check(id[i] == sentence[all - n + i].id);
        free(id), free(sentence);
        drt_tokenizer_close(tok);
    }
}

// ---- the joint space -----------------------------------------------------------------------------------------------

static void patches_of_both_families(void **state) {
    static const char *const folders[] = {"clip", "clip_odd", "siglip", "siglip_odd"};
    static const char *const recipe[] = {"task=clip"};
    drt_weights *joint;
    drt_error err = {0};
    (void)state;
    check_ok(drt_weights_open(&joint, "tests/golden/align/joint.safetensors", &err));
    for (int k = 0; k < 8; k++) {
        rig r;
        char model[64], golden[100];
        snprintf(model, sizeof model, "model/%s", folders[k / 2]);
        snprintf(golden, sizeof golden, "%s/expected.safetensors", model);
        rig_open(&r, model, golden, devices[k % 2], 1, recipe);
        const drt_tower *v = &r.m->config.vision;
        const drt_weight *want = drt_weights_find(joint, folders[k / 2]);
        int64_t n, size = (int64_t)drt_patches(v) * 3 * v->patch * v->patch;
        const float *pixels = rig_numbers(&r, "pixels", &n);
        int64_t images = n / (3 * v->image * v->image);
        float *rows = drt_arena_array(r.arena, images * size, sizeof *rows);
        for (int64_t i = 0; i < images; i++)
            rig_patches(pixels + i * 3 * v->image * v->image, v->image, v->patch, rows + i * size);
        drt_tape_begin(r.t, false);
        drt_mat all = drt_mat_f32(rows, images * drt_patches(v), 3LL * v->patch * v->patch);
        drt_tensor *x = drt_patch_embedding(r.t, r.m, drt_vision_hidden(r.t, &r.m->vision, all, -1, false));
        check_ok(drt_tape_failed(r.t, &err));
        check(want && want->shape[0] == x->value.rows && want->shape[1] == x->value.cols);
        float *there = drt_arena_array(r.arena, drt_weight_elements(want), sizeof *there);
        check_ok(drt_weight_to_f32(want, there, drt_weight_elements(want), &err));
        double gap = rig_apart(x->value.data, there, x->value.rows * x->value.cols);
        print_message("patches of %s, %s: %.1e apart\n", folders[k / 2], devices[k % 2], gap);
        check(gap <= RIG_GAP);
        x = drt_patch_embedding(r.t, r.m, drt_vision_hidden(r.t, &r.m->vision, all, -2, false));
        check(rig_apart(x->value.data, there, x->value.rows * x->value.cols) > RIG_GAP);
        rig_close(&r);
    }
    drt_weights_close(joint);
}

// A tower is known again in any layout and type of number; another is not, nor the same after a step of training.
static void marks_of_a_tower(void **state) {
    (void)state;
    drt_error err = {0};
    drt_model *m[3];
    const drt_model_options plain = {0}, half = {.keep = DRT_KEEP_BF16};
    float marks[DRT_TOWER_MARKS], other[DRT_TOWER_MARKS];
    check_ok(drt_model_open(&m[0], "models/tiny-clip", &plain, &err));
    check_ok(drt_model_open(&m[1], "models/tiny-clip", &half, &err));
    check_ok(drt_model_assemble(&m[2], "models/tiny-clip", "models/tiny-llama", 2, -2, &plain, &err));
    drt_tower_marks(m[0], marks);
    for (int i = 0; i < 3; i++) check(drt_tower_is(m[i], marks));
    drt_rng r;
    drt_rng_init(&r, 1, 1);
    for (int i = 0; i < m[0]->params->n; i++) {
        drt_mat w = m[0]->params->at[i]->master;
        for (int64_t k = 0; k < w.rows * w.cols; k++) ((float *)w.data)[k] *= 1 + 0.03f * (float)drt_rng_normal(&r);
    }
    drt_tower_marks(m[0], other);
    check(!drt_tower_is(m[0], marks) && !drt_tower_is(m[2], other));
    for (int i = 0; i < 3; i++) drt_model_close(m[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_in_pytorch),          cmocka_unit_test(visual_tokens_alone),
        cmocka_unit_test(a_token_outside),        cmocka_unit_test(scale_is_kept),
        cmocka_unit_test(draws_in_proportion),    cmocka_unit_test(thins_at_random),
        cmocka_unit_test(words_as_in_a_sentence), cmocka_unit_test(patches_of_both_families),
        cmocka_unit_test(marks_of_a_tower),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
