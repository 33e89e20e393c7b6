// AdamW over the learning parameters, with a rate per group, warm-up and decay, and clipping by the global norm.
#ifndef DRT_TRAIN_OPTIMIZER_H
#define DRT_TRAIN_OPTIMIZER_H

#include "tensor/params.h"
#include "train/recipe.h"

// The learning rate before group factors at 0-based `step` of `steps` (LLAVA.md 5): warm-up over ceil(warmup * steps)
// steps from 0, then the schedule down to min_lr.
double drt_learning_rate(const drt_recipe *r, int64_t step, int64_t steps);
// The recipe's factor of a group; DRT_BALANCE learns at lr when weights are learned.
double drt_group_factor(const drt_recipe *r, drt_group group);

// One step: gradients scaled so that their norm is at most optimizer.clip, then AdamW with rate lr (before factors).
// update: 0-based count of updates so far (for the bias correction). *norm: the gradient norm before clipping.
// Nothing is changed if the norm is not finite: DRT_ENUMERIC.
drt_status drt_optimizer_step(drt_device *dev, drt_params *p, const drt_recipe *r, double lr, int64_t update,
                              double *norm, drt_error *err);

#endif
