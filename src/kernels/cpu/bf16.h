// bf16 products by oneDNN's matmul primitive, sums in f32.
//
// Row counts and strides are run-time dimensions: eight primitives (two transposes, write or add) serve every shape,
// and nothing is compiled after the device is open.
//
// Not every machine that has bf16 instructions gains by them. GFLOP/s of one thread at 640x4096x4096, f32 and bf16:
// Sapphire Rapids without AMX 146 and 82 (vdpbf16ps runs every other cycle, f32 FMA twice a cycle), Zen 4 110 and 220.
// So they are used where AMX is, or on AMD. A rule, not a measurement at start: the same machine must give the same
// bits.
#ifndef DRT_KERNELS_CPU_BF16_H
#define DRT_KERNELS_CPU_BF16_H

#include "kernels/kernels.h"

typedef struct drt_bf16_products drt_bf16_products;

// Whether bf16 instructions are there and faster than f32's.
bool drt_bf16_is_fast(void);
// NULL when oneDNN has no such product on this machine, or no memory.
drt_bf16_products *drt_bf16_open(int threads);
void drt_bf16_close(drt_bf16_products *p);
// c (+)= op(a) op(b), a and b bf16, c f32; 0 or oneDNN's status. One call per worker at a time.
int drt_bf16_multiply(const drt_bf16_products *p, int worker, bool ta, bool tb, drt_mat a, drt_mat b, bool add,
                      drt_mat c);

#endif
