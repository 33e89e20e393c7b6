// JSON read from front to back: what strings mean, where faults are. tests/fuzz/dataset_fuzz.c compares what is
// accepted with jansson.
#include "support/check.h"

#include "format/json_read.h"

static void strings_mean_what_they_say(void **state) {
    (void)state;
    static const struct {
        const char *json, *means;
    } cases[] = {
        {"\"\"", ""},
        {"\"plain and long enough for eight bytes\"", "plain and long enough for eight bytes"},
        {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"", "a\"\\/\b\f\n\r\tz"},
        {"\"\\u00e9\\u20AC\\uD83d\\uDe00\\u0041\"", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"
                                                    "A"},
        {"\"\xC3\xA9\xED\x9F\xBF\xF4\x8F\xBF\xBF\"", "\xC3\xA9\xED\x9F\xBF\xF4\x8F\xBF\xBF"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        drt_json_reader r = {.at = cases[i].json, .end = cases[i].json + strlen(cases[i].json)};
        drt_json_text text;
        char out[64] = {0};
        assert_true(drt_json_string(&r, &text) && drt_json_finish(&r));
        size_t n = drt_json_decode(&text, out);
        assert_int_equal(n, strlen(cases[i].means));
        assert_string_equal(out, cases[i].means);
        assert_true(drt_json_is(&text, cases[i].means));
        assert_false(drt_json_is(&text, "other"));
    }
}

static void faults_have_a_place(void **state) {
    (void)state;
    static const struct {
        const char *json;
        int at; // -1: sound
    } cases[] = {
        {"[1, -0.5e+3, 0, true, false, null, {\"a\": []}]", -1},
        {"{\"a\" 1}", 5},
        {"{\"a\": 1,}", 8},
        {"[1,]", 3},
        {"[01]", 2},
        {"[-]", 1},
        {"[1.]", 1},
        {"[1e]", 1},
        {"[tru]", 1},
        {"[1] 2", 4},
        {"", 0},
        {"\"\\x\"", 1},
        {"\"\\ud800\"", 1},
        {"\"\\udc00\"", 1},
        {"\"\\ud800\\u0041\"", 1},
        {"\"\\u00:1\"", 1},
        {"\"a\nb\"", 2},
        {"\"abc", 0},
        {"\"\xC0\x80\"", 1},
        {"\"\xED\xA0\x80\"", 1},
        {"\"\xF4\x90\x80\x80\"", 1},
        {"\"\xE2\x82\"", 1},
        {"\"12345678\x01\"", 9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        drt_json_reader r = {.at = cases[i].json, .end = cases[i].json + strlen(cases[i].json)};
        drt_json_skip(&r);
        drt_json_finish(&r);
        int at = r.why ? (int)(r.at - cases[i].json) : -1;
        if (at != cases[i].at) fail_msg("%s: %d, not %d (%s)", cases[i].json, at, cases[i].at, r.why ? r.why : "");
        assert_false(r.why && drt_json_skip(&r)); // sticks
    }
    char deep[2 * DRT_JSON_DEPTH + 4];
    for (int levels = DRT_JSON_DEPTH; levels <= DRT_JSON_DEPTH + 1; levels++) {
        memset(deep, '[', (size_t)levels);
        memset(deep + levels, ']', (size_t)levels);
        drt_json_reader r = {.at = deep, .end = deep + 2 * levels};
        assert_int_equal(drt_json_skip(&r), levels == DRT_JSON_DEPTH);
    }
}

static void integers_are_whole_and_fit(void **state) {
    (void)state;
    static const struct {
        const char *json;
        bool good;
        int64_t value;
    } cases[] = {{"12", true, 12},    {"-7 ", true, -7}, {"999999999999999999", true, 999999999999999999},
                 {"1.5", false, 0},   {"1e2", false, 0}, {"1234567890123456789", false, 0},
                 {"\"1\"", false, 0}, {"[1]", false, 0}, {"null", false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        drt_json_reader r = {.at = cases[i].json, .end = cases[i].json + strlen(cases[i].json)};
        int64_t value = 0;
        assert_int_equal(drt_json_integer(&r, &value), cases[i].good);
        assert_int_equal(value, cases[i].value);
        assert_true(drt_json_finish(&r)); // passed in any case
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_mean_what_they_say),
        cmocka_unit_test(faults_have_a_place),
        cmocka_unit_test(integers_are_whole_and_fit),
    };
    return cmocka_run_group_tests_name("json_read", tests, NULL, NULL);
}
