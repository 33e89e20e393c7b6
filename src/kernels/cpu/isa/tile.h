// Small products for attention, whose operands lie in L1 or L2: a tile of TILE_ROWS x (1 to TILE_VECTORS vectors) of c
// stays in registers while the reduction runs. On AVX-512 8 x 3 vectors take 24 of 32 registers; per step 8
// broadcasts and 3 loads feed 24 multiply-adds, so the two multiply-add units are the limit, not the loads.
#ifndef DRT_KERNELS_CPU_TILE_H
#define DRT_KERNELS_CPU_TILE_H

#include "kernels/cpu/isa/simd.h"

#if VL == 16
enum { TILE_ROWS = 8, TILE_VECTORS = 3 };
#elif VL == 8
enum { TILE_ROWS = 4, TILE_VECTORS = 3 };
#else
enum { TILE_ROWS = 4, TILE_VECTORS = 2 };
#endif
// Packed transposed keys stand in panels of so many keys: [keys / PANEL][head size][PANEL].
enum { PANEL = TILE_VECTORS * VL };

INLINE int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// c[i][j] (=|+=) sum over t < depth of a[i * a_row + t * a_step] * b[t * b_row + j], i < TILE_ROWS, j < vectors * VL
INLINE void tile_of(const int vectors, int64_t depth, const float *a, int64_t a_row, int64_t a_step, const float *b,
                    int64_t b_row, float *c, int64_t c_row, bool add) {
    vf s[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) s[i][j] = add ? vload(c + i * c_row + j * VL) : vset(0.0f);
    for (int64_t t = 0; t < depth; t++, a += a_step, b += b_row) {
        vf y[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) y[j] = vload(b + j * VL);
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) {
            vf x = vset(a[i * a_row]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) s[i][j] += x * y[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) vstore(c + i * c_row + j * VL, s[i][j]);
}

// Rows of a are `a_row` apart, the reduction runs along them.
static inline void tile_rows(int vectors, int64_t depth, const float *a, int64_t a_row, const float *b, int64_t b_row,
                             float *c, int64_t c_row) {
    if (vectors == 1) tile_of(1, depth, a, a_row, 1, b, b_row, c, c_row, false);
    else if (vectors == 2 || TILE_VECTORS == 2) tile_of(2, depth, a, a_row, 1, b, b_row, c, c_row, false);
    else tile_of(TILE_VECTORS, depth, a, a_row, 1, b, b_row, c, c_row, false);
}
// Transposed a: its columns are the rows of c, the reduction runs down its rows; adds to c.
static inline void tile_columns(int vectors, int64_t depth, const float *a, int64_t a_step, const float *b,
                                int64_t b_row, float *c, int64_t c_row) {
    if (vectors == 1) tile_of(1, depth, a, 1, a_step, b, b_row, c, c_row, true);
    else if (vectors == 2 || TILE_VECTORS == 2) tile_of(2, depth, a, 1, a_step, b, b_row, c, c_row, true);
    else tile_of(TILE_VECTORS, depth, a, 1, a_step, b, b_row, c, c_row, true);
}
// Vectors per tile for a row of n: as even as can be (4 are 2 + 2, not 3 + 1).
INLINE int tile_split(int64_t n) {
    int64_t tiles = (n + TILE_VECTORS - 1) / TILE_VECTORS;
    return (int)((n + tiles - 1) / tiles);
}

#if VL == 16
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif VL == 8
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

// A VL x VL block: zipping row i with row i + VL / 2 log2(VL) times transposes.
INLINE void transpose_block(vf x[VL]) {
#pragma GCC unroll 4
    for (int w = 1; w < VL; w *= 2) {
        vf y[VL];
#pragma GCC unroll 8
        for (int i = 0; i < VL / 2; i++) {
            y[2 * i] = ZIP_LOW(x[i], x[i + VL / 2]);
            y[2 * i + 1] = ZIP_HIGH(x[i], x[i + VL / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++) x[i] = y[i];
    }
}

// n rows of `size` floats, `ld` apart, into panels [n / PANEL][size][PANEL]; absent keys up to whole vectors are zero.
static inline void pack_transposed(const float *rows, int64_t ld, int64_t n, int64_t size, float *panels) {
    for (int64_t j = 0; j < n; j += VL)
        for (int64_t d = 0; d < size; d += VL) {
            vf x[VL];
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++) x[i] = j + i < n ? vload_n(rows + (j + i) * ld + d, size - d) : vset(0.0f);
            transpose_block(x);
            float *to = panels + j / PANEL * PANEL * size + d * PANEL + j % PANEL;
            int64_t deep = size - d < VL ? size - d : VL;
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++)
                if (i < deep) vstore(to + i * PANEL, x[i]);
        }
}

// n rows of `size` floats, times f, into rows of `width` floats; zero in the gap and in rows up to `padded`.
static inline void pack_rows(const float *rows, int64_t ld, int64_t n, int64_t size, float f, int64_t padded,
                             int64_t width, float *to) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < width; d += VL)
            vstore(to + i * width + d, vload_n(rows + i * ld + d, size - d) * f);
    if (padded > n) memset(to + n * width, 0, (size_t)((padded - n) * width) * sizeof *to);
}

// 2^x for softmax, where x <= 0 but for rounding: polynomial of degree 5 (7.5e-8 relative, 1.5 ulp with rounding).
// Very negative x give 0 or less than 2^-125; NaN stays NaN.
INLINE vf vexp2(vf x) {
#if VL == 16
    vf n = (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    x = vmax(vset(-126.0f), x);
    vf big = x + 12582912.0f, n = big - 12582912.0f;
#endif
    vf r = x - n, p = r * 1.3276472e-3f + 9.6755410e-3f;
    p = p * r + 5.5507131e-2f;
    p = p * r + 2.4022120e-1f;
    p = p * r + 6.9314694e-1f;
    p = p * r + 1.0f;
#if VL == 16
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    return (vf)((vi)p + (((vi)big - 0x4b400000) << 23));
#endif
}

// x in the lanes before lane m, zero in the others.
INLINE vf vfirst(vf x, int64_t m) {
#if VL == 16
    return (vf)_mm512_maskz_mov_ps((__mmask16)((1u << m) - 1), (__m512)x);
#else
    float lanes[VL] = {0};
    memcpy(lanes, &x, (size_t)m * sizeof(float));
    return vload(lanes);
#endif
}

#endif
