// Tokenizers that know pieces of text: BPE with byte fallback, Unigram, SentencePiece's tokenizer.model.
#include "support/check.h"
#include "support/golden_tokens.h"

#include "base/file.h"
#include "base/text.h"
#include "format/tokenizer.h"

#include <stdio.h>
#include <time.h>

#define MARK "\xe2\x96\x81"

static void golden_llama(void **state) { (void)state, check_golden_tokens("llama", ".json"); }
static void golden_llama_first(void **state) { (void)state, check_golden_tokens("llama-first", ".json"); }
static void golden_phi3(void **state) { (void)state, check_golden_tokens("phi3", ".json"); }
static void golden_gemma(void **state) { (void)state, check_golden_tokens("gemma", ".json"); }
static void golden_metaspace(void **state) { (void)state, check_golden_tokens("metaspace", ".json"); }
static void golden_siglip(void **state) { (void)state, check_golden_tokens("siglip", ".json"); }
static void golden_unigram_bytes(void **state) { (void)state, check_golden_tokens("unigram-bytes", ".json"); }
static void golden_spm_llama(void **state) { (void)state, check_golden_tokens("spm-llama", ".model"); }
static void golden_spm_gemma(void **state) { (void)state, check_golden_tokens("spm-gemma", ".model"); }
static void golden_spm_bpe(void **state) { (void)state, check_golden_tokens("spm-bpe", ".model"); }
static void golden_spm_unigram(void **state) { (void)state, check_golden_tokens("spm-unigram", ".model"); }
static void golden_spm_siglip(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    int before, after;
    check_golden_tokens("spm-siglip", "");
    check_ok(drt_tokenizer_open(&tok, "tests/golden/tokenizer/spm-siglip", &err));
    drt_tokenizer_before(tok, &before);
    check(drt_tokenizer_after(tok, &after)[0] == 1 && after == 1 && before == 0 && !drt_tokenizer_adds_bos(tok));
    drt_tokenizer_close(tok);
}
static void golden_spm_unigram_bytes(void **state) { (void)state, check_golden_tokens("spm-unigram-bytes", ".model"); }

// ---- parts of tokenizer.json ----

static drt_status open_json(drt_tokenizer **tok, const char *normalizer, const char *pre, const char *decoder,
                            const char *post, const char *model, drt_error *err) {
    drt_text t = {0};
    drt_text_printf(&t, "{\"normalizer\":%s,\"pre_tokenizer\":%s,\"decoder\":%s,\"post_processor\":%s,\"model\":%s}",
                    normalizer, pre, decoder, post, model);
    drt_status status = drt_tokenizer_open_memory(tok, t.bytes, t.size, "t.json", err);
    drt_text_free(&t);
    return status;
}

#define UNIGRAM "{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"" MARK "a\",-2.5]]}"
#define METASPACE "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\"}"
#define SEQUENCE(parts) "{\"type\":\"Sequence\",\"decoders\":[" parts "]}"
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" MARK "\"},\"content\":\" \"}"
#define FALLBACK "{\"type\":\"ByteFallback\"}"
#define FUSE "{\"type\":\"Fuse\"}"

static void refuse(const char *normalizer, const char *pre, const char *decoder, const char *post, const char *model,
                   const char *part) {
    drt_error err = {0};
    drt_tokenizer *tok;
    check_refused(open_json(&tok, normalizer, pre, decoder, post, model, &err), DRT_EFORMAT, part);
    assert_null(tok);
    assert_memory_equal(err.text, "t.json: ", 8);
}

static void parts_are_refused_by_name(void **state) {
    (void)state;
    static const char *const decoders[][2] = {
        {SEQUENCE(FUSE "," REPLACE), "decoder \"Replace\" at this place"},
        {SEQUENCE(FALLBACK "," FALLBACK), "decoder \"ByteFallback\" at this place"},
        {SEQUENCE(REPLACE "," METASPACE), "decoder \"Metaspace\" at this place"},
        {SEQUENCE(REPLACE ",{\"type\":\"ByteLevel\"}"), "decoder \"ByteLevel\" at this place"},
        {SEQUENCE(FUSE ",{\"type\":\"Strip\",\"content\":\" \",\"start\":0,\"stop\":1}"), "stop above 0"},
        {"{\"type\":\"Strip\",\"content\":\"ab\",\"start\":0,\"stop\":1}", "Strip does not name one character"},
        {"{\"type\":\"Strip\",\"content\":\"a\",\"start\":-1,\"stop\":1}", "not from 0 to 1000"},
        {"{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}", "Replace does not say what"},
        {"{\"type\":\"Metaspace\"}", "Metaspace does not name one character"},
        {"{\"type\":\"CTC\"}", "decoder \"CTC\" is not supported yet"},
        {"null", "has no decoder"}};
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++)
        refuse("null", METASPACE, decoders[i][0], "null", UNIGRAM, decoders[i][1]);
    refuse("{\"type\":\"Precompiled\"}", "null", METASPACE, "null", UNIGRAM, "no precompiled_charsmap");
    refuse("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}", "null", METASPACE, "null", UNIGRAM, "is empty");
    refuse("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"a?aa\"}", "null", METASPACE, "null", UNIGRAM,
           "byte 1 is not base64");
    refuse("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}", "null", METASPACE, "null", UNIGRAM,
           "4 bytes that say they begin with 4294967295 bytes of a table");
    refuse("null", "{\"type\":\"Metaspace\",\"replacement\":\"ab_de\"}", METASPACE, "null", UNIGRAM,
           "not one character");
    refuse("null", "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"odd\"}", METASPACE, "null",
           UNIGRAM, "not always, first or never");
    refuse("null",
           "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\",\"add_prefix_space\":false}",
           METASPACE, "null", UNIGRAM, "contradicts");
}

static void models_are_checked(void **state) {
    (void)state;
    static const char *const models[][2] = {
        {"{\"type\":\"WordLevel\"}", "model \"WordLevel\" is not supported yet"},
        {"{\"type\":\"Unigram\",\"vocab\":{}}", "no \"vocab\" list"},
        {"{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}", "vocab[0] is not [\"piece\", score]"},
        {"{\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"a\",0]]}", "'a' has two ids, 0 and 1"},
        {"{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}", "unk_id is not the number of a piece"},
        {"{\"type\":\"Unigram\",\"vocab\":[[\"<0x41>\",0]],\"byte_fallback\":true}", "<0x00> is missing"},
        {"{\"type\":\"BPE\",\"vocab\":{\"<0x41>\":0},\"merges\":[],\"byte_fallback\":true}", "<0x00> is missing"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"u\":1,\"ua\":2},\"merges\":[\"u a\"],\"unk_token\":\"u\"}",
         "joins a byte or unknown piece"},
        {"{\"type\":\"BPE\",\"vocab\":{},\"merges\":[],\"byte_fallback\":true,\"end_of_word_suffix\":\"x\"}",
         "together with an end_of_word_suffix"}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        refuse("null", "null", METASPACE, "null", models[i][0], models[i][1]);
    refuse("null", "{\"type\":\"ByteLevel\"}", METASPACE, "null", UNIGRAM,
           "Unigram behind the pre_tokenizer ByteLevel");
    drt_text long_piece = {0};
    drt_text_puts(&long_piece, "{\"type\":\"Unigram\",\"vocab\":[[\"");
    for (int i = 0; i < 70000; i++) drt_text_puts(&long_piece, "a");
    drt_text_puts(&long_piece, "\",0]]}");
    refuse("null", "null", METASPACE, "null", long_piece.bytes, "id 0 has 70000 bytes, more than 65536");
    drt_text_free(&long_piece);
}

// A few bytes that ask for more memory than there is: refused at the step that goes too far, what stays below is read.
static void bombs(void **state) {
    (void)state;
#define TEN "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaa\"}"
    drt_error err = {0};
    drt_tokenizer *tok;
    drt_token *t;
    drt_text out = {0};
    int n;
    refuse("null", METASPACE, SEQUENCE(TEN "," TEN "," TEN "," FUSE), "null", UNIGRAM,
           "its decoder makes more than 128 bytes of 1;");
    check_ok(open_json(&tok, "null", METASPACE, SEQUENCE(TEN "," TEN "," FUSE), "null", UNIGRAM, &err));
    check_ok(drt_tokenizer_decode(tok, (int32_t[]){1}, 1, false, &out, &err));
    assert_int_equal(out.size, 100);
    drt_text_free(&out);
    drt_tokenizer_close(tok);
    check_ok(open_json(&tok, "{\"type\":\"Sequence\",\"normalizers\":[" TEN "," TEN "," TEN "]}", METASPACE, METASPACE,
                       "null", UNIGRAM, &err));
    check_refused(drt_tokenizer_encode(tok, "abaa", 4, &t, &n, &err), DRT_EFORMAT,
                  "t.json: its normalizer makes more than 320 bytes of 4;");
    check_ok(drt_tokenizer_encode(tok, "bbbb", 4, &t, &n, &err));
    free(t);
    drt_tokenizer_close(tok);
}

#define TEMPLATE(single)                                                                                               \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"special_tokens\":{\"U\":{\"ids\":[0]}}}"
#define SPECIAL "{\"SpecialToken\":{\"id\":\"U\"}}"
#define TEXT_A "{\"Sequence\":{\"id\":\"A\"}}"

static void post_processors_say_what_stands_around(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    int n;
    check_ok(open_json(&tok, "null", METASPACE, METASPACE, TEMPLATE(SPECIAL "," TEXT_A "," SPECIAL "," SPECIAL),
                       UNIGRAM, &err));
    assert_int_equal(drt_tokenizer_before(tok, &n)[0], 0);
    assert_int_equal(n, 1);
    assert_int_equal(drt_tokenizer_after(tok, &n)[1], 0);
    assert_int_equal(n, 2);
    drt_tokenizer_close(tok);
    check_ok(open_json(&tok, "null", METASPACE, METASPACE,
                       "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"RobertaProcessing\",\"cls\":[\"a\",1],"
                       "\"sep\":[\"a\",2]}," TEMPLATE(SPECIAL "," TEXT_A) "]}",
                       UNIGRAM, &err));
    const int32_t *before = drt_tokenizer_before(tok, &n);
    assert_int_equal(n, 2);
    assert_int_equal(before[0], 0);
    assert_int_equal(before[1], 1);
    assert_int_equal(drt_tokenizer_after(tok, &n)[0], 2);
    drt_tokenizer_close(tok);
    refuse("null", METASPACE, METASPACE, "{\"type\":\"Odd\"}", UNIGRAM, "post_processor \"Odd\" is not supported yet");
    refuse("null", METASPACE, METASPACE, TEMPLATE(SPECIAL), UNIGRAM, "does not hold the text exactly once");
    refuse("null", METASPACE, METASPACE, TEMPLATE("{\"SpecialToken\":{\"id\":\"V\"}}," TEXT_A), UNIGRAM,
           "names 'V', which its special_tokens lack");
    refuse("null", METASPACE, METASPACE, "{\"type\":\"BertProcessing\",\"cls\":[\"a\",9]}", UNIGRAM,
           "no piece has (9)");
}

// ---- a SentencePiece model, field by field ----

static void put_bytes(drt_text *t, int number, const void *bytes, size_t n) {
    drt_text_printf(t, "%c", number << 3 | 2);
    drt_text_add(t, &(char){(char)n}, 1); // below 128
    drt_text_add(t, bytes, n);
}

static void put_number(drt_text *t, int number, int value) {
    const char bytes[] = {(char)(number << 3 & 0x7f), (char)value};
    const char wide[] = {(char)((number << 3 & 0x7f) | 0x80), (char)(number >> 4), (char)value};
    if (number < 16) drt_text_add(t, bytes, 2);
    else drt_text_add(t, wide, 3);
}

static void put_piece(drt_text *model, const char *text, float score, int type) {
    drt_text t = {0};
    put_bytes(&t, 1, text, strlen(text));
    drt_text_add(&t, "\x15", 1); // score: field 2, 32 bits
    drt_text_add(&t, &score, 4);
    put_number(&t, 3, type);
    put_bytes(model, 1, t.bytes, t.size);
    drt_text_free(&t);
}

// <unk>, <s>, </s>, a, b, ab, with one number of trainer_spec set (0: none).
static drt_text small_model(int type, int number, int value) {
    drt_text model = {0}, trainer = {0};
    put_piece(&model, "<unk>", 0, 2);
    put_piece(&model, "<s>", 0, 3);
    put_piece(&model, "</s>", 0, 3);
    put_piece(&model, "a", -2, 1);
    put_piece(&model, "b", -3, 1);
    put_piece(&model, "ab", -1, 1);
    put_number(&trainer, 3, type);
    if (number) put_number(&trainer, number, value);
    put_bytes(&model, 2, trainer.bytes, trainer.size);
    drt_text_free(&trainer);
    return model;
}

static void refuse_model(drt_text model, const char *part) {
    drt_error err = {0};
    drt_tokenizer *tok;
    check_refused(drt_tokenizer_open_sentencepiece(&tok, model.bytes, model.size, "t.model", &err), DRT_EFORMAT, part);
    assert_null(tok);
    assert_memory_equal(err.text, "t.model: ", 9);
    drt_text_free(&model);
}

static drt_text with_piece(const char *text, float score, int type) {
    drt_text model = small_model(2, 0, 0);
    put_piece(&model, text, score, type);
    return model;
}

static drt_text bytes_of(const char *bytes, size_t n) {
    drt_text t = {0};
    drt_text_add(&t, bytes, n);
    return t;
}

static void sentencepiece_models_are_checked(void **state) {
    (void)state;
    refuse_model(bytes_of("", 0), "holds no pieces");
    refuse_model(bytes_of("\x0a\x05"
                          "ab",
                          4),
                 "byte 2: a field is longer than what holds it");
    refuse_model(bytes_of("\x0a\x80", 2), "a number is cut off");
    refuse_model(bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11), "more than 64 bits");
    refuse_model(bytes_of("\x00", 1), "no valid number");
    refuse_model(bytes_of("\x0b", 1), "a field of an unknown type");
    refuse_model(bytes_of("\x0d\x00", 2), "a field is cut off");
    refuse_model(bytes_of("\x08\x01", 2), "a part of the model has another type");
    refuse_model(bytes_of("\x0a\x02\x10\x01", 4), "a piece's score has another type");
    refuse_model(small_model(3, 0, 0), "model_type 3 (word) is not supported");
    refuse_model(small_model(4, 0, 0), "model_type 4 (char)");
    refuse_model(small_model(2, 24, 1), "treat_whitespace_as_suffix");
    refuse_model(small_model(2, 41, 6), "bos_id is 6, but there are 6 pieces");
    refuse_model(small_model(2, 40, 100), "unk_id is 100");
    refuse_model(small_model(2, 35, 1), "byte_fallback is on, but <0x00> is no piece of type BYTE");
    refuse_model(with_piece("<0x41>", 0, 6), "piece 6 is a byte, but byte_fallback is off");
    refuse_model(with_piece("x", 0, 5), "piece 6 has the type UNUSED");
    refuse_model(with_piece("x", 0, 7), "piece 6 has an unknown type");
    refuse_model(with_piece("", 0, 1), "piece 6 is empty");
    refuse_model(with_piece("\xff", 0, 1), "piece 6 is not UTF-8");
    refuse_model(with_piece("x", 0.0f / 0.0f, 1), "piece 6 has a score that is no number");
    refuse_model(with_piece("a", 0, 1), "'a' has two ids, 3 and 6");
    refuse_model(with_piece("x", 0, 2), "pieces 0 and 6 are both the unknown piece");
    drt_text damaged = small_model(2, 0, 0);
    put_bytes(&damaged, 3, "\x12\x05\x08\x00\x00\x00x", 7);
    refuse_model(damaged, "precompiled_charsmap: 5 bytes that say");
    drt_text rules = small_model(2, 0, 0);
    put_bytes(&rules, 5, "\x12\x01x", 3);
    refuse_model(rules, "denormalizer_spec");
}

static void folders_of_sentencepiece(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    char *folder = test_folder("sentencepiece"), *file = drt_path_join(folder, "tokenizer.model");
    char *config = drt_path_join(folder, "tokenizer_config.json"), *added = drt_path_join(folder, "added_tokens.json");
    drt_text model = small_model(2, 0, 0);
    put_piece(&model, MARK, -4, 1);
    int n;
    drt_token *t;
    check_ok(drt_file_write(file, model.bytes, model.size, &err));
    check_ok(drt_file_write(added, "{\"<image>\":7}", 13, &err));
    check_ok(drt_tokenizer_open(&tok, folder, &err));
    assert_int_equal(drt_tokenizer_size(tok), 8);
    assert_int_equal(drt_tokenizer_bos(tok), 1);
    assert_int_equal(drt_tokenizer_eos(tok), 2);
    assert_int_equal(drt_tokenizer_pad(tok), -1);
    assert_int_equal(drt_tokenizer_unk(tok), 0);
    assert_int_equal(drt_tokenizer_before(tok, &n)[0], 1);
    assert_int_equal(n, 1);
    drt_tokenizer_after(tok, &n);
    assert_int_equal(n, 0);
    // legacy: every stretch has the mark
    check_ok(drt_tokenizer_encode(tok, "ab</s>ab<image> xxb", 19, &t, &n, &err));
    const drt_token legacy[] = {{6, 0, 1},  {5, 0, 2},   {2, 2, 6},   {6, 6, 7},  {5, 6, 8},
                                {7, 8, 15}, {6, 16, 17}, {0, 16, 18}, {4, 18, 19}};
    assert_int_equal(n, 9);
    assert_memory_equal(t, legacy, sizeof legacy);
    free(t);
    drt_tokenizer_close(tok);
    const char *c = "{\"model_max_length\":1000000000000000019884624838656,\"legacy\":false,\"add_bos_token\":false,"
                    "\"add_eos_token\":true,\"pad_token\":\"<unk>\","
                    "\"added_tokens_decoder\":{\"9\":{\"content\":\"<x>\",\"special\":true,\"rstrip\":true}}}";
    check_ok(drt_file_write(config, c, strlen(c), &err));
    check_ok(drt_tokenizer_open(&tok, folder, &err));
    assert_int_equal(drt_tokenizer_pad(tok), 0);
    drt_tokenizer_before(tok, &n);
    assert_int_equal(n, 0);
    assert_int_equal(drt_tokenizer_after(tok, &n)[0], 2);
    check_ok(drt_tokenizer_encode(tok, "ab</s>ab<x> b", 13, &t, &n, &err));
    const int32_t first[] = {6, 5, 2, 5, 9, 4};
    assert_int_equal(n, 6);
    for (int i = 0; i < n; i++) assert_int_equal(t[i].id, first[i]);
    free(t);
    drt_tokenizer_close(tok);
    const char *bad = "{\"added_tokens_decoder\":{\"9x\":{\"content\":\"<x>\"}}}";
    check_ok(drt_file_write(config, bad, strlen(bad), &err));
    check_refused(drt_tokenizer_open(&tok, folder, &err), DRT_EFORMAT, "'9x' is no id");
    const char *far = "{\"added_tokens_decoder\":{\"4194304\":{\"content\":\"<x>\"}}}";
    check_ok(drt_file_write(config, far, strlen(far), &err));
    check_refused(drt_tokenizer_open(&tok, folder, &err), DRT_EFORMAT, "has an id outside 0 to");
    free(folder), free(file), free(config), free(added);
    drt_text_free(&model);
}

// ---- streams and speed ----

static void a_stream_holds_bytes_until_they_are_text(void **state) {
    (void)state;
    static const char *const paths[] = {"tests/golden/tokenizer/llama.json", "tests/golden/tokenizer/spm-llama.model"};
    for (int k = 0; k < 2; k++) {
        drt_error err = {0};
        drt_tokenizer *tok;
        drt_text out = {0};
        check_ok(drt_tokenizer_open(&tok, paths[k], &err));
        drt_detokenizer d = {.tokenizer = tok};
        static const char *const pieces[] = {"<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "a"};
        for (int i = 0; i < 5; i++) {
            if (i < 4 && (i < 3 || !k)) assert_int_equal(out.size, 0);
            check_ok(drt_detokenizer_put(&d, drt_tokenizer_id(tok, pieces[i]), &out, &err));
        }
        assert_string_equal(out.bytes, "\xf0\x9f\x98\x80"
                                       "a");
        check_ok(drt_detokenizer_put(&d, drt_tokenizer_id(tok, "<0xF0>"), &out, &err));
        check_ok(drt_detokenizer_put(&d, drt_tokenizer_id(tok, "<0x9F>"), &out, &err));
        assert_int_equal(out.size, 5);
        check_ok(drt_detokenizer_finish(&d, &out, &err));
        assert_string_equal(out.bytes, "\xf0\x9f\x98\x80"
                                       "a\xef\xbf\xbd\xef\xbf\xbd");
        check_ok(drt_detokenizer_put(&d, drt_tokenizer_id(tok, "<0xF0>"), &out, &err));
        drt_detokenizer_free(&d);
        drt_text_free(&out);
        drt_tokenizer_close(tok);
    }
}

// A text without spaces is not cut into words: its time must grow with its length, not with the square.
static void long_texts_without_spaces(void **state) {
    (void)state;
    static const char *const paths[] = {"tests/golden/tokenizer/llama.json", "tests/golden/tokenizer/spm-llama.model",
                                        "tests/golden/tokenizer/spm-unigram-bytes.model"};
    enum { SIZE = 2 << 20 };
    char *text = malloc(SIZE);
    for (int i = 0; i < SIZE; i++) text[i] = "theaeiourest"[i * 7 % 12];
    for (int k = 0; k < 3; k++) {
        drt_error err = {0};
        drt_tokenizer *tok;
        drt_token *t;
        int n;
        check_ok(drt_tokenizer_open(&tok, paths[k], &err));
        clock_t start = clock();
        check_ok(drt_tokenizer_encode(tok, text, SIZE, &t, &n, &err));
        double took = (double)(clock() - start) / CLOCKS_PER_SEC;
        assert_true(n > 1000);
        assert_true(took < 20); // a square would take hours
        free(t);
        drt_tokenizer_close(tok);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_llama),
        cmocka_unit_test(golden_llama_first),
        cmocka_unit_test(golden_phi3),
        cmocka_unit_test(golden_gemma),
        cmocka_unit_test(golden_metaspace),
        cmocka_unit_test(golden_siglip),
        cmocka_unit_test(golden_unigram_bytes),
        cmocka_unit_test(golden_spm_llama),
        cmocka_unit_test(golden_spm_gemma),
        cmocka_unit_test(golden_spm_bpe),
        cmocka_unit_test(golden_spm_unigram),
        cmocka_unit_test(golden_spm_siglip),
        cmocka_unit_test(golden_spm_unigram_bytes),
        cmocka_unit_test(parts_are_refused_by_name),
        cmocka_unit_test(models_are_checked),
        cmocka_unit_test(bombs),
        cmocka_unit_test(post_processors_say_what_stands_around),
        cmocka_unit_test(sentencepiece_models_are_checked),
        cmocka_unit_test(folders_of_sentencepiece),
        cmocka_unit_test(a_stream_holds_bytes_until_they_are_text),
        cmocka_unit_test(long_texts_without_spaces),
    };
    return cmocka_run_group_tests_name("tokenizer_pieces", tests, NULL, NULL);
}
