// Which samples made a step's loss and gradient: each is run alone, with the step's own totals, so that the losses add
// up to the step's loss and the gradients to its gradient (dropout aside, which is off here).
//
//   drt_blame *b = ...;                                      // [data->samples]
//   if (drt_blame_samples(&who, data, b, &err)) ...          // largest gradient first
#ifndef DRT_TRAIN_BLAME_H
#define DRT_TRAIN_BLAME_H

#include "train/step.h"

typedef struct {
    drt_tape *tape;
    drt_model *model;
    const drt_recipe *recipe;
    const drt_align_options *options;
    const drt_pack_options *pack;
} drt_blame_with;

typedef struct {
    int32_t index;         // of the sample in the file
    const char *id;        // the step's memory
    double loss, gradient; // its part of the step's loss; the norm of its part of the gradient
    char where[80];        // the first stage, loss or gradient of it that is not finite; "": none
} drt_blame;

// Whether samples can be told apart: a contrastive loss, of CLIP or of SEA, is of the whole batch.
bool drt_blame_possible(const drt_recipe *r);
// Overwrites the gradients. out [d->samples]: those that are not finite first, then by the size of their gradient.
drt_status drt_blame_samples(const drt_blame_with *w, const drt_step_data *d, drt_blame *out, drt_error *err);
// Appends who they are: "sample 17 (id 'abc'): loss 3.1 of 4, gradient 9 of 10", of the first `most`.
void drt_blame_text(const drt_blame *b, int n, int most, const drt_step_report *step, drt_text *out);

#endif
