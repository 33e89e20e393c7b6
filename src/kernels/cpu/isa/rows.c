// Copies, sums and other kernels that only move rows: bound by memory.
#include "kernels/cpu/cpu.h"

#include "kernels/cpu/isa/half.h"
#include "kernels/cpu/isa/simd.h"
#include "kernels/cpu/isa/table.h"

typedef struct {
    drt_mat y, a, b;
    drt_span span;
    float f;
    bool acc;
} whole;

static void fill_pieces(const void *args, int64_t first, int64_t end, int worker) {
    const whole *w = args;
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        float *y = (float *)w->y.data + i * w->span.step[0];
        int64_t n = drt_span_length(&w->span, i);
#pragma omp simd
        for (int64_t c = 0; c < n; c++) y[c] = w->f;
    }
}

void DRT_FN(fill)(drt_device *dev, drt_mat x, float value) {
    if (!DRT_READY(dev, "fill", x) || !x.data) return;
    whole w = {.y = x, .f = value, .span = drt_span_of(1, &x)};
    drt_cpu_rows(dev, w.span.pieces, w.span.length, fill_pieces, &w);
}

static void add_pieces(const void *args, int64_t first, int64_t end, int worker) {
    const whole *w = args;
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        float *y = (float *)w->y.data + i * w->span.step[0];
        const float *a = (const float *)w->a.data + i * w->span.step[1];
        const float *b = (const float *)w->b.data + i * w->span.step[2];
        int64_t n = drt_span_length(&w->span, i);
#pragma omp simd
        for (int64_t c = 0; c < n; c++) y[c] = a[c] + b[c];
    }
}

void DRT_FN(add)(drt_device *dev, drt_mat a, drt_mat b, drt_mat y) {
    if (!DRT_READY(dev, "add", a, b, y) || !y.data) return;
    whole w = {.y = y, .a = a, .b = b, .span = drt_span_of(3, (drt_mat[]){y, a, b})};
    drt_cpu_rows(dev, w.span.pieces, w.span.length, add_pieces, &w);
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

// The same from a row of any type, a run at a time.
static void put_any(float *y, drt_mat x, int64_t row, int64_t col, int64_t n, float f, bool acc) {
    enum { RUN = 256 };
    float room[RUN];
    if (x.type == DRT_F32) {
        put_row(y, drt_row(x, row) + col, n, f, acc);
        return;
    }
    const int64_t size = (int64_t)drt_dtype_size(x.type);
    const char *from = (const char *)x.data + (row * x.ld + col) * size;
    for (int64_t i = 0; i < n; i += RUN) {
        int64_t m = n - i < RUN ? n - i : RUN;
        drt_expand(from + i * size, x.type, room, m);
        put_row(y + i, room, m, f, acc);
    }
}

static void scale_pieces(const void *args, int64_t first, int64_t end, int worker) {
    const whole *w = args;
    (void)worker;
    for (int64_t i = first; i < end; i++)
        put_row((float *)w->y.data + i * w->span.step[0], (const float *)w->a.data + i * w->span.step[1],
                drt_span_length(&w->span, i), w->f, w->acc);
}

void DRT_FN(scale)(drt_device *dev, float alpha, drt_mat x, bool acc, drt_mat y) {
    if (!DRT_READY(dev, "scale", x, y) || !y.data) return;
    if (x.data == y.data && !acc && alpha == 1.0f) return;
    whole w = {.y = y, .a = x, .f = alpha, .acc = acc, .span = drt_span_of(2, (drt_mat[]){y, x})};
    drt_cpu_rows(dev, w.span.pieces, w.span.length, scale_pieces, &w);
}

typedef struct {
    drt_mat dst, src;
    const int32_t *di, *si;
    const float *s;
    int64_t n, parts;
    bool acc;
} copy;

static void copy_pieces(const void *args, int64_t first, int64_t end, int worker) {
    const copy *k = args;
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        int64_t to = k->di ? k->di[i] : i, from = k->si ? k->si[i] : i;
        if (to >= 0 && from >= 0)
            put_any(drt_row(k->dst, to), k->src, from, 0, k->dst.cols, k->s ? k->s[i] : 1.0f, k->acc);
    }
}

// Destinations may repeat: a part adds all rows, in order, of its own columns (whole cache lines of 16).
static void scatter_parts(const void *args, int64_t first, int64_t end, int worker) {
    const copy *k = args;
    int64_t cols = k->dst.cols, lines = (cols + 15) / 16;
    (void)worker;
    for (int64_t p = first; p < end; p++) {
        int64_t c0 = drt_part_first(lines, p, k->parts) * 16, c1 = drt_part_first(lines, p + 1, k->parts) * 16;
        if (c1 > cols) c1 = cols;
        for (int64_t i = 0; i < k->n; i++) {
            int64_t to = k->di[i], from = k->si ? k->si[i] : i;
            if (to >= 0 && from >= 0)
                put_any(drt_row(k->dst, to) + c0, k->src, from, c0, c1 - c0, k->s ? k->s[i] : 1.0f, true);
        }
    }
}

void DRT_FN(copy_rows)(drt_device *dev, drt_mat dst, const int32_t *di, drt_mat src, const int32_t *si, const float *s,
                       int64_t n, bool acc) {
    if (!DRT_READY(dev, "copy_rows, destination", dst) || !dst.data || !n) return;
    if (di && !drt_cpu_indices_good(dev, "copy_rows, destination", di, n, INT32_MIN, dst.rows)) return;
    if (si && !drt_cpu_indices_good(dev, "copy_rows, source", si, n, INT32_MIN, src.rows)) return;
    copy k = {dst, src, di, si, s, n, 1, acc};
    if (!acc || !di) {
        drt_cpu_rows(dev, n, dst.cols, copy_pieces, &k);
        return;
    }
    int64_t lines = (dst.cols + 15) / 16, most = n * dst.cols / DRT_GRAIN + 1;
    k.parts = 2 * (int64_t)dev->threads;
    if (dev->threads == 1) k.parts = 1; // a part reads the whole index
    if (k.parts > lines) k.parts = lines;
    if (k.parts > most) k.parts = most;
    drt_cpu_each(dev, k.parts, scatter_parts, &k);
}

typedef struct {
    drt_mat x;
    float *sums;
    int64_t parts, pad;
} column_sums;

static void col_sum_parts(const void *args, int64_t first, int64_t end, int worker) {
    const column_sums *k = args;
    int64_t cols = k->x.cols, ld = k->x.ld;
    (void)worker;
    for (int64_t p = first; p < end; p++) {
        float *s = k->sums + p * k->pad;
        memset(s, 0, (size_t)cols * sizeof *s);
        int64_t r = drt_part_first(k->x.rows, p, k->parts), stop = drt_part_first(k->x.rows, p + 1, k->parts);
        for (; r + 4 <= stop; r += 4) { // four rows at once: a quarter of the traffic on s
            const float *a = drt_row(k->x, r), *b = a + ld, *c = b + ld, *d = c + ld;
#pragma omp simd
            for (int64_t j = 0; j < cols; j++) s[j] += (a[j] + b[j]) + (c[j] + d[j]);
        }
        for (; r < stop; r++) put_row(s, drt_row(k->x, r), cols, 1.0f, true);
    }
}

void DRT_FN(col_sum)(drt_device *dev, drt_mat x, bool acc, drt_mat out) {
    if (!DRT_READY(dev, "col_sum", x, out) || !out.data) return;
    column_sums k = {.x = x, .parts = drt_cpu_parts(dev, x.rows * x.cols), .pad = (x.cols + 15) / 16 * 16};
    k.sums = drt_cpu_scratch(dev, (size_t)(k.parts * k.pad));
    if (!k.sums) return;
    drt_cpu_each(dev, k.parts, col_sum_parts, &k);
    drt_add_parts(out.data, k.sums, k.parts, k.pad, x.cols, acc);
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

typedef struct {
    uint64_t key;
    float rate;
    drt_mat x, y;
    bool acc;
} drop;

static void drop_rows(const void *args, int64_t first, int64_t end, int worker) {
    const drop *k = args;
    uint32_t limit = drt_drop_limit(k->rate);
    float keep = 1.0f / (1.0f - k->rate);
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        const float *x = drt_row(k->x, r);
        float *y = drt_row(k->y, r);
        uint32_t row = drt_drop_row(k->key, r);
#pragma omp simd
        for (int64_t c = 0; c < k->x.cols; c++) {
            float kept = drt_dropped(row, (uint32_t)c, limit) ? 0.0f : x[c] * keep;
            y[c] = k->acc ? y[c] + kept : kept;
        }
    }
}

void DRT_FN(drop)(drt_device *dev, uint64_t key, float rate, drt_mat x, bool acc, drt_mat y) {
    if (!DRT_READY(dev, "drop", x, y) || !y.data) return;
    const drop k = {key, rate, x, y, acc};
    drt_cpu_rows(dev, x.rows, x.cols, drop_rows, &k);
}

typedef struct {
    drt_mat x;
    drt_span span;
    const float *s;
    double *sums;
    int64_t parts;
    bool squares;
} total;

static void sum_parts(const void *args, int64_t first, int64_t end, int worker) {
    const total *k = args;
    (void)worker;
    for (int64_t p = first; p < end; p++) {
        double t = 0;
        int64_t stop = drt_part_first(k->span.pieces, p + 1, k->parts);
        for (int64_t i = drt_part_first(k->span.pieces, p, k->parts); i < stop; i++) {
            const float *x = (const float *)k->x.data + i * k->span.step[0];
            int64_t n = drt_span_length(&k->span, i);
            t += k->squares ? row_squares(x, n) : row_sum(x, n) * (k->s ? (double)k->s[i] : 1.0);
        }
        k->sums[p] = t;
    }
}

static void sum_all(drt_device *dev, drt_mat x, const float *s, bool squares, double *out) {
    enum { MOST = 64 };
    double sums[MOST] = {0};
    total k = {.x = x, .s = s, .squares = squares, .sums = sums, .parts = drt_cpu_parts(dev, x.rows * x.cols)};
    k.span = s ? (drt_span){x.rows, x.cols, x.cols, {x.ld}} : drt_span_of(1, &x);
    if (k.parts > MOST) k.parts = MOST;
    drt_cpu_each(dev, k.parts, sum_parts, &k);
    for (int64_t p = 0; p < k.parts; p++) *out += sums[p];
}

void DRT_FN(sum)(drt_device *dev, drt_mat x, const float *s, double *out) {
    *out = 0;
    if (DRT_READY(dev, "sum", x) && x.data) sum_all(dev, x, s, false, out);
}

void DRT_FN(sum_squares)(drt_device *dev, drt_mat x, double *out) {
    *out = 0;
    if (DRT_READY(dev, "sum_squares", x) && x.data) sum_all(dev, x, NULL, true, out);
}
