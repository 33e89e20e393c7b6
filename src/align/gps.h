// GPS, the Gumbel Permutation Sinkformer (METHODS 5): a transformer whose last attention scores are read as a
// permutation of its rows.
//
//   drt_gps *g = drt_gps_new(params, 2048, 4, &err);            // then drt_params_allocate, drt_params_init
//   drt_tensor *s = drt_gps_scores(t, g, x, sequences, offsets, 0.1f, scores);
//   drt_tensor *p = drt_gps_plan(t, &how, scores[0], noise);     // soft, rows and columns sum to 1
//   drt_gps_choose(&how, p->value, column, &err);                // hard
//   y = drt_product(t, p, x)  or  drt_product(t, drt_one_hot(t, p, column), x)
//
// A block, post-norm, one head as wide as the rows, no bias in the attention, no mask:
//   x = norm(x + softmax(q k^T / sqrt(d)) v);   x = norm(x + down(drop(relu(up(x)))))
// Of the last block only q and k exist: nothing reads what lies behind its scores.
#ifndef DRT_ALIGN_GPS_H
#define DRT_ALIGN_GPS_H

#include "tensor/ops.h"
#include "tensor/params.h"

typedef enum { DRT_GPS_ARGMAX, DRT_GPS_ASSIGNMENT, DRT_GPS_CHOICES } drt_gps_choice;
extern const char *const drt_gps_choice_names[DRT_GPS_CHOICES]; // "argmax", "assignment"

typedef struct {
    drt_param *qkv;                           // [3d, d] q | k | v; [2d, d] in the last block
    drt_param *norm1_w, *norm1_b;             // [1, d]; from here on NULL in the last block
    drt_param *up_w, *up_b, *down_w, *down_b; // [4d, d], [1, 4d], [d, 4d], [1, d]
    drt_param *norm2_w, *norm2_b;             // [1, d]
} drt_gps_block;

typedef struct {
    int64_t width;
    int layers;
    drt_gps_block *block;
} drt_gps;

typedef struct {
    float alpha; // added to the diagonal: a residual permutation is learned
    float tau;   // temperature
    float bound; // of the softened scores
    drt_sinkhorn sinkhorn;
    drt_gps_choice choice;
} drt_gps_how;
extern const drt_gps_how drt_gps_defaults; // alpha 0.5, tau 2, bound 15, 50 sweeps or 1e-6, argmax

// Adds its parameters ("blocks.0.qkv.weight", ...; group DRT_PERMUTER) to params, which owns them. NULL after a
// failure.
drt_gps *drt_gps_new(drt_params *params, int64_t width, int layers, drt_error *err);
void drt_gps_free(drt_gps *g);
int64_t drt_gps_numbers(int64_t width, int layers); // parameters it would have, in numbers
// x: sequences laid end to end, [rows, d]; scores[s]: [n_s, n_s], q k^T of the last block as it comes. Dropout where
// the tape has noise. False after a failure, which sticks to the tape. offsets must outlive the step.
bool drt_gps_scores(drt_tape *t, const drt_gps *g, drt_tensor *x, int sequences, const int32_t *offsets, float dropout,
                    drt_tensor **scores);
// The soft permutation of one sequence. noise: of the Gumbel draws, 0: none.
drt_tensor *drt_gps_plan(drt_tape *t, const drt_gps *g, const drt_gps_how *how, drt_tensor *scores, uint64_t noise);
// column[i]: what row i of the output shows. The largest number of the row (which may name a column twice), or the
// optimal assignment, a permutation.
drt_status drt_gps_choose(drt_gps_choice how, drt_mat plan, int32_t *column, drt_error *err);
// The temperature of `step` of `steps`: from `first` to `last` along half a cosine.
float drt_gps_tau(float first, float last, int64_t step, int64_t steps);

#endif
