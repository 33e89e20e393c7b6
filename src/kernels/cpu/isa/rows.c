// Copies, sums and other kernels that only move rows: bound by memory.
#include "kernels/cpu/cpu.h"

#include "kernels/cpu/isa/simd.h"
#include "kernels/cpu/isa/table.h"

void DRT_FN(fill)(drt_device *dev, drt_mat x, float value) {
    if (!DRT_READY(dev, "fill", x) || !x.data) return;
    drt_span s = drt_span_of(1, &x);
#pragma omp parallel for num_threads(drt_cpu_threads(dev, x.rows * x.cols))
    for (int64_t i = 0; i < s.pieces; i++) {
        float *p = (float *)x.data + i * s.step[0];
        int64_t n = drt_span_length(&s, i);
#pragma omp simd
        for (int64_t c = 0; c < n; c++) p[c] = value;
    }
}

void DRT_FN(add)(drt_device *dev, drt_mat a, drt_mat b, drt_mat y) {
    if (!DRT_READY(dev, "add", a, b, y) || !y.data) return;
    drt_span s = drt_span_of(3, (drt_mat[]){y, a, b});
#pragma omp parallel for num_threads(drt_cpu_threads(dev, y.rows * y.cols))
    for (int64_t i = 0; i < s.pieces; i++) {
        float *py = (float *)y.data + i * s.step[0];
        const float *pa = (const float *)a.data + i * s.step[1], *pb = (const float *)b.data + i * s.step[2];
        int64_t n = drt_span_length(&s, i);
#pragma omp simd
        for (int64_t c = 0; c < n; c++) py[c] = pa[c] + pb[c];
    }
}

void DRT_FN(scale)(drt_device *dev, float alpha, drt_mat x, bool acc, drt_mat y) {
    if (!DRT_READY(dev, "scale", x, y) || !y.data) return;
    drt_span s = drt_span_of(2, (drt_mat[]){y, x});
#pragma omp parallel for num_threads(drt_cpu_threads(dev, y.rows * y.cols))
    for (int64_t i = 0; i < s.pieces; i++) {
        float *py = (float *)y.data + i * s.step[0];
        const float *px = (const float *)x.data + i * s.step[1];
        int64_t n = drt_span_length(&s, i);
        if (acc) {
#pragma omp simd
            for (int64_t c = 0; c < n; c++) py[c] += alpha * px[c];
        } else {
#pragma omp simd
            for (int64_t c = 0; c < n; c++) py[c] = alpha * px[c];
        }
    }
}

// y (=|+=) f * x
static void put_row(float *y, const float *x, int64_t n, float f, bool acc) {
    if (acc) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) y[c] += f * x[c];
    } else if (f == 1.0f) {
        memcpy(y, x, (size_t)n * sizeof *y);
    } else {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) y[c] = f * x[c];
    }
}

void DRT_FN(copy_rows)(drt_device *dev, drt_mat dst, const int32_t *di, drt_mat src, const int32_t *si, const float *s,
                       int64_t n, bool acc) {
    if (!DRT_READY(dev, "copy_rows", dst, src) || !dst.data || !n) return;
    if (di && !drt_cpu_indices_below(dev, "copy_rows, destination", di, n, dst.rows)) return;
    if (si && !drt_cpu_indices_below(dev, "copy_rows, source", si, n, src.rows)) return;
    int64_t cols = dst.cols;
    int threads = drt_cpu_threads(dev, n * cols);
    if (!acc || !di) {
#pragma omp parallel for num_threads(threads)
        for (int64_t i = 0; i < n; i++) {
            int64_t to = di ? di[i] : i, from = si ? si[i] : i;
            if (to >= 0 && from >= 0) put_row(drt_row(dst, to), drt_row(src, from), cols, s ? s[i] : 1.0f, acc);
        }
        return;
    }
    // Destinations may repeat: every thread adds all rows, in order, of its own columns (whole cache lines of 16).
    int64_t lines = (cols + 15) / 16;
    int parts = threads < lines ? threads : (int)lines;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        int64_t c0 = drt_part_first(lines, p, parts) * 16, c1 = drt_part_first(lines, p + 1, parts) * 16;
        if (c1 > cols) c1 = cols;
        for (int64_t i = 0; i < n; i++) {
            int64_t to = di[i], from = si ? si[i] : i;
            if (to >= 0 && from >= 0) put_row(drt_row(dst, to) + c0, drt_row(src, from) + c0, c1 - c0, s ? s[i] : 1.0f, true);
        }
    }
}

void DRT_FN(col_sum)(drt_device *dev, drt_mat x, bool acc, drt_mat out) {
    if (!DRT_READY(dev, "col_sum", x, out) || !out.data) return;
    int parts = drt_cpu_threads(dev, x.rows * x.cols);
    int64_t cols = x.cols, pad = (cols + 15) / 16 * 16;
    float *sums = drt_cpu_scratch(dev, (size_t)(parts * pad));
    if (!sums) return;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        float *s = sums + p * pad;
        memset(s, 0, (size_t)cols * sizeof *s);
        int64_t r = drt_part_first(x.rows, p, parts), end = drt_part_first(x.rows, p + 1, parts);
        for (; r + 4 <= end; r += 4) { // four rows at once: a quarter of the traffic on s
            const float *a = drt_row(x, r), *b = a + x.ld, *c = b + x.ld, *d = c + x.ld;
#pragma omp simd
            for (int64_t j = 0; j < cols; j++) s[j] += (a[j] + b[j]) + (c[j] + d[j]);
        }
        for (; r < end; r++) put_row(s, drt_row(x, r), cols, 1.0f, true);
    }
    drt_add_parts(out.data, sums, parts, pad, cols, acc);
}

static double row_sum(const float *x, int64_t n) {
    double t = 0;
#pragma omp simd reduction(+ : t)
    for (int64_t c = 0; c < n; c++) t += (double)x[c];
    return t;
}
static double row_squares(const float *x, int64_t n) {
    double t = 0;
#pragma omp simd reduction(+ : t)
    for (int64_t c = 0; c < n; c++) t += (double)x[c] * (double)x[c];
    return t;
}

static void total(drt_device *dev, drt_mat x, const float *s, bool squares, double *out) {
    enum { MOST = 64 };
    double sums[MOST] = {0};
    drt_span span = drt_span_of(1, &x);
    if (s) span = (drt_span){x.rows, x.cols, x.cols, {x.ld}};
    int parts = drt_cpu_threads(dev, x.rows * x.cols);
    if (parts > MOST) parts = MOST;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        double t = 0;
        for (int64_t i = drt_part_first(span.pieces, p, parts); i < drt_part_first(span.pieces, p + 1, parts); i++) {
            const float *px = (const float *)x.data + i * span.step[0];
            int64_t n = drt_span_length(&span, i);
            t += squares ? row_squares(px, n) : row_sum(px, n) * (s ? (double)s[i] : 1.0);
        }
        sums[p] = t;
    }
    double t = 0;
    for (int p = 0; p < parts; p++) t += sums[p];
    *out = t;
}

void DRT_FN(sum)(drt_device *dev, drt_mat x, const float *s, double *out) {
    *out = 0;
    if (DRT_READY(dev, "sum", x) && x.data) total(dev, x, s, false, out);
}

void DRT_FN(sum_squares)(drt_device *dev, drt_mat x, double *out) {
    *out = 0;
    if (DRT_READY(dev, "sum_squares", x) && x.data) total(dev, x, NULL, true, out);
}
