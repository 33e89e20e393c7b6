#include "support/kernel_check.h"

#include "support/check.h"

#include <math.h>
#include <stdio.h>

static const double TELLING = 1e-3; // a wrong answer this far off must be rejected
static const double STEP = 1.0 / 32;

enum { ZERO, ONE_ROW, LAST_COLUMN, TRANSPOSED, SHIFTED, NOT_A_NUMBER, SPOILS, WRONGS = 12 };
static const char *const SPOIL[SPOILS] = {"zeros",      "one row off by a hundredth", "the last column missing",
                                          "transposed", "rows moved by one",          "one NaN"};

// How often each way of being wrong was tried, and how often it was far enough off that it had to be rejected.
typedef struct {
    int tried[SPOILS + WRONGS], told[SPOILS + WRONGS];
} proof;

typedef struct {
    kdevices *devices;
    const ktest *test;
} bench;

static void must(bool good, const char *device, const char *why) {
    if (!good) fail_msg("%s: %s", device, why);
}

static void run_on(drt_device *dev, kcase *c) {
    c->test->run(dev, c);
    if (dev->error.code) fail_msg("%s: %s: %s", dev->k->name, c->name, dev->error.text);
}

// The outputs hold a wrong answer: the comparison must say so where it is wrong enough.
static void must_reject(const kcase *c, double step, const char *what, int *tried, int *told) {
    char why[K_WHY];
    double worst = 0;
    for (int i = 0; i < c->args; i++)
        if (karg_is_output(c, i)) worst = fmax(worst, karg_error(c, i));
    *tried += 1;
    if (worst <= TELLING) return;
    *told += 1;
    if (kcase_accepts(c, step, why)) fail_msg("%s: a wrong answer was accepted: %s", c->name, what);
}

static void answer_as_expected(const karg *a) {
    for (int64_t r = 0; r < a->m.rows; r++)
        memcpy(drt_row(a->m, r), a->expected + r * a->m.cols, (size_t)a->m.cols * sizeof(float));
}

// False if this output cannot be spoiled in this way, or stays as it was.
static bool spoil(const karg *a, int how) {
    int64_t rows = a->m.rows, cols = a->m.cols;
    bool changed = false;
    if ((how == TRANSPOSED && (rows < 2 || cols < 2)) || (how == SHIFTED && rows < 2)) return false;
    for (int64_t r = 0; r < rows; r++) {
        float *x = drt_row(a->m, r);
        const float *next = a->expected + (r + 1) % rows * cols;
        for (int64_t i = 0; i < cols; i++) {
            if (how == ZERO || (how == LAST_COLUMN && i == cols - 1)) x[i] = 0;
            if (how == ONE_ROW && r == rows / 2) x[i] += 0.01f * x[i];
            if (how == TRANSPOSED) x[i] = a->expected[i * rows + r];
            if (how == SHIFTED) x[i] = next[i];
            if (how == NOT_A_NUMBER && r == rows / 2 && i == cols - 1) x[i] = NAN;
            changed |= x[i] != a->expected[r * cols + i];
        }
    }
    return changed;
}

static void prove(kcase *c, drt_device *ref, double step, proof *p) {
    for (int i = 0; i < c->args; i++)
        if (karg_is_output(c, i)) answer_as_expected(&c->arg[i]);
    for (int i = 0; i < c->args; i++) {
        for (int how = 0; karg_is_output(c, i) && how < SPOILS; how++) {
            if (spoil(&c->arg[i], how)) must_reject(c, step, SPOIL[how], &p->tried[how], &p->told[how]);
            answer_as_expected(&c->arg[i]);
        }
    }
    for (int w = 0; c->test->wrong && c->test->wrong[w]; w++) {
        kcase wrong = *c;
        char what[40];
        if (!c->test->wrong[w](&wrong)) continue;
        snprintf(what, sizeof what, "wrong kernel %d", w);
        kcase_reset(&wrong);
        run_on(ref, &wrong);
        must_reject(c, step, what, &p->tried[SPOILS + w], &p->told[SPOILS + w]);
    }
}

// Whatever was tried must have told at least once; in a sweep, every wrong kernel must have been tried.
static void must_have_told(const ktest *test, const proof *p, bool all) {
    int n = SPOILS;
    while (test->wrong && test->wrong[n - SPOILS]) n++;
    for (int i = 0; i < n; i++) {
        if (p->told[i] || (!p->tried[i] && !(all && i >= SPOILS))) continue;
        if (i < SPOILS) fail_msg("%s: no case tells '%s' (%d tried)", test->name, SPOIL[i], p->tried[i]);
        fail_msg("%s: no case tells wrong kernel %d (%d tried)", test->name, i - SPOILS, p->tried[i]);
    }
}

static void prepare(drt_device *dev, kcase *c) {
    kcase_reset(c);
    if (c->test->prepare) c->test->prepare(dev, c);
    if (dev->error.code) fail_msg("%s: %s: %s", dev->k->name, c->name, dev->error.text);
    kcase_freeze(c);
}

static void golden(void **state) {
    const bench *b = *state;
    proof p = {0};
    char why[K_WHY];
    int cases = 0;
    for (int i = 0;; i++) {
        kcase c;
        kcase_begin_golden(&c, b->test, b->devices->golden, i);
        if (!c.args) {
            kcase_end(&c);
            break;
        }
        cases++;
        if (!kcase_expect_golden(&c)) fail_msg("the golden file lacks %s; run tools/golden_kernels.py", c.name);
        for (int d = 0; d < b->devices->count; d++) {
            prepare(b->devices->at[d].dev, &c);
            kcase_reset(&c);
            run_on(b->devices->at[d].dev, &c);
            must(kcase_accepts(&c, 1, why), b->devices->at[d].name, why);
        }
        prove(&c, b->devices->at[0].dev, 1, &p);
        kcase_end(&c);
    }
    if (!cases) fail_msg("no golden values of %s; run tools/golden_kernels.py", b->test->name);
    must_have_told(b->test, &p, false);
}

// d loss / d x by the five-point stencil: its own error is of the order of step^4, below that of f32.
static double slope_of(drt_device *dev, kcase *c, float *x) {
    float at = *x;
    double loss[4];
    for (int i = 0; i < 4; i++) {
        *x = at + (float)((i < 2 ? i - 2 : i - 1) * STEP);
        loss[i] = c->test->loss(dev, c);
    }
    *x = at;
    return (loss[0] - 8 * loss[1] + 8 * loss[2] - loss[3]) / (12 * STEP);
}

static void expect_slopes(drt_device *dev, kcase *c) {
    kcase_reset(c);
    for (int s = 0; s < c->test->slopes; s++) {
        drt_mat x = M(c, c->test->slope[s].input);
        const karg *dx = &c->arg[c->test->slope[s].gradient];
        for (int64_t i = 0; i < x.rows * x.cols; i++) {
            int64_t r = i / x.cols, col = i % x.cols;
            double before = dx->role == K_ADD ? dx->start[(float *)dx->m.data - dx->whole + r * dx->m.ld + col] : 0;
            dx->expected[i] = (float)(before + slope_of(dev, c, drt_row(x, r) + col));
        }
    }
}

static void slopes(void **state) {
    const bench *b = *state;
    proof proofs = {0};
    char why[K_WHY];
    for (int d = 0; d < b->devices->count; d++) {
        drt_device *dev = b->devices->at[d].dev;
        int p[K_PARAMS] = {0};
        for (int i = 0; b->test->slope_case(i, p); i++, memset(p, 0, sizeof p)) {
            kcase c;
            kcase_begin(&c, b->test, p, 2);
            prepare(dev, &c);
            // The case's other outputs (of the forward kernel) are not slopes: they are taken as they come.
            kcase_reset(&c);
            run_on(dev, &c);
            kcase_expect(&c);
            expect_slopes(dev, &c);
            kcase_reset(&c);
            run_on(dev, &c);
            must(kcase_accepts(&c, STEP, why), b->devices->at[d].name, why);
            prove(&c, b->devices->at[0].dev, STEP, &proofs);
            kcase_end(&c);
        }
    }
    must_have_told(b->test, &proofs, false);
}

static void sweep(void **state) {
    const bench *b = *state;
    drt_device *ref = b->devices->at[0].dev;
    proof proofs = {0};
    char why[K_WHY];
    int p[K_PARAMS] = {0};
    for (int i = 0; b->test->sweep(i, p); i++, memset(p, 0, sizeof p)) {
        kcase c;
        kcase_begin(&c, b->test, p, 1);
        prepare(ref, &c);
        kcase_reset(&c);
        run_on(ref, &c);
        must(kcase_intact(&c, why), "ref", why);
        kcase_expect(&c);
        for (int d = 1; d < b->devices->count; d++) {
            drt_device *dev = b->devices->at[d].dev;
            const char *name = b->devices->at[d].name;
            kcase_reset(&c);
            run_on(dev, &c);
            must(kcase_intact(&c, why), name, why);
            must(kcase_accepts(&c, 1, why), name, why);
            uint64_t bits = kcase_bits(&c);
            // What a call leaves in a device's scratch must not reach the next: the twin computes NaN first.
            kcase_poison(&c);
            run_on(b->devices->at[d].twin, &c);
            kcase_reset(&c);
            run_on(b->devices->at[d].twin, &c);
            if (bits != kcase_bits(&c)) fail_msg("%s: %s: other bits when run again", name, c.name);
        }
        prove(&c, ref, 1, &proofs);
        kcase_end(&c);
    }
    must_have_told(b->test, &proofs, true);
}

static bool all_present(const kcase *c) {
    for (int i = 0; i < c->args; i++)
        if (c->arg[i].m.data && !(c->arg[i].m.rows && c->arg[i].m.cols)) return false;
    return true;
}

static void refuse_bf16(drt_device *dev, kcase *c) {
    for (int i = 0; i < c->args; i++) {
        if (c->arg[i].raw || c->arg[i].any || c->arg[i].role == K_WORK || !c->arg[i].m.data) continue;
        char first[sizeof dev->error.text];
        kcase_reset(c);
        c->arg[i].m.type = DRT_BF16;
        c->test->run(dev, c);
        c->arg[i].m.type = DRT_F32;
        if (dev->error.code != DRT_EARG) fail_msg("%s: bf16 in %s was not refused", dev->k->name, c->arg[i].name);
        if (!strstr(dev->error.text, "bf16")) fail_msg("\"%s\" does not say bf16", dev->error.text);
        memcpy(first, dev->error.text, sizeof first);
        drt_device_fail(dev, DRT_ENOMEM, "a later failure");
        assert_int_equal(dev->error.code, DRT_EARG);
        assert_string_equal(dev->error.text, first);
        dev->error = (drt_error){0};
    }
}

static void bf16(void **state) {
    const bench *b = *state;
    for (int d = 0; d < b->devices->count; d++) {
        int p[K_PARAMS] = {0}, seen = 0;
        for (int i = 0; !seen && b->test->sweep(i, p); i++, memset(p, 0, sizeof p)) {
            kcase c;
            kcase_begin(&c, b->test, p, 3);
            prepare(b->devices->at[0].dev, &c);
            if (all_present(&c)) refuse_bf16(b->devices->at[d].dev, &c), seen = 1;
            kcase_end(&c);
        }
        assert_true(seen);
    }
}

static drt_device *open_one(const char *name, int threads) {
    drt_error err = {0};
    drt_device *dev;
    if (drt_device_open(&dev, name, threads, &err) == DRT_OK) return dev;
    print_error("%s\n", err.text);
    exit(1);
}

static void open_devices(kdevices *all) {
    enum { SETS = 4 };
    static const char *const isa[SETS] = {"base", "v3", "v4", "bf16"};
    const char *wanted = getenv("DRT_ISA");
    char most[8];
    snprintf(most, sizeof most, "%s", wanted ? wanted : "");
    all->at[all->count++].dev = open_one("ref", 1);
    strcpy(all->at[0].name, "ref");
    for (int i = 0, beyond = 0; i <= SETS; i++) {
        int n = all->count, threads = i < SETS ? 2 : 3;
        if (i < SETS && beyond) continue;
        if (i < SETS) setenv("DRT_ISA", isa[i], 1), beyond = !strcmp(isa[i], most);
        all->at[n].dev = open_one("cpu", threads);
        all->at[n].twin = open_one("cpu", threads);
        if (wanted) setenv("DRT_ISA", most, 1);
        else unsetenv("DRT_ISA");
        snprintf(all->at[n].name, sizeof all->at[n].name, "cpu %s", i < SETS ? isa[i] : "3 threads");
        all->count++;
        // An instruction set that the machine lacks gives the table of a lesser one: already there.
        if (i < 3 && all->at[n].dev->k == all->at[n - 1].dev->k) {
            drt_device_close(all->at[n].dev), drt_device_close(all->at[n].twin);
            all->count--;
        }
    }
}

static void add(struct CMUnitTest *list, int *n, bool wanted, const char *suite, const char *kind,
                CMUnitTestFunction function, bench *b) {
    if (!wanted) return;
    char *name = malloc(120);
    if (!name) abort();
    snprintf(name, 120, "%s: %s: %s", suite, b->test->name, kind);
    list[(*n)++] = (struct CMUnitTest){name, function, NULL, NULL, b};
}

int kernel_suite(const char *suite, const ktest *const *tests, int count, const struct CMUnitTest *extra, int extras) {
    kdevices devices = {0};
    drt_error err = {0};
    char path[200];
    snprintf(path, sizeof path, "tests/golden/kernels/%s.safetensors", suite);
    open_devices(&devices);
    if (drt_weights_open(&devices.golden, path, &err)) print_error("%s\n", err.text);
    struct CMUnitTest *list = calloc((size_t)(4 * count + extras + 1), sizeof *list);
    bench *benches = calloc((size_t)count + 1, sizeof *benches);
    if (!list || !benches || !devices.golden) return 1;
    int n = 0;
    for (int i = 0; i < count; i++) {
        bench *b = &benches[i];
        *b = (bench){&devices, tests[i]};
        add(list, &n, tests[i]->golden, suite, "golden", golden, b);
        add(list, &n, tests[i]->slopes > 0, suite, "slopes", slopes, b);
        add(list, &n, tests[i]->sweep, suite, "sweep", sweep, b);
        add(list, &n, tests[i]->sweep, suite, "bf16", bf16, b);
    }
    int named = n;
    for (int i = 0; i < extras; i++) list[n] = extra[i], list[n++].initial_state = &devices;
    int failed = _cmocka_run_group_tests(suite, list, (size_t)n, NULL, NULL);
    for (int i = 0; i < named; i++) free((char *)list[i].name);
    for (int i = 0; i < devices.count; i++) drt_device_close(devices.at[i].dev), drt_device_close(devices.at[i].twin);
    drt_weights_close(devices.golden);
    free(list), free(benches);
    return failed;
}
