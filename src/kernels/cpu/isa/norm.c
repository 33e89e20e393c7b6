// LayerNorm, RMSNorm and unit rows: statistics and result of a row in one visit, while it is in L1.
// Weight gradients are summed per part of the rows and then in the order of the parts.
#include "kernels/cpu/isa/table.h"

typedef struct {
    drt_mat x, w, b, y, stat; // b only for LayerNorm
    float eps;
} norm;

// y = (x - mean) * rstd * w + b; b may be NULL
static void write_row(int64_t cols, const float *x, float mean, float rstd, const float *w, const float *b, float *y) {
    if (b) {
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) y[c] = (x[c] - mean) * rstd * w[c] + b[c];
    } else {
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) y[c] = (x[c] - mean) * rstd * w[c];
    }
}

static void layer_norm_rows(const void *args, int64_t first, int64_t end, int worker) {
    const norm *k = args;
    int64_t cols = k->x.cols;
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        const float *x = drt_row(k->x, r);
        float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < cols; c++) sum += x[c];
        float mean = sum / (float)cols;
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < cols; c++) squares += (x[c] - mean) * (x[c] - mean);
        float rstd = 1.0f / sqrtf(squares / (float)cols + k->eps);
        if (k->stat.data) drt_row(k->stat, r)[0] = mean, drt_row(k->stat, r)[1] = rstd;
        if (k->y.data) write_row(cols, x, mean, rstd, k->w.data, k->b.data, drt_row(k->y, r));
    }
}

void DRT_FN(layer_norm)(drt_device *dev, drt_mat x, drt_mat w, drt_mat b, float eps, drt_mat y, drt_mat stat) {
    if (!DRT_READY(dev, "layer_norm", x, w, b, y, stat)) return;
    norm k = {x, w, b, y, stat, eps};
    drt_cpu_rows(dev, x.rows, x.cols, layer_norm_rows, &k);
}

static void rms_norm_rows(const void *args, int64_t first, int64_t end, int worker) {
    const norm *k = args;
    int64_t cols = k->x.cols;
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        const float *x = drt_row(k->x, r);
        float squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < cols; c++) squares += x[c] * x[c];
        float rstd = 1.0f / sqrtf(squares / (float)cols + k->eps);
        if (k->stat.data) drt_row(k->stat, r)[0] = rstd;
        if (k->y.data) write_row(cols, x, 0.0f, rstd, k->w.data, NULL, drt_row(k->y, r));
    }
}

void DRT_FN(rms_norm)(drt_device *dev, drt_mat x, drt_mat w, float eps, drt_mat y, drt_mat stat) {
    if (!DRT_READY(dev, "rms_norm", x, w, y, stat)) return;
    norm k = {.x = x, .w = w, .y = y, .stat = stat, .eps = eps};
    drt_cpu_rows(dev, x.rows, x.cols, rms_norm_rows, &k);
}

typedef struct {
    drt_mat x, w, stat, dy, dx;
    bool acc;
    float *dw, *db; // [parts][pad] or NULL
    int64_t parts, pad;
} norm_back;

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

// One row: dx = rstd (g - xhat mean(g xhat)), g = dy w, xhat = x rstd; dw += dy xhat.
static void rms_norm_back_row(int64_t cols, const float *x, const float *w, float rstd, const float *dy, bool acc,
                              float *dx, float *dw) {
    float t = 0;
    if (dw)
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) dw[c] += dy[c] * (x[c] * rstd);
    if (!dx) return;
#pragma omp simd reduction(+ : t)
    for (int64_t c = 0; c < cols; c++) t += dy[c] * w[c] * (x[c] * rstd);
    t *= rstd * rstd / (float)cols;
    if (acc) {
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) dx[c] += rstd * (dy[c] * w[c]) - x[c] * t;
    } else {
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) dx[c] = rstd * (dy[c] * w[c]) - x[c] * t;
    }
}

INLINE void norm_back_parts(const norm_back *k, int64_t first, int64_t end, bool layer) {
    int64_t cols = k->x.cols;
    for (int64_t p = first; p < end; p++) {
        float *dw = k->dw ? k->dw + p * k->pad : NULL, *db = k->db ? k->db + p * k->pad : NULL;
        if (dw) memset(dw, 0, (size_t)cols * sizeof *dw);
        if (db) memset(db, 0, (size_t)cols * sizeof *db);
        int64_t stop = drt_part_first(k->x.rows, p + 1, k->parts);
        for (int64_t r = drt_part_first(k->x.rows, p, k->parts); r < stop; r++) {
            const float *x = drt_row(k->x, r), *dy = drt_row(k->dy, r), *stat = drt_row(k->stat, r);
            float *dx = k->dx.data ? drt_row(k->dx, r) : NULL;
            if (layer) layer_norm_back_row(cols, x, k->w.data, stat, dy, k->acc, dx, dw, db);
            else rms_norm_back_row(cols, x, k->w.data, stat[0], dy, k->acc, dx, dw);
        }
    }
}
static void layer_norm_back_parts(const void *args, int64_t first, int64_t end, int worker) {
    (void)worker;
    norm_back_parts(args, first, end, true);
}
static void rms_norm_back_parts(const void *args, int64_t first, int64_t end, int worker) {
    (void)worker;
    norm_back_parts(args, first, end, false);
}

static void norm_back_all(drt_device *dev, norm_back *k, drt_mat dw, drt_mat db, drt_pool_body *body) {
    if (!k->x.rows) return;
    k->parts = drt_cpu_parts(dev, k->x.rows * k->x.cols), k->pad = (k->x.cols + 15) / 16 * 16;
    float *sums = drt_cpu_scratch(dev, (size_t)(2 * k->parts * k->pad));
    if (!sums) return;
    if (dw.data) k->dw = sums;
    if (db.data) k->db = sums + k->parts * k->pad;
    drt_cpu_each(dev, k->parts, body, k);
    if (k->dw) drt_add_parts(dw.data, k->dw, k->parts, k->pad, k->x.cols, true);
    if (k->db) drt_add_parts(db.data, k->db, k->parts, k->pad, k->x.cols, true);
}

void DRT_FN(layer_norm_back)(drt_device *dev, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                             drt_mat dw, drt_mat db) {
    if (!DRT_READY(dev, "layer_norm_back", x, w, stat, dy, dx, dw, db)) return;
    norm_back k = {.x = x, .w = w, .stat = stat, .dy = dy, .dx = dx, .acc = acc};
    norm_back_all(dev, &k, dw, db, layer_norm_back_parts);
}

void DRT_FN(rms_norm_back)(drt_device *dev, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                           drt_mat dw) {
    if (!DRT_READY(dev, "rms_norm_back", x, w, stat, dy, dx, dw)) return;
    norm_back k = {.x = x, .w = w, .stat = stat, .dy = dy, .dx = dx, .acc = acc};
    norm_back_all(dev, &k, dw, (drt_mat){0}, rms_norm_back_parts);
}

typedef struct {
    drt_mat x, y, norm, dy, dx;
    bool acc;
} unit;

static void unit_rows(const void *args, int64_t first, int64_t end, int worker) {
    const unit *k = args;
    int64_t cols = k->x.cols;
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        const float *x = drt_row(k->x, r);
        double squares = 0; // double: the squares of floats below 1e-19 vanish in floats
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < cols; c++) squares += (double)x[c] * (double)x[c];
        float length = (float)sqrt(squares), most = length > 1e-12f ? length : 1e-12f;
        if (k->norm.data) drt_row(k->norm, r)[0] = most;
        if (!k->y.data) continue;
        float *y = drt_row(k->y, r), by = 1.0f / most;
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) y[c] = x[c] * by;
    }
}

void DRT_FN(unit_rows)(drt_device *dev, drt_mat x, drt_mat y, drt_mat norm) {
    if (!DRT_READY(dev, "unit_rows", x, y, norm)) return;
    unit k = {.x = x, .y = y, .norm = norm};
    drt_cpu_rows(dev, x.rows, x.cols, unit_rows, &k);
}

static void unit_back_rows(const void *args, int64_t first, int64_t end, int worker) {
    const unit *k = args;
    int64_t cols = k->y.cols;
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        const float *y = drt_row(k->y, r), *dy = drt_row(k->dy, r);
        float *dx = drt_row(k->dx, r), t = 0, most = drt_row(k->norm, r)[0], by = 1.0f / most;
#pragma omp simd reduction(+ : t)
        for (int64_t c = 0; c < cols; c++) t += y[c] * dy[c];
        if (!(most > 1e-12f)) t = 0; // a clamped length is a constant
        if (k->acc) {
#pragma omp simd
            for (int64_t c = 0; c < cols; c++) dx[c] += (dy[c] - y[c] * t) * by;
        } else {
#pragma omp simd
            for (int64_t c = 0; c < cols; c++) dx[c] = (dy[c] - y[c] * t) * by;
        }
    }
}

void DRT_FN(unit_rows_back)(drt_device *dev, drt_mat y, drt_mat norm, drt_mat dy, bool acc, drt_mat dx) {
    if (!DRT_READY(dev, "unit_rows_back", y, norm, dy, dx) || !dx.data) return;
    unit k = {.y = y, .norm = norm, .dy = dy, .dx = dx, .acc = acc};
    drt_cpu_rows(dev, y.rows, y.cols, unit_back_rows, &k);
}
