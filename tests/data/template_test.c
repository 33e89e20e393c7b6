// Every chat template against its other spelling in tools/golden_templates.py: texts, ids and labels; how a template
// is chosen, and what is refused.
#include "support/check.h"

#include "base/file.h"
#include "data/conversation.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#define GOLDEN "tests/golden/templates/"
enum { KINDS = 3, MOST_TURNS = 8 };
static const char *const kinds[KINDS] = {"bytes", "marks", "nobos"};

typedef struct {
    json_t *root;
    drt_tokenizer *tok[KINDS];
} golden;

static int set_up(void **state) {
    static golden g;
    json_error_t why;
    g.root = json_load_file(GOLDEN "cases.json", 0, &why);
    assert_non_null(g.root);
    for (int k = 0; k < KINDS; k++) {
        char path[100];
        drt_error err = {0};
        snprintf(path, sizeof path, GOLDEN "%s", kinds[k]);
        check_ok(drt_tokenizer_open(&g.tok[k], path, &err));
    }
    *state = &g;
    return 0;
}

static int tear_down(void **state) {
    golden *g = *state;
    json_decref(g->root);
    for (int k = 0; k < KINDS; k++) drt_tokenizer_close(g->tok[k]);
    return 0;
}

// What a case says, in drt's words.
typedef struct {
    drt_template how;
    drt_turn turn[MOST_TURNS];
    int turns, images;
    bool open;
    const json_t *one;
} talk;

static talk talk_of(const golden *g, const json_t *one) {
    talk t = {.one = one, .open = json_is_true(json_object_get(one, "open"))};
    const drt_template *how = drt_template_find(json_string_value(json_object_get(one, "template")));
    assert_non_null(how);
    t.how = *how;
    const char *system = json_string_value(json_object_get(one, "system"));
    if (system) t.how.system = system;
    json_int_t at = json_integer_value(json_object_get(one, "conversation"));
    const json_t *c = json_array_get(json_object_get(g->root, "conversations"), (size_t)at);
    t.images = (int)json_integer_value(json_object_get(c, "images"));
    t.turns = (int)json_array_size(json_object_get(c, "turns")) - t.open;
    for (int i = 0; i < t.turns; i++)
        t.turn[i] = (drt_turn){i % 2 == 0, json_string_value(json_array_get(json_object_get(c, "turns"), (size_t)i))};
    return t;
}

static drt_status encode(const talk *t, const drt_tokenizer *tok, drt_encoded *e, drt_error *err) {
    return t->open ? drt_conversation_prompt(&t->how, tok, t->turn, t->turns, t->images, e, err)
                   : drt_conversation_encode(&t->how, tok, t->turn, t->turns, t->images, e, err);
}

static bool in_ranges(const json_t *ranges, int at) {
    for (size_t i = 0; i < json_array_size(ranges); i++) {
        const json_t *r = json_array_get(ranges, i);
        if (at >= json_integer_value(json_array_get(r, 0)) && at < json_integer_value(json_array_get(r, 1)))
            return true;
    }
    return false;
}

// Places where ids or labels differ from the golden ones; a difference in length counts as one.
static int differences(const drt_encoded *e, const json_t *want) {
    const json_t *ids = json_object_get(want, "ids"), *learn = json_object_get(want, "learn");
    int n = (int)json_array_size(ids), bad = n != e->n;
    for (int i = 0; i < n && i < e->n; i++) {
        int id = (int)json_integer_value(json_array_get(ids, (size_t)i));
        bad += e->id[i] != id || e->label[i] != (in_ranges(learn, i) ? id : DRT_IGNORE);
    }
    return bad;
}

static void texts_and_labels_are_llavas(void **state) {
    const golden *g = *state;
    json_t *one;
    size_t at;
    int compared[KINDS] = {0};
    json_array_foreach(json_object_get(g->root, "cases"), at, one) {
        drt_error err = {0};
        talk t = talk_of(g, one);
        const char *text = json_string_value(json_object_get(one, "text"));
        if (!t.open) {
            drt_text got = {0};
            check_ok(drt_conversation_text(&t.how, t.turn, t.turns, t.images, &got, &err));
            assert_string_equal(got.bytes, text);
            drt_text_free(&got);
        }
        for (int k = 0; k < KINDS; k++) {
            const json_t *want = json_object_get(json_object_get(one, "of"), kinds[k]);
            drt_encoded e;
            if (!want) continue;
            check_ok(encode(&t, g->tok[k], &e, &err));
            if (differences(&e, want)) fail_msg("case %zu, tokenizer %s:\n%s", at, kinds[k], text);
            compared[k]++;
            drt_encoded_free(&e);
        }
    }
    assert_true(compared[0] >= 120 && compared[1] == compared[0] && compared[2] >= 100);
}

// The comparison above notices each string of a row: spoil one, and some case differs.
static void every_string_of_a_row_matters(void **state) {
    const golden *g = *state;
    static const size_t column[] = {offsetof(drt_template, system_before), offsetof(drt_template, system_after),
                                    offsetof(drt_template, human_first),   offsetof(drt_template, human_next),
                                    offsetof(drt_template, human_end),     offsetof(drt_template, assistant),
                                    offsetof(drt_template, gap),           offsetof(drt_template, end),
                                    offsetof(drt_template, after)};
    for (size_t c = 0; c < sizeof column / sizeof *column; c++) {
        json_t *one;
        size_t at;
        json_array_foreach(json_object_get(g->root, "cases"), at, one) {
            drt_error err = {0};
            drt_encoded e;
            char spoilt[100];
            talk t = talk_of(g, one);
            const char **string = (const char **)((char *)&t.how + column[c]);
            bool printed = c > 1 ? c != 3 || t.turns > 2 : *t.how.system != 0;
            if (t.open || !printed) continue;
            snprintf(spoilt, sizeof spoilt, "%sx", *string);
            *string = spoilt;
            check_ok(encode(&t, g->tok[0], &e, &err));
            assert_true(differences(&e, json_object_get(json_object_get(one, "of"), kinds[0])) > 0);
            drt_encoded_free(&e);
        }
    }
}

static void what_the_tokenizer_lacks_is_named(void **state) {
    const golden *g = *state;
    static const struct {
        const char *how, *token;
    } cases[] = {{"llama_3", "<|start_header_id|>"},
                 {"chatml", "<|im_start|>"},
                 {"gemma", "<start_of_turn>"},
                 {"phi3", "<|system|>"},
                 {"mpt", "<|im_start|>"}};
    drt_tokenizer *plain;
    drt_error err = {0};
    drt_encoded e;
    const drt_turn turns[] = {{true, "x"}, {false, "y"}};
    check_ok(drt_tokenizer_open(&plain, "tests/golden/data/byte_level", &err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const drt_template *how = drt_template_find(cases[i].how);
        check_refused(drt_template_check(how, plain, &err), DRT_ECONFIG, cases[i].token);
        check_refused(drt_template_check(how, plain, &err), DRT_ECONFIG, "use another template");
        check_refused(drt_conversation_encode(how, plain, turns, 2, 0, &e, &err), DRT_ECONFIG, cases[i].token);
        check_ok(drt_template_check(how, g->tok[0], &err));
    }
    check_refused(drt_template_check(drt_template_find("llama_2"), g->tok[2], &err), DRT_ECONFIG, "<s>");
    check_ok(drt_template_check(drt_template_find("v1"), plain, &err));
    drt_tokenizer_close(plain);
}

// Phi-3's tokens swallow white space behind them: a heading in front of an answer that begins with some is still the
// heading's, and an answer's end is still trained on.
static void headings_are_never_trained_on(void **state) {
    const golden *g = *state;
    const drt_tokenizer *marks = g->tok[1];
    drt_error err = {0};
    drt_encoded e;
    const drt_turn turns[] = {{true, "x"}, {false, "\n  y"}, {true, "z"}, {false, "a"}};
    check_ok(drt_conversation_encode(drt_template_find("phi3"), marks, turns, 4, 0, &e, &err));
    int ends = 0;
    for (int i = 0; i < e.n; i++) {
        const char *piece = drt_tokenizer_piece(marks, e.id[i]);
        if (!strcmp(piece, "<|assistant|>") || !strcmp(piece, "<|user|>")) assert_int_equal(e.label[i], DRT_IGNORE);
        ends += !strcmp(piece, "<|end|>") && e.label[i] != DRT_IGNORE;
    }
    assert_int_equal(ends, 2);
    drt_encoded_free(&e);
}

static void bos_is_as_the_tokenizer_says(void **state) {
    const golden *g = *state;
    const bool want[KINDS] = {true, false, false};
    for (int k = 0; k < KINDS; k++) {
        assert_true(drt_tokenizer_bos(g->tok[k]) >= 0);
        assert_int_equal(drt_tokenizer_adds_bos(g->tok[k]), want[k]);
    }
}

// ---- choosing ------------------------------------------------------------------------------------------------------

static void put(const char *folder, const char *file, const char *text) {
    drt_error err = {0};
    char *path = drt_path_join(folder, file);
    check_ok(drt_file_write(path, text, strlen(text), &err));
    free(path);
}

static void remove_file(const char *folder, const char *file) {
    char *path = drt_path_join(folder, file);
    unlink(path);
    free(path);
}

static void templates_are_chosen_by_what_they_write(void **state) {
    (void)state;
    static const struct {
        const char *text, *name;
    } cases[] = {{"{{ '<|start_header_id|>' + message['role'] }}", "llama_3"},
                 {"{{'<|im_start|>' + message['role']}}", "chatml"},
                 {"<start_of_turn>{{role}}", "gemma"},
                 {"{{'<|' + role + '|>' + content + '<|end|>'}}", "phi3"},
                 {"[INST] <<SYS>>", "llama_2"},
                 {"USER: {{x}} ASSISTANT:", "v1"},
                 {"<|user|>{{x}}</s>", NULL}};
    static const char *const files[] = {"tokenizer_config.json", "processor_config.json", "chat_template.json"};
    drt_error err = {0};
    const drt_template *how;
    char *folder = test_folder("template"), json[300];
    check_ok(drt_template_choose(&how, "", folder, &err));
    assert_string_equal(how->name, "v1");
    check_ok(drt_template_choose(&how, "", NULL, &err));
    assert_string_equal(how->name, "v1");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int f = 0; f < 4; f++) {
            const char *file = f < 3 ? files[f] : "chat_template.jinja";
            snprintf(json, sizeof json,
                     f == 2 ? "{\"chat_template\": [{\"name\": \"tool\", \"template\": \"<|im_start|>\"}, "
                              "{\"name\": \"default\", \"template\": \"%s\"}]}"
                            : "{\"chat_template\": \"%s\"}",
                     cases[i].text);
            put(folder, file, f < 3 ? json : cases[i].text);
            check_ok(drt_template_choose(&how, "", folder, &err));
            if (cases[i].name) assert_string_equal(how->name, cases[i].name);
            else assert_null(how);
            check_ok(drt_template_choose(&how, "mpt", folder, &err)); // a name comes first
            assert_string_equal(how->name, "mpt");
            remove_file(folder, file);
        }
    // a jinja file comes before the tokenizer's; a config without a template says nothing
    put(folder, "chat_template.jinja", "<start_of_turn>");
    put(folder, "tokenizer_config.json", "{\"chat_template\": \"<|im_start|>\"}");
    check_ok(drt_template_choose(&how, "", folder, &err));
    assert_string_equal(how->name, "gemma");
    remove_file(folder, "chat_template.jinja");
    put(folder, "tokenizer_config.json", "{\"bos_token\": null}");
    check_ok(drt_template_choose(&how, "", folder, &err));
    assert_string_equal(how->name, "v1");
    put(folder, "tokenizer_config.json", "{\"chat_template\": ");
    check_refused(drt_template_choose(&how, "", folder, &err), DRT_EFORMAT, "tokenizer_config.json: line 1");
    check_refused(drt_template_choose(&how, "v9", folder, &err), DRT_ECONFIG, "no template 'v9'");
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_and_labels_are_llavas),       cmocka_unit_test(every_string_of_a_row_matters),
        cmocka_unit_test(what_the_tokenizer_lacks_is_named), cmocka_unit_test(headings_are_never_trained_on),
        cmocka_unit_test(bos_is_as_the_tokenizer_says),      cmocka_unit_test(templates_are_chosen_by_what_they_write),
    };
    return cmocka_run_group_tests_name("template", tests, set_up, tear_down);
}
