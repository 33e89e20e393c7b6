// The permutation experiment: it learns a small one, repeats to the bit, and refuses what memory cannot hold.
#include "support/check.h"

#include "train/permute.h"

#include <stdio.h>

typedef struct {
    drt_device *dev;
    drt_tape *t;
    double loss[400];
    int64_t steps;
    bool was_hard;
} watcher;

static void note(void *user, const drt_permute_step *s) {
    watcher *w = user;
    w->loss[w->steps++] = s->loss;
    w->was_hard |= s->hard;
}

static void begin(watcher *w) {
    drt_error err = {0};
    *w = (watcher){0};
    check_ok(drt_device_open(&w->dev, "cpu", 1, &err));
    w->t = drt_tape_new(w->dev, &err);
    check(w->t != NULL);
}
static void end(watcher *w) {
    drt_tape_free(w->t);
    drt_device_close(w->dev);
}

static drt_permute small(watcher *w) {
    drt_permute o = drt_permute_defaults();
    o.tokens = 24, o.width = 32, o.sets = 2, o.steps = o.stop = 300, o.lr = 2e-3;
    o.report = note, o.user = w;
    return o;
}

static void learns(void **state) {
    (void)state;
    for (int f16 = 0; f16 < 2; f16++)
        for (int way = 0; way < 2 * DRT_GPS_CHOICES; way++) {
            const int choice = way / 2, implicit = way % 2;
            watcher w;
            drt_error err = {0};
            drt_permute_result got;
            begin(&w);
            drt_permute o = small(&w);
            o.how.choice = (drt_gps_choice)choice, o.how.sinkhorn.implicit = implicit, o.f16 = f16;
            check_ok(drt_permute_run(w.t, &o, &got, &err));
            print_message("%s, %s, %s: solved at %lld, %.3f at the end\n", f16 ? "f16" : "f32",
                          drt_gps_choice_names[choice], implicit ? "implicit" : "unrolled", (long long)got.solved,
                          got.accuracy);
            check(got.steps == 300 && got.solved > 1 && got.accuracy >= 0.95 && w.was_hard);
            end(&w);
        }
}

static void repeats(void **state) {
    (void)state;
    double first[5];
    for (int again = 0; again < 3; again++) {
        watcher w;
        drt_error err = {0};
        drt_permute_result got;
        begin(&w);
        drt_permute o = small(&w);
        o.stop = 5, o.seed = again == 2;
        check_ok(drt_permute_run(w.t, &o, &got, &err));
        assert_int_equal(got.steps, 5);
        if (!again) memcpy(first, w.loss, sizeof first);
        else check((memcmp(first, w.loss, sizeof first) == 0) == (again == 1));
        end(&w);
    }
}

static void too_large(void **state) {
    (void)state;
    watcher w;
    drt_error err = {0};
    drt_permute_result got;
    begin(&w);
    drt_permute o = small(&w);
    o.tokens = 10000000;
    check_refused(drt_permute_run(w.t, &o, &got, &err), DRT_ENOMEM, "lower --tokens");
    check(drt_tape_peak(w.t) == 0); // nothing was allocated
    o.tokens = INT64_MAX / 2;
    check_refused(drt_permute_run(w.t, &o, &got, &err), DRT_EARG, "take fewer");
    o.tokens = 0;
    check_refused(drt_permute_run(w.t, &o, &got, &err), DRT_EARG, "at least 1");
    end(&w);
}

// The estimate is what a run holds but for vectors and the tape's own records.
static void estimate(void **state) {
    (void)state;
    watcher w;
    drt_error err = {0};
    drt_permute_result got;
    begin(&w);
    drt_permute o = small(&w);
    o.tokens = 128, o.width = 128, o.stop = 1;
    const drt_permuter_shape shape = {128, 4 * 128, o.layers};
    check_ok(drt_permute_run(w.t, &o, &got, &err));
    double held = (double)drt_tape_peak(w.t) + 16.0 * (double)drt_permuter_numbers(&shape);
    print_message("estimate %.1f MB, held %.1f MB\n", 1e-6 * drt_permute_bytes(&o), 1e-6 * held);
    check(drt_permute_bytes(&o) > 0.95 * held && drt_permute_bytes(&o) < 1.05 * held);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(learns), cmocka_unit_test(repeats), cmocka_unit_test(too_large),
                                       cmocka_unit_test(estimate)};
    return cmocka_run_group_tests_name("permute", tests, NULL, NULL);
}
