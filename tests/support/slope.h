// Gradient checks of tape operations by finite differences, on ref and cpu.
//
//   static drt_tensor *build(drt_tape *t, drt_tensor *const *leaf, const void *context) {
//       return drt_linear(t, leaf[0], leaf[1], leaf[2]);
//   }
//   slope_check(&(slope){"linear", 3, {5, 3, 1}, {7, 7, 3}, .build = build});
//
// The result is projected to a scalar by a random row and column factor (a [1, 1] result is one already). For every
// leaf, the derivative along random unit directions d is compared with <gradient, d>. Checked beside it: gradients of a
// tenth more and of zero are refused; a leaf that is frozen gets none, and the others get the same bits; with all
// frozen nothing is recorded; running the step again gives the same bits.
//
// Tolerance, one formula: the derivative is taken by Richardson's rule from steps h and 2h, h = 1/32, of unit length.
// Its truncation, h^4/30 times a fifth derivative, is below rounding. With S the sum of the absolute terms of the
// projection a loss in f32 is off by a few units of 2^-24 * S, and the difference by that over h: 32 * 2^-24 * S / h =
// 6e-5 S.
#ifndef DRT_TESTS_SLOPE_H
#define DRT_TESTS_SLOPE_H

#include "support/check.h"

#include "tensor/ops.h"
#include "tensor/params.h"

enum { SLOPE_LEAVES = 6 };

typedef struct {
    const char *name;
    int leaves;
    int64_t rows[SLOPE_LEAVES], cols[SLOPE_LEAVES];
    drt_tensor *(*build)(drt_tape *t, drt_tensor *const *leaf, const void *context);
    const void *context;
    bool away; // leaves keep half away from 0: the function has a kink there
    bool flat; // the derivative may vanish (one column under a norm): do not ask that wrong gradients be refused
} slope;

void slope_check(const slope *s);

// A device and a tape for tests that look closer.
typedef struct {
    drt_device *dev;
    drt_tape *t;
    drt_params *p;
} bench;
void bench_open(bench *b, const char *device);
drt_tensor *bench_leaf(bench *b, int64_t rows, int64_t cols, drt_group group); // before bench_ready
void bench_ready(bench *b, const bool *learns); // allocates and fills with normal numbers
void bench_close(bench *b);
// A copy of x on the tape, so that it is no leaf.
drt_tensor *bench_copy(drt_tape *t, drt_tensor *x);
// sum of y[r, c] * row[r] * col[c], factors from a stream: [1, 1].
drt_tensor *bench_project(drt_tape *t, drt_tensor *y, uint64_t seed);

#endif
