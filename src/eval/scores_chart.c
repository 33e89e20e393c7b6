// How the scores of labels are spread (Figure 6 of the paper).
#include "eval/words.h"

#include "eval/curves.h"

#include <stdlib.h>

enum { BINS = 50 };

typedef struct {
    double sum;
    int64_t n;
} mean;

// Shares in percent of what falls into each bin of [0, most].
static void count(double *bin, double value, double most) {
    int at = (int)(value / most * BINS);
    bin[at < BINS ? at : BINS - 1]++;
}

drt_status drt_scores_svg(const drt_word_labels *labels, drt_progress *progress, drt_text *svg, drt_error *err) {
    const drt_word_labels_about *a = drt_word_labels_tell(labels);
    const int64_t n = (int64_t)a->side * a->side * a->most;
    double top = 0, all = 0, used = 0, x[BINS], own[BINS] = {0}, means[BINS] = {0};
    mean *of = calloc((size_t)a->words, sizeof *of);
    int32_t *word = malloc((size_t)n * sizeof *word);
    float *score = malloc((size_t)n * sizeof *score);
    drt_status status = of && word && score ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for the scores of words");
    for (int round = 0; !status && round < 2; round++) // the largest score, then the bins
        for (int64_t i = 0; !status && i < a->pictures; i++) {
            status = drt_word_labels_read(labels, i, word, score, err);
            for (int64_t k = 0; !status && k < n; k++) {
                if (!(score[k] > 0)) continue;
                if (round) count(own, score[k], top), all++;
                else if (score[k] > top) top = score[k];
                if (round) of[word[k]].sum += score[k], of[word[k]].n++;
            }
            drt_progress_at(progress, round * a->pictures + i + 1, 2 * a->pictures);
        }
    for (int64_t i = 0; !status && i < a->words; i++)
        if (of[i].n) count(means, of[i].sum / (double)of[i].n, top), used++;
    for (int i = 0; i < BINS; i++) {
        x[i] = (i + 0.5) / BINS * top;
        own[i] *= all > 0 ? 100 / all : 0;
        means[i] *= used > 0 ? 100 / used : 0;
    }
    if (!status) {
        drt_text title = {0};
        drt_text_printf(&title, "Scores of labels: %.1f %% of %lld words are used", 100 * used / (double)a->words,
                        (long long)a->words);
        const drt_curve curve[] = {{.name = "labels", .n = BINS, .x = x, .y = own},
                                   {.name = "words, by mean", .n = BINS, .x = x, .y = means}};
        drt_curves_svg(curve, 2,
                       &(drt_curve_options){.title = title.bytes,
                                            .x_label = a->negated ? "-cosine" : "cosine",
                                            .y_label = "% of each",
                                            .from_zero = true},
                       svg);
        if (title.failed || svg->failed) status = drt_fail(err, DRT_ENOMEM, "no memory for a chart");
        drt_text_free(&title);
    }
    free(of), free(word), free(score);
    return status;
}
