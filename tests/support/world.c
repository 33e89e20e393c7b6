#include "support/world.h"

#include "support/check.h"
#include "support/shell.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { MOST = 3000 }; // characters of a command

static const char llava[] =
    "{\"model_type\": \"llava\", \"image_token_index\": 3, \"vision_feature_layer\": -2,\n"
    "\"vision_config\": {\"model_type\": \"clip_vision_model\", \"hidden_size\": 16, \"intermediate_size\": 24, "
    "\"num_hidden_layers\": 2,\n"
    " \"num_attention_heads\": 2, \"image_size\": 32, \"patch_size\": 8, \"projection_dim\": 8},\n"
    "\"text_config\": {\"model_type\": \"llama\", \"hidden_size\": 16, \"intermediate_size\": 24, "
    "\"num_hidden_layers\": 2,\n"
    " \"num_attention_heads\": 2, \"max_position_embeddings\": 512, \"vocab_size\": 300}}\n";

const char world_keys[] = "model=model data.file=world/pretrain.json data.template=plain train.batch=4 train.steps=9 "
                          "checkpoint.every=2 threads=1 groups.language=1 order.bank=7 order.grid=2 optimizer.lr=1e-2";

int world_open(void **state) {
    static world w;
    char name[100], *drt = getenv("DRT");
    *state = &w;
    if (!drt) return 0;
    w.path = realpath(drt, NULL);
    check(w.path != NULL);
    *strrchr(w.path, '/') = 0;
    snprintf(name, sizeof name, "world-%s", program_invocation_short_name);
    char *folder = test_folder(name);
    w.folder = realpath(folder, NULL);
    check(w.folder != NULL);
    free(folder);
    world_write(&w, "config.json", llava);
    world_must(&w, "drt shapes --out world --train 12 --eval 4 --text 4 && "
                   "drt tokenizer --size 300 --out tokenizer world/pretrain.json && "
                   "drt new --config config.json --tokenizer tokenizer --out model");
    return 0;
}

int world_close(void **state) {
    world *w = *state;
    drt_error err = {0};
    if (w->folder) check_ok(drt_remove_tree(w->folder, &err));
    free(w->folder), free(w->path);
    *w = (world){0};
    return 0;
}

void world_write(const world *w, const char *name, const char *text) {
    drt_error err = {0};
    char *path = drt_path_join(w->folder, name), *slash = strrchr(path, '/');
    *slash = 0;
    check_ok(drt_make_folders(path, &err));
    *slash = '/';
    check_ok(drt_file_write(path, text, strlen(text), &err));
    free(path);
}

char *world_read(const world *w, const char *name) {
    drt_error err = {0};
    char *path = drt_path_join(w->folder, name), *text;
    check_ok(drt_file_read(&text, NULL, path, 0, &err));
    free(path);
    return text;
}

// The shell's words with what makes them run in the folder before them.
static void command_of(const world *w, char command[MOST], const char *format, va_list args) {
    int n =
        snprintf(command, MOST, "cd %s || exit; exec 2>&1; PATH=%s:$PATH DRT_RUNS=runs.sqlite; export PATH DRT_RUNS; ",
                 w->folder, w->path);
    check(n + vsnprintf(command + n, (size_t)(MOST - n), format, args) < MOST);
}

static char *run(const world *w, int *rc, const char *format, va_list args) {
    char command[MOST];
    command_of(w, command, format, args);
    return shell(rc, "%s", command);
}

char *world_run(const world *w, int *rc, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *said = run(w, rc, format, args);
    va_end(args);
    return said;
}

void world_must(const world *w, const char *format, ...) {
    va_list args;
    int rc;
    va_start(args, format);
    char *said = run(w, &rc, format, args);
    va_end(args);
    if (rc) fail_msg("%s: status %d: %s", format, rc, said);
    free(said);
}

pid_t world_start(const world *w, const char *format, ...) {
    char command[MOST];
    va_list args;
    va_start(args, format);
    command_of(w, command, format, args);
    va_end(args);
    char *log = drt_path_join(w->folder, "said");
    pid_t child = fork();
    check(child >= 0);
    if (!child) {
        dup2(open(log, O_WRONLY | O_CREAT | O_TRUNC, 0666), 1);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    free(log);
    return child;
}

drt_status world_recipe(const world *w, drt_recipe *r, const char *more, drt_error *err) {
    enum { KEYS = 40 };
    char text[MOST], *rest, *keys[KEYS];
    int n = 0;
    check(snprintf(text, sizeof text, "%s model=%s/model data.file=%s/world/pretrain.json out=%s/unused %s", world_keys,
                   w->folder, w->folder, w->folder, more) < MOST);
    for (char *at = strtok_r(text, " ", &rest); at; at = strtok_r(NULL, " ", &rest)) {
        check(n < KEYS);
        keys[n++] = at;
    }
    return drt_recipe_load(r, NULL, n, (const char *const *)keys, err);
}

char *world_train(const world *w, int *rc, const char *out, const char *more) {
    return world_run(w, rc, "drt train %s out=%s %s", world_keys, out, more);
}

void world_weights(const world *w, const char *out, const char *more, char hash[20]) {
    int rc;
    char *said = world_train(w, &rc, out, more), *at = strstr(said, "s without data)");
    if (!at) at = strstr(said, "steps were done before");
    if (at) at = strstr(at, "weights "); // of the last line; checkpoints say theirs before
    if (rc || !at) fail_msg("%s %s: status %d: %s", out, more, rc, said);
    snprintf(hash, 20, "%.16s", at + 8);
    free(said);
}

void world_refused(const world *w, const char *out, const char *more, const char *const *words, int n) {
    int rc;
    char *said = world_train(w, &rc, out, more);
    if (rc != 1) fail_msg("status %d: %s", rc, said);
    for (int i = 0; i < n; i++)
        if (!strstr(said, words[i])) fail_msg("%s: \"%s\" lacks \"%s\"", more, said, words[i]);
    free(said);
}
