// Where two runs part is found to the step and the tensor, whatever it was that parted them.
#include "support/check.h"
#include "support/world.h"

#include "train/replay.h"

#include <stdio.h>
#include <unistd.h>

static const char every[] = "checkpoint.keep=9 objectives.image_order=1";

static drt_replay_result replay(const world *w, const char *a, const char *b) {
    drt_replay_result r;
    drt_error err = {0};
    check(!chdir(w->folder)); // from where their recipes name files
    check_ok(drt_replay(a, b, NULL, &r, &err));
    print_message("%s, %s: known %d (%s), from %d, part at %d: %s; unlike %d %d; %s\n", a, b, (int)r.known, r.field,
                  (int)r.from, (int)r.step, r.tensor, (int)r.unlike[0], (int)r.unlike[1], r.recipe);
    return r;
}

static void train(const world *w, const char *out, const char *more) {
    char keys[1500], hash[20];
    snprintf(keys, sizeof keys, "%s %s", every, more);
    world_weights(w, out, keys, hash);
}

static void same_runs_agree(void **state) {
    const world *w = *state;
    if (!w->folder) skip();
    train(w, "a", "");
    train(w, "b", "checkpoint.every=3 log.every=2 data.validation=world/pretrain.json validate.every=4");
    drt_replay_result r = replay(w, "a", "b");
    check(!r.known && !r.step && r.steps == 9 && !*r.recipe);
}

static void settings_part_runs(void **state) {
    const world *w = *state;
    if (!w->folder) skip();
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
    if (!w->folder) skip();
    world_must(w, "cp -r world altered && sed -i '0,/\"value\": \"a /s//\"value\": \"an /' altered/pretrain.json && "
                  "! cmp -s world/pretrain.json altered/pretrain.json");
    train(w, "word", "data.file=altered/pretrain.json");
    drt_replay_result r = replay(w, "a", "word");
    check(r.known >= 1 && r.known <= 3 && r.step == r.known && !strncmp(r.tensor, "the tokens", 10));
    world_must(w, "rm -r altered && cp -r world altered && cd altered/images/train && cp 000001.jpg 000000.png");
    train(w, "picture", "data.images=altered");
    r = replay(w, "a", "picture");
    check(r.known >= 1 && r.known <= 3 && r.step == r.known);
    assert_string_equal(r.tensor, "the pixels");
}

// What no recipe makes: a checkpoint in which a bit has flipped, and a log of another machine.
static void accidents_part_runs(void **state) {
    const world *w = *state;
    if (!w->folder) skip();
    world_must(w, "cp -r a flipped && cd flipped && rm -r model checkpoints/step-00000000[5-9] && "
                  "cd checkpoints/step-000000004 && size=$(od -An -tu8 -N8 state.safetensors) && "
                  "printf '\\001' | dd of=state.safetensors bs=1 seek=$((size + 8)) conv=notrunc");
    train(w, "flipped", "--resume");
    drt_replay_result r = replay(w, "a", "flipped");
    check(r.known == 4 && !strcmp(r.field, "checkpoint") && r.from == 2 && !r.step && *r.tensor);
    world_must(w, "cp -r a edited && sed -i '6s/\"loss\":[0-9.]*/\"loss\":1.5/' edited/run.jsonl");
    r = replay(w, "a", "edited");
    check(r.known == 6 && !strcmp(r.field, "loss") && r.value[1] == 1.5 && r.from == 4 && !r.step && !*r.tensor);
    check(!r.unlike[0] && r.unlike[1] == 6);
}

static void the_command(void **state) {
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
    char *said = world_run(w, &rc, "drt replay a b");
    if (rc || !strstr(said, "agree in all 9 steps")) fail_msg("%d: %s", rc, said);
    free(said);
    said = world_run(w, &rc, "drt replay a linear");
    if (rc != 1 || !strstr(said, "after step 2: they part at step 3, first in the learning rate"))
        fail_msg("%d: %s", rc, said);
    free(said);
    said = world_run(w, &rc, "drt replay --json a linear");
    if (rc != 1 || !strstr(said, "\"step\":3,") || !strstr(said, "\"tensor\":\"the learning rate\""))
        fail_msg("%d: %s", rc, said);
    free(said);
    said = world_run(w, &rc, "drt replay a nowhere");
    if (rc != 2 || !strstr(said, "nowhere/recipe.yaml")) fail_msg("%d: %s", rc, said);
    free(said);
    world_must(w, "mv world moved");
    said = world_run(w, &rc, "drt replay a linear");
    if (rc != 2 || !strstr(said, "a, run again") || !strstr(said, "pretrain.json")) fail_msg("%d: %s", rc, said);
    free(said);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_runs_agree),     cmocka_unit_test(settings_part_runs), cmocka_unit_test(data_part_runs),
        cmocka_unit_test(accidents_part_runs), cmocka_unit_test(the_command),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
