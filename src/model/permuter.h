// The network of GPS, the Gumbel Permutation Sinkformer (METHODS 5): a transformer whose last attention scores are read
// as a permutation of its rows (align/gps.h), and its file beside a model, gps.safetensors.
//
//   drt_permuter *g = drt_permuter_new(params, &(drt_permuter_shape){2048, 8192, 4}, &err);
//   ... drt_params_allocate, drt_params_init(params, DRT_PERMUTER, seed) ...
//   drt_permuter_scores(t, g, x, sequences, offsets, 0.1f, scores);
//
// A block, post-norm, one head as wide as the rows, no bias in the attention, no mask:
//   x = norm(x + softmax(q k^T / sqrt(d)) v);   x = norm(x + down(drop(relu(up(x)))))
// Of the last block only q and k exist: nothing reads what lies behind its scores.
#ifndef DRT_MODEL_PERMUTER_H
#define DRT_MODEL_PERMUTER_H

#include "tensor/ops.h"
#include "tensor/params.h"

typedef enum { DRT_GPS_ARGMAX, DRT_GPS_ASSIGNMENT, DRT_GPS_CHOICES } drt_gps_choice;
extern const char *const drt_gps_choice_names[DRT_GPS_CHOICES]; // "argmax", "assignment"

// How scores become a permutation.
typedef struct {
    float alpha; // added to the diagonal: a residual permutation is learned
    float tau;   // temperature
    float bound; // of the softened scores
    drt_sinkhorn sinkhorn;
    drt_gps_choice choice;
    bool hard; // rows are chosen, not mixed
} drt_gps_how;
extern const drt_gps_how drt_gps_defaults; // alpha 0.5, tau 2, bound 15, 50 sweeps or 1e-6, argmax, not hard

typedef struct {
    int64_t width, hidden; // of rows (d), inside the feed-forward (METHODS: 4 d)
    int layers;
} drt_permuter_shape;

typedef struct {
    drt_param *qkv;                           // [3d, d] q | k | v; [2d, d] in the last block
    drt_param *norm1_w, *norm1_b;             // [1, d]; from here on NULL in the last block
    drt_param *up_w, *up_b, *down_w, *down_b; // [hidden, d], [1, hidden], [d, hidden], [1, d]
    drt_param *norm2_w, *norm2_b;             // [1, d]
} drt_permuter_block;

typedef struct {
    drt_permuter_shape shape;
    drt_gps_how how; // of a permuter that was trained: what it is used with. Training follows its recipe
    drt_permuter_block *block;
} drt_permuter;

// Adds its parameters ("blocks.0.qkv.weight", ...; group DRT_PERMUTER) to params, which owns them. NULL after a
// failure. DRT_EARG: sizes below 1, or so large that products of them could not be counted.
drt_permuter *drt_permuter_new(drt_params *params, const drt_permuter_shape *shape, drt_error *err);
void drt_permuter_free(drt_permuter *g);                       // NULL is allowed
int64_t drt_permuter_numbers(const drt_permuter_shape *shape); // parameters it would have, in numbers
// x: sequences laid end to end, [rows, d]; scores[s]: [n_s, n_s], q k^T of the last block as it comes. Dropout where
// the tape has noise. False after a failure, which sticks to the tape. offsets must outlive the step.
bool drt_permuter_scores(drt_tape *t, const drt_permuter *g, drt_tensor *x, int sequences, const int32_t *offsets,
                         float dropout, drt_tensor **scores);
// About so many bytes its rows and plans take on the tape, with their gradients where `learns`: of sequences that have
// so many rows together, so many squared each and added up, and the longest so many.
double drt_permuter_bytes(const drt_permuter_shape *shape, double rows, double squares, double longest, int sweeps,
                          bool learns);

// ---- gps.safetensors -----------------------------------------------------------------------------------------------
// F32 tensors by their names; metadata: layers, hidden, alpha, tau, sweeps, tolerance, hard (soft, argmax, assignment).
bool drt_permuter_in_folder(const char *folder);
// Shape and use as FOLDER/gps.safetensors tells; every tensor must be there, of its shape and finite.
drt_status drt_permuter_read(const char *folder, int64_t width, drt_permuter_shape *shape, drt_gps_how *how,
                             drt_error *err);
// The weights into g, which has the file's shape, and how it is used into g->how.
drt_status drt_permuter_load(drt_permuter *g, drt_params *p, const char *folder, drt_error *err);
// Whether the file holds exactly these weights. DRT_EIO: the first tensor that differs.
drt_status drt_permuter_compare(const drt_permuter *g, const drt_params *p, const char *folder, drt_error *err);
drt_status drt_permuter_save(const drt_permuter *g, const drt_params *p, const char *folder, drt_error *err);

#endif
