// Recipes: one table of keys drives files, overrides, messages, help and writing back.
#include "support/check.h"

#include "base/file.h"
#include "train/recipe.h"
#include "train/recipe_keys.h"

#include <math.h>
#include <stdio.h>

// Loads `yaml` as a file named r.yaml with up to two overrides.
static drt_status load(drt_recipe *r, const char *yaml, const char *a, const char *b, drt_error *out) {
    char *folder = test_folder("recipe"), *path = drt_path_join(folder, "r.yaml");
    const char *overrides[] = {a, b};
    drt_error err = {0};
    check_ok(drt_file_write(path, yaml, strlen(yaml), &err));
    drt_status status = drt_recipe_load(r, path, b ? 2 : a ? 1 : 0, overrides, &err);
    *out = err;
    free(path), free(folder);
    return status;
}

#define check_yaml_refused(yaml, part)                                                                                 \
    do {                                                                                                               \
        drt_recipe r_;                                                                                                 \
        drt_error err;                                                                                                 \
        check_refused(load(&r_, yaml, NULL, NULL, &err), DRT_ECONFIG, part);                                           \
    } while (0)
#define check_override_refused(a, b, part)                                                                             \
    do {                                                                                                               \
        drt_recipe r_;                                                                                                 \
        drt_error err;                                                                                                 \
        check_refused(load(&r_, "", a, b, &err), DRT_ECONFIG, part);                                                   \
    } while (0)

static void defaults_are_llava_stage_one(void **state) {
    (void)state;
    drt_error err = {0};
    drt_recipe r;
    check_ok(drt_recipe_load(&r, NULL, 0, NULL, &err));
    assert_int_equal(r.task, DRT_TASK_LLAVA);
    assert_int_equal(r.vision_select_layer, -2);
    assert_true(r.optimizer.lr == 1e-3 && r.optimizer.beta2 == 0.999 && r.optimizer.warmup == 0.03);
    assert_true(r.groups.projector == 1 && r.groups.vision == 0 && r.groups.language == 0);
    assert_true(r.objectives.language == 1 && r.objectives.guided == 0);
    assert_string_equal(r.model, "");
    assert_true(r.train.select_rows && !r.train.recompute);
    check_refused(drt_recipe_complete(&r, &err), DRT_ECONFIG, "out: the run folder");
    check_ok(drt_recipe_set(&r, "out", "run", &err));
    check_refused(drt_recipe_complete(&r, &err), DRT_ECONFIG, "data.file");
    check_ok(drt_recipe_set(&r, "file", "a.json", &err));
    check_refused(drt_recipe_complete(&r, &err), DRT_ECONFIG, "no vision tower");
    check_ok(drt_recipe_set(&r, "vision", "v", &err));
    check_refused(drt_recipe_complete(&r, &err), DRT_ECONFIG, "no language model");
    check_ok(drt_recipe_set(&r, "language", "l", &err));
    check_ok(drt_recipe_complete(&r, &err));
    check_refused(drt_recipe_set(&r, "btach", "3", &err), DRT_ECONFIG, "train.batch");
    drt_recipe_free(&r);
    assert_null(r.model);
}

static void task_changes_defaults_but_not_given_keys(void **state) {
    (void)state;
    drt_error err;
    drt_recipe r;
    check_ok(load(&r, "task: clip\n", NULL, NULL, &err));
    assert_true(r.objectives.contrastive == 1 && r.objectives.language == 0 && r.groups.vision == 1);
    drt_recipe_free(&r);
    check_ok(load(&r, "groups: {vision: 0.25}\n", "task=clip", "contrastive=2", &err));
    assert_true(r.objectives.contrastive == 2 && r.groups.vision == 0.25);
    drt_recipe_free(&r);
    check_ok(load(&r, "task: language", NULL, NULL, &err));
    assert_true(r.groups.language == 1 && r.objectives.language == 1);
    drt_recipe_free(&r);
}

static void files_and_overrides_set_keys(void **state) {
    (void)state;
    drt_error err;
    drt_recipe r;
    check_ok(load(&r,
                  "# stage 2\n"
                  "model: \"a folder\"\n"
                  "data: {template: v1, aspect: pad, file: ü.json}\n"
                  "train:\n  batch: 128\n  recompute: yes\n"
                  "optimizer:\n  lr: 2e-5\n  schedule: linear\n"
                  "log:\n"
                  "seed: 9007199254740992\n",
                  "lr=3e-4", "groups.language=1", &err));
    assert_string_equal(r.model, "a folder");
    assert_string_equal(r.data.file, "ü.json");
    assert_int_equal(r.data.template, DRT_TEMPLATE_V1);
    assert_int_equal(r.data.aspect, DRT_ASPECT_PAD);
    assert_int_equal(r.train.batch, 128);
    assert_true(r.train.recompute);
    assert_true(r.optimizer.lr == 3e-4 && r.groups.language == 1);
    assert_int_equal(r.optimizer.schedule, DRT_SCHEDULE_LINEAR);
    assert_true(r.seed == 9007199254740992);
    drt_recipe_free(&r);
    check_ok(load(&r, "lr: 0.5\n", "out=a=b", "out=c=d", &err));
    assert_true(r.optimizer.lr == 0.5);
    assert_string_equal(r.out, "c=d");
    drt_recipe_free(&r);
}

static void faults_name_place_key_and_remedy(void **state) {
    (void)state;
    check_yaml_refused("optimizer:\n  lrr: 1\n",
                       "r.yaml:2:3: unknown key 'optimizer.lrr'; the nearest known key is optimizer.lr");
    check_yaml_refused("\ntrain: {lr: 1}\n", "r.yaml:2:9: unknown key 'train.lr'; did you mean optimizer.lr?");
    check_yaml_refused("optimizer:\n  lr: fast\n",
                       "r.yaml:2:7: optimizer.lr: 'fast' is not allowed; it takes a number, 0 or more");
    check_yaml_refused("train:\n  batch: 1.5\n",
                       "r.yaml:2:10: train.batch: '1.5' is not allowed; it takes a whole number");
    check_yaml_refused("train:\n  batch: 0\n", "from 1 to 16777216");
    check_yaml_refused("optimizer: {schedule: cosin}\n", "one of cosine, linear, constant (did you mean 'cosine'?)");
    check_yaml_refused("train: {recompute: 1}\n", "true or false");
    check_yaml_refused("token_mixer: {tau: 1.5}\n", "from -1 to 1");
    check_yaml_refused("task: clip\ntoken_mixer: {order: token_mixer}\n", "token_mixer.order: it orders visual tokens");
    check_yaml_refused("token_mixer: {order: gps}\norder: {token: visual}\nobjectives: {image_order: 1}\n",
                       "set order.token to end or start");
    check_yaml_refused("gps: {tau_last: 0}\n", "above 0");
    check_yaml_refused("gps: {hard: hungarian}\n", "one of argmax, assignment");
    check_yaml_refused("train: {batch: 8, batch: 8}\n", "r.yaml:1:19: train.batch is given twice, first in line 1");
    check_yaml_refused("lr: 1\noptimizer: {lr: 1}\n", "optimizer.lr is given twice");
    check_yaml_refused("train: [1]\n", "r.yaml:1:1: unknown key 'train'");
    check_yaml_refused("out: [1]\n", "out takes one value, not a list");
    check_yaml_refused("out: {a: 1}\n", "out takes one value, not a section");
    check_yaml_refused("wheels: {a: 1}\n", "unknown key 'wheels'");
    check_yaml_refused("out: &a x\nmodel: *a\n", "aliases");
    check_yaml_refused("- a\n", "r.yaml:1:1: a recipe is a list of");
    check_yaml_refused("? [a]\n: 1\n", "a key must be a word");
    check_yaml_refused("out: a\n---\nout: b\n", "r.yaml:2:1: a second document");
    check_yaml_refused("out: \"a\\0b\"\n", "NUL");
    check_yaml_refused("out: \"unclosed\n", "r.yaml:2:1:");
    check_yaml_refused("out: \xff\n", "r.yaml: byte 5:");
    check_yaml_refused("optimizer: {lr: 0x10}\n", "optimizer.lr");
    check_yaml_refused("optimizer: {lr: 1e999}\n", "optimizer.lr");
    check_yaml_refused("optimizer: {lr: }\n", "optimizer.lr: '' is not allowed");
    check_override_refused("lrr=1", NULL, "override 'lrr=1': unknown key 'lrr'; the nearest known key is optimizer.lr");
    check_override_refused("every=1", NULL, "did you mean checkpoint.every, validate.every, log.every?");
    check_override_refused("lr", NULL, "key=value");
    check_override_refused("beta1=1", NULL, "from 0 to below 1");
    check_override_refused("eps=0", NULL, "above 0");
    check_override_refused("out=\xc3", NULL, "UTF-8");
    check_override_refused("qqqqqqqqqq=1", NULL, "drt train --help");
    drt_recipe r;
    drt_error err = {0};
    check_refused(drt_recipe_load(&r, "no/such.yaml", 0, NULL, &err), DRT_EIO, "no/such.yaml");
}

static void contradictions_blame_the_key_that_was_given(void **state) {
    (void)state;
    check_yaml_refused("task: clip\nobjectives:\n  text_order: 1\n",
                       "r.yaml:3:15: objectives.text_order: it orders words");
    check_override_refused("task=language", "image_order=1", "override 'image_order=1': objectives.image_order");
    check_override_refused("contrastive=1", NULL, "task: clip");
    check_override_refused("objectives.language=0", NULL, "nothing to learn");
    check_override_refused("model=a", "vision=b", "parts to assemble");
    check_override_refused("accumulate=3", NULL, "does not divide train.batch (32)");
    check_override_refused("accumulate=2", "tokens=512", "give one of them");
    check_override_refused("min_lr=1", NULL, "above optimizer.lr");
    check_override_refused("epochs=0", NULL, "train.steps");
    check_override_refused("task=language", "groups.language=0", "frozen");
}

static void written_recipes_reload_the_same(void **state) {
    (void)state;
    drt_error err;
    drt_recipe r, again;
    drt_text first = {0}, second = {0};
    check_ok(load(&r,
                  "optimizer: {lr: 0.1234567890123456789, eps: 1e-300}\n"
                  "task: llava\norder: {token: visual, grid: 4}\n"
                  "data: {bad: skip, images: \"tab\\tquote\\\" \\\\ \\u2028\\x85\\uFEFF é\",\n"
                  "  file: '- x: #y'}\nout: 'null'\n",
                  "device=~", "language=  spaced ", &err));
    drt_recipe_write(&r, &first);
    check_ok(load(&again, first.bytes, NULL, NULL, &err));
    drt_recipe_write(&again, &second);
    assert_string_equal(first.bytes, second.bytes);
    assert_true(again.optimizer.lr == 0.1234567890123456789 && again.optimizer.eps == 1e-300);
    assert_string_equal(again.data.images, "tab\tquote\" \\ \u2028\xc2\x85\ufeff é");
    assert_string_equal(again.data.images, r.data.images);
    assert_string_equal(again.data.file, "- x: #y");
    assert_string_equal(again.out, "null");
    assert_string_equal(again.device, "~");
    assert_string_equal(again.language, "  spaced ");
    assert_int_equal(again.order.token, DRT_ORDER_VISUAL);
    drt_recipe_free(&r), drt_recipe_free(&again);
    drt_text_free(&first), drt_text_free(&second);
}

// Every row of the table is settable, its default is in range and reads back, and rows do not overlap in memory.
static void table_is_sound(void **state) {
    (void)state;
    static const size_t sizes[] = {sizeof(int64_t), sizeof(double), sizeof(bool), sizeof(char *), sizeof(int)};
    unsigned char used[sizeof(drt_recipe)] = {0};
    drt_error err = {0};
    drt_recipe r;
    drt_text help = {0};
    drt_recipe_help(&help);
    check_ok(drt_recipe_load(&r, NULL, 0, NULL, &err));
    for (int i = 0; i < drt_recipe_key_count; i++) {
        const drt_recipe_key *key = &drt_recipe_keys[i];
        assert_ptr_equal(drt_recipe_key_find(key->path), key);
        check_ok(drt_recipe_key_set(&r, key, key->value, &err));
        for (size_t b = 0; b < sizes[key->type]; b++) assert_int_equal(used[key->offset + b]++, 0);
        assert_non_null(strstr(help.bytes, key->doc));
        for (int j = 0; j < i; j++) assert_string_not_equal(key->path, drt_recipe_keys[j].path);
    }
    for (int i = 0; i < drt_recipe_task_default_count; i++) {
        const drt_recipe_key *key = drt_recipe_key_find(drt_recipe_task_defaults[i].path);
        assert_non_null(key);
        check_ok(drt_recipe_key_set(&r, key, drt_recipe_task_defaults[i].value, &err));
    }
    for (const char *line = help.bytes, *end; (end = strchr(line, '\n')); line = end + 1)
        assert_true(end - line <= 100);
    drt_text_free(&help);
    drt_recipe_free(&r);
}

// Both ends of every number's range: what lies past them is refused, the ends themselves as the row says.
static void ranges_hold_at_both_ends(void **state) {
    (void)state;
    drt_error err = {0};
    drt_recipe r;
    int tried = 0;
    check_ok(drt_recipe_load(&r, NULL, 0, NULL, &err));
    for (int i = 0; i < drt_recipe_key_count; i++) {
        const drt_recipe_key *key = &drt_recipe_keys[i];
        const double ends[] = {key->least, key->most};
        if (key->type != DRT_KEY_INT && key->type != DRT_KEY_FLOAT) continue;
        for (int end = 0; end < 2; end++) {
            char at[64], past[64];
            if (isinf(ends[end])) continue;
            double step = fabs(ends[end]) > 1e15 ? 2 : 1; // the next double above 2^53
            snprintf(at, sizeof at, "%.0f", ends[end]);
            snprintf(past, sizeof past, "%.0f", end ? ends[end] + step : ends[end] - step);
            bool open = key->open & (end ? DRT_KEY_BELOW : DRT_KEY_ABOVE);
            assert_int_equal(drt_recipe_key_set(&r, key, at, &err), open ? DRT_ECONFIG : DRT_OK);
            check_refused(drt_recipe_key_set(&r, key, past, &err), DRT_ECONFIG, key->path);
            tried++;
        }
    }
    assert_true(tried > 40);
    drt_recipe_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_llava_stage_one),
        cmocka_unit_test(task_changes_defaults_but_not_given_keys),
        cmocka_unit_test(files_and_overrides_set_keys),
        cmocka_unit_test(faults_name_place_key_and_remedy),
        cmocka_unit_test(contradictions_blame_the_key_that_was_given),
        cmocka_unit_test(written_recipes_reload_the_same),
        cmocka_unit_test(table_is_sound),
        cmocka_unit_test(ranges_hold_at_both_ends),
    };
    return cmocka_run_group_tests_name("recipe", tests, NULL, NULL);
}
