// Cross-entropy and the optimizer step.
#include "kernels/ref/ref.h"

#include <math.h>

void ref_cross_entropy(drt_device *dev, drt_mat logits, const int32_t *label, drt_mat lse, drt_mat loss, float *hit) {
    REF_F32(dev, logits, lse, loss);
    if (!ref_indices_fit(dev, "cross_entropy, label", label, logits.rows, 0, logits.cols)) return;
    for (int64_t r = 0; r < logits.rows; r++) {
        const float *x = drt_row(logits, r);
        int64_t best = 0;
        for (int64_t c = 1; c < logits.cols; c++)
            if (x[c] > x[best]) best = c;
        double sum = 0;
        for (int64_t c = 0; c < logits.cols; c++) sum += exp((double)x[c] - x[best]);
        double row_lse = x[best] + log(sum);
        if (lse.data) drt_row(lse, r)[0] = (float)row_lse;
        if (loss.data) drt_row(loss, r)[0] = (float)(row_lse - x[label[r]]);
        if (hit) hit[r] = best == label[r];
    }
}

void ref_cross_entropy_back(drt_device *dev, drt_mat logits, const int32_t *label, drt_mat lse, const float *weight) {
    REF_F32(dev, logits, lse);
    if (!ref_indices_fit(dev, "cross_entropy_back, label", label, logits.rows, 0, logits.cols)) return;
    for (int64_t r = 0; r < logits.rows; r++) {
        float *x = drt_row(logits, r);
        double row_lse = drt_row(lse, r)[0];
        for (int64_t c = 0; c < logits.cols; c++)
            x[c] = (float)((exp(x[c] - row_lse) - (c == label[r])) * weight[r]);
    }
}

void ref_adamw(drt_device *dev, const drt_adamw *o, int64_t n, float *w, const float *g, float *m, float *v) {
    if (dev->error.code) return;
    for (int64_t i = 0; i < n; i++) {
        double grad = (double)g[i] * o->grad_scale;
        m[i] = (float)(o->beta1 * (double)m[i] + (1 - (double)o->beta1) * grad);
        v[i] = (float)(o->beta2 * (double)v[i] + (1 - (double)o->beta2) * grad * grad);
        double step = m[i] / (double)o->correction1 / (sqrt(v[i] / (double)o->correction2) + o->eps);
        w[i] = (float)(w[i] - o->lr * (step + (double)o->weight_decay * w[i]));
    }
}
