// The seam to the hardware: a table of kernels over row matrices, filled by `ref` (plain C, the oracle), `cpu` (fast)
// and later `cuda`. Nothing above this room knows a backend.
//
//   drt_device *dev;
//   if (drt_device_open(&dev, "cpu", 0, &err)) ...
//   dev->k->rms_norm(dev, x, w, 1e-5f, y, stat);
//   if (dev->error.code) ...                        // errors stick, the caller checks once
//   drt_device_close(dev);
//
// Conventions
// - A matrix is rows of tokens: [rows, cols], row-major, `ld` elements from row to row (ld >= cols), so a column
//   slice is a matrix too. rows may be 0 everywhere: then nothing happens (accumulating outputs stay as they are).
// - Matrices are f32. Those of weights may be stored in 16 bits, and what is multiplied be read rounded:
//   `matmul` takes a and b, `copy_rows` and `convert` their source in any type. Another type anywhere else sets
//   dev->error (DRT_EARG). Numbers are taken as they stand; sums, statistics, losses and optimizer state are f32 or
//   better.
// - `acc`: false writes the output, true adds to it. Parameter gradients (dw, db) always add.
// - An output with data == NULL is not computed (frozen or unused).
// - Same inputs, same thread count: the same bits.
#ifndef DRT_KERNELS_KERNELS_H
#define DRT_KERNELS_KERNELS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    DRT_F32,
    DRT_BF16,
    DRT_F16,
    // f32 in memory, read rounded to the nearest, ties to even: to 8 bits, as bf16 has, or to 11, as f16 has, but with
    // f32's range (cpu/f16.h has what that means there). Nothing is written so.
    DRT_AS_BF16,
    DRT_AS_F16
} drt_dtype;

typedef struct {
    void *data;
    int64_t rows, cols, ld; // in elements
    drt_dtype type;
} drt_mat;

static inline size_t drt_dtype_size(drt_dtype t) { return t == DRT_BF16 || t == DRT_F16 ? 2 : 4; }
static inline const char *drt_dtype_name(drt_dtype t) {
    return t == DRT_F32       ? "f32"
           : t == DRT_BF16    ? "bf16"
           : t == DRT_F16     ? "f16"
           : t == DRT_AS_BF16 ? "f32 as bf16"
                              : "f32 as f16";
}
static inline drt_mat drt_mat_f32(float *data, int64_t rows, int64_t cols) {
    return (drt_mat){data, rows, cols, cols, DRT_F32};
}
static inline float *drt_row(drt_mat m, int64_t r) { return (float *)m.data + r * m.ld; }
// Rows [row, row + rows) and columns [col, col + cols) of m.
static inline drt_mat drt_mat_part(drt_mat m, int64_t row, int64_t rows, int64_t col, int64_t cols) {
    char *p = m.data ? (char *)m.data + (size_t)(row * m.ld + col) * drt_dtype_size(m.type) : NULL;
    return (drt_mat){p, rows, cols, m.ld, m.type};
}

typedef enum {
    DRT_GELU,       // exact, erf
    DRT_QUICK_GELU, // x*sigmoid(1.702x)
    DRT_SILU,
    DRT_RELU,
    DRT_GELU_TANH // x/2*(1 + tanh(sqrt(2/pi)*(x + 0.044715x^3))): SigLIP's, Gemma's and Phi-2's
} drt_activation;

// One varlen attention: `sequences` laid end to end, queries and keys each with their own offsets (keys are longer
// when they come from a cache).
typedef struct {
    int sequences;
    const int32_t *q_offsets; // [sequences + 1], ascending, q_offsets[0] = 0; empty sequences allowed
    const int32_t *k_offsets; // [sequences + 1]
    // [q rows] how many keys of its own sequence a query sees, from the first on; not descending inside a sequence.
    // NULL: all (bidirectional). Causal self-attention: 1, 2, 3, ... A query with reach 0 gets output 0, mass 0.
    const int32_t *reach;
    int heads, kv_heads, head_size; // heads is a multiple of kv_heads; q: [q rows, heads*head_size]
    float scale;                    // usually 1/sqrt(head_size)
    const uint8_t *visual;          // [k rows] nonzero: this key counts in the mass (METHODS 2.3); NULL: no mass
    bool f16; // products may read their operands as DRT_AS_F16; cpu does where heads are as wide as a model
} drt_attention;

typedef struct {
    float lr, beta1, beta2, eps, weight_decay;
    float correction1, correction2; // 1 - beta^t
    float grad_scale;               // multiplies the gradient first (clipping)
} drt_adamw;

// Sinkhorn's normalisation: a sweep scales rows, then columns, so that each sums to 1.
typedef struct {
    int sweeps;      // at most; >= 1
    float tolerance; // no more sweeps when all rows sum to 1 within this; 0: all of them
    bool implicit;   // gradient of the fixed point instead of the one through the sweeps that were made
} drt_sinkhorn;

// Whether dropout clears element (row, col): a function of its place and the key alone, so that a mask is never stored
// and does not depend on threads. An integer hash (two rounds of multiply and shift) below rate * 2^32.
static inline uint32_t drt_scramble(uint32_t x) {
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}
static inline uint32_t drt_drop_row(uint64_t key, int64_t row) {
    return drt_scramble((uint32_t)(key >> 32) ^ drt_scramble((uint32_t)key + (uint32_t)row));
}
static inline uint32_t drt_drop_limit(float rate) { return (uint32_t)((double)rate * 4294967296.0); }
static inline bool drt_dropped(uint32_t drop_row, uint32_t col, uint32_t limit) {
    return drt_scramble(drop_row + col * 0x9E3779B9u) < limit;
}

typedef struct drt_device drt_device;

typedef struct drt_kernels {
    const char *name;

    // c (+)= op(a) op(b) + bias; a and b in any type, each its own; op is the transpose where ta/tb. bias: [1, cols of
    // c] or data NULL. Linear layer, weight w [out, in]: y = matmul(x, w^T); dx = matmul(dy, w); dw += matmul(dy^T, x).
    void (*matmul)(drt_device *, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c);
    // out[0, c] (+)= sum over rows of x[r, c]: the bias gradient.
    void (*col_sum)(drt_device *, drt_mat x, bool acc, drt_mat out);

    // For i in [0, n): dst[di[i]] (=|+=) s[i] * src[si[i]]. Index array NULL: i itself; factor NULL: 1. A negative
    // index skips the row i. Rows may repeat in di when acc (summed in the order of i). src in any type, dst f32. This
    // one kernel is embedding lookup, splice, reordering, row selection, pooling, and all their backwards.
    void (*copy_rows)(drt_device *, drt_mat dst, const int32_t *di, drt_mat src, const int32_t *si, const float *s,
                      int64_t n, bool acc);
    // y = x, from any type to f32, bf16 or f16; to 16 bits: to the nearest, ties to even (base/half.h).
    void (*convert)(drt_device *, drt_mat x, drt_mat y);
    void (*fill)(drt_device *, drt_mat x, float value);
    // y = a + b (y may be a or b)
    void (*add)(drt_device *, drt_mat a, drt_mat b, drt_mat y);
    // y (+)= alpha * x
    void (*scale)(drt_device *, float alpha, drt_mat x, bool acc, drt_mat y);

    // Dropout: y (+)= x / (1 - rate) where drt_dropped does not hold, else 0. 0 <= rate < 1. It is its own backward.
    void (*drop)(drt_device *, uint64_t key, float rate, drt_mat x, bool acc, drt_mat y);

    void (*activate)(drt_device *, drt_activation, drt_mat x, drt_mat y);
    void (*activate_back)(drt_device *, drt_activation, drt_mat x, drt_mat dy, bool acc, drt_mat dx);
    // x = [gate | up], [rows, 2f]; y = act(gate) * up, [rows, f].
    void (*glu)(drt_device *, drt_activation, drt_mat x, drt_mat y);
    void (*glu_back)(drt_device *, drt_activation, drt_mat x, drt_mat dy, bool acc, drt_mat dx);

    // y = (x - mean) * rstd * w + b over the columns; w, b: [1, cols]; stat: [rows, 2] = mean, rstd (f32).
    void (*layer_norm)(drt_device *, drt_mat x, drt_mat w, drt_mat b, float eps, drt_mat y, drt_mat stat);
    void (*layer_norm_back)(drt_device *, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                            drt_mat dw, drt_mat db);
    // y = x * rstd * w, rstd = 1/sqrt(mean(x^2) + eps); stat: [rows, 1] = rstd.
    void (*rms_norm)(drt_device *, drt_mat x, drt_mat w, float eps, drt_mat y, drt_mat stat);
    void (*rms_norm_back)(drt_device *, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                          drt_mat dw);
    // y = x / max(|x|, 1e-12) row by row; norm: [rows, 1] = that maximum.
    void (*unit_rows)(drt_device *, drt_mat x, drt_mat y, drt_mat norm);
    void (*unit_rows_back)(drt_device *, drt_mat y, drt_mat norm, drt_mat dy, bool acc, drt_mat dx);

    // Rotary positions, in place, Hugging Face's half-split order: for j < half the pair (x[j], x[j + half]) of a head
    // turns by the angle of table row position[r]. table: [positions, 2 half] = cos | sin, f32; 2 half <= head_size,
    // a head's channels from 2 half on stay. inverse: turn back (the backward). x: [rows, heads*head_size].
    void (*rope)(drt_device *, drt_mat x, const int32_t *position, drt_mat table, int head_size, bool inverse);

    // out: [q rows, heads*head_size]; lse: [q rows, heads] log-sum-exp of the scaled scores; mass: [q rows, heads]
    // probability on visual keys (data NULL without `visual`). Memory linear in rows: scores are never stored.
    void (*attention)(drt_device *, const drt_attention *, drt_mat q, drt_mat k, drt_mat v, drt_mat out, drt_mat lse,
                      drt_mat mass);
    // dmass: [q rows, heads] gradient of mass, or data NULL. dq, dk, dv are written when !acc, added to when acc.
    void (*attention_back)(drt_device *, const drt_attention *, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                           drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq, drt_mat dk,
                           drt_mat dv);

    // Per row: lse = log sum exp(logits), loss = lse - logits[label]; hit (may be NULL): 1 if the label is the first
    // of the largest. logits: [n, classes]; lse, loss: [n, 1].
    void (*cross_entropy)(drt_device *, drt_mat logits, const int32_t *label, drt_mat lse, drt_mat loss, float *hit);
    // In place: logits[r, c] = (softmax(logits)[r, c] - [c == label[r]]) * weight[r].
    void (*cross_entropy_back)(drt_device *, drt_mat logits, const int32_t *label, drt_mat lse, const float *weight);

    // p[i, j] = e^(s[i, j] + f[i] + g[j]), [n, n], by sweeps f = -lse_j(s + g), g = -lse_i(s + f) from g = 0 on. s is
    // finite; nothing overflows. trace: [2 sweeps, n] = f + the largest s, g after each sweep, for the gradient (data
    // NULL: not wanted); *done: sweeps made, on the host.
    void (*sinkhorn)(drt_device *, const drt_sinkhorn *, drt_mat s, drt_mat p, drt_mat trace, int *done);
    // Exact for the sweeps made; or, `implicit`, for the limit of many sweeps, which p must be close to.
    void (*sinkhorn_back)(drt_device *, const drt_sinkhorn *, drt_mat s, drt_mat p, drt_mat trace, int done, drt_mat dp,
                          bool acc, drt_mat ds);

    // sum of x[r, c] * s[r] (s NULL: 1), in double, in a fixed order; written to *out on the host.
    void (*sum)(drt_device *, drt_mat x, const float *s, double *out);
    // sum of squares, likewise.
    void (*sum_squares)(drt_device *, drt_mat x, double *out);

    // One AdamW step (decoupled decay) on n parameters: m, v, w updated. Update = lr * (m/correction1 /
    // (sqrt(v/correction2) + eps) + weight_decay * w), as torch.optim.AdamW.
    void (*adamw)(drt_device *, const drt_adamw *, int64_t n, float *w, const float *g, float *m, float *v);
} drt_kernels;

struct drt_device {
    const drt_kernels *k;
    int threads;
    // > 0: a matrix holds the rows of so many pictures, as many each, and y = x w^T multiplies each picture's as if it
    // were alone. Elsewhere a row's bits may depend on how many rows there are.
    int64_t alone;
    drt_error error; // the first failure sticks
    void *state;     // the backend's own
    // Dry: kernels check what they are given, claim their scratch and compute nothing, so that a step tells what it
    // will take before there is memory for it (train/plan.h). Device cpu alone; set it before the first kernel.
    bool dry;
    size_t scratch; // bytes that kernels have claimed so, and that oneDNN takes to pack its operands
    void (*close)(drt_device *);
};

// name: "cpu", "ref"; threads 0: all cores of this machine. A device serves one thread of the program at a time.
// DRT_ISA=base|v3|v4 in the environment limits the instruction set of `cpu`, bf16 wants its bf16 instructions used even
// where they are slow (for tests).
drt_status drt_device_open(drt_device **out, const char *name, int threads, drt_error *err);
void drt_device_close(drt_device *dev);
// Sets the sticky error (the first one stays).
void drt_device_fail(drt_device *dev, drt_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Filled by their folders.
extern const drt_kernels drt_kernels_ref;
drt_status drt_cpu_open(drt_device *dev, drt_error *err); // sets k, state, close

#endif
