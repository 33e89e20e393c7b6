#include "base/file.h"
#include "format/json.h"
#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

static drt_status read_json(json_t **out, const char *folder, const char *file, drt_error *err) {
    char *path = drt_path_join(folder, file), *text = NULL;
    size_t size;
    json_error_t why;
    drt_status status = DRT_OK;
    *out = NULL;
    if (!path) return drt_tok_no_memory(file, err);
    if (drt_file_exists(path)) {
        status = drt_file_read(&text, &size, path, 64 << 20, err);
        if (!status && !(*out = drt_json_load(text, size, 0, &why)))
            status = drt_fail(err, DRT_EFORMAT, "%s: line %d: %s", path, why.line, why.text);
    }
    free(text), free(path);
    return status;
}

void drt_tok_beside_free(tok_beside *b) {
    json_decref(b->config), json_decref(b->map), json_decref(b->added);
    *b = (tok_beside){0};
}

drt_status drt_tok_beside_read(tok_beside *b, const char *folder, drt_error *err) {
    *b = (tok_beside){0};
    drt_status status = read_json(&b->config, folder, "tokenizer_config.json", err);
    if (!status) status = read_json(&b->map, folder, "special_tokens_map.json", err);
    if (!status) status = read_json(&b->added, folder, "added_tokens.json", err);
    if (status) drt_tok_beside_free(b);
    return status;
}

// 1 and *id if `j` has the key (null means: no such token), 0 if it says nothing.
static int look_up(const drt_tokenizer *tok, const json_t *j, const char *key, int32_t *id) {
    const json_t *v = json_object_get(j, key);
    const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    if (!v) return 0;
    *id = text ? drt_tok_find(tok, text, strlen(text)) : -1;
    return 1;
}

void drt_tok_names_load(drt_tokenizer *tok, const tok_beside *b, const char *unk_token, bool says_around) {
    static const char *const usual[4][6] = {
        {"<s>", "<|begin_of_text|>", "<|startoftext|>", "<bos>", "<|endoftext|>", NULL},
        {"</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", NULL, NULL},
        {"<pad>", "[PAD]", "<|pad|>", NULL, NULL, NULL},
        {"<unk>", "[UNK]", NULL, NULL, NULL, NULL}};
    static const char *const keys[4] = {"bos_token", "eos_token", "pad_token", "unk_token"};
    int32_t *const ids[4] = {&tok->bos, &tok->eos, &tok->pad, &tok->unk};
    for (int k = 0; k < 4; k++) {
        int32_t known = *ids[k]; // tokenizer.model says it itself
        *ids[k] = -1;
        if (look_up(tok, b->config, keys[k], ids[k]) || look_up(tok, b->map, keys[k], ids[k])) continue;
        *ids[k] = known;
        if (k == 3 && unk_token) *ids[k] = drt_tok_find(tok, unk_token, strlen(unk_token));
        for (int i = 0; i < 6 && usual[k][i] && *ids[k] < 0; i++)
            *ids[k] = drt_tok_find(tok, usual[k][i], strlen(usual[k][i]));
    }
    const json_t *adds = json_object_get(b->config, "add_bos_token");
    bool in_front = !says_around;
    for (int i = 0; i < tok->before_count; i++) in_front |= tok->before[i] == tok->bos;
    tok->adds_bos = tok->bos >= 0 && (json_is_boolean(adds) ? json_is_true(adds) : in_front);
}
