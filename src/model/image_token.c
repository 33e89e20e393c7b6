#include "model/image_token.h"

#include "base/file.h"
#include "format/json.h"
#include "format/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_JSON = 1 << 28 };

static json_t *special(const char *content, int id) {
    json_t *o = json_pack("{s:s,s:b,s:b,s:b,s:b,s:b}", "content", content, "lstrip", 0, "normalized", 0, "rstrip", 0,
                          "single_word", 0, "special", 1);
    if (o && id >= 0) json_object_set_new(o, "id", json_integer(id));
    return o;
}

// All return false when there is no memory or the file is of another form.
static bool add_to_vocabulary(json_t *o, const char *content, int id) {
    json_t *list = json_object_get(o, "added_tokens");
    if (!list) json_object_set_new(o, "added_tokens", list = json_array());
    return !json_array_append_new(list, special(content, id));
}

static bool add_to_config(json_t *o, const char *content, int id) {
    json_t *all = json_object_get(o, "added_tokens_decoder");
    char key[16];
    snprintf(key, sizeof key, "%d", id);
    return !json_is_object(all) || !json_object_set_new(all, key, special(content, -1));
}

static bool add_to_map(json_t *o, const char *content, int id) {
    return !json_object_set_new(o, content, json_integer(id));
}

// A map that is not there begins empty.
static drt_status edit(const drt_added_tokens *a, const char *from, const char *to, const char *name,
                       bool (*add)(json_t *, const char *, int), drt_error *err) {
    char *source = drt_path_join(from, name), *target = drt_path_join(to, name), *text = NULL, *out = NULL;
    json_error_t at = {0};
    json_t *o = NULL;
    size_t size;
    drt_status status = source && target ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for %s", name);
    bool here = !status && drt_file_exists(source);
    if (here || (!status && add == add_to_map)) {
        if (here) status = drt_file_read(&text, &size, source, MOST_JSON, err);
        // Vocabularies may hold a piece of one zero byte, written as an escape.
        o = status ? NULL : here ? drt_json_load(text, size, JSON_ALLOW_NUL, &at) : json_object();
        if (!status && !json_is_object(o))
            status = drt_fail(err, DRT_EFORMAT, "%s: line %d: not an object of JSON", source, o ? 1 : at.line);
        bool config = add == add_to_config;
        if (!status && config) {
            json_object_set_new(o, "image_token", json_string("<image>"));
            json_object_set_new(o, "processor_class", json_string("LlavaProcessor"));
            if (a->pad >= 0) json_object_set_new(o, "pad_token", json_string("<pad>"));
        }
        if (!status && (!add(o, "<image>", a->image) || (a->pad >= 0 && !add(o, "<pad>", a->pad))))
            status = drt_fail(err, DRT_EFORMAT, "%s: <image> cannot be added to it", source);
        out = status ? NULL : json_dumps(o, JSON_INDENT(2));
        if (!status && !out) status = drt_fail(err, DRT_ENOMEM, "no memory for %s", name);
        if (!status) status = drt_file_write(target, out, strlen(out), err);
    }
    json_decref(o);
    free(out), free(text), free(source), free(target);
    return status;
}

drt_status drt_added_tokens_write(const drt_added_tokens *a, const char *from, const char *to, drt_error *err) {
    drt_status status = edit(a, from, to, "tokenizer.json", add_to_vocabulary, err);
    if (!status) status = edit(a, from, to, "tokenizer_config.json", add_to_config, err);
    const char *file = drt_tokenizer_in_folder(from);
    if (!status && file && strcmp(file, "tokenizer.json"))
        status = edit(a, from, to, "added_tokens.json", add_to_map, err);
    return status;
}

void drt_fill_added_rows(float *x, int64_t rows, int64_t cols, int64_t grown) {
    int64_t old = rows - grown;
    for (int64_t c = 0; c < cols; c++) {
        double sum = 0;
        for (int64_t r = 0; r < old; r++) sum += (double)x[r * cols + c];
        for (int64_t r = old; r < rows; r++) x[r * cols + c] = (float)(sum / (double)old);
    }
}
