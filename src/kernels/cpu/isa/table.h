// The kernels of one instruction set, and how loops over elements and reductions over rows are divided.
#ifndef DRT_KERNELS_CPU_TABLE_H
#define DRT_KERNELS_CPU_TABLE_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa/simd.h"

// Element-wise work on matrices of one shape as pieces: rows, or, when no matrix has gaps, runs of 4096 elements, so
// that [1, n] and [n, 1] divide as well as anything else.
typedef struct {
    int64_t pieces, length, last; // the last piece may be shorter
    int64_t step[4];              // from piece to piece, of each matrix
} drt_span;

INLINE drt_span drt_span_of(int mats, const drt_mat *mat) {
    int64_t rows = mat[0].rows, cols = mat[0].cols, run = 4096, n = rows * cols;
    drt_span s = {rows, cols, cols, {0}};
    bool flat = true;
    for (int i = 0; i < mats; i++) flat &= mat[i].ld == cols;
    if (flat && n) s = (drt_span){(n + run - 1) / run, run, n - (n - 1) / run * run, {0}};
    for (int i = 0; i < mats; i++) s.step[i] = flat && n ? run : mat[i].ld;
    return s;
}
INLINE int64_t drt_span_length(const drt_span *s, int64_t i) { return i == s->pieces - 1 ? s->last : s->length; }

// out (=|+=) the sum of `parts` rows of partial sums, in their order.
INLINE void drt_add_parts(float *out, const float *sums, int64_t parts, int64_t pad, int64_t cols, bool acc) {
    for (int64_t c = 0; c < cols; c++) {
        float t = acc ? out[c] : 0.0f;
        for (int64_t p = 0; p < parts; p++) t += sums[p * pad + c];
        out[c] = t;
    }
}

void DRT_FN(matmul)(drt_device *, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c);
void DRT_FN(col_sum)(drt_device *, drt_mat x, bool acc, drt_mat out);
void DRT_FN(copy_rows)(drt_device *, drt_mat dst, const int32_t *di, drt_mat src, const int32_t *si, const float *s,
                       int64_t n, bool acc);
void DRT_FN(convert)(drt_device *, drt_mat x, drt_mat y);
void DRT_FN(convert_block)(drt_mat x, drt_mat y);
void DRT_FN(fill)(drt_device *, drt_mat x, float value);
void DRT_FN(add)(drt_device *, drt_mat a, drt_mat b, drt_mat y);
void DRT_FN(scale)(drt_device *, float alpha, drt_mat x, bool acc, drt_mat y);
void DRT_FN(drop)(drt_device *, uint64_t key, float rate, drt_mat x, bool acc, drt_mat y);
void DRT_FN(activate)(drt_device *, drt_activation, drt_mat x, drt_mat y);
void DRT_FN(activate_back)(drt_device *, drt_activation, drt_mat x, drt_mat dy, bool acc, drt_mat dx);
void DRT_FN(glu)(drt_device *, drt_activation, drt_mat x, drt_mat y);
void DRT_FN(glu_back)(drt_device *, drt_activation, drt_mat x, drt_mat dy, bool acc, drt_mat dx);
void DRT_FN(layer_norm)(drt_device *, drt_mat x, drt_mat w, drt_mat b, float eps, drt_mat y, drt_mat stat);
void DRT_FN(layer_norm_back)(drt_device *, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                             drt_mat dw, drt_mat db);
void DRT_FN(rms_norm)(drt_device *, drt_mat x, drt_mat w, float eps, drt_mat y, drt_mat stat);
void DRT_FN(rms_norm_back)(drt_device *, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                           drt_mat dw);
void DRT_FN(unit_rows)(drt_device *, drt_mat x, drt_mat y, drt_mat norm);
void DRT_FN(unit_rows_back)(drt_device *, drt_mat y, drt_mat norm, drt_mat dy, bool acc, drt_mat dx);
void DRT_FN(rope)(drt_device *, drt_mat x, const int32_t *position, drt_mat table, int head_size, bool inverse);
void DRT_FN(attention)(drt_device *, const drt_attention *, drt_mat q, drt_mat k, drt_mat v, drt_mat out, drt_mat lse,
                       drt_mat mass);
void DRT_FN(attention_back)(drt_device *, const drt_attention *, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                            drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq, drt_mat dk,
                            drt_mat dv);
void DRT_FN(cross_entropy)(drt_device *, drt_mat logits, const int32_t *label, drt_mat lse, drt_mat loss, float *hit);
void DRT_FN(cross_entropy_back)(drt_device *, drt_mat logits, const int32_t *label, drt_mat lse, const float *weight);
void DRT_FN(sinkhorn)(drt_device *, const drt_sinkhorn *, drt_mat s, drt_mat p, drt_mat trace, int *done);
void DRT_FN(sinkhorn_back)(drt_device *, const drt_sinkhorn *, drt_mat s, drt_mat p, drt_mat trace, int done,
                           drt_mat dp, bool acc, drt_mat ds);
void DRT_FN(sum)(drt_device *, drt_mat x, const float *s, double *out);
void DRT_FN(sum_squares)(drt_device *, drt_mat x, double *out);
void DRT_FN(adamw)(drt_device *, const drt_adamw *, int64_t n, float *w, const float *g, float *m, float *v);

#endif
