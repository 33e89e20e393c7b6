// How far two correct programs may be apart, from rounding alone: one formula for every test that compares numbers.
#ifndef DRT_TESTS_TOLERANCE_H
#define DRT_TESTS_TOLERANCE_H

#include "kernels/kernels.h"

#include <math.h>

// The spacing of a type's numbers at 1.
static inline double type_spacing(drt_dtype type) {
    return type == DRT_F32 ? 0x1p-23 : type == DRT_F16 ? 0x1p-10 : 0x1p-7;
}

// Of a sum of n terms that are rounded to `type`, relative to the size of the sum: errors of roundings are independent
// enough to grow as sqrt(n); 4 and 2 leave room for the last operations and for constants.
static inline double rounding_tolerance(drt_dtype type, double n) { return type_spacing(type) * (4 + 2 * sqrt(n)); }

// Of n products, one behind the other, whose operands are read as bf16 or as f16: with f16, sums of 64 terms are
// rounded, too, which costs at most 0.6 of what reading bf16 does (tests/kernels/f16_test.c).
static inline double product_tolerance(drt_dtype type, double n) {
    return (type == DRT_AS_F16 ? 0.6 : 1) * rounding_tolerance(DRT_BF16, n);
}

#endif
