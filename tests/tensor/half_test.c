// Operations with 16-bit weights: the products of a bf16 weight are those of rounded operands in f32, forwards and
// backwards; weights whose rows lie apart give what the same rows together give.
#include "support/check.h"
#include "support/tolerance.h"

#include "base/half.h"
#include "tensor/ops.h"
#include "tensor/params.h"

enum { ROWS = 70, IN = 24, OUT = 45 };

typedef struct {
    drt_params *p;
    drt_param *w, *b;
} layer;

static void numbers(float *x, int64_t n, uint64_t seed) {
    drt_rng r;
    drt_rng_init(&r, seed, 1);
    for (int64_t i = 0; i < n; i++) x[i] = (float)drt_rng_normal(&r);
}

static void rounded(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = drt_bf16_to_f32(drt_f32_to_bf16(x[i]));
}

static layer layer_new(drt_dtype type, bool learns) {
    drt_error err = {0};
    const bool group[DRT_GROUPS] = {[DRT_LANGUAGE] = learns};
    layer l = {.p = drt_params_new()};
    l.w = drt_param_add(l.p, DRT_LANGUAGE, OUT, IN, DRT_INIT_NORMAL, 1);
    l.b = drt_param_add(l.p, DRT_LANGUAGE, 1, OUT, DRT_INIT_NORMAL, 1);
    drt_param_store(l.w, type, false);
    check_ok(drt_params_allocate(l.p, group, &err));
    drt_params_init(l.p, DRT_LANGUAGE, 3);
    drt_params_refresh(l.p);
    return l;
}

// |a - b| of f32 programs that sum n terms, relative to the size of such sums.
static bool near(const float *a, const float *b, int64_t n, double terms) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - b[i]) <= rounding_tolerance(DRT_F32, terms) * 4 * sqrt(terms))) return false;
    return true;
}

typedef struct {
    float y[ROWS * OUT], dx[ROWS * IN], dw[OUT * IN], db[OUT], loss;
} answers;

// y = linear(x), and the gradients for dy = dy; `ce`: of the cross-entropy over the layer instead.
static void compute(drt_device *dev, const layer *l, float *x, float *dy, bool ce, answers *out) {
    drt_error err = {0};
    int32_t label[ROWS];
    float weight[ROWS];
    drt_tape *t = drt_tape_new(dev, &err);
    check(t != NULL);
    drt_params_zero_grads(l->p);
    drt_tape_begin(t, true);
    drt_tensor *in = drt_tensor_wrap(t, drt_mat_f32(x, ROWS, IN), true), *y;
    in->leaf = false;
    for (int i = 0; i < ROWS; i++) label[i] = i % OUT, weight[i] = 1.0f / ROWS;
    if (ce) y = drt_linear_cross_entropy(t, in, &l->w->tensor, &l->b->tensor, label, weight, NULL, NULL);
    else y = drt_linear(t, in, &l->w->tensor, &l->b->tensor);
    check(y != NULL);
    if (ce) out->loss = drt_scalar(y);
    else memcpy(out->y, y->value.data, sizeof out->y);
    // The gradient of sum(y * dy) is dy: a scalar made by hand.
    bool acc;
    if (ce) drt_backward(t, y);
    else {
        drt_tensor *s = drt_tensor_new(t, 1, 1, true);
        drt_mat g = drt_grad_target(t, y, &acc);
        memcpy(g.data, dy, sizeof(float) * ROWS * OUT);
        drt_backward(t, s);
    }
    check_ok(drt_tape_failed(t, &err));
    memcpy(out->dx, in->grad.data, sizeof out->dx);
    if (l->w->tensor.needs_grad) {
        memcpy(out->dw, l->w->tensor.grad.data, sizeof out->dw);
        memcpy(out->db, l->b->tensor.grad.data, sizeof out->db);
    }
    drt_tape_free(t);
}

static drt_device *device(const char *name) {
    drt_error err = {0};
    drt_device *dev;
    check_ok(drt_device_open(&dev, name, 2, &err));
    return dev;
}

static void products_are_of_rounded_operands(void **state) {
    static answers half, exact, other;
    static float x[ROWS * IN], dy[ROWS * OUT], xr[ROWS * IN], dyr[ROWS * OUT];
    (void)state;
    numbers(x, ROWS * IN, 1), numbers(dy, ROWS * OUT, 2);
    memcpy(xr, x, sizeof x), memcpy(dyr, dy, sizeof dy);
    rounded(xr, ROWS * IN), rounded(dyr, ROWS * OUT);
    for (int d = 0; d < 2; d++) {
        drt_device *dev = device(d ? "cpu" : "ref");
        layer a = layer_new(DRT_BF16, true), b = layer_new(DRT_F32, true);
        compute(dev, &b, x, dy, false, &other);
        rounded(b.w->master.data, OUT * IN);
        compute(dev, &a, x, dy, false, &half);
        compute(dev, &b, xr, dyr, false, &exact);
        check(near(half.y, exact.y, ROWS * OUT, IN) && near(half.dx, exact.dx, ROWS * IN, OUT));
        check(near(half.dw, exact.dw, OUT * IN, ROWS));
        check(!near(other.y, exact.y, ROWS * OUT, IN) && !near(other.dx, exact.dx, ROWS * IN, OUT));
        check(!near(other.dw, exact.dw, OUT * IN, ROWS));
        // Biases take the gradient as it came.
        check(near(half.db, other.db, OUT, ROWS) && !near(half.db, exact.db, OUT, ROWS));
        drt_params_free(a.p), drt_params_free(b.p);
        drt_device_close(dev);
    }
}

// Cross-entropy: its own dy is rounded, too, so only the loss is that of f32; gradients are as near as bf16 is.
static void cross_entropy(void **state) {
    static answers half, exact;
    static float x[ROWS * IN], xr[ROWS * IN];
    (void)state;
    numbers(x, ROWS * IN, 1);
    memcpy(xr, x, sizeof x);
    rounded(xr, ROWS * IN);
    for (int d = 0; d < 2; d++) {
        drt_device *dev = device(d ? "cpu" : "ref");
        layer a = layer_new(DRT_BF16, true), b = layer_new(DRT_F32, true);
        rounded(b.w->master.data, OUT * IN);
        compute(dev, &a, x, NULL, true, &half);
        compute(dev, &b, xr, NULL, true, &exact);
        check(fabs((double)half.loss - exact.loss) <= rounding_tolerance(DRT_F32, IN) * fabs((double)exact.loss));
        double gap = 0, size = 0;
        for (int i = 0; i < OUT * IN; i++)
            gap += pow((double)half.dw[i] - exact.dw[i], 2), size += pow((double)exact.dw[i], 2);
        check(gap > 0 && sqrt(gap / size) <= rounding_tolerance(DRT_BF16, 1));
        drt_params_free(a.p), drt_params_free(b.p);
        drt_device_close(dev);
    }
}

// Three tensors of a file that are one parameter: [20 | 1 | 24 rows], each somewhere else.
static void rows_apart(void **state) {
    static const int64_t rows[3] = {20, 1, 24};
    static answers apart, together;
    static float x[ROWS * IN], dy[ROWS * OUT];
    static uint16_t file[3][OUT * IN];
    (void)state;
    numbers(x, ROWS * IN, 1), numbers(dy, ROWS * OUT, 2);
    for (int d = 0; d < 2; d++) {
        drt_error err = {0};
        drt_device *dev = device(d ? "cpu" : "ref");
        layer a = layer_new(DRT_BF16, false), b = {.p = drt_params_new()};
        b.w = drt_param_add(b.p, DRT_LANGUAGE, OUT, IN, DRT_INIT_NORMAL, 1);
        b.b = drt_param_add(b.p, DRT_LANGUAGE, 1, OUT, DRT_INIT_NORMAL, 1);
        drt_param_store(b.w, DRT_BF16, true);
        for (int64_t i = 0, at = 0; i < 3; at += rows[i++])
            drt_param_name(b.p, b.w, at, rows[i], "part", 2, (int64_t[]){rows[i], IN});
        check_ok(drt_params_allocate(b.p, NULL, &err));
        drt_params_init(b.p, DRT_LANGUAGE, 3);
        numbers(x, OUT * IN, 9);
        drt_f32_to_bf16_n(a.w->tensor.value.data, x, OUT * IN);
        for (int64_t i = 0, at = 0; i < 3; at += rows[i++]) {
            drt_f32_to_bf16_n(file[i], x + at * IN, rows[i] * IN);
            check(drt_slice_map(&b.p->slice[i], file[i]));
        }
        compute(dev, &a, x, dy, false, &together);
        compute(dev, &b, x, dy, false, &apart);
        check(near(apart.y, together.y, ROWS * OUT, IN) && near(apart.dx, together.dx, ROWS * IN, OUT));
        // A window over two of them.
        drt_tape *t = drt_tape_new(dev, &err);
        drt_tape_begin(t, false);
        drt_tensor *in = drt_tensor_wrap(t, drt_mat_f32(x, ROWS, IN), false);
        drt_tensor *y = drt_linear(t, in, drt_part(t, &b.w->tensor, 18, 10, 0, IN), NULL),
                   *want = drt_linear(t, in, drt_part(t, &a.w->tensor, 18, 10, 0, IN), NULL);
        check(y && want && near(y->value.data, want->value.data, ROWS * 10, IN));
        drt_tape_free(t);
        drt_params_free(a.p), drt_params_free(b.p);
        drt_device_close(dev);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_are_of_rounded_operands),
                                       cmocka_unit_test(cross_entropy), cmocka_unit_test(rows_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
