// Where two runs part is found to the step and the tensor, whatever it was that parted them.
#include "support/check.h"
#include "support/shell.h"
#include "support/world.h"

#include "train/replay.h"

#include <stdio.h>

static const char every[] = "checkpoint.keep=9 objectives.image_order=1";

static drt_replay_result replay(const world *w, const char *a, const char *b) {
    char path[2][600];
    drt_replay_result r;
    drt_error err = {0};
    snprintf(path[0], sizeof path[0], "%s/%s", w->folder, a);
    snprintf(path[1], sizeof path[1], "%s/%s", w->folder, b);
    check_ok(drt_replay(path[0], path[1], NULL, &r, &err));
    print_message("%s, %s: known %d (%s), from %d, part at %d: %s; unlike %d %d; %s\n", a, b, (int)r.known, r.field,
                  (int)r.from, (int)r.step, r.tensor, (int)r.unlike[0], (int)r.unlike[1], r.recipe);
    return r;
}

static void train(const world *w, const char *out, const char *more) {
    char keys[1500], hash[20];
    snprintf(keys, sizeof keys, "%s %s", every, more);
    world_weights(w, out, keys, hash);
}

static void must(const world *w, const char *command) {
    int rc;
    char *said = shell(&rc, "cd %s && %s 2>&1", w->folder, command);
    if (rc) fail_msg("%s: %s", command, said);
    free(said);
}

static void same_runs_agree(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    train(w, "a", "");
    char more[700];
    snprintf(more, sizeof more,
             "checkpoint.every=3 log.every=2 data.validation=%s/world/pretrain.json validate.every=4", w->folder);
    train(w, "b", more);
    drt_replay_result r = replay(w, "a", "b");
    check(!r.known && !r.step && r.steps == 9 && !*r.recipe);
}

static void settings_part_runs(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    // The first step of a warm-up has rate 0, the second the peak under either schedule.
    train(w, "linear", "optimizer.schedule=linear");
    drt_replay_result r = replay(w, "a", "linear");
    check(r.known == 3 && r.from == 2 && r.step == 3 && !r.unlike[0] && !r.unlike[1]);
    assert_string_equal(r.tensor, "the learning rate");
    assert_string_equal(r.recipe, "optimizer.schedule: cosine, then linear");
    train(w, "seed", "seed=43");
    r = replay(w, "a", "seed");
    check(r.known == 1 && r.from == 0 && r.step == 1 && strstr(r.tensor, "what it begins with: directed"));
    train(w, "half", "dtype=bf16");
    r = replay(w, "a", "half");
    check(r.known == 1 && r.step == 1 && !strncmp(r.tensor, "stage ", 6));
    train(w, "parts", "train.accumulate=2");
    r = replay(w, "a", "parts");
    check(r.step == 1 && strstr(r.tensor, "the choice of samples, part 1 of 2"));
}

// One word of one caption, one pixel of one picture: found in the step that sees it, and as what it is.
static void data_part_runs(void **state) {
    const world *w = *state;
    char more[700];
    if (!w->drt) skip();
    must(w, "cp -r world altered && sed -i '0,/\"value\": \"a /s//\"value\": \"an /' altered/pretrain.json && "
            "! cmp -s world/pretrain.json altered/pretrain.json");
    snprintf(more, sizeof more, "data.file=%s/altered/pretrain.json", w->folder);
    train(w, "word", more);
    drt_replay_result r = replay(w, "a", "word");
    check(r.known >= 1 && r.known <= 3 && r.step == r.known && !strncmp(r.tensor, "the tokens", 10));
    must(w, "rm -r altered && cp -r world altered && cd altered/images/train && cp 000001.jpg 000000.png");
    snprintf(more, sizeof more, "data.images=%s/altered", w->folder);
    train(w, "picture", more);
    r = replay(w, "a", "picture");
    check(r.known >= 1 && r.known <= 3 && r.step == r.known);
    assert_string_equal(r.tensor, "the pixels");
}

// What no recipe makes: a checkpoint in which a bit has flipped, and a log of another machine.
static void accidents_part_runs(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    must(w, "cp -r a flipped && cd flipped && rm -r model checkpoints/step-00000000[5-9] && "
            "cd checkpoints/step-000000004 && size=$(od -An -tu8 -N8 state.safetensors) && "
            "printf '\\001' | dd of=state.safetensors bs=1 seek=$((size + 8)) conv=notrunc");
    train(w, "flipped", "--resume");
    drt_replay_result r = replay(w, "a", "flipped");
    check(r.known == 4 && !strcmp(r.field, "checkpoint") && r.from == 2 && !r.step && *r.tensor);
    must(w, "cp -r a edited && sed -i '6s/\"loss\":[0-9.]*/\"loss\":1.5/' edited/run.jsonl");
    r = replay(w, "a", "edited");
    check(r.known == 6 && !strcmp(r.field, "loss") && r.value[1] == 1.5 && r.from == 4 && !r.step && !*r.tensor);
    check(!r.unlike[0] && r.unlike[1] == 6);
}

static void the_command(void **state) {
    const world *w = *state;
    const char *f = w->folder;
    int rc;
    if (!w->drt) skip();
    char *said = shell(&rc, "%s replay %s/a %s/b 2>&1", w->drt, f, f);
    if (rc || !strstr(said, "agree in all 9 steps")) fail_msg("%d: %s", rc, said);
    free(said);
    said = shell(&rc, "%s replay %s/a %s/linear 2>&1", w->drt, f, f);
    if (rc != 1 || !strstr(said, "after step 2: they part at step 3, first in the learning rate"))
        fail_msg("%d: %s", rc, said);
    free(said);
    said = shell(&rc, "%s replay --json %s/a %s/linear 2>&1", w->drt, f, f);
    if (rc != 1 || !strstr(said, "\"step\":3,") || !strstr(said, "\"tensor\":\"the learning rate\""))
        fail_msg("%d: %s", rc, said);
    free(said);
    said = shell(&rc, "%s replay %s/a %s/nowhere 2>&1", w->drt, f, f);
    if (rc != 2 || !strstr(said, "nowhere/recipe.yaml")) fail_msg("%d: %s", rc, said);
    free(said);
    must(w, "mv world moved");
    said = shell(&rc, "%s replay %s/a %s/linear 2>&1", w->drt, f, f);
    if (rc != 2 || !strstr(said, "a, run again") || !strstr(said, "pretrain.json")) fail_msg("%d: %s", rc, said);
    free(said);
}

static int world_of_replay(void **state) { return world_make(state, "replay"); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_runs_agree),     cmocka_unit_test(settings_part_runs), cmocka_unit_test(data_part_runs),
        cmocka_unit_test(accidents_part_runs), cmocka_unit_test(the_command),
    };
    return cmocka_run_group_tests(tests, world_of_replay, NULL);
}
