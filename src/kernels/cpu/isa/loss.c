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

typedef struct {
    drt_mat logits, lse, loss;
    const int32_t *label;
    const float *weight;
    float *hit;
} job;

static void loss_rows(const void *args, int64_t first, int64_t end, int worker) {
    const job *k = args;
    int64_t n = k->logits.cols;
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        const float *x = drt_row(k->logits, r);
        int32_t label = k->label[r];
        float m = row_largest(x, n), l = m + logf(row_exp_sum(x, n, m)), own = x[label];
        if (k->lse.data) drt_row(k->lse, r)[0] = l;
        if (k->loss.data) drt_row(k->loss, r)[0] = l - own;
        if (!k->hit) continue;
        bool best = own == m; // and the first such
        for (int32_t c = 0; best && c < label; c++) best = x[c] != m;
        k->hit[r] = best ? 1.0f : 0.0f;
    }
}

void DRT_FN(cross_entropy)(drt_device *dev, drt_mat logits, const int32_t *label, drt_mat lse, drt_mat loss,
                           float *hit) {
    if (!DRT_READY(dev, "cross_entropy", logits, lse, loss)) return;
    if (!drt_cpu_indices_good(dev, "cross_entropy, label", label, logits.rows, 0, logits.cols)) return;
    job k = {.logits = logits, .lse = lse, .loss = loss, .label = label, .hit = hit};
    drt_cpu_rows(dev, logits.rows, 4 * logits.cols, loss_rows, &k);
}

static void loss_back_rows(const void *args, int64_t first, int64_t end, int worker) {
    const job *k = args;
    int64_t n = k->logits.cols;
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        float *x = drt_row(k->logits, r), l = drt_row(k->lse, r)[0], w = k->weight[r], own = expf(x[k->label[r]] - l);
        for (int64_t c = 0; c < n; c += VL) vstore_n(x + c, n - c, vexp(vload_n(x + c, n - c) - l) * w);
        x[k->label[r]] = (own - 1.0f) * w;
    }
}

void DRT_FN(cross_entropy_back)(drt_device *dev, drt_mat logits, const int32_t *label, drt_mat lse,
                                const float *weight) {
    if (!DRT_READY(dev, "cross_entropy_back", logits, lse)) return;
    if (!drt_cpu_indices_good(dev, "cross_entropy_back, label", label, logits.rows, 0, logits.cols)) return;
    job k = {.logits = logits, .lse = lse, .label = label, .weight = weight};
    drt_cpu_rows(dev, logits.rows, 4 * logits.cols, loss_back_rows, &k);
}
