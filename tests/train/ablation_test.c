// Ablations on the small towers: the file is read or refused with its place, a run ends in a report, goes on where it
// was, refuses what another recipe made, shares equal stages, and gives equal arithmetic where that is asked for.
#include "support/check.h"
#include "support/json.h"

#include "base/file.h"
#include "eval/puzzles.h"
#include "train/ablation.h"
#include "train/recipe.h"

#include <math.h>
#include <stdio.h>

static const char good[] = "title: T\n"
                           "seeds: 3, 4\n"
                           "tasks: [exist, count]\n"
                           "questions: 4\n"
                           "world: {train: 16, eval: 4}\n"
                           "base:\n"
                           "  name: Whole\n"
                           "  both: {threads: 1, train.batch: 2, train.steps: 2}\n"
                           "  stage1: {recipe: configs/demo-direct-1.yaml}\n"
                           "  stage2: {recipe: configs/demo-direct-2.yaml}\n"
                           "variations:\n"
                           "  No guided, at all: {both: {objectives.guided: 0}}\n"
                           "  once:\n"
                           "    stage2: {objectives.image_order: 0}\n";

static char *file_of(const char *text) {
    drt_error err = {0};
    char *folder = test_folder("ablate"), *path = drt_path_join(folder, "a.yaml");
    check_ok(drt_file_write(path, text, strlen(text), &err));
    free(folder);
    return path;
}

static void file_is_read(void **state) {
    (void)state;
    drt_error err = {0};
    drt_ablation_plan p;
    char *path = file_of(good);
    check_ok(drt_ablation_load(&p, path, 3, (const char *const[]){"seeds=7", "lr=0.5", "world.eval=5"}, &err));
    assert_string_equal(p.e.title, "T");
    assert_int_equal(p.e.n, 3);
    assert_true(p.seeds == 1 && p.seed[0] == 7 && p.e.train == 16 && p.e.eval == 5 && p.e.limit == 4);
    assert_true(p.e.n_tasks == 2 && !strcmp(p.e.tasks[1], "count") && !p.e.equal_compute);
    assert_string_equal(p.model[0].title, "Whole");
    assert_string_equal(p.model[1].title, "No guided, at all");
    assert_string_equal(p.model[1].name, "no-guided-at-all");
    assert_string_equal(p.model[2].recipe[1], "configs/demo-direct-2.yaml");
    assert_int_equal(p.model[0].n_keys[0], 3);
    assert_int_equal(p.model[1].n_keys[1], 4);
    assert_string_equal(p.model[1].key[1][3], "objectives.guided=0");
    assert_int_equal(p.model[2].n_keys[0], 3);
    assert_true(p.e.n_override == 1 && !strcmp(p.e.override[0], "lr=0.5"));
    drt_ablation_plan_free(&p);
    free(path);
}

// The committed files load, and say what their variations' names say.
static void committed_files(void **state) {
    static const char *const files[] = {"configs/ablate-directed.yaml", "configs/ablate-methods.yaml"};
    (void)state;
    for (int f = 0; f < 2; f++) {
        drt_error err = {0};
        drt_ablation_plan p;
        check_ok(drt_ablation_load(&p, files[f], 0, NULL, &err));
        assert_true(p.e.n > 5 && p.seeds == 3);
        for (int i = 0; i < p.e.n; i++)
            for (int stage = 0; stage < 2; stage++) {
                const drt_experiment_model *m = &p.model[i];
                drt_recipe r;
                check_ok(drt_recipe_load(&r, m->recipe[stage], m->n_keys[stage], m->key[stage], &err));
                const char *title = m->title;
                const bool direct = strstr(title, "Direct") != NULL, image = r.objectives.image_order > 0,
                           text = r.objectives.text_order > 0, guided = r.objectives.guided > 0;
                if (f || i < 2) assert_true(direct ? image : !image && !text && !guided);
                if (strstr(title, "alone")) assert_true(image + text + guided == 1 || (stage && !image && !guided));
                if (!strncmp(title, "shuffled in stage ", 18))
                    assert_true((image || text) == (title[18] == '1' + stage));
                assert_true((r.objectives.sea > 0) == (strstr(title, "SEA") && !stage));
                assert_true((r.token_mixer.order == DRT_INPUT_TOKEN_MIXER) == (strstr(title, "TokenMixer") && stage));
                assert_true((r.token_mixer.order == DRT_INPUT_GPS) == (strstr(title, "GPS") && stage));
                assert_true(r.objectives.language > 0);
                drt_recipe_free(&r);
            }
        drt_ablation_plan_free(&p);
    }
}

static void refused(const char *text, const char *part) {
    drt_error err = {0};
    drt_ablation_plan p;
    char *path = file_of(text);
    check_refused(drt_ablation_load(&p, path, 0, NULL, &err), DRT_ECONFIG, part);
    assert_non_null(strstr(err.text, path));
    free(path);
}

static void bad_files_are_refused(void **state) {
    (void)state;
#define BASE "base: {stage1: {recipe: a}, stage2: {recipe: b}}\n"
    refused("", "empty");
    refused("seeds: [1\n", "a.yaml:2:1");
    refused("- 1\n", "a list of `key: value` is due");
    refused(BASE, "variations is missing");
    refused("variations: {}\n", "base is missing");
    refused("base: {stage1: {recipe: a}}\nvariations: {}\n", "stage2 has no `recipe: FILE`");
    refused(BASE "variations: {x: {both: {lr: 1}}}\nsead: 1\n", "a.yaml:3:1: 'sead' is no key here");
    refused(BASE "variations: {x: {bth: {lr: 1}}}\n", "did you mean both");
    refused(BASE "variations: {x: {both: {recipe: c}}}\n", "give it under stage1 or stage2");
    refused(BASE "variations: {x: {both: {lr: {a: 1}}}}\n", "lr takes one value");
    refused(BASE "variations: {x: {both: {lr: 1}}, x: {both: {lr: 2}}}\n", "'x' is given twice");
    refused(BASE "variations: {a b: {both: {lr: 1}}, a-b: {both: {lr: 2}}}\n", "share the folder a-b");
    refused("seeds: 1, 1\n" BASE "variations: {}\n", "a.yaml:1:8: seeds: '1' is no whole number of its own");
    refused("compute: all\n" BASE "variations: {}\n", "neither samples nor equal");
    refused("world: {train: 0}\n" BASE "variations: {}\n", "whole number from 1");
#undef BASE
}

// ---- runs ----------------------------------------------------------------------------------------------------------

typedef struct {
    char said[8000];
    int trained; // stages
    int stop_after;
} listener;

static void hear(void *user, const char *line) {
    listener *l = user;
    l->trained += strstr(line, ", stage ") != NULL;
    size_t at = strlen(l->said);
    snprintf(l->said + at, sizeof l->said - at, "%s\n", line);
}
static int stop(void *user) {
    listener *l = user;
    return l->stop_after && l->stop_after-- == 1;
}

static drt_status run(const char *path, listener *l, int n, const char *const *keys, drt_text *table, drt_error *err) {
    const drt_run_hooks hooks = {.say = hear, .say_user = l, .stop = stop, .stop_user = l};
    drt_ablation_plan p;
    l->trained = 0;
    *l->said = 0;
    drt_status status = drt_ablation_load(&p, path, n, keys, err);
    if (status) return status;
    status = drt_ablation_run(&p, &hooks, table, err);
    drt_ablation_plan_free(&p);
    return status;
}

static void runs_resume_and_refuse(void **state) {
    (void)state;
    drt_error err = {0};
    listener l = {.stop_after = 4}; // in the second stage
    drt_text table = {0};
    char out[600], *path = file_of(good), *folder = test_folder("ablate-run"), *file;
    snprintf(out, sizeof out, "out=%s", folder);
    const char *keys[] = {out, "seeds=3", NULL};
    assert_int_equal(run(path, &l, 2, keys, NULL, &err), DRT_ESTOP);
    assert_int_equal(l.trained, 2);
    check_ok(run(path, &l, 2, keys, &table, &err));
    // the rest of the first stage 2; two of the guided one; `once` shares its stage 1 with the base
    assert_int_equal(l.trained, 1 + 2 + 1);
    assert_non_null(strstr(l.said, "going on after step 1"));
    assert_non_null(strstr(table.bytes, "No guided, at all"));
    file = drt_path_join(folder, "seed3/once/stage1");
    assert_false(drt_file_exists(file));
    free(file);
    json_t *before = test_json(folder, "report.json"), *after;
    // Nothing is left to do, and the report is the same.
    check_ok(run(path, &l, 2, keys, &table, &err));
    assert_int_equal(l.trained, 0);
    assert_null(strstr(l.said, "questions"));
    after = test_json(folder, "report.json");
    assert_true(json_equal(before, after));
    json_decref(before), json_decref(after);
    // Other questions are asked of the models that are there.
    keys[2] = "questions=2";
    check_ok(run(path, &l, 3, keys, &table, &err));
    assert_true(l.trained == 0 && strstr(l.said, "questions"));
    // Another recipe, another world, keys that the experiment sets: refused before anything is trained.
    keys[2] = "lr=0.5";
    check_refused(run(path, &l, 3, keys, NULL, &err), DRT_ECONFIG, "optimizer.lr: 0.01, then 0.5");
    assert_int_equal(l.trained, 0);
    keys[2] = "world.train=17";
    check_refused(run(path, &l, 3, keys, NULL, &err), DRT_ECONFIG, "a world of 16 + 4 pictures and seed 3 lies there");
    keys[2] = "seed=5";
    check_refused(run(path, &l, 3, keys, NULL, &err), DRT_ECONFIG, "seed=5: the experiment itself sets seed");
    keys[2] = "objectives.guided=0";
    check_refused(run(path, &l, 3, keys, NULL, &err), DRT_ECONFIG, "'Whole' and 'No guided, at all' are the same");
    // A stage whose beginning is gone.
    file = drt_path_join(folder, "seed3/whole/stage1");
    check_ok(drt_remove_tree(file, &err));
    check_refused(run(path, &l, 2, keys, NULL, &err), DRT_ECONFIG, "which is gone");
    drt_text_free(&table);
    free(file), free(folder), free(path);
}

static void equal_compute(void **state) {
    (void)state;
    drt_error err = {0};
    listener l = {0};
    char out[600],
        *folder = test_folder("ablate-equal"),
        *path = file_of("seeds: 1\ncompute: equal\ntasks: exist\nquestions: 2\nworld: {train: 16, eval: 4}\n"
                        "base:\n  both: {threads: 1, train.batch: 2, train.steps: 12}\n"
                        "  stage1: {recipe: configs/demo-direct-1.yaml}\n"
                        "  stage2: {recipe: configs/demo-direct-2.yaml}\n"
                        "variations:\n  plain:\n    both: {objectives.image_order: 0, objectives.guided: 0}\n"
                        "    stage1: {objectives.text_order: 0, "
                        "objectives.sea: 1, sea.negate: false}\n");
    snprintf(out, sizeof out, "out=%s", folder);
    check_ok(run(path, &l, 1, (const char *const[]){out}, NULL, &err));
    json_t *root = test_json(folder, "report.json"), *rows = json_object_get(root, "variations");
    double base = json_number_value(json_object_get(json_object_get(json_object_get(rows, "base"), "flops"), "mean")),
           plain = json_number_value(json_object_get(json_object_get(json_object_get(rows, "plain"), "flops"), "mean"));
    json_decref(root);
    // Half a step in twelve or more, and what the first steps' rows differ from the others'.
    if (!(fabs(plain / base - 1) < 0.1)) fail_msg("%g is not near %g", plain, base);
    char *labels = drt_path_join(folder, "seed1/world/labels-false.sea"); // made on the way
    check(drt_file_exists(labels));
    free(labels);
    drt_recipe r;
    char *recipe = drt_path_join(folder, "seed1/plain/stage1/recipe.yaml");
    check_ok(drt_recipe_load(&r, recipe, 0, NULL, &err));
    assert_true(r.train.steps > 18); // three passes cost more than one and a half
    drt_recipe_free(&r);
    // Once more: the steps that were found then stand.
    check_ok(run(path, &l, 1, (const char *const[]){out}, NULL, &err));
    assert_int_equal(l.trained, 0);
    check_refused(run(path, &l, 2, (const char *const[]){out, "train.steps=5"}, NULL, &err), DRT_ECONFIG,
                  "train.steps");
    check_refused(run(path, &l, 2, (const char *const[]){out, "sea.labels=x"}, NULL, &err), DRT_ECONFIG, "then x");
    free(recipe), free(folder), free(path);
}

// The guided mass of the adapter that lies in `run`, beside its base, asked as the ablation asks, in this order of
// input.
static double mass_of(const char *run, const drt_token_mixer *order, uint64_t seed, int64_t limit, const char *world) {
    char recipe[700], adapter[700], captions[700];
    drt_error err = {0};
    drt_recipe r;
    drt_model *m;
    drt_device *dev;
    int32_t *bank;
    int classes, grid;
    drt_rate mass;
    snprintf(recipe, sizeof recipe, "%s/recipe.yaml", run);
    snprintf(adapter, sizeof adapter, "%s/adapter", run);
    snprintf(captions, sizeof captions, "%s/eval/captions.json", world);
    check_ok(drt_recipe_load(&r, recipe, 0, NULL, &err));
    check_ok(drt_device_open(&dev, r.device, 1, &err));
    drt_tape *t = drt_tape_new(dev, &err);
    check_ok(drt_puzzle_model_open(&m, r.model, adapter, DRT_KEEP_F32, &bank, &classes, &grid, &err));
    const drt_puzzle_options o = {.file = captions, .images = world, .limit = limit, .seed = seed, .order = order};
    check_ok(drt_eval_guided_mass(m, t, &o, &mass, &err));
    free(bank);
    drt_model_close(m);
    drt_tape_free(t);
    drt_device_close(dev);
    drt_recipe_free(&r);
    return drt_rate_of(mass);
}

// An adapter's folder does not tell the order of the input it was trained in: the ablation asks in that order all the
// same. The mass that an answer puts on the picture is another one in another order.
static void adapter_in_its_order(void **state) {
    (void)state;
    drt_error err = {0};
    listener l = {0};
    char out[600], run_folder[700], world[700],
        *folder = test_folder("ablate-order"),
        *path = file_of("seeds: 1\ntasks: exist\nquestions: 2\nworld: {train: 16, eval: 4}\n"
                        "base:\n  both: {threads: 1, train.batch: 2, train.steps: 2}\n"
                        "  stage1: {recipe: configs/demo-direct-1.yaml}\n"
                        "  stage2: {recipe: configs/demo-direct-2.yaml, lora.targets: all-linear, groups.language: 0}\n"
                        "variations:\n  mixed:\n    stage2: {token_mixer.order: token_mixer}\n");
    snprintf(out, sizeof out, "out=%s", folder);
    check_ok(run(path, &l, 1, (const char *const[]){out}, NULL, &err));
    snprintf(world, sizeof world, "%s/seed1/world", folder);
    drt_token_mixer order[2];
    static const char *const models[] = {"base", "mixed"};
    for (int i = 0; i < 2; i++) { // the orders as the two recipes have them
        drt_recipe r;
        snprintf(run_folder, sizeof run_folder, "%s/seed1/%s/stage2/recipe.yaml", folder, models[i]);
        check_ok(drt_recipe_load(&r, run_folder, 0, NULL, &err));
        order[i] = drt_recipe_mixer(&r);
        drt_recipe_free(&r);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(run_folder, sizeof run_folder, "%s/seed1/%s/stage2", folder, models[i]);
        json_t *results = test_json(run_folder, "results.json"),
               *mass = json_object_get(json_object_get(json_object_get(results, "model"), "guided_mass"), "after");
        double said = json_number_value(mass), own = mass_of(run_folder, &order[i], 1, 2, world),
               other = mass_of(run_folder, &order[!i], 1, 2, world);
        if (!(said > 0) || fabs(said - own) > 1e-6 /* six digits are written */ || fabs(said - other) < 1e-4)
            fail_msg("%s: %g, in its order %g, in the other %g", models[i], said, own, other);
        json_decref(results);
    }
    free(folder), free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_is_read),          cmocka_unit_test(committed_files),
        cmocka_unit_test(bad_files_are_refused), cmocka_unit_test(runs_resume_and_refuse),
        cmocka_unit_test(equal_compute),         cmocka_unit_test(adapter_in_its_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
