// LayerNorm, RMSNorm and unit rows: statistics and result of a row in one visit, while it is in L1.
// Weight gradients are summed per part of the rows and then in the order of the parts.
#include "kernels/cpu/isa/table.h"

void DRT_FN(layer_norm)(drt_device *dev, drt_mat x, drt_mat w, drt_mat b, float eps, drt_mat y, drt_mat stat) {
    if (!DRT_READY(dev, "layer_norm", x, w, b, y, stat)) return;
    const float *pw = w.data, *pb = b.data;
    int64_t cols = x.cols;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, x.rows * cols))
    for (int64_t r = 0; r < x.rows; r++) {
        const float *px = drt_row(x, r);
        float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < cols; c++) sum += px[c];
        float mean = sum / (float)cols;
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < cols; c++) squares += (px[c] - mean) * (px[c] - mean);
        float rstd = 1.0f / sqrtf(squares / (float)cols + eps);
        if (stat.data) drt_row(stat, r)[0] = mean, drt_row(stat, r)[1] = rstd;
        if (!y.data) continue;
        float *py = drt_row(y, r);
        if (pb) {
#pragma omp simd
            for (int64_t c = 0; c < cols; c++) py[c] = (px[c] - mean) * rstd * pw[c] + pb[c];
        } else {
#pragma omp simd
            for (int64_t c = 0; c < cols; c++) py[c] = (px[c] - mean) * rstd * pw[c];
        }
    }
}

// One row: dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy w; dw += dy xhat, db += dy (where not NULL).
static void layer_norm_back_row(int64_t cols, const float *x, const float *w, const float *stat, const float *dy,
                                bool acc, float *dx, float *dw, float *db) {
    float mean = stat[0], rstd = stat[1], sg = 0, sgx = 0;
    if (dw)
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) dw[c] += dy[c] * ((x[c] - mean) * rstd);
    if (db)
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) db[c] += dy[c];
    if (!dx) return;
#pragma omp simd reduction(+ : sg, sgx)
    for (int64_t c = 0; c < cols; c++) {
        float g = dy[c] * w[c];
        sg += g;
        sgx += g * ((x[c] - mean) * rstd);
    }
    sg /= (float)cols;
    sgx /= (float)cols;
    if (acc) {
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) dx[c] += rstd * (dy[c] * w[c] - sg - (x[c] - mean) * rstd * sgx);
    } else {
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) dx[c] = rstd * (dy[c] * w[c] - sg - (x[c] - mean) * rstd * sgx);
    }
}

void DRT_FN(layer_norm_back)(drt_device *dev, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                             drt_mat dw, drt_mat db) {
    if (!DRT_READY(dev, "layer_norm_back", x, w, stat, dy, dx, dw, db) || !x.rows) return;
    int parts = drt_cpu_threads(dev, x.rows * x.cols);
    int64_t cols = x.cols, pad = (cols + 15) / 16 * 16;
    float *sums = drt_cpu_scratch(dev, (size_t)(2 * parts * pad));
    if (!sums) return;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        float *pw = dw.data ? sums + p * pad : NULL, *pb = db.data ? sums + (parts + p) * pad : NULL;
        if (pw) memset(pw, 0, (size_t)pad * sizeof *pw);
        if (pb) memset(pb, 0, (size_t)pad * sizeof *pb);
        for (int64_t r = drt_part_first(x.rows, p, parts); r < drt_part_first(x.rows, p + 1, parts); r++)
            layer_norm_back_row(cols, drt_row(x, r), w.data, drt_row(stat, r), drt_row(dy, r), acc,
                                dx.data ? drt_row(dx, r) : NULL, pw, pb);
    }
    if (dw.data) drt_add_parts(dw.data, sums, parts, pad, cols, true);
    if (db.data) drt_add_parts(db.data, sums + parts * pad, parts, pad, cols, true);
}

void DRT_FN(rms_norm)(drt_device *dev, drt_mat x, drt_mat w, float eps, drt_mat y, drt_mat stat) {
    if (!DRT_READY(dev, "rms_norm", x, w, y, stat)) return;
    const float *pw = w.data;
    int64_t cols = x.cols;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, x.rows * cols))
    for (int64_t r = 0; r < x.rows; r++) {
        const float *px = drt_row(x, r);
        float squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < cols; c++) squares += px[c] * px[c];
        float rstd = 1.0f / sqrtf(squares / (float)cols + eps);
        if (stat.data) drt_row(stat, r)[0] = rstd;
        if (!y.data) continue;
        float *py = drt_row(y, r);
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) py[c] = px[c] * rstd * pw[c];
    }
}

// One row: dx = rstd (g - xhat mean(g xhat)), g = dy w, xhat = x rstd; dw += dy xhat.
static void rms_norm_back_row(int64_t cols, const float *x, const float *w, float rstd, const float *dy, bool acc,
                              float *dx, float *dw) {
    float t = 0;
    if (dw)
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) dw[c] += dy[c] * (x[c] * rstd);
    if (!dx) return;
#pragma omp simd reduction(+ : t)
    for (int64_t c = 0; c < cols; c++) t += dy[c] * w[c] * x[c];
    t *= rstd * rstd * rstd / (float)cols;
    if (acc) {
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) dx[c] += rstd * (dy[c] * w[c]) - x[c] * t;
    } else {
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) dx[c] = rstd * (dy[c] * w[c]) - x[c] * t;
    }
}

void DRT_FN(rms_norm_back)(drt_device *dev, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                           drt_mat dw) {
    if (!DRT_READY(dev, "rms_norm_back", x, w, stat, dy, dx, dw) || !x.rows) return;
    int parts = drt_cpu_threads(dev, x.rows * x.cols);
    int64_t cols = x.cols, pad = (cols + 15) / 16 * 16;
    float *sums = drt_cpu_scratch(dev, (size_t)(parts * pad));
    if (!sums) return;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        float *pw = dw.data ? sums + p * pad : NULL;
        if (pw) memset(pw, 0, (size_t)pad * sizeof *pw);
        for (int64_t r = drt_part_first(x.rows, p, parts); r < drt_part_first(x.rows, p + 1, parts); r++)
            rms_norm_back_row(cols, drt_row(x, r), w.data, drt_row(stat, r)[0], drt_row(dy, r), acc,
                              dx.data ? drt_row(dx, r) : NULL, pw);
    }
    if (dw.data) drt_add_parts(dw.data, sums, parts, pad, cols, true);
}

void DRT_FN(unit_rows)(drt_device *dev, drt_mat x, drt_mat y, drt_mat norm) {
    if (!DRT_READY(dev, "unit_rows", x, y, norm) || !y.data) return;
    int64_t cols = x.cols;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, x.rows * cols))
    for (int64_t r = 0; r < x.rows; r++) {
        const float *px = drt_row(x, r);
        float *py = drt_row(y, r);
        double squares = 0; // double: the squares of floats below 1e-19 vanish in floats
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < cols; c++) squares += (double)px[c] * (double)px[c];
        float length = (float)sqrt(squares), most = length > 1e-12f ? length : 1e-12f, by = 1.0f / most;
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) py[c] = px[c] * by;
        if (norm.data) drt_row(norm, r)[0] = most;
    }
}

void DRT_FN(unit_rows_back)(drt_device *dev, drt_mat y, drt_mat norm, drt_mat dy, bool acc, drt_mat dx) {
    if (!DRT_READY(dev, "unit_rows_back", y, norm, dy, dx) || !dx.data) return;
    int64_t cols = y.cols;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, y.rows * cols))
    for (int64_t r = 0; r < y.rows; r++) {
        const float *py = drt_row(y, r), *pdy = drt_row(dy, r);
        float *pdx = drt_row(dx, r), t = 0, most = drt_row(norm, r)[0], by = 1.0f / most;
#pragma omp simd reduction(+ : t)
        for (int64_t c = 0; c < cols; c++) t += py[c] * pdy[c];
        if (!(most > 1e-12f)) t = 0; // a clamped length is a constant
        if (acc) {
#pragma omp simd
            for (int64_t c = 0; c < cols; c++) pdx[c] += (pdy[c] - py[c] * t) * by;
        } else {
#pragma omp simd
            for (int64_t c = 0; c < cols; c++) pdx[c] = (pdy[c] - py[c] * t) * by;
        }
    }
}
