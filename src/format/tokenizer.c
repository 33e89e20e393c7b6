#include "format/tokenizer.h"

#include "base/file.h"
#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_FILE = 512 << 20 };

drt_status drt_tok_no_memory(const char *name, drt_error *err) {
    return drt_fail(err, DRT_ENOMEM, "%s: no memory", name);
}

// `folder`: where the files beside tokenizer.json are; NULL: nowhere.
static drt_status open_json(drt_tokenizer **out, const char *text, size_t size, const char *name, const char *folder,
                            drt_error *err) {
    json_error_t why;
    drt_tokenizer *tok = calloc(1, sizeof *tok);
    *out = NULL;
    if (!tok) return drt_tok_no_memory(name, err);
    tok->arena = drt_arena_new(0);
    tok->name = tok->arena ? drt_arena_strdup(tok->arena, name) : NULL;
    json_t *root = tok->name ? json_loadb(text, size, JSON_REJECT_DUPLICATES, &why) : NULL;
    drt_status status;
    if (!tok->name) status = drt_tok_no_memory(name, err);
    else if (!root)
        status = drt_fail(err, DRT_EFORMAT, "%s: line %d, column %d: %s", name, why.line, why.column, why.text);
    else status = drt_tok_load(tok, root, err);
    if (!status) {
        const char *unk = json_string_value(json_object_get(json_object_get(root, "model"), "unk_token"));
        status = drt_tok_names_load(tok, folder, unk, json_object_get(root, "post_processor"), err);
    }
    json_decref(root);
    if (status) {
        drt_tokenizer_close(tok);
        return status;
    }
    *out = tok;
    return DRT_OK;
}

drt_status drt_tokenizer_open_memory(drt_tokenizer **out, const char *json, size_t size, const char *name,
                                     drt_error *err) {
    return open_json(out, json, size, name, NULL, err);
}

static drt_status open_file(drt_tokenizer **out, const char *file, const char *folder, drt_error *err) {
    char *text;
    size_t size;
    drt_status status = drt_file_read(&text, &size, file, MOST_FILE, err);
    if (status) return status;
    status = open_json(out, text, size, file, folder, err);
    free(text);
    return status;
}

drt_status drt_tokenizer_open(drt_tokenizer **out, const char *path, drt_error *err) {
    bool is_folder = drt_is_folder(path);
    const char *slash = strrchr(path, '/');
    char *folder = is_folder ? strdup(path) : slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    char *file = is_folder ? drt_path_join(path, "tokenizer.json") : strdup(path);
    char *model = is_folder ? drt_path_join(path, "tokenizer.model") : strdup("");
    drt_status status;
    *out = NULL;
    if (!folder || !file || !model) status = drt_tok_no_memory(path, err);
    else if (is_folder && !drt_file_exists(file) && drt_file_exists(model))
        status = drt_fail(err, DRT_EFORMAT,
                          "%s: holds a SentencePiece tokenizer.model, which is not supported yet, and no "
                          "tokenizer.json",
                          path);
    else status = open_file(out, file, folder, err);
    free(folder), free(file), free(model);
    return status;
}

void drt_tokenizer_close(drt_tokenizer *tok) {
    if (!tok) return;
    for (int i = 0; i < tok->normal_count; i++) drt_tok_pattern_free(&tok->normal[i].pattern);
    for (int i = 0; i < tok->split_count; i++) drt_tok_pattern_free(&tok->split[i].pattern);
    drt_arena_free(tok->arena);
    free(tok);
}

int drt_tokenizer_size(const drt_tokenizer *tok) { return tok->size; }

int drt_tokenizer_id(const drt_tokenizer *tok, const char *piece) { return drt_tok_find(tok, piece, strlen(piece)); }

const char *drt_tokenizer_piece(const drt_tokenizer *tok, int id) {
    return id >= 0 && id < tok->size ? tok->pieces[id].text : NULL;
}

bool drt_tokenizer_is_special(const drt_tokenizer *tok, int id) {
    return id >= 0 && id < tok->size && tok->pieces[id].special;
}

int drt_tokenizer_bos(const drt_tokenizer *tok) { return tok->bos; }
bool drt_tokenizer_adds_bos(const drt_tokenizer *tok) { return tok->adds_bos; }
int drt_tokenizer_eos(const drt_tokenizer *tok) { return tok->eos; }
int drt_tokenizer_pad(const drt_tokenizer *tok) { return tok->pad; }
int drt_tokenizer_unk(const drt_tokenizer *tok) { return tok->unk; }
