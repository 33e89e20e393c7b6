// Products of numbers read as f16, on machines that multiply 32 of them at once (AVX512-FP16): twice f32's rate.
//
// An f16 has 11 bits, 8 times bf16's precision, but little range. So each row of op(a), and each panel of 64 columns of
// op(b), is scaled by a power of two for every 256 terms, to a largest number of 8 to 16: what is 2^17 times smaller
// than that loses bits, what is 2^28 times smaller is 0, and nothing overflows. Sums of 64 products are f16, and these
// are added up in f32. Of random terms such a sum is wrong by 1.2e-3 of itself (0.3 sqrt(64) 2^-11); with both operands
// rounded to bf16 and sums in f32 it is 2.3e-3 (tests/kernels/f16_test.c).
//
// A row of c depends on its own row of a and on b alone: not on its place, the other rows or the number of threads.
#ifndef DRT_KERNELS_CPU_F16_H
#define DRT_KERNELS_CPU_F16_H

#include "kernels/kernels.h"

// Whether this machine has the instructions, and this program was built by a compiler that knows them (GCC 12).
bool drt_f16_is_fast(void);
// c (+)= op(a) op(b) + bias; a and b f32 in memory. At least one term. Shapes as checked by drt_cpu_product_fits.
void drt_f16_product(drt_device *, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c);

#endif
