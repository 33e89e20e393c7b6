// Row counts, and all other sizes of products, are run-time numbers: with the first product all code is there, and no
// later one of whatever shape compiles more. A program of its own, because a process compiles once.
#include "support/check.h"

#include "base/rng.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST = 700 };

// Bytes of this process that are code and come from no file; -1 where the system does not tell.
static long code_bytes(void) {
    char line[600], mode[8], name[300];
    unsigned long from, to;
    long sum = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    if (!f) return -1;
    while (fgets(line, sizeof line, f)) {
        name[0] = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %299s", &from, &to, mode, name) >= 3 && mode[2] == 'x' && !name[0])
            sum += (long)(to - from);
    }
    fclose(f);
    return sum;
}

static drt_mat part_of(float *data, drt_dtype type, bool turned, int64_t rows, int64_t cols) {
    return (drt_mat){data, turned ? cols : rows, turned ? rows : cols, turned ? rows : cols, type};
}

static void first_product_compiles_all(void **state) {
    (void)state;
    drt_error err = {0};
    drt_rng r;
    float *x = calloc(MOST * MOST, sizeof *x), *y = calloc(MOST * MOST, sizeof *y);
    drt_rng_init(&r, 1, 1);
    for (int type = DRT_F32; type <= DRT_BF16; type++)
        for (int threads = 1; threads <= 2; threads++) {
            drt_device *dev;
            check_ok(drt_device_open(&dev, "cpu", threads, &err));
            drt_mat a = part_of(x, (drt_dtype)type, false, 40, 50), b = part_of(x, (drt_dtype)type, false, 50, 60);
            dev->k->matmul(dev, false, false, a, b, (drt_mat){0}, false, drt_mat_f32(y, 40, 60));
            long before = code_bytes();
            for (int i = 0; i < 300; i++) {
                int64_t size[3]; // few of them as often as many
                for (int k = 0; k < 3; k++) size[k] = 1 + (int64_t)drt_rng_below(&r, i >> k & 1 ? MOST : 20);
                bool ta = drt_rng_below(&r, 2), tb = !ta && drt_rng_below(&r, 2), acc = drt_rng_below(&r, 2);
                a = part_of(x, (drt_dtype)type, ta, size[0], size[2]);
                b = part_of(x, (drt_dtype)type, tb, size[2], size[1]);
                dev->k->matmul(dev, ta, tb, a, b, (drt_mat){0}, acc, drt_mat_f32(y, size[0], size[1]));
                if (code_bytes() != before)
                    fail_msg("%lldx%lldx%lld compiles", (long long)size[0], (long long)size[2], (long long)size[1]);
            }
            check_ok(dev->error.code);
            drt_device_close(dev);
        }
    free(x), free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_product_compiles_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
