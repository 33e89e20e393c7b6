// Small products for attention, whose operands lie in L1 or L2: a tile of TILE_ROWS x (1 to TILE_VECTORS vectors)
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
// Floats in a row of a tile: attention's query rows stand in panels of so many.
enum { PANEL = TILE_VECTORS * VL };

typedef vf drt_tile[TILE_ROWS][TILE_VECTORS];

INLINE int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// c[i][j] += sum over t < depth of a[i * a_row + t * a_step] * b[t * b_row + j], j < vectors * VL
INLINE void tile_add(const int vectors, int64_t depth, const float *a, int64_t a_row, int64_t a_step, const float *b,
                     int64_t b_row, drt_tile c) {
    for (int64_t t = 0; t < depth; t++, a += a_step, b += b_row) {
        vf y[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) y[j] = vload(b + j * VL);
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) {
            vf x = vset(a[i * a_row]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) c[i][j] += x * y[j];
        }
    }
}

// Every row of the tile is x.
INLINE void tile_fill(const int vectors, const vf x[TILE_VECTORS], drt_tile c) {
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) c[i][j] = x[j];
}

// The call of f(VECTORS, ...) with the number of vectors as a constant.
#define BY_VECTORS(vectors, f, ...)                                                                                    \
    do {                                                                                                               \
        if ((vectors) == 1) f(1, __VA_ARGS__);                                                                         \
        else if ((vectors) == 2 || TILE_VECTORS == 2) f(2, __VA_ARGS__);                                               \
        else f(TILE_VECTORS, __VA_ARGS__);                                                                             \
    } while (0)

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

// n <= PANEL rows of `size` floats, times f, as the columns of a panel [size][PANEL]; absent rows up to whole vectors
// are zero, beyond them nothing is written.
static inline void pack_transposed(const float *const *rows, int64_t n, int64_t size, float f, float *panel) {
    for (int64_t j = 0; j < n; j += VL)
        for (int64_t d = 0; d < size; d += VL) {
            vf x[VL];
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++) x[i] = j + i < n ? vload_n(rows[j + i] + d, size - d) * f : vset(0.0f);
            transpose_block(x);
            float *to = panel + d * PANEL + j;
            int64_t deep = size - d < VL ? size - d : VL;
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++)
                if (i < deep) vstore(to + i * PANEL, x[i]);
        }
}

// n rows of `size` floats, `ld` apart, into rows of `width` floats; zero in the gap and in rows up to `padded`.
static inline void pack_rows(const float *rows, int64_t ld, int64_t n, int64_t size, int64_t padded, int64_t width,
                             float *to) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < width; d += VL) vstore(to + i * width + d, vload_n(rows + i * ld + d, size - d));
    if (padded > n) memset(to + n * width, 0, (size_t)((padded - n) * width) * sizeof *to);
}

// 2^x for softmax, where x <= 0 but for rounding: polynomial of degree 5 (7.5e-8 relative, 1.5 ulp with rounding).
// Below -127 it is 0, between that and -126 less than 2^-126; NaN stays NaN.
INLINE vf vexp2(vf x) {
#if VL == 16
    vf n = (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    x = vmax(vset(-127.0f), x);
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
