// GPS against its plain spelling in PyTorch (tools/golden_gps.py): plans, losses, gradients of every parameter and of
// the rows; the optimal assignment; the temperature.
#include "support/check.h"

#include "align/assignment.h"
#include "align/gps.h"
#include "format/weights.h"
#include "support/tolerance.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 12, LAYERS = 3, SETS = 2, ROWS = 12 };
static int32_t offsets[SETS + 1] = {0, 7, 12};
static const drt_permuter_shape shape = {WIDTH, 4 * WIDTH, LAYERS};

typedef struct {
    const char *name;
    float tau;
    uint64_t noise;
    float dropout;
    int sweeps;
    bool hard;
} golden_case;
static const golden_case cases[] = {{"plain", 1, 0, 0, 4, false},
                                    {"noisy", 2, 77, 0.25f, 20, false},
                                    {"hard", 0.5f, 78, 0.25f, 7, true},
                                    {"sharp", 0.02f, 0, 0, 50, false}};
enum { CASES = sizeof cases / sizeof *cases };

// A chain of twelve products of this width, forth and back, as RIG_GAP (support/rig.h).
static const double GAP = 1e-4;

typedef struct {
    drt_weights *golden;
    drt_device *dev;
    drt_tape *t;
    drt_params *p;
    drt_permuter *g;
    drt_tensor *x, *plan[SETS];
    float loss;
} bench;

static const float *numbers(const bench *b, int64_t *n, const char *format, const char *a, const char *c) {
    char name[100];
    snprintf(name, sizeof name, format, a, c);
    const drt_weight *w = drt_weights_find(b->golden, name);
    if (!w) fail_msg("the golden file lacks %s; run tools/golden_gps.py", name);
    if (n) *n = (int64_t)(w->size / sizeof(float));
    return w->bytes;
}

// |a - b| / |b|, where |b| counts as `least` at least.
static double apart(const float *a, const float *b, int64_t n, double least) {
    double off = 0, size = 0;
    for (int64_t i = 0; i < n; i++) off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), size += (double)b[i] * b[i];
    return sqrt(off) / fmax(sqrt(size), least);
}

static void begin(bench *b, const char *device) {
    static const bool learns[DRT_GROUPS] = {[DRT_PERMUTER] = true};
    drt_error err = {0};
    *b = (bench){0};
    check_ok(drt_weights_open(&b->golden, "tests/golden/align/gps.safetensors", &err));
    check_ok(drt_device_open(&b->dev, device, 1, &err));
    b->t = drt_tape_new(b->dev, &err);
    b->p = drt_params_new();
    b->g = drt_permuter_new(b->p, &shape, &err);
    check(b->t && b->g);
    check_ok(drt_params_allocate(b->p, learns, &err));
    int64_t n, total = 0;
    for (int i = 0; i < b->p->slices; i++) {
        drt_mat to = drt_slice_numbers(&b->p->slice[i]);
        const float *w = numbers(b, &n, "w.%s%s", b->p->slice[i].name, "");
        assert_int_equal(n, to.cols);
        memcpy(to.data, w, (size_t)n * sizeof *w);
        total += n;
    }
    assert_int_equal(total, drt_permuter_numbers(&shape));
}

static void end(bench *b) {
    drt_permuter_free(b->g);
    drt_params_free(b->p);
    drt_tape_free(b->t);
    drt_device_close(b->dev);
    drt_weights_close(b->golden);
}

static void run(bench *b, const golden_case *c) {
    static const drt_permutation_terms weight = {1, 1, 0.01f};
    static float half[SETS] = {0.5f, 0.5f};
    drt_tensor *scores[SETS], *term[SETS];
    drt_permutation_terms terms;
    drt_error err = {0};
    drt_gps_how how = drt_gps_defaults;
    how.tau = c->tau, how.sinkhorn.sweeps = c->sweeps, how.sinkhorn.tolerance = 0;
    const int32_t *target = (const int32_t *)numbers(b, NULL, "%s%s", "target", "");
    drt_tape_begin(b->t, true);
    drt_tape_set_noise(b->t, c->noise);
    b->x = drt_tensor_wrap(b->t, drt_mat_f32((float *)numbers(b, NULL, "%s%s", "x", ""), ROWS, WIDTH), true);
    check(drt_permuter_scores(b->t, b->g, b->x, SETS, offsets, c->dropout, scores));
    for (uint64_t s = 0; s < SETS; s++) {
        int32_t column[ROWS];
        uint64_t own = c->noise ? drt_hash((uint64_t[]){c->noise, s}, 2 * sizeof(uint64_t)) : 0;
        b->plan[s] = drt_gps_plan(b->t, WIDTH, &how, scores[s], own);
        check(b->plan[s] != NULL);
        check_ok(drt_gps_choose(DRT_GPS_ARGMAX, b->plan[s]->value, column, &err));
        drt_tensor *hard = c->hard ? drt_one_hot(b->t, b->plan[s], column) : NULL;
        term[s] = drt_permutation_loss(b->t, b->plan[s], hard, target + offsets[s], &weight, &terms);
    }
    drt_tensor *loss = drt_total_loss(b->t, term, half, NULL, NULL, SETS);
    drt_params_zero_grads(b->p);
    drt_backward(b->t, loss);
    check_ok(drt_tape_failed(b->t, &err));
    b->loss = drt_scalar(loss);
}

// The largest distance of a gradient from that of golden case c. The last norm's bias adds the same to all keys, which
// a plan does not see: its gradient vanishes as the sweeps converge, and is measured by the size of its neighbour's.
static double gradient_gap(const bench *b, const char *c) {
    double most = 0, size = 0;
    int64_t n;
    const float *beside = numbers(b, &n, "%s.grad.%s", c, "blocks.1.norm2.weight");
    for (int64_t i = 0; i < n; i++) size += (double)beside[i] * beside[i];
    for (int i = 0; i < b->p->slices; i++) {
        const drt_slice *s = &b->p->slice[i];
        const float *want = numbers(b, &n, "%s.grad.%s", c, s->name);
        int64_t at = drt_param_grad_offset(b->p, s->param);
        most = fmax(most, apart(b->p->grads + at, want, n, strcmp(s->name, "blocks.1.norm2.bias") ? 0 : sqrt(size)));
    }
    const float *want = numbers(b, &n, "%s.grad.%s", c, "x");
    return fmax(most, apart(b->x->grad.data, want, n, 0));
}

static void against_pytorch(void **state) {
    (void)state;
    static const char *const devices[] = {"ref", "cpu"}, *const sets[] = {"0", "1"};
    for (int d = 0; d < 2; d++) {
        bench b;
        begin(&b, devices[d]);
        for (int i = 0; i < CASES; i++) {
            const golden_case *c = &cases[i];
            run(&b, c);
            double loss = fabs(b.loss / numbers(&b, NULL, "%s.%s", c->name, "loss")[0] - 1), plans = 0;
            for (int s = 0; s < SETS; s++) {
                int64_t n;
                const float *want = numbers(&b, &n, "%s.plan.%s", c->name, sets[s]);
                plans = fmax(plans, apart(b.plan[s]->value.data, want, n, 0));
            }
            double slopes = gradient_gap(&b, c->name);
            print_message("%s, %s: loss %.1e, plans %.1e, gradients %.1e apart\n", c->name, devices[d], loss, plans,
                          slopes);
            check(loss <= GAP && plans <= GAP && slopes <= GAP);
            // The comparison tells other noise, other dropout, another temperature.
            golden_case other = *c;
            other.tau *= 1.01f;
            run(&b, &other);
            check(gradient_gap(&b, c->name) > GAP);
            if (!c->noise) continue;
            other = *c, other.noise++;
            run(&b, &other);
            check(gradient_gap(&b, c->name) > 100 * GAP);
        }
        end(&b);
    }
}

// Same seed, same bits; a hard plan moves whole rows.
static void repeats(void **state) {
    (void)state;
    bench b;
    begin(&b, "cpu");
    run(&b, &cases[1]);
    float first = b.loss, *grads = malloc((size_t)b.p->learning * sizeof *grads);
    memcpy(grads, b.p->grads, (size_t)b.p->learning * sizeof *grads);
    run(&b, &cases[1]);
    assert_memory_equal(&first, &b.loss, sizeof first);
    assert_memory_equal(grads, b.p->grads, (size_t)b.p->learning * sizeof *grads);
    free(grads);
    int32_t column[ROWS];
    drt_error err = {0};
    check_ok(drt_gps_choose(DRT_GPS_ASSIGNMENT, b.plan[0]->value, column, &err));
    drt_tensor *rows = drt_part(b.t, b.x, 0, 7, 0, WIDTH);
    drt_tensor *moved = drt_product(b.t, drt_one_hot(b.t, b.plan[0], column), rows);
    check(moved != NULL);
    for (int i = 0; i < 7; i++)
        assert_memory_equal(drt_row(moved->value, i), drt_row(b.x->value, column[i]), WIDTH * sizeof(float));
    end(&b);
}

static void shapes_refused(void **state) {
    (void)state;
    bench b;
    drt_error err = {0};
    drt_tensor *scores[SETS];
    begin(&b, "cpu");
    drt_tape_begin(b.t, false);
    float x[ROWS * WIDTH] = {0};
    drt_tensor *narrow = drt_tensor_wrap(b.t, drt_mat_f32(x, ROWS, WIDTH - 1), false);
    check(!drt_permuter_scores(b.t, b.g, narrow, SETS, offsets, 0, scores));
    check_refused(drt_tape_failed(b.t, &err), DRT_EARG, "12 x 11");
    end(&b);
}

// ---- assignment ----------------------------------------------------------------------------------------------------

static double best_of(drt_mat gain, int row, unsigned taken) {
    double best = row == gain.rows ? 0 : -INFINITY;
    for (int j = 0; j < gain.cols && row < gain.rows; j++)
        if (!(taken >> j & 1)) best = fmax(best, drt_row(gain, row)[j] + best_of(gain, row + 1, taken | 1u << j));
    return best;
}

// What the columns add up to; they must be a permutation.
static double worth(drt_mat gain, const int32_t *column) {
    double sum = 0;
    char *seen = calloc((size_t)gain.rows + 1, 1);
    for (int i = 0; i < gain.rows; i++) {
        check(column[i] >= 0 && column[i] < gain.rows && !seen[column[i]]);
        seen[column[i]] = 1;
        sum += drt_row(gain, i)[column[i]];
    }
    free(seen);
    return sum;
}

static void every_permutation(void **state) {
    (void)state;
    drt_rng r;
    drt_error err = {0};
    drt_rng_init(&r, 3, 0);
    for (int i = 0; i < 400; i++) {
        float x[49];
        int32_t column[7];
        int n = i % 8, kind = i / 8 % 3;
        for (int k = 0; k < n * n; k++) { // many ties; any numbers; one column better than all others
            x[k] = kind == 0 ? (float)drt_rng_below(&r, 3) : (float)(10 * drt_rng_normal(&r));
            if (kind == 2 && k % n == 0) x[k] += 1000;
        }
        drt_mat gain = drt_mat_f32(x, n, n);
        check_ok(drt_assign(gain, column, &err));
        assert_float_equal(worth(gain, column), best_of(gain, 0, 0), 1e-3);
    }
}

static void larger(void **state) {
    (void)state;
    static const char *const name[] = {"60", "200"};
    bench b = {0};
    drt_error err = {0};
    check_ok(drt_weights_open(&b.golden, "tests/golden/align/gps.safetensors", &err));
    for (int i = 0; i < 2; i++) {
        int64_t size;
        const float *x = numbers(&b, &size, "assign.%s%s", name[i], "");
        int n = (int)sqrt((double)size);
        int32_t column[200];
        drt_mat gain = drt_mat_f32((float *)x, n, n);
        check_ok(drt_assign(gain, column, &err));
        check(worth(gain, column) == numbers(&b, NULL, "assign.%s.%s", name[i], "best")[0]);
    }
    drt_weights_close(b.golden);
}

static void assignment_refused(void **state) {
    (void)state;
    float x[6] = {0, 1, NAN, 2, 0, 0};
    int32_t column[3];
    drt_error err = {0};
    check_refused(drt_assign(drt_mat_f32(x, 2, 3), column, &err), DRT_EARG, "2 rows and 3 columns");
    check_refused(drt_assign(drt_mat_f32(x, 2, 2), column, &err), DRT_ENUMERIC, "number 0 of row 1");
}

static void temperature(void **state) {
    (void)state;
    assert_float_equal(drt_gps_tau(2, 0.1f, 0, 1000), 2, 1e-6);
    assert_float_equal(drt_gps_tau(2, 0.1f, 500, 1000), 1.05, 1e-6);
    assert_float_equal(drt_gps_tau(2, 0.1f, 250, 1000), 0.1 + 0.95 * (1 + sqrt(0.5)), 1e-6);
    assert_float_equal(drt_gps_tau(2, 0.1f, 1000, 1000), 0.1, 1e-6);
    assert_float_equal(drt_gps_tau(2, 0.1f, 2000, 1000), 0.1, 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_pytorch),   cmocka_unit_test(repeats), cmocka_unit_test(shapes_refused),
        cmocka_unit_test(every_permutation), cmocka_unit_test(larger),  cmocka_unit_test(assignment_refused),
        cmocka_unit_test(temperature),
    };
    return cmocka_run_group_tests_name("gps", tests, NULL, NULL);
}
