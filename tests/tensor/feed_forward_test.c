// A feed-forward's end in one operation gives what activation and linear layer give one after the other, and keeps less.
#include "support/check.h"
#include "support/tolerance.h"

#include "base/arena.h"
#include "base/rng.h"
#include "tensor/ops.h"
#include "tensor/params.h"

enum { OUT = 24, INNER = 40, MOST = 2500 };

typedef struct {
    bool gated, residual, frozen; // frozen: only x learns
    int rows;
} shape;

typedef struct {
    float y[MOST * OUT], dx[MOST * 2 * INNER], dw[OUT * INNER], db[OUT], dr[MOST * OUT];
    size_t held;
} answers;

static void numbers(float *x, int64_t n, uint64_t seed) {
    drt_rng r;
    drt_rng_init(&r, seed, 1);
    for (int64_t i = 0; i < n; i++) x[i] = (float)drt_rng_normal(&r);
}

static drt_tensor *input(drt_tape *t, float *x, int64_t rows, int64_t cols) {
    drt_tensor *in = drt_tensor_wrap(t, drt_mat_f32(x, rows, cols), true);
    in->leaf = false;
    return in;
}

static void compute(drt_device *dev, const shape *s, bool one, answers *out) {
    static float x[MOST * 2 * INNER], r[MOST * OUT], dy[MOST * OUT];
    const bool learns[DRT_GROUPS] = {[DRT_LANGUAGE] = !s->frozen};
    const int64_t wide = (s->gated ? 2 : 1) * INNER, rows = s->rows;
    drt_error err = {0};
    drt_params *p = drt_params_new();
    drt_param *w = drt_param_add(p, DRT_LANGUAGE, OUT, INNER, DRT_INIT_NORMAL, 1),
              *b = drt_param_add(p, DRT_LANGUAGE, 1, OUT, DRT_INIT_NORMAL, 1);
    check_ok(drt_params_allocate(p, learns, &err));
    drt_params_init(p, DRT_LANGUAGE, 3);
    numbers(x, rows * wide, 1), numbers(r, rows * OUT, 2), numbers(dy, rows * OUT, 4);
    drt_tape *t = drt_tape_new(dev, &err);
    check(t != NULL);
    drt_tape_begin(t, true);
    drt_tensor *in = input(t, x, rows, wide), *residual = s->residual ? input(t, r, rows, OUT) : NULL, *y;
    if (one) y = drt_feed_forward(t, DRT_SILU, s->gated, in, &w->tensor, &b->tensor, residual);
    else {
        drt_tensor *h = s->gated ? drt_glu(t, DRT_SILU, in) : drt_activate(t, DRT_SILU, in);
        y = drt_linear_add(t, h, &w->tensor, &b->tensor, residual);
    }
    check(y != NULL);
    out->held = drt_arena_mark(drt_tape_arena(t));
    memcpy(out->y, y->value.data, (size_t)(rows * OUT) * sizeof(float));
    bool acc;
    drt_tensor *sum = drt_tensor_new(t, 1, 1, true);
    memcpy(drt_grad_target(t, y, &acc).data, dy, (size_t)(rows * OUT) * sizeof(float));
    drt_backward(t, sum);
    check_ok(drt_tape_failed(t, &err));
    memcpy(out->dx, in->grad.data, (size_t)(rows * wide) * sizeof(float));
    if (residual) memcpy(out->dr, residual->grad.data, (size_t)(rows * OUT) * sizeof(float));
    if (!s->frozen) {
        memcpy(out->dw, w->tensor.grad.data, sizeof out->dw);
        memcpy(out->db, b->tensor.grad.data, sizeof out->db);
    }
    drt_tape_free(t);
    drt_params_free(p);
}

static bool near(const float *a, const float *b, int64_t n, double terms) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - b[i]) <= rounding_tolerance(DRT_F32, terms) * 4 * sqrt(terms))) return false;
    return true;
}

static void one_is_two(void **state) {
    static const shape shapes[] = {{true, true, false, 7},     {false, false, false, 7},  {true, true, false, 1025},
                                   {false, true, false, 2500}, {true, false, true, 2500}, {true, true, false, 0}};
    static answers one, two;
    (void)state;
    for (int i = 0; i < 12; i++) {
        const shape *s = &shapes[i / 2];
        drt_error err = {0};
        drt_device *dev;
        check_ok(drt_device_open(&dev, i % 2 ? "cpu" : "ref", 2, &err));
        memset(&one, 0, sizeof one), memset(&two, 0, sizeof two);
        compute(dev, s, true, &one), compute(dev, s, false, &two);
        const int64_t rows = s->rows, wide = (s->gated ? 2 : 1) * INNER;
        check(near(one.y, two.y, rows * OUT, INNER) && near(one.dx, two.dx, rows * wide, OUT));
        check(near(one.dr, two.dr, rows * OUT, 1) && near(one.db, two.db, OUT, (double)rows + 1));
        check(near(one.dw, two.dw, OUT * INNER, (double)rows + 1));
        if (rows) {
            check(one.held + (size_t)rows * INNER * sizeof(float) <= two.held);
            one.dw[5] *= s->frozen ? 1 : 1.01f, one.dx[wide * rows - 1] += 1e-2f; // the comparison sees a wrong number
            check(s->frozen || !near(one.dw, two.dw, OUT * INNER, 1));
            check(!near(one.dx, two.dx, rows * wide, OUT));
        }
        drt_device_close(dev);
    }
}

static void shapes_are_checked(void **state) {
    (void)state;
    static float x[3 * INNER];
    drt_error err = {0};
    drt_device *dev;
    check_ok(drt_device_open(&dev, "ref", 1, &err));
    drt_tape *t = drt_tape_new(dev, &err);
    drt_tape_begin(t, false);
    drt_tensor *in = drt_tensor_wrap(t, drt_mat_f32(x, 1, 3 * INNER), false),
               *w = drt_tensor_wrap(t, drt_mat_f32(x, 2, INNER), false);
    check(!drt_feed_forward(t, DRT_SILU, true, in, w, NULL, NULL));
    check_refused(drt_tape_failed(t, &err), DRT_EARG, "feed-forward: x is 1 x 120, gate and up, the weight 2 x 40");
    drt_tape_free(t);
    drt_device_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_is_two), cmocka_unit_test(shapes_are_checked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
