// Products by oneDNN. dnnl_sgemm is the same code that its matmul primitive runs when the row count is a run-time
// dimension ("gemm:jit" / "brg:avx512_core": 215 and 215 GFLOP/s at 3500x192x192 on one Sapphire Rapids core, 210 for a
// primitive compiled for the shape), takes every stride and has nothing to create or to cache.
#include "kernels/cpu/cpu.h"

#include <dnnl.h>
#include <omp.h>
#include <string.h>

// c (=|+=) bias in every row; bias NULL: zero.
static void spread_bias(drt_device *dev, const float *bias, bool acc, drt_mat c) {
#pragma omp parallel for num_threads(drt_cpu_threads(dev, c.rows * c.cols))
    for (int64_t r = 0; r < c.rows; r++) {
        float *y = drt_row(c, r);
        if (!acc && !bias) memset(y, 0, (size_t)c.cols * sizeof *y);
        else if (!acc) memcpy(y, bias, (size_t)c.cols * sizeof *y);
        else if (bias)
#pragma omp simd
            for (int64_t j = 0; j < c.cols; j++) y[j] += bias[j];
    }
}

void drt_cpu_matmul(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    if (!DRT_READY(dev, "matmul", a, b, bias, c) || !c.data || !c.rows || !c.cols) return;
    int64_t m = ta ? a.cols : a.rows, k = ta ? a.rows : a.cols, n = tb ? b.rows : b.cols;
    if (m != c.rows || n != c.cols || k != (tb ? b.cols : b.rows) || (bias.data && bias.cols != n)) {
        drt_device_fail(dev, DRT_EARG, "matmul: [%lld, %lld] times [%lld, %lld] does not make [%lld, %lld]", (long long)m,
                        (long long)k, (long long)(tb ? b.cols : b.rows), (long long)n, (long long)c.rows,
                        (long long)c.cols);
        return;
    }
    // Filling c with the bias and adding the product is cheaper than a second pass over c.
    bool start = bias.data || k == 0;
    if (start) spread_bias(dev, bias.data, acc, c);
    if (k == 0) return;
    int before = omp_get_max_threads();
    omp_set_num_threads(dev->threads);
    dnnl_status_t status = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, 1.0f, a.data, a.ld, b.data, b.ld,
                                      acc || start ? 1.0f : 0.0f, c.data, c.ld);
    omp_set_num_threads(before);
    if (status == dnnl_success) return;
    drt_device_fail(dev, status == dnnl_out_of_memory ? DRT_ENOMEM : DRT_EARG, "matmul: oneDNN refuses with status %d",
                    (int)status);
}
