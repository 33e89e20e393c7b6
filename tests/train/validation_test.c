// Validation during training: its losses are means over every sample once, nothing of the training changes by it, the
// best checkpoint is kept, patience ends, and a run that was killed goes on as if it had not been.
#include "support/check.h"
#include "support/shell.h"
#include "support/world.h"

#include "base/file.h"
#include "eval/log_read.h"
#include "train/validation.h"

#include <math.h>
#include <stdio.h>

static void best_of_many(void **state) {
    (void)state;
    drt_best b = {0};
    check(!drt_best_add(&b, 1, NAN) && !b.step && b.since == 1 && b.last == 1);
    check(drt_best_add(&b, 2, 3) && b.step == 2 && b.since == 0);
    check(!drt_best_add(&b, 3, 3) && !drt_best_add(&b, 4, NAN) && !drt_best_add(&b, 5, 4) && b.since == 3);
    check(drt_best_add(&b, 6, 2.5) && b.step == 6 && b.loss == 2.5 && b.since == 0 && b.last == 6);
    double steps[] = {2, 4, 6}, losses[] = {5, 3, 4};
    char name[] = "validation.loss";
    drt_run_series series = {name, 3, steps, losses};
    drt_best again = {0};
    drt_best_remember(&again, &(drt_run_log){.n_series = 1, .series = &series});
    check(again.step == 4 && again.loss == 3 && again.since == 1 && again.last == 6);
}

static void open_training(const world *w, drt_recipe *r, drt_training *t, const char *batch) {
    drt_error err = {0};
    char keys[900];
    snprintf(keys, sizeof keys,
             "data.validation=%s/world/pretrain.json train.steps=3 objectives.image_order=0.5 "
             "objectives.text_order=0.5 objectives.guided=0.25 %s",
             w->folder, batch);
    check_ok(world_recipe(w, r, keys, &err));
    check_ok(drt_training_open(t, r, false, NULL, &err));
    check_ok(drt_training_data(t, 0, NULL, NULL, &err));
}

// Twelve samples in batches of 5 (two of them short) and of 12, the latter also as one step of training: the same
// means. Twice in a row, and with training between: the same number, to the last bit.
static void means_over_every_sample_once(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_validation_report v[3];
    drt_step_report whole = {0};
    if (!w->folder) skip();
    static const char *const batches[] = {"train.batch=5", "train.batch=12"};
    for (int i = 0; i < 2; i++) {
        drt_recipe r;
        drt_training t;
        drt_validation *val;
        open_training(w, &r, &t, batches[i]);
        check_ok(drt_validation_open(&val, &t, NULL, &err));
        check(drt_dataset_size(drt_validation_dataset(val)) == 12);
        uint64_t before = drt_params_hash(t.m->params);
        check_ok(drt_validation_run(val, 0, NULL, NULL, &v[i], &err));
        check_ok(drt_validation_run(val, 0, NULL, NULL, &v[2], &err));
        assert_memory_equal(&v[i], &v[2], sizeof v[i]);
        check(drt_params_hash(t.m->params) == before);
        if (i == 1) {
            drt_step_data *data;
            check_ok(drt_loader_next(t.loader, &data, &err));
            check_ok(drt_train_losses(t.tape, t.m, &r, drt_loader_options(t.loader), data, &whole, &err));
        }
        drt_validation_close(val);
        drt_training_close(&t);
        drt_recipe_free(&r);
    }
    // Words that are predicted do not depend on permutations: the same for every order of the samples.
    check(fabs(v[0].part[DRT_LANGUAGE_LOSS] / v[1].part[DRT_LANGUAGE_LOSS] - 1) < 1e-5);
    check(fabs(v[1].part[DRT_LANGUAGE_LOSS] / whole.part[DRT_LANGUAGE_LOSS] - 1) < 1e-5);
    check(v[0].score[DRT_LANGUAGE_LOSS].count == whole.score[DRT_LANGUAGE_LOSS].count);
    check(v[0].score[DRT_IMAGE_ORDER].count == whole.score[DRT_IMAGE_ORDER].count);
    double sum = v[1].part[DRT_LANGUAGE_LOSS] + 0.5 * v[1].part[DRT_IMAGE_ORDER] + 0.5 * v[1].part[DRT_TEXT_ORDER] +
                 0.25 * v[1].part[DRT_GUIDED];
    check(fabs(v[1].loss / sum - 1) < 1e-12 && isnan(v[1].part[DRT_SEA]));
}

static const char keys[] = "data.validation=world/val.json validate.every=2 train.epochs=99 train.steps=24 lr=0.3 "
                           "optimizer.schedule=constant checkpoint.keep=1 checkpoint.every=0";

static void write_val(const world *w) {
    world_write(w, "world/val.json",
                "[{\"id\": \"v\", \"image\": \"images/train/000000.png\", \"conversations\": [{\"from\": \"human\", "
                "\"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"no shape at all\"}]}]\n");
}

static drt_run_log log_of(const world *w, const char *out) {
    drt_run_log log;
    drt_error err = {0};
    char path[700];
    snprintf(path, sizeof path, "%s/%s/run.jsonl", w->folder, out);
    check_ok(drt_run_log_read(&log, path, &err));
    return log;
}

// A rate so high that validation soon gets worse.
static void patience_ends(void **state) {
    const world *w = *state;
    int rc;
    char more[600], hash[20], want[300];
    if (!w->folder) skip();
    write_val(w);
    snprintf(more, sizeof more, "%s validate.patience=3 checkpoint.final=best", keys);
    char *said = world_train(w, &rc, "early", more), *at = strstr(said, "early stopping after step ");
    if (rc || !at) fail_msg("status %d: %s", rc, said);
    int last = atoi(at + 26), best = atoi(strstr(at, "since step ") + 11);
    print_message("%.100s\n", at);
    check(last == best + 6 && last < 24);
    snprintf(want, sizeof want, "the model is of step %d, the best validation", best);
    check(strstr(at, want));
    free(said);
    said = world_run(w, &rc, "ls early/checkpoints | tr '\\n' ' '");
    snprintf(want, sizeof want, "step-%09d step-%09d ", best, last);
    assert_string_equal(said, want);
    free(said);
    drt_run_log log = log_of(w, "early");
    const drt_run_series *v = drt_run_log_find(&log, "validation.loss");
    check(v && v->n == last / 2 && v->step[v->n - 1] == last && drt_run_log_find(&log, "validation.word_accuracy"));
    for (int64_t i = 0; i < v->n; i++) check(v->value[i] >= v->value[best / 2 - 1]);
    drt_run_log_free(&log);
    // The model of the best step is the one of a run that stops there.
    snprintf(more, sizeof more, "%s train.stop=%d", keys, best);
    world_weights(w, "till-best", more, hash);
    world_must(w, "cmp early/model/model.safetensors till-best/model/model.safetensors");
    world_must(w, "! cmp early/model/model.safetensors till-best/model/config.json"); // (it can tell files apart)
    // Asked to go on, it stays where it was; with more patience it goes on.
    snprintf(more, sizeof more, "%s validate.patience=3 --resume", keys);
    said = world_train(w, &rc, "early", more);
    snprintf(want, sizeof want, "early stopping after step %d", last);
    check(rc == 0 && strstr(said, want));
    free(said);
    snprintf(more, sizeof more, "%s validate.patience=90 --resume", keys);
    said = world_train(w, &rc, "early", more);
    check(rc == 0 && strstr(said, "24 steps in") && !strstr(said, "early stopping"));
    free(said);
    said = world_run(w, &rc, "drt runs show early");
    check(strstr(said, "validation.loss") && strstr(said, "finished: all steps are done"));
    free(said);
}

// Looking changes nothing; and a run in pieces validates as one in one piece, also when killed before a validation.
static void changes_nothing(void **state) {
    const world *w = *state;
    char hash[3][20], more[700];
    int rc;
    if (!w->folder) skip();
    write_val(w);
    static const char way[] = "objectives.image_order=1 train.accumulate=2 lora.targets=all-linear lora.dropout=0.3 "
                              "groups.language=0 train.steps=9 train.epochs=9 validate.pictures=1 checkpoint.keep=9";
    world_weights(w, "unwatched", way, hash[0]);
    snprintf(more, sizeof more, "%s data.validation=world/val.json validate.every=2 checkpoint.every=3", way);
    world_weights(w, "watched", more, hash[1]);
    assert_string_equal(hash[0], hash[1]);
    // As if killed after step 6 was saved and before it was validated.
    world_must(w, "cp -r watched pieces; cd pieces; rm -r adapter checkpoints/step-000000009 "
                  "checkpoints/step-000000008; grep -v '\"step\":6,\"validation' run.jsonl >x; mv x run.jsonl");
    snprintf(more, sizeof more, "%s data.validation=world/val.json validate.every=2 checkpoint.every=3 --resume", way);
    char *said = world_train(w, &rc, "pieces", more);
    check(rc == 0 && strstr(said, "going on after step 6\n"));
    check(strstr(said, "validation after step 6") && strstr(said, hash[0]));
    free(said);
    drt_run_log a = log_of(w, "watched"), b = log_of(w, "pieces");
    const drt_run_series *x = drt_run_log_find(&a, "validation.loss"), *y = drt_run_log_find(&b, "validation.loss");
    check(x && y && x->n == 5 && y->n == 5); // 2, 4, 6, 8 and the end
    for (int i = 0; i < 5; i++) check(x->step[i] == y->step[i] && x->value[i] == y->value[i]);
    drt_run_log_free(&a), drt_run_log_free(&b);
}

// Pictures and answers, as TensorBoard reads them: a caption learned by heart is answered.
static void samples_with_answers(void **state) {
    const world *w = *state;
    int rc;
    char hash[20], more[400];
    const char *python = python_with("tensorboard");
    if (!python || !w->folder) skip();
    write_val(w);
    snprintf(more, sizeof more,
             "data.file=world/val.json data.validation=world/val.json validate.every=60 train.batch=2 train.steps=120 "
             "train.epochs=999 lr=3e-2 validate.pictures=3 checkpoint.every=0");
    world_weights(w, "a", more, hash);
    char *said = shell(&rc, "%s tools/check_events.py %s/a/tensorboard 2>&1", python, w->folder);
    if (rc || !strstr(said, "image samples/0 60 32 32 ") || strstr(said, "image samples/1") ||
        !strstr(said, "scalar validation/loss 60 ") || !strstr(said, "scalar validation/loss 120 ") ||
        !strstr(said, "text samples/0/answer 60 ") ||
        !strstr(said, "**expected:** no shape at all\\n\\n**answered:** no shape at all\"\n"))
        fail_msg("%s", said);
    free(said);
}

static void refusals(void **state) {
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
    static const char *const wrong[][2] = {
        {"validate.every=2", "validate.every: there is nothing to validate on; name a file in data.validation"},
        {"validate.patience=2", "validate.patience: there is nothing"},
        {"validate.samples=2", "validate.samples: there is nothing"},
        {"checkpoint.final=best", "checkpoint.final: there is nothing"},
        {"data.validation=world/pretrain.json validate.patience=2", "say how often in validate.every"},
        {"data.validation=world/none.json", "world/none.json"},
        {"data.validation=world/pretrain.json validate.every=-1", "'-1' is not allowed"},
        {"data.validation=world/pretrain.json checkpoint.final=bset", "did you mean 'best'?"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *said = world_train(w, &rc, "wrong", wrong[i][0]);
        if (rc != 1 || !strstr(said, wrong[i][1])) fail_msg("%s: %d %s", wrong[i][0], rc, said);
        free(said);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_of_many),         cmocka_unit_test(means_over_every_sample_once),
        cmocka_unit_test(patience_ends),        cmocka_unit_test(changes_nothing),
        cmocka_unit_test(samples_with_answers), cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
