// Counts the arithmetic of a device: 2 m n k for every product, 4 head_size for every query, head and key it sees, and
// 10 head_size backwards (five products in the place of two). What is counted depends on shapes alone, not on the
// machine. Everything else (norms, activations, optimizer) is small beside products and is not counted.
//
//   drt_counter c;
//   drt_count_begin(&c, dev);
//   ... c.flops ...                // since drt_count_begin
//   drt_count_end(&c, dev);        // before c is gone or the device is closed
#ifndef DRT_KERNELS_COUNT_H
#define DRT_KERNELS_COUNT_H

#include "kernels/kernels.h"

typedef struct {
    drt_kernels k; // first: the device's table, which finds its counter by it
    const drt_kernels *plain;
    double flops;
} drt_counter;

void drt_count_begin(drt_counter *c, drt_device *dev);
void drt_count_end(drt_counter *c, drt_device *dev);
// Pairs of a query and a key that it sees, times the heads' channels.
double drt_count_attention(const drt_attention *a);

#endif
