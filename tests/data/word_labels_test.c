// Word lists and files of labels: what was written is read, and everything else is refused.
#include "support/check.h"

#include "base/half.h"
#include "base/rng.h"
#include "base/text.h"
#include "data/word_labels.h"

#include <math.h>
#include <stdio.h>

static char *folder;

static char *write_list(const char *text, size_t size) {
    drt_error err = {0};
    char *path = drt_path_join(folder, "words.txt");
    check_ok(drt_file_write(path, text, size, &err));
    return path;
}

// ---- lists ---------------------------------------------------------------------------------------------------------

static void lists_are_streamed(void **state) {
    static const char text[] = "red\r\n  light blue \nring\n\xc3\xa9toile";
    static const char *const want[] = {"red", "light blue", "ring", "\xc3\xa9toile"};
    (void)state;
    drt_error err = {0};
    drt_word_list l;
    char *path = write_list(text, sizeof text - 1);
    check_ok(drt_word_list_open(&l, path, &err));
    check(l.words == 4 && l.bytes == 3 + 10 + 4 + 7);
    for (int round = 0; round < 2; round++) {
        const char *word;
        size_t size;
        uint64_t hash = 0;
        for (int i = 0; i < 4; i++) {
            check_ok(drt_word_list_next(&l, &word, &size, &err));
            check(size == strlen(want[i]) && !memcmp(word, want[i], size));
            hash = drt_word_chain(hash, word, size);
        }
        check_ok(drt_word_list_next(&l, &word, &size, &err));
        check(!word && hash == l.hash);
        drt_word_list_rewind(&l);
    }
    drt_word_list_close(&l);
    free(path);
}

static void bad_lists(void **state) {
    char longest[DRT_WORD_LINE + 1];
    memset(longest, 'a', sizeof longest);
    const struct {
        const char *text;
        size_t size;
        const char *part;
    } cases[] = {
        {"", 0, "no words"},
        {"red\n\nblue\n", 10, "words.txt:2: an empty line"},
        {"red\n \t\n", 7, "words.txt:2: an empty line"},
        {"red\nblue\nred\n", 13, "words.txt:3: 'red' stands in line 1 already"},
        {"red\nblue\n blue \n", 16, "words.txt:3: 'blue' stands in line 2"},
        {"a\nb\0c\n", 6, "words.txt:2: the word has a NUL"},
        {longest, DRT_WORD_SIZE + 1, "words.txt:1: 256 bytes, a word has at most 255"},
        {longest, DRT_WORD_LINE, "words.txt:1: 1024 bytes, a word has at most 255"},
        {longest, DRT_WORD_LINE + 1, "words.txt:1: more than 1024 bytes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        drt_error err = {0};
        drt_word_list l;
        char *path = write_list(cases[i].text, cases[i].size);
        check_refused(drt_word_list_open(&l, path, &err), DRT_EDATA, cases[i].part);
        check(!l.file && !l.path);
        free(path);
    }
    drt_error err = {0};
    drt_word_list l;
    check_refused(drt_word_list_open(&l, "no/such/file", &err), DRT_EIO, "cannot open");
    check_refused(drt_word_list_open(&l, folder, &err), DRT_EIO, "directory");
    check_refused(drt_word_list_open(&l, "/dev/zero", &err), DRT_EDATA, "more than 1024 bytes"); // never ends
}

// More words than are compared at a time: two alike are found wherever they stand.
static void long_lists(void **state) {
    enum { N = 700000 };
    (void)state;
    drt_error err = {0};
    drt_word_list l;
    char *text = malloc((size_t)N * 9), *at = text;
    for (int i = 0; i < N; i++) at += sprintf(at, "w%06d\n", i);
    char *path = write_list(text, (size_t)(at - text));
    check_ok(drt_word_list_open(&l, path, &err));
    check(l.words == N);
    drt_word_list_close(&l);
    memcpy(text + 8 * 699999, "w000123\n", 8);
    free(path);
    path = write_list(text, (size_t)(at - text));
    check_refused(drt_word_list_open(&l, path, &err), DRT_EDATA, ":700000: 'w000123' stands in line 124 already");
    free(path), free(text);
}

// ---- files ---------------------------------------------------------------------------------------------------------

enum { SIDE = 3, MOST = 4, EACH = SIDE * SIDE * MOST, PICTURES = 3 };

static void fill(int picture, int64_t words, int32_t *word, float *score) {
    drt_rng r;
    drt_rng_init(&r, 7, (uint64_t)picture);
    for (int p = 0; p < SIDE * SIDE; p++) {
        int n = (int)drt_rng_below(&r, MOST + 1);
        float s = 1;
        for (int k = 0; k < MOST; k++) {
            s *= (float)drt_rng_uniform(&r) * 0.5f + 0.5f;
            word[p * MOST + k] = k < n ? (int32_t)drt_rng_below(&r, (uint64_t)words) : 0;
            score[p * MOST + k] = k < n ? s : 0;
        }
    }
}

// Writes a file of so many words; the bytes are malloc'ed.
static char *make(int64_t words, size_t *size) {
    static const uint64_t keys[PICTURES] = {5, 900, UINT64_MAX};
    drt_error err = {0};
    drt_word_list l;
    drt_text text = {0};
    for (int64_t i = 0; i < words; i++) drt_text_printf(&text, "word%lld\n", (long long)i);
    char *list = write_list(text.bytes, text.size), *path = drt_path_join(folder, "labels.sea"), *bytes;
    drt_text_free(&text);
    check_ok(drt_word_list_open(&l, list, &err));
    const drt_word_labels_about about = {
        .side = SIDE, .most = MOST, .negated = true, .pictures = PICTURES, .tower = {0.5f, -1, 2, 0, 1, 1, 1, 3}};
    drt_word_labels_writer w;
    check_ok(drt_word_labels_create(&w, path, &about, &l, keys, &err));
    for (int i = 0; i < PICTURES; i++) {
        int32_t word[EACH];
        float score[EACH];
        fill(i, words, word, score);
        drt_word_labels_put(&w, word, score);
    }
    check_ok(drt_word_labels_commit(&w, &err));
    check_ok(drt_file_read(&bytes, size, path, 0, &err));
    drt_word_list_close(&l);
    free(list), free(path);
    return bytes;
}

static void as_written(void **state) {
    static const int64_t many[] = {1, 40, 65536, 65537};
    (void)state;
    for (int c = 0; c < 4; c++) {
        drt_error err = {0};
        drt_word_labels *l;
        size_t size;
        char *bytes = make(many[c], &size), want[32];
        check_ok(drt_word_labels_open_memory(&l, bytes, size, "x", &err));
        const drt_word_labels_about *a = drt_word_labels_tell(l);
        check(a->side == SIDE && a->most == MOST && a->negated && !a->padded && a->words == many[c]);
        check(a->pictures == PICTURES && a->tower[0] == 0.5f && a->tower[7] == 3);
        for (int64_t i = 0; i < many[c]; i += i < many[c] - 50 ? 49 : 1) {
            size_t n;
            const char *word = drt_word_labels_word(l, i, &n);
            snprintf(want, sizeof want, "word%lld", (long long)i);
            check(n == strlen(want) && !memcmp(word, want, n));
        }
        check(drt_word_labels_find(l, 5) == 0 && drt_word_labels_find(l, 900) == 1);
        check(drt_word_labels_find(l, UINT64_MAX) == 2);
        check(drt_word_labels_find(l, 0) < 0 && drt_word_labels_find(l, 6) < 0 && drt_word_labels_find(l, 901) < 0);
        for (int i = 0; i < PICTURES; i++) {
            int32_t word[EACH], put[EACH];
            float score[EACH], given[EACH];
            fill(i, many[c], put, given);
            check_ok(drt_word_labels_read(l, i, word, score, &err));
            check(!memcmp(word, put, sizeof put));
            for (int k = 0; k < EACH; k++) check(score[k] == drt_f16_to_f32(drt_f32_to_f16(given[k])));
        }
        drt_word_labels_close(l);
        free(bytes);
    }
}

// Opens a copy of exactly these bytes and reads every picture.
static drt_status try(const char *bytes, size_t size, drt_error *err) {
    char *exact = malloc(size + !size);
    drt_word_labels *l;
    if (size) memcpy(exact, bytes, size);
    drt_status status = drt_word_labels_open_memory(&l, exact, size, "labels.sea", err);
    for (int i = 0; !status && i < PICTURES; i++) {
        int32_t word[EACH];
        float score[EACH];
        status = drt_word_labels_read(l, i, word, score, err);
    }
    drt_word_labels_close(l);
    free(exact);
    return status;
}

static void damage_is_refused(void **state) {
    (void)state;
    drt_error err = {0};
    size_t size;
    char *bytes = make(40, &size);
    check_ok(try(bytes, size, &err));
    // Cut anywhere, or one byte more.
    for (size_t n = 0; n < size; n++) check(try(bytes, n, &err) == DRT_EFORMAT && strstr(err.text, "drt sea-labels"));
    check_refused(try(bytes, size - 8, &err), DRT_EFORMAT, "cut off");
    char *more = calloc(1, size + 1);
    memcpy(more, bytes, size);
    check_refused(try(more, size + 1, &err), DRT_EFORMAT, "too long");
    free(more);
    // Any bit turned, but in the zeros between parts.
    size_t words = 104 + 40 * 8, text = 0;
    drt_word_labels *l;
    check_ok(drt_word_labels_open_memory(&l, bytes, size, "x", &err));
    for (int64_t i = 0; i < 40; i++) {
        size_t n;
        drt_word_labels_word(l, i, &n);
        text += n;
    }
    drt_word_labels_close(l);
    for (size_t i = 0; i < size; i++) {
        if (i >= words + text && i < words + (text + 7) / 8 * 8) continue;
        bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
        if (try(bytes, size, &err) != DRT_EFORMAT) fail_msg("byte %zu changed: not seen", i);
        bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
    }
    bytes[8] = 2; // another version is named as such
    check_refused(try(bytes, size, &err), DRT_EFORMAT, "version 2 of the format, this drt reads 1");
    free(bytes);
}

// Half a file is no file: nothing stands at the path until it is whole.
static void whole_or_absent(void **state) {
    static const uint64_t key = 1;
    (void)state;
    drt_error err = {0};
    drt_word_list l;
    char *list = write_list("a\nb\n", 4), *path = drt_path_join(folder, "absent.sea");
    check_ok(drt_word_list_open(&l, list, &err));
    const drt_word_labels_about about = {.side = 1, .most = 1, .pictures = 1};
    drt_word_labels_writer w;
    check_ok(drt_word_labels_create(&w, path, &about, &l, &key, &err));
    check(!drt_file_exists(path));
    drt_word_labels_abandon(&w);
    check(!drt_file_exists(path));
    // The list is read again for the file: it must still be the same.
    FILE *f = fopen(list, "ab");
    check(f && fputs("c\n", f) >= 0 && !fclose(f));
    check_refused(drt_word_labels_create(&w, path, &about, &l, &key, &err), DRT_EIO, "was changed while it was read");
    check(!drt_file_exists(path));
    drt_word_list_close(&l);
    free(list), free(path);
}

static int begin(void **state) {
    (void)state;
    folder = test_folder("word-labels");
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_streamed), cmocka_unit_test(bad_lists),         cmocka_unit_test(long_lists),
        cmocka_unit_test(as_written),         cmocka_unit_test(damage_is_refused), cmocka_unit_test(whole_or_absent),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
