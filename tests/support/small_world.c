#include "support/small_world.h"

#include "support/check.h"
#include "support/shell.h"

#include "base/file.h"

#include <limits.h>
#include <stdio.h>

static const char llava[] =
    "{\"model_type\": \"llava\", \"image_token_index\": 3, \"vision_feature_layer\": -2,\n"
    "\"vision_config\": {\"model_type\": \"clip_vision_model\", \"hidden_size\": 16, \"intermediate_size\": 24, "
    "\"num_hidden_layers\": 2,\n"
    " \"num_attention_heads\": 2, \"image_size\": 32, \"patch_size\": 8, \"projection_dim\": 8},\n"
    "\"text_config\": {\"model_type\": \"llama\", \"hidden_size\": 16, \"intermediate_size\": 24, "
    "\"num_hidden_layers\": 2,\n"
    " \"num_attention_heads\": 2, \"max_position_embeddings\": 512, \"vocab_size\": 300}}\n";

void small_file(const small_world *w, const char *name, const char *text) {
    drt_error err = {0};
    char *path = drt_path_join(w->folder, name), *slash = strrchr(path, '/');
    *slash = 0;
    check_ok(drt_make_folders(path, &err));
    *slash = '/';
    check_ok(drt_file_write(path, text, strlen(text), &err));
    free(path);
}

bool small_world_make(small_world *w, const char *name) {
    static char drt[PATH_MAX]; // absolute: commands change the folder
    int rc;
    *w = (small_world){0};
    if (!getenv("DRT") || !realpath(getenv("DRT"), drt)) return false;
    w->drt = drt;
    w->folder = test_folder(name);
    small_file(w, "config.json", llava);
    char *said = shell(&rc,
                       "cd %s && { %s shapes --out world --train 12 --eval 4 --text 4 && "
                       "%s tokenizer --size 300 --out tokenizer world/pretrain.json && "
                       "%s new --config config.json --tokenizer tokenizer --out model; } 2>&1",
                       w->folder, drt, drt, drt);
    if (rc) fail_msg("%s", said);
    free(said);
    return true;
}

void small_world_free(small_world *w) {
    free(w->folder);
    *w = (small_world){0};
}

char *small_train_after(const small_world *w, int *rc, const char *before, const char *out, const char *more) {
    return shell(rc,
                 "cd %s; %s DRT_RUNS=runs.sqlite %s train model=model data.file=world/pretrain.json "
                 "data.template=plain train.batch=4 train.steps=9 checkpoint.every=2 threads=1 groups.language=1 "
                 "order.bank=7 order.grid=2 optimizer.lr=1e-2 out=%s %s 2>&1",
                 w->folder, before, w->drt, out, more);
}

char *small_train(const small_world *w, int *rc, const char *out, const char *more) {
    return small_train_after(w, rc, "", out, more);
}

void small_weights(const small_world *w, const char *out, const char *more, char hash[20]) {
    int rc;
    char *said = small_train(w, &rc, out, more), *at = strstr(said, "s without data)");
    if (at) at = strstr(at, "weights ");
    if (rc || !at) fail_msg("status %d: %s", rc, said);
    snprintf(hash, 20, "%.16s", at + 8);
    free(said);
}
