// What a model sees of a step's samples, before anything is trained: every token marked as trained, masked, visual,
// directed or cut off; pictures as they go in, shuffled ones with their permutation; the packed batch as a drawing.
//
//   drt_preview *p;
//   if (drt_preview_open(&p, &recipe, step, &progress, &err)) ...    // as training opens it, refusals included
//   drt_text t = {0};
//   drt_preview_text(p, 4, isatty(1), &t);      // for a terminal: the first four samples
//   drt_preview_html(p, 16, &t);                // a page that needs nothing else
//   drt_preview_batch(p, &t);                   // the packed batch alone, SVG
//   drt_preview_close(p);
#ifndef DRT_TRAIN_PREVIEW_H
#define DRT_TRAIN_PREVIEW_H

#include "base/progress.h"
#include "train/recipe.h"

typedef struct drt_preview drt_preview;

// DRT_ECONFIG: task clip, which has no rows; a step beyond the last.
drt_status drt_preview_open(drt_preview **out, const drt_recipe *r, int64_t step, drt_progress *progress,
                            drt_error *err);
void drt_preview_close(drt_preview *p); // NULL is allowed
int drt_preview_samples(const drt_preview *p);

// `most` samples. color: ANSI colours; without, every run of tokens begins with its name.
void drt_preview_text(const drt_preview *p, int most, bool color, drt_text *out);
void drt_preview_html(const drt_preview *p, int most, drt_text *out);
void drt_preview_batch(const drt_preview *p, drt_text *svg);

#endif
