// 16-bit floats: bf16 (the upper half of an f32) and IEEE f16. To 16 bits: round to nearest, ties to even, values
// too large become infinity, NaN stays NaN (sign and upper payload kept, made quiet). From 16 bits: exact.
#ifndef DRT_BASE_HALF_H
#define DRT_BASE_HALF_H

#include <stdint.h>
#include <string.h>

// Inline, so that loops over them become vectors.
static inline float drt_bf16_to_f32(uint16_t h) {
    uint32_t b = (uint32_t)h << 16;
    float x;
    memcpy(&x, &b, 4);
    return x;
}

// x without the last `drop` bits of its significand, to the nearest.
static inline float drt_without_bits(float x, const int drop) {
    const uint32_t last = UINT32_C(1) << drop;
    uint32_t b, rounded, nan;
    memcpy(&b, &x, 4);
    rounded = b + last / 2 - 1 + (b >> drop & 1);
    nan = b | 0x400000;
    b = ((b & 0x7fffffff) > 0x7f800000 ? nan : rounded) & ~(last - 1);
    memcpy(&x, &b, 4);
    return x;
}
// The nearest bf16, as the f32 it stands for; the nearest number of 11 bits, f16's precision with f32's range.
static inline float drt_bf16_rounded(float x) { return drt_without_bits(x, 16); }
static inline float drt_f16_precision(float x) { return drt_without_bits(x, 13); }

static inline uint16_t drt_f32_to_bf16(float x) {
    uint32_t b;
    x = drt_bf16_rounded(x);
    memcpy(&b, &x, 4);
    return (uint16_t)(b >> 16);
}

float drt_f16_to_f32(uint16_t h); // subnormals included
uint16_t drt_f32_to_f16(float x);

// n numbers at once; `in` and `out` do not overlap.
void drt_bf16_to_f32_n(float *out, const uint16_t *in, int64_t n);
void drt_f32_to_bf16_n(uint16_t *out, const float *in, int64_t n);
void drt_f16_to_f32_n(float *out, const uint16_t *in, int64_t n);
void drt_f32_to_f16_n(uint16_t *out, const float *in, int64_t n);

#endif
