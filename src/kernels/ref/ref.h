// Inside of the `ref` device: every kernel of kernels.h spelled as its formula, one thread, sums in double.
// It is the oracle of all kernel tests and the fallback on any machine; where speed and plainness disagree,
// plainness wins. Shapes and meaning of the arguments stand in kernels.h.
#ifndef DRT_KERNELS_REF_REF_H
#define DRT_KERNELS_REF_REF_H

#include "kernels/kernels.h"

// True if all n matrices hold f32 (or nothing) and no earlier kernel failed; otherwise the sticky error of the device
// is set and the kernel must not run.
bool ref_are_f32(drt_device *dev, const char *kernel, const drt_mat *m, int n);
#define REF_F32(dev, ...)                                                                                              \
    do {                                                                                                               \
        const drt_mat m_[] = {__VA_ARGS__};                                                                            \
        if (!ref_are_f32(dev, __func__, m_, (int)(sizeof m_ / sizeof *m_))) return;                                    \
    } while (0)
// True if all n indices lie in [least, limit); otherwise the error is set. index may be NULL.
bool ref_indices_fit(drt_device *dev, const char *kernel, const int32_t *index, int64_t n, int64_t least,
                     int64_t limit);

// Element i of a matrix's memory, of any type.
double ref_number(drt_mat m, int64_t i);

// Writes or adds: the last step of every kernel with `acc`.
static inline void ref_put(float *at, double x, bool acc) { *at = (float)(acc ? *at + x : x); }

// matrix.c
void ref_matmul(drt_device *, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c);
void ref_col_sum(drt_device *, drt_mat x, bool acc, drt_mat out);
void ref_copy_rows(drt_device *, drt_mat dst, const int32_t *di, drt_mat src, const int32_t *si, const float *s,
                   int64_t n, bool acc);
void ref_convert(drt_device *, drt_mat x, drt_mat y);
void ref_fill(drt_device *, drt_mat x, float value);
void ref_add(drt_device *, drt_mat a, drt_mat b, drt_mat y);
void ref_scale(drt_device *, float alpha, drt_mat x, bool acc, drt_mat y);
void ref_drop(drt_device *, uint64_t key, float rate, drt_mat x, bool acc, drt_mat y);
void ref_sum(drt_device *, drt_mat x, const float *s, double *out);
void ref_sum_squares(drt_device *, drt_mat x, double *out);
// activation.c
void ref_activate(drt_device *, drt_activation, drt_mat x, drt_mat y);
void ref_activate_back(drt_device *, drt_activation, drt_mat x, drt_mat dy, bool acc, drt_mat dx);
void ref_glu(drt_device *, drt_activation, drt_mat x, drt_mat y);
void ref_glu_back(drt_device *, drt_activation, drt_mat x, drt_mat dy, bool acc, drt_mat dx);
// norm.c
void ref_layer_norm(drt_device *, drt_mat x, drt_mat w, drt_mat b, float eps, drt_mat y, drt_mat stat);
void ref_layer_norm_back(drt_device *, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx, drt_mat dw,
                         drt_mat db);
void ref_rms_norm(drt_device *, drt_mat x, drt_mat w, float eps, drt_mat y, drt_mat stat);
void ref_rms_norm_back(drt_device *, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx, drt_mat dw);
void ref_unit_rows(drt_device *, drt_mat x, drt_mat y, drt_mat norm);
void ref_unit_rows_back(drt_device *, drt_mat y, drt_mat norm, drt_mat dy, bool acc, drt_mat dx);
// attention.c
void ref_rope(drt_device *, drt_mat x, const int32_t *position, drt_mat table, int head_size, bool inverse);
void ref_attention(drt_device *, const drt_attention *, drt_mat q, drt_mat k, drt_mat v, drt_mat out, drt_mat lse,
                   drt_mat mass);
void ref_attention_back(drt_device *, const drt_attention *, drt_mat q, drt_mat k, drt_mat v, drt_mat out, drt_mat lse,
                        drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq, drt_mat dk, drt_mat dv);
// sinkhorn.c; the first: false, with the error set, when the shapes do not fit
bool ref_sinkhorn_fits(drt_device *dev, const char *kernel, const drt_sinkhorn *how, drt_mat s, drt_mat p,
                       drt_mat trace);
void ref_sinkhorn(drt_device *, const drt_sinkhorn *, drt_mat s, drt_mat p, drt_mat trace, int *done);
void ref_sinkhorn_back(drt_device *, const drt_sinkhorn *, drt_mat s, drt_mat p, drt_mat trace, int done, drt_mat dp,
                       bool acc, drt_mat ds);
// loss.c
void ref_cross_entropy(drt_device *, drt_mat logits, const int32_t *label, drt_mat lse, drt_mat loss, float *hit);
void ref_cross_entropy_back(drt_device *, drt_mat logits, const int32_t *label, drt_mat lse, const float *weight);
void ref_adamw(drt_device *, const drt_adamw *, int64_t n, float *w, const float *g, float *m, float *v);

#endif
