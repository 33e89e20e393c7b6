// Reports of a data check: what was found comes out in every face, and hostile names do not break them.
#include "support/check.h"

#include "eval/data_report.h"

#include <jansson.h>

static char hostile[] = "</td><script>\x1b[2J\"\xE4\xB8";
static char wrong[] = "turn 2: <b>&\n";

static void hostile_names_are_only_names(void **state) {
    (void)state;
    drt_fact facts[3] = {{.words = 1}, {.words = 7}, {.words = 24}};
    drt_finding found[3] = {
        {.kind = DRT_FIND_MALFORMED, .sample = 0, .image = -1, .other = -1, .id = hostile, .text = wrong},
        {.kind = DRT_FIND_MISSING, .sample = 1, .image = 2, .other = -1, .id = "", .text = hostile},
        {.kind = DRT_FIND_OVERLONG, .sample = 2, .image = -1, .other = -1, .id = "c", .text = wrong}};
    drt_source file = {.size = 12345};
    drt_data_check c = {.index = {.sources = {.path = "<a&b>.json", .file = &file, .n = 1}, .fact = facts, .n = 3},
                        .finding = found,
                        .n = 3,
                        .of = {[DRT_FIND_MALFORMED] = 1, [DRT_FIND_MISSING] = 1, [DRT_FIND_OVERLONG] = 1},
                        .quarantined = 2};
    drt_text table = {0}, json = {0}, page = {0};
    drt_data_table(&c, 10, &table);
    drt_data_json(&c, &json);
    drt_data_html(&c, &page);
    assert_null(strchr(table.bytes, '\x1b'));
    assert_non_null(strstr(table.bytes, "sample 0 (id '</td><script>\xC2\xB7[2J"));
    assert_non_null(strstr(table.bytes, "sample 1: </td>"));
    assert_non_null(strstr(table.bytes, "2 samples of 3 in quarantine."));
    assert_null(strstr(page.bytes, "<script"));
    assert_null(strstr(page.bytes, "<b>&\n"));
    assert_null(strstr(page.bytes, "<a&b>"));
    assert_non_null(strstr(page.bytes, "&lt;a&amp;b&gt;.json"));
    assert_non_null(strstr(page.bytes, "Over-long samples"));
    assert_null(strstr(page.bytes, "Duplicate pictures"));
    json_error_t why;
    json_t *all = json_loadb(json.bytes, json.size, 0, &why);
    if (!all) fail_msg("line %d: %s", why.line, why.text);
    assert_int_equal(json_integer_value(json_object_get(all, "quarantined")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(all, "found"), "missing")), 1);
    json_t *findings = json_object_get(all, "findings"), *second = json_array_get(findings, 1);
    assert_int_equal(json_array_size(findings), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(findings, 0), "id")),
                        "</td><script>\x1b[2J\"\xEF\xBF\xBD\xEF\xBF\xBD");
    assert_string_equal(json_string_value(json_object_get(second, "kind")), "missing");
    assert_int_equal(json_integer_value(json_object_get(second, "image")), 2);
    assert_true(json_is_true(json_object_get(second, "quarantined")));
    assert_true(json_is_false(json_object_get(json_array_get(findings, 2), "quarantined")));
    json_decref(all);
    drt_text_free(&table), drt_text_free(&json), drt_text_free(&page);
}

static void a_sound_dataset_says_so(void **state) {
    (void)state;
    drt_fact fact = {.words = 0};
    drt_source file = {.size = 2};
    drt_data_check c = {.index = {.sources = {.path = "a.json", .file = &file, .n = 1}, .fact = &fact, .n = 1}};
    for (c.index.n = 0; c.index.n < 2; c.index.n++) { // no sample, and one without a word: nothing to divide by
        drt_text table = {0}, page = {0};
        drt_data_table(&c, 10, &table);
        drt_data_html(&c, &page);
        assert_non_null(strstr(table.bytes, "Nothing is wrong."));
        assert_non_null(strstr(page.bytes, "Nothing is wrong."));
        drt_text_free(&table), drt_text_free(&page);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_names_are_only_names),
        cmocka_unit_test(a_sound_dataset_says_so),
    };
    return cmocka_run_group_tests_name("data_report", tests, NULL, NULL);
}
