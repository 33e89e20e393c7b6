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

// The nearest bf16, as the f32 it stands for.
static inline float drt_bf16_rounded(float x) {
    uint32_t b, rounded, nan;
    memcpy(&b, &x, 4);
    rounded = b + 0x7fff + (b >> 16 & 1);
    nan = b | 0x400000;
    b = ((b & 0x7fffffff) > 0x7f800000 ? nan : rounded) & 0xffff0000;
    memcpy(&x, &b, 4);
    return x;
}

// The nearest number of 11 bits, f16's precision with f32's range.
static inline float drt_f16_precision(float x) {
    uint32_t b, rounded, nan;
    memcpy(&b, &x, 4);
    rounded = b + 0xfff + (b >> 13 & 1);
    nan = b | 0x400000;
    b = ((b & 0x7fffffff) > 0x7f800000 ? nan : rounded) & 0xffffe000;
    memcpy(&x, &b, 4);
    return x;
}

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
