#include "align/sea.h"

#include "align/methods.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const drt_sea_negate_names[] = {"auto", "true", "false"};

int drt_sea_windows(int side, int k) { return ((side + k - 1) / k) * ((side + k - 1) / k); }

// The label of a patch, in proportion to the scores.
static int32_t draw_label(drt_rng *r, int most, const int32_t *word, const float *score) {
    double sum = 0;
    for (int i = 0; i < most; i++) sum += score[i];
    double left = drt_rng_uniform(r) * sum;
    int last = 0;
    for (int i = 0; i < most && score[i] > 0; i++) {
        last = i;
        if ((left -= score[i]) < 0) break;
    }
    return word[last];
}

int drt_sea_draw(drt_rng *r, int side, int k, int most, const int32_t *word, const float *score, int image,
                 drt_word_pair *out) {
    int n = 0;
    for (int top = 0; top < side; top += k)
        for (int left = 0; left < side; left += k) {
            int labelled = 0, chosen = -1;
            for (int y = top; y < top + k && y < side; y++)
                for (int x = left; x < left + k && x < side; x++) {
                    if (!(score[(int64_t)(y * side + x) * most] > 0)) continue;
                    // The i-th of them takes the place of the others with a chance of 1 in i.
                    if (drt_rng_below(r, (uint64_t)++labelled) == 0) chosen = y * side + x;
                }
            if (chosen < 0) continue;
            int64_t at = (int64_t)chosen * most;
            out[n++] =
                (drt_word_pair){.image = image, .patch = chosen, .word = draw_label(r, most, word + at, score + at)};
        }
    return n;
}

typedef struct {
    int32_t word;
    uint64_t rank;
    int64_t at;
} lot;

static int by_word(const void *a, const void *b) {
    const lot *x = a, *y = b;
    if (x->word != y->word) return x->word < y->word ? -1 : 1;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

bool drt_sea_thin(drt_rng *r, const int32_t *word, int64_t n, uint8_t *keep, drt_arena *arena) {
    size_t mark = drt_arena_mark(arena);
    lot *l = drt_arena_array(arena, n, sizeof *l);
    if (!l) return false;
    for (int64_t i = 0; i < n; i++) l[i] = (lot){word[i], drt_rng_next(r), i};
    qsort(l, (size_t)n, sizeof *l, by_word);
    for (int64_t i = 0; i < n; i++) keep[l[i].at] = i == 0 || l[i].word != l[i - 1].word;
    drt_arena_release(arena, mark);
    return true;
}

drt_status drt_sea_tokens(const drt_tokenizer *tokenizer, const char *word, size_t size, int32_t **id, int *n,
                          drt_error *err) {
    drt_text spaced = {0};
    drt_token *with = NULL, *without = NULL;
    int n_with = 0, n_without = 0;
    *id = NULL;
    drt_text_puts(&spaced, " ");
    drt_text_add(&spaced, word, size);
    drt_status status = spaced.failed ? drt_fail(err, DRT_ENOMEM, "no memory for a word")
                                      : drt_tokenizer_encode(tokenizer, spaced.bytes, spaced.size, &with, &n_with, err);
    if (!status) status = drt_tokenizer_encode(tokenizer, word, size, &without, &n_without, err);
    const drt_token *best = n_with && n_with <= n_without ? with : without;
    *n = best == with ? n_with : n_without;
    if (!status && !*n)
        status = drt_fail(err, DRT_EDATA, "'%.*s' has no token in the decoder's vocabulary", (int)size, word);
    if (!status && !(*id = malloc((size_t)*n * sizeof **id)))
        status = drt_fail(err, DRT_ENOMEM, "no memory for a word");
    for (int i = 0; !status && i < *n; i++) (*id)[i] = best[i].id;
    free(with), free(without);
    drt_text_free(&spaced);
    return status;
}

drt_tensor *drt_sea_words(drt_tape *t, const drt_model *m, const int32_t *id, const int32_t *from, int64_t n) {
    drt_tensor *psi = &m->language.embedding->tensor;
    int64_t tokens = from[n];
    int32_t *to = drt_tape_alloc(t, tokens, sizeof *to);
    float *share = drt_tape_alloc(t, tokens, sizeof *share);
    if (!to || !share) return NULL;
    for (int64_t i = 0; i < n; i++)
        for (int32_t k = from[i]; k < from[i + 1]; k++) {
            if (id[k] < 0 || id[k] >= m->config.language.vocab) {
                drt_tape_fail(t, DRT_EDATA,
                              "a label's token %d is not among the model's %d; tokenizer and model differ", id[k],
                              m->config.language.vocab);
                return NULL;
            }
            to[k] = (int32_t)i;
            share[k] = 1.0f / (float)(from[i + 1] - from[i]);
        }
    bool was = drt_tape_set_recording(t, false);
    // What a family multiplies an embedding by leaves its direction alone.
    drt_tensor *mean = drt_gather(t, n, psi->value.cols, false, &(drt_rows){psi, to, id, share, tokens}, 1);
    mean = drt_unit_rows(t, mean);
    drt_tape_set_recording(t, was);
    return mean ? drt_tensor_wrap(t, mean->value, false) : NULL;
}

drt_tensor *drt_sea_loss(drt_tape *t, const drt_forward *f, drt_score *score) {
    const drt_batch *b = f->batch;
    drt_param *scale = f->model->extra.temperature;
    float hit = 0;
    if (!b->pairs || !f->visual || !scale) return NULL;
    drt_tensor *words = drt_sea_words(t, f->model, b->pair_token, b->pair_from, b->pairs);
    drt_tensor *seen = drt_unit_rows(t, drt_select(t, f->visual, b->pair_row, b->pairs));
    drt_tensor *loss = drt_contrastive_loss(t, seen, words, &scale->tensor, &hit);
    score->hits += hit * (double)b->pairs;
    score->count += (double)b->pairs;
    // The mean over this batch; of the step's mean it is the part that its pairs are.
    const float share = (float)b->pairs / (float)f->totals->pairs;
    return loss && share < 1 ? drt_total_loss(t, &loss, &share, NULL, NULL, 1) : loss;
}

void drt_sea_clamp(const drt_model *m) {
    drt_param *scale = m->extra.temperature;
    if (scale && drt_scalar(&scale->tensor) > logf(100)) *(float *)scale->tensor.value.data = logf(100);
}
