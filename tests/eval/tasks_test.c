// Evaluation on a folder of questions. The model is rigged to say one thing whatever it is asked, so that every number
// of the result is known; an unrigged one shows that pictures reach it and that batches do not matter.
#include "support/check.h"
#include "support/tiny_model.h"

#include "base/file.h"
#include "eval/puzzles.h"
#include "eval/questions.h"
#include "eval/tasks.h"
#include "infer/picture.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

typedef struct {
    drt_device *dev;
    drt_tape *t;
    char *folder;
} world;

static void put(const char *folder, const char *name, const char *text) {
    drt_error err = {0};
    char *path = drt_path_join(folder, name);
    check_ok(drt_file_write(path, text, strlen(text), &err));
    free(path);
}

static int setup(void **state) {
    world *w = calloc(1, sizeof *w);
    drt_error err = {0};
    check_ok(drt_device_open(&w->dev, "cpu", 2, &err));
    w->t = drt_tape_new(w->dev, &err);
    w->folder = test_folder("tasks");
    char *eval = drt_path_join(w->folder, "eval");
    check_ok(drt_make_folders(eval, &err));
    free(eval);
    drt_rng r;
    drt_rng_init(&r, 1, 1);
    for (int k = 0; k < 3; k++) {
        drt_image image;
        char name[32];
        check_ok(drt_image_new(&image, 14, 12, &err));
        for (int i = 0; i < 14 * 12 * 3; i++) image.rgb[i] = (uint8_t)drt_rng_below(&r, 256);
        snprintf(name, sizeof name, "%d.png", k);
        char *path = drt_path_join(w->folder, name);
        check_ok(drt_image_write(&image, path, &err));
        free(path);
        drt_image_free(&image);
    }
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    drt_error err = {0};
    check_ok(drt_remove_tree(w->folder, &err));
    free(w->folder);
    drt_tape_free(w->t);
    drt_device_close(w->dev);
    free(w);
    return 0;
}

static void fill(drt_param *p, float value) {
    drt_mat v = p->tensor.value;
    for (int64_t i = 0; i < v.rows * v.cols; i++) ((float *)v.data)[i] = value;
}

// A model that answers `answer` to everything: nothing but a row's own word reaches its final state, words lie on axes,
// and the output maps the axis of one word of the answer to the next. Queries are 0, so attention is uniform.
static drt_model *always_says(const char *answer, int order_classes) {
    drt_error err = {0};
    drt_model *m = tiny_llava(2, order_classes);
    drt_encoded e = {0};
    const drt_turn turns[] = {{true, "say it"}, {false, answer}};
    check_ok(drt_conversation_encode(drt_template_find("v1"), m->tokenizer, turns, 2, 0, &e, &err));
    drt_decoder *l = &m->language;
    fill(l->embedding, 0);
    fill(l->head, 0);
    for (int i = 0; i < l->size.layers; i++) {
        fill(l->layer[i].out, 0);
        fill(l->layer[i].down, 0);
        fill(l->layer[i].qkv, 0);
    }
    for (int v = 0; v < l->size.vocab; v++) drt_row(l->embedding->tensor.value, v)[0] = 1;
    int axis = 0;
    for (int i = 0; i < e.n; i++) {
        if (e.label[i] == DRT_IGNORE) continue;
        drt_row(l->head->tensor.value, e.id[i])[axis++] = 3;
        float *row = drt_row(l->embedding->tensor.value, e.id[i]);
        check(axis < 20 && row[0] == 1); // no word twice in the answer
        row[0] = 0;
        row[axis] = 1;
    }
    drt_encoded_free(&e);
    return m;
}

static double number(const json_t *o, const char *key) {
    if (!json_is_number(json_object_get(o, key))) fail_msg("no number %s", key);
    return json_number_value(json_object_get(o, key));
}

#define YES_NO "\"answers\": [\"no\", \"yes\"]"
static const char exist[] =
    "{\"question_id\": 0, \"image\": \"0.png\", \"text\": \"is there a ring?\", \"answer\": \"yes\", " YES_NO
    ", \"category\": \"random\"}\n"
    "{\"question_id\": 1, \"image\": \"1.png\", \"text\": \"is there a star?\", \"answer\": \"no\", " YES_NO
    ", \"category\": \"random\"}\n"
    "\n"
    "{\"question_id\": \"two\", \"image\": \"2.png\", \"text\": \"is there a dog?\", \"answer\": \"yes\", " YES_NO
    ", \"category\": \"popular\"}\n"
    "{\"question_id\": 3, \"image\": \"0.png\", \"text\": \"is there a tree?\", \"answer\": \"yes\", " YES_NO
    ", \"category\": \"random\"}\n"
    "{\"question_id\": 4, \"image\": \"1.png\", \"text\": \"is there a red ring?\", \"answer\": \"no\", " YES_NO
    ", \"category\": \"popular\"}\n";

static void yes_no_numbers(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_eval_result r;
    drt_model *m = always_says("yes", 0);
    put(w->folder, "eval/exist.jsonl", exist);
    const drt_eval_options o = {.data = w->folder, .batch = 2};
    check_ok(drt_eval_run(m, w->t, &o, &r, &err));
    const drt_eval_task *t = drt_eval_find(&r, "exist");
    assert_non_null(t);
    assert_int_equal(t->all.n, 5);
    assert_int_equal(t->all.right, 3);
    assert_int_equal(t->all.restricted, 3);
    assert_int_equal(t->all.yes_no, 5);
    assert_int_equal(t->all.pope.yes_yes, 3);
    assert_int_equal(t->all.pope.yes_no, 2);
    assert_int_equal(t->categories, 2);
    assert_string_equal(t->category[0].name, "random");
    assert_int_equal(t->category[0].counts.n, 3);
    assert_int_equal(t->category[0].counts.right, 2);
    assert_string_equal(t->item[2].id, "two");
    assert_string_equal(t->item[2].reply, "yes");
    assert_string_equal(t->item[1].restricted, "yes");
    check(fabs(t->prior - 0.6) < 1e-9 && !t->prior_of_world);

    drt_text text = {0}, table = {0};
    const drt_puzzles puzzles = {0.25, 0.1, NAN, 0.4};
    drt_eval_json(&r, &puzzles, &text);
    drt_eval_table(&r, NULL, &table);
    json_t *o_ = json_loads(text.bytes, 0, NULL), *task = json_object_get(json_object_get(o_, "tasks"), "exist");
    assert_non_null(task);
    check(fabs(number(o_, "image_order_accuracy") - 0.25) < 1e-6 && fabs(number(o_, "guided_mass") - 0.4) < 1e-6);
    check(json_is_null(json_object_get(o_, "text_order_exact")));
    check(fabs(number(task, "accuracy") - 0.6) < 1e-6 && fabs(number(task, "prior") - 0.6) < 1e-6);
    const json_t *pope = json_object_get(task, "yes_no");
    check(fabs(number(pope, "precision") - 0.6) < 1e-6 && fabs(number(pope, "recall") - 1) < 1e-6);
    check(fabs(number(pope, "f1") - 0.75) < 1e-6 && fabs(number(pope, "yes_rate") - 1) < 1e-6);
    check(fabs(number(json_object_get(json_object_get(task, "categories"), "popular"), "accuracy") - 0.5) < 1e-6);
    assert_int_equal(json_array_size(json_object_get(task, "items")), 5);
    check(strstr(table.bytes, "0.750") && strstr(table.bytes, "popular"));
    json_decref(o_), drt_text_free(&text), drt_text_free(&table);
    drt_eval_result_free(&r);
    drt_model_close(m);

    m = always_says("no", 0);
    check_ok(drt_eval_run(m, w->t, &o, &r, &err));
    assert_int_equal(r.task[0].all.right, 2);
    assert_int_equal(r.task[0].all.restricted, 2);
    assert_int_equal(r.task[0].all.pope.no_no, 2);
    drt_eval_result_free(&r);
    const drt_eval_options few = {.data = w->folder, .limit = 2, .skip_restricted = true};
    check_ok(drt_eval_run(m, w->t, &few, &r, &err));
    assert_int_equal(r.task[0].all.n, 2);
    assert_int_equal(r.task[0].all.right, 1);
    assert_int_equal(r.task[0].all.restricted_n, 0);
    check(isnan(drt_eval_restricted(&r.task[0].all)));
    drt_eval_result_free(&r);
    drt_model_close(m);
}

// "A" is an article to the VQA normaliser and would equal an empty answer: letters are judged as options. A free answer
// outside of the allowed ones is wrong, its restricted one may be right.
static void letters_words_and_priors(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_eval_result r;
    put(w->folder, "eval/choice.jsonl",
        "{\"question_id\": 0, \"text\": \"which?\\nA. dog\\nB. sun\", \"answer\": \"A\", \"answers\": [\"A\", \"B\"]}\n"
        "{\"question_id\": 1, \"text\": \"which?\\nA. sun\\nB. dog\", \"answer\": \"B\", \"answers\": [\"A\", \"B\"]}\n"
        "{\"question_id\": 2, \"text\": \"which?\\nA. sun\\nB. man\", \"answer\": \"A\", \"answers\": [\"A\", "
        "\"B\"]}\n");
    put(w->folder, "eval/mixed.jsonl",
        "{\"question_id\": 0, \"text\": \"where?\", \"answer\": \"left\", \"answers\": [\"left\", \"below\"]}\n"
        "{\"question_id\": 1, \"text\": \"where?\", \"answer\": \"left\", \"answers\": [\"left\", \"below\"]}\n"
        "{\"question_id\": 2, \"text\": \"where?\", \"answer\": \"below\", \"answers\": [\"left\", \"below\"]}\n"
        "{\"question_id\": 3, \"text\": \"is it?\", \"answer\": \"no\", " YES_NO "}\n"
        "{\"question_id\": 4, \"text\": \"is it?\", \"answer\": \"yes\", " YES_NO "}\n");
    put(w->folder, "eval/free.jsonl",
        "{\"question_id\": 0, \"text\": \"what?\", \"answer\": \"the Dog.\"}\n"
        "{\"question_id\": 1, \"text\": \"what?\", \"answer\": \"sun\"}\n"
        "{\"question_id\": 2, \"text\": \"what?\", \"answer\": \"sun\"}\n"
        "{\"question_id\": 3, \"text\": \"what?\", \"answer\": \"dog\"}\n");
    put(w->folder, "world.json", "{\"tasks\": {\"mixed\": {\"prior\": 0.123}}}");
    const char *tasks[] = {"free", "choice", "mixed"};
    const drt_eval_options o = {.data = w->folder, .tasks = tasks, .n_tasks = 3};
    drt_model *m = always_says("dog", 0);
    check_ok(drt_eval_run(m, w->t, &o, &r, &err));
    assert_int_equal(r.tasks, 3);
    assert_int_equal(r.task[0].all.right, 2); // "dog" and, normalised, "the Dog."
    assert_int_equal(r.task[0].all.restricted, 1);
    check(fabs(r.task[0].prior - 0.5) < 1e-9);
    assert_int_equal(r.task[1].all.right, 0);
    check(fabs(r.task[1].prior - 2.0 / 3) < 1e-9);
    check(r.task[2].prior_of_world && fabs(r.task[2].prior - 0.123) < 1e-9);
    assert_int_equal(r.task[2].all.yes_no, 2);
    drt_eval_result_free(&r);
    drt_model_close(m);
    m = always_says("A. dog", 0);
    check_ok(drt_eval_run(m, w->t, &o, &r, &err));
    assert_int_equal(r.task[1].all.right, 2);
    drt_eval_result_free(&r);
    drt_model_close(m);
    // Without world.json: the best answer of each set of answers, 2 of 3 and 1 of 2.
    char *path = drt_path_join(w->folder, "world.json");
    check_ok(drt_remove_tree(path, &err));
    free(path);
    drt_arena *a = drt_arena_new(0);
    drt_questions q;
    check_ok(drt_questions_read(&q, w->folder, "mixed", 0, a, &err));
    check(fabs(q.prior - 3.0 / 5) < 1e-9);
    check(!q.images && !q.letters && q.at[2].right == 1 && q.at[4].yes_no);
    drt_arena_free(a);
}

static void pictures_reach_the_model(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_eval_result seen, alone, blind;
    drt_text lines = {0};
    for (int i = 0; i < 9; i++)
        drt_text_printf(
            &lines, "{\"question_id\": %d, \"image\": \"%d.png\", \"text\": \"what is it %s?\", \"answer\": \"sun\"}\n",
            i, i % 3,
            i / 3 == 0   ? ""
            : i / 3 == 1 ? "now"
                         : "there, on the left");
    put(w->folder, "eval/see.jsonl", lines.bytes);
    drt_text_free(&lines);
    const char *task = "see";
    drt_eval_options o = {.data = w->folder, .tasks = &task, .n_tasks = 1, .max_new_tokens = 6};
    drt_model *m = tiny_llava(5, 0);
    check_ok(drt_eval_run(m, w->t, &o, &seen, &err));
    o.batch = 1;
    check_ok(drt_eval_run(m, w->t, &o, &alone, &err));
    o.blind = true;
    o.batch = 4;
    check_ok(drt_eval_run(m, w->t, &o, &blind, &err));
    int differ = 0;
    for (int i = 0; i < 9; i++) {
        assert_string_equal(seen.task[0].item[i].reply, alone.task[0].item[i].reply);
        assert_string_equal(blind.task[0].item[i].reply, blind.task[0].item[i / 3 * 3].reply); // the picture is gone
        differ += strcmp(seen.task[0].item[i].reply, seen.task[0].item[i / 3 * 3].reply) != 0;
    }
    check(differ >= 3);
    check(blind.blind && !seen.blind);
    drt_eval_result_free(&seen), drt_eval_result_free(&alone), drt_eval_result_free(&blind);
    drt_model_close(m);
}

static void refusals(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_eval_result r;
    drt_model *m = always_says("dog", 0), *clip = tiny_clip(1);
    const char *task = "exits";
    put(w->folder, "eval/exist.jsonl", exist);
    const drt_eval_options o = {.data = w->folder, .tasks = &task, .n_tasks = 1}, none = {.data = "no/such/folder"};
    check_refused(drt_eval_run(m, w->t, &o, &r, &err), DRT_EARG, "did you mean 'exist'");
    check_refused(drt_eval_run(m, w->t, &none, &r, &err), DRT_EIO, "no/such/folder/eval");
    check_refused(drt_eval_run(clip, w->t, &o, &r, &err), DRT_ECONFIG, "drt probe");
    task = "bad";
    put(w->folder, "eval/bad.jsonl",
        "{\"question_id\": 7, \"image\": \"gone.png\", \"text\": \"x\", \"answer\": \"y\"}\n");
    check_refused(drt_eval_run(m, w->t, &o, &r, &err), DRT_EDATA, "bad.jsonl:1: question 7");
    put(w->folder, "eval/bad.jsonl",
        "\n{\"question_id\": 7, \"text\": \"x\", \"answer\": \"y\", \"answers\": [\"z\"]}\n");
    check_refused(drt_eval_run(m, w->t, &o, &r, &err), DRT_EDATA, "bad.jsonl:2: the answer 'y' is not among");
    put(w->folder, "eval/bad.jsonl", "{\"question_id\": 7, \"text\": \"x\"}\n");
    check_refused(drt_eval_run(m, w->t, &o, &r, &err), DRT_EDATA, "\"answer\" is missing");
    put(w->folder, "eval/bad.jsonl", "{\"question_id\": 7, \"text\": \"x\", ");
    check_refused(drt_eval_run(m, w->t, &o, &r, &err), DRT_EFORMAT, "bad.jsonl:1");
    put(w->folder, "eval/bad.jsonl", "\n");
    check_refused(drt_eval_run(m, w->t, &o, &r, &err), DRT_EDATA, "holds no question");
    task = "exist";
    m->config.kind = DRT_MODEL_LANGUAGE;
    check_refused(drt_eval_run(m, w->t, &o, &r, &err), DRT_ECONFIG, "no vision tower");
    m->config.kind = DRT_MODEL_LLAVA;
    assert_null(r.arena);
    char *path = drt_path_join(w->folder, "eval/bad.jsonl");
    check_ok(drt_remove_tree(path, &err));
    free(path);
    drt_model_close(m), drt_model_close(clip);
}

// ---- puzzles -------------------------------------------------------------------------------------------------------

#define SAMPLE(id, image, sentence)                                                                                    \
    "{\"id\": \"" id "\", \"image\": \"" image                                                                         \
    "\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\ntell\"}, "                                   \
    "{\"from\": \"gpt\", \"value\": \"" sentence "\"}]}"
static const char sentences[] =
    "[" SAMPLE("a", "0.png", "a green  ring") ", " SAMPLE("b", "1.png", "ring a green") ", " SAMPLE(
        "c", "2.png", "a  green ring ") ", " SAMPLE("d", "2.png", "a green rings") "]";

static void words_in_order(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_rate rate;
    put(w->folder, "eval/order.json", sentences);
    char *file = drt_path_join(w->folder, "eval/order.json");
    drt_model *m = always_says("a green ring", 0);
    drt_puzzle_options o = {.file = file, .images = w->folder, .batch = 3};
    check_ok(drt_eval_text_order(m, w->t, &o, &rate, &err));
    check(rate.count == 4 && rate.hits == 2); // a and c, whatever their white space
    drt_puzzles all;
    check_ok(drt_eval_puzzles(m, w->t, &(drt_puzzles_options){.data = w->folder}, &all, &err));
    check(all.text_order == 0.5 && isnan(all.image_order) && isnan(all.guided_mass)); // no captions.json, no bank
    o.limit = 1;
    o.blind = true;
    check_ok(drt_eval_text_order(m, w->t, &o, &rate, &err));
    check(rate.count == 1 && rate.hits == 1);
    m->config.kind = DRT_MODEL_LANGUAGE;
    check_refused(drt_eval_text_order(m, w->t, &o, &rate, &err), DRT_ECONFIG, "cannot be asked about pictures");
    m->config.kind = DRT_MODEL_LLAVA;
    drt_model_close(m);
    free(file);
}

// Whatever class the head always names, its hits over all classes are all samples.
static void picture_order_is_counted(void **state) {
    const world *w = *state;
    drt_error err = {0};
    enum { CLASSES = 5, PASSES = 7 };
    static const int32_t bank[CLASSES * 9] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 3, 2, 5, 4, 7, 8, 6, 8, 7, 6, 5, 4,
        3, 2, 1, 0, 2, 0, 1, 5, 3, 4, 8, 6, 7, 3, 4, 5, 6, 7, 8, 0, 1, 2,
    };
    drt_rate rate;
    double hits = 0, least = 100;
    put(w->folder, "eval/order.json", sentences);
    char *file = drt_path_join(w->folder, "eval/order.json");
    const drt_puzzle_options o = {.file = file, .images = w->folder, .batch = 3, .seed = 4};
    drt_model *m = tiny_llava(6, CLASSES);
    float *bias = m->extra.order_b->tensor.value.data;
    for (int k = 0; k < CLASSES; k++) {
        bias[k] = 1e4f;
        check_ok(drt_eval_image_order(m, w->t, bank, CLASSES, 3, DRT_ORDER_END, PASSES, &o, &rate, &err));
        check(rate.count == 4 * PASSES);
        hits += rate.hits;
        if (rate.hits < least) least = rate.hits;
        bias[k] = 0;
    }
    check(hits == 4 * PASSES);
    check(least > 0); // permutations are drawn from the whole bank
    drt_rate again;
    check_ok(drt_eval_image_order(m, w->t, bank, CLASSES, 3, DRT_ORDER_VISUAL, 1, &o, &rate, &err));
    check(rate.count == 4);
    check_ok(drt_eval_image_order(m, w->t, bank, CLASSES, 3, DRT_ORDER_VISUAL, 1, &o, &again, &err));
    check(rate.hits == again.hits);
    check_refused(drt_eval_image_order(m, w->t, bank, CLASSES, 2, DRT_ORDER_END, 1, &o, &rate, &err), DRT_ECONFIG,
                  "2 x 2 cells does not divide 3 x 3");
    drt_model_close(m);
    m = tiny_llava(6, 0);
    check_refused(drt_eval_image_order(m, w->t, bank, CLASSES, 3, DRT_ORDER_END, 1, &o, &rate, &err), DRT_ECONFIG,
                  "no order head");
    drt_model_close(m);
    free(file);
}

// Uniform attention spends 9 / (position + 1) on nine visual rows: the mean over the rows that answer is known.
static void guided_mass_of_uniform_attention(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_rate rate;
    put(w->folder, "eval/order.json", sentences);
    char *file = drt_path_join(w->folder, "eval/order.json");
    const drt_puzzle_options o = {.file = file, .images = w->folder, .limit = 2, .batch = 1};
    drt_model *m = always_says("dog", 0);
    const drt_template *v1 = drt_template_find("v1");
    static const char *const said[] = {"a green  ring", "ring a green"};
    double sum = 0, n = 0;
    for (int k = 0; k < 2; k++) {
        drt_encoded e = {0};
        const drt_turn turns[] = {{true, "<image>\ntell"}, {false, said[k]}};
        check_ok(drt_conversation_encode(v1, m->tokenizer, turns, 2, 1, &e, &err));
        for (int i = 1; i < e.n; i++)
            if (e.label[i] != DRT_IGNORE) sum += (double)TINY_PATCHES / (i + TINY_PATCHES - 1), n++;
        drt_encoded_free(&e);
    }
    check_ok(drt_eval_guided_mass(m, w->t, &o, &rate, &err));
    check(rate.count == n);
    check(fabs(drt_rate_of(rate) - sum / n) < 1e-4);
    drt_model_close(m);
    free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yes_no_numbers),
        cmocka_unit_test(letters_words_and_priors),
        cmocka_unit_test(pictures_reach_the_model),
        cmocka_unit_test(refusals),
        cmocka_unit_test(words_in_order),
        cmocka_unit_test(picture_order_is_counted),
        cmocka_unit_test(guided_mass_of_uniform_attention),
    };
    return cmocka_run_group_tests_name("tasks", tests, setup, teardown);
}
