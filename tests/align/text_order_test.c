// Which samples are asked to put words in order, and how (METHODS 2.2).
#include "support/check.h"

#include "align/methods.h"
#include "data/shuffle_words.h"
#include "format/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_word(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The words of text, sorted, in one string.
static void sorted_words(const char *text, char out[200]) {
    char copy[200], *word[32], *rest = NULL;
    int n = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *w = strtok_r(copy, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) word[n++] = w;
    qsort(word, (size_t)n, sizeof *word, by_word);
    *out = 0;
    for (int i = 0; i < n; i++) strcat(strcat(out, word[i]), " ");
}

// Only descriptions, one question and one answer, of one picture. The prompt holds the answer's words in another order.
static void only_descriptions(void **state) {
    (void)state;
    const char *said = "a red ring left of a blue star above an orange cross";
    const drt_turn turns[] = {{true, "<image>\ndescribe the picture."}, {false, said}, {true, "why?"}, {false, "so."}};
    const struct {
        int turns, images;
        bool made;
    } cases[] = {{2, 1, true}, {4, 1, false}, {2, 0, false}, {2, 2, false}, {1, 1, false}};
    drt_error err = {0};
    drt_tokenizer *tok;
    check_ok(drt_tokenizer_open(&tok, "models/tiny-llama", &err));
    const drt_template *how = drt_template_find("v1");
    const drt_align_options options = {.how = how, .ask = how, .context = 512, .image_rows = 64};
    int same = 0;
    for (int c = 0; c < 5; c++) {
        const drt_pass_source source = {tok, turns, cases[c].turns, cases[c].images, &options};
        for (uint64_t seed = 0; seed < 8; seed++) {
            drt_arena *arena = drt_arena_new(0);
            drt_pass pass = {0};
            drt_text prompt = {0}, answer = {0};
            drt_rng r;
            bool made = !cases[c].made;
            char words[200], wanted[200];
            drt_rng_init(&r, seed, 1);
            check_ok(drt_text_order_pass(&source, &r, arena, &pass, &made, &err));
            assert_int_equal(made, cases[c].made);
            if (made) {
                assert_int_equal(pass.kind, DRT_PASS_TEXT_ORDER);
                int image = 0, first = 0, learned = 0;
                while (pass.id[image] != DRT_IMAGE_TOKEN) assert_true(++image < pass.n);
                while (pass.label[first] < 0) assert_true(++first < pass.n);
                while (first + learned < pass.n && pass.label[first + learned] >= 0) learned++;
                check_ok(drt_tokenizer_decode(tok, pass.id + first, learned, true, &answer, &err));
                assert_string_equal(answer.bytes + strspn(answer.bytes, " "), said);
                check_ok(drt_tokenizer_decode(tok, pass.id + image + 1, first - image - 1, true, &prompt, &err));
                char *asked = strstr(prompt.bytes, DRT_TEXT_ORDER_PROMPT), *end = strstr(prompt.bytes, " ASSISTANT");
                assert_true(asked && end > asked);
                *end = 0, asked += strlen(DRT_TEXT_ORDER_PROMPT);
                same += !strcmp(asked, said);
                sorted_words(asked, words), sorted_words(said, wanted);
                assert_string_equal(words, wanted);
            }
            drt_text_free(&prompt), drt_text_free(&answer);
            drt_arena_free(arena);
        }
    }
    assert_int_equal(same, 0);
    drt_tokenizer_close(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_descriptions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
