// Choosing tokens and turning them to text, without a model's forward pass.
#include "support/check.h"
#include "support/tiny_model.h"

#include "infer/pick.h"
#include "infer/stream.h"

#include <math.h>
#include <stdio.h>

enum { N = 6, DRAWS = 40000 };

static drt_picker small_picker(void) {
    return (drt_picker){N, calloc(N, 1), calloc(N, 1), calloc(N, sizeof(drt_pick_entry))};
}

static void drawn(drt_picker *p, const float *logits, double temperature, double top_p, double share[N]) {
    drt_rng r;
    drt_rng_init(&r, 7, 7);
    for (int i = 0; i < N; i++) share[i] = 0;
    for (int i = 0; i < DRAWS; i++) share[drt_pick(p, logits, temperature, top_p, &r)] += 1.0 / DRAWS;
}

static void greedy_takes_the_first_of_equals(void **state) {
    (void)state;
    drt_picker p = small_picker();
    const float logits[N] = {1, 5, 2, 5, 9, 0};
    assert_int_equal(drt_pick(&p, logits, 0, 0, NULL), 4);
    p.banned[4] = 1;
    assert_int_equal(drt_pick(&p, logits, 0, 0, NULL), 1);
    const float broken[N] = {1, NAN, 0, 0, 0, 0};
    assert_int_equal(drt_pick(&p, broken, 0, 0, NULL), -1);
    memset(p.banned, 1, N);
    assert_int_equal(drt_pick(&p, logits, 0, 0, NULL), -1);
    drt_picker_free(&p);
}

static void draws_follow_the_probabilities(void **state) {
    (void)state;
    drt_picker p = small_picker();
    const float logits[N] = {0.5f, 1.5f, -1, 2.5f, 0, 3};
    double share[N], sum = 0, want[N];
    p.banned[1] = 1;
    for (int i = 0; i < N; i++) sum += want[i] = i == 1 ? 0 : exp(logits[i] / 1.7);
    drawn(&p, logits, 1.7, 1, share);
    // Four standard deviations of a share are at most 0.01.
    for (int i = 0; i < N; i++) check(fabs(share[i] - want[i] / sum) < 0.01);
    check(fabs(want[5] / sum - exp(3.0) / 40) > 0.01); // another temperature would be noticed
    // top_p: at temperature 1 tokens 5 and 3 hold 0.52 and 0.31 of the mass.
    drawn(&p, logits, 1, 0.7, share);
    double q = exp(3.0) / (exp(3.0) + exp(2.5));
    check(fabs(share[5] - q) < 0.01 && fabs(share[3] - (1 - q)) < 0.01);
    assert_true(share[0] == 0 && share[2] == 0 && share[4] == 0);
    drawn(&p, logits, 1, 0.4, share);
    check(share[5] > 0.99999);
    drt_picker_free(&p);
}

static void bans_what_no_answer_holds(void **state) {
    (void)state;
    drt_error err = {0};
    drt_model *m = tiny_llava(1, 0);
    drt_picker p;
    check_ok(drt_picker_new(&p, m, NULL, 0, &err));
    int size = drt_tokenizer_size(m->tokenizer), banned = 0;
    for (int i = size; i < m->config.language.vocab; i++) check(p.banned[i]);
    for (int i = 0; i < size; i++) {
        banned += p.banned[i];
        check(p.banned[i] == (drt_tokenizer_is_special(m->tokenizer, i) && i != drt_tokenizer_eos(m->tokenizer)));
    }
    check(banned >= 3); // <unk>, <s>, <pad>
    check(!p.banned[drt_tokenizer_eos(m->tokenizer)]);
    drt_picker_free(&p);
    // a stop string that is a special token may be picked, and ends the answer; ordinary pieces do not
    const char *const stop[] = {"<pad>", "a", "no such piece"};
    check_ok(drt_picker_new(&p, m, stop, 3, &err));
    int pad = drt_tokenizer_id(m->tokenizer, "<pad>"), ends = 0;
    assert_true(pad >= 0 && !p.banned[pad] && p.ends[pad]);
    for (int i = 0; i < m->config.language.vocab; i++) ends += p.ends[i];
    assert_int_equal(ends, 2); // and EOS
    drt_picker_free(&p);
    drt_model_close(m);
}

// Feeds a text token by token; every piece that comes out is noted between bars.
static char *spoken(const drt_tokenizer *tok, const char *text, const char *const *stop, int stops, bool *ended) {
    drt_error err = {0};
    drt_stream s;
    drt_token *t;
    drt_text bars = {0};
    int n;
    size_t size;
    check_ok(drt_tokenizer_encode(tok, text, strlen(text), &t, &n, &err));
    drt_stream_init(&s, tok, stop, stops);
    drt_text all = {0};
    for (int i = 0; i <= n && !s.ended; i++) {
        if (i < n) check_ok(drt_stream_put(&s, t[i].id, &err));
        if (ended) *ended = s.ended;
        if (i == n) check_ok(drt_stream_finish(&s, &err));
        const char *piece = drt_stream_ready(&s, &size);
        if (size && ((unsigned char)piece[0] & 0xc0) == 0x80) fail_msg("a piece begins inside a character");
        drt_text_add(&all, piece, size);
        if (size) drt_text_printf(&bars, "%.*s|", (int)size, piece);
    }
    char *whole = drt_stream_text(&s);
    assert_string_equal(whole, all.bytes ? all.bytes : "");
    free(whole), free(t), drt_text_free(&all), drt_stream_free(&s);
    return bars.bytes ? bars.bytes : strdup("");
}

static void expect(const drt_tokenizer *tok, const char *text, const char *const *stop, int stops, const char *said,
                   bool ends) {
    bool ended;
    char *bars = spoken(tok, text, stop, stops, &ended), *plain = calloc(strlen(bars) + 1, 1), *o = plain;
    for (char *b = bars; *b; b++)
        if (*b != '|') *o++ = *b;
    assert_string_equal(plain, said);
    assert_int_equal(ended, ends);
    free(bars), free(plain);
}

static void text_comes_in_whole_characters(void **state) {
    (void)state;
    drt_error err = {0};
    drt_tokenizer *tok;
    const char *const stops[] = {"###", "USER:"};
    check_ok(drt_tokenizer_open(&tok, "tests/golden/data/byte_level", &err));
    expect(tok, "  a caf\xc3\xa9, \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 \n ", NULL, 0,
           "a caf\xc3\xa9, \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80", false);
    expect(tok, "one ## two ###three", stops, 2, "one ## two", true);
    expect(tok, "one ##", stops, 2, "one ##", false); // held back, then given out
    expect(tok, " yes USER: what US USE", stops, 2, "yes", true);
    expect(tok, "to the US USE", stops, 2, "to the US USE", false);
    expect(tok, "###", stops, 2, "", true);
    expect(tok, "   ", stops, 2, "", false);
    char *bars = spoken(tok, "a ## b", stops, 2, NULL);
    check(strchr(bars, '|') < bars + strlen(bars) - 1); // it really came in pieces
    check(!strstr(bars, "#|#"));                        // "#" alone was held back
    free(bars);
    drt_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_first_of_equals),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(bans_what_no_answer_holds),
        cmocka_unit_test(text_comes_in_whole_characters),
    };
    return cmocka_run_group_tests_name("pick", tests, NULL, NULL);
}
