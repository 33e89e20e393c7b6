// The report of an ablation: means, paired differences and corrections land where they belong, in every face.
#include "support/check.h"

#include "base/file.h"
#include "eval/ablation.h"
#include "eval/statistics.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

enum { ROWS = 3, SEEDS = 3 };

typedef struct {
    drt_report_task task[ROWS][SEEDS][2];
    drt_report_model model[ROWS][SEEDS];
    drt_report_log log[SEEDS];
    drt_ablation_row row[ROWS];
    drt_ablation a;
} fixture;

static const uint64_t seeds[] = {1, 2, 9};
static const char *const names[ROWS] = {"base", "worse", "a|b<c>"};
// Worse: by 10 points, give or take one; the third: up and down.
static const double sighted[ROWS][SEEDS][2] = {
    {{0.50, 0.80}, {0.60, 0.70}, {0.70, 0.90}},
    {{0.40, 0.71}, {0.49, 0.60}, {0.60, 0.80}},
    {{0.55, 0.80}, {0.50, 0.70}, {0.72, 0.90}},
};

static void fill(fixture *f) {
    *f = (fixture){.a = {.title = "T <&>",
                         .command = "drt ablate a<b",
                         .n_rows = ROWS,
                         .rows = f->row,
                         .n_seeds = SEEDS,
                         .seeds = seeds}};
    for (int r = 0; r < ROWS; r++) {
        for (int s = 0; s < SEEDS; s++) {
            f->task[r][s][0] = (drt_report_task){"exist", sighted[r][s][0], 0.5, 0.4, 0.5, 100};
            f->task[r][s][1] = (drt_report_task){"count", sighted[r][s][1], 0.3, 0.2, 0.25, 50};
            f->model[r][s] = (drt_report_model){.name = names[r],
                                                .n_tasks = 2,
                                                .tasks = f->task[r][s],
                                                .image_order_accuracy = r ? 0.25 : NAN,
                                                .image_order_chance = NAN,
                                                .text_order_exact = 0.1,
                                                .text_order_exact_blind = NAN,
                                                .guided_before = NAN,
                                                .guided_after = 0.3,
                                                .train_seconds = 90,
                                                .train_flops = 2e12};
        }
        f->row[r] = (drt_ablation_row){names[r], f->model[r]};
    }
}

static json_t *json_of(const drt_ablation *a) {
    drt_error err = {0};
    drt_text text = {0};
    json_error_t fault;
    check_ok(drt_ablation_json(a, &text, &err));
    json_t *root = json_loads(text.bytes, 0, &fault);
    if (!root) fail_msg("%s: %s", fault.text, text.bytes);
    drt_text_free(&text);
    return root;
}

static double at(json_t *object, const char *a, const char *b) {
    json_t *v = json_object_get(object, a);
    if (b) v = json_object_get(v, b);
    return json_is_null(v) ? NAN : json_number_value(v);
}

static void close_to(double a, double b) {
    if (!(fabs(a - b) <= 2e-5 * fmax(1, fabs(b)))) fail_msg("%.9g is not %.9g", a, b); // six digits are written
}

static void json_holds_the_statistics(void **state) {
    (void)state;
    fixture f;
    fill(&f);
    json_t *root = json_of(&f.a), *rows = json_object_get(root, "variations");
    json_t *exist = json_object_get(json_object_get(json_object_get(rows, "worse"), "tasks"), "exist");
    json_t *mean = json_object_get(json_object_get(json_object_get(rows, "worse"), "tasks"), "mean");
    json_t *base = json_object_get(json_object_get(json_object_get(rows, "base"), "tasks"), "exist");
    // 0.40 0.49 0.60: mean 0.49667, deviation 0.10017, times t(2) = 4.3027 over sqrt(3): 0.24883
    close_to(at(exist, "mean", NULL), 0.496667);
    close_to(at(exist, "half", NULL), 0.248830);
    // differences -0.10 -0.11 -0.10: deviation 0.0057735, half 0.0143422, t = -31
    json_t *change = json_object_get(exist, "change");
    close_to(at(change, "mean", NULL), -0.103333);
    close_to(at(change, "half", NULL), 0.0143422);
    close_to(at(change, "p", NULL), 1 - 31 / sqrt(31 * 31 + 2)); // t with two degrees of freedom in closed form
    assert_true(isnan(at(base, "change", "mean")) && isnan(at(base, "change", "holm")));
    // the family of single tasks: exist and count of both; the third's count never differs: p = 1
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "comparisons"), "mean")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "comparisons"), "tasks")), 4);
    close_to(at(change, "holm", NULL), 4 * at(change, "p", NULL));
    close_to(at(mean, "change", "holm"), 2 * at(mean, "change", "p"));
    // the mean over tasks is one number a seed: -0.095 -0.105 -0.10
    close_to(at(mean, "change", "mean"), -0.1);
    close_to(at(mean, "change", "half"), 4.302653 * 0.005 / sqrt(3));
    json_t *worse = json_object_get(rows, "worse");
    close_to(at(worse, "blind", "mean"), 0.3);
    close_to(at(worse, "flops", "mean"), 2e12);
    assert_true(isnan(at(json_object_get(rows, "base"), "image_order", "mean")));
    assert_int_equal(json_array_size(json_object_get(root, "seeds")), 3);
    json_decref(root);
}

static void verdict_and_tables(void **state) {
    (void)state;
    fixture f;
    drt_error err = {0};
    drt_text text = {0};
    fill(&f);
    check_ok(drt_ablation_table(&f.a, &text, &err));
    assert_non_null(strstr(text.bytes,
                           "Not significantly different from base on the mean of the tasks (5 %, paired t-test "
                           "over 3 seeds, Holm's correction for 2 comparisons): a|b<c>. Significantly "
                           "different: worse. Of 4 differences on single tasks 2 are significant"));
    assert_non_null(strstr(text.bytes, "-10.3 ± 1.4 *"));
    assert_non_null(strstr(text.bytes, "49.7 ± 24.9"));
    assert_non_null(strstr(text.bytes, "     2      1.5\n")); // TFLOP, minutes
    drt_text_free(&text);
    check_ok(drt_ablation_markdown(&f.a, &text, &err));
    assert_non_null(strstr(text.bytes, "| a\\|b\\<c> | -0.5 ± 9.9 | -1.0 ± 19.7 | +0.0 |"));
    drt_text_free(&text);
    // one seed: no intervals, nothing is claimed
    f.a.n_seeds = 1;
    check_ok(drt_ablation_table(&f.a, &text, &err));
    assert_non_null(strstr(text.bytes, "One seed: no difference can be told from chance"));
    assert_null(strstr(text.bytes, "±"));
    assert_null(strstr(text.bytes, "*\n"));
    drt_text_free(&text);
    f.a.n_seeds = 17;
    check_refused(drt_ablation_table(&f.a, &text, &err), DRT_EARG, "1 to 16 seeds");
}

static void page_draws_the_mean_over_seeds(void **state) {
    (void)state;
    static const char *const lines[SEEDS] = {
        "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":1}\n", "{\"step\":1,\"loss\":5}\n{\"step\":2,\"loss\":3}\n",
        "{\"step\":1,\"loss\":7}\n{\"step\":2,\"loss\":5}\n{\"step\":3,\"loss\":0}\n"};
    fixture f;
    drt_error err = {0};
    char *folder = test_folder("ablation"), *path[SEEDS], *page, *html;
    fill(&f);
    for (int s = 0; s < SEEDS; s++) {
        char name[20];
        snprintf(name, sizeof name, "%d.jsonl", s);
        path[s] = drt_path_join(folder, name);
        check_ok(drt_file_write(path[s], lines[s], strlen(lines[s]), &err));
        f.log[s] = (drt_report_log){"stage 1", path[s]};
        for (int r = 0; r < ROWS; r++) f.model[r][s].n_logs = 1, f.model[r][s].logs = &f.log[s];
    }
    check_ok(drt_ablation_write(&f.a, folder, &err));
    page = drt_path_join(folder, "report.html");
    check_ok(drt_file_read(&html, NULL, page, 0, &err));
    assert_non_null(strstr(html, "a|b&lt;c&gt;"));
    assert_null(strstr(html, "<c>"));
    assert_non_null(strstr(html, "drt ablate a&lt;b"));
    assert_int_equal(strstr(html, "drt-chart") != NULL, 1);
    // The same curve drawn from a file of the means, by one seed: the same picture.
    const char mean[] = "{\"step\":1,\"loss\":5}\n{\"step\":2,\"loss\":3}\n";
    const char *svg = strstr(html, "<figure>"), *end = strstr(svg, "</figure>");
    check_ok(drt_file_write(path[0], mean, sizeof mean - 1, &err));
    f.a.n_seeds = 1;
    drt_text again = {0};
    check_ok(drt_ablation_html(&f.a, &again, &err));
    const char *same = strstr(again.bytes, "<figure>");
    assert_non_null(same);
    assert_memory_equal(svg, same, (size_t)(end - svg));
    // more rows than colours: the base comes again
    drt_ablation_row many[12];
    for (int i = 0; i < 12; i++) many[i] = f.row[i % ROWS];
    f.a.rows = many;
    f.a.n_rows = 12;
    drt_text_free(&again);
    check_ok(drt_ablation_html(&f.a, &again, &err));
    int figures = 0;
    for (const char *at = again.bytes; (at = strstr(at, "<figure>")); at++) figures++;
    assert_int_equal(figures, 2);
    drt_text_free(&again);
    free(html), free(page), free(folder);
    for (int s = 0; s < SEEDS; s++) free(path[s]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(json_holds_the_statistics),
                                       cmocka_unit_test(verdict_and_tables),
                                       cmocka_unit_test(page_draws_the_mean_over_seeds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
