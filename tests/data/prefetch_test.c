// Prefetching: order, slots, delays on either side, errors, shutdown.
#include "support/check.h"

#include "data/prefetch.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

typedef struct {
    int64_t step;
    bool held; // by the consumer
} slot;

typedef struct {
    int64_t fail_at;
    int make_us, threads;
    atomic_int made, running;
    bool broken; // a slot was filled while the consumer held it, or two calls overlapped, or a step was left out
    int64_t last;
} job;

static void sleep_us(int us) { nanosleep(&(struct timespec){.tv_nsec = us * 1000L}, NULL); }

static drt_status make(void *user, int64_t step, void *to, drt_error *err) {
    job *j = user;
    slot *s = to;
    if (atomic_fetch_add(&j->running, 1) || s->held || step != j->last + 1) j->broken = true;
    j->last = step;
    int threads = 0;
#pragma omp parallel reduction(+ : threads)
    threads++;
    j->threads = threads;
    if (j->make_us) sleep_us(j->make_us + (int)(step * 7919 % 3) * 100);
    atomic_fetch_sub(&j->running, 1);
    if (step == j->fail_at) return drt_fail(err, DRT_EDATA, "step %lld broke", (long long)step);
    s->step = step;
    atomic_fetch_add(&j->made, 1);
    return DRT_OK;
}

// Runs steps first..end over n slots, holding `hold` of them; returns how many came.
static int consume(job *j, int n, int hold, int use_us, int64_t first, int64_t end) {
    drt_error err = {0};
    slot slots[8] = {0}, *held[8];
    void *pointers[8];
    drt_prefetch *p;
    int came = 0, holding = 0;
    for (int i = 0; i < n; i++) pointers[i] = &slots[i];
    j->last = first - 1;
    check_ok(drt_prefetch_start(&p, make, j, pointers, n, first, end, &err));
    for (;;) {
        int64_t step = -1;
        void *got;
        check_ok(drt_prefetch_next(p, &step, &got, &err));
        if (!got) break;
        slot *s = got;
        assert_int_equal(step, first + came);
        assert_int_equal(s->step, step);
        assert_ptr_equal(s, &slots[came % n]);
        s->held = true;
        came++;
        if (use_us) sleep_us(use_us);
        held[holding++] = s;
        if (holding < hold) continue;
        held[0]->held = false;
        memmove(held, held + 1, (size_t)--holding * sizeof *held);
        drt_prefetch_release(p);
    }
    assert_true(drt_prefetch_waited(p) >= 0);
    drt_prefetch_stop(p);
    return came;
}

static void steps_come_in_order(void **state) {
    (void)state;
    static const struct {
        int n, hold, make_us, use_us, first, end;
    } cases[] = {{1, 1, 0, 0, 0, 200},    {2, 1, 0, 300, 5, 60},  {3, 2, 300, 0, 0, 60}, {8, 8, 50, 50, 0, 100},
                 {4, 1, 200, 200, 7, 60}, {3, 1, 0, 0, 0, 20000}, {2, 1, 0, 0, 9, 9}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        job j = {.fail_at = -1, .make_us = cases[i].make_us};
        int came = consume(&j, cases[i].n, cases[i].hold, cases[i].use_us, cases[i].first, cases[i].end);
        assert_int_equal(came, cases[i].end - cases[i].first);
        assert_int_equal(j.made, came);
        assert_false(j.broken);
        if (came) assert_int_equal(j.threads, 1);
    }
    int threads = 0; // the limit of one thread is the background thread's own
    omp_set_num_threads(3);
#pragma omp parallel reduction(+ : threads)
    threads++;
    assert_int_equal(threads, 3);
}

static void errors_come_after_the_steps_before(void **state) {
    (void)state;
    for (int delay = 0; delay <= 1000; delay += 500) {
        drt_error err = {0};
        job j = {.fail_at = 4, .last = -1, .make_us = delay};
        slot slots[2] = {0};
        void *pointers[2] = {&slots[0], &slots[1]}, *got;
        int64_t step;
        drt_prefetch *p;
        check_ok(drt_prefetch_start(&p, make, &j, pointers, 2, 0, 100, &err));
        for (int i = 0; i < 4; i++) {
            check_ok(drt_prefetch_next(p, &step, &got, &err));
            assert_non_null(got);
            assert_int_equal(step, i);
            drt_prefetch_release(p);
        }
        for (int i = 0; i < 3; i++) {
            err = (drt_error){0};
            check_refused(drt_prefetch_next(p, &step, &got, &err), DRT_EDATA, "step 4 broke");
            assert_int_equal(err.code, DRT_EDATA);
            assert_null(got);
            assert_int_equal(step, 4);
        }
        assert_int_equal(drt_prefetch_next(p, &step, &got, NULL), DRT_EDATA);
        drt_prefetch_stop(p);
        assert_int_equal(j.made, 4);
        assert_int_equal(j.last, 4); // and nothing after it
        assert_false(j.broken);      // nor the same again
    }
}

static void runs_ahead_only_into_free_slots(void **state) {
    (void)state;
    drt_error err = {0};
    job j = {.fail_at = -1, .last = -1};
    slot slots[3] = {0};
    void *pointers[3] = {&slots[0], &slots[1], &slots[2]}, *got;
    int64_t step;
    drt_prefetch *p;
    check_ok(drt_prefetch_start(&p, make, &j, pointers, 3, 0, 100, &err));
    for (int i = 0; i < 3; i++) check_ok(drt_prefetch_next(p, &step, &got, &err));
    check_refused(drt_prefetch_next(p, &step, &got, &err), DRT_EARG, "all 3 prefetch slots are held");
    sleep_us(3000);
    assert_int_equal(j.made, 3);
    drt_prefetch_release(p);
    check_ok(drt_prefetch_next(p, &step, &got, &err));
    assert_int_equal(step, 3);
    assert_ptr_equal(got, &slots[0]);
    for (int i = 0; i < 9; i++) drt_prefetch_release(p); // more than are held: nothing happens
    sleep_us(3000);
    for (int i = 4; i < 20; i++) {
        check_ok(drt_prefetch_next(p, &step, &got, &err));
        assert_int_equal(step, i);
        assert_int_equal(((slot *)got)->step, i); // not overtaken
        drt_prefetch_release(p);
    }
    drt_prefetch_stop(p);
    assert_false(j.broken);
}

static void stops_at_any_time(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        drt_error err = {0};
        job j = {.fail_at = i % 3 ? -1 : 2, .last = -1, .make_us = i % 4 * 100};
        slot slots[2] = {0};
        void *pointers[2] = {&slots[0], &slots[1]}, *got;
        int64_t step;
        drt_prefetch *p;
        check_ok(drt_prefetch_start(&p, make, &j, pointers, 2, 0, INT64_MAX, &err));
        if (i % 2) check_ok(drt_prefetch_next(p, &step, &got, &err));
        if (i % 5 == 0) sleep_us(500);
        drt_prefetch_stop(p);
        assert_true(j.made <= 3 && j.running == 0);
    }
    drt_prefetch_stop(NULL);
    drt_prefetch *p;
    drt_error err = {0};
    void *none[1] = {NULL};
    check_refused(drt_prefetch_start(&p, make, NULL, none, 0, 0, 1, &err), DRT_EARG, "0 slots");
    check_refused(drt_prefetch_start(&p, make, NULL, none, 1, 2, 1, &err), DRT_EARG, "steps 2 to 1");
    assert_null(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_come_in_order), cmocka_unit_test(errors_come_after_the_steps_before),
        cmocka_unit_test(runs_ahead_only_into_free_slots), cmocka_unit_test(stops_at_any_time),
    };
    return cmocka_run_group_tests_name("prefetch", tests, NULL, NULL);
}
