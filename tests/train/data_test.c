// Data as a user meets them: checked, previewed, trained on; whatever kind of file they are in.
#include "support/check.h"
#include "support/shell.h"
#include "support/tar.h"
#include "support/world.h"

#include "base/file.h"
#include "data/dataset.h"

#include <stdio.h>

static void must(const world *w, const char *command) {
    int rc;
    char *said = shell(&rc, "cd %s && %s 2>&1", w->folder, command);
    if (rc) fail_msg("%s: %s", command, said);
    free(said);
}

static void expect(const char *said, const char *const *words, int n) {
    for (int i = 0; i < n; i++)
        if (!strstr(said, words[i])) fail_msg("\"%s\" lacks \"%s\"", said, words[i]);
}

static void a_spoiled_picture_goes_into_quarantine(void **state) {
    const world *w = *state;
    const char *f = w->folder;
    int rc;
    char keys[900];
    if (!w->drt) skip();
    must(w, "cp -r world sick");
    char *said = shell(&rc, "%s data check %s/sick/pretrain.json --model %s/model --template plain 2>&1", w->drt, f, f);
    if (rc || !strstr(said, "Nothing is wrong.")) fail_msg("%d: %s", rc, said);
    free(said);
    must(w, "p=$(ls -d sick/images/train/* | head -1) && head -c 200 $p >x && mv x $p && rm $(ls -d "
            "sick/images/train/* | tail -1)");
    // Checked as sound before: the step that wants the picture names it, and the run can go on after a check.
    said = shell(&rc, "%s data check %s/sick/pretrain.json 2>&1", w->drt, f);
    const char *const found[] = {"Truncated pictures: ", "Missing pictures: ", "there is no such picture",
                                 "report.html"};
    if (rc != 1) fail_msg("%d: %s", rc, said);
    expect(said, found, 4);
    free(said);
    snprintf(keys, sizeof keys, "data.file=%s/sick/pretrain.json", f);
    said = world_train(w, &rc, "left-out", keys);
    const char *const out[] = {"samples in quarantine are left out"};
    if (rc) fail_msg("%d: %s", rc, said);
    expect(said, out, 1);
    free(said);
    snprintf(keys, sizeof keys, "data.file=%s/sick/pretrain.json data.quarantine=none", f);
    const char *const refused[] = {"samples cannot be used", "is missing", "cut off"};
    world_refused(w, "refused", keys, refused, 3);
    must(w, "echo '{\"id\": \"no such\"}' >own.jsonl");
    snprintf(keys, sizeof keys, "data.quarantine=%s/own.jsonl", f);
    said = world_train(w, &rc, "own", keys);
    const char *const own[] = {"own.jsonl: 0 samples in quarantine are left out"};
    expect(said, own, 1);
    free(said);
    must(w, "printf ' ' >>sick/pretrain.json");
    snprintf(keys, sizeof keys, "data.file=%s/sick/pretrain.json", f);
    const char *const stale[] = {"had other content", "run drt data check again"};
    world_refused(w, "stale", keys, stale, 2);
}

static void a_preview_shows_what_training_sees(void **state) {
    const world *w = *state;
    const char *f = w->folder;
    int rc;
    if (!w->drt) skip();
    char *said = shell(&rc,
                       "%s data preview model=%s/model data.file=%s/world/pretrain.json %s out=%s/none "
                       "objectives.image_order=1 objectives.text_order=1 --samples 4 --out %s/seen 2>&1",
                       w->drt, f, f, world_keys, f, f);
    const char *const words[] = {"as it is: ",
                                 "picture shuffled: ",
                                 "words shuffled: ",
                                 "visual    [picture: 16 rows]\n",
                                 "directed  [directed token]\n",
                                 ", permutation ",
                                 "trained   ",
                                 "masked    "};
    if (rc) fail_msg("%d: %s", rc, said);
    expect(said, words, 8);
    check(!strstr(said, "\033[")); // not a terminal
    free(said);
    must(w, "! test -e none && grep -q '<figcaption>shuffled, permutation' seen/preview.html && "
            "grep -q 'class=\"directed\"' seen/preview.html && grep -c '^<svg' seen/batch.svg");
    // The drawing's trained rows are the tokens that the text says are trained on.
    must(
        w,
        "grep -o '<h4>as it is <small>[0-9]* rows, [0-9]* tokens' seen/preview.html | sort >a && test $(wc -l <a) = 4");
    said = shell(
        &rc, "%s data preview model=%s/model data.file=%s/world/pretrain.json %s data.template=v1 data.context=60 2>&1",
        w->drt, f, f, world_keys);
    const char *const refused[] = {"samples cannot be used", "no token is trained on", "raise data.context",
                                   "sample 0 (id '"};
    check(rc == 1);
    expect(said, refused, 4);
    free(said);
    const char *const trains[] = {"no token is trained on", "(id '"};
    world_refused(w, "short", "data.template=v1 data.context=60", trains, 2);
    said =
        shell(&rc, "%s data preview --step 0 model=%s/model data.file=%s/world/clip.json task=clip 2>&1", w->drt, f, f);
    check(rc == 1);
    free(said);
}

// The world's captions as two shards, in their order.
static void put_shards(const world *w) {
    drt_error err = {0};
    drt_dataset *ds;
    test_tar *t = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s/shards", w->folder);
    check_ok(drt_make_folders(path, &err));
    snprintf(path, sizeof path, "%s/world/pretrain.json", w->folder);
    check_ok(drt_dataset_open(&ds, path, NULL, NULL, NULL, &err));
    int n = drt_dataset_size(ds);
    for (int i = 0; i < n; i++) {
        if (i == 0 || i == n / 2) {
            if (t) test_tar_close(t);
            snprintf(path, sizeof path, "%s/shards/train-%d.tar", w->folder, i > 0);
            t = test_tar_open(path, "pax");
        }
        drt_record *r;
        check_ok(drt_dataset_at(ds, i, &r, &err));
        drt_text json = {0};
        drt_text_puts(&json, "{\"conversations\": [");
        for (int k = 0; k < r->n_turns; k++) {
            drt_text_printf(&json, "%s{\"from\": \"%s\", \"value\": ", k ? ", " : "",
                            r->turns[k].human ? "human" : "gpt");
            drt_text_json(&json, r->turns[k].text);
            drt_text_puts(&json, "}");
        }
        drt_text_puts(&json, "]}");
        snprintf(path, sizeof path, "%06d.json", i);
        test_tar_put(t, path, json.bytes, json.size);
        drt_text_free(&json);
        for (int k = 0; k < r->n_images; k++) {
            char *bytes;
            size_t size;
            check_ok(drt_file_read(&bytes, &size, r->images[k], 0, &err));
            snprintf(path, sizeof path, "%06d.%s", i, strstr(r->images[k], ".png") ? "png" : "jpg");
            test_tar_put(t, path, bytes, size);
            free(bytes);
        }
        drt_record_free(r);
    }
    test_tar_close(t);
    drt_dataset_close(ds);
}

static void kinds_of_files_train_alike(void **state) {
    const world *w = *state;
    char keys[900], one[20], lines[20];
    if (!w->drt) skip();
    // A line a sample, in three files of a folder.
    must(w, "mkdir lines && tr -d '\\n' <world/pretrain.json | sed 's/^ *\\[//; s/\\] *$//; s/}, "
            "*{\"id\"/}\\n{\"id\"/g' >all && "
            "split -d -n l/3 --additional-suffix=.jsonl all lines/part && test $(ls lines | wc -l) = 3");
    world_weights(w, "one", "", one);
    snprintf(keys, sizeof keys, "data.file=%s/lines data.images=%s/world", w->folder, w->folder);
    world_weights(w, "lines-run", keys, lines);
    assert_string_equal(one, lines);
    // Shards: with every sample in the window the same order, hence the same weights; and resumed in their middle.
    char tar[20], windows[20], resumed[20];
    put_shards(w);
    snprintf(keys, sizeof keys, "data.file=%s/shards data.window=0", w->folder);
    world_weights(w, "tar", keys, tar);
    assert_string_equal(one, tar);
    snprintf(keys, sizeof keys, "data.file=%s/shards data.window=5", w->folder);
    world_weights(w, "windows", keys, windows);
    assert_string_not_equal(one, windows);
    snprintf(keys, sizeof keys, "data.file=%s/shards data.window=5 train.stop=4", w->folder);
    world_weights(w, "resumed", keys, resumed);
    snprintf(keys, sizeof keys, "data.file=%s/shards data.window=5 --resume", w->folder);
    world_weights(w, "resumed", keys, resumed);
    assert_string_equal(windows, resumed);
    int rc;
    char *said =
        shell(&rc, "%s data check %s/shards --model %s/model --template plain 2>&1", w->drt, w->folder, w->folder);
    if (rc || !strstr(said, "Nothing is wrong.")) fail_msg("%d: %s", rc, said);
    free(said);
    said = shell(&rc, "%s data preview model=%s/model data.file=%s/shards %s 2>&1", w->drt, w->folder, w->folder,
                 world_keys);
    const char *const seen[] = {"train-1.tar/", "as it is: "};
    if (rc) fail_msg("%d: %s", rc, said);
    expect(said, seen, 2);
    free(said);
}

static int setup(void **state) { return world_make(state, "data"); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spoiled_picture_goes_into_quarantine),
        cmocka_unit_test(a_preview_shows_what_training_sees),
        cmocka_unit_test(kinds_of_files_train_alike),
    };
    return cmocka_run_group_tests_name("data", tests, setup, NULL);
}
