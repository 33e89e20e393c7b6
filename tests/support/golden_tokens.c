#include "support/golden_tokens.h"

#include "support/check.h"

#include "format/tokenizer.h"

#include <jansson.h>
#include <stdio.h>

static void check_decoded(const drt_tokenizer *tok, const int32_t *ids, int n, const json_t *decoded, int number) {
    drt_error err = {0};
    drt_text all = {0}, stream = {0};
    drt_detokenizer d = {.tokenizer = tok};
    for (int i = 0; i < n; i++) {
        check_ok(drt_detokenizer_put(&d, ids[i], &stream, &err));
        if (stream.size && (stream.bytes[stream.size - 1] & 0x80)) { // only whole characters come out
            size_t last = stream.size - 1;
            while (last && (stream.bytes[last] & 0xc0) == 0x80) last--;
            unsigned char lead = (unsigned char)stream.bytes[last];
            assert_int_equal(stream.size - last, lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2);
        }
    }
    check_ok(drt_detokenizer_finish(&d, &stream, &err));
    check_ok(drt_tokenizer_decode(tok, ids, n, false, &all, &err));
    assert_int_equal(stream.size, all.size);
    if (all.size) assert_memory_equal(stream.bytes, all.bytes, all.size);
    if (decoded && (json_string_length(decoded) != all.size || memcmp(json_string_value(decoded), all.bytes, all.size)))
        fail_msg("case %d: decoded \"%s\", not \"%s\"", number, all.bytes, json_string_value(decoded));
    drt_text_free(&all), drt_text_free(&stream);
}

static void check_case(const drt_tokenizer *tok, const json_t *c, int number) {
    drt_error err = {0};
    const json_t *text = json_object_get(c, "text"), *ids = json_object_get(c, "ids");
    const json_t *places = json_object_get(c, "places"), *random = json_object_get(c, "random");
    drt_token *t;
    int n;
    int32_t id[4096];
    if (random) {
        n = (int)json_array_size(random);
        for (int i = 0; i < n; i++) id[i] = (int32_t)json_integer_value(json_array_get(random, (size_t)i));
        check_decoded(tok, id, n, json_object_get(c, "decoded"), number);
        return;
    }
    check_ok(drt_tokenizer_encode(tok, json_string_value(text), json_string_length(text), &t, &n, &err));
    for (int i = 0; i < n && i < (int)json_array_size(ids); i++) {
        int want = (int)json_integer_value(json_array_get(ids, (size_t)i));
        if (t[i].id != want)
            fail_msg("case %d, \"%s\": piece %d is %d '%s', not %d '%s'", number, json_string_value(text), i, t[i].id,
                     drt_tokenizer_piece(tok, t[i].id), want, drt_tokenizer_piece(tok, want));
        const json_t *place = json_array_get(places, (size_t)i);
        int from = (int)json_integer_value(json_array_get(place, 0)),
            to = (int)json_integer_value(json_array_get(place, 1));
        if (place && (t[i].from != from || t[i].to != to))
            fail_msg("case %d, \"%s\": piece %d stands at [%d, %d), not [%d, %d)", number, json_string_value(text), i,
                     t[i].from, t[i].to, from, to);
    }
    assert_int_equal(n, (int)json_array_size(ids));
    assert_true(n <= 4096);
    for (int i = 0; i < n; i++) {
        id[i] = t[i].id;
        assert_in_range(t[i].from, i ? t[i - 1].from : 0, t[i].to);
        assert_in_range(t[i].to, t[i].from, json_string_length(text));
    }
    check_decoded(tok, id, n, json_object_get(c, "decoded"), number);
    free(t);
}

void check_golden_tokens(const char *kind, const char *suffix) {
    drt_error err = {0};
    drt_tokenizer *tok;
    json_error_t why;
    char path[200];
    snprintf(path, sizeof path, "tests/golden/tokenizer/%s%s", kind, suffix);
    check_ok(drt_tokenizer_open(&tok, path, &err));
    snprintf(path, sizeof path, "tests/golden/tokenizer/%s.cases.json", kind);
    json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &why);
    if (!cases) fail_msg("%s: %s", path, why.text);
    assert_true(json_array_size(cases) > 50);
    for (int i = 0; i < (int)json_array_size(cases); i++) check_case(tok, json_array_get(cases, (size_t)i), i);
    json_decref(cases);
    drt_tokenizer_close(tok);
}
