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

// The norm of all gradients together.
double drt_gradient_norm(drt_device *dev, const drt_params *p);
// One step: gradients of this norm scaled so that it is at most optimizer.clip, then AdamW with rate lr (before
// factors). update: 0-based count of updates so far (for the bias correction). The norm must be finite.
drt_status drt_optimizer_step(drt_device *dev, drt_params *p, const drt_recipe *r, double lr, int64_t update,
                              double norm, drt_error *err);

#endif
