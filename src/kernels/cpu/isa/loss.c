// Softmax cross-entropy over a few hundred to a few ten thousand classes, one row at a time.
#include "kernels/cpu/isa/table.h"

static float row_largest(const float *x, int64_t n) {
    vf most = vset(-INFINITY);
    int64_t c = 0;
    for (; c + VL <= n; c += VL) most = vmax(most, vload(x + c));
    float m = vlargest(most);
    for (; c < n; c++) m = x[c] > m ? x[c] : m;
    return m;
}

// Sum of e^(x - m).
static float row_exp_sum(const float *x, int64_t n, float m) {
    vf sum = vset(0.0f);
    int64_t c = 0;
    for (; c + VL <= n; c += VL) sum += vexp(vload(x + c) - m);
    float total = vsum(sum);
    if (c < n) {
        float e[VL];
        vstore(e, vexp(vload_n(x + c, n - c) - m));
        for (int64_t j = 0; j < n - c; j++) total += e[j];
    }
    return total;
}

static bool labels_good(drt_device *dev, const char *kernel, const int32_t *label, drt_mat logits) {
    int32_t least = 0;
    for (int64_t r = 0; r < logits.rows; r++) least = label[r] < least ? label[r] : least;
    if (least < 0) drt_device_fail(dev, DRT_EARG, "%s: label %d is negative", kernel, (int)least);
    return least >= 0 && drt_cpu_indices_below(dev, kernel, label, logits.rows, logits.cols);
}

void DRT_FN(cross_entropy)(drt_device *dev, drt_mat logits, const int32_t *label, drt_mat lse, drt_mat loss, float *hit) {
    if (!DRT_READY(dev, "cross_entropy", logits, lse, loss)) return;
    if (!labels_good(dev, "cross_entropy, label", label, logits)) return;
    int64_t n = logits.cols;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, 4 * logits.rows * n))
    for (int64_t r = 0; r < logits.rows; r++) {
        const float *x = drt_row(logits, r);
        float m = row_largest(x, n), l = m + logf(row_exp_sum(x, n, m)), own = x[label[r]];
        if (lse.data) drt_row(lse, r)[0] = l;
        if (loss.data) drt_row(loss, r)[0] = l - own;
        if (!hit) continue;
        bool first = own == m;
        for (int32_t c = 0; first && c < label[r]; c++) first = x[c] != m;
        hit[r] = first ? 1.0f : 0.0f;
    }
}

void DRT_FN(cross_entropy_back)(drt_device *dev, drt_mat logits, const int32_t *label, drt_mat lse,
                                const float *weight) {
    if (!DRT_READY(dev, "cross_entropy_back", logits, lse)) return;
    if (!labels_good(dev, "cross_entropy_back, label", label, logits)) return;
    int64_t n = logits.cols;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, 4 * logits.rows * n))
    for (int64_t r = 0; r < logits.rows; r++) {
        float *x = drt_row(logits, r), l = drt_row(lse, r)[0], w = weight[r];
        float own = expf(x[label[r]] - l);
        for (int64_t c = 0; c < n; c += VL) vstore_n(x + c, n - c, vexp(vload_n(x + c, n - c) - l) * w);
        x[label[r]] = (own - 1.0f) * w;
    }
}
