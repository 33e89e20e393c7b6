// The counted arithmetic is that of the shapes, and counting changes no result.
#include "support/check.h"

#include "kernels/count.h"

static void products(void **state) {
    (void)state;
    drt_error err = {0};
    drt_device *dev;
    drt_counter c;
    float a[12], b[12], y[9], z[9];
    for (int i = 0; i < 12; i++) a[i] = (float)i, b[i] = (float)(i % 5);
    check_ok(drt_device_open(&dev, "ref", 1, &err));
    const drt_kernels *plain = dev->k;
    drt_mat none = {0};
    dev->k->matmul(dev, false, true, drt_mat_f32(a, 3, 4), drt_mat_f32(b, 3, 4), none, false, drt_mat_f32(y, 3, 3));
    drt_count_begin(&c, dev);
    dev->k->matmul(dev, false, true, drt_mat_f32(a, 3, 4), drt_mat_f32(b, 3, 4), none, false, drt_mat_f32(z, 3, 3));
    assert_true(c.flops == 2 * 3 * 3 * 4);
    assert_memory_equal(y, z, sizeof y);
    dev->k->matmul(dev, true, false, drt_mat_f32(a, 6, 2), drt_mat_f32(b, 6, 1), none, false, drt_mat_f32(z, 2, 1));
    assert_true(c.flops == 2 * 3 * 3 * 4 + 2 * 2 * 1 * 6);
    drt_count_end(&c, dev);
    assert_ptr_equal(dev->k, plain);
    drt_device_close(dev);
}

static void attentions(void **state) {
    (void)state;
    drt_error err = {0};
    drt_device *dev;
    drt_counter c;
    enum { ROWS = 5, HEADS = 2, SIZE = 3, WIDE = HEADS * SIZE };
    const int32_t offsets[] = {0, 2, ROWS}, reach[] = {1, 2, 1, 2, 3};
    float q[ROWS * WIDE] = {1}, k[ROWS * WIDE] = {2}, v[ROWS * WIDE] = {3}, out[ROWS * WIDE], lse[ROWS * HEADS],
                   dout[ROWS * WIDE] = {1}, d[3][ROWS * WIDE];
    drt_mat none = {0}, mq = drt_mat_f32(q, ROWS, WIDE), mk = drt_mat_f32(k, ROWS, WIDE),
            mv = drt_mat_f32(v, ROWS, WIDE), mo = drt_mat_f32(out, ROWS, WIDE), ml = drt_mat_f32(lse, ROWS, HEADS);
    drt_attention a = {2, offsets, offsets, reach, HEADS, HEADS, SIZE, 1, NULL, false};
    check_ok(drt_device_open(&dev, "ref", 1, &err));
    drt_count_begin(&c, dev);
    dev->k->attention(dev, &a, mq, mk, mv, mo, ml, none);
    assert_true(c.flops == 4 * (1 + 2 + 1 + 2 + 3) * WIDE);
    dev->k->attention_back(dev, &a, mq, mk, mv, mo, ml, none, drt_mat_f32(dout, ROWS, WIDE), none, false,
                           drt_mat_f32(d[0], ROWS, WIDE), drt_mat_f32(d[1], ROWS, WIDE), drt_mat_f32(d[2], ROWS, WIDE));
    assert_true(c.flops == 14 * 9 * WIDE);
    a.reach = NULL; // every row sees its whole sequence
    dev->k->attention(dev, &a, mq, mk, mv, mo, ml, none);
    assert_true(c.flops == 14 * 9 * WIDE + 4 * (2 * 2 + 3 * 3) * WIDE);
    drt_count_end(&c, dev);
    drt_device_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(attentions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
