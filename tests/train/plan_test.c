// A plan names what a training then takes: to the byte on the tape, within 5 % of the resident set of the whole
// process; what does not fit is refused with what does; and a training takes no more than it planned.
#include "support/check.h"
#include "support/world.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/plan.h"

#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char larger[] =
    "{\"model_type\": \"llava\", \"image_token_index\": 3, \"vision_feature_layer\": -2,\n"
    "\"vision_config\": {\"model_type\": \"clip_vision_model\", \"hidden_size\": 192, \"intermediate_size\": 384, "
    "\"num_hidden_layers\": 3,\n"
    " \"num_attention_heads\": 4, \"image_size\": 96, \"patch_size\": 8, \"projection_dim\": 64},\n"
    "\"text_config\": {\"model_type\": \"llama\", \"hidden_size\": 384, \"intermediate_size\": 768, "
    "\"num_hidden_layers\": 4,\n"
    " \"num_attention_heads\": 6, \"max_position_embeddings\": 1024, \"vocab_size\": 2000}}\n";

// ---- to the byte ---------------------------------------------------------------------------------------------------

// Features that are kept are no part of a plan; some ways ask for them again.
static drt_status recipe_of(const world *w, drt_recipe *r, const char *more, drt_error *err) {
    char keys[400];
    snprintf(keys, sizeof keys, "data.features=0 %s", more);
    return world_recipe(w, r, keys, err);
}

static const char *const ways[] = {
    "groups.language=0",
    "train.steps=20 objectives.image_order=1 objectives.text_order=1 objectives.guided=1",
    "objectives.image_order=1 objectives.text_order=1 passes=sampled weights=learned train.accumulate=2",
    "train.recompute=true groups.vision=1",
    "train.tokens=80 objectives.guided=1 guided.reduce=pair",
    "dtype=bf16 train.recompute=true",
    "dtype=f16 objectives.image_order=1 train.accumulate=2 threads=2",
    "dtype=bf16 objectives.image_order=1 order.token=visual train.select_rows=false",
    "token_mixer.order=token_mixer data.template=v1 objectives.image_order=1",
    "lora.targets=all-linear lora.rank=2 lora.dropout=0.3 groups.language=0 objectives.image_order=1",
    "data.features=512 data.template=v1 objectives.image_order=1",
    "token_mixer.order=gps data.template=v1 groups.language=0",
    "train.batch=12 train.epochs=2 train.steps=0 threads=2",
};

static void a_plan_is_exact(void **state) {
    const world *w = *state;
    if (!w->folder) skip();
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        drt_recipe r;
        drt_plan p;
        drt_training t;
        drt_step_report report;
        drt_error err = {0};
        check_ok(recipe_of(w, &r, ways[k], &err));
        check_ok(drt_plan_make(&p, &r, 0, NULL, &err));
        check_ok(drt_training_open(&t, &r, false, NULL, &err));
        check_ok(drt_plan_apply(&p, &t, 0, &err));
        t.store = r.data.features ? drt_features_new() : NULL;
        if (t.store) drt_features_open(t.store, 1, 1 << 20);
        check_ok(drt_training_data(&t, 0, NULL, NULL, &err));
        check(p.whole && p.steps == t.steps && p.steps >= 2);
        drt_tape_bytes before = {0}, now = {0};
        int64_t largest = 0;
        for (int64_t i = 0; i < t.steps; i++, before = now) {
            check_ok(drt_training_measure(&t, i, &report, &err));
            check_ok(drt_training_update(&t, i, &report, &err));
            now = drt_tape_need(t.tape);
            if (now.values + now.grads > before.values + before.grads) largest = i + 1;
        }
        print_message("%s: %.0f KB, step %d\n", ways[k], 1e-3 * (double)(now.values + now.grads), (int)largest);
        // Pictures that are known by then, or come twice in a batch, need less than the plan says.
        if (t.store) check(now.values <= p.need.values && now.grads == p.need.grads);
        else check(now.values == p.need.values && now.grads == p.need.grads && largest == p.step);
        check(!t.store == !p.features && (!t.store || drt_features_bytes(t.store) <= p.features));
        if (!t.store) check(fabs(t.count.flops / (double)t.steps / p.flops - 1) < 1e-12);
        drt_features *store = t.store;
        drt_training_close(&t);
        drt_features_free(store);
        drt_recipe_free(&r);
    }
}

// With a little less than planned a step fails, says so, and changes nothing; with what was planned it goes on as if
// nothing had been.
static void no_more_than_planned(void **state) {
    const world *w = *state;
    drt_recipe r;
    drt_plan p, tight;
    drt_training t;
    drt_step_report report;
    drt_error err = {0};
    if (!w->folder) skip();
    check_ok(recipe_of(w, &r, "objectives.image_order=1", &err));
    check_ok(drt_plan_make(&p, &r, 0, NULL, &err));
    uint64_t whole = 0;
    for (int k = 0; k < 3; k++) {
        check_ok(drt_training_open(&t, &r, false, NULL, &err));
        uint64_t before = drt_params_learned(t.m->params);
        tight = p;
        if (k == 1) tight.need.values -= 256;
        if (k == 2) tight.need.grads -= 256;
        check_ok(drt_plan_apply(&tight, &t, 0, &err));
        check_ok(drt_training_data(&t, 0, NULL, NULL, &err));
        drt_status status = DRT_OK;
        for (int64_t i = 0; i < t.steps && !status; i++) {
            before = drt_params_learned(t.m->params);
            status = drt_training_measure(&t, i, &report, &err);
            if (!status) status = drt_training_update(&t, i, &report, &err);
        }
        if (k == 0) {
            check_ok(status);
            whole = drt_params_learned(t.m->params);
        } else {
            check_refused(status, DRT_ENOMEM, "that the run planned with; raise memory, lower train.tokens");
            check(drt_params_learned(t.m->params) == before);
        }
        drt_training_close(&t);
    }
    check(whole != 0);
    drt_recipe_free(&r);
}

// Every allocation of a step's tape, which has memory for ever so little more: it fails by name, and with all of it the
// gradients are those of a step that never failed.
static void every_allocation_may_fail(void **state) {
    enum { MORE = 768 }; // below the smallest matrix of a layer, 16 x 16 floats
    const world *w = *state;
    drt_recipe r;
    drt_plan p;
    drt_training t;
    drt_step_data *data;
    drt_step_report report;
    drt_error err = {0};
    uint64_t whole[2];
    int failed = 0;
    if (!w->folder) skip();
    check_ok(
        recipe_of(w, &r, "train.batch=1 objectives.image_order=1 objectives.text_order=1 objectives.guided=1", &err));
    check_ok(drt_plan_make(&p, &r, 0, NULL, &err));
    check_ok(drt_training_open(&t, &r, false, NULL, &err));
    check_ok(drt_training_data(&t, 0, NULL, NULL, &err));
    check_ok(drt_loader_next(t.loader, &data, &err));
    for (int k = 0; k < 2; k++) {
        drt_tape_bytes room = p.need;
        size_t *part = k ? &room.grads : &room.values, all = *part;
        for (*part = 64;; *part = *part + MORE < all ? *part + MORE : all) {
            bool last = *part >= all;
            check_ok(drt_tape_reserve(t.tape, room, 0, &err));
            drt_params_zero_grads(t.m->params);
            drt_status status = drt_train_gradients(t.tape, t.m, &r, drt_loader_options(t.loader), data, &report, &err);
            if (last) {
                check_ok(status);
                break;
            }
            if (!status) continue; // this step needs less than the largest
            check_refused(status, DRT_ENOMEM, "that the run planned with");
            failed++;
        }
        whole[k] = drt_digest_of(t.m->params->grads, (size_t)t.m->params->learning * sizeof(float));
    }
    print_message("failed %d times\n", failed);
    check(failed > 100 && whole[0] == whole[1]);
    drt_training_close(&t);
    drt_recipe_free(&r);
}

// What a step may take beyond its plan is one sum: values and gradients that both want more want it together.
static void what_is_left_is_shared(void **state) {
    enum { LESS = 96 << 10, STEP = 4 << 10, PIECE = 64 << 10 }; // PIECE: by which arenas grow
    const world *w = *state;
    drt_recipe r;
    drt_plan p;
    drt_training t;
    drt_step_data *data;
    drt_step_report report;
    drt_error err = {0};
    int64_t least[4] = {0}; // beyond the plan, where it is less by: nothing, values, gradients, both
    uint64_t whole[4];
    if (!w->folder) skip();
    check_ok(recipe_of(w, &r, "objectives.image_order=1 data.limit=4", &err));
    check_ok(drt_plan_make(&p, &r, 0, NULL, &err));
    check_ok(drt_training_open(&t, &r, false, NULL, &err));
    check_ok(drt_training_data(&t, 0, NULL, NULL, &err));
    check_ok(drt_loader_next(t.loader, &data, &err));
    p.whole = false;
    for (int k = 0; k < 4; k++)
        for (;; least[k] += STEP) {
            drt_plan tight = p;
            if (k & 1) tight.need.values -= LESS;
            if (k & 2) tight.need.grads -= LESS;
            check_ok(drt_plan_apply(&tight, &t, p.peak + least[k], &err));
            drt_params_zero_grads(t.m->params);
            if (drt_train_gradients(t.tape, t.m, &r, drt_loader_options(t.loader), data, &report, &err)) {
                check(strstr(err.text, "that the run planned with") && least[k] < 9 * LESS);
                continue;
            }
            whole[k] = drt_digest_of(t.m->params->grads, (size_t)t.m->params->learning * sizeof(float));
            check(whole[k] == whole[0]);
            break;
        }
    print_message("beyond the plan: %d, %d, %d, %d KB\n", (int)least[0] >> 10, (int)least[1] >> 10, (int)least[2] >> 10,
                  (int)least[3] >> 10);
    check(!least[0] && least[1] >= LESS - STEP && least[2] >= LESS - STEP);
    check(llabs(least[3] - least[1] - least[2]) <= PIECE);
    drt_training_close(&t);
    drt_recipe_free(&r);
}

// ---- the process ---------------------------------------------------------------------------------------------------

// Trains and returns the most memory that the process ever held; *planned: what it said before its first step.
static double measured(const world *w, const char *keys, double *planned) {
    char unit[8];
    pid_t child = world_start(w, "rm -rf out; exec drt train %s out=out", keys);
    struct rusage usage;
    int status;
    check(wait4(child, &status, 0, &usage) == child);
    char *said = world_read(w, "said"), *at = strstr(said, "plan: peak ");
    if (!WIFEXITED(status) || WEXITSTATUS(status) || !at || sscanf(at, "plan: peak %lf %7[A-Z]", planned, unit) != 2)
        fail_msg("%s: %s", keys, said);
    *planned *= !strcmp(unit, "GB") ? 1e9 : 1e6;
    free(said);
    return (double)usage.ru_maxrss * 1024;
}

static void make_larger(const world *w) {
    world_write(w, "larger.json", larger);
    world_must(w, "cp -r $OLDPWD/models/tiny-clip . && "
                  "drt new --config larger.json --tokenizer tokenizer --out larger && "
                  "drt sea-labels tiny-clip --words world/words.txt --data world/pretrain.json --threads 1 "
                  "--out labels.sea");
}

// Thirteen recipes of different kinds; the model that they train where none is named is `larger`.
static const struct {
    const char *data, *keys;
} recipes[] = {
    {"pretrain", "train.batch=8"},
    {"finetune", "groups.language=1 data.template=v1"},
    {"pretrain", "groups.language=0 lora.targets=all-linear lora.rank=8 lora.dropout=0.1"},
    {"pretrain", "dtype=bf16 groups.language=1"},
    {"pretrain", "dtype=f16 groups.language=1 threads=2"},
    {"pretrain", "objectives.image_order=1 order.bank=100 order.grid=3"},
    {"pretrain", "objectives.guided=1 objectives.text_order=0.5 groups.language=1"},
    {"pretrain", "train.recompute=true groups.language=1"},
    {"pretrain", "train.accumulate=4 groups.language=1 train.batch=8"},
    {"pretrain", "train.tokens=600 groups.vision=1"},
    {"pretrain", "dtype=bf16 train.recompute=true threads=2 checkpoint.every=1"},
    {"pretrain", "model= vision=tiny-clip language=larger objectives.sea=1 sea.labels=labels.sea train.batch=12 "
                 "groups.language=0"},
    {"clip", "model=tiny-clip task=clip train.batch=12 threads=2"},
};

static void within_five_percent(void **state) {
    const world *w = *state;
    if (!w->folder) skip();
    make_larger(w); // for the next test, too
#if defined __SANITIZE_ADDRESS__
    skip(); // it holds shadows of its own
#endif
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        char keys[500];
        double planned;
        snprintf(keys, sizeof keys, "model=larger data.file=world/%s.json train.batch=4 train.steps=3 threads=1 %s",
                 recipes[i].data, recipes[i].keys);
        double held = measured(w, keys, &planned);
        print_message("planned %6.1f MB, held %6.1f MB, %+.1f %%: %s\n", 1e-6 * planned, 1e-6 * held,
                      100 * (planned / held - 1), recipes[i].keys);
        if (fabs(planned / held - 1) > 0.05) fail_msg("that is more than 5 %% apart");
    }
}

// ---- what does not fit ---------------------------------------------------------------------------------------------

// What is refused is answered with keys, and with these it fits and trains; less than the least is refused outright.
static void the_nearest_fits(void **state) {
    static const struct {
        const char *keys, *nearest;
        double share; // of the peak that is given
    } cases[] = {
        {"groups.language=1 train.batch=8", "train.accumulate=", 0.8},
        {"train.batch=1 objectives.image_order=1 objectives.text_order=1 groups.language=0", "train.recompute=true",
         0.9},
        {"groups.vision=1 train.tokens=1000 train.batch=12", "train.tokens=", 0.7},
    };
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
#if defined __SANITIZE_ADDRESS__
    skip(); // the program is so large then that what is left to save is less than these shares
#endif
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char keys[700], near[200];
        snprintf(keys, sizeof keys, "%s model=larger train.steps=2 %s out=fit", world_keys, cases[i].keys);
        char *said = world_run(w, &rc, "drt plan %s --memory 1K --json", keys);
        const char *peak = strstr(said, "\"peak\":");
        check(rc == 1 && peak && strstr(said, "\"nearest\":\"\""));
        long long given = (long long)(cases[i].share * atof(peak + 7));
        free(said);
        said = world_run(w, &rc, "drt train %s memory=%lld", keys, given);
        const char *at = strstr(said, "The nearest that fits takes ");
        if (rc != 1 || !at || !(at = strchr(at, ':')) || !strstr(at, cases[i].nearest)) fail_msg("%d: %s", rc, said);
        snprintf(near, sizeof near, "%.*s", (int)strcspn(at + 2, "\n"), at + 2);
        print_message("%s", said);
        char *folder = drt_path_join(w->folder, "fit");
        check(!drt_is_folder(folder)); // refused before anything was made
        free(said), free(folder);
        said = world_run(w, &rc, "drt train %s memory=%lld %s", keys, given, near);
        if (rc) fail_msg("%d: %s", rc, said);
        free(said);
        said = world_run(w, &rc, "rm -rf fit; drt train %s memory=1M", keys);
        if (rc != 1 || !strstr(said, "the least takes")) fail_msg("%d: %s", rc, said);
        free(said);
    }
}

static void the_command(void **state) {
    const world *w = *state;
    int rc;
    if (!w->folder) skip();
    char *said = world_run(w, &rc, "drt plan %s out=planned --memory 1G", world_keys);
    if (rc || !strstr(said, "fits in 1.07 GB") || !strstr(said, "an epoch of 3 steps")) fail_msg("%d: %s", rc, said);
    free(said);
    said = world_run(w, &rc, "drt plan %s out=planned --memory much", world_keys);
    if (rc != 2 || !strstr(said, "'much' is no size; write it as 4G")) fail_msg("%d: %s", rc, said);
    free(said);
    said = world_run(w, &rc, "drt plan %s out=planned data.file=/none", world_keys);
    if (rc != 2 || !strstr(said, "/none")) fail_msg("%d: %s", rc, said);
    free(said);
}

static void sizes_are_read(void **state) {
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"4G", 4LL << 30}, {"4GiB", 4LL << 30}, {"4GB", 4000000000}, {"1.5k", 1536},
                {"7", 7},          {"12mb", 12000000}};
    static const char *const bad[] = {"", "G", "4X", "4 G", "-4G", "4GG", "1e3", "99999999T"};
    int64_t bytes;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        check(drt_memory_parse(good[i].text, &bytes) && bytes == good[i].bytes);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) check(!drt_memory_parse(bad[i], &bytes));
    int64_t given = drt_memory_given(), held = drt_memory_resident();
    check(held > 1 << 20 && given > held);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read),         cmocka_unit_test(a_plan_is_exact),
        cmocka_unit_test(no_more_than_planned),   cmocka_unit_test(within_five_percent),
        cmocka_unit_test(the_nearest_fits),       cmocka_unit_test(the_command),
        cmocka_unit_test(what_is_left_is_shared), cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
