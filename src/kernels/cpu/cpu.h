// What the fast kernels share: the device's own state, scratch, argument checks, the number of threads of a loop.
//
// Files in isa/ are compiled once per instruction set; DRT_FN(name) pastes the set's name, so that isa/table.c can
// export one table of kernels per set and cpu.c choose one at run time.
#ifndef DRT_KERNELS_CPU_H
#define DRT_KERNELS_CPU_H

#include "kernels/kernels.h"

typedef struct {
    float *scratch; // 64-byte aligned; grows, never shrinks
    size_t floats;
} drt_cpu_state;

// At least `floats` floats, 64-byte aligned, valid until the next call; NULL after drt_device_fail.
float *drt_cpu_scratch(drt_device *dev, size_t floats);

// False when nothing should be computed: an earlier error, or a matrix that is not f32 (which sets the error).
bool drt_cpu_ready(drt_device *dev, const char *kernel, int mats, const drt_mat *mat);
#define DRT_READY(dev, kernel, ...)                                                                                   \
    drt_cpu_ready(dev, kernel, (int)(sizeof((drt_mat[]){__VA_ARGS__}) / sizeof(drt_mat)), (drt_mat[]){__VA_ARGS__})

// False, with the error set, when an index is not below `limit` (negative ones are the caller's business).
bool drt_cpu_indices_below(drt_device *dev, const char *kernel, const int32_t *index, int64_t n, int64_t limit);

// Threads for a loop that touches `elements` floats: a parallel region costs about 2 us, which is what one core
// needs for some 16 K floats in cache.
static inline int drt_cpu_threads(const drt_device *dev, int64_t elements) {
    return elements < 16384 ? 1 : dev->threads;
}

// Part p of `parts` of n things: [first, last). Reductions use it instead of the runtime's own schedule, so that
// the same number of parts gives the same bits whichever threads come.
static inline int64_t drt_part_first(int64_t n, int p, int parts) { return n * p / parts; }

void drt_cpu_matmul(drt_device *, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c);

extern const drt_kernels drt_cpu_table_base;
#ifdef __x86_64__
extern const drt_kernels drt_cpu_table_v3;
extern const drt_kernels drt_cpu_table_v4;
#endif

#define DRT_PASTE2(a, b) a##_##b
#define DRT_PASTE(a, b) DRT_PASTE2(a, b)
#define DRT_FN(name) DRT_PASTE(drt_cpu_##name, DRT_ISA)

#endif
