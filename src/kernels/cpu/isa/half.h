// Numbers of any type to vectors of floats and back.
#ifndef DRT_KERNELS_CPU_HALF_H
#define DRT_KERNELS_CPU_HALF_H

#include "base/half.h"
#include "kernels/cpu/isa/simd.h"
#include "kernels/kernels.h"

// VL numbers.
INLINE vf drt_vector_of_bf16(const uint16_t *x) {
    vf y;
#if VL == 16
    y = (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)x)), 16);
#elif VL == 8
    y = (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)x)), 16);
#else
    for (int i = 0; i < VL; i++) y[i] = drt_bf16_to_f32(x[i]);
#endif
    return y;
}

INLINE vf drt_vector_of_f16(const uint16_t *x) {
    vf y;
#if VL == 16
    y = (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)x));
#elif VL == 8 && defined __F16C__
    y = (vf)_mm256_cvtph_ps(_mm_loadu_si128((const void *)x));
#else
    for (int i = 0; i < VL; i++) y[i] = drt_f16_to_f32(x[i]);
#endif
    return y;
}

// The first m numbers (1 <= m), the rest zero; m >= VL is a whole vector.
INLINE vf drt_expand_vector(const uint16_t *x, drt_dtype type, int64_t m) {
    uint16_t some[VL] = {0};
    if (m < VL) memcpy(some, x, (size_t)m * sizeof *x), x = some;
    return type == DRT_BF16 ? drt_vector_of_bf16(x) : drt_vector_of_f16(x);
}

INLINE void drt_expand(const void *x, drt_dtype type, float *y, int64_t n) {
    if (type == DRT_F32) memcpy(y, x, (size_t)n * sizeof *y);
    else if (type == DRT_AS_BF16 || type == DRT_AS_F16) {
        const float *f = x;
        // Activations come from memory, and nothing here hides its latency but what is asked for in advance: 0.57 and
        // 0.41 ns a number; 512 or 2048 numbers ahead are no better.
        for (int64_t i = 0; i < n; i += 64) {
            int64_t m = n - i < 64 ? n - i : 64;
            for (int64_t j = 0; j < m; j += 16) __builtin_prefetch(f + i + j + 1024);
            if (type == DRT_AS_F16)
#pragma omp simd
                for (int64_t j = 0; j < m; j++) y[i + j] = drt_f16_precision(f[i + j]);
            else
#pragma omp simd
                for (int64_t j = 0; j < m; j++) y[i + j] = drt_bf16_rounded(f[i + j]);
        }
    } else
        for (int64_t i = 0; i < n; i += VL)
            vstore_n(y + i, n - i, drt_expand_vector((const uint16_t *)x + i, type, n - i));
}

INLINE void drt_narrow(const float *x, uint16_t *y, drt_dtype type, int64_t n) {
    if (type == DRT_BF16) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = drt_f32_to_bf16(x[i]);
    } else
        for (int64_t i = 0; i < n; i++) y[i] = drt_f32_to_f16(x[i]);
}

#endif
