// The labels of SEA for a run: a file that belongs to its tower and pictures, and the pairs of every step.
#ifndef DRT_TRAIN_SEA_SOURCE_H
#define DRT_TRAIN_SEA_SOURCE_H

#include "data/dataset.h"
#include "data/word_labels.h"
#include "train/recipe.h"

typedef struct drt_sea_source drt_sea_source;

// Opens the recipe's sea.labels and looks up the pictures of all n samples that the run uses. Refused, with what to do:
// labels of another tower, of pictures prepared otherwise, of the other sign (DRT_ECONFIG), or of other pictures
// (DRT_EDATA, naming the first).
drt_status drt_sea_source_open(drt_sea_source **out, const drt_recipe *r, const drt_model *m, const drt_dataset *data,
                               int64_t n, drt_progress *progress, drt_error *err);
void drt_sea_source_close(drt_sea_source *s); // NULL is allowed

// Draws the pairs of the sample at `place` of a step; without tokens.
drt_status drt_sea_source_draw(const drt_sea_source *s, const drt_record *rec, int64_t step, int place,
                               drt_arena *arena, drt_sample *out, drt_error *err);
// Of the pairs of all n samples of a step keeps one a word, and spells the words. Moves what is kept together.
drt_status drt_sea_source_thin(const drt_sea_source *s, int64_t step, drt_sample *const *samples, int n,
                               drt_arena *arena, drt_error *err);

#endif
