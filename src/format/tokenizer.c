#include "format/tokenizer.h"

#include "base/file.h"
#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_FILE = 512 << 20, MOST_MODEL = 64 << 20 }; // Gemma's, a large one, has 4 MB
enum { MOST_GROWTH = 64 };

drt_status drt_tok_no_memory(const char *name, drt_error *err) {
    return drt_fail(err, DRT_ENOMEM, "%s: no memory", name);
}

int32_t drt_tok_most(int64_t n) { return n < INT32_MAX / MOST_GROWTH ? (int32_t)(MOST_GROWTH * (n + 1)) : INT32_MAX; }

drt_status drt_tok_too_long(const char *name, const char *part, int64_t n, drt_error *err) {
    return drt_fail(err, DRT_EFORMAT,
                    "%s: its %s makes more than %d bytes of %lld; take the tokenizer that the model was published with",
                    name, part, drt_tok_most(n), (long long)n);
}

static drt_status load_json(drt_tokenizer *tok, const char *text, size_t size, const tok_beside *beside,
                            drt_error *err) {
    json_error_t why;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return drt_fail(err, DRT_EFORMAT, "%s: line %d, column %d: %s", tok->name, why.line, why.column, why.text);
    drt_status status = drt_tok_load(tok, root, err);
    if (!status) {
        const char *unk = json_string_value(json_object_get(json_object_get(root, "model"), "unk_token"));
        drt_tok_names_load(tok, beside, unk, json_is_object(json_object_get(root, "post_processor")));
    }
    json_decref(root);
    return status;
}

// `folder`: where the files beside tokenizer.json are; NULL: nowhere.
static drt_status open_bytes(drt_tokenizer **out, bool json, const void *bytes, size_t size, const char *name,
                             const char *folder, drt_error *err) {
    drt_tokenizer *tok = calloc(1, sizeof *tok);
    tok_beside beside = {0};
    drt_status status = DRT_OK;
    *out = NULL;
    if (!tok) return drt_tok_no_memory(name, err);
    tok->bos = tok->eos = tok->pad = tok->unk = tok->fallback.unk = -1;
    tok->arena = drt_arena_new(0);
    tok->name = tok->arena ? drt_arena_strdup(tok->arena, name) : NULL;
    if (!tok->name) status = drt_tok_no_memory(name, err);
    if (!status && folder) status = drt_tok_beside_read(&beside, folder, err);
    if (!status) {
        if (json) status = load_json(tok, bytes, size, &beside, err);
        else status = drt_tok_spm_load(tok, bytes, size, &beside, err);
    }
    drt_tok_beside_free(&beside);
    if (status) {
        drt_tokenizer_close(tok);
        return status;
    }
    *out = tok;
    return DRT_OK;
}

drt_status drt_tokenizer_open_memory(drt_tokenizer **out, const char *json, size_t size, const char *name,
                                     drt_error *err) {
    return open_bytes(out, true, json, size, name, NULL, err);
}

drt_status drt_tokenizer_open_sentencepiece(drt_tokenizer **out, const void *bytes, size_t size, const char *name,
                                            drt_error *err) {
    return open_bytes(out, false, bytes, size, name, NULL, err);
}

static drt_status open_file(drt_tokenizer **out, const char *file, const char *folder, drt_error *err) {
    char *bytes;
    size_t size, n = strlen(file);
    bool json = n < 6 || strcmp(file + n - 6, ".model");
    drt_status status = drt_file_read(&bytes, &size, file, json ? MOST_FILE : MOST_MODEL, err);
    if (status) return status;
    status = open_bytes(out, json, bytes, size, file, folder, err);
    free(bytes);
    return status;
}

const char *drt_tokenizer_in_folder(const char *folder) {
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "spiece.model"};
    for (int i = 0; i < 3; i++) {
        char *path = drt_path_join(folder, names[i]);
        bool found = path && drt_file_exists(path);
        free(path);
        if (found) return names[i];
    }
    return NULL;
}

// malloc'ed; tokenizer.json if there is none.
static char *file_of(const char *folder) {
    const char *name = drt_tokenizer_in_folder(folder);
    return drt_path_join(folder, name ? name : "tokenizer.json");
}

drt_status drt_tokenizer_open(drt_tokenizer **out, const char *path, drt_error *err) {
    bool is_folder = drt_is_folder(path);
    const char *slash = strrchr(path, '/');
    char *folder = is_folder ? strdup(path) : slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    char *file = is_folder ? file_of(path) : strdup(path);
    *out = NULL;
    drt_status status = folder && file ? open_file(out, file, folder, err) : drt_tok_no_memory(path, err);
    free(folder), free(file);
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

const int32_t *drt_tokenizer_before(const drt_tokenizer *tok, int *n) { return *n = tok->before_count, tok->before; }
const int32_t *drt_tokenizer_after(const drt_tokenizer *tok, int *n) { return *n = tok->after_count, tok->after; }
