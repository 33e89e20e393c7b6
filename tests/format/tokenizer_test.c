// Tokenizers: the ids, places and texts of HF tokenizers (golden files), round trips, and refusals by name.
#include "support/check.h"
#include "support/golden_tokens.h"

#include "base/file.h"
#include "base/rng.h"
#include "base/text.h"
#include "format/tokenizer.h"

#include <stdio.h>

// A byte-level tokenizer with a few merges; the parts can be replaced.
#define PRE "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define DECODER "{\"type\":\"ByteLevel\"}"
#define ADDED "[{\"id\":5,\"content\":\"<s>\",\"special\":true},{\"id\":6,\"content\":\"<image>\",\"special\":true}]"
#define VOCAB                                                                                                          \
    "{\"a\":0,\"b\":1,\"\xc4\xa0\":2,\"ab\":3,\"\xc4\xa0"                                                              \
    "ab\":4}"
#define MERGES "[\"a b\",[\"\xc4\xa0\",\"ab\"]]"

static char *json_of(const char *normalizer, const char *pre, const char *decoder, const char *added,
                     const char *model) {
    drt_text t = {0};
    drt_text_printf(&t, "{\"normalizer\":%s,\"pre_tokenizer\":%s,\"decoder\":%s,\"added_tokens\":%s,\"model\":%s}",
                    normalizer, pre, decoder, added, model);
    return t.bytes;
}

static char *bpe(const char *vocab, const char *merges, const char *more) {
    drt_text t = {0};
    drt_text_printf(&t, "{\"type\":\"BPE\",\"vocab\":%s,\"merges\":%s%s}", vocab, merges, more);
    return t.bytes;
}

static drt_status open_parts(drt_tokenizer **tok, const char *normalizer, const char *pre, const char *decoder,
                             const char *added, const char *vocab, const char *merges, const char *more,
                             drt_error *err) {
    char *model = bpe(vocab, merges, more), *json = json_of(normalizer, pre, decoder, added, model);
    drt_status status = drt_tokenizer_open_memory(tok, json, strlen(json), "t.json", err);
    free(model), free(json);
    return status;
}

static void expect_ids(const drt_tokenizer *tok, const char *text, size_t size, const int32_t *ids, int n) {
    drt_error err = {0};
    drt_token *t;
    int m;
    check_ok(drt_tokenizer_encode(tok, text, size, &t, &m, &err));
    assert_int_equal(m, n);
    for (int i = 0; i < n; i++) assert_int_equal(t[i].id, ids[i]);
    free(t);
}

static void small_example(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    drt_token *t;
    int n;
    check_ok(open_parts(&tok, "null", PRE, DECODER, ADDED, VOCAB, MERGES, "", &err));
    assert_int_equal(drt_tokenizer_size(tok), 7);
    assert_int_equal(drt_tokenizer_id(tok, "ab"), 3);
    assert_int_equal(drt_tokenizer_id(tok, "<image>"), 6);
    assert_int_equal(drt_tokenizer_id(tok, "nothing"), -1);
    assert_string_equal(drt_tokenizer_piece(tok, 4), "\xc4\xa0"
                                                     "ab");
    assert_null(drt_tokenizer_piece(tok, 7));
    assert_null(drt_tokenizer_piece(tok, -1));
    assert_true(drt_tokenizer_is_special(tok, 5));
    assert_false(drt_tokenizer_is_special(tok, 4));
    assert_int_equal(drt_tokenizer_bos(tok), 5);
    assert_int_equal(drt_tokenizer_eos(tok), -1);
    check_ok(drt_tokenizer_encode(tok, "ab ab<image>aab", 15, &t, &n, &err));
    const drt_token expect[] = {{3, 0, 2}, {4, 2, 5}, {6, 5, 12}, {0, 12, 13}, {3, 13, 15}};
    assert_int_equal(n, 5);
    assert_memory_equal(t, expect, sizeof expect);
    free(t);
    check_ok(drt_tokenizer_encode(tok, "", 0, &t, &n, &err));
    assert_int_equal(n, 0);
    assert_null(t);
    check_refused(drt_tokenizer_encode(tok, "abc", 3, &t, &n, &err), DRT_EDATA, "no piece for the byte 0x63");
    check_refused(drt_tokenizer_encode(tok, "", (size_t)2 << 30, &t, &n, &err), DRT_EARG, "2147483648 bytes");
    drt_text out = {0};
    check_ok(drt_tokenizer_decode(tok, (int32_t[]){5, 3, 6, 4}, 4, true, &out, &err));
    check_ok(drt_tokenizer_decode(tok, (int32_t[]){5, 3, 6, 4}, 4, false, &out, &err));
    assert_string_equal(out.bytes, "ab ab<s>ab<image> ab");
    check_refused(drt_tokenizer_decode(tok, (int32_t[]){7}, 1, false, &out, &err), DRT_EARG, "no piece has the id 7");
    check_refused(drt_tokenizer_decode(tok, (int32_t[]){-1}, 1, false, &out, &err), DRT_EARG, "the id -1");
    drt_text_free(&out);
    drt_tokenizer_close(tok);
    drt_tokenizer_close(NULL);
}

// Letters of bytes of letters of bytes ...: twice as many with each step.
static void letters_of_letters(void **state) {
    (void)state;
#define LETTERS "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false},"
#define FOUR LETTERS LETTERS LETTERS LETTERS
    drt_error err = {0};
    drt_tokenizer *tok;
    drt_token *t;
    int n;
    check_ok(open_parts(&tok, "null", "{\"type\":\"Sequence\",\"pretokenizers\":[" FOUR FOUR "{\"type\":\"Digits\"}]}",
                        DECODER, "[]", VOCAB, "[]", "", &err));
    check_refused(drt_tokenizer_encode(tok, "\xc3\xa9", 2, &t, &n, &err), DRT_EFORMAT,
                  "t.json: its pre_tokenizer makes more than 192 bytes of 2;");
    drt_tokenizer_close(tok);
}

static void refuse(const char *normalizer, const char *pre, const char *decoder, const char *added, const char *vocab,
                   const char *merges, const char *more, const char *part) {
    drt_error err = {0};
    drt_tokenizer *tok;
    check_refused(open_parts(&tok, normalizer, pre, decoder, added, vocab, merges, more, &err), DRT_EFORMAT, part);
    assert_null(tok);
    assert_memory_equal(err.text, "t.json: ", 8);
}

static void parts_are_refused_by_name(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    check_refused(drt_tokenizer_open_memory(&tok, "{\n\"a\":}", 7, "t.json", &err), DRT_EFORMAT,
                  "t.json: line 2, column");
    check_refused(drt_tokenizer_open_memory(&tok, "[]", 2, "t.json", &err), DRT_EFORMAT, "not a JSON object");
    check_refused(drt_tokenizer_open_memory(&tok, "{\"decoder\":" DECODER "}", 32, "t.json", &err), DRT_EFORMAT,
                  "no \"model\" object");
    check_refused(drt_tokenizer_open(&tok, "/nowhere", &err), DRT_EIO, "/nowhere: cannot open");
    char *deep = calloc(100001, 1);
    memset(deep, '[', 100000);
    check_refused(drt_tokenizer_open_memory(&tok, deep, 100000, "t.json", &err), DRT_EFORMAT, "depth");
    free(deep);
    char *json = json_of("null", PRE, DECODER, "[]", "{\"type\":\"WordPiece\"}");
    check_refused(drt_tokenizer_open_memory(&tok, json, strlen(json), "t.json", &err), DRT_EFORMAT,
                  "model \"WordPiece\" is not supported yet");
    free(json);
    refuse("{\"type\":\"Nmt\"}", PRE, DECODER, "[]", VOCAB, "[]", "", "normalizer \"Nmt\" is not supported yet");
    refuse("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{}]}", PRE, DECODER, "[]", VOCAB, "[]", "",
           "(no type)");
    refuse("{\"type\":\"Prepend\"}", PRE, DECODER, "[]", VOCAB, "[]", "", "Prepend does not say what");
    refuse("{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{}}", PRE, DECODER, "[]", VOCAB, "[]", "",
           "neither \"Regex\" nor");
    refuse("null", "{\"type\":\"UnicodeScripts\"}", DECODER, "[]", VOCAB, "[]", "", "pre_tokenizer \"UnicodeScripts\"");
    refuse("null", "{\"type\":\"Split\",\"behavior\":\"Odd\"}", DECODER, "[]", VOCAB, "[]", "",
           "unknown behavior \"Odd\"");
    refuse("null", "{\"type\":\"Split\",\"behavior\":\"Removed\",\"pattern\":{\"Regex\":\"(a\"}}", DECODER, "[]", VOCAB,
           "[]", "", "pattern \"(a\": missing closing parenthesis at byte 2");
    refuse("null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"}}", DECODER, "[]", VOCAB, "[]", "",
           "sets inside [ ]");
    refuse("null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\h\"}}", DECODER, "[]", VOCAB, "[]", "",
           "\\h in a pattern");
    refuse("null", "{\"type\":\"Split\",\"pattern\":{\"String\":\"\"}}", DECODER, "[]", VOCAB, "[]", "",
           "empty string");
}

static void model_is_checked(void **state) {
    (void)state;
    refuse("null", PRE, "null", "[]", VOCAB, "[]", "", "has no decoder");
    refuse("null", PRE, "{\"type\":\"WordPiece\"}", "[]", VOCAB, "[]", "",
           "decoder \"WordPiece\" is not supported yet");
    refuse("null", PRE, DECODER, "{}", VOCAB, "[]", "", "\"added_tokens\" is not a list");
    refuse("null", PRE, DECODER, "[{\"id\":9}]", VOCAB, "[]", "", "added_tokens[0] has no \"content\"");
    refuse("null", PRE, DECODER, "[{\"id\":0,\"content\":\"x\"}]", VOCAB, "[]", "",
           "id 0 is given twice, to 'a' and to 'x'");
    refuse("null", PRE, DECODER, "[{\"id\":9,\"content\":\"a\"}]", VOCAB, "[]", "", "'a' has two ids, 0 and 9");
    refuse("null", PRE, DECODER, "[]", "[]", "[]", "", "no \"vocab\" object");
    refuse("null", PRE, DECODER, "[]", "{\"a\":0,\"a\":1}", "[]", "", "duplicate");
    refuse("null", PRE, DECODER, "[]", "{\"a\":0,\"b\":0}", "[]", "", "id 0 is given twice, to 'a' and to 'b'");
    refuse("null", PRE, DECODER, "[]", "{\"a\":-1}", "[]", "", "id of 'a' is not a whole number from 0");
    refuse("null", PRE, DECODER, "[]", "{\"a\":4194303}", "[]", "", "the id 4194303 is far above what 1 pieces need");
    refuse("null", PRE, DECODER, "[]", "{\"a\":4194304}", "[]", "", "from 0 to 4194303");
    refuse("null", PRE, DECODER, "[]", "{\"a\":0.5}", "[]", "", "id of 'a' is not a whole number");
    refuse("null", PRE, DECODER, "[]", VOCAB, "{}", "", "no \"merges\" list");
    refuse("null", PRE, DECODER, "[]", VOCAB, "[\"a b\",\"a x\"]", "", "merges[1] needs the piece 'x'");
    refuse("null", PRE, DECODER, "[]", VOCAB, "[\"x a\"]", "", "merges[0] needs the piece 'x'");
    refuse("null", PRE, DECODER, "[]", VOCAB, "[[\"b\",\"a\"]]", "", "merges[0] needs the piece 'ba'");
    refuse("null", PRE, DECODER, "[]", VOCAB, "[\"a b c\"]", "", "merges[0] is neither \"a b\" nor");
    refuse("null", PRE, DECODER, "[]", "{\"a\":0,\"\":1}", "[\"a \"]", "", "merges[0] is neither");
    refuse("null", PRE, DECODER, "[]", VOCAB, "[[\"a\"]]", "", "merges[0] is neither");
    refuse("null", PRE, DECODER, "[]", VOCAB, "[]", ",\"byte_fallback\":true",
           "byte_fallback behind ByteLevel is supported only if");
    refuse("null", PRE, DECODER, "[]", VOCAB, "[]", ",\"dropout\":0.1", "dropout");
    refuse("null", PRE, DECODER, "[]", VOCAB, "[]", ",\"continuing_subword_prefix\":\"##\"",
           "continuing_subword_prefix \"##\"");
    refuse("null", PRE, DECODER, "[]", VOCAB, "[]", ",\"unk_token\":\"<unk>\"",
           "unk_token '<unk>' is not in the vocabulary");
}

static void text_that_is_not_utf8(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    drt_token *t;
    int n;
    // U+FFFD is EF BF BD, in letters: ï ¿ ½
    check_ok(open_parts(
        &tok, "null", PRE, DECODER, "[]",
        "{\"a\":0,\"\xc3\xaf\":1,\"\xc2\xbf\":2,\"\xc2\xbd\":3,\"\xc3\xaf\xc2\xbf\":4,\"\xc3\xaf\xc2\xbf\xc2\xbd\":5}",
        "[\"\xc3\xaf \xc2\xbf\",\"\xc3\xaf\xc2\xbf \xc2\xbd\"]", "", &err));
    check_ok(drt_tokenizer_encode(tok,
                                  "a\xff\xf0\x9f\x98"
                                  "aa\xc3",
                                  8, &t, &n, &err));
    const drt_token expect[] = {{0, 0, 1}, {5, 1, 2}, {5, 2, 5}, {0, 5, 6}, {0, 6, 7}, {5, 7, 8}};
    assert_int_equal(n, 6);
    assert_memory_equal(t, expect, sizeof expect);
    free(t);
    expect_ids(tok, "\xed\xa0\x80", 3, (int32_t[]){5, 5, 5}, 3); // a surrogate: three bytes that begin nothing
    drt_text out = {0};
    check_ok(drt_tokenizer_decode(tok, (int32_t[]){0, 1, 2, 0, 1, 1}, 6, false, &out, &err));
    assert_string_equal(out.bytes, "a\xef\xbf\xbd"
                                   "a\xef\xbf\xbd\xef\xbf\xbd");
    drt_text_free(&out);
    drt_tokenizer_close(tok);
}

static void hostile_patterns_end(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    drt_token *t;
    int n;
    check_ok(open_parts(&tok, "null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a|aa)+[bc]\"}}", DECODER, "[]",
                        VOCAB, "[]", "", &err));
    char text[2000];
    memset(text, 'a', sizeof text);
    check_refused(drt_tokenizer_encode(tok, text, sizeof text, &t, &n, &err), DRT_EDATA, "match limit");
    drt_tokenizer_close(tok);
}

// What Oniguruma and PCRE2 would read differently. A text of three characters merges to one piece unless it is cut.
static void patterns_are_onigurumas(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *between;
        bool cut;
    } cases[] = {{"\\\\s", "\xe1\xa0\x8e", false},       {"\\\\s", "\xe2\x80\x83", true},
                 {"\\\\w+", "\xcc\x81", false},          {"\\\\w+", "\xe2\x82\xac", true},
                 {"\\\\w+", "\xc2\xb2", false},          {"[\\\\w]+", "\xc2\xb2", true},
                 {"\\\\p{Han}", "\xe3\x80\x82", false},  {"\\\\p{Han}", "\xe6\x95\x8f", true},
                 {"[[:punct:]]", "\xe2\x82\xac", true},  {"[[:alpha:]]+", "\xce\xb1", false},
                 {"\\\\p{^Han}+", "\xe6\x95\x8f", true}, {"[]x]", "]", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        drt_error err = {0};
        drt_tokenizer *tok;
        char pre[300], vocab[300], merges[300], text[20];
        const char *m = cases[i].between;
        snprintf(pre, sizeof pre, "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"%s\"}}",
                 cases[i].pattern);
        snprintf(vocab, sizeof vocab, "{\"a\":0,\"b\":1,\"%s\":2,\"a%s\":3,\"a%sb\":4}", m, m, m);
        snprintf(merges, sizeof merges, "[[\"a\",\"%s\"],[\"a%s\",\"b\"]]", m, m);
        snprintf(text, sizeof text, "a%sb", m);
        check_ok(open_parts(&tok, "null", pre, DECODER, "[]", vocab, merges, "", &err));
        drt_token *t;
        int n;
        check_ok(drt_tokenizer_encode(tok, text, strlen(text), &t, &n, &err));
        if ((n > 1) != cases[i].cut) fail_msg("pattern %s: \"%s\" gives %d pieces", cases[i].pattern, text, n);
        free(t);
        drt_tokenizer_close(tok);
    }
}

static void long_words_merge_like_short_ones(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    // a^2, a^4, a^8, a^16 with ranks that make left and right compete
    check_ok(open_parts(&tok, "null", PRE, DECODER, "[]",
                        "{\"a\":0,\"aa\":1,\"aaaa\":2,\"aaaaaaaa\":3,\"b\":4,\"ab\":5}",
                        "[\"a a\",\"aa aa\",\"aaaa aaaa\",\"a b\"]", "", &err));
    char text[1000];
    int32_t ids[1000];
    memset(text, 'a', sizeof text);
    for (int size = 1; size <= 1000; size += size < 70 ? 1 : 37) {
        int n = 0, rest = size % 8;
        for (int i = 0; i < size / 8; i++) ids[n++] = 3;
        if (rest & 4) ids[n++] = 2;
        if (rest & 2) ids[n++] = 1;
        if (rest & 1) ids[n++] = 0;
        expect_ids(tok, text, (size_t)size, ids, n);
    }
    text[998] = 'b'; // 998 a's and a b: the last pair of a's comes before "a b"
    for (int i = 0; i < 124; i++) ids[i] = 3;
    ids[124] = 2, ids[125] = 1, ids[126] = 4;
    expect_ids(tok, text, 999, ids, 127);
    drt_tokenizer_close(tok);
}

static void names_beside_the_file(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    char *folder = test_folder("tokenizer"), *file = drt_path_join(folder, "tokenizer.json");
    char *config = drt_path_join(folder, "tokenizer_config.json"),
         *map = drt_path_join(folder, "special_tokens_map.json");
    char *sp = drt_path_join(folder, "tokenizer.model");
    check_refused(drt_tokenizer_open(&tok, folder, &err), DRT_EIO, "tokenizer.json: cannot open");
    assert_false(drt_tokenizer_in_folder(folder));
    check_ok(drt_file_write(sp, "x", 1, &err));
    assert_true(drt_tokenizer_in_folder(folder));
    check_refused(drt_tokenizer_open(&tok, folder, &err), DRT_EFORMAT, "tokenizer.model: byte");
    char *model = bpe(VOCAB, MERGES, ""), *json = json_of("null", PRE, DECODER, ADDED, model);
    check_ok(drt_file_write(file, json, strlen(json), &err));
    check_ok(drt_tokenizer_open(&tok, folder, &err));
    assert_int_equal(drt_tokenizer_bos(tok), 5); // a common name
    drt_tokenizer_close(tok);
    const char *c = "{\"bos_token\":null,\"eos_token\":{\"content\":\"<image>\"},\"pad_token\":\"not there\"}";
    check_ok(drt_file_write(config, c, strlen(c), &err));
    const char *m = "{\"bos_token\":\"<s>\",\"unk_token\":\"a\"}";
    check_ok(drt_file_write(map, m, strlen(m), &err));
    check_ok(drt_tokenizer_open(&tok, file, &err));
    assert_int_equal(drt_tokenizer_bos(tok), -1);
    assert_int_equal(drt_tokenizer_eos(tok), 6);
    assert_int_equal(drt_tokenizer_pad(tok), -1);
    assert_int_equal(drt_tokenizer_unk(tok), 0);
    drt_tokenizer_close(tok);
    check_ok(drt_file_write(config, "{", 1, &err));
    check_refused(drt_tokenizer_open(&tok, folder, &err), DRT_EFORMAT, "tokenizer_config.json: line 1");
    free(folder), free(file), free(config), free(map), free(sp), free(model), free(json);
}

// ---- golden files (tools/golden_tokenizer.py) ----

static void golden_gpt2(void **state) { (void)state, check_golden_tokens("gpt2", ".json"); }
static void golden_llama3(void **state) { (void)state, check_golden_tokens("llama3", ".json"); }
static void golden_qwen(void **state) { (void)state, check_golden_tokens("qwen", ".json"); }
static void golden_clip(void **state) { (void)state, check_golden_tokens("clip", ".json"); }
static void golden_added(void **state) { (void)state, check_golden_tokens("added", ".json"); }
static void golden_pieces(void **state) { (void)state, check_golden_tokens("pieces", ".json"); }
static void golden_digits(void **state) { (void)state, check_golden_tokens("digits", ".json"); }

static void byte_level_round_trip(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    drt_rng r;
    drt_rng_init(&r, 7, 0);
    check_ok(drt_tokenizer_open(&tok, "tests/golden/tokenizer/gpt2.json", &err));
    for (int round = 0; round < 2000; round++) {
        drt_text text = {0}, back = {0};
        for (int i = (int)drt_rng_below(&r, 40); i >= 0; i--) { // any code point, often a short one
            uint32_t c = (uint32_t)drt_rng_below(&r, (uint64_t[]){0x80, 0x800, 0xd800, 0x110000}[drt_rng_below(&r, 4)]);
            if (c >= 0xd800 && c < 0xe000) c = 'x';
            unsigned char b[4] = {(unsigned char)(0xf0 | c >> 18), (unsigned char)(0x80 | (c >> 12 & 63)),
                                  (unsigned char)(0x80 | (c >> 6 & 63)), (unsigned char)(0x80 | (c & 63))};
            if (c < 0x80) b[3] = (unsigned char)c;
            else if (c < 0x800) b[2] = (unsigned char)(0xc0 | c >> 6);
            else if (c < 0x10000) b[1] = (unsigned char)(0xe0 | c >> 12);
            int size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
            drt_text_add(&text, b + 4 - size, (size_t)size);
        }
        drt_token *t;
        int n;
        check_ok(drt_tokenizer_encode(tok, text.bytes, text.size, &t, &n, &err));
        for (int i = 0; i < n; i++) assert_in_range(t[i].from, i ? t[i - 1].from : 0, i ? t[i - 1].to : 0);
        int32_t *ids = malloc(((size_t)n + 1) * sizeof *ids);
        for (int i = 0; i < n; i++) ids[i] = t[i].id;
        check_ok(drt_tokenizer_decode(tok, ids, n, false, &back, &err));
        assert_int_equal(back.size, text.size);
        assert_memory_equal(back.bytes, text.bytes, text.size);
        free(ids), free(t);
        drt_text_free(&text), drt_text_free(&back);
    }
    drt_tokenizer_close(tok);
}

static void threads_share_a_tokenizer(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    int wrong = 0;
    static const char text[] = "USER: <image>\nWhat is left of the red circle? \xe6\x95\x8f\xe6\x8d\xb7 e\xcc\x81</s>";
    drt_token *one;
    int n;
    check_ok(drt_tokenizer_open(&tok, "tests/golden/tokenizer/qwen.json", &err));
    check_ok(drt_tokenizer_encode(tok, text, sizeof text - 1, &one, &n, &err));
#pragma omp parallel for num_threads(4) reduction(+ : wrong)
    for (int i = 0; i < 400; i++) {
        drt_token *t;
        int m;
        if (drt_tokenizer_encode(tok, text, sizeof text - 1, &t, &m, NULL)) wrong++;
        else {
            wrong += m != n || memcmp(t, one, (size_t)n * sizeof *t);
            free(t);
        }
    }
    assert_int_equal(wrong, 0);
    free(one);
    drt_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_example),
        cmocka_unit_test(letters_of_letters),
        cmocka_unit_test(parts_are_refused_by_name),
        cmocka_unit_test(model_is_checked),
        cmocka_unit_test(text_that_is_not_utf8),
        cmocka_unit_test(hostile_patterns_end),
        cmocka_unit_test(patterns_are_onigurumas),
        cmocka_unit_test(long_words_merge_like_short_ones),
        cmocka_unit_test(names_beside_the_file),
        cmocka_unit_test(golden_gpt2),
        cmocka_unit_test(golden_llama3),
        cmocka_unit_test(golden_qwen),
        cmocka_unit_test(golden_clip),
        cmocka_unit_test(golden_added),
        cmocka_unit_test(golden_pieces),
        cmocka_unit_test(golden_digits),
        cmocka_unit_test(byte_level_round_trip),
        cmocka_unit_test(threads_share_a_tokenizer),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
