// GPS as an input order against its plain spelling in PyTorch (tools/golden_gps_order.py): which row stands where,
// losses, gradients of decoder, projector, permuter, directed token and order head; the same in inference; and its
// borders.
#include "support/rig.h"

#include "infer/session.h"

#include <math.h>
#include <stdio.h>

enum { NOISE = 91 };
static const char *const devices[] = {"ref", "cpu"};
enum { MIXED, CHOSEN, ASSIGNED, CASES };
static const struct {
    const char *name, *key[4];
    uint64_t noise;
} cases[CASES] = {{"mixed", {"gps.hard_from=1", "gps.tau_last=1", "gps.hard=argmax", "gps.dropout=0.25"}, NOISE},
                  {"chosen", {"gps.hard_from=0", "gps.tau_last=0.5", "gps.hard=argmax", "gps.dropout=0.25"}, NOISE},
                  {"assigned", {"gps.hard_from=0", "gps.tau_last=0.7", "gps.hard=assignment", "gps.dropout=0"}, 0}};

// more, other: further keys, the last one counts; NULL: none.
static void open_case(rig *r, int c, const char *device, const char *more, const char *other) {
    const char *const *k = cases[c].key;
    char tau[40];
    snprintf(tau, sizeof tau, "gps.tau_first=%s", strchr(k[1], '=') + 1);
    const char *overrides[] = {"token_mixer.order=gps",
                               "gps.layers=3",
                               "gps.ffn=20",
                               "gps.sweeps=6",
                               "groups.language=1",
                               "objectives.image_order=0.5",
                               "objectives.guided=2",
                               "order.bank=5",
                               k[0],
                               k[1],
                               tau,
                               k[2],
                               k[3],
                               more,
                               other};
    rig_open(r, "model/llava", "align/gps_order.safetensors", device, 13 + (more != NULL) + (other != NULL), overrides);
    r->data.noise = cases[c].noise;
}

// The larger distance of loss and gradients of what is packed from golden case c.
static double gap(rig *r, int c) {
    char name[40], prefix[40];
    snprintf(name, sizeof name, "loss.%s", cases[c].name);
    snprintf(prefix, sizeof prefix, "grad.%s.", cases[c].name);
    rig_gradients(r);
    double want = rig_numbers(r, name, NULL)[0];
    return fmax(fabs(r->report.loss - want) / fabs(want), rig_gradient_gap(r, prefix));
}

// Every place of every sequence holds the row that it has in PyTorch, and the marks of that row.
static void check_places(rig *r, int c) {
    const drt_batch *b = r->batch[0];
    const drt_gps_step step = {.how = r->data.gps, .dropout = (float)r->recipe.gps.dropout, .noise = r->data.noise};
    drt_forward f = {.model = r->m, .batch = b, .totals = &r->data.totals, .options = &r->options, .gps = &step};
    int64_t movable = 0;
    drt_tape_begin(r->t, true);
    if (r->data.noise) drt_tape_set_noise(r->t, drt_hash((uint64_t[]){r->data.noise, 0}, 2 * sizeof(uint64_t)) | 1);
    drt_forward_run(r->t, &f, true, false);
    check(f.states && f.places.from);
    for (int s = 0, q = 0; s < r->samples; s++)
        for (int p = 0; p < r->sample[s].passes; p++, q++) {
            char name[64];
            int64_t n;
            snprintf(name, sizeof name, "order.%s.s.%d.p.%d", cases[c].name, s, p);
            const int32_t *want = rig_whole(r, name, &n), base = b->offsets[q];
            check(n == b->offsets[q + 1] - base);
            for (int64_t i = 0; i < n; i++) {
                assert_int_equal(f.places.from[base + i], base + want[i]);
                assert_int_equal(f.batch->is_visual[base + i], b->is_visual[base + want[i]]);
                float share = f.places.share[base + i];
                check(c == MIXED && want[i] != i ? share > 0 && share < 1 : share > 0 && share <= 1);
            }
            if (s < 3) movable += b->prompt[q] - 1; // behind BOS; the last sample has no picture
        }
    assert_int_equal(f.places.movable, movable);
    check(f.places.moved > 0 && f.places.moved <= movable);
}

static void places_losses_and_gradients(void **state) {
    (void)state;
    for (int c = 0; c < CASES; c++)
        for (int d = 0; d < 2; d++) {
            rig r;
            open_case(&r, c, devices[d], NULL, NULL);
            rig_pack(&r, 0, r.samples);
            check_places(&r, c);
            double apart = gap(&r, c);
            print_message("%s, %s: %.1e apart\n", cases[c].name, devices[d], apart);
            check(apart <= RIG_GAP);
            rig_close(&r);
        }
}

// One batch a sample, every row selected, blocks computed again: the same. Masks of dropout are of a batch's rows, so
// the cases that have them stay in one.
static void however_computed(void **state) {
    (void)state;
    for (int c = 0; c < CASES; c++)
        for (int way = 0; way < 4; way++) {
            rig r;
            bool apart = way % 3 == 0;
            open_case(&r, c, "cpu", way == 1 || way == 3 ? "train.select_rows=false" : "train.recompute=false",
                      way >= 2 ? "train.recompute=true" : NULL);
            for (int s = 0; s < r.samples && apart && c == ASSIGNED; s++) rig_pack(&r, s, s + 1);
            if (!r.data.n) rig_pack(&r, 0, r.samples);
            double off = gap(&r, c);
            if (off > RIG_GAP) fail_msg("%s, way %d: %.1e apart", cases[c].name, way, off);
            rig_close(&r);
        }
}

// Noise is of a sequence of the step: without dropout, how the step is cut changes nothing.
static void cut_with_noise(void **state) {
    (void)state;
    for (int c = 0; c < 2; c++) {
        rig r;
        open_case(&r, c, "cpu", "gps.dropout=0", NULL);
        rig_pack(&r, 0, r.samples);
        rig_gradients(&r);
        float *whole = rig_gradient_copy(&r);
        double loss = r.report.loss;
        r.data.n = 0, r.data.totals = (drt_totals){0};
        rig_pack(&r, 0, 1), rig_pack(&r, 1, 3), rig_pack(&r, 3, r.samples);
        rig_gradients(&r);
        check(fabs(r.report.loss / loss - 1) <= RIG_GAP && rig_gradient_moved(&r, whole) <= RIG_GAP);
        r.data.noise++;
        rig_gradients(&r);
        check(rig_gradient_moved(&r, whole) > RIG_GAP);
        free(whole);
        rig_close(&r);
    }
}

// Another temperature, other noise, no noise, other dropout, mixed for chosen, no order, a prompt that is a row longer:
// seen, each of them.
static void near_misses(void **state) {
    static const char *const wrong[] = {"gps.alpha=0.51",
                                        "gps.noise=false",
                                        "gps.dropout=0",
                                        "gps.sweeps=5",
                                        "gps.hard_from=0",
                                        "token_mixer.order=none",
                                        NULL,
                                        NULL};
    (void)state;
    for (int k = 0; k < 8; k++) {
        rig r;
        open_case(&r, MIXED, "ref", wrong[k], NULL);
        r.quiet = true;
        if (k == 6) r.data.noise++;
        for (int s = 0; s < r.samples && k == 7; s++) r.sample[s].pass[0].prompt++;
        rig_pack(&r, 0, r.samples);
        // Without the order nothing of the permuter is there to be compared.
        if (k == 5)
            rig_gradients(&r), check(fabs(r.report.loss / rig_numbers(&r, "loss.mixed", NULL)[0] - 1) > RIG_GAP);
        else check(gap(&r, MIXED) > RIG_GAP);
        rig_close(&r);
    }
}

// The implicit gradient is that of the limit: close to the unrolled one where sweeps converge, and another where not.
static void implicit(void **state) {
    (void)state;
    for (int sweeps = 0; sweeps < 2; sweeps++) {
        rig r;
        open_case(&r, ASSIGNED, "cpu", sweeps ? "gps.sweeps=2" : "gps.sweeps=3000", NULL);
        rig_pack(&r, 0, r.samples);
        rig_gradients(&r);
        float *unrolled = rig_gradient_copy(&r);
        r.data.gps.sinkhorn.implicit = true;
        rig_gradients(&r);
        double moved = rig_gradient_moved(&r, unrolled);
        print_message("%s: implicit and unrolled gradients %.1e apart\n", sweeps ? "2 sweeps" : "converged", moved);
        check(sweeps ? moved > 1e-3 : moved <= RIG_GAP);
        free(unrolled);
        rig_close(&r);
    }
}

// What a chat reads is what training reads without noise: the same probabilities for the words behind a prompt.
static void as_in_inference(void **state) {
    (void)state;
    for (int c = 0; c < CASES; c++) {
        rig r;
        drt_error err = {0};
        open_case(&r, c, "cpu", NULL, NULL);
        rig_pack(&r, 0, 2);
        r.m->extra.permuter->how = r.data.gps;
        const drt_batch *b = r.batch[0];
        drt_forward f;
        rig_forward(&r, &f, false);
        int64_t vocab = r.m->config.language.vocab;
        float *want = malloc((size_t)(2 * vocab) * sizeof *want);
        const int32_t first[] = {0, 2}; // sequences of the plain passes
        drt_feed feed[2];
        for (int s = 0; s < 2; s++) {
            int64_t last = b->offsets[first[s]] + b->prompt[first[s]] - 1, at = 0;
            while (b->select[at] != last) at++;
            drt_tensor *y =
                drt_decoder_logits(r.t, &r.m->language, drt_select(r.t, f.states, &(int32_t){(int32_t)at}, 1));
            memcpy(want + s * vocab, y->value.data, (size_t)vocab * sizeof *want);
            const drt_pass *p = &r.sample[s].pass[0];
            feed[s] = (drt_feed){s, p->id, p->prompt, r.sample[s].patches, 0};
        }
        drt_session *chat;
        drt_mat logits;
        const drt_token_mixer gps = {.order = DRT_INPUT_GPS}, none = {.order = DRT_INPUT_NONE};
        check_ok(drt_session_new(&chat, r.m, r.t, 2, 40, &err));
        for (int k = 0; k < 2; k++) {
            check_ok(drt_session_order(chat, k ? &none : &gps, &err));
            check_ok(drt_session_feed(chat, feed, 2, &logits, &err));
            double apart = rig_apart(logits.data, want, 2 * vocab);
            if (k ? apart <= RIG_GAP : apart > RIG_GAP) fail_msg("%s, %d: %.1e apart", cases[c].name, k, apart);
            drt_session_cut(chat, 0, 0), drt_session_cut(chat, 1, 0);
        }
        drt_session_free(chat);
        free(want);
        rig_close(&r);
    }
}

// A frozen part learns nothing, the rest the same; a permuter alone can learn.
static void frozen(void **state) {
    static const char *const keys[][2] = {{"groups.permuter=0", NULL}, {"groups.projector=0", "groups.language=0"}};
    (void)state;
    for (int k = 0; k < 2; k++) {
        rig r;
        open_case(&r, CHOSEN, "cpu", keys[k][0], keys[k][1]);
        rig_pack(&r, 0, r.samples);
        for (int i = 0; i < r.m->params->n; i++) {
            const drt_param *p = r.m->params->at[i];
            if (p->group == DRT_PERMUTER) check(p->tensor.needs_grad == (k == 1));
            if (p->group == DRT_LANGUAGE) check(p->tensor.needs_grad == (k == 0));
        }
        r.quiet = true;
        rig_gradients(&r);
        for (int i = 0; i < r.m->params->slices; i++) {
            const drt_slice *s = &r.m->params->slice[i];
            if (strcmp(s->name, k ? "blocks.0.down.weight" : "multi_modal_projector.linear_1.weight")) continue;
            char name[80];
            snprintf(name, sizeof name, "grad.chosen.%s", s->name);
            int64_t n;
            const float *want = rig_numbers(&r, name, &n);
            check(rig_apart(s->param->tensor.grad.data, want, n) <= RIG_GAP);
        }
        rig_close(&r);
    }
}

static void refused(void **state) {
    (void)state;
    rig r;
    drt_error err = {0};
    open_case(&r, MIXED, "cpu", NULL, NULL);
    // A prompt whose plan no memory holds: nothing of that size is taken.
    enum { N = 4000000 };
    int32_t offsets[] = {0, N}, prompt = N, *token = calloc(2 * (size_t)N, sizeof *token), *visual = token + N;
    for (int i = 0; i < N; i++) visual[i] = i ? -1 : 0;
    const drt_mixer_rows rows = {1, offsets, &prompt, token, visual};
    drt_gps_places places;
    drt_tape_begin(r.t, false);
    static float row[64];
    drt_mat x = drt_mat_f32(row, N, r.m->config.language.width);
    x.ld = 0; // never read
    check(!drt_gps_arrange(r.t, r.m, NULL, &rows, drt_tensor_wrap(r.t, x, false), &places));
    check_refused(drt_tape_failed(r.t, &err), DRT_ENOMEM, "1 prompts of up to 4000000 rows");
    check(drt_tape_peak(r.t) < 200u << 20);
    free(token);
    drt_permuter *kept = r.m->extra.permuter;
    r.m->extra.permuter = NULL;
    const drt_token_mixer gps = {.order = DRT_INPUT_GPS};
    check_refused(drt_gps_check(r.m, &gps, &err), DRT_ECONFIG, "gps.safetensors");
    r.m->extra.permuter = kept;
    check_ok(drt_gps_check(r.m, &gps, &err));
    rig_close(&r);
}

// What is named before it is taken is what ordering a prompt takes, but for vectors and the tape's own records.
static void estimate(void **state) {
    enum { N = 600 };
    (void)state;
    for (int hard = 0; hard < 2; hard++) {
        rig r;
        drt_rng draw;
        drt_gps_places places;
        open_case(&r, CHOSEN, "cpu", NULL, NULL);
        drt_permuter *g = r.m->extra.permuter;
        const int64_t width = r.m->config.language.width;
        const int32_t offsets[] = {0, N}, prompt = N;
        int32_t token[N], visual[N];
        float *x = malloc((size_t)(N * width) * sizeof *x);
        g->how.hard = hard;
        for (int i = 0; i < N; i++) token[i] = i ? 5 : -1, visual[i] = i ? -1 : 0;
        drt_rng_init(&draw, 3, 0);
        for (int64_t i = 0; i < N * width; i++) x[i] = (float)drt_rng_normal(&draw);
        const drt_mixer_rows rows = {1, offsets, &prompt, token, visual};
        drt_tape_begin(r.t, false);
        check(drt_gps_arrange(r.t, r.m, NULL, &rows, drt_tensor_wrap(r.t, drt_mat_f32(x, N, width), false), &places));
        // Sinkhorn's two matrices are the kernel's own; mixed rows have no hard plan, which is named all the same.
        const double matrix = 4.0 * N * N, held = (double)drt_tape_peak(r.t) + (hard ? 2 : 3) * matrix,
                     named = drt_permuter_bytes(&g->shape, N, (double)N * N, N, g->how.sinkhorn.sweeps, false);
        print_message("%s: named %.2f MB, held %.2f MB\n", hard ? "chosen" : "mixed", 1e-6 * named, 1e-6 * held);
        check(named > 0.95 * held && named < 1.05 * held);
        free(x);
        rig_close(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_losses_and_gradients),
        cmocka_unit_test(however_computed),
        cmocka_unit_test(cut_with_noise),
        cmocka_unit_test(near_misses),
        cmocka_unit_test(implicit),
        cmocka_unit_test(as_in_inference),
        cmocka_unit_test(frozen),
        cmocka_unit_test(refused),
        cmocka_unit_test(estimate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
