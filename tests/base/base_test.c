// The ground floor: errors, arenas, random numbers, growing strings, files.
#include "support/check.h"

#include "base/arena.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/text.h"

#include <sys/stat.h>
#include <unistd.h>

static void error_keeps_context(void **state) {
    (void)state;
    drt_error err = {0};
    assert_int_equal(drt_fail(&err, DRT_EFORMAT, "byte %d", 7), DRT_EFORMAT);
    assert_int_equal(drt_fail_in(&err, "%s", "a.json"), DRT_EFORMAT);
    assert_string_equal(err.text, "a.json: byte 7");
    memset(err.text, 'x', sizeof err.text - 1);
    drt_fail_in(&err, "ctx");
    assert_true(strlen(err.text) < sizeof err.text);
    assert_memory_equal(err.text, "ctx: xxx", 8);
}

static void arena_reuses_memory(void **state) {
    (void)state;
    drt_arena *a = drt_arena_new(1024);
    char *p = drt_arena_alloc(a, 100), *q = drt_arena_alloc(a, 5000);
    assert_non_null(p);
    assert_non_null(q);
    assert_int_equal((uintptr_t)q % 64, 0);
    memset(p, 1, 100), memset(q, 2, 5000);
    drt_arena_reset(a);
    char *r = drt_arena_alloc(a, 100), *s = drt_arena_alloc(a, 5000);
    assert_ptr_equal(s, r + 128); // one block now
    size_t mark = drt_arena_mark(a);
    void *t = drt_arena_alloc(a, 64);
    (void)t;
    drt_arena_release(a, mark);
    assert_int_equal(drt_arena_mark(a), mark);
    assert_null(drt_arena_array(a, INT64_MAX, 8));
    assert_null(drt_arena_array(a, -1, 8));
    drt_arena_free(a);
}

// Two arenas under one limit: what one takes the other cannot have, until it is given back.
static void arenas_share_a_limit(void **state) {
    (void)state;
    drt_arena_limit limit = {0};
    drt_arena *a[2] = {drt_arena_new(0), drt_arena_new(0)};
    for (int i = 0; i < 2; i++) {
        drt_arena_share(a[i], &limit);
        assert_true(drt_arena_reserve(a[i], 1000));
    }
    assert_int_equal(limit.held, 2048);
    limit.most = 2048 + 640;
    for (int i = 0; i < 4; i++) {
        drt_arena *x = a[i % 2], *y = a[1 - i % 2];
        assert_true(drt_arena_alloc(x, 1000) && drt_arena_alloc(x, 600)); // all of its own, all that is shared
        assert_null(drt_arena_alloc(x, 64));
        assert_non_null(drt_arena_alloc(y, 1000));
        assert_null(drt_arena_alloc(y, 1));
        assert_null(drt_arena_alloc(y, SIZE_MAX / 4));
        assert_int_equal(limit.held, limit.most);
        drt_arena_reset(x);
        assert_int_equal(limit.held, 2048);
        assert_non_null(drt_arena_alloc(y, 640));
        drt_arena_reset(y);
    }
    drt_arena_free(a[0]);
    assert_int_equal(limit.held, 1024);
    drt_arena_free(a[1]);
    assert_int_equal(limit.held, 0);
}

// A block of a planned size and no more; and one of addresses alone, larger than memory.
static void arena_is_planned(void **state) {
    (void)state;
    const size_t large = (size_t)1 << 38;
    drt_arena_limit limit = {.most = 1024};
    drt_arena *a = drt_arena_new(0), *dry = drt_arena_new_dry();
    assert_true(a && dry);
    drt_arena_share(a, &limit);
    assert_true(drt_arena_reserve(a, 1000));
    assert_int_equal(drt_arena_spare(a), 1024);
    for (int i = 0; i < 2; i++, drt_arena_reset(a)) {
        assert_non_null(drt_arena_alloc(a, 1000));
        assert_int_equal(drt_arena_spare(a), 0);
        assert_null(drt_arena_alloc(a, 1));
    }
    for (int i = 0; i < 2; i++, drt_arena_reset(dry)) {
        char *x = drt_arena_alloc(dry, large);
        assert_non_null(x);
        assert_true(!x[0] && !x[5] && !x[large - 1]);
        assert_int_equal(drt_arena_peak(dry), large);
        x[5] = 1; // forgotten by the reset
    }
    drt_arena_free(a), drt_arena_free(dry);
}

static void rng_is_pinned(void **state) {
    (void)state;
    drt_rng r, again;
    drt_rng_init(&r, 42, 0);
    drt_rng_init(&again, 42, 1);
    assert_true(drt_rng_next(&r) != drt_rng_next(&again));
    int seen[5] = {0};
    double sum = 0, squares = 0;
    for (int i = 0; i < 50000; i++) {
        seen[drt_rng_below(&r, 5)]++;
        double x = drt_rng_normal(&r);
        sum += x, squares += x * x;
    }
    // 5 standard deviations of the binomial, of the mean and of the mean square
    for (int i = 0; i < 5; i++) assert_in_range(seen[i], 10000 - 450, 10000 + 450);
    assert_true(sum / 50000 < 0.0224 && sum / 50000 > -0.0224);
    assert_true(squares / 50000 < 1.032 && squares / 50000 > 0.968);
    int32_t x[100], count[100] = {0};
    for (int i = 0; i < 100; i++) x[i] = i;
    drt_rng_shuffle(&r, x, 100);
    for (int i = 0; i < 100; i++) count[x[i]]++;
    for (int i = 0; i < 100; i++) assert_int_equal(count[i], 1);
}

static void digests_tell_bytes_apart(void **state) {
    (void)state;
    unsigned char bytes[150];
    for (int i = 0; i < 150; i++) bytes[i] = (unsigned char)(i * i);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        uint64_t whole = drt_digest_of(bytes, n);
        for (size_t cut = 0; cut <= n; cut += 7) {
            drt_digest d;
            drt_digest_begin(&d);
            drt_digest_add(&d, bytes, cut);
            drt_digest_add(&d, bytes + cut, n - cut);
            assert_true(drt_digest_end(&d) == whole);
        }
        for (size_t bit = 0; bit < 8 * n; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            if (drt_digest_of(bytes, n) == whole) fail_msg("bit %zu of %zu bytes is not in the digest", bit, n);
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        if (n) assert_true(drt_digest_of(bytes, n - 1) != whole);
    }
    static const unsigned char zeros[64];
    // Files hold digests: a change of these numbers makes every index and list of before stale.
    assert_true(drt_digest_of("", 0) == 0xf9dd17d03b56409a && drt_digest_of(bytes, sizeof bytes) == 0xdb2a2394226e0697);
    assert_true(drt_digest_of(zeros, 31) != drt_digest_of(zeros, 32) && drt_digest_of(zeros, 0) != 0);
}

static void text_escapes(void **state) {
    (void)state;
    drt_text t = {0};
    drt_text_json(&t, "a\"b\\\n\x01");
    assert_string_equal(t.bytes, "\"a\\\"b\\\\\\n\\u0001\"");
    drt_text_free(&t);
    // A message that was cut inside a character still makes a line that JSON readers take.
    drt_text_json(&t, "\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80 \xE4\xB8");
    assert_string_equal(t.bytes, "\"\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80 \xEF\xBF\xBD\xEF\xBF\xBD\"");
    drt_text_free(&t);
    static const char *const wrong[] = {"\x80", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(drt_is_utf8(wrong[i]));
    assert_true(drt_is_utf8("a\xC3\xA9\xED\x9F\xBF\xF4\x8F\xBF\xBF"));
    drt_text_plain(&t, "a\n\x1b[2J\xC2\x9B \xC2\xA0\x7f");
    assert_string_equal(t.bytes, "a\xE2\x86\xB5\xC2\xB7[2J\xC2\xB7 \xC2\xA0\xC2\xB7");
    drt_text_free(&t);
    drt_text_html(&t, "<a&b>");
    assert_string_equal(t.bytes, "&lt;a&amp;b&gt;");
    drt_text_free(&t);
    drt_text_base64(&t, "Many", 4);
    assert_string_equal(t.bytes, "TWFueQ==");
    drt_text_free(&t);
    static const char *const keys[] = {"lr", "batch", "warmup"};
    assert_string_equal(drt_nearest("btach", keys, 3), "batch");
    assert_string_equal(drt_nearest("w", keys, 3), "warmup");
    assert_null(drt_nearest("zzzzzzzz", keys, 3));
    assert_int_equal(drt_edit_distance("ab", "ba"), 1);
}

static void writer_is_all_or_nothing(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("writer"), *path = drt_path_join(folder, "f"), *read = NULL;
    size_t n = 0;
    check_ok(drt_file_write(path, "old", 3, &err));
    drt_writer w;
    check_ok(drt_writer_open(&w, path, &err));
    drt_writer_put(&w, "newer", 5);
    drt_writer_abandon(&w);
    check_ok(drt_file_read(&read, &n, path, 0, &err));
    assert_string_equal(read, "old");
    free(read);
    check_refused(drt_file_read(&read, &n, path, 2, &err), DRT_EFORMAT, "3 bytes");
    check_refused(drt_file_read(&read, &n, folder, 0, &err), DRT_EIO, "not a regular file");
    char *pipe = drt_path_join(folder, "pipe"); // nobody writes into it: not waited for
    assert_int_equal(mkfifo(pipe, 0600), 0);
    check_refused(drt_file_read(&read, &n, pipe, 0, &err), DRT_EIO, "not a regular file");
    check_refused(drt_file_write("/dev/full/x", "a", 1, &err), DRT_EIO, "/dev/full/x");
    drt_map map;
    check_ok(drt_map_open(&map, path, &err));
    assert_memory_equal(map.bytes, "old", 3);
    drt_map_close(&map);
    check_ok(drt_remove_tree(folder, &err));
    assert_false(drt_is_folder(folder));
    free(path), free(pipe), free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_keeps_context),  cmocka_unit_test(arena_reuses_memory),
        cmocka_unit_test(arenas_share_a_limit), cmocka_unit_test(arena_is_planned),
        cmocka_unit_test(rng_is_pinned),        cmocka_unit_test(digests_tell_bytes_apart),
        cmocka_unit_test(text_escapes),         cmocka_unit_test(writer_is_all_or_nothing),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
