#include "train/sea_source.h"

#include "eval/words.h"

#include <stdlib.h>
#include <string.h>

struct drt_sea_source {
    const drt_recipe *r;
    const drt_model *m;
    drt_word_labels *labels;
};

// Streams of a step's random numbers; OWN keeps them apart from those of other uses.
enum { DRAWING = 1, THINNING = 2, OWN = 6 };

static drt_rng stream(const drt_sea_source *s, int64_t step, int64_t place, int64_t what) {
    drt_rng r;
    const int64_t name[] = {step, place, what, OWN};
    drt_rng_init(&r, (uint64_t)s->r->seed, drt_hash(name, sizeof name));
    return r;
}

static drt_status check_about(const drt_sea_source *s, drt_error *err) {
    const bool negated = drt_word_labels_tell(s->labels)->negated;
    drt_status status = drt_word_labels_fit(s->labels, s->m, s->r->data.aspect, err);
    if (!status && s->r->sea.negate != DRT_SEA_AUTO && negated != (s->r->sea.negate == DRT_SEA_NEGATE))
        status = drt_fail(err, DRT_ECONFIG, "%s: its scores are %s, sea.negate wants the other; make the labels again",
                          s->r->sea.labels, negated ? "-cosine" : "the cosine");
    return status;
}

static drt_status check_pictures(const drt_sea_source *s, const drt_dataset *data, int64_t n, drt_progress *progress,
                                 drt_error *err) {
    drt_status status = DRT_OK;
    for (int32_t i = 0; !status && i < n; i++) {
        drt_record *rec;
        int64_t at;
        status = drt_dataset_at(data, i, &rec, err);
        if (status) break;
        for (int k = 0; !status && k < rec->n_images; k++)
            status = drt_word_labels_find_in(s->labels, rec, k, &at, err);
        if (status) drt_dataset_fail_in(data, rec, err);
        drt_record_free(rec);
        drt_progress_at(progress, i + 1, n);
    }
    return status;
}

drt_status drt_sea_source_open(drt_sea_source **out, const drt_recipe *r, const drt_model *m, const drt_dataset *data,
                               int64_t n, drt_progress *progress, drt_error *err) {
    *out = NULL;
    drt_sea_source *s = calloc(1, sizeof *s);
    if (!s) return drt_fail(err, DRT_ENOMEM, "no memory for labels");
    *s = (drt_sea_source){.r = r, .m = m};
    drt_status status = drt_word_labels_open(&s->labels, r->sea.labels, err);
    if (!status) status = check_about(s, err);
    if (!status) status = check_pictures(s, data, n, progress, err);
    if (status) drt_sea_source_close(s);
    else *out = s;
    return status;
}

void drt_sea_source_close(drt_sea_source *s) {
    if (!s) return;
    drt_word_labels_close(s->labels);
    free(s);
}

drt_status drt_sea_source_draw(const drt_sea_source *s, const drt_record *rec, int64_t step, int place,
                               drt_arena *arena, drt_sample *out, drt_error *err) {
    const drt_word_labels_about *a = drt_word_labels_tell(s->labels);
    const int windows = drt_sea_windows(a->side, (int)s->r->sea.window);
    const int64_t labels = (int64_t)a->side * a->side * a->most;
    if (!out->images) return DRT_OK;
    drt_rng r = stream(s, step, place, DRAWING);
    out->pair = drt_arena_array(arena, (int64_t)out->images * windows, sizeof *out->pair);
    size_t mark = drt_arena_mark(arena);
    int32_t *word = drt_arena_array(arena, labels, sizeof *word);
    float *score = drt_arena_array(arena, labels, sizeof *score);
    drt_status status = out->pair && word && score
                            ? DRT_OK
                            : drt_fail(err, DRT_ENOMEM, "no memory for labels of %d images", out->images);
    for (int i = 0; !status && i < out->images; i++) {
        int64_t at;
        status = drt_word_labels_find_in(s->labels, rec, i, &at, err);
        if (!status) status = drt_word_labels_read(s->labels, at, word, score, err);
        if (!status)
            out->pairs +=
                drt_sea_draw(&r, a->side, (int)s->r->sea.window, a->most, word, score, i, out->pair + out->pairs);
    }
    drt_arena_release(arena, mark);
    return status;
}

// The tokens of a pair's word, in the arena.
static drt_status spell(const drt_sea_source *s, drt_word_pair *p, drt_arena *arena, drt_error *err) {
    size_t size;
    int32_t *id;
    const char *word = drt_word_labels_word(s->labels, p->word, &size);
    drt_status status = drt_sea_tokens(s->m->tokenizer, word, size, &id, &p->tokens, err);
    if (status) return drt_fail_in(err, "%s", s->r->sea.labels);
    p->token = drt_arena_array(arena, p->tokens, sizeof *p->token);
    if (p->token) memcpy(p->token, id, (size_t)p->tokens * sizeof *id);
    free(id);
    return p->token ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for labels");
}

drt_status drt_sea_source_thin(const drt_sea_source *s, int64_t step, drt_sample *const *samples, int n,
                               drt_arena *arena, drt_error *err) {
    int64_t all = 0, at = 0;
    for (int i = 0; i < n; i++) all += samples[i]->pairs;
    int32_t *word = drt_arena_array(arena, all, sizeof *word);
    uint8_t *keep = drt_arena_array(arena, all, sizeof *keep);
    if (!word || !keep) return drt_fail(err, DRT_ENOMEM, "no memory for %lld labels", (long long)all);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < samples[i]->pairs; k++) word[at++] = samples[i]->pair[k].word;
    drt_rng r = stream(s, step, 0, THINNING);
    if (!drt_sea_thin(&r, word, all, keep, arena))
        return drt_fail(err, DRT_ENOMEM, "no memory for %lld labels", (long long)all);
    drt_status status = DRT_OK;
    at = 0;
    for (int i = 0; i < n; i++) {
        drt_sample *own = samples[i];
        int kept = 0;
        for (int k = 0; k < own->pairs && !status; k++) {
            if (!keep[at++]) continue;
            own->pair[kept] = own->pair[k];
            status = spell(s, &own->pair[kept++], arena, err);
        }
        own->pairs = kept;
    }
    return status;
}
