// What the fast kernels share: the device's own state, scratch, argument checks, the number of threads of a loop.
//
// Files in isa/ are compiled once per instruction set; DRT_FN(name) pastes the set's name, so that isa/table.c can
// export one table of kernels per set and cpu.c choose one at run time.
#ifndef DRT_KERNELS_CPU_H
#define DRT_KERNELS_CPU_H

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/f16.h"
#include "kernels/cpu/pool.h"
#include "kernels/kernels.h"

// What one instruction set has: the table of kernels, and what others than it itself call.
typedef struct {
    drt_kernels kernels;
    void (*convert_block)(drt_mat x, drt_mat y); // kernels.convert of a few rows, on the thread that calls
} drt_cpu_table;

typedef struct {
    drt_pool *pool;
    const drt_cpu_table *table;
    struct {
        float *data; // 64-byte aligned; grows, never shrinks
        size_t floats;
    } scratch, expanded;
    bool compiled;           // oneDNN has made all its kernels of f32 products
    void *nowhere;           // scratch of a dry device
    size_t packed;           // bytes that oneDNN takes to pack the largest product's operands
    drt_bf16_products *bf16; // NULL: bf16 is multiplied in f32, from expanded copies
    bool f16;                // f16 is multiplied as such (f16.h)
} drt_cpu_state;

// At least `floats` floats, 64-byte aligned, valid until the next call; NULL after drt_device_fail.
float *drt_cpu_scratch(drt_device *dev, size_t floats);
// The same from another place, for what is multiplied: the product itself uses the scratch.
float *drt_cpu_expanded(drt_device *dev, size_t floats);

// False when nothing should be computed: an earlier error, or a matrix that is not f32 (which sets the error).
bool drt_cpu_ready(drt_device *dev, const char *kernel, int mats, const drt_mat *mat);
#define DRT_READY(dev, kernel, ...)                                                                                    \
    drt_cpu_ready(dev, kernel, (int)(sizeof((drt_mat[]){__VA_ARGS__}) / sizeof(drt_mat)), (drt_mat[]){__VA_ARGS__})

// False, with the error set, when one of n indices is not in [least, limit).
bool drt_cpu_indices_good(drt_device *dev, const char *kernel, const int32_t *index, int64_t n, int32_t least,
                          int64_t limit);

// A piece of a loop touches about so many floats: some 5 us, ten times what it costs to claim one.
enum { DRT_GRAIN = 16384 };

// body over the rows [0, rows) in pieces of DRT_GRAIN elements, `cost` elements a row.
static inline void drt_cpu_rows(drt_device *dev, int64_t rows, int64_t cost, drt_pool_body *body, const void *args) {
    int64_t grain = cost >= DRT_GRAIN ? 1 : DRT_GRAIN / (cost > 0 ? cost : 1);
    if (!dev->dry) drt_pool_run(((drt_cpu_state *)dev->state)->pool, rows, grain, body, args);
}

// Into how many parts a reduction over `elements` is cut, each with its own partial sum: fixed by the size and the
// number of threads, so that the same number of threads gives the same bits.
static inline int drt_cpu_parts(const drt_device *dev, int64_t elements) {
    int64_t most = elements / DRT_GRAIN + 1, parts = dev->threads == 1 ? 1 : 4 * (int64_t)dev->threads;
    return (int)(parts < most ? parts : most);
}
// Part p of `parts` of n things begins here.
static inline int64_t drt_part_first(int64_t n, int64_t p, int64_t parts) { return n * p / parts; }
// body over the parts, one a piece.
static inline void drt_cpu_each(drt_device *dev, int64_t parts, drt_pool_body *body, const void *args) {
    if (!dev->dry) drt_pool_run(((drt_cpu_state *)dev->state)->pool, parts, 1, body, args);
}

// The product of any types, weights in 16 bits a panel at a time. DRT_FN(matmul) takes the few rows of generation
// before it.
void drt_cpu_matmul(drt_device *, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c);
// The same without panels: what is not of the type that is multiplied (drt_cpu_multiplied) is converted piece by piece.
void drt_cpu_product(drt_device *, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c);
// As what numbers of these types are multiplied: bf16 or f16 where both are and the machine is fast at it (bf16.h,
// f16.h), else f32.
drt_dtype drt_cpu_multiplied(const drt_device *, drt_dtype a, drt_dtype b);
// False, with the error set, when the shapes do not fit (bias and c must be f32).
bool drt_cpu_product_fits(drt_device *, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, drt_mat c);

extern const drt_cpu_table drt_cpu_table_base;
#ifdef __x86_64__
extern const drt_cpu_table drt_cpu_table_v3;
extern const drt_cpu_table drt_cpu_table_v4;
#endif

#define DRT_PASTE2(a, b) a##_##b
#define DRT_PASTE(a, b) DRT_PASTE2(a, b)
#define DRT_FN(name) DRT_PASTE(drt_cpu_##name, DRT_ISA)

#endif
