// The authors' experiment with GPS (METHODS 5), `drt gps`: can it learn any permutation? Fixed random token sets, one
// random target permutation each, and the permuter trained on all of them at once, every step.
//
//   loss  mean over the sets of (P - P*)^2 + CE(P, P*) + 0.01 entropy(P); from half-way on the square is taken of the
//         hard permutation, straight through
//   step  AdamW over all parameters, weight decay on all of them, gradient clipped to norm 0.5, the rate by a cosine
//         from lr to 0, the temperature by a cosine from 2.0 to 0.1
//
// Everything random follows from the seed: tokens, targets, weights, and each step's noise and dropout.
#ifndef DRT_TRAIN_PERMUTE_H
#define DRT_TRAIN_PERMUTE_H

#include "align/gps.h"

typedef struct {
    int64_t step, steps;
    float tau;
    bool hard;
    double loss, norm;           // norm: of the gradient before clipping
    drt_permutation_terms terms; // means over the sets
    double accuracy;             // rows of all sets whose largest number, or assigned column, is the target's
    double seconds;              // of this step
} drt_permute_step;

typedef struct {
    int64_t tokens, width;
    int sets, layers;
    int64_t steps; // of the schedules
    int64_t stop;  // steps to take of them
    uint64_t seed;
    double lr, weight_decay, clip;
    float tau_first, tau_last, dropout;
    bool f16;                                              // products with weights read both sides as f16
    drt_gps_how how;                                       // its tau is set by the schedule
    void (*report)(void *user, const drt_permute_step *s); // NULL: nobody looks; after every step
    void *user;
} drt_permute;
drt_permute drt_permute_defaults(void); // the authors': 800 tokens of 2048, 4 sets, 4 layers, 1000 steps, 1e-4

typedef struct {
    int64_t steps;
    int64_t solved; // the first step with all rows right, counted from 1; 0: none
    double accuracy, best, seconds;
} drt_permute_result;

// The authors' 1e-4 at their width, 2048; elsewhere in inverse proportion to it: AdamW moves every weight by about the
// rate, and a score is a sum over as many of them as the rows are wide.
double drt_permute_rate(int64_t width);
// About so many bytes a run takes.
double drt_permute_bytes(const drt_permute *o);
// Refuses with DRT_ENOMEM, before anything is allocated, what is larger than the memory that is free now.
drt_status drt_permute_run(drt_tape *t, const drt_permute *o, drt_permute_result *out, drt_error *err);

#endif
