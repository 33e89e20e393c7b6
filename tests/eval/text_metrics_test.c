// Answers as the reference evaluators see them. Expected values are worked out by hand from their rules.
#include "support/check.h"

#include "eval/text_metrics.h"

#include <math.h>

typedef struct {
    const char *answer, *normal;
} pair;

static void check_pairs(const pair *pairs, size_t n, drt_answer_rules rules) {
    for (size_t i = 0; i < n; i++) {
        drt_text out = {0};
        drt_answer_normalise(&out, pairs[i].answer, rules);
        assert_string_equal(out.bytes, pairs[i].normal);
        drt_text_free(&out);
    }
}
#define check_all(pairs, rules) check_pairs(pairs, sizeof pairs / sizeof *pairs, rules)

static void textvqa_normalises(void **state) {
    (void)state;
    static const pair pairs[] = {
        {"", ""},
        {"  The Red Ball. ", "red ball"},
        {"Yes, it is?", "yes it is"},
        {"dog's", "dog 's"},
        {"dog',s", "dog 's"},
        {"two\ncats\tand\nnone", "2 cats and 0"},
        {"zero one two three four five six seven eight nine ten", "0 1 2 3 4 5 6 7 8 9 10"},
        {"an apple a day the end", "apple day end"},
        {"a", ""},
        // a sign next to a space anywhere vanishes everywhere, else it becomes a space
        {"blue/green", "blue green"},
        {"blue/green / red", "bluegreen red"},
        {"well-known", "well known"},
        {"x -y a-b", "x y ab"},
        {"1,000", "1000"},
        {"semi;colon!", "semi colon"},
        {"<a@b>", "b"}, // "a" stands alone then, and is an article
        {"10:30 & 5% #1 $2 *", "10:30 & 5% #1 $2 *"},
        // a full stop stays only before a digit, also after one
        {"3.5", "3.5"},
        {"3. 5", "3 5"},
        {"a.b.c .5", "abc .5"},
        {"u.s.a.", "usa"},
        // contractions by missing apostrophes
        {"wont", "won't"},
        {"cant hes hed", "can't he's he'd"},
        {"shed well id ill hell were", "shed well id ill hell were"},
        {"im", "im"},
        {"twas oclock maam yall", "'twas o'clock ma'am y'all"},
        {"couldnt've couldn'tve couldntve", "couldn't've couldn't've couldntve"},
        {"somebody'd", "somebodyd"},
        {"yall'd've y'alld've y'all'dve y'allll", "y'all'd've y'all'd've y'all'd've y'all'll"},
        {"won't", "won't"},
        {"ÄRGER\xc2\xa0Über", "ärger über"},
        {"\xff?", "\xff"},
    };
    check_all(pairs, DRT_ANSWER_TEXTVQA);
}

static void only_32_full_stops_go(void **state) {
    (void)state;
    char dots[41] = {0};
    memset(dots, '.', 40);
    static const pair expected = {NULL, "........"};
    pair p = {dots, expected.normal};
    check_pairs(&p, 1, DRT_ANSWER_TEXTVQA);
}

static void vqa_official_differs_on_commas_and_references(void **state) {
    (void)state;
    static const pair predictions[] = {
        {"1,000", "1000"},         // a comma between digits deletes every sign
        {"1,000 a-b", "1000 ab"},
        {"red,blue", "red blue"},  // TextVQA gives "redblue"
        {"red, blue", "red blue"},
        {"Dog's\n", "dog's"},
        {"what?", "what"},
    };
    static const pair references[] = {{"The Dog.", "The Dog"}, {"a-b two", "a b two"}, {" x ", " x "}};
    static const pair joined = {"red,blue", "redblue"};
    check_all(predictions, DRT_ANSWER_VQA);
    check_all(references, DRT_ANSWER_VQA_REFERENCE);
    check_pairs(&joined, 1, DRT_ANSWER_TEXTVQA);
}

static void exact_match_after_normalisation(void **state) {
    (void)state;
    assert_true(drt_answer_matches("The Circle.", "circle"));
    assert_true(drt_answer_matches("two", "2"));
    assert_false(drt_answer_matches("circle", "circles"));
    assert_true(drt_answer_matches("", "the"));
}

static void leave_one_out_score(void **state) {
    (void)state;
    static const double expected[] = {0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1};
    drt_error err = {0};
    const char *references[10];
    double score;
    for (int k = 0; k <= 10; k++) {
        for (int i = 0; i < 10; i++) references[i] = i < k ? "A Red car." : "bus";
        check_ok(drt_vqa_score(&score, "red car", references, 10, DRT_ANSWER_TEXTVQA, &err));
        assert_true(fabs(score - expected[k]) < 1e-12);
        // VQAv2's references keep their case and articles, so the same prediction matches none
        check_ok(drt_vqa_score(&score, "red car", references, 10, DRT_ANSWER_VQA, &err));
        assert_true(score == 0);
    }
    // all references alike: not even punctuation is settled
    for (int i = 0; i < 10; i++) references[i] = "t-shirt";
    check_ok(drt_vqa_score(&score, "t-shirt", references, 10, DRT_ANSWER_VQA, &err));
    assert_true(score == 0);
    references[9] = "coat";
    check_ok(drt_vqa_score(&score, "t-shirt", references, 10, DRT_ANSWER_VQA, &err));
    assert_true(score == 1);
    check_refused(drt_vqa_score(&score, "x", references, 9, DRT_ANSWER_VQA, &err), DRT_EDATA, "9 reference");
}

static void pope_reads_answers(void **state) {
    (void)state;
    static const char *const no[] = {"no", "No", "No, there is no dog.", "There is not a dog", "not", ",no", "n,o",
                                     "Well no. Yes"};
    static const char *const yes[] = {"yes", "", "NO", "Not", "nothing", "Yes. no", "no\n", "know", "none at all"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) assert_false(drt_pope_says_yes(no[i]));
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) assert_true(drt_pope_says_yes(yes[i]));
}

static void pope_counts(void **state) {
    (void)state;
    drt_pope p = {0};
    drt_pope_metrics none = drt_pope_summary(&p);
    assert_true(none.accuracy == 0 && none.f1 == 0 && none.precision == 0 && none.recall == 0 && none.yes_rate == 0);
    for (int i = 0; i < 3; i++) drt_pope_add(&p, true, true);
    drt_pope_add(&p, true, false);
    for (int i = 0; i < 2; i++) drt_pope_add(&p, false, true);
    for (int i = 0; i < 4; i++) drt_pope_add(&p, false, false);
    drt_pope_metrics m = drt_pope_summary(&p);
    assert_true(fabs(m.accuracy - 0.7) < 1e-12 && fabs(m.precision - 0.75) < 1e-12 && fabs(m.recall - 0.6) < 1e-12);
    assert_true(fabs(m.f1 - 2 * 0.75 * 0.6 / 1.35) < 1e-12 && fabs(m.yes_rate - 0.4) < 1e-12);
    drt_pope never = {.no_yes = 2, .no_no = 2};
    m = drt_pope_summary(&never);
    assert_true(m.precision == 0 && m.f1 == 0 && m.accuracy == 0.5);
}

static void choices_are_named(void **state) {
    (void)state;
    assert_int_equal(drt_choice_answer("B", 3), 1);
    assert_int_equal(drt_choice_answer("C. the dog", 3), 2);
    assert_int_equal(drt_choice_answer("D", 3), -1);
    assert_int_equal(drt_choice_answer("The answer is A.", 3), 0);
    assert_int_equal(drt_choice_answer("I think. The answer is B!", 3), 1);
    assert_int_equal(drt_choice_answer("The answer is A. The answer is B.", 3), -1);
    assert_int_equal(drt_choice_answer("The answer is A", 3), -1);
    assert_int_equal(drt_choice_answer("The answer is F.", 9), -1);
    assert_int_equal(drt_choice_answer("b", 3), -1);
    assert_int_equal(drt_choice_answer("B.", 3), -1);
    assert_int_equal(drt_choice_answer("", 3), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(textvqa_normalises),
        cmocka_unit_test(only_32_full_stops_go),
        cmocka_unit_test(vqa_official_differs_on_commas_and_references),
        cmocka_unit_test(exact_match_after_normalisation),
        cmocka_unit_test(leave_one_out_score),
        cmocka_unit_test(pope_reads_answers),
        cmocka_unit_test(pope_counts),
        cmocka_unit_test(choices_are_named),
    };
    return cmocka_run_group_tests_name("text_metrics", tests, NULL, NULL);
}
