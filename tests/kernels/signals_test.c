// Programs have signal handlers: no handler may run while oneDNN's products have the stack pointer in the heap, where a
// handler's frame would overwrite what lies there.
#include "support/check.h"

#include "kernels/kernels.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/time.h>

enum { SIZE = 600, STACK = 1 << 20 };

static uintptr_t stack; // an address in the frame below which handlers belong
static volatile sig_atomic_t signals, astray;

static void on_signal(int signal) {
    uintptr_t here = (uintptr_t)&signal;
    signals++;
    astray += here > stack || stack - here > STACK;
}

static void handlers_run_on_the_stack(void **state) {
    (void)state;
    drt_error err = {0};
    const struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    struct sigaction before, how = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    int here;
    stack = (uintptr_t)&here;
    assert_int_equal(sigaction(SIGALRM, &how, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int threads = 1; threads <= 2; threads++) {
        drt_device *dev;
        check_ok(drt_device_open(&dev, "cpu", threads, &err));
        for (int round = 0; round < 300 || (signals < threads * 100 && round < 100000); round++) {
            int64_t m = 1 + round * 37 % SIZE, k = 1 + round * 71 % SIZE, n = 1 + round * 113 % SIZE;
            bool ta = round % 3 == 1, tb = round % 3 == 2;
            float *a = calloc((size_t)(m * k), sizeof *a), *b = calloc((size_t)(k * n), sizeof *b),
                  *c = calloc((size_t)(m * n), sizeof *c);
            assert_true(a && b && c);
            dev->k->matmul(dev, ta, tb, ta ? drt_mat_f32(a, k, m) : drt_mat_f32(a, m, k),
                           tb ? drt_mat_f32(b, n, k) : drt_mat_f32(b, k, n), (drt_mat){0}, false, drt_mat_f32(c, m, n));
            free(a), free(b), free(c);
        }
        drt_device_close(dev);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_true(signals >= 200);
    assert_int_equal(astray, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(handlers_run_on_the_stack)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
