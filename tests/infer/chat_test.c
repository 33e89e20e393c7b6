// A conversation reads what was said before, once, and a failure leaves it as it was.
#include "support/check.h"
#include "support/tiny_model.h"

#include "base/file.h"
#include "infer/chat.h"
#include "infer/picture.h"

#include <stdio.h>

typedef struct {
    drt_device *dev;
    drt_tape *t;
    drt_model *m;
    char *folder, *file[2];
} world;

static int setup(void **state) {
    world *w = calloc(1, sizeof *w);
    drt_error err = {0};
    check_ok(drt_device_open(&w->dev, "cpu", 2, &err));
    w->t = drt_tape_new(w->dev, &err);
    w->m = tiny_llava(3, 0);
    w->folder = test_folder("chat");
    for (int k = 0; k < 2; k++) w->file[k] = tiny_picture(w->folder, k ? "b.png" : "a.png", 12, 12, k + 1);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    drt_error err = {0};
    check_ok(drt_remove_tree(w->folder, &err));
    free(w->folder), free(w->file[0]), free(w->file[1]);
    drt_model_close(w->m);
    drt_tape_free(w->t);
    drt_device_close(w->dev);
    free(w);
    return 0;
}

// What the model answers to a conversation laid out by hand.
static char *by_hand(const world *w, const drt_template *how, const drt_turn *turns, int n, int images,
                     const drt_generate_options *o) {
    drt_error err = {0};
    drt_encoded e = {0};
    drt_reply r;
    int64_t size = drt_picture_size(w->m);
    float *pixels = malloc((size_t)(2 * size) * sizeof *pixels);
    for (int k = 0; k < 2; k++) check_ok(drt_picture_read(w->m, w->file[k], pixels + k * size, &err));
    check_ok(drt_conversation_prompt(how, w->m->tokenizer, turns, n, images, &e, &err));
    const drt_prompt p = {
        .id = e.id, .n = e.n, .patches = pixels, .images = images, .stream = (uint64_t)n, .prompt = e.prompt};
    check_ok(drt_generate(w->m, w->t, &p, 1, o, &r, &err));
    char *text = strdup(r.text);
    drt_replies_free(&r, 1), drt_encoded_free(&e), free(pixels);
    return text;
}

static char *say(drt_chat *c, const char *message, const drt_generate_options *o) {
    drt_error err = {0};
    drt_reply r;
    check_ok(drt_chat_say(c, message, o, &r, &err));
    char *text = strdup(r.text);
    drt_replies_free(&r, 1);
    return text;
}

// The same in an input order, which later turns leave as it was.
static void turns_add_up_with(const world *w, const drt_token_mixer *order) {
    drt_error err = {0};
    drt_chat *c;
    const drt_template *v1 = drt_template_find("v1");
    const drt_generate_options o = {.max_new_tokens = 8, .temperature = 1, .top_p = 0.9, .seed = 3, .order = order};
    check_ok(drt_chat_new(&c, w->m, w->t, v1, NULL, &err));
    check_ok(drt_chat_image(c, w->file[0], &err));
    char *first = say(c, "what is it?", &o), *second = say(c, "and there?", &o);
    check_ok(drt_chat_image(c, w->file[1], &err));
    char *third = say(c, "and this one?", &o);
    assert_int_equal(drt_chat_turns(c), 6);
    const drt_turn turns[] = {{true, "<image>\nwhat is it?"},
                              {false, first},
                              {true, "and there?"},
                              {false, second},
                              {true, "<image>\nand this one?"}};
    char *want[] = {by_hand(w, v1, turns, 1, 1, &o), by_hand(w, v1, turns, 3, 1, &o), by_hand(w, v1, turns, 5, 2, &o)};
    assert_string_equal(first, want[0]);
    assert_string_equal(second, want[1]);
    assert_string_equal(third, want[2]);
    const drt_turn alone = {true, "and there?"};
    char *without = by_hand(w, v1, &alone, 1, 0, &o);
    check(strcmp(without, second)); // what was said before matters
    drt_chat_reset(c);
    assert_int_equal(drt_chat_turns(c), 0);
    char *again = say(c, "and there?", &o);
    assert_string_equal(again, without);
    free(first), free(second), free(third), free(without), free(again);
    for (int i = 0; i < 3; i++) free(want[i]);
    drt_chat_free(c);
}

static void turns_add_up(void **state) {
    const drt_token_mixer mixer = {DRT_INPUT_TOKEN_MIXER, 0.1f, DRT_MIXER_BEFORE};
    turns_add_up_with(*state, NULL);
    turns_add_up_with(*state, &mixer);
    for (int hard = 0; hard < 2; hard++) { // its own order without being told
        world w = *(const world *)*state;
        const drt_token_mixer none = {.order = DRT_INPUT_NONE}, gps = {.order = DRT_INPUT_GPS};
        drt_error err = {0};
        drt_chat *c;
        drt_reply r;
        const drt_generate_options o = {.max_new_tokens = 1, .order = &gps};
        drt_model *own = w.m;
        check_ok(drt_chat_new(&c, own, w.t, drt_template_find("v1"), NULL, &err));
        check_refused(drt_chat_say(c, "x", &o, &r, &err), DRT_ECONFIG, "has no permuter (gps.safetensors)");
        drt_chat_free(c);
        w.m = tiny_gps(5, hard);
        turns_add_up_with(&w, NULL);
        turns_add_up_with(&w, &none);
        drt_model_close(w.m);
    }
}

static void system_prompt_is_exchanged(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_chat *c;
    const drt_generate_options o = {.max_new_tokens = 8};
    drt_template own = *drt_template_find("v1");
    own.system = "the tree is green";
    check_ok(drt_chat_new(&c, w->m, w->t, drt_template_find("v1"), own.system, &err));
    const drt_turn turn = {true, "the dog"};
    char *got = say(c, "the dog", &o), *want = by_hand(w, &own, &turn, 1, 0, &o);
    char *standard = by_hand(w, drt_template_find("v1"), &turn, 1, 0, &o);
    assert_string_equal(got, want);
    check(strcmp(got, standard));
    free(got), free(want), free(standard);
    drt_chat_free(c);
}

static void failures_leave_no_trace(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_chat *c;
    drt_reply r;
    const drt_generate_options o = {.max_new_tokens = 4};
    drt_model *clip = tiny_clip(1);
    check_refused(drt_chat_new(&c, clip, w->t, drt_template_find("v1"), NULL, &err), DRT_ECONFIG, "CLIP");
    drt_model_close(clip);
    check_ok(drt_chat_new(&c, w->m, w->t, drt_template_find("v1"), NULL, &err));
    check_refused(drt_chat_image(c, "no/cup.jpg", &err), DRT_EIO, "no/cup.jpg");
    check_ok(drt_chat_image(c, w->file[0], &err));
    drt_text many = {0};
    for (int i = 0; i < 400; i++) drt_text_puts(&many, "dog ");
    check_refused(drt_chat_say(c, many.bytes, &o, &r, &err), DRT_EDATA, "of the 320");
    drt_text_free(&many);
    assert_int_equal(drt_chat_turns(c), 0);
    // An answer of no text at all: EOS at once.
    drt_param *head = w->m->language.final;
    float *weight = head->tensor.value.data, saved[20];
    memcpy(saved, weight, sizeof saved);
    memset(weight, 0, sizeof saved); // all logits equal: the first allowed token is EOS
    check_ok(drt_chat_say(c, "dog?", &o, &r, &err));
    assert_string_equal(r.text, "");
    drt_replies_free(&r, 1);
    memcpy(weight, saved, sizeof saved);
    assert_int_equal(drt_chat_turns(c), 0);
    // The picture still waits.
    const drt_turn turn = {true, "<image>\ndog?"};
    char *got = say(c, "dog?", &o), *want = by_hand(w, drt_template_find("v1"), &turn, 1, 1, &o);
    assert_string_equal(got, want);
    assert_int_equal(drt_chat_turns(c), 2);
    free(got), free(want);
    drt_chat_free(c);
}

// The folder says how its model is talked with; what it does not say in a way that drt knows is refused.
static void the_folder_names_its_template(void **state) {
    world *w = *state;
    drt_error err = {0};
    drt_model *m;
    drt_chat *c;
    const drt_template *how;
    const drt_model_options nothing_learns = {0};
    char *file = drt_path_join(w->folder, "chat_template.jinja");
    strcpy(w->m->config.conversation, "llava_v1");
    w->m->folder = strdup("tests/golden/data/byte_level"); // its tokenizer goes with it
    check_ok(drt_model_save(w->m, w->folder, "F32", &err));
    check_ok(drt_model_open(&m, w->folder, &nothing_learns, &err));
    check_ok(drt_model_template(m, NULL, &how, &err));
    assert_string_equal(how->name, "llava_v1");
    check_ok(drt_model_template(m, drt_template_find("v0"), &how, &err));
    assert_string_equal(how->name, "v0");
    drt_model_close(m);
    *w->m->config.conversation = 0;
    check_ok(drt_model_save(w->m, w->folder, "F32", &err));
    check_ok(drt_file_write(file, "<|im_start|>", 12, &err));
    check_ok(drt_model_open(&m, w->folder, &nothing_learns, &err));
    check_refused(drt_chat_new(&c, m, w->t, NULL, NULL, &err), DRT_ECONFIG, "writes <|im_start|>, which is no token");
    drt_model_close(m);
    check_ok(drt_file_write(file, "<|other|>", 9, &err));
    check_ok(drt_model_open(&m, w->folder, &nothing_learns, &err));
    check_refused(drt_chat_new(&c, m, w->t, NULL, NULL, &err), DRT_ECONFIG, "chat template that drt does not know");
    check_ok(drt_chat_new(&c, m, w->t, drt_template_find("v1"), NULL, &err));
    drt_chat_free(c);
    drt_model_close(m);
    strcpy(w->m->config.conversation, "v9");
    check_ok(drt_model_save(w->m, w->folder, "F32", &err));
    check_refused(drt_model_open(&m, w->folder, &nothing_learns, &err), DRT_ECONFIG, "there is no template 'v9'");
    free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_add_up),
        cmocka_unit_test(system_prompt_is_exchanged),
        cmocka_unit_test(failures_leave_no_trace),
        cmocka_unit_test(the_folder_names_its_template),
    };
    return cmocka_run_group_tests_name("chat", tests, setup, teardown);
}
