// The read-out of SEA: the word whose embedding is nearest to each visual token, and how often it is among the labels
// of the token's patch.
//
//   drt_words_from from = {.labels = labels};                              // or .list
//   if (drt_words_nearest(model, tape, &from, pixels, 1, word, cosine, &err)) ...
#ifndef DRT_EVAL_WORDS_H
#define DRT_EVAL_WORDS_H

#include "base/progress.h"
#include "data/word_labels.h"
#include "eval/word_picture.h"
#include "model/model.h"

// Where words come from: one of the two. A list is read as a stream, over and over.
typedef struct {
    drt_word_list *list;
    const drt_word_labels *labels;
} drt_words_from;

// pixels: n pictures [n * drt_picture_size]. word, cosine: [n * P], the class row left out. Starts a step of the tape.
// DRT_ECONFIG: not a LLaVA, or without a tokenizer. DRT_ENUMERIC: no number came out.
drt_status drt_words_nearest(const drt_model *m, drt_tape *t, const drt_words_from *from, float *pixels, int n,
                             int32_t *word, float *cosine, drt_error *err);
// The texts of n words, malloc'ed each; free what was set also after a failure.
drt_status drt_words_names(const drt_words_from *from, const int32_t *word, int n, char **name, drt_error *err);

// Whether the words nearest to the patches of the picture in file `image` are among the patches' labels: verdict [P]. A
// patch without labels is not judged, and none is of a picture that the labels do not know. DRT_ECONFIG as below.
drt_status drt_words_judge(const drt_model *m, const drt_word_labels *labels, const char *image, const int32_t *nearest,
                           drt_word_verdict *verdict, drt_error *err);

typedef struct {
    int64_t pictures, patches, right; // patches that have labels; whose nearest word is one of them
    double cosine;                    // mean over those patches of the cosine with that word
} drt_alignment;

// Alignment accuracy, right / patches, over the pictures of `image` [n] (paths). All must have labels: DRT_EDATA names
// the first that has none, and DRT_ECONFIG refuses labels of another tower or of pictures prepared otherwise.
drt_status drt_eval_alignment(const drt_model *m, drt_tape *t, const drt_word_labels *labels, const char *const *image,
                              int n, int batch, drt_progress *progress, drt_alignment *out, drt_error *err);
// Whether labels are of this model's tower and of pictures prepared as it wants them.
drt_status drt_word_labels_fit(const drt_word_labels *labels, const drt_model *m, drt_aspect aspect, drt_error *err);

// How the labels' scores are spread, and the mean scores of the words that are labels (the paper's Figure 6): appends
// one <svg>. Reads the whole file.
drt_status drt_scores_svg(const drt_word_labels *labels, drt_progress *progress, drt_text *svg, drt_error *err);

#endif
