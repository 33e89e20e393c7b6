// Student's t, intervals and Holm's correction against values computed from their definitions (golden_statistics.py).
#include "support/check.h"

#include "eval/statistics.h"

#include <jansson.h>
#include <math.h>

static json_t *golden(const char *name) {
    static json_t *root;
    json_error_t fault;
    if (!root) root = json_load_file("tests/golden/statistics/statistics.json", 0, &fault);
    json_t *list = json_object_get(root, name);
    assert_true(json_array_size(list) > 0);
    return list;
}

static double number(json_t *list, size_t i) { return json_number_value(json_array_get(list, i)); }

// The distribution is a sum of at most 15 terms of four operations each (30 degrees of freedom) below 1: so many
// roundings of `scale`, the size of what is rounded or, where the number is computed from the distribution, of what a
// rounding there does to it.
static void near(double a, double b, double scale) {
    if (!(fabs(a - b) <= 64 * 0x1p-52 * scale)) fail_msg("%.17g is not %.17g", a, b);
}

// Student's density: how much of the distribution lies beside t.
static double density(double t, int freedom) {
    const double v = freedom, half_turn = 3.14159265358979323846;
    return exp(lgamma((v + 1) / 2) - lgamma(v / 2)) / sqrt(v * half_turn) * pow(1 + t * t / v, -(v + 1) / 2);
}

static void student(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach(golden("tail"), i, row) {
        near(drt_student_tail(number(row, 0), (int)number(row, 1)), number(row, 2), 1);
        near(drt_student_tail(-number(row, 0), (int)number(row, 1)), number(row, 2), 1);
    }
    json_array_foreach(golden("quantile"), i, row) {
        double q = number(row, 2); // found where the distribution, both tails of it, has the level
        near(drt_student_quantile(number(row, 0), (int)number(row, 1)), q, q + 0.5 / density(q, (int)number(row, 1)));
    }
}

static void intervals(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach(golden("interval"), i, row) {
        json_t *values = json_object_get(row, "values");
        double x[16] = {NAN}, largest = 0;
        int n = (int)json_array_size(values);
        for (int k = 0; k < n; k++) x[1 + k] = number(values, (size_t)k), largest = fmax(largest, fabs(x[1 + k]));
        drt_interval r = drt_interval_of(x, n + 1); // one NaN is left out
        double mean = json_number_value(json_object_get(row, "mean")),
               half = json_number_value(json_object_get(row, "half"));
        assert_int_equal(r.n, n);
        // Roundings of the largest value move the deviation by as much, and t by that over its error.
        double q = drt_student_quantile(0.95, n - 1), error = half / q, t = mean / error;
        near(r.mean, mean, largest);
        near(r.half, half, q * largest + error * (q + 0.5 / density(q, n - 1)));
        near(r.p, json_number_value(json_object_get(row, "p")),
             1 + 2 * density(t, n - 1) * (1 + fabs(t)) * largest / error);
    }
    drt_interval one = drt_interval_of((double[]){3}, 1), none = drt_interval_of(NULL, 0);
    assert_true(one.mean == 3 && isnan(one.half) && isnan(one.p));
    assert_true(isnan(none.mean) && none.n == 0);
    // 0.3 - 0.2 and 0.4 - 0.3 are alike but for rounding
    drt_interval same = drt_interval_of((double[]){0.3 - 0.2, 0.4 - 0.3}, 2),
                 zero = drt_interval_of((double[]){0, 0}, 2);
    assert_true(isnan(same.half) && same.p == 1 && isnan(zero.half) && zero.p == 1);
}

static void holm(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach(golden("holm"), i, row) {
        json_t *p = json_object_get(row, "p"), *corrected = json_object_get(row, "corrected");
        double x[16];
        int n = (int)json_array_size(p);
        for (int k = 0; k < n; k++) x[k + (k > 0)] = number(p, (size_t)k); // a NaN among them counts for nothing
        x[1] = NAN;
        assert_int_equal(drt_holm(x, n + 1), n);
        assert_true(isnan(x[1]));
        for (int k = 0; k < n; k++) near(x[k + (k > 0)], number(corrected, (size_t)k), 1);
    }
    double certain[] = {0, 0, 1};
    drt_holm(certain, 3);
    assert_true(certain[0] == 0 && certain[1] == 0 && certain[2] == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(student), cmocka_unit_test(intervals), cmocka_unit_test(holm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
