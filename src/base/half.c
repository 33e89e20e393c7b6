#include "base/half.h"

#include <string.h>

static inline uint32_t bits_of(float x) {
    uint32_t b;
    memcpy(&b, &x, 4);
    return b;
}

static inline float float_of(uint32_t b) {
    float x;
    memcpy(&x, &b, 4);
    return x;
}

static inline float f16_up(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, m = h & 0x3ff;
    if (exponent == 31) return float_of(sign | 0x7f800000 | m << 13);
    if (exponent) return float_of(sign | (exponent + 112) << 23 | m << 13);
    return float_of(sign | bits_of((float)m * 0x1p-24f));
}

static inline uint16_t f16_down(float x) {
    uint32_t b = bits_of(x), sign = b >> 16 & 0x8000, a = b & 0x7fffffff, h;
    if (a > 0x7f800000) h = 0x7e00 | (a >> 13 & 0x3ff);
    else if (a >= 0x477ff000) h = 0x7c00; // 65520, half way past the largest f16, and all above
    else if (a >= 0x38800000) h = (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13;
    else if (a < 0x33000000) h = 0; // below half of the smallest subnormal
    else {
        uint32_t m = (a & 0x7fffff) | 0x800000, shift = 126 - (a >> 23);
        uint32_t rest = m & ((1u << shift) - 1), half = 1u << (shift - 1);
        h = m >> shift;
        h += rest > half || (rest == half && (h & 1));
    }
    return (uint16_t)(sign | h);
}

float drt_f16_to_f32(uint16_t h) { return f16_up(h); }
uint16_t drt_f32_to_f16(float x) { return f16_down(x); }

void drt_bf16_to_f32_n(float *out, const uint16_t *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = drt_bf16_to_f32(in[i]);
}

void drt_f32_to_bf16_n(uint16_t *out, const float *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = drt_f32_to_bf16(in[i]);
}

void drt_f16_to_f32_n(float *out, const uint16_t *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = f16_up(in[i]);
}

void drt_f32_to_f16_n(uint16_t *out, const float *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = f16_down(in[i]);
}
