// The public header as a user of the library meets it: include/drt.h alone, on a small model and a small world; and the
// installed library, against which the example is compiled and run.
#include "support/check.h"
#include "support/tiny_model.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>

#ifdef __SANITIZE_ADDRESS__
#define SANITIZE "-fsanitize=address,undefined"
#else
#define SANITIZE ""
#endif

typedef struct {
    char *folder, *model, *clip, *world, *picture;
} rooms;

static void save(drt_model *m, const char *folder) {
    drt_error err = {0};
    m->folder = strdup("tests/golden/data/byte_level"); // whose tokenizer is copied
    check_ok(drt_model_save(m, folder, "F32", &err));
    drt_model_close(m);
}

static int setup(void **state) {
    rooms *r = calloc(1, sizeof *r);
    drt_error err = {0};
    r->folder = test_folder("api");
    r->model = drt_path_join(r->folder, "llava");
    r->clip = drt_path_join(r->folder, "clip");
    r->world = drt_path_join(r->folder, "world");
    save(tiny_llava(3, 0), r->model);
    save(tiny_clip(3), r->clip);
    check_ok(drt_world_make(&(drt_world){.folder = r->world, .train = 6, .eval = 6, .seed = 1}, &err));
    drt_image image;
    check_ok(drt_image_new(&image, 20, 16, &err));
    for (int i = 0; i < 20 * 16 * 3; i++) image.rgb[i] = (uint8_t)(i * 37 + i / 60);
    r->picture = drt_path_join(r->folder, "picture.png");
    check_ok(drt_image_write(&image, r->picture, &err));
    drt_image_free(&image);
    *state = r;
    return 0;
}

static int teardown(void **state) {
    rooms *r = *state;
    drt_error err = {0};
    check_ok(drt_remove_tree(r->folder, &err));
    free(r->folder), free(r->model), free(r->clip), free(r->world), free(r->picture), free(r);
    return 0;
}

static bool collect(void *user, const char *text, size_t size) {
    drt_text_add(user, text, size);
    return true;
}

static char *answer_to(drt_assistant *a, drt_ask ask) {
    drt_error err = {0};
    char *answer = NULL;
    ask.max_tokens = 12;
    check_ok(drt_assistant_ask(a, &ask, &answer, &err));
    check(answer);
    return answer;
}

// A file, the same file as bytes, no picture; the pieces are the answer; what was said before matters.
static void asks(void **state) {
    const rooms *r = *state;
    drt_error err = {0};
    drt_assistant *a;
    char *bytes;
    size_t size;
    drt_text pieces = {0};
    check_ok(drt_assistant_open(&a, r->model, &(drt_assistant_options){.threads = 1}, &err));
    check(drt_assistant_sees(a));
    check_ok(drt_file_read(&bytes, &size, r->picture, 0, &err));
    char *file = answer_to(a, (drt_ask){.text = "what?", .image = r->picture, .on_text = collect, .user = &pieces});
    char *memory = answer_to(a, (drt_ask){.text = "what?", .image_bytes = bytes, .image_size = size});
    char *blind = answer_to(a, (drt_ask){.text = "what?"});
    char *later = answer_to(
        a,
        (drt_ask){.text = "what?", .image = r->picture, .before = (const char *const[]){"why?", "so."}, .n_before = 2});
    assert_string_equal(file, memory);
    assert_string_not_equal(file, blind);
    assert_string_not_equal(file, later);
    assert_string_equal(pieces.bytes ? pieces.bytes : "", file);
    // An order of the input is another input.
    drt_assistant *mixed;
    check_ok(
        drt_assistant_open(&mixed, r->model, &(drt_assistant_options){.threads = 1, .order = "token_mixer"}, &err));
    char *moved = answer_to(mixed, (drt_ask){.text = "what?", .image = r->picture});
    assert_string_not_equal(file, moved);
    free(moved);
    drt_assistant_close(mixed);
    free(file), free(memory), free(blind), free(later), free(bytes);
    drt_text_free(&pieces);
    drt_assistant_close(a);
}

static void refuses(void **state) {
    const rooms *r = *state;
    drt_error err = {0};
    drt_assistant *a;
    char *answer;
    check_refused(drt_assistant_open(&a, "no/such/model", NULL, &err), DRT_EIO, "no/such/model");
    check(!a);
    check_refused(drt_assistant_open(&a, r->clip, NULL, &err), DRT_ECONFIG, "CLIP");
    check_refused(drt_assistant_open(&a, r->model, &(drt_assistant_options){.device = "gpu"}, &err), DRT_EARG, "gpu");
    check_refused(drt_assistant_open(&a, r->model, &(drt_assistant_options){.order = "sort"}, &err), DRT_EARG,
                  "'sort' is none of none, token_mixer, gps");
    check_refused(drt_assistant_open(&a, r->model, &(drt_assistant_options){.adapter = "no/adapter"}, &err), DRT_EIO,
                  "no/adapter");
    check(drt_assistant_open(&a, "no/such/model", NULL, NULL) == DRT_EIO);
    check_ok(drt_assistant_open(&a, r->model, NULL, &err));
    check_refused(drt_assistant_ask(a, &(drt_ask){0}, &answer, &err), DRT_EARG, "text");
    check_refused(drt_assistant_ask(a, &(drt_ask){.text = "a", .n_before = 1}, &answer, &err), DRT_EARG, "n_before");
    check_refused(drt_assistant_ask(a, &(drt_ask){.text = "a", .conversation = "v2"}, &answer, &err), DRT_EARG, "v1");
    check_refused(drt_assistant_ask(a, &(drt_ask){.text = "a", .image = r->picture, .image_bytes = "x"}, &answer, &err),
                  DRT_EARG, "give one");
    check_refused(
        drt_assistant_ask(a, &(drt_ask){.text = "a", .image_bytes = "GIF89a", .image_size = 6}, &answer, &err),
        DRT_EFORMAT, "the picture");
    check_refused(drt_assistant_ask(a, &(drt_ask){.text = "a", .image = "none.png"}, &answer, &err), DRT_EIO,
                  "none.png");
    check(!answer);
    drt_assistant_close(a);
    drt_assistant_close(NULL);
}

static void evaluates(void **state) {
    const rooms *r = *state;
    drt_error err = {0};
    drt_assistant *a;
    drt_task_score s[2];
    char *json;
    int n;
    const char *const tasks[] = {"exist", "color"};
    drt_evaluation e = {.data = r->world, .tasks = tasks, .n_tasks = 2, .limit = 3};
    check_ok(drt_assistant_open(&a, r->model, NULL, &err));
    check_ok(drt_assistant_evaluate(a, &e, s, 2, &n, &json, &err));
    assert_int_equal(n, 2);
    for (int i = 0; i < n; i++) {
        assert_string_equal(s[i].task, tasks[i]);
        check(s[i].questions > 0 && s[i].questions <= 3);
        check(s[i].accuracy >= 0 && s[i].accuracy <= 1 && s[i].restricted >= 0 && s[i].restricted <= 1);
        check(s[i].prior > 0 && s[i].prior <= 1);
    }
    check(strstr(json, "\"color\"") && strstr(json, "\"items\""));
    free(json);
    check_refused(drt_assistant_evaluate(a, &e, s, 1, &n, &json, &err), DRT_EARG, "2 tasks");
    check(!n && !json);
    e.data = r->folder;
    check(drt_assistant_evaluate(a, &e, s, 2, &n, NULL, &err) != DRT_OK);
    drt_assistant_close(a);
}

typedef struct {
    int lines, steps, most;
    double loss;
} watched;

static void on_line(void *user, const char *line) {
    watched *w = user;
    w->lines += *line != 0;
}

static void on_step(void *user, const drt_training_view *v) {
    watched *w = user;
    w->steps = (int)v->step;
    w->loss = v->loss;
    assert_int_equal(v->steps, 3);
}

static bool stop(void *user) {
    watched *w = user;
    return w->steps >= w->most;
}

static void trains(void **state) {
    const rooms *r = *state;
    drt_error err = {0};
    char own[3][600];
    snprintf(own[0], sizeof own[0], "model=%s", r->model);
    snprintf(own[1], sizeof own[1], "data.file=%s/pretrain.json", r->world);
    snprintf(own[2], sizeof own[2], "out=%s/run", r->folder);
    const char *const overrides[] = {own[0],          own[1],      own[2],       "train.steps=3",
                                     "train.batch=2", "threads=1", "resume=true"};
    watched w = {.most = 2};
    drt_training_hooks hooks = {.on_line = on_line, .on_step = on_step, .stop = stop, .user = &w};
    drt_training_result result = {.steps = 7};
    check_refused(drt_train(NULL, overrides, 7, &hooks, &result, &err), DRT_ESTOP, "2 of 3");
    check(w.steps == 2 && w.lines > 0 && isfinite(w.loss) && result.steps == 0);
    w.most = 9;
    check_ok(drt_train(NULL, overrides, 7, &hooks, &result, &err));
    check(w.steps == 3 && result.steps == 3 && result.weights && isfinite(result.loss));
    check_refused(drt_train(NULL, (const char *const[]){"lrr=1"}, 1, NULL, NULL, &err), DRT_ECONFIG, "lrr");
    drt_assistant *a;
    char path[700];
    snprintf(path, sizeof path, "%s/run/model", r->folder);
    check_ok(drt_assistant_open(&a, path, NULL, &err));
    free(answer_to(a, (drt_ask){.text = "what?", .image = r->picture}));
    drt_assistant_close(a);
}

// Runs a shell script with $R (the scratch folder) and $SAN set; shows what it printed if it fails.
static void shell(const rooms *r, const char *script) {
    drt_text command = {0};
    char line[500];
    const char *build = getenv("BUILD");
    drt_text_printf(&command, "set -eu; R=%s; BUILD=%s; SAN='%s'; unset MAKEFLAGS MFLAGS MAKELEVEL; {\n%s\n} 2>&1",
                    r->folder, build ? build : "build", SANITIZE, script);
    check(!command.failed);
    FILE *p = popen(command.bytes, "r");
    drt_text said = {0};
    while (p && fgets(line, sizeof line, p)) drt_text_puts(&said, line);
    if (!p || pclose(p)) fail_msg("%s\nsaid: %s", script, said.bytes ? said.bytes : "nothing");
    drt_text_free(&said);
    drt_text_free(&command);
}

// The example, compiled the way a user would: with the shared library, then with the static one.
static void installs(void **state) {
    const rooms *r = *state;
    shell(r, "make -s install BUILD=\"$BUILD\" PREFIX=\"$PWD/$R/usr\"\n"
             "export PKG_CONFIG_PATH=$R/usr/lib/pkgconfig LD_LIBRARY_PATH=$R/usr/lib\n"
             "[ \"$($R/usr/bin/drt --version | head -n 1)\" = \"drt $(pkg-config --modversion drt)\" ]\n"
             "${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror $SAN examples/ask.c -o $R/ask $(pkg-config --cflags "
             "--libs drt)\n"
             "$R/ask $R/llava 'what?' $R/picture.png >$R/shared.txt\n"
             "ldd $R/ask | grep -q $R/usr/lib/libdrt.so.0\n"
             "! $R/ask $R/none 'what?' 2>$R/message.txt; grep -q none $R/message.txt\n"
             "rm $R/usr/lib/libdrt.so*\n"
             "${CC:-cc} $SAN examples/ask.c -o $R/ask $(pkg-config --static --cflags --libs drt)\n"
             "$R/ask $R/llava 'what?' $R/picture.png | cmp - $R/shared.txt\n"
             "test -s $R/shared.txt");
    shell(r, "make -s install BUILD=\"$BUILD\" DESTDIR=\"$PWD/$R/stage\" PREFIX=/usr\n"
             "test -x $R/stage/usr/bin/drt && grep -qx prefix=/usr $R/stage/usr/lib/pkgconfig/drt.pc");
}

// The shared library shows what the header declares, and nothing else.
static void exports(void **state) {
    shell(*state, "nm -D --defined-only $BUILD/libdrt.so | awk '{print $3}' | sort >$R/shown.txt\n"
                  "grep -o '\\bdrt_[a-z_]*(' include/drt.h | tr -d '(' | sort -u >$R/declared.txt\n"
                  "diff $R/declared.txt $R/shown.txt");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(asks),      cmocka_unit_test(refuses),
                                       cmocka_unit_test(evaluates), cmocka_unit_test(trains),
                                       cmocka_unit_test(installs),  cmocka_unit_test(exports)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
