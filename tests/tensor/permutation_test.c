// Gradients of tensor/permutation.c and of dropout by finite differences, and what these operations promise.
#include "support/slope.h"

#include <math.h>

static const int64_t sides[] = {1, 3, 7, 16};

static drt_tensor *dropped(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    drt_tape_set_noise(t, 9);
    return drt_drop(t, 0.4f, 3, bench_copy(t, leaf[0]));
}
static drt_tensor *softened(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    return drt_soften_scores(t, c, bench_copy(t, leaf[0]));
}
static drt_tensor *plan(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    return drt_sinkhorn_plan(t, c, bench_copy(t, leaf[0]), NULL);
}
static drt_tensor *product(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_product(t, bench_copy(t, leaf[0]), bench_copy(t, leaf[1]));
}
static const int32_t target[] = {2, 0, 1, 4, 3, 6, 5};
static drt_tensor *loss(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    static const drt_sinkhorn sweeps = {3, 0, false};
    drt_permutation_terms terms;
    return drt_permutation_loss(t, drt_sinkhorn_plan(t, &sweeps, bench_copy(t, leaf[0]), NULL), NULL, target, c,
                                &terms);
}

static void slopes(void **state) {
    (void)state;
    static const drt_soften quiet = {0.7f, 0.5f, 1.5f, 15, 0}, noisy = {0.7f, 0.5f, 1.5f, 15, 4};
    static const drt_sinkhorn sweeps = {4, 0, false}, implicit = {100, 0, true};
    static const drt_permutation_terms all = {10, 1, 0.5f}, one = {0, 1, 0}, disorder = {0, 0, 1};
    for (int i = 0; i < 4; i++) {
        int64_t n = sides[i];
        slope_check(&(slope){"drop", 1, {n}, {5}, .build = dropped, .flat = true});
        slope_check(&(slope){"soften", 1, {n}, {n}, .build = softened, .context = &quiet});
        slope_check(&(slope){"soften, noise", 1, {n}, {n}, .build = softened, .context = &noisy});
        slope_check(&(slope){"plan", 1, {n}, {n}, .build = plan, .context = &sweeps, .flat = n == 1});
        slope_check(&(slope){"plan, implicit", 1, {n}, {n}, .build = plan, .context = &implicit, .flat = n == 1});
        slope_check(&(slope){"product", 2, {n, 3}, {3, 4}, .build = product});
    }
    slope_check(&(slope){"loss", 1, {7}, {7}, .build = loss, .context = &all});
    slope_check(&(slope){"loss", 1, {3}, {3}, .build = loss, .context = &one});
    slope_check(&(slope){"loss", 1, {5}, {5}, .build = loss, .context = &disorder});
}

// What the bound holds has no gradient; the noise has mean 0.577 and deviation 1.283, as Gumbel's.
static void bound_and_noise(void **state) {
    (void)state;
    enum { N = 200 };
    bench b;
    bench_open(&b, "cpu");
    drt_tensor *s = bench_leaf(&b, N, N, DRT_LANGUAGE);
    bench_ready(&b, (const bool[DRT_GROUPS]){[DRT_LANGUAGE] = true});
    drt_tape_begin(b.t, true);
    const drt_soften tight = {10, 0, 1, 3, 0}, noise = {0, 0, 1, 100, 8};
    drt_tensor *y = drt_soften_scores(b.t, &tight, s);
    drt_backward(b.t, bench_project(b.t, y, 1));
    int held = 0;
    for (int i = 0; i < N * N; i++) {
        float x = ((float *)s->value.data)[i], v = ((float *)y->value.data)[i];
        check(v == fminf(fmaxf(10 * x, -3), 3));
        check(((float *)s->grad.data)[i] != 0 || fabsf(v) == 3);
        held += fabsf(v) == 3 && ((float *)s->grad.data)[i] == 0;
    }
    check(held > N && held < N * N);
    drt_tape_begin(b.t, false);
    y = drt_soften_scores(b.t, &noise, s);
    double mean = 0, squares = 0;
    for (int i = 0; i < N * N; i++) mean += ((float *)y->value.data)[i] / (double)(N * N);
    for (int i = 0; i < N * N; i++) squares += pow(((float *)y->value.data)[i] - mean, 2) / (double)(N * N);
    assert_float_equal(mean, 0.5772, 0.02);
    assert_float_equal(sqrt(squares), 1.2825, 0.02);
    bench_close(&b);
}

// The hard plan's value is one-hot; its gradient reaches the soft one as it is.
static void straight_through(void **state) {
    (void)state;
    bench b;
    drt_error err = {0};
    bench_open(&b, "cpu");
    drt_tensor *s = bench_leaf(&b, 5, 5, DRT_LANGUAGE);
    bench_ready(&b, (const bool[DRT_GROUPS]){[DRT_LANGUAGE] = true});
    float direct[25];
    for (int way = 0; way < 2; way++) {
        drt_params_zero_grads(b.p);
        drt_tape_begin(b.t, true);
        drt_tensor *y = bench_copy(b.t, s);
        if (way) y = drt_one_hot(b.t, y, target);
        for (int i = 0; way && i < 25; i++) check(((float *)y->value.data)[i] == (float)(target[i / 5] == i % 5));
        drt_backward(b.t, bench_project(b.t, y, 2));
        if (!way) memcpy(direct, s->grad.data, sizeof direct);
    }
    assert_memory_equal(direct, s->grad.data, sizeof direct);
    drt_tape_begin(b.t, true);
    check(!drt_one_hot(b.t, s, (const int32_t[]){0, 1, 2, 5, 0}));
    check_refused(drt_tape_failed(b.t, &err), DRT_EARG, "row 3 has column 5");
    drt_tape_begin(b.t, true);
    check(!drt_product(b.t, s, drt_part(b.t, bench_copy(b.t, s), 0, 4, 0, 5)));
    check_refused(drt_tape_failed(b.t, &err), DRT_EARG, "5 x 5 by 4 x 5");
    drt_tape_begin(b.t, true);
    check(drt_drop(b.t, 0.5f, 1, s) == s); // no noise, no dropout
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(slopes), cmocka_unit_test(bound_and_noise),
                                       cmocka_unit_test(straight_through)};
    return cmocka_run_group_tests_name("permutation", tests, NULL, NULL);
}
