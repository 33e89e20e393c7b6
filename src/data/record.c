#include "data/record.h"

#include "data/space.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The record and everything it points to share one block. It is filled twice by the same code: once with base = NULL
// to learn its size, once for good.
typedef struct {
    char *base;
    size_t at;
    drt_error *err;
} block;

static void *take(block *b, size_t n, size_t size) {
    b->at = (b->at + 7) / 8 * 8;
    void *p = b->base ? b->base + b->at : NULL;
    b->at += n * size;
    return p;
}

// "folder/name" (or just the name where folder is "" or the name is absolute).
static const char *take_path(block *b, const char *folder, const char *name) {
    bool join = *folder && *name != '/';
    size_t room = strlen(name) + 1 + (join ? strlen(folder) + 1 : 0);
    char *p = b->base ? b->base + b->at : NULL;
    if (p) snprintf(p, room, "%s%s%s", join ? folder : "", join ? "/" : "", name);
    b->at += room;
    return p;
}

static const char *take_string(block *b, const char *s) { return take_path(b, "", s); }

// A C string, or NULL if `value` is none or has a NUL inside.
static const char *text_of(const json_t *value) {
    const char *s = json_string_value(value);
    return s && strlen(s) == json_string_length(value) ? s : NULL;
}

// A string or an array of strings under `key`; absent and null give none.
static drt_status strings(block *b, const json_t *sample, const char *key, const char *folder, const char ***out,
                          int *n, drt_error *err) {
    const json_t *value = json_object_get(sample, key);
    bool many = json_is_array(value);
    *n = 0;
    *out = NULL;
    if (!value || json_is_null(value)) return DRT_OK;
    size_t size = many ? json_array_size(value) : 1;
    if (size > 4096) return drt_fail(err, DRT_EDATA, "'%s' has %zu entries, more than the 4096 allowed", key, size);
    const char **list = take(b, size, sizeof *list);
    for (size_t i = 0; i < size; i++) {
        const char *s = text_of(many ? json_array_get(value, i) : value);
        if (!s || !*s) return drt_fail(err, DRT_EDATA, "'%s' must be a non-empty string or an array of such", key);
        const char *kept = take_path(b, folder, s);
        if (list) list[i] = kept;
    }
    *out = list;
    *n = (int)size;
    return DRT_OK;
}

static int32_t words_of(const char *text) {
    size_t size = strlen(text), at = 0, word;
    int64_t n = 0;
    while (drt_next_word(text, size, &at, &word)) n++;
    return n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

// A sample with a caption instead of a conversation: the placeholders, then the caption.
static void caption_turns(block *b, const char *caption, drt_record *r) {
    enum { SIZE = sizeof DRT_IMAGE_PLACEHOLDER - 1 };
    drt_turn *out = take(b, 2, sizeof *out);
    char *human = take(b, (size_t)r->n_images * SIZE + 1, 1);
    const char *kept = take_string(b, caption);
    r->turns = out;
    r->n_turns = 2;
    r->words = words_of(caption) + (r->n_images > 0);
    if (!out) return;
    for (int i = 0; i < r->n_images; i++) memcpy(human + i * SIZE, DRT_IMAGE_PLACEHOLDER, SIZE);
    human[r->n_images * SIZE] = 0;
    out[0] = (drt_turn){true, human};
    out[1] = (drt_turn){false, kept};
}

static drt_status turns(block *b, const json_t *sample, drt_record *r, drt_error *err) {
    const json_t *list = json_object_get(sample, "conversations");
    const char *caption = text_of(json_object_get(sample, "caption"));
    size_t n = json_array_size(list);
    if (!list && caption) {
        caption_turns(b, caption, r);
        return DRT_OK;
    }
    if (!n) return drt_fail(err, DRT_EDATA, "'conversations' must be an array of turns (or 'caption' a text)");
    if (n > INT_MAX / 2) return drt_fail(err, DRT_EDATA, "'conversations' has %zu turns", n);
    drt_turn *out = take(b, n, sizeof *out);
    int64_t words = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *turn = json_array_get(list, i);
        const char *from = text_of(json_object_get(turn, "from")), *value = text_of(json_object_get(turn, "value"));
        if (!from || !value)
            return drt_fail(err, DRT_EDATA, "turn %zu must have strings 'from' and 'value', without NUL characters",
                            i + 1);
        bool human = !strcmp(from, "human");
        if (!human && strcmp(from, "gpt"))
            return drt_fail(err, DRT_EDATA, "turn %zu is from '%.40s'; the roles are 'human' and 'gpt'", i + 1, from);
        words += words_of(value);
        const char *kept = take_string(b, value);
        if (out) out[i] = (drt_turn){human, kept};
    }
    r->turns = out;
    r->n_turns = (int)n;
    r->words = words > INT32_MAX ? INT32_MAX : (int32_t)words;
    return DRT_OK;
}

static drt_status patches(block *b, const json_t *sample, drt_record *r, drt_error *err) {
    const json_t *list = json_object_get(sample, "patches");
    size_t n = json_array_size(list);
    if (!list || json_is_null(list)) return DRT_OK;
    if (!json_is_array(list) || n > 65536) return drt_fail(err, DRT_EDATA, "'patches' must be an array of entries");
    int16_t(*out)[DRT_PATCH_LABELS] = take(b, n, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(list, i);
        bool good = json_array_size(entry) == DRT_PATCH_LABELS;
        for (size_t k = 0; good && k < DRT_PATCH_LABELS; k++) {
            const json_t *x = json_array_get(entry, k);
            json_int_t v = json_integer_value(x);
            good = json_is_integer(x) && v >= INT16_MIN && v <= INT16_MAX;
            if (good && out) out[i][k] = (int16_t)v;
        }
        if (!good)
            return drt_fail(err, DRT_EDATA,
                            "entry %zu of 'patches' must be five small integers: color, shape, size, "
                            "word, background",
                            i + 1);
    }
    r->patches = out;
    r->n_patches = (int)n;
    return DRT_OK;
}

// The id as text; a number as its digits (in `digits`).
static const char *id_of(const json_t *sample, char digits[32]) {
    const json_t *id = json_object_get(sample, "id");
    const char *s = text_of(id);
    digits[0] = 0;
    if (json_is_integer(id)) snprintf(digits, 32, "%lld", (long long)json_integer_value(id));
    return s ? s : digits;
}

// Everything into the block, or (base = NULL) only measured.
static drt_status fill(block *b, const json_t *sample, const char *folder, int32_t index, drt_record *r,
                       drt_error *err) {
    char digits[32];
    take(b, 1, sizeof *r);
    *r = (drt_record){.index = index};
    drt_status bad = strings(b, sample, "image", folder, &r->images, &r->n_images, err);
    if (!bad) bad = turns(b, sample, r, err);
    if (r->words < 1) r->words = 1;
    if (!bad) bad = strings(b, sample, "negatives", "", &r->negatives, &r->n_negatives, err);
    if (!bad) bad = patches(b, sample, r, err);
    r->id = take_string(b, id_of(sample, digits));
    return bad;
}

drt_status drt_record_parse(const char *json, size_t size, const char *folder, int32_t index, drt_record **out,
                            size_t *at, char name[DRT_RECORD_NAME], drt_error *err) {
    json_error_t why;
    block b = {0};
    drt_record r;
    char digits[32];
    *out = NULL;
    json_t *sample = json_loadb(json, size, JSON_ALLOW_NUL, &why);
    drt_record_name(sample ? id_of(sample, digits) : "", index, name);
    if (!sample) {
        *at = (size_t)why.position;
        return drt_fail(err, DRT_EFORMAT, "%s", why.text);
    }
    drt_status bad = fill(&b, sample, folder, index, &r, err);
    if (!bad) {
        b = (block){.base = malloc(b.at)};
        bad = b.base ? fill(&b, sample, folder, index, &r, err)
                     : drt_fail(err, DRT_ENOMEM, "no memory for a sample of %zu bytes", size);
    }
    json_decref(sample);
    if (bad) {
        free(b.base);
        return bad;
    }
    *out = memcpy(b.base, &r, sizeof r);
    return DRT_OK;
}

void drt_record_free(drt_record *r) { free(r); }

void drt_record_name(const char *id, int32_t index, char name[DRT_RECORD_NAME]) {
    if (*id) snprintf(name, DRT_RECORD_NAME, "sample %d (id '%.150s')", index, id);
    else snprintf(name, DRT_RECORD_NAME, "sample %d", index);
}
