// 16-bit storage: conversion, and products of a few rows with 16-bit weights (generation, bound by reading weights).
#include "kernels/cpu/isa/half.h"

#include "kernels/cpu/isa/table.h"

typedef struct {
    drt_mat x, y;
    drt_span span;
} conversion;

static void *at(drt_mat m, int64_t element) { return (char *)m.data + element * (int64_t)drt_dtype_size(m.type); }

// To 16 bits by way of f32, a run at a time. What is narrowed to bf16 is rounded once, whichever f32 it is.
static void convert_run(const void *x, drt_dtype from, void *y, drt_dtype to, int64_t n) {
    enum { RUN = 256 };
    float room[RUN];
    if (from == to) {
        memcpy(y, x, (size_t)n * drt_dtype_size(from));
        return;
    }
    if (to == DRT_F32) {
        drt_expand(x, from, y, n);
        return;
    }
    for (int64_t i = 0; i < n; i += RUN) {
        int64_t m = n - i < RUN ? n - i : RUN;
        const float *f = (const float *)x + i;
        if (from != DRT_F32) drt_expand((const char *)x + i * (int64_t)drt_dtype_size(from), from, room, m), f = room;
        drt_narrow(f, (uint16_t *)y + i, to, m);
    }
}

static void convert_pieces(const void *args, int64_t first, int64_t end, int worker) {
    const conversion *k = args;
    (void)worker;
    for (int64_t i = first; i < end; i++)
        convert_run(at(k->x, i * k->span.step[1]), k->x.type, at(k->y, i * k->span.step[0]), k->y.type,
                    drt_span_length(&k->span, i));
}

void DRT_FN(convert)(drt_device *dev, drt_mat x, drt_mat y) {
    if (dev->error.code || !y.data) return;
    if (y.type == DRT_AS_BF16 || y.type == DRT_AS_F16) {
        drt_device_fail(dev, DRT_EARG, "convert: nothing is written as '%s'", drt_dtype_name(y.type));
        return;
    }
    conversion k = {x, y, drt_span_of(2, (drt_mat[]){y, x})};
    drt_cpu_rows(dev, k.span.pieces, k.span.length, convert_pieces, &k);
}

void DRT_FN(convert_block)(drt_mat x, drt_mat y) {
    for (int64_t r = 0; r < y.rows; r++) convert_run(at(x, r * x.ld), x.type, at(y, r * y.ld), y.type, y.cols);
}

// ---- few rows ------------------------------------------------------------------------------------------------------

enum { MOST_ROWS = 8, WEIGHT_ROWS = 4 };

typedef struct {
    drt_mat a, b, bias, c; // a f32
    bool acc;
} few;

// c[r, j] for R rows of a and J rows of b: every number of b is read once.
INLINE void tile(const few *p, int64_t r, int64_t j, const int R, const int J) {
    int64_t k = p->a.cols;
    vf sum[4][WEIGHT_ROWS];
    for (int i = 0; i < R; i++)
        for (int w = 0; w < J; w++) sum[i][w] = vset(0);
    for (int64_t t = 0; t < k; t += VL) {
        vf x[4];
        for (int i = 0; i < R; i++) x[i] = vload_n(drt_row(p->a, r + i) + t, k - t);
        for (int w = 0; w < J; w++) {
            vf b = drt_expand_vector(at(p->b, (j + w) * p->b.ld + t), p->b.type, k - t);
            for (int i = 0; i < R; i++) sum[i][w] += x[i] * b;
        }
    }
    for (int i = 0; i < R; i++)
        for (int w = 0; w < J; w++) {
            float *y = drt_row(p->c, r + i) + j + w;
            float s = vsum(sum[i][w]) + (p->bias.data ? ((const float *)p->bias.data)[j + w] : 0);
            *y = p->acc ? *y + s : s;
        }
}

INLINE void tiles(const few *p, int64_t j, const int J) {
    int64_t r = 0;
    for (; r + 4 <= p->a.rows; r += 4) tile(p, r, j, 4, J);
    for (; r + 2 <= p->a.rows; r += 2) tile(p, r, j, 2, J);
    for (; r < p->a.rows; r++) tile(p, r, j, 1, J);
}

static void few_pieces(const void *args, int64_t first, int64_t end, int worker) {
    const few *p = args;
    int64_t j = first;
    (void)worker;
    for (; j + WEIGHT_ROWS <= end; j += WEIGHT_ROWS) tiles(p, j, WEIGHT_ROWS);
    for (; j < end; j++) tiles(p, j, 1);
}

void DRT_FN(matmul)(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    if (dev->error.code || !c.data || !drt_cpu_product_fits(dev, ta, tb, a, b, bias, c)) return;
    if (ta || !tb || drt_dtype_size(b.type) == 4 || dev->alone || a.rows > MOST_ROWS) {
        drt_cpu_matmul(dev, ta, tb, a, b, bias, acc, c);
        return;
    }
    few p = {a, b, bias, c, acc};
    if (a.type != DRT_F32) {
        p.a = (drt_mat){drt_cpu_expanded(dev, (size_t)(a.rows * a.cols) + 1), a.rows, a.cols, a.cols, DRT_F32};
        if (!p.a.data) return;
        DRT_FN(convert)(dev, a, p.a);
    }
    drt_cpu_rows(dev, b.rows, b.cols, few_pieces, &p);
}
