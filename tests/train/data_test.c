// Data as a user meets them: checked, previewed, trained on; whatever kind of file they are in.
#include "support/check.h"
#include "support/tar.h"
#include "support/world.h"

#include "base/file.h"
#include "data/dataset.h"

#include <stdio.h>

static void expect(const char *said, const char *const *words, int n) {
    for (int i = 0; i < n; i++)
        if (!strstr(said, words[i])) fail_msg("\"%s\" lacks \"%s\"", said, words[i]);
}

static void a_spoiled_picture_goes_into_quarantine(void **state) {
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
    world_must(w, "cp -r world sick");
    char *said = world_run(w, &rc, "drt data check sick/pretrain.json --model model --template plain");
    if (rc || !strstr(said, "Nothing is wrong.")) fail_msg("%d: %s", rc, said);
    free(said);
    world_must(w, "p=$(ls -d sick/images/train/* | head -1) && head -c 200 $p >x && mv x $p && rm $(ls -d "
                  "sick/images/train/* | tail -1)");
    // Checked as sound before: the step that wants the picture names it, and the run can go on after a check.
    said = world_run(w, &rc, "drt data check sick/pretrain.json");
    const char *const found[] = {"Truncated pictures: ", "Missing pictures: ", "there is no such picture",
                                 "report.html"};
    if (rc != 1) fail_msg("%d: %s", rc, said);
    expect(said, found, 4);
    free(said);
    said = world_train(w, &rc, "left-out", "data.file=sick/pretrain.json");
    const char *const out[] = {"samples in quarantine are left out"};
    if (rc) fail_msg("%d: %s", rc, said);
    expect(said, out, 1);
    free(said);
    const char *const refused[] = {"samples cannot be used", "is missing", "cut off"};
    world_refused(w, "refused", "data.file=sick/pretrain.json data.quarantine=none", refused, 3);
    world_must(w, "echo '{\"id\": \"no such\"}' >own.jsonl");
    said = world_train(w, &rc, "own", "data.quarantine=own.jsonl");
    const char *const own[] = {"own.jsonl: 0 samples in quarantine are left out"};
    expect(said, own, 1);
    free(said);
    world_must(w, "printf ' ' >>sick/pretrain.json");
    const char *const stale[] = {"had other content", "run drt data check again"};
    world_refused(w, "stale", "data.file=sick/pretrain.json", stale, 2);
}

static void a_preview_shows_what_training_sees(void **state) {
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
    char *said = world_run(w, &rc,
                           "drt data preview %s out=none objectives.image_order=1 objectives.text_order=1 --samples 4 "
                           "--out seen",
                           world_keys);
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
    world_must(w, "! test -e none && grep -q '<figcaption>shuffled, permutation' seen/preview.html && "
                  "grep -q 'class=\"directed\"' seen/preview.html && grep -c '^<svg' seen/batch.svg");
    // The drawing's trained rows are the tokens that the text says are trained on.
    world_must(
        w,
        "grep -o '<h4>as it is <small>[0-9]* rows, [0-9]* tokens' seen/preview.html | sort >a && test $(wc -l <a) = 4");
    said = world_run(w, &rc, "drt data preview %s data.template=v1 data.context=60", world_keys);
    const char *const refused[] = {"samples cannot be used", "no token is trained on", "raise data.context",
                                   "sample 0 (id '"};
    check(rc == 1);
    expect(said, refused, 4);
    free(said);
    const char *const trains[] = {"no token is trained on", "(id '"};
    world_refused(w, "short", "data.template=v1 data.context=60", trains, 2);
    said = world_run(w, &rc, "drt data preview --step 0 model=model data.file=world/clip.json task=clip");
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
    char one[20], lines[20];
    if (!w->folder) skip();
    // A line a sample, in three files of a folder.
    world_must(w, "mkdir lines && tr -d '\\n' <world/pretrain.json | sed 's/^ *\\[//; s/\\] *$//; s/}, "
                  "*{\"id\"/}\\n{\"id\"/g' >all && "
                  "split -d -n l/3 --additional-suffix=.jsonl all lines/part && test $(ls lines | wc -l) = 3");
    world_weights(w, "one", "", one);
    world_weights(w, "lines-run", "data.file=lines data.images=world", lines);
    assert_string_equal(one, lines);
    // Shards: with every sample in the window the same order, hence the same weights; and resumed in their middle.
    char tar[20], windows[20], resumed[20];
    put_shards(w);
    world_weights(w, "tar", "data.file=shards data.window=0", tar);
    assert_string_equal(one, tar);
    world_weights(w, "windows", "data.file=shards data.window=5", windows);
    assert_string_not_equal(one, windows);
    world_weights(w, "resumed", "data.file=shards data.window=5 train.stop=4", resumed);
    world_weights(w, "resumed", "data.file=shards data.window=5 --resume", resumed);
    assert_string_equal(windows, resumed);
    int rc;
    char *said = world_run(w, &rc, "drt data check shards --model model --template plain");
    if (rc || !strstr(said, "Nothing is wrong.")) fail_msg("%d: %s", rc, said);
    free(said);
    said = world_run(w, &rc, "drt data preview %s data.file=shards", world_keys);
    const char *const seen[] = {"train-1.tar/", "as it is: "};
    if (rc) fail_msg("%d: %s", rc, said);
    expect(said, seen, 2);
    free(said);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spoiled_picture_goes_into_quarantine),
        cmocka_unit_test(a_preview_shows_what_training_sees),
        cmocka_unit_test(kinds_of_files_train_alike),
    };
    return cmocka_run_group_tests_name("data", tests, world_open, world_close);
}
