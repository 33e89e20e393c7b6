// The objectives of METHODS 2 against their plain spelling in PyTorch (tools/golden_align.py), and what must not change
// them: devices, packing, cutting a step, recomputing blocks, selecting rows.
#include "support/rig.h"

#include <math.h>
#include <stdio.h>

static const char *const devices[] = {"ref", "cpu"};

typedef struct {
    const char *file, *name; // golden file, prefix of its losses and gradients
    const char *overrides[8];
    int n, objective; // objective whose value is loss.NAME; -1: the total
} one;

#define ONLY(o) "groups.language=1", "objectives.language=" #o
static const one cases[] = {
    {"end", "image_order", {ONLY(0), "objectives.image_order=1", "order.bank=5"}, 4, DRT_IMAGE_ORDER},
    {"start",
     "image_order",
     {ONLY(0), "objectives.image_order=1", "order.bank=5", "order.token=start"},
     5,
     DRT_IMAGE_ORDER},
    {"visual",
     "image_order",
     {ONLY(0), "objectives.image_order=1", "order.bank=5", "order.token=visual"},
     5,
     DRT_IMAGE_ORDER},
    {"end", "text_order", {ONLY(0), "objectives.text_order=1", "data.template=plain"}, 4, DRT_TEXT_ORDER},
    {"end", "mass", {ONLY(0), "objectives.guided=1"}, 3, DRT_GUIDED},
    {"end", "pair", {ONLY(0), "objectives.guided=1", "guided.reduce=pair"}, 4, DRT_GUIDED},
    {"end",
     "fixed",
     {ONLY(1), "objectives.image_order=0.5", "objectives.text_order=0.25", "objectives.guided=2",
      "data.template=plain"},
     6,
     -1},
    {"end",
     "learned",
     {ONLY(1), "objectives.image_order=0.5", "objectives.text_order=0.25", "objectives.guided=2", "data.template=plain",
      "weights=learned"},
     7,
     -1},
};
enum { CASES = sizeof cases / sizeof *cases };

static void open_case(rig *r, const one *c, const char *device, int more, const char *const *extra) {
    const char *overrides[16];
    char golden[64];
    int n = 0;
    for (int i = 0; i < c->n; i++) overrides[n++] = c->overrides[i];
    for (int i = 0; i < more; i++) overrides[n++] = extra[i];
    snprintf(golden, sizeof golden, "align/%s.safetensors", c->file);
    rig_open(r, "model/llava", golden, device, n, overrides);
}

// Checks value and gradients of what is packed; returns the larger distance.
static double check_case(rig *r, const one *c) {
    char name[64], prefix[64];
    rig_gradients(r);
    snprintf(name, sizeof name, "loss.%s", c->name);
    snprintf(prefix, sizeof prefix, "grad.%s.", c->name);
    double want = rig_numbers(r, name, NULL)[0],
           have = c->objective < 0 ? r->report.loss : r->report.part[c->objective];
    double gap = fabs(have - want) / fabs(want), slope = rig_gradient_gap(r, prefix);
    if (gap > RIG_GAP && !r->quiet) print_message("%s: %.8g, not %.8g\n", name, have, want);
    return fmax(gap, slope);
}

static void as_in_pytorch(void **state) {
    (void)state;
    for (int i = 0; i < CASES; i++)
        for (int d = 0; d < 2; d++) {
            rig r;
            open_case(&r, &cases[i], devices[d], 0, NULL);
            rig_pack(&r, 0, r.samples);
            double gap = check_case(&r, &cases[i]);
            print_message("%s, drt at %s, %s: %.1e apart\n", cases[i].name, cases[i].file, devices[d], gap);
            check(gap <= RIG_GAP);
            rig_close(&r);
        }
}

// The same numbers, however the step is computed: one batch a sample (as train.accumulate and train.tokens cut it), an
// uneven cut, every row selected, common beginnings computed for each, blocks recomputed, several of them together.
static void however_computed(void **state) {
    enum { WHOLE, SINGLE, UNEVEN };
    static const struct {
        int cut, n;
        const char *keys[2];
    } ways[] = {
        {SINGLE, 0, {NULL}},
        {UNEVEN, 0, {NULL}},
        {WHOLE, 1, {"train.select_rows=false"}},
        {WHOLE, 1, {"train.share_prefixes=false"}},
        {WHOLE, 1, {"train.recompute=true"}},
        {WHOLE, 2, {"train.select_rows=false", "train.recompute=true"}},
        {SINGLE, 2, {"train.select_rows=false", "train.recompute=true"}},
        {UNEVEN, 2, {"train.share_prefixes=false", "train.recompute=true"}},
    };
    (void)state;
    for (int i = 0; i < CASES; i++)
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
            rig r;
            open_case(&r, &cases[i], "cpu", ways[way].n, ways[way].keys);
            int first = ways[way].cut == WHOLE ? r.samples : 1;
            rig_pack(&r, 0, first);
            if (ways[way].cut == UNEVEN) rig_pack(&r, 1, r.samples);
            for (int s = 1; ways[way].cut == SINGLE && s < r.samples; s++) rig_pack(&r, s, s + 1);
            double gap = check_case(&r, &cases[i]);
            if (gap > RIG_GAP) fail_msg("%s, way %zu: %.1e apart", cases[i].name, way, gap);
            rig_close(&r);
        }
}

// A comparison that cannot fail proves nothing: near misses of every objective are seen.
static void near_misses(void **state) {
    (void)state;
    for (int i = 0; i < CASES; i++)
        for (int k = 0; k < 2; k++) {
            rig r;
            open_case(&r, &cases[i], "ref", 0, NULL);
            r.quiet = true;
            if (k == 0) // another permutation, another word, one image more in the mass
                for (int s = 0; s < r.samples; s++)
                    for (int p = 0; p < r.sample[s].passes; p++) {
                        drt_pass *q = &r.sample[s].pass[p];
                        if (q->kind == DRT_PASS_IMAGE_ORDER) q->permutation = (q->permutation + 1) % 5;
                        for (int n = 0; n < q->n; n++)
                            if (q->label[n] >= 0) q->label[n] = 30;
                        q->label[2] = q->kind == DRT_PASS_IMAGE_ORDER ? DRT_IGNORE : q->id[2] >= 0 ? q->id[2] : 3;
                    }
            rig_pack(&r, 0, r.samples);
            if (k == 1)
                r.data.totals.words[0]++, r.data.totals.words[2]++, r.data.totals.orders++, r.data.totals.guided++;
            check(check_case(&r, &cases[i]) > RIG_GAP);
            rig_close(&r);
        }
}

// The guided mass of the last layer, computed over the selected rows only, is that of the full layer.
static void trimmed_last_layer(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        static const char *const whole[] = {"train.select_rows=false"};
        rig a, b;
        drt_forward fa, fb;
        open_case(&a, &cases[4], devices[d], 0, NULL);
        open_case(&b, &cases[4], devices[d], 1, whole);
        rig_pack(&a, 0, a.samples);
        rig_pack(&b, 0, b.samples);
        rig_forward(&a, &fa, true);
        rig_forward(&b, &fb, true);
        int last = a.m->config.language.layers - 1;
        drt_mat some = fa.mass[last]->value, all = fb.mass[last]->value;
        check(some.rows == a.batch[0]->selected && all.rows == b.batch[0]->rows && some.rows < all.rows);
        for (int64_t i = 0; i < some.rows; i++)
            check(rig_apart(drt_row(some, i), drt_row(all, a.batch[0]->select[i]), some.cols) <= RIG_GAP);
        rig_close(&a);
        rig_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_in_pytorch),
        cmocka_unit_test(however_computed),
        cmocka_unit_test(near_misses),
        cmocka_unit_test(trimmed_last_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
