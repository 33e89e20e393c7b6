#include "train/step_file.h"

#include "base/digest.h"
#include "base/rng.h"
#include "format/safetensors.h"
#include "train/step_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INFO = 8 };

// ---- writing -------------------------------------------------------------------------------------------------------
typedef struct {
    drt_arena *arena; // of names and small arrays
    drt_st_entry *entry;
    int n, room;
    bool failed;
} writer;

static void add(writer *w, int sample, const char *name, int number, const char *dtype, int64_t rows, int64_t cols,
                const void *bytes) {
    if (w->n == w->room) {
        int room = w->room ? 2 * w->room : 256;
        drt_st_entry *more = realloc(w->entry, (size_t)room * sizeof *more);
        if (!more) {
            w->failed = true;
            return;
        }
        w->entry = more;
        w->room = room;
    }
    char *full = drt_arena_array(w->arena, 64, 1);
    w->failed |= !full;
    if (!full) return;
    int at = snprintf(full, 64, "s.%d.", sample);
    snprintf(full + at, (size_t)(64 - at), name, number);
    w->entry[w->n++] =
        (drt_st_entry){.name = full, .dtype = dtype, .ndim = cols ? 2 : 1, .shape = {rows, cols}, .bytes = bytes};
}

static void *taken(writer *w, int64_t n, size_t size) {
    void *p = drt_arena_array(w->arena, n ? n : 1, size);
    w->failed |= !p;
    return p;
}

static void add_pairs(writer *w, int k, const drt_sample *s) {
    int32_t *pair = taken(w, s->pairs * 4, sizeof *pair);
    int64_t tokens = 0, at = 0;
    for (int i = 0; i < s->pairs; i++) tokens += s->pair[i].tokens;
    int32_t *ids = taken(w, tokens, sizeof *ids);
    if (w->failed || !s->pairs) return;
    for (int i = 0; i < s->pairs; i++) {
        const drt_word_pair *p = &s->pair[i];
        memcpy(pair + 4 * i, (int32_t[]){p->image, p->patch, p->word, p->tokens}, 4 * sizeof *pair);
        memcpy(ids + at, p->token, (size_t)p->tokens * sizeof *ids);
        at += p->tokens;
    }
    add(w, k, "pairs", 0, "I32", s->pairs, 4, pair);
    add(w, k, "pair_ids", 0, "I32", tokens, 0, ids);
}

static void add_sample(writer *w, int k, const drt_sample *s, const drt_pack_options *o) {
    int64_t numbers = s->images * drt_pack_picture(o), labels = s->patch_label ? o->patches_side * o->patches_side : 0;
    int64_t *info = taken(w, INFO, sizeof *info);
    if (w->failed) return;
    memcpy(info,
           (int64_t[INFO]){s->index, s->images, s->passes, s->pairs, s->texts, labels, s->order ? o->grid * o->grid : 0,
                           numbers},
           INFO * sizeof *info);
    add(w, k, "info", 0, "I64", INFO, 0, info);
    add(w, k, "id", 0, "U8", (int64_t)strlen(s->id), 0, s->id);
    if (numbers) add(w, k, "patches", 0, "F32", numbers, 0, s->patches);
    for (int i = 0; i < s->passes; i++) {
        const drt_pass *p = &s->pass[i];
        int64_t *about = taken(w, 3, sizeof *about);
        if (w->failed) return;
        memcpy(about, (int64_t[]){p->kind, p->prompt, p->permutation}, 3 * sizeof *about);
        add(w, k, "p.%d.info", i, "I64", 3, 0, about);
        add(w, k, "p.%d.ids", i, "I32", p->n, 0, p->id);
        add(w, k, "p.%d.labels", i, "I32", p->n, 0, p->label);
    }
    add_pairs(w, k, s);
    for (int i = 0; i < s->texts; i++) add(w, k, "t.%d", i, "I32", s->text_size[i], 0, s->text[i]);
    if (labels) add(w, k, "patch_labels", 0, "I16", labels, DRT_PATCH_LABELS, s->patch_label);
    if (s->order) add(w, k, "order", 0, "I32", o->grid * o->grid, 0, s->order);
}

static uint64_t chain(uint64_t h, const char *name, const void *bytes, uint64_t n) {
    const uint64_t what[] = {h, drt_hash(name, strlen(name)), drt_digest_of(bytes, n)};
    return drt_hash(what, sizeof what);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const drt_st_entry *)a)->name, ((const drt_st_entry *)b)->name);
}

drt_status drt_step_file_write(const char *path, const drt_step_data *d, const drt_pack_options *o, int64_t step,
                               int64_t steps, drt_error *err) {
    writer w = {.arena = drt_arena_new(0)};
    w.failed = !w.arena;
    for (int i = 0; i < d->samples && !w.failed; i++) add_sample(&w, i, d->sample[i], o);
    drt_status status = w.failed ? drt_fail(err, DRT_ENOMEM, "%s: no memory for a step's samples", path) : DRT_OK;
    uint64_t h = 0;
    if (!status) qsort(w.entry, (size_t)w.n, sizeof *w.entry, by_name);
    for (int i = 0; i < w.n && !status; i++) {
        const drt_st_entry *e = &w.entry[i];
        uint64_t n = (uint64_t)(e->shape[0] * (e->ndim == 2 ? e->shape[1] : 1) * drt_weight_dtype_size(e->dtype));
        h = chain(h, e->name, e->bytes, n);
    }
    char text[5][32];
    const uint64_t numbers[] = {(uint64_t)step, (uint64_t)steps, (uint64_t)d->samples, d->noise, h};
    for (int i = 0; i < 5; i++)
        snprintf(text[i], sizeof text[i], i < 3 ? "%llu" : "%016llx", (unsigned long long)numbers[i]);
    const char *const metadata[] = {"step",  text[0], "steps", text[1], "samples", text[2],
                                    "noise", text[3], "hash",  text[4], NULL};
    if (!status) status = drt_safetensors_write(path, w.entry, w.n, metadata, err);
    free(w.entry);
    if (w.arena) drt_arena_free(w.arena);
    return status;
}

// ---- reading -------------------------------------------------------------------------------------------------------
typedef struct {
    drt_weights *file;
    const char *path;
    drt_arena *arena;
    const drt_model *m;
    const drt_pack_options *o;
    drt_error *err;
    drt_status status;
} reader;

// A copy of a tensor that must have `count` elements (-1: any) of the type; *n: how many. NULL after a failure.
static void *numbers(reader *r, int sample, const char *name, int number, const char *dtype, int64_t count,
                     int64_t *n) {
    char full[64];
    int at = snprintf(full, sizeof full, "s.%d.", sample);
    snprintf(full + at, sizeof full - (size_t)at, name, number);
    const drt_weight *t = r->status ? NULL : drt_weights_find(r->file, full);
    int64_t have = t ? drt_weight_elements(t) : 0;
    if (r->status) return NULL;
    if (!t || strcmp(t->dtype, dtype) || (count >= 0 && have != count)) {
        r->status = drt_fail(r->err, DRT_EFORMAT, "%s: '%s' is missing or of another size", r->path, full);
        return NULL;
    }
    if (n) *n = have;
    void *copy = drt_arena_array(r->arena, have + 1, (size_t)drt_weight_dtype_size(dtype));
    if (!copy) r->status = drt_fail(r->err, DRT_ENOMEM, "%s: no memory for '%s'", r->path, full);
    else memcpy(copy, t->bytes, t->size);
    return copy;
}

static void impossible(reader *r, int sample) {
    r->status =
        drt_fail(r->err, DRT_EFORMAT, "%s: sample %d of it is impossible; drt did not write it", r->path, sample);
}

static void read_passes(reader *r, int k, drt_sample *s) {
    for (int i = 0; i < s->passes && !r->status; i++) {
        drt_pass *p = &s->pass[i];
        int64_t n = 0, *about = numbers(r, k, "p.%d.info", i, "I64", 3, NULL);
        p->id = numbers(r, k, "p.%d.ids", i, "I32", -1, &n);
        p->label = numbers(r, k, "p.%d.labels", i, "I32", n, NULL);
        if (r->status) return;
        p->n = (int)n;
        if (about[0] < 0 || about[0] >= DRT_PASS_KINDS) return impossible(r, k);
        p->kind = (drt_pass_kind)about[0], p->prompt = (int)about[1], p->permutation = (int)about[2];
    }
}

static void read_pairs(reader *r, int k, drt_sample *s) {
    int64_t tokens = 0, at = 0;
    if (!s->pairs) return;
    const int32_t *pair = numbers(r, k, "pairs", 0, "I32", (int64_t)s->pairs * 4, NULL);
    int32_t *ids = numbers(r, k, "pair_ids", 0, "I32", -1, &tokens);
    s->pair = r->status ? NULL : drt_arena_array(r->arena, s->pairs, sizeof *s->pair);
    if (!s->pair && !r->status) r->status = drt_fail(r->err, DRT_ENOMEM, "%s: no memory", r->path);
    for (int i = 0; i < s->pairs && !r->status; i++, pair += 4) {
        if (pair[3] < 0 || pair[3] > tokens - at) return impossible(r, k);
        s->pair[i] = (drt_word_pair){pair[0], pair[1], pair[2], ids + at, pair[3]};
        at += pair[3];
    }
}

static drt_sample *read_sample(reader *r, int k) {
    int64_t n = 0, *info = numbers(r, k, "info", 0, "I64", INFO, NULL);
    drt_sample *s = drt_arena_zalloc(r->arena, sizeof *s);
    if (!s && !r->status) r->status = drt_fail(r->err, DRT_ENOMEM, "%s: no memory for a sample", r->path);
    if (r->status) return NULL;
    bool possible = info[2] >= 0 && info[2] <= DRT_PASS_KINDS;
    for (int i = 1; i < 5; i++) possible &= info[i] >= 0 && info[i] <= INT32_MAX;
    possible &= info[4] <= drt_weights_count(r->file); // a tensor each
    possible &= !info[5] || info[5] == (int64_t)r->o->patches_side * r->o->patches_side;
    if (!possible) return impossible(r, k), NULL;
    s->index = (int32_t)info[0], s->images = (int)info[1], s->passes = (int)info[2], s->pairs = (int)info[3];
    s->texts = (int)info[4];
    if (info[7] != info[1] * drt_pack_picture(r->o) || (info[6] && info[6] != r->o->grid * r->o->grid)) {
        r->status = drt_fail(r->err, DRT_ECONFIG, "%s: pictures of another size than the model's", r->path);
        return NULL;
    }
    char *id = numbers(r, k, "id", 0, "U8", -1, &n);
    if (id) id[n] = 0;
    s->id = id ? id : "";
    if (info[7]) s->patches = numbers(r, k, "patches", 0, "F32", info[7], NULL);
    read_passes(r, k, s);
    read_pairs(r, k, s);
    s->text = drt_arena_array(r->arena, s->texts + 1, sizeof *s->text);
    s->text_size = drt_arena_array(r->arena, s->texts + 1, sizeof *s->text_size);
    if ((!s->text || !s->text_size) && !r->status) r->status = drt_fail(r->err, DRT_ENOMEM, "%s: no memory", r->path);
    for (int i = 0; i < s->texts && !r->status; i++) {
        s->text[i] = numbers(r, k, "t.%d", i, "I32", -1, &n);
        s->text_size[i] = (int32_t)n;
    }
    if (info[5]) s->patch_label = numbers(r, k, "patch_labels", 0, "I16", info[5] * DRT_PATCH_LABELS, NULL);
    if (info[6]) s->order = numbers(r, k, "order", 0, "I32", info[6], NULL);
    if (!r->status) r->status = drt_sample_check(s, r->m, r->o, r->path, r->err);
    return s;
}

// A number of the metadata; the file is refused without it.
static uint64_t metadata(reader *r, const char *key, int base) {
    const char *text = r->status ? NULL : drt_weights_metadata(r->file, key);
    if (!text && !r->status)
        r->status = drt_fail(r->err, DRT_EFORMAT, "%s: no step of a run (it has no \"%s\"); runs leave them in replay/",
                             r->path, key);
    return text ? strtoull(text, NULL, base) : 0;
}

drt_status drt_step_file_read(const char *path, const drt_recipe *recipe, const drt_model *m, const drt_pack_options *o,
                              drt_step_data *d, int64_t *step, drt_error *err) {
    reader r = {.path = path, .arena = d->arena, .m = m, .o = o, .err = err};
    r.status = drt_weights_open(&r.file, path, err);
    *step = (int64_t)metadata(&r, "step", 10);
    int64_t steps = (int64_t)metadata(&r, "steps", 10);
    uint64_t n = metadata(&r, "samples", 10), want = metadata(&r, "hash", 16), h = 0;
    d->noise = metadata(&r, "noise", 16);
    d->gps = drt_recipe_gps(recipe, *step, steps);
    for (int i = 0; !r.status && i < drt_weights_count(r.file); i++) {
        const drt_weight *t = drt_weights_at(r.file, i);
        h = chain(h, t->name, t->bytes, t->size);
    }
    if (!r.status && (h != want || !n || n > (uint64_t)drt_weights_count(r.file)))
        r.status = drt_fail(err, DRT_EFORMAT, "%s: damaged: its numbers are not those that were written", path);
    drt_sample **s = r.status ? NULL : drt_arena_array(d->arena, (int64_t)n + 1, sizeof *s);
    if (!r.status && !s) r.status = drt_fail(err, DRT_ENOMEM, "%s: no memory for its samples", path);
    for (uint64_t i = 0; !r.status && i < n; i++) s[i] = read_sample(&r, (int)i);
    if (r.file) drt_weights_close(r.file);
    return r.status ? r.status : drt_step_pack(d, s, (int)n, recipe, o, err);
}
