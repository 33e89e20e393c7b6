// The history of runs: what it keeps, what it makes of two programs at once, of a killed one and of foreign files; and
// drt runs, as a user meets it.
#include "support/check.h"
#include "support/shell.h"
#include "support/world.h"

#include "base/file.h"
#include "train/history_diff.h"
#include "train/recorder.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const char recipe[] = "task: llava\nseed: 1\ndata:\n  file: a.json\noptimizer:\n  lr: 0.001\n";

static drt_history_entry entry_of(const char *folder) {
    return (drt_history_entry){.folder = folder,
                               .recipe = recipe,
                               .data = "a.json",
                               .data_hash = "00ff",
                               .device = "cpu",
                               .seed = 1,
                               .threads = 2,
                               .samples = 12,
                               .steps = 20};
}

static void put(drt_history *h, int64_t step, double loss) {
    drt_error err = {0};
    static const char *const names[] = {"loss", "seconds"};
    check_ok(drt_history_metrics(h, step, 2, names, (double[]){loss, 0.5}, &err));
}

static void keeps_what_a_run_was(void **state) {
    (void)state;
    drt_error err = {0};
    drt_history *h;
    char *folder = test_folder("history"), *path = drt_path_join(folder, "deep/runs.sqlite");
    drt_history_entry entry = entry_of(folder);
    check_ok(drt_history_begin(&h, path, &entry, &err));
    put(h, 1, 3), put(h, 2, 1), put(h, 3, NAN), put(h, 4, 2);
    check_ok(drt_history_note(h, 3, "spike", "samples 4, 5", &err));
    check_ok(drt_history_end(h, "stopped", "it's so", 0xabc, &err));
    // Going on: the same row; a new run of the folder: another one.
    entry.resumed = true;
    check_ok(drt_history_begin(&h, path, &entry, &err));
    put(h, 3, 5), put(h, 5, 1.5);
    check_ok(drt_history_note(h, 3, "spike", "samples 4, 5 again", &err));
    check_ok(drt_history_end(h, "finished", "done", 7, &err));
    entry.resumed = false;
    check_ok(drt_history_begin(&h, path, &entry, &err));
    check_ok(drt_history_end(h, "finished", "done", 7, &err));

    drt_history_list list;
    const drt_history_run *r;
    check_ok(drt_history_read(&list, path, &err));
    assert_int_equal(list.n, 2);
    check(list.run[0].id == 2 && list.run[1].id == 1);
    r = &list.run[1];
    assert_string_equal(r->state, "finished");
    assert_string_equal(r->weights, "0000000000000007");
    assert_string_equal(r->recipe, recipe);
    assert_string_equal(r->data_hash, "00ff");
    assert_string_equal(r->version, DRT_VERSION);
    check(r->sessions == 2 && r->step == 5 && r->steps == 20 && r->samples == 12 && r->seed == 1 && r->threads == 2);
    check(r->folder[0] == '/' && *r->host && r->pid == getpid() && r->seconds >= 0);
    const drt_history_metric *m = drt_history_metric_find(r, "loss");
    check(m && m->last == 1.5 && m->step == 5 && m->least == 1 && m->least_step == 2 && m->most == 5);
    check(m->most_step == 3 && !drt_history_metric_find(r, "lr"));
    assert_int_equal(r->notes, 1);
    assert_string_equal(r->note[0].text, "samples 4, 5 again");
    check_ok(drt_history_find(&list, "1", &r, &err));
    check(r->id == 1);
    check_ok(drt_history_find(&list, strrchr(folder, '/') + 1, &r, &err));
    check(r->id == 2);
    check_ok(drt_history_find(&list, folder, &r, &err));
    check(r->id == 2);
    check_refused(drt_history_find(&list, "istory", &r, &err), DRT_EARG, "no run 'istory'");
    check_refused(drt_history_find(&list, "3", &r, &err), DRT_EARG, "1 to 2");
    drt_history_free(&list);
    free(path), free(folder);
}

// Two programs write at once, each 40 notes; and one that is killed is found out.
static void several_programs(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("history_two"), *path = drt_path_join(folder, "runs.sqlite");
    drt_history_list list;
    for (int k = 0; k < 3; k++) {
        if (fork()) continue;
        drt_history *h;
        drt_history_entry entry = entry_of(folder);
        if (drt_history_begin(&h, path, &entry, &err)) _exit(1);
        for (int i = 0; i < 40 && k < 2; i++)
            if (drt_history_note(h, i, "spike", "x", &err)) _exit(1);
        if (k < 2 && drt_history_end(h, "finished", "", 0, &err)) _exit(1);
        _exit(0);
    }
    for (int k = 0, status; k < 3; k++) check(wait(&status) > 0 && WIFEXITED(status) && !WEXITSTATUS(status));
    check_ok(drt_history_read(&list, path, &err));
    int notes = 0, lost = 0;
    assert_int_equal(list.n, 3);
    for (int i = 0; i < 3; i++) notes += list.run[i].notes, lost += !strcmp(list.run[i].state, "lost");
    assert_int_equal(notes, 80);
    assert_int_equal(lost, 1);
    drt_history_free(&list);
    free(path), free(folder);
}

// A program that is killed while it writes leaves a journal; whoever reads next rolls it back.
static void killed_while_writing(void **state) {
    (void)state;
    drt_error err = {0};
    drt_history *h;
    drt_history_list list;
    char *folder = test_folder("history_killed"), *path = drt_path_join(folder, "runs.sqlite");
    const drt_history_entry entry = entry_of(folder);
    check_ok(drt_history_begin(&h, path, &entry, &err));
    check_ok(drt_history_end(h, "finished", "whole", 0, &err));
    if (!fork()) { // a cache of one page: half of it is in the file before it is committed
        sqlite3 *db;
        if (sqlite3_open(path, &db)) _exit(1);
        _exit(sqlite3_exec(db,
                           "PRAGMA cache_size = 1; BEGIN; UPDATE run SET reason = 'torn';"
                           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
                           "INSERT INTO note SELECT 1, i, 'torn', hex(zeroblob(400)) FROM n",
                           NULL, NULL, NULL)
                  ? 2
                  : 0);
    }
    int status;
    check(wait(&status) > 0 && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    char *journal = drt_path_join(folder, "runs.sqlite-journal");
    check(drt_file_exists(journal));
    check_ok(drt_history_read(&list, path, &err));
    check(list.n == 1 && !list.run[0].notes);
    assert_string_equal(list.run[0].reason, "whole");
    check(!drt_file_exists(journal));
    drt_history_free(&list);
    free(journal), free(path), free(folder);
}

static void gather(void *user, const char *line) { drt_text_printf(user, "%s\n", line); }

// What cannot be written is said once and tried again: a history that comes back has the end of the run.
static void tried_again(void **state) {
    (void)state;
    drt_error err = {0};
    drt_recipe r;
    drt_text said = {0};
    drt_history_list list;
    sqlite3 *db;
    char *folder = test_folder("history_again"), *path = drt_path_join(folder, "runs.sqlite"), key[2][700];
    snprintf(key[0], sizeof key[0], "out=%s", folder);
    snprintf(key[1], sizeof key[1], "log.history=%s", path);
    const char *const keys[] = {key[0], key[1], "model=none", "data.file=none.json", "log.tensorboard=false"};
    check_ok(drt_recipe_load(&r, NULL, 5, keys, &err));
    drt_recorder *rec = drt_recorder_open(&r, &(drt_recorder_facts){.steps = 9}, gather, &said);
    check(rec && !said.size && !sqlite3_open(path, &db));
    check(!sqlite3_exec(db, "ALTER TABLE note RENAME TO hidden", NULL, NULL, NULL));
    drt_recorder_note(rec, 1, "spike", "lost");
    drt_recorder_note(rec, 2, "spike", "lost");
    check(said.size && !strncmp(said.bytes, "not recorded for now: ", 22));
    check(strchr(said.bytes, '\n') == said.bytes + said.size - 1);
    check(!sqlite3_exec(db, "ALTER TABLE hidden RENAME TO note", NULL, NULL, NULL));
    sqlite3_close(db);
    drt_recorder_note(rec, 3, "spike", "kept");
    drt_recorder_close(rec, "finished", "done", 7);
    check_ok(drt_history_read(&list, path, &err));
    check(list.n == 1 && list.run[0].notes == 1);
    assert_string_equal(list.run[0].note[0].text, "kept");
    assert_string_equal(list.run[0].state, "finished");
    drt_history_free(&list);
    drt_recipe_free(&r);
    drt_text_free(&said);
    free(path), free(folder);
}

static void foreign_files_are_refused(void **state) {
    (void)state;
    drt_error err = {0};
    drt_history *h;
    drt_history_list list;
    int rc;
    char *folder = test_folder("history_foreign"), *path = drt_path_join(folder, "runs.sqlite"), *key;
    const drt_history_entry entry = entry_of(folder);
    check_refused(drt_history_read(&list, path, &err), DRT_EIO, "no such file");
    check_ok(drt_file_write(path, "this is no database, and it is long enough to be looked at", 58, &err));
    check_refused(drt_history_begin(&h, path, &entry, &err), DRT_EFORMAT, "runs.sqlite: no run history");
    check(!h);
    check_refused(drt_history_read(&list, path, &err), DRT_EFORMAT, "runs.sqlite");
    check_refused(drt_history_begin(&h, "/dev/null/x/runs.sqlite", &entry, &err), DRT_EIO, "/dev/null");
    free(shell(&rc,
               "python3 -c \"import sqlite3; c=sqlite3.connect('%s/a'); c.execute('create table t (x)'); "
               "c.commit(); c=sqlite3.connect('%s/b'); c.execute('pragma user_version = 9'); c.commit()\"",
               folder, folder));
    if (!rc) {
        free(path);
        path = drt_path_join(folder, "a");
        check_refused(drt_history_begin(&h, path, &entry, &err), DRT_EFORMAT, "but no run history");
        free(path);
        path = drt_path_join(folder, "b");
        check_refused(drt_history_begin(&h, path, &entry, &err), DRT_EFORMAT, "newer drt");
    }
    free(path), free(folder);
    // Where it is: the key, then the environment, then the default.
    setenv("DRT_RUNS", "elsewhere.sqlite", 1);
    check_ok(drt_history_path("mine.sqlite", &key, &err));
    assert_string_equal(key, "mine.sqlite");
    free(key);
    check_ok(drt_history_path("", &key, &err));
    assert_string_equal(key, "elsewhere.sqlite");
    free(key);
    unsetenv("DRT_RUNS");
    check_ok(drt_history_path(NULL, &key, &err));
    assert_string_equal(key, DRT_HISTORY_DEFAULT);
    free(key);
    check_ok(drt_history_path("none", &key, &err));
    check(!key);
}

static void differences(void **state) {
    (void)state;
    drt_error err = {0};
    drt_history_metric a_metric[] = {{.name = "loss", .last = 1.5}, {.name = "seconds", .last = 1}},
                       b_metric[] = {{.name = "loss", .last = NAN}, {.name = "lr", .last = 0.1}};
    drt_history_run a = {.recipe = (char *)recipe, .metric = a_metric, .metrics = 2}, b = a;
    b.recipe = "task: llava\nseed: 2\ndata:\n  file: a.json\n  limit: 7\n";
    b.metric = b_metric;
    char *const same[] = {"finished", "0.1.0", "", "host", "a.json", "1", "2"};
    a.state = b.state = same[0], a.version = b.version = same[1], a.commit = b.commit = same[2];
    a.host = b.host = same[3], a.data = b.data = same[4], a.data_hash = b.data_hash = same[5];
    a.weights = same[5], b.weights = same[6];
    drt_history_difference d;
    drt_text text = {0};
    check_ok(drt_history_compare(&a, &b, &d, &err));
    for (int i = 0; i < d.n; i++)
        drt_text_printf(&text, "%d %s %s %s\n", (int)d.line[i].kind, d.line[i].name, d.line[i].a, d.line[i].b);
    assert_string_equal(text.bytes, "0 weights 1 2\n1 seed 1 2\n1 optimizer.lr 0.001 -\n1 data.limit - 7\n"
                                    "2 loss 1.5 NaN\n2 lr - 0.1\n");
    assert_int_equal(d.same, 2);
    drt_text_free(&text);
    drt_history_difference_free(&d);
}

static char *runs(const world *w, int *rc, const char *words) { return world_run(w, rc, "drt runs %s", words); }

static void said_in_order(const char *said, const char *const *words) {
    const char *at = said;
    for (; *words; words++) {
        const char *found = strstr(at, *words);
        if (!found) fail_msg("\"%s\" is missing behind \"%.60s\" in:\n%s", *words, at, said);
        at = found + strlen(*words);
    }
}
#define said(text, ...) said_in_order(text, (const char *const[]){__VA_ARGS__, NULL})

static void through_the_program(void **state) {
    const world *w = *state;
    int rc;
    char hash[20], more[100], *text;
    if (!w->folder) skip();
    world_weights(w, "one", "seed=3 train.stop=4", hash);
    world_weights(w, "two", "objectives.image_order=1 log.history=runs.sqlite", hash);
    free(world_train(w, &rc, "hidden", "log.history=none"));
    check(rc == 0);
    free(world_train(w, &rc, "failed", "lr=1e30 optimizer.clip=0 optimizer.warmup=0"));
    check(rc == 1);
    text = runs(w, &rc, "list");
    said(text, "started", "    3  ", "failed", "/failed", "    2  ", "9/9", "/two", "    1  ", "4/9", "/one");
    check(!rc && !strstr(text, "hidden"));
    free(text);
    text = runs(w, &rc, "list --last 1");
    check(strstr(text, "/failed") && !strstr(text, "/two"));
    free(text);
    text = runs(w, &rc, "show two");
    snprintf(more, sizeof more, "weights   %s", hash);
    said(text, "run 2: ", "finished: all steps are done", "9 of 9", "pretrain.json: 12 samples, hash ", more, "loss ",
         "task: llava", "image_order: 1");
    check(rc == 0);
    free(text);
    text = runs(w, &rc, "show 3");
    said(text, "failed: step ", "nothing was updated");
    free(text);
    text = runs(w, &rc, "diff one 2");
    said(text, "run ", "/one", "/two", "recipe", "seed ", "3 ", "42", "train.stop ", "4 ", "0",
         "objectives.image_order", "metrics", "grad_norm", "loss.image_order", "-", "keys are the same");
    check(rc == 0 && !strstr(text, "optimizer.lr"));
    free(text);
    text = runs(w, &rc, "plot one two --metric grad_norm");
    said(text, "grad_norm", "┤", "step", "/one", "/two");
    check(!strchr(text, '\033')); // into a pipe
    free(text);
    free(runs(w, &rc, "plot one two --out loss.svg"));
    check(rc == 0);
    text = world_run(w, &rc, "grep -c '<svg.*/one<.*/two<' loss.svg");
    assert_string_equal(text, "1\n");
    free(text);
    static const char *const wrong[][3] = {
        {"show", "2", "one run"},         {"diff one", "2", "two runs"},
        {"list one", "2", "no run"},      {"plot", "2", "runs to draw"},
        {"shwo one", "2", "show"},        {"show nine", "1", "no run 'nine'"},
        {"list --last 0", "2", "--last"}, {"plot one --metric los", "1", "no metric 'los'; it has lr, loss"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        text = runs(w, &rc, wrong[i][0]);
        if (rc != atoi(wrong[i][1]) || !strstr(text, wrong[i][2])) fail_msg("%s: %d %s", wrong[i][0], rc, text);
        free(text);
    }
}

// A history that cannot be written is said once and costs no run.
static void never_costs_a_run(void **state) {
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
    world_write(w, "broken", "this is no database, and it is long enough to be looked at");
    world_write(w, "stay/tensorboard", "");
    char *text = world_train(w, &rc, "stay", "log.history=broken"), *first = strstr(text, "not recorded");
    if (rc || !first || !strstr(text, "broken: no run history") || !strstr(text, "tensorboard"))
        fail_msg("status %d: %s", rc, text);
    free(text);
}

// What TensorBoard's reader finds after a run that was stopped and went on: every step once.
static void tensorboard_sees_a_resumed_run(void **state) {
    const world *w = *state;
    int rc;
    char hash[20];
    const char *python = python_with("tensorboard");
    if (!python || !w->folder) skip();
    static const char keys[] = "log.histograms=3 objectives.image_order=1";
    char more[200];
    snprintf(more, sizeof more, "%s train.stop=5 checkpoint.every=4", keys);
    world_weights(w, "a", more, hash);
    world_must(w, "rm -r a/checkpoints/step-000000005 a/model");
    snprintf(more, sizeof more, "%s --resume", keys);
    world_weights(w, "a", more, hash);
    char *text = shell(&rc, "%s tools/check_events.py %s/a/tensorboard 2>&1", python, w->folder), *at = text;
    if (rc) fail_msg("%s", text);
    for (int i = 1; i <= 9; i++) { // once each, in order
        char head[40];
        snprintf(head, sizeof head, "\nscalar loss %d ", i);
        at = strstr(at, head);
        if (!at) fail_msg("no%s in %s", head, text);
        check(at && !strstr(at + strlen(head), head));
    }
    said(text, "histogram gradient/directed 3 ", "histogram gradient/language 3 ", "histogram gradient/language 9 ",
         "scalar gradient_norm/projector 6 ", "scalar loss/image_order 9 ", "text recipe 0 ");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_a_run_was),
        cmocka_unit_test(several_programs),
        cmocka_unit_test(killed_while_writing),
        cmocka_unit_test(tried_again),
        cmocka_unit_test(foreign_files_are_refused),
        cmocka_unit_test(differences),
        cmocka_unit_test(through_the_program),
        cmocka_unit_test(never_costs_a_run),
        cmocka_unit_test(tensorboard_sees_a_resumed_run),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
