// What a training will take, before it takes it: `drt plan`, and the first thing that `drt train` does.
//
//   drt_plan p;
//   if (drt_plan_make(&p, &recipe, 0, progress, &err)) ...
//   if (p.peak > given) status = drt_plan_refuse(&p, &recipe, given, &err);
//
// A plan is a dry run of the training itself: the same code makes the same batches of the same samples, without reading
// pixels, and runs forward and backward on a tape and weights that are addresses alone, with kernels that claim their
// scratch and compute nothing. What the tape and the kernels then say they need is what they will take, byte for byte.
// The program itself is measured as it stands, in this process.
//
// All steps are gone through if the samples they take are at most 16384; else the 64 that have the most words in one
// part. The tape of the training is given what the plan names and refuses to take more (drt_plan_apply).
#ifndef DRT_TRAIN_PLAN_H
#define DRT_TRAIN_PLAN_H

#include "train/recipe.h"
#include "train/training.h"

// Bytes, steps from 1.
typedef struct {
    int64_t peak;                          // most that the process will hold, at any time
    int64_t program;                       // code, libraries, the list of samples, the bank of permutations
    int64_t weights, gradients, optimizer; // weights: those of files that are mapped, too
    int64_t activations, kernels;          // of the largest step: values and gradients on the tape; scratch
    int64_t features;                      // of pictures, kept (data.features)
    int64_t data;                          // of the step at hand and those read ahead
    int64_t reading;               // the largest tensor, while weights are read and the four above are not there
    drt_tape_bytes need;           // what activations consist of
    int64_t step, rows, part_rows; // the largest one: its rows, and those of its largest part
    int images;                    // of that part
    int64_t steps, epoch;          // of the schedule, of one round over the samples
    int threads;
    bool whole;   // all steps were gone through
    double flops; // of a step, on average
} drt_plan;

// progress (may be NULL) sees the data being checked. kept: bytes of features that a lent store holds already. Fails as
// the opening of model or data would.
drt_status drt_plan_make(drt_plan *out, const drt_recipe *r, int64_t kept, drt_progress *progress, drt_error *err);
// The memory that the recipe gives (key memory), or that the machine has; 0: it does not say.
int64_t drt_plan_memory(const drt_recipe *r);
// The nearest recipe to one that does not fit in `given` bytes: more and smaller parts of the same batch, then
// train.recompute, then dtype=bf16, alone and together. keys: "train.accumulate=4 train.recompute=true", *out its plan.
// keys "" where none of these fits: *out is the plan of the smallest.
drt_status drt_plan_nearest(drt_plan *out, char keys[200], const drt_recipe *r, int64_t given, drt_error *err);
// DRT_ENOMEM, with what the plan names and the nearest that fits.
drt_status drt_plan_refuse(const drt_plan *p, const drt_recipe *r, int64_t given, drt_error *err);
// Gives the tape of an opened training what the plan names. Beyond that it takes what is left of `given` bytes if not
// all steps were gone through, else nothing.
drt_status drt_plan_apply(const drt_plan *p, drt_training *t, int64_t given, drt_error *err);
// Seconds of a mean step: one step that is done for its time alone, and the arithmetic of the others. Nothing is
// written.
drt_status drt_plan_time(const drt_plan *p, const drt_recipe *r, double *seconds, drt_error *err);
// "peak 213 MB: weights 80.1 MB, ...".
void drt_plan_say(const drt_plan *p, drt_text *out);

#endif
