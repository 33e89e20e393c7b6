// Whole numbers too large for jansson are read, everything else is left to it as it stands.
#include "support/check.h"

#include "format/json.h"

static json_t *load(const char *text) {
    json_error_t why;
    return drt_json_load(text, strlen(text), JSON_DECODE_ANY, &why);
}

static void large_numbers_are_reals(void **state) {
    (void)state;
    json_t *o = load("{\"a\": 1000000000000000019884624838656, \"b\": [-20000000000000000000,7, 999999999999999999],\n"
                     "\"c\": \"10000000000000000000000 \\\" 10000000000000000000000\", \"d\": 12345678901234567890.5,"
                     "\"e\":12345678901234567890e2}");
    check(o);
    check(json_real_value(json_object_get(o, "a")) == 1e30);
    const json_t *b = json_object_get(o, "b");
    check(json_real_value(json_array_get(b, 0)) == -2e19);
    check(json_is_integer(json_array_get(b, 1)) && json_integer_value(json_array_get(b, 1)) == 7);
    check(json_integer_value(json_array_get(b, 2)) == 999999999999999999);
    assert_string_equal(json_string_value(json_object_get(o, "c")),
                        "10000000000000000000000 \" 10000000000000000000000");
    check(json_real_value(json_object_get(o, "d")) == 12345678901234567890.5);
    check(json_real_value(json_object_get(o, "e")) == 12345678901234567890e2);
    json_decref(o);
    o = load("10000000000000000000000");
    check(json_real_value(o) == 1e22);
    json_decref(o);
}

static void faults_stay_faults(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{\"a\": 10000000000000000000000",  "[10000000000000000000000 10000000000000000000000]",
        "[-, 10000000000000000000000]",     "[010000000000000000000000]",
        "[10000000000000000000000, \"x\\]", "[10000000000000000000000, \"x]",
        "[10000000000000000000000-1]",      "[10000000000000000000000.]",
        "[10000000000000000000000, \"\\",   "",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (load(bad[i])) fail_msg("%s was taken", bad[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(large_numbers_are_reals), cmocka_unit_test(faults_stay_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
