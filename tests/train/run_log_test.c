// The run log: lines as they were given, resuming, reading back, the live line.
#include "support/check.h"

#include "base/file.h"
#include "train/run_log.h"

#include <math.h>
#include <unistd.h>

static char *read_log(const char *folder) {
    drt_error err = {0};
    char *path = drt_path_join(folder, "run.jsonl"), *text;
    check_ok(drt_file_read(&text, NULL, path, 0, &err));
    free(path);
    return text;
}

static void write_steps(const char *folder, int64_t resumed, int64_t from, int64_t to) {
    drt_error err = {0};
    drt_log *log;
    check_ok(drt_log_open(&log, folder, resumed, &err));
    for (int64_t step = from; step <= to; step++) {
        drt_log_begin(log, step);
        drt_log_number(log, "loss", 1.0 / (double)step);
        check_ok(drt_log_end(log, &err));
    }
    drt_log_close(log);
}

static void lines_are_ordered_and_flushed(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("run_log");
    drt_log *log;
    check_ok(drt_log_open(&log, folder, 0, &err));
    drt_log_begin(log, 1);
    drt_log_number(log, "lr", 1e-4);
    drt_log_number(log, "loss", 0.1f);
    drt_log_number(log, "loss.language", NAN);
    drt_log_number(log, "rows", 123456789);
    drt_log_number(log, "third", 1.f / 3);
    drt_log_text(log, "note", "a\"b");
    check_ok(drt_log_end(log, &err));
    char *text = read_log(folder); // before the log is closed
    assert_string_equal(text, "{\"step\":1,\"lr\":0.0001,\"loss\":0.1,\"loss.language\":null,\"rows\":123456789,"
                              "\"third\":0.33333334,\"note\":\"a\\\"b\"}\n");
    free(text);
    drt_log_begin(log, 2);
    check_ok(drt_log_end(log, &err));
    drt_log_close(log);
    text = read_log(folder);
    assert_string_equal(strchr(text, '\n'), "\n{\"step\":2}\n");
    free(text), free(folder);
    check_refused(drt_log_open(&log, "/dev/null", 0, &err), DRT_EIO, "/dev/null/run.jsonl");
    assert_null(log);
}

static void resuming_drops_later_and_torn_lines(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("run_log_resume"), *path = drt_path_join(folder, "run.jsonl");
    write_steps(folder, 0, 1, 12);
    char *whole = read_log(folder);
    size_t n = strlen(whole);
    check_ok(drt_file_write(path, whole, n - 5, &err)); // killed while writing step 12
    write_steps(folder, 9, 10, 12);
    char *again = read_log(folder);
    assert_string_equal(again, whole);
    free(again);
    check_ok(drt_file_write(path, whole, n - 5, &err));
    write_steps(folder, 12, 13, 13); // the torn line goes even when its step is kept
    again = read_log(folder);
    assert_non_null(strstr(again, "{\"step\":11,"));
    assert_null(strstr(again, "{\"step\":12,"));
    assert_non_null(strstr(again, "}\n{\"step\":13,"));
    free(again), free(whole);
    write_steps(folder, 0, 1, 1);
    again = read_log(folder);
    assert_string_equal(again, "{\"step\":1,\"loss\":1}\n");
    free(again), free(path), free(folder);
}

static void every_thins_the_file_only(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("run_log_every");
    drt_log *log;
    check_ok(drt_log_open(&log, folder, 0, &err));
    drt_log_every(log, 2);
    for (int step = 1; step <= 4; step++) {
        drt_log_begin(log, step);
        check_ok(drt_log_end(log, &err));
    }
    drt_log_close(log);
    char *text = read_log(folder);
    assert_string_equal(text, "{\"step\":2}\n{\"step\":4}\n");
    free(text), free(folder);
}

static void reader_gives_series(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("run_log_read"), *path = drt_path_join(folder, "run.jsonl");
    static const char text[] = "{\"step\":1,\"a\":0.5,\"note\":\"x\"}\n{\"step\":3,\"a\":null,\"b\":2}\n"
                               "{\"step\":5,\"a\":-1}\n{\"step\":7,\"a\":";
    check_ok(drt_file_write(path, text, sizeof text - 1, &err));
    drt_run_log log;
    check_ok(drt_run_log_read(&log, path, &err));
    assert_int_equal(log.n_series, 2);
    const drt_run_series *a = drt_run_log_find(&log, "a"), *b = drt_run_log_find(&log, "b");
    assert_int_equal(a->n, 3);
    assert_true(a->value[0] == 0.5 && isnan(a->value[1]) && a->value[2] == -1 && a->step[2] == 5);
    assert_true(b->n == 1 && b->step[0] == 3 && b->value[0] == 2);
    assert_null(drt_run_log_find(&log, "note"));
    drt_run_log_free(&log);
    check_ok(drt_file_write(path, "{\"step\":1}\n{\"step\":}\n", 21, &err));
    check_refused(drt_run_log_read(&log, path, &err), DRT_EFORMAT, "run.jsonl:2:");
    check_ok(drt_file_write(path, "{\"a\":1}\n", 8, &err));
    check_refused(drt_run_log_read(&log, path, &err), DRT_EFORMAT, "\"step\"");
    check_ok(drt_file_write(path, "[]\n", 3, &err));
    check_refused(drt_run_log_read(&log, path, &err), DRT_EFORMAT, "\"step\"");
    free(path), free(folder);
}

static void reader_keeps_long_series(void **state) {
    (void)state;
    enum { STEPS = 5000 };
    drt_error err = {0};
    char *folder = test_folder("run_log_long"), *path = drt_path_join(folder, "run.jsonl");
    write_steps(folder, 0, 1, STEPS);
    drt_run_log log;
    check_ok(drt_run_log_read(&log, path, &err));
    const drt_run_series *loss = drt_run_log_find(&log, "loss");
    assert_int_equal(loss->n, STEPS);
    for (int i = 0; i < STEPS; i++) assert_true(loss->step[i] == i + 1 && fabs(loss->value[i] * (i + 1) - 1) < 1e-6);
    drt_run_log_free(&log);
    free(path), free(folder);
}

typedef struct {
    int calls;
    drt_log_view view;
    double first, second;
} watched;

static void watch(void *user, const drt_log_view *view) {
    watched *w = user;
    w->calls++;
    w->view = *view;
    w->first = view->n_losses > 0 ? view->losses[0] : NAN;
    w->second = view->n_losses > 1 ? view->losses[1] : NAN;
}

static void watcher_sees_means(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("run_log_watch");
    drt_log *log;
    watched w = {0};
    check_ok(drt_log_open(&log, folder, 0, &err));
    drt_log_watch(log, 10, watch, &w);
    for (int step = 1; step <= 3; step++) {
        drt_log_begin(log, step);
        drt_log_number(log, "loss", 4);
        drt_log_number(log, "loss.guided", step == 2 ? NAN : step);
        drt_log_number(log, "tokens_per_second", 1000);
        check_ok(drt_log_end(log, &err));
        assert_true(step > 1 ? w.view.seconds_left >= 0 : w.view.seconds_left < 0);
    }
    assert_int_equal(w.calls, 3);
    assert_int_equal(w.view.n_losses, 2);
    assert_string_equal(w.view.names[1], "guided");
    assert_true(fabs(w.first - 4) < 1e-12);
    // weights 0.05 * 0.95 and 0.05 of the values 1 and 3: NaN does not count as a step
    assert_true(fabs(w.second - (0.95 * 1 + 3) / 1.95) < 1e-12);
    assert_true(w.view.tokens_per_second == 1000 && w.view.total == 10 && w.view.memory == 0);
    drt_log_close(log);
    free(folder);
}

static void terminal_line_is_plain_in_a_file(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("run_log_plain"), *path = drt_path_join(folder, "line"), *text;
    drt_log_screen screen = {.file = fopen(path, "w")};
    const char *names[] = {"loss", "language"};
    const double losses[] = {1.25, 0.5};
    drt_log_view view = {.step = 1, .total = 3, .n_losses = 2, .names = names, .losses = losses,
                         .tokens_per_second = 1234, .memory = 1.5e9, .seconds_left = 65};
    drt_log_terminal(&screen, &view);
    view.step = 2; // too soon for another line
    drt_log_terminal(&screen, &view);
    view.step = 3;
    drt_log_terminal(&screen, &view);
    fclose(screen.file);
    check_ok(drt_file_read(&text, NULL, path, 0, &err));
    assert_string_equal(text, "step 1/3, 1 min 05 s left  loss 1.250 · language 0.500  1234 tokens/s  1.50 GB\n"
                              "step 3/3  loss 1.250 · language 0.500  1234 tokens/s  1.50 GB\n");
    free(text), free(path), free(folder);
    assert_true(drt_peak_memory() > 100000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_ordered_and_flushed), cmocka_unit_test(resuming_drops_later_and_torn_lines),
        cmocka_unit_test(every_thins_the_file_only),     cmocka_unit_test(reader_gives_series),
        cmocka_unit_test(watcher_sees_means),            cmocka_unit_test(terminal_line_is_plain_in_a_file),
        cmocka_unit_test(reader_keeps_long_series),
    };
    return cmocka_run_group_tests_name("run_log", tests, NULL, NULL);
}
