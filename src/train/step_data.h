// What one optimizer step computes on: its samples, and the packed batches that they are cut into.
#ifndef DRT_TRAIN_STEP_DATA_H
#define DRT_TRAIN_STEP_DATA_H

#include "align/objective.h"
#include "train/recipe.h"

// All of it lives in the arena.
typedef struct {
    drt_arena *arena;
    drt_sample **sample; // [samples]
    int samples;
    drt_batch **batch; // [n] micro-batches
    int n;
    drt_totals totals;
    int64_t rows;
    uint64_t noise;      // key of the step's dropout and Gumbel noise; 0: none
    drt_gps_how gps;     // how the permuter is used in this step
    drt_features *store; // NULL: features are not kept
} drt_step_data;

// Cuts the samples [n] into train.accumulate equal parts, and each part further where it has more rows than
// train.tokens; packs each. Sets all fields but arena, noise, gps and store.
drt_status drt_step_pack(drt_step_data *d, drt_sample **samples, int n, const drt_recipe *r, const drt_pack_options *o,
                         drt_error *err);
// Sample i of a step by itself, in `out` with its arena; the totals stay the step's, so that its losses and gradients
// are its part of the step's.
drt_status drt_step_alone(const drt_step_data *d, int i, const drt_pack_options *o, drt_step_data *out, drt_error *err);

#endif
