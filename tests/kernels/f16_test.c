// Products of numbers read as f16. Where all numbers and sums are whole and small, every one of them is exact in f16,
// so that the answer must be ref's to the last bit: at all sizes around the edges of blocks, with one, two and five
// threads. What rounding does is measured on random numbers.
#include "support/check.h"
#include "support/tolerance.h"

#include "base/half.h"
#include "base/rng.h"
#include "kernels/cpu/f16.h"

#include <stdio.h>

typedef struct {
    int64_t m, n, k;
    bool ta, tb, bias, acc;
    int pad;
} shape;

typedef struct {
    drt_mat a, b, bias, c;
    float *room[4];
    size_t bytes;
} numbers;

typedef struct {
    drt_device *ref, *cpu[3];
} devices;

static int opened(void **state) {
    static devices all;
    static const int threads[] = {1, 2, 5};
    drt_error err = {0};
    if (drt_device_open(&all.ref, "ref", 1, &err)) return -1;
    for (int i = 0; i < 3; i++)
        if (drt_device_open(&all.cpu[i], "cpu", threads[i], &err)) return -1;
    *state = &all;
    return 0;
}

static int closed(void **state) {
    devices *all = *state;
    drt_device_close(all->ref);
    for (int i = 0; i < 3; i++) drt_device_close(all->cpu[i]);
    return 0;
}

static drt_mat rows_of(float **room, int64_t rows, int64_t cols, int pad) {
    *room = calloc((size_t)(rows * (cols + pad) + 1), sizeof **room);
    assert_non_null(*room);
    return (drt_mat){*room, rows, cols, cols + pad, DRT_F32};
}

static numbers made(const shape *s) {
    numbers x = {.bytes = (size_t)(s->m * (s->n + s->pad)) * sizeof(float)};
    x.a = rows_of(&x.room[0], s->ta ? s->k : s->m, s->ta ? s->m : s->k, s->pad);
    x.b = rows_of(&x.room[1], s->tb ? s->n : s->k, s->tb ? s->k : s->n, s->pad);
    if (s->bias) x.bias = rows_of(&x.room[2], 1, s->n, 0);
    x.c = rows_of(&x.room[3], s->m, s->n, s->pad);
    x.a.type = x.b.type = DRT_AS_F16;
    return x;
}

static void released(numbers *x) {
    for (int i = 0; i < 4; i++) free(x->room[i]);
}

// Whole numbers from -most to most; what lies between rows is NaN.
static void whole(drt_mat x, int most, drt_rng *r) {
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t j = 0; j < x.ld; j++)
            drt_row(x, i)[j] = j < x.cols ? (float)((int)drt_rng_below(r, 2 * (uint64_t)most + 1) - most) : NAN;
}

static void normal(drt_mat x, drt_rng *r) {
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t j = 0; j < x.cols; j++) drt_row(x, i)[j] = (float)drt_rng_normal(r);
}

static numbers random_numbers(const shape *s, uint64_t seed) {
    numbers x = made(s);
    drt_rng r;
    drt_rng_init(&r, seed, 1);
    normal(x.a, &r), normal(x.b, &r);
    return x;
}

static void multiply(drt_device *dev, const shape *s, const numbers *x, drt_mat c) {
    dev->k->matmul(dev, s->ta, s->tb, x->a, x->b, x->bias, s->acc, c);
    if (dev->error.code) fail_msg("%s", dev->error.text);
}

// What `dev` makes of x, in a copy of c as it was; the caller frees.
static float *answer(drt_device *dev, const shape *s, const numbers *x) {
    float *y = malloc(x->bytes + 1);
    assert_non_null(y);
    memcpy(y, x->room[3], x->bytes);
    drt_mat c = x->c;
    c.data = y;
    multiply(dev, s, x, c);
    return y;
}

static void exact_at(const devices *all, const shape *s, drt_rng *r) {
    numbers x = made(s);
    // In one run of 64 terms no sum of such products is beyond 2^10.
    whole(x.a, 4, r), whole(x.b, 4, r), whole(x.c, 100, r);
    if (s->bias) whole(x.bias, 9, r);
    float *want = answer(all->ref, s, &x);
    for (int d = 0; d < 3; d++) {
        float *got = answer(all->cpu[d], s, &x);
        for (size_t i = 0; i < x.bytes / sizeof *got; i++)
            if (got[i] != want[i] && !(isnan(got[i]) && isnan(want[i])))
                fail_msg(
                    "%lldx%lldx%lld, transposed %d %d, bias %d, acc %d, pad %d, device %d: number %zu is %g, not %g",
                    (long long)s->m, (long long)s->k, (long long)s->n, s->ta, s->tb, s->bias, s->acc, s->pad, d, i,
                    (double)got[i], (double)want[i]);
        free(got);
    }
    // The comparison sees one term less, and a sum that is not added.
    shape wrong = *s;
    wrong.acc = !s->acc;
    float *other = answer(all->cpu[0], &wrong, &x);
    if (s->m * s->n > 20) assert_memory_not_equal(other, want, x.bytes);
    free(other);
    if (s->k > 1) {
        numbers less = x;
        if (s->ta) less.a.rows--;
        else less.a.cols--;
        if (s->tb) less.b.cols--;
        else less.b.rows--;
        other = answer(all->cpu[0], s, &less);
        if (s->m > 10 && s->n > 10) assert_memory_not_equal(other, want, x.bytes);
        free(other);
    }
    free(want);
    released(&x);
}

// Tiles of 12 x 64, 64 terms in f16, blocks of 256 terms, 2048 columns, 2^21 packed numbers, 256 tiles of sums.
static void whole_numbers_are_exact(void **state) {
    static const int64_t m[] = {1, 11, 12, 13, 25, 97}, n[] = {1, 15, 16, 17, 63, 64, 65, 130},
                         k[] = {1, 2, 63, 65, 257};
    static const shape large[] = {{.m = 3, .n = 2049, .k = 300},
                                  {.m = 13, .n = 70, .k = 9000},
                                  {.m = 5, .n = 2200, .k = 5000, .bias = true},
                                  {.m = 200, .n = 33, .k = 600},
                                  {.m = 1100, .n = 150, .k = 300}};
    drt_rng r;
    drt_rng_init(&r, 7, 7);
    for (int i = 0; i < 6 * 8 * 5; i++)
        for (int way = 0; way < 4; way++) {
            shape s = {m[i % 6],
                       n[i / 6 % 8],
                       k[i / 48],
                       way & 1,
                       way >> 1,
                       drt_rng_below(&r, 2),
                       drt_rng_below(&r, 2),
                       3 * (int)drt_rng_below(&r, 2)};
            exact_at(*state, &s, &r);
        }
    for (int i = 0; i < 5 * 4; i++) {
        shape s = large[i / 4];
        s.ta = i & 1, s.tb = i >> 1 & 1;
        exact_at(*state, &s, &r);
    }
}

// A row's own power of two, and that of a block of 64 columns, come out again, and cost no bit.
static void powers_of_two_come_back(void **state) {
    const devices *all = *state;
    const shape s = {.m = 40, .n = 128, .k = 300};
    drt_rng r;
    drt_rng_init(&r, 8, 8);
    numbers x = made(&s);
    whole(x.a, 4, &r), whole(x.b, 4, &r);
    float *want = answer(all->cpu[0], &s, &x);
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.k; j++) drt_row(x.a, i)[j] *= exp2f((float)(3 * i - 60));
    for (int64_t i = 0; i < s.k; i++)
        for (int64_t j = 0; j < s.n; j++) drt_row(x.b, i)[j] *= exp2f(j < 64 ? 50 : -50);
    float *got = answer(all->cpu[0], &s, &x);
    for (int64_t i = 0; i < s.m * s.n; i++)
        assert_true(got[i] == want[i] * exp2f((float)(3 * (i / s.n) - 60) + (i % s.n < 64 ? 50 : -50)));
    free(want), free(got);
    released(&x);
}

// Against sums in double of the same rounded numbers: the error is what f16.h says, and less than what reading the
// numbers as bf16 costs with sums in f32.
static void random_numbers_are_near(void **state) {
    const devices *all = *state;
    const shape s = {.m = 96, .n = 128, .k = 640};
    numbers x = random_numbers(&s, 9);
    double off[2] = {0}, most = 0, size = 0;
    float *got[2];
    for (int t = 0; t < 2; t++) {
        x.a.type = x.b.type = t ? DRT_AS_BF16 : DRT_AS_F16;
        got[t] = answer(all->cpu[0], &s, &x);
    }
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
            double y = 0;
            for (int64_t t = 0; t < s.k; t++) y += (double)drt_row(x.a, i)[t] * drt_row(x.b, t)[j];
            for (int t = 0; t < 2; t++) off[t] += (got[t][i * s.n + j] - y) * (got[t][i * s.n + j] - y);
            most = fmax(most, fabs(got[0][i * s.n + j] - y));
            size += y * y;
        }
    off[0] = sqrt(off[0] / size), off[1] = sqrt(off[1] / size);
    print_message("f16 is off by %.2e of the sums, bf16 by %.2e\n", off[0], off[1]);
    assert_true(off[0] < 1.4e-3);
    assert_true(off[0] < 0.6 * off[1]);
    assert_true(most < rounding_tolerance(DRT_F16, 64) * sqrt(640));
    assert_true(off[0] > 1e-4); // it was f16 that was measured
    free(got[0]), free(got[1]);
    released(&x);
}

// With the unit matrix the numbers come out as they are read: 11 bits, ties to even, next to larger ones of their row
// up to 2^17 times; NaN and infinity as such.
static void numbers_are_read_in_11_bits(void **state) {
    const devices *all = *state;
    const shape s = {.m = 30, .n = 64, .k = 64};
    drt_rng r;
    drt_rng_init(&r, 10, 10);
    numbers x = made(&s);
    normal(x.a, &r);
    for (int64_t i = 0; i < s.k; i++) drt_row(x.b, i)[i] = 1;
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.k; j++) {
            float *y = drt_row(x.a, i) + j;
            *y = j ? fmaxf(-1, fminf(1, *y)) * exp2f(-(float)drt_rng_below(&r, 12)) : 1.5f;
            if (fabsf(*y) < 0x1p-17f) *y = 0x1p-17f;
        }
    drt_row(x.a, 3)[5] = 1 + 0x1p-11f, drt_row(x.a, 3)[6] = 1 + 0x3p-11f, drt_row(x.a, 3)[7] = 1 + 0x1.1p-11f;
    float *got = answer(all->cpu[0], &s, &x);
    assert_true(got[3 * s.n + 5] == 1 && got[3 * s.n + 6] == 1 + 0x1p-9f && got[3 * s.n + 7] == 1 + 0x1p-10f);
    for (int64_t i = 0; i < s.m * s.n; i++) assert_true(got[i] == drt_f16_precision(drt_row(x.a, i / s.n)[i % s.n]));
    free(got);
    drt_row(x.a, 1)[2] = NAN, drt_row(x.a, 2)[9] = -INFINITY;
    got = answer(all->cpu[0], &s, &x);
    assert_true(isnan(got[s.n + 2]) && !isfinite(got[2 * s.n + 9]) && isfinite(got[3 * s.n]));
    free(got);
    released(&x);
}

// A row has the same bits alone, at another place, and with other numbers of threads. (Where f16 is read into f32
// products, oneDNN's rows may depend on their place: see dev->alone.)
static void rows_stand_alone(void **state) {
    const devices *all = *state;
    const shape s = {.m = 50, .n = 100, .k = 700}, one = {.m = 1, .n = 100, .k = 700};
    numbers x = random_numbers(&s, 11);
    float *got = answer(all->cpu[0], &s, &x);
    for (int d = 1; d < 3; d++) {
        float *again = answer(all->cpu[d], &s, &x);
        assert_memory_equal(again, got, x.bytes);
        free(again);
    }
    const char *isa = getenv("DRT_ISA");
    const bool own = drt_f16_is_fast() && !(isa && *isa);
    for (int64_t i = 0; own && i < s.m; i += 7) {
        numbers alone = x;
        alone.a = drt_mat_part(x.a, i, 1, 0, s.k);
        alone.bytes = (size_t)s.n * sizeof(float);
        alone.c.rows = 1;
        float *again = answer(all->cpu[0], &one, &alone);
        assert_memory_equal(again, got + i * s.n, alone.bytes);
        free(again);
    }
    free(got);
    released(&x);
}

// ---- attention

enum { ROWS = 370, HEADS = 2, MOST = 520, MATS = 9 };
typedef struct {
    float *at[MATS]; // q, k, v, dout, out, lse, dq, dk, dv
} attended;

static attended attend(drt_device *dev, const drt_attention *a) {
    attended x;
    drt_rng r;
    drt_rng_init(&r, 12, 12);
    drt_mat m[MATS], none = {0};
    for (int i = 0; i < MATS; i++) {
        bool keys = i == 1 || i == 2 || i > 6;
        m[i] = rows_of(&x.at[i], ROWS, i == 5 ? HEADS : (keys ? a->kv_heads : HEADS) * a->head_size, 0);
        if (i < 4) normal(m[i], &r);
    }
    dev->k->attention(dev, a, m[0], m[1], m[2], m[4], m[5], none);
    dev->k->attention_back(dev, a, m[0], m[1], m[2], m[4], m[5], none, m[3], none, false, m[6], m[7], m[8]);
    if (dev->error.code) fail_msg("%s", dev->error.text);
    return x;
}
static void forget(attended *x) {
    for (int i = 0; i < MATS; i++) free(x->at[i]);
}
static int64_t numbers_of(const drt_attention *a, int i) {
    return ROWS * (i == 5 ? HEADS : (int64_t)a->head_size * (i > 6 ? a->kv_heads : HEADS));
}

// Heads as wide as a model, two sequences of which one ends inside a block of rows: outputs and gradients are as far
// from ref's in f32 as products of f16 are, the same with any number of threads; narrow heads stay as they were.
static void attention_of_wide_heads(void **state) {
    const devices *all = *state;
    const int32_t offsets[] = {0, 300, ROWS};
    int32_t reach[ROWS];
    for (int i = 0; i < ROWS; i++) reach[i] = 1 + (i < 300 ? i : i - 300);
    for (int narrow = 0; narrow < 2; narrow++) {
        drt_attention a = {.sequences = 2,
                           .q_offsets = offsets,
                           .k_offsets = offsets,
                           .reach = reach,
                           .heads = HEADS,
                           .kv_heads = 1,
                           .head_size = narrow ? 64 : MOST};
        a.scale = 1 / sqrtf((float)a.head_size);
        attended exact = attend(narrow ? all->cpu[0] : all->ref, &a), got[3];
        a.f16 = true;
        for (int d = 0; d < 3; d++) got[d] = attend(all->cpu[d], &a);
        for (int i = 4; i < MATS; i++) {
            double off = 0, size = 0;
            for (int64_t j = 0; j < numbers_of(&a, i); j++) {
                double e = got[0].at[i][j] - exact.at[i][j];
                off += e * e, size += (double)exact.at[i][j] * exact.at[i][j];
                for (int d = 1; d < 3 && !narrow && drt_f16_is_fast() && !getenv("DRT_ISA"); d++)
                    assert_true(got[d].at[i][j] == got[0].at[i][j]);
            }
            off = sqrt(off / size);
            print_message("heads of %d, number %d: off by %.1e\n", a.head_size, i, off);
            if (narrow) assert_true(off == 0);
            else assert_true(off > 1e-6 && off < 3e-3);
        }
        forget(&exact);
        for (int d = 0; d < 3; d++) forget(&got[d]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_exact), cmocka_unit_test(powers_of_two_come_back),
        cmocka_unit_test(random_numbers_are_near), cmocka_unit_test(numbers_are_read_in_11_bits),
        cmocka_unit_test(rows_stand_alone),        cmocka_unit_test(attention_of_wide_heads),
    };
    return cmocka_run_group_tests(tests, opened, closed);
}
