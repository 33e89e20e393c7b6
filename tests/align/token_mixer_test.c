// TokenMixer against its plain spelling in PyTorch (tools/golden_token_mixer.py): places, losses, gradients; and what
// METHODS 4 says of it in cases that a random model does not bring.
#include "support/rig.h"

#include <math.h>
#include <stdio.h>

static const char *const devices[] = {"ref", "cpu"};
static const char *const names[] = {"before", "after", "high"};
static const char *const order[3][2] = {{"token_mixer.tau=0.1", "token_mixer.side=before"},
                                        {"token_mixer.tau=0.1", "token_mixer.side=after"},
                                        {"token_mixer.tau=0.4", "token_mixer.side=before"}};

static void open_case(rig *r, int c, const char *device, const char *more, const char *other) {
    const char *overrides[] = {"token_mixer.order=token_mixer",
                               order[c][0],
                               order[c][1],
                               "groups.language=1",
                               "objectives.image_order=0.5",
                               "objectives.guided=2",
                               "order.bank=5",
                               "order.token=visual",
                               more,
                               other};
    rig_open(r, "model/llava", "align/token_mixer.safetensors", device, 8 + (more != NULL) + (other != NULL),
             overrides);
}

// The larger distance of loss and gradients of what is packed from golden case c.
static double gap(rig *r, int c) {
    char name[40], prefix[40];
    snprintf(name, sizeof name, "loss.%s", names[c]);
    snprintf(prefix, sizeof prefix, "grad.%s.", names[c]);
    rig_gradients(r);
    double want = rig_numbers(r, name, NULL)[0];
    return fmax(fabs(r->report.loss - want) / fabs(want), rig_gradient_gap(r, prefix));
}

// Every row of every sequence has the place that it has in PyTorch.
static void check_places(rig *r, int c) {
    const drt_batch *b = r->batch[0];
    drt_tape_begin(r->t, true);
    drt_tensor *seen = drt_visual_tokens(r->t, r->m, drt_picture_rows(r->m, b->patches, b->images), false);
    const drt_mixer_rows rows = {b->sequences, b->offsets, b->prompt, b->token, b->visual};
    drt_mixer_places at;
    check(drt_token_mixer_places(r->t, r->m, &r->options.mixer, &rows, seen, &at));
    check(drt_tape_recording(r->t));
    for (int s = 0, q = 0; s < r->samples; s++)
        for (int p = 0; p < r->sample[s].passes; p++, q++) {
            char name[64];
            int64_t n;
            snprintf(name, sizeof name, "order.%s.s.%d.p.%d", names[c], s, p);
            const int32_t *want = rig_whole(r, name, &n), base = b->offsets[q];
            check(n == b->offsets[q + 1] - base);
            for (int64_t i = 0; i < n; i++) assert_int_equal(at.to[base + want[i]], base + i);
        }
}

static void places_losses_and_gradients(void **state) {
    (void)state;
    for (int c = 0; c < 3; c++)
        for (int d = 0; d < 2; d++) {
            rig r;
            open_case(&r, c, devices[d], NULL, NULL);
            rig_pack(&r, 0, r.samples);
            check_places(&r, c);
            double apart = gap(&r, c);
            print_message("%s, %s: %.1e apart\n", names[c], devices[d], apart);
            check(apart <= RIG_GAP);
            rig_close(&r);
        }
}

// One batch a sample, every row selected, blocks computed again: the same.
static void however_computed(void **state) {
    (void)state;
    for (int c = 0; c < 3; c++)
        for (int way = 0; way < 4; way++) {
            rig r;
            open_case(&r, c, "cpu", way == 1 || way == 3 ? "train.select_rows=false" : "train.recompute=false",
                      way >= 2 ? "train.recompute=true" : NULL);
            for (int s = 0; s < r.samples && way % 3 == 0; s++) rig_pack(&r, s, s + 1);
            if (way % 3) rig_pack(&r, 0, r.samples);
            double apart = gap(&r, c);
            if (apart > RIG_GAP) fail_msg("%s, way %d: %.1e apart", names[c], way, apart);
            rig_close(&r);
        }
}

// The other side, another threshold, no order, a prompt that is a word longer: seen, each of them.
static void near_misses(void **state) {
    static const char *const wrong[] = {"token_mixer.side=after", "token_mixer.tau=0.3", "token_mixer.order=none"};
    (void)state;
    for (int k = 0; k < 4; k++) {
        rig r;
        open_case(&r, 0, "ref", k < 3 ? wrong[k] : NULL, NULL);
        r.quiet = true;
        for (int s = 0; s < r.samples && k == 3; s++) r.sample[s].pass[0].prompt++;
        rig_pack(&r, 0, r.samples);
        check(gap(&r, 0) > RIG_GAP);
        rig_close(&r);
    }
}

// ---- by hand -------------------------------------------------------------------------------------------------------

enum { BOS = 1, EOS = 2 };

typedef struct {
    rig r;
    float *seen; // [rows, d]
} hand;

static void hand_open(hand *h) {
    open_case(&h->r, 0, "cpu", NULL, NULL);
    h->seen = calloc(8 * (size_t)h->r.m->config.language.width, sizeof *h->seen);
    check(h->seen);
}

static void hand_close(hand *h) {
    free(h->seen);
    rig_close(&h->r);
}

// Visual row v is `scale` times the embedding of a word: cosine 1 or -1.
static void like(hand *h, int v, int word, float scale) {
    drt_mat e = h->r.m->language.embedding->tensor.value;
    for (int64_t c = 0; c < e.cols; c++) h->seen[v * e.cols + c] = scale * drt_row(e, word)[c];
}

// Arranges one sequence: >= 0 a word, -1 the directed token, V(i) visual row i. Writes what stands where.
#define V(i) (1000 + (i))
static void arrange(hand *h, float tau, drt_mixer_side side, const int32_t *is, int n, int prompt, int32_t *out) {
    const drt_token_mixer how = {DRT_INPUT_TOKEN_MIXER, tau, side};
    int32_t token[32], visual[32], offsets[] = {0, n}, end = prompt;
    for (int i = 0; i < n; i++) {
        token[i] = is[i] < 1000 ? is[i] : -1;
        visual[i] = is[i] < 1000 ? -1 : is[i] - 1000;
    }
    const drt_mixer_rows rows = {1, offsets, &end, token, visual};
    drt_mixer_places at;
    drt_tape_begin(h->r.t, false);
    drt_tensor *seen = drt_tensor_wrap(h->r.t, drt_mat_f32(h->seen, 8, h->r.m->config.language.width), false);
    check(drt_token_mixer_places(h->r.t, h->r.m, &how, &rows, seen, &at));
    for (int i = 0; i < n; i++) out[i] = -9;
    for (int i = 0; i < n; i++) out[at.to[i]] = is[i];
}

#define EXPECT(h, tau, side, prompt, given, wanted)                                                                    \
    do {                                                                                                               \
        const int32_t is[] = given, want[] = wanted;                                                                   \
        int32_t have[32];                                                                                              \
        arrange(h, tau, side, is, sizeof is / sizeof *is, prompt, have);                                               \
        for (size_t i = 0; i < sizeof is / sizeof *is; i++) assert_int_equal(have[i], want[i]);                        \
    } while (0)
#define ROWS(...)                                                                                                      \
    { __VA_ARGS__ }

static void as_described(void **state) {
    hand h;
    (void)state;
    hand_open(&h);
    like(&h, 0, 6, 3);
    like(&h, 1, 5, 0.01f); // length does not matter
    like(&h, 2, 6, 1);
    like(&h, 3, 9, -1);
    // In front of their words, those of one word in their order; the others behind BOS; the answer stays.
    EXPECT(&h, 0.99f, DRT_MIXER_BEFORE, 8, ROWS(BOS, 7, V(0), V(1), V(2), V(3), 5, 6, 6, 5, EOS),
           ROWS(BOS, V(3), 7, V(1), 5, V(0), V(2), 6, 6, 5, EOS));
    EXPECT(&h, 0.99f, DRT_MIXER_AFTER, 8, ROWS(BOS, 7, V(0), V(1), V(2), V(3), 5, 6, 6, 5, EOS),
           ROWS(BOS, V(3), 7, 5, V(1), 6, V(0), V(2), 6, 5, EOS));
    // Equal words: the first one, also in front of the picture. Words of the answer attract nothing.
    EXPECT(&h, 0.99f, DRT_MIXER_BEFORE, 6, ROWS(BOS, 6, V(0), V(2), 6, 7, 5, EOS),
           ROWS(BOS, V(0), V(2), 6, 6, 7, 5, EOS));
    EXPECT(&h, 0.99f, DRT_MIXER_BEFORE, 3, ROWS(BOS, 7, V(1), 5, EOS), ROWS(BOS, V(1), 7, 5, EOS));
    // Two pictures, one of them behind the answer.
    EXPECT(&h, 0.99f, DRT_MIXER_BEFORE, 5, ROWS(BOS, 7, V(0), 6, 8, 9, EOS, V(2), 6),
           ROWS(BOS, 7, V(0), 6, 8, 9, EOS, V(2), 6));
    // No BOS; the directed token in front.
    EXPECT(&h, 0.99f, DRT_MIXER_BEFORE, 3, ROWS(7, V(3), 6), ROWS(V(3), 7, 6));
    EXPECT(&h, 0.99f, DRT_MIXER_BEFORE, 5, ROWS(-1, BOS, 7, V(3), 6), ROWS(-1, BOS, V(3), 7, 6));
    hand_close(&h);
}

static void odd_cases(void **state) {
    hand h;
    (void)state;
    hand_open(&h);
    like(&h, 0, BOS, 1);
    like(&h, 1, EOS, 1);
    like(&h, 2, 6, 1);
    // No picture, no prompt, nothing but pictures, special tokens alone.
    EXPECT(&h, 0.1f, DRT_MIXER_BEFORE, 3, ROWS(BOS, 7, 6), ROWS(BOS, 7, 6));
    EXPECT(&h, 0.1f, DRT_MIXER_BEFORE, 0, ROWS(V(2), 6, 7), ROWS(V(2), 6, 7));
    EXPECT(&h, 0.1f, DRT_MIXER_BEFORE, 2, ROWS(V(2), V(1)), ROWS(V(2), V(1)));
    EXPECT(&h, 0.1f, DRT_MIXER_BEFORE, 4, ROWS(BOS, EOS, V(0), V(1)), ROWS(BOS, V(0), V(1), EOS));
    // Special tokens attract nothing, however like them a visual token is.
    EXPECT(&h, 0.99f, DRT_MIXER_BEFORE, 6, ROWS(BOS, 7, V(0), V(1), EOS, 6), ROWS(BOS, V(0), V(1), 7, EOS, 6));
    // All below tau: in their order before all text. A row of zeros is like nothing: 0.
    EXPECT(&h, 1, DRT_MIXER_BEFORE, 6, ROWS(BOS, 7, V(5), V(4), V(6), 8), ROWS(BOS, V(5), V(4), V(6), 7, 8));
    EXPECT(&h, 0, DRT_MIXER_BEFORE, 4, ROWS(BOS, 7, V(5), 8), ROWS(BOS, V(5), 7, 8)); // 0 >= 0: the first word
    EXPECT(&h, 0, DRT_MIXER_AFTER, 4, ROWS(BOS, 7, V(5), 8), ROWS(BOS, 7, V(5), 8));
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_losses_and_gradients),
        cmocka_unit_test(however_computed),
        cmocka_unit_test(near_misses),
        cmocka_unit_test(as_described),
        cmocka_unit_test(odd_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
