// Reports: the numbers that were put in come out in every face, and hostile text does not break the page.
#include "support/check.h"

#include "base/file.h"
#include "eval/report.h"
#include "eval/report_parts.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

static const drt_report_task first_tasks[] = {{"exist", 0.832, 0.512, 0.508, 0.5, 600},
                                              {"color", 0.5, 0.25, NAN, 0.125, 64}};
static const drt_report_task second_tasks[] = {{"exist", 0.95, 0.5, 0.5, 0.5, 600},
                                               {"a|b<c>", 0.75, NAN, NAN, NAN, 0}};
static const char *const first_answers[] = {"The square.", "<script>alert(1)</script>"};
static const char *const second_answers[] = {NULL, "two"};
static const unsigned char jpeg[] = {0xff, 0xd8, 0xff, 0xe0};

typedef struct {
    drt_report_log logs[2];
    drt_report_model models[2];
    drt_report_example examples[2];
    const char *commands[1];
    drt_report report;
} fixture;

static void fill(fixture *f) {
    *f = (fixture){.commands = {"drt chat \"a & b\""}};
    f->models[0] = (drt_report_model){"llava", 2, first_tasks, NAN, NAN, NAN, NAN, 0.31, 0.332, 65, 0, 0, NULL};
    f->models[1] = (drt_report_model){"direct <llava>", 2, second_tasks, 0.622, 0.015625, 0.71, 0.42, 0.31, 0.587,
                                      NAN, 3e12, 0, NULL};
    f->examples[0] = (drt_report_example){"\x89PNG", 4, "exist", "what | is?", "square", first_answers};
    f->examples[1] = (drt_report_example){jpeg, 4, "count", "how many?\nsay", "2", second_answers};
    f->report = (drt_report){.title = "T <&>", .note = "a note", .n_models = 2, .models = f->models, .n_examples = 2,
                             .examples = f->examples, .n_commands = 1, .commands = f->commands};
}

static void json_has_the_layout_that_was_promised(void **state) {
    (void)state;
    fixture f;
    drt_text text = {0};
    json_error_t fault;
    fill(&f);
    drt_report_json(&f.report, &text);
    json_t *root = json_loads(text.bytes, 0, &fault), *models = json_object_get(root, "models");
    assert_non_null(root);
    double sighted, blind, restricted, prior, order, text_exact, before, after;
    assert_int_equal(json_unpack(models, "{s:{s:{s:{s:F, s:F, s:F, s:F}}}}", "llava", "tasks", "exist", "sighted",
                                 &sighted, "blind", &blind, "blind_restricted", &restricted, "prior", &prior), 0);
    assert_true(sighted == 0.832 && blind == 0.512 && restricted == 0.508 && prior == 0.5);
    assert_int_equal(json_unpack(models, "{s:{s:F, s:F, s:{s:F, s:F}}}", "direct <llava>", "image_order_accuracy",
                                 &order, "text_order_exact", &text_exact, "guided_mass", "before", &before, "after",
                                 &after), 0);
    assert_true(order == 0.622 && text_exact == 0.71 && before == 0.31 && after == 0.587);
    json_t *llava = json_object_get(models, "llava");
    assert_true(json_is_null(json_object_get(llava, "train_flops")));
    assert_true(json_real_value(json_object_get(json_object_get(models, "direct <llava>"), "train_flops")) == 3e12);
    assert_true(json_is_null(json_object_get(llava, "image_order_accuracy")));
    json_t *color = json_object_get(json_object_get(llava, "tasks"), "color");
    assert_true(json_is_null(json_object_get(color, "blind_restricted")));
    assert_int_equal(json_integer_value(json_object_get(color, "n")), 64);
    json_decref(root);
    drt_text_free(&text);
}

static void table_lines_up(void **state) {
    (void)state;
    fixture f;
    drt_text text = {0};
    fill(&f);
    drt_report_table(&f.report, &text);
    int width = -1, lines = 0;
    for (const char *line = text.bytes, *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
        int n = 0;
        for (const char *p = line; p < end; p++) n += ((unsigned char)*p & 0xc0) != 0x80;
        if (width < 0) width = n;
        assert_int_equal(n, width);
    }
    assert_int_equal(lines, 2 + 1 + 3 + 1 + 1 + 4);
    assert_non_null(strstr(text.bytes, "83.2    51.2       50.8"));
    // color: the second model has nothing; mean of the first: (83.2 + 50) / 2, prior (50 + 12.5) / 2
    const char *color = strstr(text.bytes, "\ncolor"), *mean = strstr(text.bytes, "\nmean");
    assert_non_null(strstr(color, "50.0    25.0          –          –       –          –\n"));
    assert_true(strstr(mean, "31.2") < strstr(mean, "66.6") && strstr(mean, "66.6") != NULL);
    assert_non_null(strstr(text.bytes, "62.2 (chance 1.6)"));
    assert_non_null(strstr(text.bytes, "71.0 (blind 42.0)"));
    assert_non_null(strstr(text.bytes, "58.7 (before 31.0)"));
    assert_non_null(strstr(text.bytes, "1 min 05 s"));
    drt_text_free(&text);
    // what nobody measured takes no row
    f.models[1].image_order_accuracy = NAN;
    drt_report_table(&f.report, &text);
    assert_null(strstr(text.bytes, "image order"));
    drt_text_free(&text);
}

static void markdown_escapes_cells(void **state) {
    (void)state;
    fixture f;
    drt_text text = {0};
    fill(&f);
    drt_report_markdown(&f.report, &text);
    assert_memory_equal(text.bytes, "# T <&>\n", 8);
    // 1.96 * sqrt(0.832 * 0.168 / 600) = 0.0299
    assert_non_null(strstr(text.bytes, "| exist | 600 | 50.0 | 83.2 ± 3.0 | 51.2 | 50.8 | 95.0 ± 1.7 | 50.0 | 50.0 |"));
    assert_non_null(strstr(text.bytes, "| a\\|b\\<c> | 0 | – | – | – | – | 75.0 | – | – |\n"));
    assert_non_null(strstr(text.bytes, "| exist | what \\| is? | square | ✓ The square. | ✗ \\<script>"));
    assert_non_null(strstr(text.bytes, "| count | how many? say | 2 | ✗ – | ✓ two |\n"));
    assert_non_null(strstr(text.bytes, "```sh\ndrt chat \"a & b\"\n```\n"));
    drt_text_free(&text);
}

static void page_is_self_contained_and_escaped(void **state) {
    (void)state;
    fixture f;
    drt_error err = {0};
    char *folder = test_folder("report"), *log = drt_path_join(folder, "run.jsonl");
    char lines[] = "{\"step\":1,\"loss\":3,\"loss.image_order\":2.5}\n"
                   "{\"step\":2,\"loss\":2,\"loss.image_order\":1.5}\n";
    check_ok(drt_file_write(log, lines, sizeof lines - 1, &err));
    fill(&f);
    f.logs[0] = (drt_report_log){"stage 1", log};
    f.models[1].n_logs = 1, f.models[1].logs = f.logs;
    char *out = drt_path_join(folder, "made/here"), *path = drt_path_join(out, "report.html"), *page;
    check_ok(drt_report_write(&f.report, out, &err));
    check_ok(drt_file_read(&page, NULL, path, 0, &err));
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "a|b<c>"));
    assert_null(strstr(page, " src=\"http"));
    assert_null(strstr(page, "href="));
    assert_non_null(strstr(page, "<title>T &lt;&amp;&gt;</title>"));
    assert_non_null(strstr(page, "src=\"data:image/png;base64,iVBORw==\""));
    assert_non_null(strstr(page, "src=\"data:image/jpeg;base64,/9j/4A==\""));
    assert_non_null(strstr(page, "<dd class=\"good\">The square.</dd>"));
    assert_non_null(strstr(page, "<dd class=\"bad\">&lt;script&gt;"));
    assert_non_null(strstr(page, "<dd class=\"none\">–</dd>"));
    assert_non_null(strstr(page, "stage 1 · image order"));
    assert_null(strstr(page, "stage 1 · loss")); // split up, so the sum is not shown
    assert_non_null(strstr(page, "<td>62.2 <small>(chance 1.6)</small></td>"));
    assert_non_null(strstr(page, "prefers-color-scheme:dark"));
    // bold only where the lead exceeds both intervals: exist, 95.0 against 83.2
    const char *best = strstr(page, "<td class=\"first best\">95.0");
    assert_non_null(best);
    assert_null(strstr(best + 20, "first best"));
    const char *const others[] = {"report.md", "report.json"};
    for (int i = 0; i < 2; i++) {
        char *other = drt_path_join(out, others[i]);
        assert_true(drt_file_exists(other));
        free(other);
    }
    f.logs[0].path = "no/run.jsonl";
    check_refused(drt_report_write(&f.report, out, &err), DRT_EIO, "no/run.jsonl");
    check_refused(drt_report_write(&f.report, "/dev/null/x", &err), DRT_EIO, "/dev/null");
    free(page), free(path), free(out), free(log), free(folder);
}

static void close_results_are_not_bold(void **state) {
    (void)state;
    fixture f;
    drt_error err = {0};
    drt_text page = {0};
    drt_report_task close = second_tasks[0];
    fill(&f);
    close.sighted = 0.86; // 2.8 points ahead; the intervals together are 4.1
    f.models[1].n_tasks = 1, f.models[1].tasks = &close;
    check_ok(drt_report_html(&f.report, &page, &err));
    assert_null(strstr(page.bytes, "first best"));
    drt_text_free(&page);
    drt_text_free(&page);
    drt_report empty = {.title = "nothing"};
    check_ok(drt_report_html(&empty, &page, &err));
    assert_non_null(strstr(page.bytes, "</html>"));
    drt_report_table(&empty, &page);
    drt_report_markdown(&empty, &page);
    drt_text_free(&page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_the_layout_that_was_promised),
        cmocka_unit_test(table_lines_up),
        cmocka_unit_test(markdown_escapes_cells),
        cmocka_unit_test(page_is_self_contained_and_escaped),
        cmocka_unit_test(close_results_are_not_bold),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
