// The BPE trainer: merges known by hand, the same bytes each time, files that the tokenizer reads back.
#include "support/check.h"

#include "base/file.h"
#include "base/text.h"
#include "format/bpe_train.h"
#include "format/tokenizer.h"

static const char *const special[] = {"<unk>", "<s>", "</s>", "<image>"};

static drt_tokenizer *train(const char *const *texts, int n, int size, const char *folder) {
    drt_error err = {0};
    drt_tokenizer *tok;
    check_ok(drt_bpe_train(texts, n, size, special, 4, folder, &err));
    check_ok(drt_tokenizer_open(&tok, folder, &err));
    return tok;
}

static void most_frequent_pair_first(void **state) {
    (void)state;
    // low 7 and lower 2 times (4 of them after a space), newest 6 and widest 3 times (all after a space)
    static const char *const texts[] = {"low low low lower newest newest newest", "low", "low newest newest widest",
                                        "low lower newest widest widest", "low"};
    char *folder = test_folder("bpe-train");
    drt_tokenizer *tok = train(texts, 5, 4 + 256 + 9, folder);
    // e-s, s-t and l-o stand 9 times each, and e comes first; then l-o before es-t, whose left side is younger; ...
    static const char *const learned[] = {
        "es", "lo", "est", "low", "ew", "new", "\xc4\xa0new", "\xc4\xa0newest", "\xc4\xa0low"};
    for (int i = 0; i < 9; i++) assert_string_equal(drt_tokenizer_piece(tok, 260 + i), learned[i]);
    assert_int_equal(drt_tokenizer_size(tok), 269);
    assert_string_equal(drt_tokenizer_piece(tok, 4), "!");
    assert_int_equal(drt_tokenizer_unk(tok), 0);
    assert_int_equal(drt_tokenizer_bos(tok), 1);
    assert_int_equal(drt_tokenizer_eos(tok), 2);
    assert_int_equal(drt_tokenizer_pad(tok), -1);
    assert_int_equal(drt_tokenizer_id(tok, "<image>"), 3);
    // The file itself says that BOS stands in front, as drt puts it there.
    int around;
    assert_true(drt_tokenizer_adds_bos(tok));
    const int32_t *before = drt_tokenizer_before(tok, &around);
    assert_int_equal(around, 1);
    assert_int_equal(before[0], 1);
    drt_tokenizer_after(tok, &around);
    assert_int_equal(around, 0);
    drt_tokenizer_close(tok);
    free(folder);
}

static void stops_when_nothing_repeats(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("bpe-small");
    drt_tokenizer *tok = train((const char *const[]){"abab xyz <s><s><s>", "\xff\xff"}, 2, 1000, folder);
    // ab twice in one word, U+FFFD twice in one word (three bytes, two merges, then the pair); nothing of "<s>"
    assert_int_equal(drt_tokenizer_id(tok, "ab"), 260);
    assert_int_equal(drt_tokenizer_id(tok, "<s"), -1);
    assert_int_equal(drt_tokenizer_size(tok), 263);
    drt_tokenizer_close(tok);
    tok = train(NULL, 0, 300, folder);
    assert_int_equal(drt_tokenizer_size(tok), 260);
    drt_tokenizer_close(tok);
    drt_tokenizer *none;
    check_ok(drt_bpe_train(NULL, 0, 256, NULL, 0, folder, &err));
    check_ok(drt_tokenizer_open(&none, folder, &err));
    assert_int_equal(drt_tokenizer_size(none), 256);
    int around;
    drt_tokenizer_before(none, &around);
    assert_int_equal(around, 0);
    assert_false(drt_tokenizer_adds_bos(none));
    drt_tokenizer_close(none);
    free(folder);
}

static char *read_all(const char *folder) {
    drt_error err = {0};
    drt_text all = {0};
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"};
    for (int i = 0; i < 3; i++) {
        char *path = drt_path_join(folder, names[i]), *text;
        check_ok(drt_file_read(&text, NULL, path, 0, &err));
        drt_text_puts(&all, text);
        free(text), free(path);
    }
    return all.bytes;
}

// The lines of train.txt, each twice; *text holds them.
static int training_lines(char **text, const char *rows[100]) {
    drt_error err = {0};
    int n = 0;
    check_ok(drt_file_read(text, NULL, "tests/golden/tokenizer/train.txt", 0, &err));
    for (char *save, *row = strtok_r(*text, "\n", &save); row; row = strtok_r(NULL, "\n", &save)) {
        assert_in_range(n, 0, 98);
        rows[n++] = row, rows[n++] = row;
    }
    return n;
}

static void learns_what_hf_learns(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("bpe-same"), *text;
    const char *rows[100];
    int n = training_lines(&text, rows), m, k;
    drt_tokenizer *ours = train(rows, n, 700, folder), *theirs;
    char *first = read_all(folder);
    check_ok(drt_tokenizer_open(&theirs, "tests/golden/tokenizer/gpt2.json", &err));
    assert_int_equal(drt_tokenizer_size(ours), 700);
    for (int i = 0; i < 700; i++) assert_string_equal(drt_tokenizer_piece(ours, i), drt_tokenizer_piece(theirs, i));
    for (int i = 0; i < n; i++) {
        drt_token *a, *b;
        check_ok(drt_tokenizer_encode(ours, rows[i], strlen(rows[i]), &a, &m, &err));
        check_ok(drt_tokenizer_encode(theirs, rows[i], strlen(rows[i]), &b, &k, &err));
        assert_int_equal(m, k);
        assert_memory_equal(a, b, (size_t)m * sizeof *a);
        free(a), free(b);
    }
    drt_tokenizer_close(ours), drt_tokenizer_close(theirs);
    drt_tokenizer_close(train(rows, n, 700, folder));
    char *second = read_all(folder);
    assert_string_equal(first, second); // the same bytes each time
    free(first), free(second), free(text), free(folder);
}

static void refuses(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("bpe-refuse");
#define TRAIN(size, ...)                                                                                               \
    drt_bpe_train(NULL, 0, size, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / 8,   \
                  folder, &err)
    check_refused(TRAIN(256, "<s>"), DRT_EARG, "256 bytes and 1 special tokens");
    check_refused(TRAIN(1 << 30, "<s>"), DRT_EARG, "at most");
    check_refused(TRAIN(300, "<s>", ""), DRT_EARG, "special token 1, '', is empty");
    check_refused(TRAIN(300, "<s>", "<s>"), DRT_EARG, "special token 1, '<s>', is given twice");
    check_refused(TRAIN(300, "a b", "a b"), DRT_EARG, "special token 1, 'a b', is given twice");
    check_refused(TRAIN(300, "a"), DRT_EARG, "special token 0, 'a', is the letter of a byte");
    check_refused(TRAIN(300, "\xff"), DRT_EARG, "is not UTF-8");
    check_refused(drt_bpe_train(NULL, 0, 300, NULL, 0, "/dev/null/x", &err), DRT_EIO, "/dev/null");
    // A special token that the merges would spell is never made by them.
    const char *const texts[] = {"abab abab abab"};
    check_ok(drt_bpe_train(texts, 1, 300,
                           (const char *const[]){"\xc4\xa0"
                                                 "abab"},
                           1, folder, &err));
    drt_tokenizer *tok;
    check_ok(drt_tokenizer_open(&tok, folder, &err));
    assert_int_equal(drt_tokenizer_id(tok, "\xc4\xa0"
                                           "abab"),
                     0);
    drt_tokenizer_close(tok);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(most_frequent_pair_first),
        cmocka_unit_test(stops_when_nothing_repeats),
        cmocka_unit_test(learns_what_hf_learns),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests_name("bpe_train", tests, NULL, NULL);
}
