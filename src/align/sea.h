// SEA, supervised embedding alignment (METHODS 3; Yin et al., arXiv 2408.11813): visual tokens learn to lie where the
// decoder keeps the words for what their patches show.
//
//   one patch of every k x k window, one of its labels          drt_sea_draw, a picture
//   of tokens with the same label in the step one               drt_sea_thin, the step
//   symmetric InfoNCE of visual tokens and mean embeddings      drt_sea_loss (methods.h)
//
// What is drawn follows from (seed, step) and the places of the samples alone, however the step is cut into batches.
#ifndef DRT_ALIGN_SEA_H
#define DRT_ALIGN_SEA_H

#include "base/rng.h"
#include "data/batch.h"
#include "model/model.h"

typedef enum { DRT_SEA_AUTO, DRT_SEA_NEGATE, DRT_SEA_PLAIN, DRT_SEA_NEGATES } drt_sea_negate;
extern const char *const drt_sea_negate_names[DRT_SEA_NEGATES]; // "auto", "true", "false"

// Draws the tokens of one picture. word, score: its labels, [side * side * most], best first, 0 behind the last. A
// window is k x k patches, fewer on the right and below where k does not divide the side; in each a patch is drawn
// among those with a label, and of its labels one in proportion to the scores. Fills out [windows at most] but for
// tokens; returns how many.
int drt_sea_draw(drt_rng *r, int side, int k, int most, const int32_t *word, const float *score, int image,
                 drt_word_pair *out);
int drt_sea_windows(int side, int k);
// Of the pairs of a step with the same word keeps one, drawn at random: keep [n] is set. False: no memory in the arena.
bool drt_sea_thin(drt_rng *r, const int32_t *word, int64_t n, uint8_t *keep, drt_arena *arena);

// A word as the tokenizer spells it inside a sentence: behind a space, unless that takes more tokens than without, as
// where the tokenizer puts one in front itself. *id is malloc'ed, *n at least 1. DRT_EDATA: it has no tokens.
drt_status drt_sea_tokens(const drt_tokenizer *tokenizer, const char *word, size_t size, int32_t **id, int *n,
                          drt_error *err);
// Rows of length 1, [n, d]: the mean embedding of the tokens [from[i], from[i + 1]) of each word. Nothing flows back to
// the embedding: labels stay where the decoder has them.
drt_tensor *drt_sea_words(drt_tape *t, const drt_model *m, const int32_t *id, const int32_t *from, int64_t n);

// Keeps the temperature's scale at 100 or below, after a step.
void drt_sea_clamp(const drt_model *m);

#endif
