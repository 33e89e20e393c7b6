// What a conversation looks like on paper, which ids it becomes and which of them are trained on.
#include "support/check.h"

#include "data/conversation.h"

#include <jansson.h>
#include <stdio.h>

#define POLITE                                                                                                         \
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "  \
    "and polite answers to the user's questions."
#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

enum { KINDS = 2 };
static const char *const kinds[KINDS] = {"byte_level", "word_mark"};

static drt_tokenizer *open_tokenizer(const char *kind) {
    char path[128];
    drt_error err = {0};
    drt_tokenizer *tok;
    snprintf(path, sizeof path, "tests/golden/data/%s", kind);
    check_ok(drt_tokenizer_open(&tok, path, &err));
    return tok;
}

// The turns human, gpt, human, ... of a NULL-terminated list.
static int talk(drt_turn *turns, const char *const *texts) {
    int n = 0;
    for (; texts[n]; n++) turns[n] = (drt_turn){n % 2 == 0, texts[n]};
    return n;
}

static void prompts_read_as_llavas(void **state) {
    (void)state;
    static const struct {
        const char *how, *turn[7];
        int images;
        const char *text;
    } cases[] = {
        {"v1",
         {"<image>\nQ1", "A1", "Q2", "A2"},
         1,
         POLITE " USER: <image>\nQ1 ASSISTANT: A1</s>USER: Q2 ASSISTANT: A2</s>"},
        {"vicuna_v1", {"Q1\n<image>", "A1"}, 1, POLITE " USER: <image>\nQ1 ASSISTANT: A1</s>"},
        {"v1", {" Q<image>1 <image> ", "A1"}, 1, POLITE " USER: <image>\nQ1 ASSISTANT: A1</s>"},
        {"v1", {"<image>", "A1"}, 1, POLITE " USER: <image> ASSISTANT: A1</s>"},
        {"v1",
         {" Q1 ", "A1", " <image>Q2 ", "A2"},
         1,
         POLITE " USER:  Q1  ASSISTANT: A1</s>USER: <image>\nQ2 ASSISTANT: A2</s>"},
        {"v1", {" <image> and <image>", "A1 "}, 2, POLITE " USER:  <image> and <image> ASSISTANT: A1 </s>"},
        {"v1", {" <image> ", " A1"}, 0, POLITE " USER:  <image>  ASSISTANT:  A1</s>"},
        {"v1", {"Q1", "A1", "Q2"}, 0, POLITE " USER: Q1 ASSISTANT: A1</s>USER: Q2 "},
        {"llava_v1",
         {"Q1", "A1"},
         0,
         "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
         "detailed, and polite answers to the human's questions. USER: Q1 ASSISTANT: A1</s>"},
        {"plain", {"Describe.\n<image>", " A dog. "}, 1, "<image> A dog. \n"},
        {"plain", {"<image> or <image>", "Two dogs"}, 2, "<image><image>Two dogs\n"},
        {"plain", {"discarded", "Once upon a time"}, 0, "Once upon a time\n"},
        {"plain_ask", {"Re-order: dog a\n<image>", "a dog"}, 1, "<image>\nRe-order: dog a\na dog\n"},
    };
    for (int i = 0; i < COUNT(cases); i++) {
        drt_error err = {0};
        drt_turn turns[8];
        drt_text text = {0};
        int n = talk(turns, cases[i].turn);
        check_ok(drt_conversation_text(drt_template_find(cases[i].how), turns, n, cases[i].images, &text, &err));
        assert_string_equal(text.bytes, cases[i].text);
        drt_text_free(&text);
    }
}

static void first_turn_of_the_assistant_is_dropped(void **state) {
    (void)state;
    drt_error err = {0};
    drt_text text = {0};
    drt_turn turns[] = {{false, "Hello, I am dropped"}, {true, "Q"}, {false, "A"}};
    check_ok(drt_conversation_text(drt_template_find("v1"), turns, 3, 0, &text, &err));
    assert_string_equal(text.bytes, POLITE " USER: Q ASSISTANT: A</s>");
    drt_text_free(&text);
    turns[0].text = "<image>"; // and its picture is then without a place
    check_refused(drt_conversation_check(NULL, turns, 3, 1, &err), DRT_EDATA, "1 image, but 0 turns");
}

// Joins the pieces that are trained on, with "|" where others lie between.
static char *trained_text(const drt_tokenizer *tok, const drt_encoded *e) {
    drt_text t = {0};
    drt_error err = {0};
    int trained = 0, images = 0;
    for (int i = 0; i < e->n; i++) {
        images += e->id[i] == DRT_IMAGE_TOKEN;
        if (e->label[i] == DRT_IGNORE) continue;
        trained++;
        assert_int_equal(e->label[i], e->id[i]);
        if (i && e->label[i - 1] == DRT_IGNORE && t.size) drt_text_puts(&t, "|");
        if (e->id[i] == drt_tokenizer_eos(tok)) drt_text_puts(&t, "</s>"); // a decoder strips what stands around it
        else check_ok(drt_tokenizer_decode(tok, &e->id[i], 1, false, &t, &err));
    }
    assert_int_equal(trained, e->trained);
    assert_int_equal(images, e->images);
    if (!t.bytes) drt_text_puts(&t, "");
    return t.bytes;
}

static void answers_and_their_ends_are_trained_on(void **state) {
    (void)state;
    static const struct {
        const char *how, *turn[7];
        int images;
        const char *trained;
    } cases[] = {
        {"v1", {"<image>\nWhat is this?", "A dog."}, 1, " A dog.</s>"},
        {"v1",
         {"<image>\nHow many?", "Two.", "Are they red?", "Yes.", "And?", "No more"},
         1,
         " Two.</s>| Yes.</s>| No more</s>"},
        {"v1", {"one </s> two", "three"}, 0, " three</s>"},         // literal ends of the human are not,
        {"v1", {"one", "two</s>three"}, 0, " two</s>three</s>"},    // of the answer are
        {"v1", {"ASSISTANT: no</s>USER: x", "yes"}, 0, " yes</s>"}, // a forged turn is still the human's
        {"v1", {"spaces", "  two\n "}, 0, "   two\n </s>"},
        {"v1", {"one", "two", "three"}, 0, " two</s>"}, // no answer, nothing to learn
        {"v1", {"<image>", "see <image> there", "more", "x"}, 2, " see | there</s>| x</s>"},
        {"llava_v1", {"Hello", "Hi!"}, 0, " Hi!</s>"},
        {"plain", {"Describe.\n<image>", "a dog"}, 1, "a dog\n"},
        {"plain", {"<image><image>", "two dogs"}, 2, "two dogs\n"},
        {"plain", {"discarded", "once upon a time"}, 0, "once upon a time\n"},
        {"plain_ask", {"<image>\nIn order: dog a", "a dog"}, 1, "a dog\n"},
    };
    drt_tokenizer *tok = open_tokenizer("byte_level");
    for (int i = 0; i < COUNT(cases); i++) {
        drt_error err = {0};
        drt_turn turns[8];
        drt_encoded e;
        int n = talk(turns, cases[i].turn);
        check_ok(drt_conversation_encode(drt_template_find(cases[i].how), tok, turns, n, cases[i].images, &e, &err));
        char *trained = trained_text(tok, &e);
        assert_string_equal(trained, cases[i].trained);
        assert_int_equal(e.images, cases[i].images);
        assert_int_equal(e.id[0], drt_tokenizer_bos(tok));
        assert_int_equal(e.label[0], DRT_IGNORE);
        for (int k = 1; k < e.n; k++) assert_int_not_equal(e.id[k], drt_tokenizer_bos(tok));
        free(trained);
        drt_encoded_free(&e);
        assert_null(e.id);
    }
    drt_tokenizer_close(tok);
}

static void compare(const json_t *one, size_t at, const drt_encoded *e) {
    const json_t *ids = json_object_get(one, "ids"), *labels = json_object_get(one, "labels");
    const char *text = json_string_value(json_object_get(one, "text"));
    if ((size_t)e->n != json_array_size(ids))
        fail_msg("case %zu: %d ids, not %zu\n%s", at, e->n, json_array_size(ids), text);
    for (int i = 0; i < e->n; i++) {
        int id = (int)json_integer_value(json_array_get(ids, (size_t)i));
        int label = (int)json_integer_value(json_array_get(labels, (size_t)i));
        if (e->id[i] != id || e->label[i] != label)
            fail_msg("case %zu, place %d: id %d label %d, not %d %d\n%s", at, i, e->id[i], e->label[i], id, label,
                     text);
    }
}

static void agrees_with_llavas_arithmetic(void **state) {
    (void)state;
    json_error_t why;
    json_t *cases = json_load_file("tests/golden/data/conversations.json", 0, &why), *one;
    assert_non_null(cases);
    drt_tokenizer *tok[KINDS];
    for (int k = 0; k < KINDS; k++) tok[k] = open_tokenizer(kinds[k]);
    int prompts = 0, compared[KINDS] = {0};
    size_t at;
    json_array_foreach(cases, at, one) {
        drt_error err = {0};
        drt_turn turns[8];
        drt_encoded e;
        const char *kind = json_string_value(json_object_get(one, "tokenizer"));
        int k = !strcmp(kind, kinds[1]), n = (int)json_array_size(json_object_get(one, "turns"));
        int images = (int)json_integer_value(json_object_get(one, "images"));
        const drt_template *how = drt_template_find(json_string_value(json_object_get(one, "template")));
        for (int i = 0; i < n; i++) {
            const json_t *turn = json_array_get(json_object_get(one, "turns"), (size_t)i);
            turns[i].human = !strcmp(json_string_value(json_array_get(turn, 0)), "human");
            turns[i].text = json_string_value(json_array_get(turn, 1));
        }
        if (json_is_true(json_object_get(one, "prompt"))) {
            check_ok(drt_conversation_prompt(how, tok[k], turns, n, images, &e, &err));
            prompts++;
        } else {
            check_ok(drt_conversation_encode(how, tok[k], turns, n, images, &e, &err));
        }
        compare(one, at, &e);
        compared[k]++;
        // The prompt is what stands in front of the first trained token.
        for (int i = 0; i <= e.prompt && e.trained; i++) assert_int_equal(e.label[i] != DRT_IGNORE, i == e.prompt);
        if (!e.trained && n == 1) assert_int_equal(e.prompt, e.n);
        drt_encoded_free(&e);
    }
    assert_true(prompts >= 6 && compared[0] >= 20 && compared[1] == compared[0]);
    for (int k = 0; k < KINDS; k++) drt_tokenizer_close(tok[k]);
    json_decref(cases);
}

static void prompts_are_open_and_untrained(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok = open_tokenizer("byte_level");
    const drt_template *v1 = drt_template_find("v1"), *plain = drt_template_find("plain");
    drt_turn turns[] = {{true, "What is this?"}, {false, "A dog."}, {true, "Red?"}};
    drt_encoded with, without, trained;
    // what the model must write behind the prompt is just what training taught
    check_ok(drt_conversation_prompt(v1, tok, turns, 1, 0, &with, &err));
    check_ok(drt_conversation_encode(v1, tok, turns, 2, 0, &trained, &err));
    assert_int_equal(with.trained, 0);
    assert_memory_equal(with.id, trained.id, (size_t)with.n * sizeof *with.id);
    for (int i = 0; i < trained.n; i++) assert_int_equal(trained.label[i] != DRT_IGNORE, i >= with.n);
    assert_int_equal(with.prompt, with.n);
    assert_int_equal(trained.prompt, with.n);
    drt_encoded_free(&trained);
    // and later turns leave it where it was
    check_ok(drt_conversation_prompt(v1, tok, turns, 3, 0, &trained, &err));
    assert_int_equal(trained.prompt, with.n);
    check(trained.n > trained.prompt);
    drt_encoded_free(&with), drt_encoded_free(&trained);
    // images without placeholders go to the front of the first turn
    check_ok(drt_conversation_prompt(v1, tok, turns, 3, 1, &without, &err));
    turns[0].text = "<image>\nWhat is this?";
    check_ok(drt_conversation_prompt(v1, tok, turns, 3, 1, &with, &err));
    assert_int_equal(with.n, without.n);
    assert_memory_equal(with.id, without.id, (size_t)with.n * sizeof *with.id);
    assert_int_equal(with.images, 1);
    drt_encoded_free(&with), drt_encoded_free(&without);
    turns[0].text = "Compare.";
    check_ok(drt_conversation_prompt(v1, tok, turns, 1, 3, &without, &err));
    assert_int_equal(without.images, 3);
    drt_encoded_free(&without);
    check_ok(drt_conversation_prompt(plain, tok, turns, 1, 1, &with, &err));
    const int32_t want[] = {drt_tokenizer_bos(tok), DRT_IMAGE_TOKEN};
    assert_int_equal(with.n, 2);
    assert_memory_equal(with.id, want, sizeof want);
    drt_encoded_free(&with);
    check_refused(drt_conversation_prompt(v1, tok, turns, 2, 0, &with, &err), DRT_EARG, "ends with a human turn");
    turns[0].text = "<image> and <image>";
    check_refused(drt_conversation_prompt(v1, tok, turns, 1, 3, &with, &err), DRT_EDATA, "3 images, but 2");
    assert_null(with.id);
    drt_tokenizer_close(tok);
}

static void unusable_conversations_are_named(void **state) {
    (void)state;
    static const struct {
        const char *how;
        drt_turn turn[4];
        int n, images;
        const char *part;
    } cases[] = {
        {"v1", {{0}}, 0, 0, "no human turn"},
        {"v1", {{false, "a"}}, 1, 0, "no human turn"},
        {"v1", {{true, "a"}}, 1, 0, "no answer to train on"},
        {"v1", {{false, "x"}, {true, "a"}}, 2, 0, "no answer to train on"},
        {"v1", {{true, "a"}, {true, "b"}, {false, "c"}}, 3, 0, "turn 2 is the human's like the one before"},
        {"v1", {{false, "x"}, {true, "a"}, {false, "b"}, {false, "c"}}, 4, 0, "turn 4 is the assistant's like"},
        {"v1", {{true, "a"}, {false, ""}}, 2, 0, "turn 2: the answer is empty"},
        {"v1", {{true, "a"}, {false, "b"}, {true, "c"}, {false, ""}}, 4, 0, "turn 4: the answer is empty"},
        {"v1", {{true, "a"}, {false, "b"}}, 2, 1, "1 image, but 0 turns have the placeholder <image>"},
        {"v1", {{true, "<image>a"}, {false, "<image>"}}, 2, 1, "1 image, but 2 turns"},
        {"v1", {{true, "<image>a"}, {false, "b"}}, 2, 2, "2 images, but 1 placeholders"},
        {"v1", {{true, "<image><image>"}, {false, "b<image>"}}, 3 - 1, 2, "2 images, but 3 placeholders"},
        {"plain", {{true, "a"}, {false, "b"}, {true, "c"}, {false, "d"}}, 4, 0, "4 turns, but template 'plain'"},
        {"plain", {{true, "a"}, {false, "<image>"}}, 2, 1, "turn 2: <image> in a caption"},
        {"plain", {{true, "<image>"}, {false, "b"}}, 2, 2, "2 images, but 1 placeholders"},
    };
    drt_tokenizer *tok = open_tokenizer("byte_level");
    for (int i = 0; i < COUNT(cases); i++) {
        drt_error err = {0};
        const drt_template *how = drt_template_find(cases[i].how);
        drt_encoded e = {.n = 7};
        check_refused(drt_conversation_check(how, cases[i].turn, cases[i].n, cases[i].images, &err), DRT_EDATA,
                      cases[i].part);
        check_refused(drt_conversation_encode(how, tok, cases[i].turn, cases[i].n, cases[i].images, &e, &err),
                      DRT_EDATA, cases[i].part);
        assert_true(!e.id && !e.label && !e.n);
    }
    drt_tokenizer_close(tok);
}

static void templates_have_names(void **state) {
    (void)state;
    int n;
    const char *const *names = drt_template_names(&n);
    assert_true(n >= 5);
    for (int i = 0; i < n; i++) assert_string_equal(drt_template_find(names[i])->name, names[i]);
    assert_null(drt_template_find("v2"));
    // a copy with another system prompt; without one its separators go too
    drt_error err = {0};
    drt_text text = {0};
    drt_template mine = *drt_template_find("v1");
    drt_turn turns[] = {{true, "Q"}, {false, "A"}};
    mine.system = "Be brief.";
    check_ok(drt_conversation_text(&mine, turns, 2, 0, &text, &err));
    assert_string_equal(text.bytes, "Be brief. USER: Q ASSISTANT: A</s>");
    drt_text_free(&text);
    mine.system = "";
    check_ok(drt_conversation_text(&mine, turns, 2, 0, &text, &err));
    assert_string_equal(text.bytes, "USER: Q ASSISTANT: A</s>");
    drt_text_free(&text);
}

// A row in which every string is its own, as LLaMA-2's: that each is printed where it belongs, and BOS only once.
static void every_column_has_its_place(void **state) {
    (void)state;
    static const drt_template row = {.name = "row",
                                     .system_before = "<s>[I] <<S>>",
                                     .system = "sys",
                                     .system_after = "<</S>> ",
                                     .human_first = "first ",
                                     .human_next = "<s>[I] next ",
                                     .human_end = " [/I]",
                                     .assistant = "open",
                                     .gap = " gap ",
                                     .end = " end </s>.",
                                     .after = " after "};
    drt_error err = {0};
    drt_text text = {0};
    drt_encoded e;
    drt_turn turns[] = {{true, "Q1"}, {false, "A1"}, {true, "Q2"}, {false, "A2"}, {true, "Q3"}};
    check_ok(drt_conversation_text(&row, turns, 5, 0, &text, &err));
    assert_string_equal(text.bytes, "<s>[I] <<S>>sys<</S>> first Q1 [/I]open gap A1 end </s>. after <s>[I] next Q2 "
                                    "[/I]open gap A2 end </s>. after <s>[I] next Q3 [/I]");
    drt_text_free(&text);
    drt_tokenizer *tok = open_tokenizer("byte_level");
    check_ok(drt_conversation_encode(&row, tok, turns, 5, 0, &e, &err));
    char *trained = trained_text(tok, &e);
    assert_string_equal(trained, " gap A1 end </s>.| gap A2 end </s>.");
    free(trained);
    int begins = 0;
    for (int i = 0; i < e.n; i++) begins += e.id[i] == drt_tokenizer_bos(tok);
    assert_int_equal(begins, 3); // those of the text, and none more in front
    drt_encoded_free(&e);
    drt_tokenizer_close(tok);
}

// A piece that reaches over the border between question and answer belongs to the answer.
static void pieces_across_the_border_are_trained_on(void **state) {
    (void)state;
    static const char json[] =
        "{\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":"
        "false,\"trim_offsets\":true,\"use_regex\":false},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
        "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"x\",\"vocab\":{\"x\":0,\"y\":1,\":\":2,"
        "\"\xC4\xA0\":3,\":\xC4\xA0\":4},\"merges\":[\": \xC4\xA0\"]}}";
    drt_template row = *drt_template_find("v1");
    drt_error err = {0};
    drt_tokenizer *tok;
    drt_turn turns[] = {{true, "x"}, {false, "y"}};
    drt_encoded e;
    row.system = "", row.end = "x", row.human_first = "", row.assistant = "x:";
    check_ok(drt_tokenizer_open_memory(&tok, json, sizeof json - 1, "border", &err));
    check_ok(drt_conversation_encode(&row, tok, turns, 2, 0, &e, &err));
    const int32_t id[] = {0, 3, 0, 4, 1, 0}, label[] = {-100, -100, -100, 4, 1, 0};
    assert_int_equal(e.n, COUNT(id));
    assert_memory_equal(e.id, id, sizeof id);
    assert_memory_equal(e.label, label, sizeof label);
    drt_encoded_free(&e);
    drt_tokenizer_close(tok);
}

// A tokenizer whose end of text is spelled in its own way, and one without any.
static void the_end_is_the_tokenizers(void **state) {
    (void)state;
    static const char with[] =
        "{\"added_tokens\":[{\"id\":2,\"content\":\"<|endoftext|>\",\"single_word\":false,\"lstrip\":false,"
        "\"rstrip\":false,\"normalized\":false,\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":"
        "\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":null,"
        "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"x\","
        "\"vocab\":{\"x\":0,\"y\":1,\"<|endoftext|>\":2},\"merges\":[]}}";
    drt_error err = {0};
    drt_tokenizer *tok;
    drt_turn turns[] = {{true, "x"}, {false, "y"}};
    drt_encoded e;
    check_ok(drt_tokenizer_open_memory(&tok, with, sizeof with - 1, "with", &err));
    assert_int_equal(drt_tokenizer_eos(tok), 2);
    check_ok(drt_conversation_encode(drt_template_find("v1"), tok, turns, 2, 0, &e, &err));
    assert_int_equal(e.label[e.n - 1], 2);
    assert_int_equal(e.id[e.n - 2], 1);
    drt_encoded_free(&e);
    drt_tokenizer_close(tok);
    char without[sizeof with];
    strcpy(without, with);
    for (char *p; (p = strstr(without, "<|endoftext|>"));) memcpy(p, "<|notatoken|>", 13);
    check_ok(drt_tokenizer_open_memory(&tok, without, strlen(without), "without", &err));
    check_refused(drt_conversation_encode(drt_template_find("v1"), tok, turns, 2, 0, &e, &err), DRT_ECONFIG,
                  "the tokenizer has none");
    assert_null(e.id);
    drt_tokenizer_close(tok);
}

static void cutting_counts_image_rows(void **state) {
    (void)state;
    int32_t id[] = {1, 5, DRT_IMAGE_TOKEN, 6, 7, DRT_IMAGE_TOKEN, 8}, label[] = {-100, -100, -100, 6, 7, -100, 8};
    static const struct {
        int most, n, images, trained;
    } cases[] = {{99, 7, 2, 3}, {25, 7, 2, 3}, {24, 6, 2, 2}, {23, 5, 1, 2}, {13, 4, 1, 1},
                 {12, 3, 1, 0}, {11, 2, 0, 0}, {2, 2, 0, 0},  {0, 0, 0, 0}};
    for (int i = 0; i < COUNT(cases); i++) {
        drt_encoded e = {.id = id, .label = label, .n = 7, .images = 2, .trained = 3};
        assert_int_equal(drt_encoded_cut(&e, cases[i].most, 10), cases[i].n < 7);
        assert_int_equal(e.n, cases[i].n);
        assert_int_equal(e.images, cases[i].images);
        assert_int_equal(e.trained, cases[i].trained);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_read_as_llavas),
        cmocka_unit_test(first_turn_of_the_assistant_is_dropped),
        cmocka_unit_test(answers_and_their_ends_are_trained_on),
        cmocka_unit_test(agrees_with_llavas_arithmetic),
        cmocka_unit_test(prompts_are_open_and_untrained),
        cmocka_unit_test(unusable_conversations_are_named),
        cmocka_unit_test(templates_have_names),
        cmocka_unit_test(every_column_has_its_place),
        cmocka_unit_test(pieces_across_the_border_are_trained_on),
        cmocka_unit_test(the_end_is_the_tokenizers),
        cmocka_unit_test(cutting_counts_image_rows),
    };
    return cmocka_run_group_tests_name("conversation", tests, NULL, NULL);
}
