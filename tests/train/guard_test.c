// What watches over a run: the rule for spikes, who made them, steps that are not finite and can be done again,
// signals, and a disk that runs full.
#include "support/check.h"
#include "support/world.h"

#include "base/file.h"
#include "base/progress.h"
#include "train/blame.h"
#include "train/checkpoint.h"
#include "train/guard.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

static void rule(void **state) {
    (void)state;
    drt_spike_window w = {0};
    drt_spike s;
    // Too few values judge nothing.
    for (int i = 0; i < DRT_SPIKE_LEAST; i++) check(!drt_spike_judge(&w, i == 10 ? 1000 : 2, 8, &s));
    // A still series: a spread is a fiftieth of its median.
    check(!drt_spike_judge(&w, 2.3, 8, &s));
    check(fabs(s.median - 2) < 1e-12 && fabs(s.spreads - 0.3 / 0.04) < 1e-9);
    check(drt_spike_judge(&w, 2.4, 8, &s));
    check(!drt_spike_judge(&w, -50, 8, &s)); // only upwards
    check(!drt_spike_judge(&w, NAN, 8, &s) && !drt_spike_judge(&w, INFINITY, 8, &s));
    // Values 1 ... 100: median 50.5, median distance 25.
    w = (drt_spike_window){0};
    for (int i = 0; i < 100; i++) drt_spike_judge(&w, (i * 37) % 100 + 1, 1e9, &s);
    check(!drt_spike_judge(&w, 50.5 + 2.99 * 1.4826 * 25, 3, &s) && s.of == 100);
    check(fabs(s.median - 50.5) < 1e-12 && fabs(s.spreads - 2.99) < 1e-9);
    // A third of the values are wild; the rule still sees a spike, as a mean and its deviation would not.
    w = (drt_spike_window){0};
    for (int i = 0; i < 99; i++) drt_spike_judge(&w, i % 3 ? 1 : 1000, 1e9, &s);
    check(drt_spike_judge(&w, 900, 8, &s));
    // What stays is no spike any more.
    int spikes = 0;
    for (int i = 0; i < 100; i++) spikes += drt_spike_judge(&w, 1000, 8, &s);
    check(spikes > 10 && spikes < 40);
}

static const char sample[] = "{\"id\": \"%s\", \"image\": \"images/train/000000.png\", \"conversations\": "
                             "[{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": "
                             "\"%s\"}]}%s\n";

// Thirty samples that are alike, and one that is not.
static void write_odd(const world *w) {
    drt_text t = {0};
    drt_text_puts(&t, "[");
    for (int i = 0; i < 30; i++) drt_text_printf(&t, sample, "plain", "a red square", ",");
    drt_text_printf(&t, sample, "the odd one", "zyx QQ 7 ## wvut & zz 9 $$ kkk ?? jjj", "]");
    check(!t.failed);
    world_write(w, "world/odd.json", t.bytes);
    drt_text_free(&t);
}

static void spikes_name_their_samples(void **state) {
    const world *w = *state;
    char hash[3][20], more[300];
    int rc;
    if (!w->folder) skip();
    write_odd(w);
    static const char keys[] = "data.file=world/odd.json train.batch=2 train.steps=46 train.epochs=9 lr=3e-2";
    char *said = world_train(w, &rc, "watched", keys), *at = strstr(said, ": spike: loss ");
    if (rc || !at || !strstr(at, "spreads above the median") || !strstr(at, "Most of it: sample 30 (id 'the odd one')"))
        fail_msg("status %d: %s", rc, said);
    print_message("%.300s\n", at);
    free(said);
    said = world_run(w, &rc, "grep -c '\"spike\":\"loss .*the odd one' watched/run.jsonl");
    check(atoi(said) >= 1);
    free(said);
    said = world_run(w, &rc, "drt runs show watched");
    check(strstr(said, ", spike: loss ") && strstr(said, "the odd one"));
    free(said);
    // Looking changes nothing, dropout and pieces included.
    static const char *const ways[] = {"",
                                       "train.accumulate=2 lora.targets=all-linear lora.dropout=0.2 groups.language=0"};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            char name[20];
            snprintf(name, sizeof name, "way-%d-%d", i, k);
            snprintf(more, sizeof more, "%s %s guard.spike=%s", keys, ways[i], k ? "0" : "2");
            world_weights(w, name, more, hash[k]);
            if (k) assert_string_equal(hash[0], hash[1]);
            said = world_run(w, &rc, "grep -c '\"spike\"' %s/run.jsonl", name);
            check(k ? atoi(said) == 0 : atoi(said) > 0);
            free(said);
        }
}

static void open_training(const world *w, drt_recipe *r, drt_training *t, drt_features *store, const char *more) {
    drt_error err = {0};
    char keys[300];
    snprintf(keys, sizeof keys,
             "train.steps=3 objectives.image_order=1 objectives.text_order=0.5 objectives.guided=0.5 %s", more);
    check_ok(world_recipe(w, r, keys, &err));
    check_ok(drt_training_open(t, r, false, NULL, &err));
    t->store = store;
    check_ok(drt_training_data(t, 0, NULL, NULL, &err));
}

// The parts add up to the step, losses and gradients, however the step is cut.
static void parts_make_the_whole(void **state) {
    const world *w = *state;
    drt_error err = {0};
    if (!w->folder) skip();
    static const char *const ways[] = {"train.accumulate=1", "train.accumulate=2"};
    for (int i = 0; i < 2; i++) {
        drt_recipe r;
        drt_training t;
        drt_step_report step;
        drt_blame b[4];
        double loss = 0, norms = 0;
        open_training(w, &r, &t, NULL, ways[i]);
        check_ok(drt_training_measure(&t, 0, &step, &err));
        check(t.data->samples == 4 && drt_blame_possible(&r));
        const drt_blame_with who = {t.tape, t.m, &r, drt_loader_options(t.loader), drt_loader_pack(t.loader)};
        check_ok(drt_blame_samples(&who, t.data, b, &err));
        for (int k = 0; k < 4; k++) {
            check(!*b[k].where && b[k].loss > 0 && b[k].gradient > 0 && (!k || b[k].gradient <= b[k - 1].gradient));
            loss += b[k].loss, norms += b[k].gradient;
        }
        check(fabs(loss / step.loss - 1) < 1e-5); // f32 sums of a few thousand terms
        check(norms >= step.grad_norm);           // the triangle's inequality
        drt_training_close(&t);
        drt_recipe_free(&r);
    }
}

static void nan_leaves_its_step(void **state) {
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
    char *said = world_train(w, &rc, "nan", "lr=1e30 optimizer.clip=0 optimizer.warmup=0"),
         *at = strstr(said, "drt train --replay-batch nan/replay/step-000000002.safetensors");
    if (rc != 1 || !at || !strstr(said, "nothing was updated") || !strstr(said, "not finite from stage "))
        fail_msg("status %d: %s", rc, said);
    free(said);
    said = world_run(w, &rc, "drt train --replay-batch nan/replay/step-000000002.safetensors");
    int named = 0;
    for (at = said; (at = strstr(at, "\n  sample ")); at++) named++;
    if (rc || named != 4 || !strstr(said, "step 2: the loss is ")) fail_msg("status %d: %s", rc, said);
    free(said);
    said = world_run(w, &rc, "drt train --replay-batch none.safetensors");
    check(rc == 1 && strstr(said, "none.safetensors: no such file"));
    free(said);
    said = world_run(w, &rc, "drt train x.yaml --replay-batch none.safetensors");
    check(rc == 2 && strstr(said, "leave 'x.yaml' out"));
    free(said);
}

static pid_t start(const world *w, const char *out, const char *more) {
    return world_start(w, "exec drt train %s log.history=none out=%s %s", world_keys, out, more);
}

static void wait_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL); }

// Until run.jsonl of the run has a line.
static void wait_for_step(const world *w, const char *out) {
    char path[600], *text;
    snprintf(path, sizeof path, "%s/%s/run.jsonl", w->folder, out);
    for (int i = 0; i < 3000; i++, wait_ms(10)) {
        size_t size = 0;
        if (drt_file_read(&text, &size, path, 0, NULL)) continue;
        free(text);
        if (size) return;
    }
    fail_msg("no step in half a minute");
}

static void signals_save_and_leave(void **state) {
    const world *w = *state;
    int status, rc;
    char hash[2][20];
    if (!w->folder) skip();
    static const char keys[] = "train.steps=150 train.epochs=99 checkpoint.every=0";
    world_weights(w, "whole", keys, hash[0]);
    static const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        char out[20], more[200];
        snprintf(out, sizeof out, "signal-%d", i);
        // Stopped as soon as it has begun (a slower device would give more time, and other bits).
        pid_t child = start(w, out, keys);
        wait_for_step(w, out);
        kill(child, signals[i]);
        waitpid(child, &status, 0);
        char *said = world_read(w, "said");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 128 + signals[i] || !strstr(said, "stopped after step ") ||
            !strstr(said, "once more to leave at once"))
            fail_msg("status %x: %s", (unsigned)status, said);
        free(said);
        said = world_run(w, &rc, "ls %s/checkpoints", out);
        check(!strncmp(said, "step-", 5));
        free(said);
        snprintf(more, sizeof more, "%s --resume", keys);
        world_weights(w, out, more, hash[1]);
        assert_string_equal(hash[0], hash[1]);
    }
    // A step of many seconds: the first signal waits for its end, the second does not.
    pid_t child = start(w, "slow", "device=ref train.batch=3000 train.epochs=999 train.steps=9");
    for (bool begun = false; !begun; wait_ms(500)) { // once more than it takes: its data alone are seconds of work
        char *said = world_read(w, "said");
        begun = strstr(said, "9 steps of 3000");
        free(said);
    }
    kill(child, SIGINT);
    wait_ms(300);
    check(waitpid(child, &status, WNOHANG) == 0);
    double began = drt_clock();
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    check(drt_clock() - began < 2);
    char *said = world_read(w, "said");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 128 + SIGTERM || strstr(said, "stopped after step"))
        fail_msg("status %x: %s", (unsigned)status, said);
    free(said);
}

// On a file system of its own, which few may make.
static void low_disk_is_noticed(void **state) {
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
    free(world_run(w, &rc, "unshare -rm sh -c 'mount -t tmpfs -o size=1m t /mnt' 2>/dev/null"));
    if (rc) skip();
    // A checkpoint takes 180 kB. In 480 kB there is room for two, and none for the third or the model.
    char *said = world_run(
        w, &rc,
        "mkdir small; unshare -rm sh -c 'mount -t tmpfs -o size=480k t small && drt train %s log.history=none "
        "log.tensorboard=false out=small/run; echo status $?; ls small/run/checkpoints; ls small/run'",
        world_keys);
    const char *at = strstr(said, "the run may need ");
    check(at && strstr(at, "checkpoint after step 2"));
    at = strstr(said, "disk: small/run: the checkpoint after step 6 takes ");
    check(at && strstr(at, "it is not begun. Make room"));
    at = strstr(said, "drt train: small/run: the checkpoint after step 9 takes ");
    check(at && strstr(at, "status 1\nstep-000000002\nstep-000000004\n"));
    check(!strstr(said, ".part") && !strstr(said, "No space"));
    free(said);
}

// A kept step has the pixels of pictures whose features were known, which the run itself did not decode.
static void kept_steps_have_pixels(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_recipe r[3];
    drt_training t[3]; // fills the store, finds all in it, has none
    drt_step_report report[3];
    drt_features *store = drt_features_new();
    if (!w->folder) skip();
    drt_features_open(store, 1, 1 << 20);
    for (int i = 0; i < 3; i++) {
        open_training(w, &r[i], &t[i], i < 2 ? store : NULL, "objectives.image_order=0");
        check_ok(drt_training_measure(&t[i], 0, &report[i], &err));
        check(report[i].loss == report[0].loss && report[i].grad_norm == report[0].grad_norm);
        check(report[i].remembered == (i == 1 ? 4 : 0));
    }
    const drt_pack_options *pack = drt_loader_pack(t[1].loader);
    size_t size = (size_t)drt_pack_picture(pack) * sizeof(float);
    for (int k = 0; k < 4; k++) memset(t[1].data->sample[k]->patches, 0, size);
    check_ok(drt_loader_pixels(t[1].loader, t[1].data, &err));
    for (int k = 0; k < 4; k++) assert_memory_equal(t[1].data->sample[k]->patches, t[2].data->sample[k]->patches, size);
    for (int i = 0; i < 3; i++) drt_training_close(&t[i]), drt_recipe_free(&r[i]);
    drt_features_free(store);
}

// A folder of checkpoints that cannot be read is not an empty one: what the run has left stays. What a killed program
// left half removed goes with the next checkpoint.
static void leavings(void **state) {
    const world *w = *state;
    int rc;
    char hash[20];
    if (!w->folder) skip();
    world_write(w, "odd/checkpoints", "a file");
    world_write(w, "odd/run.jsonl", "{\"step\":1,\"loss\":2}\n");
    char *text = world_train(w, &rc, "odd", "");
    if (rc != 1 || !strstr(text, "odd/checkpoints: ")) fail_msg("status %d: %s", rc, text);
    free(text);
    text = world_read(w, "odd/run.jsonl");
    assert_string_equal(text, "{\"step\":1,\"loss\":2}\n");
    free(text);
    world_write(w, "killed/checkpoints/step-000000001.old/state.safetensors", "half");
    world_write(w, "killed/checkpoints/step-000000003.part/state.safetensors", "half");
    world_write(w, "killed/checkpoints/mine.old/keep", "");
    world_weights(w, "killed", "", hash);
    text = world_run(w, &rc, "ls killed/checkpoints");
    assert_null(strstr(text, "000001.old"));
    assert_null(strstr(text, "000003.part"));
    assert_non_null(strstr(text, "mine.old"));
    assert_non_null(strstr(text, "step-000000009"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule),
        cmocka_unit_test(kept_steps_have_pixels),
        cmocka_unit_test(spikes_name_their_samples),
        cmocka_unit_test(parts_make_the_whole),
        cmocka_unit_test(nan_leaves_its_step),
        cmocka_unit_test(signals_save_and_leave),
        cmocka_unit_test(low_disk_is_noticed),
        cmocka_unit_test(leavings),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
