// The order of samples: each once an epoch, modality purity, random access, and equality with LLaVA's rule.
#include "support/check.h"

#include "data/sampler.h"

#include <jansson.h>
#include <stdbool.h>

static json_t *golden(const char *path) {
    json_error_t why;
    json_t *j = json_load_file(path, 0, &why);
    if (!j) fail_msg("%s:%d: %s", path, why.line, why.text);
    return j;
}

static int32_t *numbers(const json_t *list) {
    size_t n = json_array_size(list);
    int32_t *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return x;
}

typedef struct {
    const json_t *permutations;
    size_t next;
} told;

static void permute_as_told(void *user, int32_t *p, int32_t n) {
    told *t = user;
    const json_t *list = json_array_get(t->permutations, t->next++);
    assert_int_equal(json_array_size(list), n); // the same number of things to permute, in the same sequence
    for (int32_t i = 0; i < n; i++) p[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
}

static void groups_as_llava_does(void **state) {
    (void)state;
    drt_error err = {0};
    json_t *cases = golden("tests/golden/data/sampler.json");
    assert_true(json_array_size(cases) >= 10);
    size_t at;
    json_t *one;
    json_array_foreach(cases, at, one) {
        const json_t *lengths = json_object_get(one, "lengths");
        int32_t n = (int32_t)json_array_size(lengths);
        int batch = (int)json_integer_value(json_object_get(one, "batch"));
        int parts = (int)json_integer_value(json_object_get(one, "parts"));
        int32_t *length = numbers(lengths), *want = numbers(json_object_get(one, "order"));
        int32_t *got = calloc((size_t)n, sizeof *got);
        told t = {.permutations = json_object_get(one, "permutations")};
        check_ok(drt_sampler_group(length, n, batch, parts, permute_as_told, &t, got, &err));
        assert_int_equal(t.next, json_array_size(t.permutations));
        for (int32_t i = 0; i < n; i++)
            if (got[i] != want[i]) fail_msg("case %zu, place %d: %d, not %d", at, i, got[i], want[i]);
        free(length), free(want), free(got);
    }
    json_decref(cases);
}

enum { N = 331 };

static void lengths_of(int32_t length[N]) {
    for (int i = 0; i < N; i++) length[i] = (i * 37 % 91 + 1) * (i % 5 < 3 ? 1 : -1);
}

static void each_sample_once_an_epoch(void **state) {
    (void)state;
    drt_error err = {0};
    int32_t length[N], index[64];
    lengths_of(length);
    for (int k = 0; k < 8; k++) {
        drt_sampler_options o = {.n = k == 7 ? 5 : N, .length = length, .group = k % 2, .batch = 1 + k,
                                 .accumulation = k % 3, .ranks = k % 4, .seed = (uint64_t)k};
        drt_sampler *s;
        check_ok(drt_sampler_new(&s, &o, &err));
        int m = drt_sampler_batch(s);
        int64_t steps = drt_sampler_steps_per_epoch(s);
        assert_int_equal(m, o.batch * (o.accumulation ? o.accumulation : 1) * (o.ranks ? o.ranks : 1));
        assert_int_equal(steps, (o.n + m - 1) / m);
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            int seen[N] = {0};
            int32_t first[N + 64];
            for (int64_t i = 0; i < steps; i++) {
                check_ok(drt_sampler_at(s, epoch * steps + i, index, &err));
                for (int j = 0; j < m; j++) {
                    int64_t place = i * m + j;
                    first[place] = index[j];
                    if (place < o.n) seen[index[j]]++;
                    else assert_int_equal(index[j], first[place - o.n]); // wraps to the start of the same order
                }
            }
            for (int i = 0; i < o.n; i++) assert_int_equal(seen[i], 1);
        }
        drt_sampler_free(s);
    }
}

static void steps_are_of_one_modality_but_the_tail(void **state) {
    (void)state;
    drt_error err = {0};
    int32_t length[N], index[16];
    lengths_of(length);
    drt_sampler_options o = {.n = N, .length = length, .group = true, .batch = 4, .accumulation = 2, .ranks = 2};
    drt_sampler *s;
    check_ok(drt_sampler_new(&s, &o, &err));
    int64_t steps = drt_sampler_steps_per_epoch(s);
    int kinds[2] = {0}, spread = 0;
    for (int64_t i = 0; i < steps - 2; i++) { // the last two: rest of images, rest of texts, wrapped samples
        check_ok(drt_sampler_at(s, i, index, &err));
        int low = 1 << 30, high = 0;
        for (int j = 0; j < 16; j++) {
            assert_int_equal(length[index[j]] > 0, length[index[0]] > 0);
            low = abs(length[index[j]]) < low ? abs(length[index[j]]) : low;
            high = abs(length[index[j]]) > high ? abs(length[index[j]]) : high;
        }
        spread = high - low > spread ? high - low : spread;
        kinds[length[index[0]] > 0]++;
    }
    assert_true(kinds[0] > 2 && kinds[1] > 2); // and both kinds do occur
    assert_true(spread > 10);                  // sorted within a step, not over the whole set
    o.group = false;                           // the check above can fail: a plain shuffle mixes
    drt_sampler_free(s);
    check_ok(drt_sampler_new(&s, &o, &err));
    int mixed = 0;
    for (int64_t i = 0; i < steps - 2; i++) {
        check_ok(drt_sampler_at(s, i, index, &err));
        for (int j = 1; j < 16; j++) mixed += (length[index[j]] > 0) != (length[index[0]] > 0);
    }
    assert_true(mixed > 0);
    drt_sampler_free(s);
}

static void any_step_at_any_time(void **state) {
    (void)state;
    drt_error err = {0};
    int32_t length[N], a[8], b[8];
    lengths_of(length);
    for (int group = 0; group < 2; group++) {
        drt_sampler_options o = {.n = N, .length = length, .group = group, .batch = 8, .seed = 42};
        drt_sampler *forward, *jumping, *other;
        check_ok(drt_sampler_new(&forward, &o, &err));
        check_ok(drt_sampler_new(&jumping, &o, &err));
        o.seed = 43;
        check_ok(drt_sampler_new(&other, &o, &err));
        int64_t steps = drt_sampler_steps_per_epoch(forward);
        int epochs_differ = 0, seeds_differ = 0;
        for (int64_t i = 0; i < 3 * steps; i++) {
            check_ok(drt_sampler_at(forward, i, a, &err));
            check_ok(drt_sampler_at(jumping, (i * 31 + 5) % (3 * steps), b, &err));
            check_ok(drt_sampler_at(jumping, i, b, &err));
            assert_memory_equal(a, b, sizeof a);
            check_ok(drt_sampler_at(other, i, b, &err));
            seeds_differ += memcmp(a, b, sizeof a) != 0;
            check_ok(drt_sampler_at(jumping, i + steps, b, &err));
            epochs_differ += memcmp(a, b, sizeof a) != 0;
        }
        assert_true(epochs_differ > 2 * steps && seeds_differ > 2 * steps);
        drt_sampler_free(forward), drt_sampler_free(jumping), drt_sampler_free(other);
    }
}

static void refuses_nonsense(void **state) {
    (void)state;
    drt_error err = {0};
    int32_t length[3] = {1, 0, -2}, index[4];
    drt_sampler *s;
    check_refused(drt_sampler_new(&s, &(drt_sampler_options){.n = 0, .batch = 4}, &err), DRT_EARG, "0 samples");
    check_refused(drt_sampler_new(&s, &(drt_sampler_options){.n = 3}, &err), DRT_EARG, "positive");
    check_refused(drt_sampler_new(&s, &(drt_sampler_options){.n = 3, .batch = 1, .group = true}, &err), DRT_EARG,
                  "needs the lengths");
    check_refused(drt_sampler_new(&s, &(drt_sampler_options){.n = 3, .batch = 1 << 20, .ranks = 1 << 20}, &err),
                  DRT_EARG, "too large");
    assert_null(s);
    drt_sampler_options o = {.n = 3, .batch = 2, .group = true, .length = length};
    check_ok(drt_sampler_new(&s, &o, &err));
    check_refused(drt_sampler_at(s, 0, index, &err), DRT_EARG, "sample 1 has length 0");
    check_refused(drt_sampler_at(s, -1, index, &err), DRT_EARG, "negative");
    drt_sampler_free(s);
    drt_sampler_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_as_llava_does),
        cmocka_unit_test(each_sample_once_an_epoch),
        cmocka_unit_test(steps_are_of_one_modality_but_the_tail),
        cmocka_unit_test(any_step_at_any_time),
        cmocka_unit_test(refuses_nonsense),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
