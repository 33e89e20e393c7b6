// Watches a device: how long its products and its attention take, shape by shape, while something else drives it; and
// times oneDNN's best way to the same products.
//
//   bench_log log = {0};
//   bench_log_begin(&log, dev, cpu_time);
//   ... a step ...
//   bench_log_end(&log, dev);                    // a further begin goes on counting
//   for (int i = 0; i < log.n; i++) best += log.at[i].calls * bench_best(&log.at[i], dev->threads, 5, cpu_time);
#ifndef DRT_BENCH_PRODUCTS_H
#define DRT_BENCH_PRODUCTS_H

#include "kernels/kernels.h"

enum { BENCH_SHAPES = 256 };

// c [m, n] = op(a) op(b), k long.
typedef struct {
    bool ta, tb;
    drt_dtype a, b;
    int64_t m, n, k;
    int64_t calls;
    double seconds; // of all calls
} bench_product;

typedef struct {
    drt_kernels k; // first: the device's table, which finds its log by it
    const drt_kernels *plain;
    bool cpu;
    bench_product at[BENCH_SHAPES]; // of more shapes, the rest is counted in `seconds` and `flops` alone
    int n;
    double seconds, flops;                        // of products
    double attention, attention_back;             // seconds
    double attention_flops, attention_back_flops; // as kernels/count.h counts them
} bench_log;

void bench_log_begin(bench_log *log, drt_device *dev, bool cpu);
void bench_log_end(bench_log *log, drt_device *dev);

// Median seconds of oneDNN's fastest way to this product with that many OpenMP threads: dnnl_sgemm, its matmul compiled
// for the shape, and, of bf16 operands, the bf16 one.
double bench_best(const bench_product *p, int threads, int repeats, bool cpu);

#endif
