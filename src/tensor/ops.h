// The operations that models are made of. Each computes at once, records its backward, and returns a new tensor, or
// NULL after a failure (sticky in the tape); NULL inputs where a tensor is due are passed over the same way.
// Shapes are [rows, columns]; a shape that does not fit is a DRT_EARG failure that names both shapes.
#ifndef DRT_TENSOR_OPS_H
#define DRT_TENSOR_OPS_H

#include "tensor/tape.h"

// ---- linear.c: products --------------------------------------------------------------------------------------------
// y [n, out] = x [n, in] w^T + b; w [out, in] (PyTorch's layout), b [1, out] or NULL.
drt_tensor *drt_linear(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b);
// y = residual + x w^T + b: the end of a residual branch in one pass. residual [n, out].
drt_tensor *drt_linear_add(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b, drt_tensor *residual);

// ---- low_rank.c: what adapters add to a product --------------------------------------------------------------------
// Wherever a weight (or a part of its rows) is multiplied by drt_linear, its list of additions takes part, each in rows
// [row, row + b's rows) of the weight:  y += scale * drop(x) a^T b^T.
struct drt_low_rank {
    drt_tensor *a, *b; // [rank, in], [out, rank]
    int64_t row;
    float scale, dropout; // dropout: only while the tape has noise
    uint64_t key;         // of this one's masks
    const drt_low_rank *next;
};
bool drt_low_rank_learns(const drt_tensor *w);
// Adds to y, in place, all that w (a weight or a part of one) has; for drt_linear, before y has a consumer.
void drt_low_rank_add(drt_tape *t, drt_tensor *x, const drt_tensor *w, drt_tensor *y);
// The same for an operation that never holds y whole: u = scale * drop(x) a^T, [n, rank], and *b; what is due is u b^T.
// NULL where w has no addition (or after a failure).
drt_tensor *drt_low_rank_apart(drt_tape *t, drt_tensor *x, const drt_tensor *w, drt_tensor **b);

// ---- rows.c: everything that moves rows ----------------------------------------------------------------------------
// A window of x: rows [row, row + rows), columns [col, col + cols). No copy. The parts of one tensor must not overlap,
// must cover it, and must be all its consumers that come after them.
drt_tensor *drt_part(drt_tape *t, drt_tensor *x, int64_t row, int64_t rows, int64_t col, int64_t cols);
// The same numbers as rows of another length: [rows, cols], rows * cols as before. No copy; x has no other consumer.
drt_tensor *drt_reshape(drt_tape *t, drt_tensor *x, int64_t rows, int64_t cols);
// One source of drt_gather: for i < n: out[to[i]] += scale[i] * x[from[i]]. NULL: to[i] = i, from[i] = i, scale 1.
typedef struct {
    drt_tensor *x;
    const int32_t *to, *from;
    const float *scale;
    int64_t n;
} drt_rows;
// out [rows, cols]: the sum of what the sources bring; rows that nobody brings are 0. Embedding lookup, splicing,
// selection, reordering, position embeddings and pooling are all this. `disjoint`: no two entries write the same row
// and every row is written (saves clearing). Index arrays must outlive the step.
drt_tensor *drt_gather(drt_tape *t, int64_t rows, int64_t cols, bool disjoint, const drt_rows *sources, int n);
// The common case: out[i] = x[from[i]].
drt_tensor *drt_select(drt_tape *t, drt_tensor *x, const int32_t *from, int64_t n);

// ---- norm.c --------------------------------------------------------------------------------------------------------
drt_tensor *drt_layer_norm(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b, float eps); // w, b [1, cols]
drt_tensor *drt_rms_norm(drt_tape *t, drt_tensor *x, drt_tensor *w, float eps);                  // w [1, cols]
drt_tensor *drt_unit_rows(drt_tape *t, drt_tensor *x);                                           // rows of length 1

// ---- feed_forward.c ------------------------------------------------------------------------------------------------
// act(x) w^T + b (+ residual [n, out]), act(x) computed again for the backward and not kept. x [n, f], or gated [n, 2f]
// = gate | up; w [out, f]; b [1, out], may be NULL as residual may.
drt_tensor *drt_feed_forward(drt_tape *t, drt_activation kind, bool gated, drt_tensor *x, drt_tensor *w, drt_tensor *b,
                             drt_tensor *residual);

// ---- activation.c --------------------------------------------------------------------------------------------------
drt_tensor *drt_activate(drt_tape *t, drt_activation kind, drt_tensor *x);
drt_tensor *drt_shift(drt_tape *t, drt_tensor *x, float by);          // x + by
drt_tensor *drt_glu(drt_tape *t, drt_activation kind, drt_tensor *x); // x [n, 2f] = gate | up -> [n, f]

// Dropout by the mask of (the tape's noise, key), where the tape has noise; else x itself.
drt_tensor *drt_drop(drt_tape *t, float rate, uint64_t key, drt_tensor *x);

// ---- attention.c ---------------------------------------------------------------------------------------------------
// Turns columns [col, col + cols) of x in place by the rotary angles of table (kernels.h); before any part of x is
// taken. position [rows], table [positions, turning channels of a head].
void drt_rope(drt_tape *t, drt_tensor *x, int64_t col, int64_t cols, const int32_t *position, drt_mat table,
              int head_size);
// out [q rows, heads*head_size]. *mass (may be NULL): [q rows, heads], set when shape->visual is. key_row (may be NULL)
// [keys]: key i is row key_row[i] of k and v, where sequences have rows in common; shape counts keys. These arrays must
// outlive the step; shape itself is copied.
drt_tensor *drt_attend(drt_tape *t, const drt_attention *shape, const int32_t *key_row, drt_tensor *q, drt_tensor *k,
                       drt_tensor *v, drt_tensor **mass);

// ---- permutation.c: soft and hard permutations (METHODS 5), [n, n] matrices on the host -----------------------------
// y = (scale s + diagonal [i == j] + Gumbel noise) / tau, held in [-bound, bound].
typedef struct {
    float scale, diagonal, tau, bound;
    uint64_t noise; // the noise is a function of this and the place; 0: none
} drt_soften;
drt_tensor *drt_soften_scores(drt_tape *t, const drt_soften *how, drt_tensor *s);
// Rows and columns sum to 1 (kernels.h); *done (may be NULL): sweeps made.
drt_tensor *drt_sinkhorn_plan(drt_tape *t, const drt_sinkhorn *how, drt_tensor *s, int *done);
// Row i is 1 at column[i] and 0 elsewhere; the gradient goes to p as it comes (straight through).
drt_tensor *drt_one_hot(drt_tape *t, drt_tensor *p, const int32_t *column);
drt_tensor *drt_product(drt_tape *t, drt_tensor *a, drt_tensor *b); // a b
// square * mean over all elements of (hard - target)^2 + cross_entropy * mean over rows of -log p[i, target[i]] +
// entropy * mean over rows of -sum_j p log p. hard: what is used of p (NULL: p itself). *terms: the means alone.
typedef struct {
    float square, cross_entropy, entropy;
} drt_permutation_terms;
drt_tensor *drt_permutation_loss(drt_tape *t, drt_tensor *p, drt_tensor *hard, const int32_t *target,
                                 const drt_permutation_terms *weight, drt_permutation_terms *terms);

// ---- loss.c: scalars -----------------------------------------------------------------------------------------------
// sum over rows of weight[i] * CE(x w^T + b, label[i]): output projection and cross-entropy in one, in chunks of rows,
// so that no [n, classes] matrix is held when there are many rows. x [n, d], w [classes, d], b [1, classes] or NULL. An
// adapter of w takes part.
// row_loss, hit: [n] outputs or NULL (loss of every row; 1 where the label is the largest).
drt_tensor *drt_linear_cross_entropy(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b, const int32_t *label,
                                     const float *weight, float *row_loss, float *hit);
// 1 - (1/(L*heads)) * sum over l < L, rows, heads of weight_l[row] * mass_l[row, head] (METHODS 2.3; with weights that
// sum to 1 it is the mean of 1 - m). mass: L tensors [rows_l, heads]; weight: L arrays [rows_l], which may be the same.
drt_tensor *drt_guided_loss(drt_tape *t, drt_tensor *const *mass, const float *const *weight, int layers);
// Symmetric InfoNCE of CLIP: a, b [n, d] with rows of length 1, matching row by row; b may have m >= n rows, the rows
// from n on are extra negatives for a. log_scale [1, 1]: the logits are exp(log_scale) * a b^T.
// hit (may be NULL): share of rows of a whose own row of b is the nearest.
drt_tensor *drt_contrastive_loss(drt_tape *t, drt_tensor *a, drt_tensor *b, drt_tensor *log_scale, float *hit);
// SigLIP's pairwise loss (Zhai et al. 2023, eq. 1), the arguments as above and a bias [1, 1]: each pair of a row of a
// and a row of b is a question of its own, answered by the sigmoid of exp(log_scale) * a b^T + bias; extra rows of b
// match nothing. The mean over the rows of a.
drt_tensor *drt_sigmoid_loss(drt_tape *t, drt_tensor *a, drt_tensor *b, drt_tensor *log_scale, drt_tensor *bias,
                             float *hit);
// sum of weight[i] * term[i]; with log_variance[i] (tensors [1, 1], array or entries may be NULL) the term counts
// weight*exp(-s)*term + share[i]*s/2: homoscedastic uncertainty weighting (Kendall et al. 2018). share[i]: the part of
// the step's term that this one is (NULL: 1, a step is one batch), so that s/2 counts once a step.
drt_tensor *drt_total_loss(drt_tape *t, drt_tensor *const *term, const float *weight, drt_tensor *const *log_variance,
                           const float *share, int n);
static inline float drt_scalar(const drt_tensor *x) { return *(const float *)x->value.data; }

#endif
