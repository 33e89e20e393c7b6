#include "support/world.h"

#include "support/check.h"
#include "support/shell.h"

#include "base/file.h"

#include <stdio.h>

static const char llava[] =
    "{\"model_type\": \"llava\", \"image_token_index\": 3, \"vision_feature_layer\": -2,\n"
    "\"vision_config\": {\"model_type\": \"clip_vision_model\", \"hidden_size\": 16, \"intermediate_size\": 24, "
    "\"num_hidden_layers\": 2,\n"
    " \"num_attention_heads\": 2, \"image_size\": 32, \"patch_size\": 8, \"projection_dim\": 8},\n"
    "\"text_config\": {\"model_type\": \"llama\", \"hidden_size\": 16, \"intermediate_size\": 24, "
    "\"num_hidden_layers\": 2,\n"
    " \"num_attention_heads\": 2, \"max_position_embeddings\": 512, \"vocab_size\": 300}}\n";

static void must(const char *command) {
    int rc;
    char *out = shell(&rc, "%s 2>&1", command);
    if (rc) fail_msg("%s: %s", command, out);
    free(out);
}

void world_write_file(const world *w, const char *name, const char *text) {
    drt_error err = {0};
    char *path = drt_path_join(w->folder, name);
    check_ok(drt_file_write(path, text, strlen(text), &err));
    free(path);
}

int world_make(void **state, const char *name) {
    static world w;
    char command[2000];
    w.drt = getenv("DRT");
    *state = &w;
    if (!w.drt) return 0;
    w.folder = test_folder(name);
    world_write_file(&w, "config.json", llava);
    snprintf(command, sizeof command,
             "cd %s && D=$OLDPWD/%s && $D shapes --out world --train 12 --eval 4 --text 4 && "
             "$D tokenizer --size 300 --out tokenizer world/pretrain.json && "
             "$D new --config config.json --tokenizer tokenizer --out model",
             w.folder, w.drt);
    if (w.drt[0] == '/')
        snprintf(command, sizeof command,
                 "cd %s && D=%s && $D shapes --out world --train 12 --eval 4 --text 4 && "
                 "$D tokenizer --size 300 --out tokenizer world/pretrain.json && "
                 "$D new --config config.json --tokenizer tokenizer --out model",
                 w.folder, w.drt);
    must(command);
    return 0;
}

// The keys of every run here; later ones on the same command line win.
const char world_keys[] =
    "data.template=plain train.batch=4 train.steps=9 checkpoint.every=2 threads=1 groups.language=1 "
    "order.bank=7 order.grid=2 optimizer.lr=1e-2";

char *world_train(const world *w, int *rc, const char *out, const char *more) {
    const char *f = w->folder;
    return shell(rc, "%s train model=%s/model data.file=%s/world/pretrain.json %s out=%s/%s %s 2>&1", w->drt, f, f,
                 world_keys, f, out, more);
}

// A run that must be refused, with these words in what it says.
void world_refused(const world *w, const char *out, const char *more, const char *const *words, int n) {
    int rc;
    char *said = world_train(w, &rc, out, more);
    if (rc != 1) fail_msg("status %d: %s", rc, said);
    for (int i = 0; i < n; i++)
        if (!strstr(said, words[i])) fail_msg("%s: \"%s\" lacks \"%s\"", more, said, words[i]);
    free(said);
}

void world_weights(const world *w, const char *out, const char *more, char *hash) {
    int rc;
    char *said = world_train(w, &rc, out, more), *at = NULL; // the last line; checkpoints say theirs before
    for (char *next = said; (next = strstr(next, "weights ")); next++) at = next;
    if (rc || !at) fail_msg("status %d: %s", rc, said);
    snprintf(hash, 17, "%.16s", at + 8);
    free(said);
}
