// Training guarantees, through the program `drt` itself (path in $DRT): killed anywhere and resumed it makes the same
// weights, and what it refuses it refuses with a message, losing nothing.
#include "support/check.h"
#include "support/tolerance.h"
#include "support/world.h"

#include "base/file.h"
#include "base/progress.h"
#include "base/rng.h"
#include "eval/log_read.h"
#include "model/model.h"
#include "train/checkpoint.h"
#include "train/recipe.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

static bool same_file(const world *w, const char *a, const char *b, const char *name) {
    int rc;
    free(world_run(w, &rc, "cmp %s/%s %s/%s", a, name, b, name));
    return rc == 0;
}

// The text of its run.jsonl.
static char *log_of(const world *w, const char *out) {
    char name[100];
    snprintf(name, sizeof name, "%s/run.jsonl", out);
    return world_read(w, name);
}

// Lines of the run log: every step once, in order; the hashes of the checkpoints one after the other, the last of them
// the run's.
static void check_log(const world *w, const char *out, int steps, const char *last, char hashes[400]) {
    char *text = log_of(w, out), *at = text, head[40];
    size_t size = 0;
    for (int i = 1; i <= steps; i++) {
        snprintf(head, sizeof head, "{\"step\":%d,", i);
        if (strncmp(at, head, strlen(head))) fail_msg("line %d of the log is: %.40s", i, at);
        at = strchr(at, '\n');
        check(at != NULL);
        at++;
    }
    check(!*at);
    for (at = text; (at = strstr(at, "\"weights\":\"")) && size < 380; at += 11)
        size += (size_t)snprintf(hashes + size, 400 - size, "%.17s", at + 11);
    check(size >= 17 && !strncmp(hashes + size - 17, last, 16));
    free(text);
}

// Starts the run and kills it after so many seconds; true if it ended by itself before.
static bool killed(const world *w, const char *out, const char *more, double seconds) {
    pid_t child = world_start(w, "exec drt train %s out=%s %s --resume", world_keys, out, more);
    struct timespec wait = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&wait, NULL);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status)) fail_msg("a resumed run ended with status %d", WEXITSTATUS(status));
    return WIFEXITED(status);
}

// Whatever a run left behind can be read: its recipe, its log, every checkpoint, a model that says it is one. Returns
// whether it was killed while it wrote a checkpoint.
static bool readable(const world *w, const char *out) {
    char path[700];
    drt_error err = {0};
    drt_recipe r;
    drt_run_log log;
    uint64_t hash;
    int n;
    snprintf(path, sizeof path, "%s/%s/recipe.yaml", w->folder, out);
    if (drt_file_exists(path)) {
        check_ok(drt_recipe_load(&r, path, 0, NULL, &err));
        drt_recipe_free(&r);
    }
    snprintf(path, sizeof path, "%s/%s/run.jsonl", w->folder, out);
    if (drt_file_exists(path)) {
        check_ok(drt_run_log_read(&log, path, &err));
        drt_run_log_free(&log);
    }
    snprintf(path, sizeof path, "%s/%s", w->folder, out);
    int64_t *steps;
    check_ok(drt_checkpoint_steps(path, &steps, &n, &err));
    for (int i = 0; i < n; i++) check_ok(drt_checkpoint_hash(path, steps[i], &hash, &err));
    free(steps);
    snprintf(path, sizeof path, "%s/%s/model/config.json", w->folder, out);
    if (drt_file_exists(path)) {
        const drt_model_options plain = {0};
        drt_model *m;
        *strrchr(path, '/') = 0;
        check_ok(drt_model_open(&m, path, &plain, &err));
        drt_model_close(m);
    }
    int rc;
    free(world_run(w, &rc, "ls -d %s/checkpoints/*.part", out));
    return rc == 0;
}

// Kills it so many times. A run that came to its end in between is compared and begun again.
static void kill_often(const world *w, const char *out, const char *keys, const char *whole, double takes, int wanted,
                       drt_rng *r) {
    int kills = 0, torn = 0, runs = 1;
    char more[300], hash[20];
    snprintf(more, sizeof more, "%s --resume", keys);
    while (kills < wanted) {
        bool ended = killed(w, out, keys, takes * (0.1 + 0.9 * drt_rng_uniform(r)));
        kills += !ended;
        torn += readable(w, out);
        if (!ended || kills == wanted) continue;
        world_weights(w, out, more, hash);
        assert_string_equal(hash, whole);
        world_must(w, "rm -r %s", out);
        runs++;
    }
    print_message("killed %d times in %d runs, %d times while writing a checkpoint\n", kills, runs, torn);
}

// DRT_KILLS=30: so many kills a way of training, instead of 6.
static void killed_anywhere(void **state) {
    const world *w = *state;
    const char *asked = getenv("DRT_KILLS");
    if (!w->folder) skip();
    static const char *const ways[] = {
        "objectives.image_order=1 objectives.text_order=1 objectives.guided=1 passes=sampled weights=learned",
        "objectives.image_order=1 train.accumulate=2 train.recompute=true checkpoint.keep=2",
        "train.tokens=80 groups.vision=1 checkpoint.every=1",
        "dtype=bf16 objectives.guided=1",
        "token_mixer.order=token_mixer data.template=v1 objectives.image_order=1 train.tokens=300",
        "lora.targets=all-linear lora.rank=2 lora.dropout=0.3 groups.language=0 objectives.image_order=1 "
        "train.accumulate=2 train.recompute=true",
        "token_mixer.order=gps data.template=v1 objectives.image_order=1 gps.layers=2 gps.hard_from=0.6 "
        "train.tokens=300"};
    static const char *const files[][2] = {{"model/model.safetensors", "model/config.json"},
                                           {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"}};
    for (int i = 0; i < 7; i++) {
        char whole[20], torn[20], plain[40], pieces[40], once[20];
        drt_rng r;
        snprintf(plain, sizeof plain, "whole-%d", i);
        snprintf(pieces, sizeof pieces, "pieces-%d", i);
        double start = drt_clock();
        world_weights(w, plain, ways[i], whole);
        double takes = drt_clock() - start;
        snprintf(once, sizeof once, "again-%d", i);
        world_weights(w, once, ways[i], torn);
        assert_string_equal(whole, torn);
        drt_rng_init(&r, 1, (uint64_t)i);
        kill_often(w, pieces, ways[i], whole, takes, asked ? atoi(asked) : 6, &r);
        char more[300];
        snprintf(more, sizeof more, "%s --resume", ways[i]);
        world_weights(w, pieces, more, torn);
        assert_string_equal(whole, torn);
        for (int k = 0; k < 2; k++) check(same_file(w, plain, pieces, files[i == 5][k]));
        if (i == 5) check(same_file(w, plain, pieces, "adapter/directed.safetensors"));
        if (i < 2) check(same_file(w, plain, pieces, "model/directed.safetensors"));
        if (i == 6) check(same_file(w, plain, pieces, "model/gps.safetensors"));
        char hashes[2][400];
        check_log(w, plain, 9, whole, hashes[0]);
        check_log(w, pieces, 9, whole, hashes[1]);
        assert_string_equal(hashes[0], hashes[1]);
        if (i == 6) { // what is drawn matters
            snprintf(more, sizeof more, "%s gps.noise=false", ways[i]);
            world_weights(w, "calm", more, torn);
            assert_string_not_equal(whole, torn);
        }
        if (i == 4) { // the order of the input matters
            snprintf(more, sizeof more, "%s token_mixer.order=none", ways[i]);
            world_weights(w, "unmixed", more, torn);
            assert_string_not_equal(whole, torn);
        }
        // Another seed is another run: the hash tells runs apart.
        snprintf(more, sizeof more, "%s seed=43", ways[i]);
        snprintf(once, sizeof once, "other-%d", i);
        world_weights(w, once, more, torn);
        assert_string_not_equal(whole, torn);
    }
}

// The sum of a field over the run's log.
static double sum_of(const world *w, const char *out, const char *field) {
    char *text = log_of(w, out);
    double sum = 0;
    for (char *at = text; (at = strstr(at, field)); at++) sum += atof(at + strlen(field));
    free(text);
    return sum;
}

// Features that are kept save work and change nothing: not a bit, not what is counted as arithmetic.
static void features_are_kept(void **state) {
    const world *w = *state;
    if (!w->folder) skip();
    static const char *const ways[] = {"",
                                       "threads=3",
                                       "dtype=bf16",
                                       "dtype=f16",
                                       "objectives.image_order=1 objectives.guided=1",
                                       "train.accumulate=2 train.recompute=true"};
    for (int i = 0; i < 6; i++) {
        char more[300], hash[2][20], out[2][20];
        for (int k = 0; k < 2; k++) {
            snprintf(out[k], sizeof out[k], "kept-%d-%d", i, k);
            snprintf(more, sizeof more, "%s%s", ways[i], k ? "" : " data.features=0");
            world_weights(w, out[k], more, hash[k]);
            assert_string_equal(hash[0], hash[k]);
            assert_true(sum_of(w, out[k], "\"flops\":") == sum_of(w, out[0], "\"flops\":"));
        }
        // 9 steps of 4 pictures out of 12: from the second round on each is known.
        check(sum_of(w, out[0], "\"remembered\":") == 0);
        check(sum_of(w, out[1], "\"remembered\":") >= 12);
    }
}

static int losses(const world *w, const char *out, double *loss, int room) {
    char *text = log_of(w, out);
    int n = 0;
    for (char *at = text; n < room && (at = strstr(at, "\"loss\":")); at++) loss[n++] = atof(at + 7);
    free(text);
    return n;
}

// Products of 16 bits learn what f32 learns: the losses of every step are as close as the forward passes of equal
// models are, and far closer than they have come down.
static void halves_learn(void **state) {
    enum { STEPS = 30, PRODUCTS = 16 }; // of two layers, tower, projector, head
    const world *w = *state;
    static const char *const type[] = {"f32", "bf16", "f16"};
    double exact[STEPS], half[STEPS];
    char hash[3][20];
    if (!w->folder) skip();
    static const char more[] = "train.steps=30 train.epochs=30 optimizer.lr=3e-2 checkpoint.every=0";
    char keys[300];
    for (int k = 0; k < 3; k++) {
        double most = 0;
        snprintf(keys, sizeof keys, "%s dtype=%s", more, type[k]);
        world_weights(w, type[k], keys, hash[k]);
        check(losses(w, type[k], k ? half : exact, STEPS) == STEPS);
        if (!k) continue;
        assert_string_not_equal(hash[0], hash[k]);
        for (int i = 0; i < STEPS; i++) most = fmax(most, fabs(half[i] / exact[i] - 1));
        print_message("%s: losses %.1e apart, %.2f to %.2f\n", type[k], most, exact[0], exact[STEPS - 1]);
        check(most > 0 && most <= product_tolerance(k == 2 ? DRT_AS_F16 : DRT_AS_BF16, PRODUCTS));
        check(exact[STEPS - 1] < 0.7 * exact[0] && half[STEPS - 1] < 0.7 * half[0]);
    }
}

// The merged model has the shapes of its adapter's base, and is it no more: everything that opens an adapter refuses
// it, naming both.
static void other_base(const world *w) {
    static const char *const commands[] = {
        "chat merged0 --adapter keeping/adapter --prompt x", "merge merged0 keeping/adapter twice",
        "eval merged0 --adapter keeping/adapter --data world/pretrain.json",
        "verify merged0 --adapter keeping/adapter --golden $OLDPWD/tests/golden/verify/golden.safetensors"};
    static const char *const words[] = {"another base", "model'", "merged0'"};
    int rc;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char *said = world_run(w, &rc, "drt %s", commands[i]);
        for (int k = 0; k < 3; k++)
            if (rc != 1 || !strstr(said, words[k])) fail_msg("%s: status %d: %s", commands[i], rc, said);
        free(said);
    }
    world_refused(w, "other-1", "model=merged0 lora.from=keeping/adapter groups.language=0", words, 3);
    // A run goes on beside the weights that it began with: an adapter, or anything beside frozen parts.
    world_refused(w, "keeping", "--resume model=merged0 lora.targets=q_proj,*.fc1,/.*up_proj/ groups.language=0",
                  (const char *const[]){"state.safetensors", "other weights", "recipe.yaml"}, 3);
}

// The adapter of a run: dropout matters, training can go on from it, and merging makes a model that answers alike.
static void adapter_of_a_run(void **state) {
    const world *w = *state;
    char hash[3][20], more[300];
    int rc;
    if (!w->folder) skip();
    static const char keys[] = "lora.targets=q_proj,*.fc1,/.*up_proj/ groups.language=0 lora.dropout=";
    for (int i = 0; i < 2; i++) {
        snprintf(more, sizeof more, "%s%s", keys, i ? "0.5" : "0");
        world_weights(w, i ? "dropping" : "keeping", more, hash[i]);
    }
    assert_string_not_equal(hash[0], hash[1]);
    world_weights(w, "going-on", "lora.from=keeping/adapter groups.language=0", hash[2]);
    assert_string_not_equal(hash[0], hash[2]);
    for (int i = 0; i < 2; i++) {
        char *said =
            world_run(w, &rc, "drt merge model keeping/adapter merged%d --threads 1 %s", i, i ? "--dtype bf16" : "");
        if (rc || !strstr(said, "read back, logits")) fail_msg("status %d: %s", rc, said);
        print_message("%s", said);
        free(said);
    }
    other_base(w);
    char *said = world_run(w, &rc, "drt chat model --adapter keeping/model --prompt x");
    check(rc == 1 && strstr(said, "adapter_config.json"));
    free(said);
    world_must(w, "drt chat model --adapter keeping/adapter --prompt x --max-new-tokens 4 --threads 1");
    world_refused(w, "lora-1", "lora.targets=q_proj", (const char *const[]){"lora.targets", "groups.language=0"}, 2);
    world_refused(w, "lora-2", "lora.targets=qkv groups.language=0", (const char *const[]){"'qkv'", "q_proj, k_proj"},
                  2);
    world_refused(w, "lora-3", "lora.targets=q_proj lora.rank=0",
                  (const char *const[]){"lora.rank", "'0' is not allowed"}, 2);
    world_refused(w, "lora-4", "lora.targets=q_proj lora.from=x", (const char *const[]){"lora.from", "lora.targets"},
                  2);
}

// A run that assembles its model makes a folder as `drt assemble` does: the vocabulary gets <image> where it has none.
static void image_row_of_a_run(void **state) {
    const world *w = *state;
    drt_error err = {0};
    const drt_model_options plain = {0};
    drt_model *m;
    char hash[20];
    if (!w->folder) skip();
    world_must(w, "cp -r model mute && sed 's/<image>/<thing>/g' model/tokenizer.json >mute/tokenizer.json");
    world_weights(w, "assembled", "model= vision=model language=mute", hash);
    char *path = drt_path_join(w->folder, "assembled/model");
    check_ok(drt_model_open(&m, path, &plain, &err));
    free(path);
    assert_int_equal(drt_tokenizer_id(m->tokenizer, "<image>"), 300);
    assert_int_equal(m->config.image_token, 300);
    assert_int_equal(m->config.language.vocab, 320);
    drt_model_close(m);
}

static void not_a_number(void **state) {
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
    char *said =
        world_train(w, &rc, "nan", "lr=1e30 optimizer.clip=0 optimizer.warmup=0 checkpoint.every=1 checkpoint.keep=1");
    check(rc == 1);
    if (!strstr(said, "step ") || !strstr(said, "(samples ") || !strstr(said, "nothing was updated"))
        fail_msg("%s", said);
    free(said);
    // The checkpoint of before the trouble is there still.
    char *list = world_run(w, &rc, "ls nan/checkpoints");
    if (!strstr(list, "step-000000001")) fail_msg("kept: %s", list);
    free(list);
}

static void bad_samples(void **state) {
    const world *w = *state;
    static const char keys[] = "data.file=world/bad.json train.batch=2 data.bad=skip";
    char whole[20], skipped[20];
    if (!w->folder) skip();
    world_write(w, "world/torn.jpg", "\xff\xd8\xff\xe0 no picture");
    world_write(w, "world/bad.json",
                "[{\"id\": \"a\", \"image\": \"images/train/000000.png\", \"conversations\": [{\"from\": \"human\", "
                "\"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"a star\"}]},\n"
                "{\"id\": \"gone\", \"image\": \"nowhere.png\", \"conversations\": [{\"from\": \"human\", \"value\": "
                "\"<image>\"}, {\"from\": \"gpt\", \"value\": \"a star\"}]},\n"
                "{\"id\": \"torn\", \"image\": \"torn.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": "
                "\"<image>\"}, {\"from\": \"gpt\", \"value\": \"a star\"}]},\n"
                "{\"id\": \"mute\", \"image\": \"images/train/000000.png\", \"conversations\": [{\"from\": \"human\", "
                "\"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"\"}]},\n"
                "{\"id\": \"b\", \"image\": \"images/train/000000.png\", \"conversations\": [{\"from\": \"human\", "
                "\"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"a red square\"}]}]\n");
    world_refused(w, "bad", "data.file=world/bad.json train.batch=2",
                  (const char *const[]){"bad.json", "nowhere.png", "torn.jpg", "mute", "3"}, 5);
    world_weights(w, "skip-a", keys, whole);
    world_weights(w, "skip-b", keys, skipped);
    assert_string_equal(whole, skipped);
    int rc;
    char *said = world_train(w, &rc, "skip-c", keys);
    if (!strstr(said, "3 unusable samples")) fail_msg("%s", said);
    free(said);
    said = world_read(w, "skip-c/bad_samples.txt");
    check(strstr(said, "nowhere.png") && strstr(said, "torn.jpg") && strstr(said, "mute"));
    free(said);
}

static void refusals(void **state) {
    const world *w = *state;
    if (!w->folder) skip();
    world_refused(w, "r1", "data.context=16", (const char *const[]){"pretrain.json", "sample", "context", "16"}, 4);
    world_refused(w, "r2", "lrr=1", (const char *const[]){"lrr", "lr"}, 2);
    world_refused(w, "config.json/run", "", (const char *const[]){"config.json"},
                  1); // a folder cannot be made below a file
    world_refused(w, "r3", "order.grid=3 objectives.image_order=1", (const char *const[]){"order.grid", "3"}, 2);
    world_refused(w, "r4", "order.grid=2 order.bank=25 objectives.image_order=1",
                  (const char *const[]){"order.bank", "25", "4"}, 3);
    world_refused(w, "r5", "data.file=world/none.json", (const char *const[]){"none.json"}, 1);
    world_refused(w, "r6", "model=/nowhere", (const char *const[]){"/nowhere"}, 1);
    world_refused(w, "r7", "groups.language=0 groups.projector=0", (const char *const[]){"groups"}, 1);
    // Nor does a run begin where another process is at work.
    char *held = drt_path_join(w->folder, "held");
    int claim;
    drt_error err = {0};
    check_ok(drt_make_folders(held, &err));
    check_ok(drt_folder_claim(&claim, held, &err));
    world_refused(w, "held", "", (const char *const[]){"held", "another process"}, 2);
    drt_folder_leave(claim);
    free(held);
    // A finished run is not written over.
    char hash[20];
    world_weights(w, "done", "", hash);
    world_weights(w, "held", "", hash);
    world_refused(w, "done", "", (const char *const[]){"done", "--resume"}, 2);
    world_refused(w, "done", "--resume objectives.image_order=1", (const char *const[]){"checkpoints", "out"}, 2);
    world_refused(w, "done", "--resume dtype=bf16", (const char *const[]){"state.safetensors", "dtype=f32"}, 2);
    world_weights(w, "done-half", "dtype=bf16", hash);
    world_refused(w, "done-half", "--resume", (const char *const[]){"state.safetensors", "dtype=bf16"}, 2);
    // What was refused has not put its recipe in the place of the run's.
    world_must(w, "grep 'dtype: f32' done/recipe.yaml");
}

// A disk that is full (files may not grow beyond some blocks): the message names the file, the checkpoint before stays,
// and with room again the run ends as if nothing had been.
static void full_disk(void **state) {
    const world *w = *state;
    char whole[20], torn[20];
    int rc;
    if (!w->folder) skip();
    world_weights(w, "roomy", "", whole);
    char *said = world_train(w, &rc, "full", "train.steps=9 objectives.language=1 checkpoint.every=4");
    check(rc == 0);
    free(said);
    world_must(w, "cd full && rm -r model checkpoints/step-000000009 && ls checkpoints");
    said = world_run(w, &rc, "trap '' XFSZ; ulimit -f 16; drt train %s out=full --resume", world_keys);
    if (rc != 1 || !strstr(said, "state.safetensors") || !strstr(said, "large")) fail_msg("status %d: %s", rc, said);
    free(said);
    world_weights(w, "full", "--resume", torn);
    assert_string_equal(whole, torn);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_anywhere),    cmocka_unit_test(halves_learn), cmocka_unit_test(adapter_of_a_run),
        cmocka_unit_test(image_row_of_a_run), cmocka_unit_test(not_a_number), cmocka_unit_test(bad_samples),
        cmocka_unit_test(refusals),           cmocka_unit_test(full_disk),    cmocka_unit_test(features_are_kept),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
