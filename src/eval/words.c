#include "eval/words.h"

#include "align/sea.h"
#include "eval/word_search.h"
#include "infer/picture.h"
#include "model/joint.h"

#include <stdlib.h>
#include <string.h>

static drt_status word_at(const drt_words_from *from, int64_t i, const char **word, size_t *size, drt_error *err) {
    if (from->labels) {
        *word = drt_word_labels_word(from->labels, i, size);
        return DRT_OK;
    }
    if (!i) drt_word_list_rewind(from->list);
    drt_status status = drt_word_list_next(from->list, word, size, err);
    if (!status && !*word)
        status = drt_fail(err, DRT_EIO, "%s was changed while it was read; begin again", from->list->path);
    return status;
}

static int64_t words_of(const drt_words_from *from) {
    return from->labels ? drt_word_labels_tell(from->labels)->words : from->list->words;
}

// ---- nearest words -------------------------------------------------------------------------------------------------

typedef struct {
    const drt_model *m;
    const drt_words_from *from;
    int32_t *id, *offsets; // tokens of the chunk's words
    size_t room;
} speller;

static drt_tensor *rows_of(void *user, drt_tape *t, int64_t from, int n, drt_error *err) {
    speller *s = user;
    s->offsets = drt_tape_alloc(t, n + 1, sizeof *s->offsets);
    if (!s->offsets) return NULL;
    for (int i = 0; i < n; i++) {
        const char *word;
        size_t size, at = (size_t)s->offsets[i];
        int32_t *own;
        int tokens;
        drt_status status = word_at(s->from, from + i, &word, &size, err);
        if (!status) status = drt_sea_tokens(s->m->tokenizer, word, size, &own, &tokens, err);
        if (status) return NULL;
        if (at + (size_t)tokens > s->room) {
            size_t room = 2 * (at + (size_t)tokens);
            int32_t *more = realloc(s->id, room * sizeof *more);
            if (more) s->id = more, s->room = room;
            else drt_fail(err, DRT_ENOMEM, "no memory for the tokens of words");
        }
        if (at + (size_t)tokens <= s->room) memcpy(s->id + at, own, (size_t)tokens * sizeof *own);
        s->offsets[i + 1] = s->offsets[i] + tokens;
        free(own);
        if (err->code) return NULL;
    }
    return drt_sea_words(t, s->m, s->id, s->offsets, n);
}

// Visual tokens of patches alone, of length 1: [n * P, d].
static drt_tensor *tokens_of(drt_tape *t, const drt_model *m, float *pixels, int n) {
    const int64_t p = drt_patches(&m->config.vision), rows = drt_visual_rows(&m->config);
    drt_tensor *x = drt_visual_tokens(t, m, drt_picture_rows(m, pixels, n), false);
    int32_t *from = drt_tape_alloc(t, n * p, sizeof *from);
    for (int64_t i = 0; from && i < n * p; i++) from[i] = (int32_t)(i / p * rows + rows - p + i % p);
    return from ? drt_unit_rows(t, drt_select(t, x, from, n * p)) : NULL;
}

drt_status drt_words_nearest(const drt_model *m, drt_tape *t, const drt_words_from *from, float *pixels, int n,
                             int32_t *word, float *cosine, drt_error *err) {
    const char *name = m->folder ? m->folder : "the model";
    if (m->config.kind != DRT_MODEL_LLAVA)
        return drt_fail(err, DRT_ECONFIG, "%s has no visual tokens beside words; use a LLaVA folder", name);
    if (!m->tokenizer) return drt_fail(err, DRT_ECONFIG, "%s has no tokenizer; copy the one it was trained with", name);
    if (m->config.front < 0)
        return drt_fail(err, DRT_ECONFIG, "%s leaves out the first patch of a picture; words want all patches", name);
    speller s = {.m = m, .from = from};
    const drt_word_rows_of of = {words_of(from), 0, rows_of, &s};
    drt_tape_begin(t, false);
    drt_status status = drt_word_search(t, tokens_of(t, m, pixels, n), &of, false, -2, 1, word, cosine, err);
    free(s.id);
    for (int64_t i = 0; !status && i < n * (int64_t)drt_patches(&m->config.vision); i++)
        if (word[i] < 0)
            status =
                drt_fail(err, DRT_ENUMERIC, "%s: its visual tokens are not numbers; its weights are damaged", name);
    return status;
}

drt_status drt_words_names(const drt_words_from *from, const int32_t *word, int n, char **name, drt_error *err) {
    drt_status status = DRT_OK;
    const char *text;
    size_t size;
    bool failed = false;
    for (int k = 0; k < n; k++) name[k] = NULL;
    for (int k = 0; from->labels && k < n; k++) {
        text = drt_word_labels_word(from->labels, word[k], &size);
        failed |= !(name[k] = strndup(text, size));
    }
    // A list is a stream: one walk along it finds them all.
    for (int64_t i = 0; !from->labels && !status && i < from->list->words; i++) {
        status = word_at(from, i, &text, &size, err);
        for (int k = 0; !status && k < n; k++)
            if (word[k] == i) failed |= !(name[k] = strndup(text, size));
    }
    return failed ? drt_fail(err, DRT_ENOMEM, "no memory for words") : status;
}

// ---- alignment accuracy --------------------------------------------------------------------------------------------

drt_status drt_word_labels_fit(const drt_word_labels *labels, const drt_model *m, drt_aspect aspect, drt_error *err) {
    const drt_word_labels_about *a = drt_word_labels_tell(labels);
    const drt_tower *v = &m->config.vision;
    const char *path = drt_word_labels_path(labels);
    if (!drt_has_vision(&m->config) || a->side != v->image / v->patch ||
        (!m->params->dry && !drt_tower_is(m, a->tower)))
        return drt_fail(
            err, DRT_ECONFIG,
            "%s: these labels are of another vision tower than the model's; make them with the folder that its "
            "tower came from (drt sea-labels)",
            path);
    if (m->config.front < 0)
        return drt_fail(err, DRT_ECONFIG, "%s: these labels are of all patches, and the model leaves out the first",
                        path);
    if (a->padded == (aspect == DRT_ASPECT_PAD)) return DRT_OK;
    return drt_fail(
        err, DRT_ECONFIG,
        "%s: these labels are of pictures prepared with aspect %s, the model sees them with %s; make them again "
        "with --aspect %s",
        path, a->padded ? "pad" : "square", a->padded ? "square" : "pad", a->padded ? "square" : "pad");
}

// One patch. word, score: its labels.
static drt_word_verdict judge(const drt_word_labels_about *a, const int32_t *word, const float *score,
                              int32_t nearest) {
    if (!(score[0] > 0)) return DRT_WORD_UNJUDGED;
    for (int k = 0; k < a->most && score[k] > 0; k++)
        if (word[k] == nearest) return DRT_WORD_RIGHT;
    return DRT_WORD_WRONG;
}

drt_status drt_words_judge(const drt_model *m, const drt_word_labels *labels, const char *image, const int32_t *nearest,
                           drt_word_verdict *verdict, drt_error *err) {
    const drt_word_labels_about *a = drt_word_labels_tell(labels);
    const int64_t p = (int64_t)a->side * a->side;
    drt_status status = drt_word_labels_fit(labels, m, m->preprocess.aspect, err);
    uint64_t key;
    if (!status) status = drt_picture_key_of(image, &key, err);
    if (status) return status;
    int64_t at = drt_word_labels_find(labels, key);
    for (int64_t i = 0; i < p; i++) verdict[i] = DRT_WORD_UNJUDGED;
    if (at < 0) return DRT_OK;
    int32_t *word = malloc((size_t)(p * a->most) * sizeof *word);
    float *score = malloc((size_t)(p * a->most) * sizeof *score);
    if (!word || !score) status = drt_fail(err, DRT_ENOMEM, "no memory for labels");
    else status = drt_word_labels_read(labels, at, word, score, err);
    for (int64_t i = 0; !status && i < p; i++)
        verdict[i] = judge(a, word + i * a->most, score + i * a->most, nearest[i]);
    free(word), free(score);
    return status;
}

// Counts the patches of one picture. word, score: its labels.
static void count(const drt_word_labels_about *a, const int32_t *word, const float *score, const int32_t *nearest,
                  const float *cosine, drt_alignment *out) {
    for (int64_t p = 0; p < (int64_t)a->side * a->side; p++, word += a->most, score += a->most) {
        drt_word_verdict verdict = judge(a, word, score, nearest[p]);
        if (verdict == DRT_WORD_UNJUDGED) continue;
        out->patches++;
        out->right += verdict == DRT_WORD_RIGHT;
        out->cosine += cosine[p];
    }
}

drt_status drt_eval_alignment(const drt_model *m, drt_tape *t, const drt_word_labels *labels, const char *const *image,
                              int n, int batch, drt_progress *progress, drt_alignment *out, drt_error *err) {
    *out = (drt_alignment){0};
    drt_status status = drt_word_labels_fit(labels, m, m->preprocess.aspect, err);
    if (status) return status;
    const drt_word_labels_about *a = drt_word_labels_tell(labels);
    const drt_words_from from = {.labels = labels};
    const int64_t p = (int64_t)a->side * a->side, size = drt_picture_size(m);
    batch = batch > 0 ? batch : 32;
    float *pixels = malloc((size_t)(batch * size) * sizeof *pixels),
          *score = malloc((size_t)((batch + a->most) * p) * sizeof *score),
          *cosine = score ? score + a->most * p : NULL;
    int32_t *word = malloc((size_t)((batch + a->most) * p) * sizeof *word), *nearest = word ? word + a->most * p : NULL;
    if (!pixels || !score || !word) status = drt_fail(err, DRT_ENOMEM, "no memory for %d pictures", batch);
    for (int at = 0; !status && at < n; at += batch) {
        int some = n - at < batch ? n - at : batch;
        for (int i = 0; !status && i < some; i++) status = drt_picture_read(m, image[at + i], pixels + i * size, err);
        if (!status) status = drt_words_nearest(m, t, &from, pixels, some, nearest, cosine, err);
        for (int i = 0; !status && i < some; i++) {
            int64_t picture;
            status = drt_word_labels_find_file(labels, image[at + i], &picture, err);
            if (!status) status = drt_word_labels_read(labels, picture, word, score, err);
            if (!status) count(a, word, score, nearest + i * p, cosine + i * p, out);
        }
        out->pictures += some;
        drt_progress_at(progress, at + some, n);
    }
    if (out->patches) out->cosine /= (double)out->patches;
    free(pixels), free(score), free(word);
    return status;
}
