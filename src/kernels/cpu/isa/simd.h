// A vector of floats as wide as the instruction set, and the few functions that plain C loops do not vectorise well.
#ifndef DRT_KERNELS_CPU_SIMD_H
#define DRT_KERNELS_CPU_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#if defined __AVX512F__
#define VL 16
#elif defined __AVX2__
#define VL 8
#else
#define VL 4
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef float vf_any __attribute__((vector_size(VL * 4), aligned(4), may_alias)); // at any address
typedef int32_t vi_any __attribute__((vector_size(VL * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline, unused))

INLINE vf vset(float x) { return x - (vf){0}; }
INLINE vf vload(const float *p) { return *(const vf_any *)p; }
INLINE void vstore(float *p, vf x) { *(vf_any *)p = x; }
INLINE vi vload_int(const int32_t *p) { return *(const vi_any *)p; }

// The first m floats (1 <= m), the rest zero; m >= VL is a whole vector.
INLINE vf vload_n(const float *p, int64_t m) {
    if (m >= VL) return vload(p);
#if VL == 16
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << m) - 1), p);
#else
    vf x = {0};
    memcpy(&x, p, (size_t)m * sizeof(float));
    return x;
#endif
}
INLINE void vstore_n(float *p, int64_t m, vf x) {
    if (m >= VL) {
        vstore(p, x);
        return;
    }
#if VL == 16
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << m) - 1), (__m512)x);
#else
    memcpy(p, &x, (size_t)m * sizeof(float));
#endif
}

// a where the mask is set, else b.
INLINE vf vselect(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }

// A NaN in b comes out (that is what the instruction does).
INLINE vf vmax(vf a, vf b) {
#if VL == 16
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif VL == 8
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vselect(a > b, a, b);
#endif
}
INLINE vf vmin(vf a, vf b) {
#if VL == 16
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif VL == 8
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return vselect(a < b, a, b);
#endif
}
INLINE vf vabs(vf x) { return (vf)((vi)x & 0x7fffffff); }

INLINE float vsum(vf x) {
#if VL == 16
    return _mm512_reduce_add_ps((__m512)x);
#else
    float s[VL];
    memcpy(s, &x, sizeof s);
    for (int w = VL / 2; w; w /= 2)
        for (int i = 0; i < w; i++) s[i] += s[i + w];
    return s[0];
#endif
}
INLINE float vlargest(vf x) {
#if VL == 16
    return _mm512_reduce_max_ps((__m512)x);
#else
    float s[VL];
    memcpy(s, &x, sizeof s);
    for (int w = VL / 2; w; w /= 2)
        for (int i = 0; i < w; i++) s[i] = s[i] > s[i + w] ? s[i] : s[i + w];
    return s[0];
#endif
}

// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, minimax polynomial of degree 6 in r (2e-9), times 2^n. Over [-87, 88] the error
// is at most 1 ulp; below -104 it is 0, above 88.73 infinity, NaN stays NaN.
INLINE vf vexp(vf x) {
    x = vmin(vset(89.0f), vmax(vset(-104.0f), x));
#if VL == 16
    vf n = (vf)_mm512_roundscale_ps((__m512)(x * 1.44269504f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
    vf big = x * 1.44269504f + 12582912.0f, n = big - 12582912.0f;
#endif
    vf r = x - n * 0.693359375f; // exact: the constant has 9 bits, n at most 8
    r = r + n * 2.12194440e-4f;
    vf p = r * 1.3836742e-3f + 8.3748987e-3f;
    p = p * r + 4.16682325e-2f;
    p = p * r + 1.66664198e-1f;
    p = p * r + 0.49999991f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
#if VL == 16
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    // In two steps, because 2^n alone leaves the range of floats at both ends.
    vi e = (vi)big - 0x4b400000, half = e >> 1;
    return p * (vf)((half + 127) << 23) * (vf)((e - half + 127) << 23);
#endif
}

// Natural logarithm of a normal positive x; NaN stays NaN. With x = 2^e m, sqrt(1/2) <= m < sqrt(2), and
// s = (m - 1) / (m + 1): e ln 2 + 2 artanh(s), whose series in s^2 <= 0.0295 ends here at 3e-9 relative.
INLINE vf vlog(vf x) {
    vi e = ((vi)x - 0x3f3504f3) >> 23;
    vf m = (vf)((vi)x - (e << 23)), s = (m - 1.0f) / (m + 1.0f), z = s * s;
    vf p = z * 0.222222222f + 0.285714286f;
    p = p * z + 0.4f;
    p = p * z + 0.666666667f;
    vf n = __builtin_convertvector(e, vf);
    return n * 0.693359375f + (s * 2.0f + (s * z * p - n * 2.12194440e-4f)) + x * 0.0f;
}

#endif
