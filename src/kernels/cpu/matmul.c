// Products by oneDNN, f32 here, bf16 by bf16.h (f16.h has its own). dnnl_sgemm is the same code that its matmul
// primitive runs when the row count is a run-time dimension ("gemm:jit": 215 and 215 GFLOP/s at 3500x192x192 on one
// Sapphire Rapids core, 200 to 212 for a primitive compiled for the shape), takes every stride and has nothing to
// create or to cache. We cut a product into pieces for the device's pool and let oneDNN run each on one thread: at 3500
// rows 8 pieces are as fast as one (208 to 211 GFLOP/s).
//
// An operand of another type than oneDNN is to multiply is converted a block at a time, by the thread that multiplies
// it next.
#include "kernels/cpu/cpu.h"

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

enum {
    REDUCTION_BLOCK = 512,
    BLOCK_WORK = 1 << 24,
    CACHED_NUMBERS = 1 << 17, // of a converted block, so that it and what oneDNN packs stay in the second cache
    ROOM_NUMBERS = 1 << 23    // of a converted block at most
};

// c, or a copy of it per part of the reduction, in a grid of pieces. Blocks of rows that stand alone (dev->alone) are
// multiplied one by one, and cut alike.
typedef struct {
    bool ta, tb, add;
    drt_mat a, b, c, bias;
    int64_t blocks, block, k, cut_m, cut_n, cut_k; // block: rows of one
    int64_t rows, depth;                           // most that one call of oneDNN takes of c's rows, of the reduction
    float *partial;                                // [cut_k][c.rows][c.cols] where cut_k > 1
    float *room;                                   // of each worker: [room_a] for its block of a, [room_b] of b
    int64_t room_a, room_b;                        // in floats; 0: that operand is multiplied where it lies
    drt_dtype type;                                // what is multiplied
    _Atomic int *status;
    const drt_cpu_state *state;
} product;

static void start_rows(const product *p, drt_mat c, int64_t column) {
    const float *bias = p->bias.data ? (const float *)p->bias.data + column : NULL;
    for (int64_t r = 0; r < c.rows; r++) {
        float *y = drt_row(c, r);
        if (!bias && !p->add) memset(y, 0, (size_t)c.cols * sizeof *y);
        else if (!p->add) memcpy(y, bias, (size_t)c.cols * sizeof *y);
        else if (bias)
#pragma omp simd
            for (int64_t j = 0; j < c.cols; j++) y[j] += bias[j];
    }
}

static int run_product(const product *p, int worker, drt_mat a, drt_mat b, bool add, drt_mat c) {
    if (p->type == DRT_BF16) return drt_bf16_multiply(p->state->bf16, worker, p->ta, p->tb, a, b, add, c);
    return (int)dnnl_sgemm(p->ta ? 'T' : 'N', p->tb ? 'T' : 'N', c.rows, c.cols, p->ta ? a.rows : a.cols, 1.0f, a.data,
                           a.ld, b.data, b.ld, add ? 1.0f : 0.0f, c.data, c.ld);
}

// An odd number of cache lines from row to row: no two rows near each other share a set.
static int64_t room_ld(int64_t cols) { return ((cols + 15) / 16 | 1) * 16; }

static drt_mat converted(const product *p, drt_mat x, float *room) {
    drt_mat y = {room, x.rows, x.cols, room_ld(x.cols), p->type};
    p->state->table->convert_block(x, y);
    return y;
}

// c (+)= the part of the reduction from t on, c from row m and column n of p->c on.
static int multiply_block(const product *p, int worker, int64_t m, int64_t n, int64_t t, int64_t depth, bool add,
                          drt_mat c) {
    int64_t blocks = (c.rows + p->rows - 1) / p->rows;
    int status = dnnl_success;
    float *room_a = p->room + worker * (p->room_a + p->room_b), *room_b = room_a + p->room_a;
    drt_mat b = p->tb ? drt_mat_part(p->b, n, c.cols, t, depth) : drt_mat_part(p->b, t, depth, n, c.cols);
    if (p->room_b) b = converted(p, b, room_b);
    for (int64_t i = 0; i < blocks && status == dnnl_success; i++) {
        int64_t from = drt_part_first(c.rows, i, blocks), rows = drt_part_first(c.rows, i + 1, blocks) - from;
        drt_mat a = p->ta ? drt_mat_part(p->a, t, depth, m + from, rows) : drt_mat_part(p->a, m + from, rows, t, depth);
        if (p->room_a) a = converted(p, a, room_a);
        status = run_product(p, worker, a, b, add, drt_mat_part(c, from, rows, 0, c.cols));
    }
    return status;
}

static void multiply(const void *args, int64_t first, int64_t end, int worker) {
    const product *p = args;
    for (int64_t i = first; i < end; i++) {
        int64_t im = i / p->cut_n % p->cut_m, in = i % p->cut_n, ik = i / p->cut_n / p->cut_m % p->cut_k;
        int64_t from = i / p->cut_n / p->cut_m / p->cut_k * p->block;
        int64_t m0 = from + drt_part_first(p->block, im, p->cut_m),
                m1 = from + drt_part_first(p->block, im + 1, p->cut_m);
        int64_t n0 = drt_part_first(p->c.cols, in, p->cut_n), n1 = drt_part_first(p->c.cols, in + 1, p->cut_n);
        int64_t k0 = drt_part_first(p->k, ik, p->cut_k), k1 = drt_part_first(p->k, ik + 1, p->cut_k);
        drt_mat c = p->c;
        if (p->partial) c = drt_mat_f32(p->partial + ik * c.rows * c.cols, c.rows, c.cols);
        c = drt_mat_part(c, m0, m1 - m0, n0, n1 - n0);
        // Filling c with the bias and adding the product beats a second pass over c.
        bool start = !p->partial && (p->bias.data || !p->k);
        if (start) start_rows(p, c, n0);
        if (!p->k) continue;
        bool add = start || (p->add && !p->partial);
        int status = dnnl_success;
        for (int64_t t = k0; t < k1 && status == dnnl_success; t += p->depth, add = true)
            status = multiply_block(p, worker, m0, n0, t, k1 - t < p->depth ? k1 - t : p->depth, add, c);
        if (status != dnnl_success) atomic_store(p->status, status);
    }
}

// The parts of the reduction, in their order.
static void add_partial(const void *args, int64_t first, int64_t end, int worker) {
    const product *p = args;
    int64_t size = p->c.rows * p->c.cols;
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        float *y = drt_row(p->c, r);
        start_rows(p, drt_mat_part(p->c, r, 1, 0, p->c.cols), 0);
        for (int64_t i = 0; i < p->cut_k; i++) {
            const float *x = p->partial + i * size + r * p->c.cols;
#pragma omp simd
            for (int64_t j = 0; j < p->c.cols; j++) y[j] += x[j];
        }
    }
}

// At least one piece a thread where they do not become too small for oneDNN's blocks, several along the rows, where
// cutting is free. Depends on shape and threads alone. A block that stands alone is cut for as many threads as it has
// work for, whatever the number of blocks, and not along the reduction.
static void cut(const drt_device *dev, product *p) {
    int64_t threads = dev->threads, m = p->block, n = p->c.cols;
    p->cut_m = p->cut_n = p->cut_k = 1;
    double work = (double)m * (double)n * (double)p->k;
    bool alone = dev->alone && !p->ta;
    if (alone && work / BLOCK_WORK < (double)threads) threads = (int64_t)(work / BLOCK_WORK);
    if (threads <= 1 || work < 200e3) return;
    // A transposed a packs slower: /2 210, /4 195, /8 150 GFLOP/s at 192x192x3500.
    int64_t most = p->ta || alone ? threads : 4 * threads, least = p->ta ? 96 : 128;
    int64_t fit = m / least < 1 ? 1 : m / least;
    p->cut_m = fit < most ? fit : most;
    if (p->cut_m < threads) {
        int64_t want = (threads + p->cut_m - 1) / p->cut_m;
        fit = n / 64 < 1 ? 1 : n / 64;
        p->cut_n = fit < want ? fit : want;
    }
    int64_t pieces = p->cut_m * p->cut_n;
    if (pieces < threads && p->k >= 1024 && !alone) {
        int64_t want = (threads + pieces - 1) / pieces;
        fit = p->k / 512;
        p->cut_k = fit < want ? fit : want;
    }
}

// The blocks that a piece is multiplied in, and what a worker needs to convert theirs.
static void divide(product *p) {
    int64_t m = (p->block + p->cut_m - 1) / p->cut_m, n = (p->c.cols + p->cut_n - 1) / p->cut_n,
            k = (p->k + p->cut_k - 1) / p->cut_k;
    // oneDNN packs a transposed a down its columns; where ld is a multiple of 4096 bytes these share a cache set, and
    // shorter columns help: 133 against 191 GFLOP/s at 1024x192x3568 (ld 1040: 202 and 206).
    p->depth = p->ta && k > REDUCTION_BLOCK ? REDUCTION_BLOCK : k;
    p->rows = m;
    if (!p->k) return;
    if (p->a.type != p->type) {
        // For each block of a, oneDNN packs b anew. Where b is small that costs less than a pass over memory.
        int64_t most = n * p->depth <= CACHED_NUMBERS ? CACHED_NUMBERS : ROOM_NUMBERS;
        if (p->rows > most / p->depth) p->rows = most / p->depth > 1 ? most / p->depth : 1;
        p->room_a = p->ta ? p->depth * room_ld(p->rows) : p->rows * room_ld(p->depth);
    }
    if (p->b.type != p->type) p->room_b = p->tb ? n * room_ld(p->depth) : p->depth * room_ld(n);
}

// Where AVX2 is all there is, oneDNN multiplies operands that are not large both ways as they lie.
static bool packs(int64_t m, int64_t n) {
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    bool avx2 = isa == dnnl_cpu_isa_avx2 || isa == dnnl_cpu_isa_avx2_vnni;
    return m > 16 && !(avx2 && 1.0 / (double)m + 1.0 / (double)n >= 0.0038);
}

// What oneDNN 2.6 packs of the operands of one piece, as measured by the peak of resident memory: b in panels of some
// 380 rows, and a where it is transposed or long; never more than some 11 MB a thread (4096x4096x4096, a transposed).
// Having packed once, the heaps of the threads keep some MB more.
static void claim_packed(drt_device *dev, const product *p) {
    enum { HEAPS = 3 << 20 };
    drt_cpu_state *state = dev->state;
    int64_t m = p->rows, n = p->c.cols / p->cut_n, k = p->k / p->cut_k;
    int64_t pieces = p->blocks * p->cut_m * p->cut_n * p->cut_k, depth = k / (k / 384 + 1);
    size_t one = (size_t)(depth * (n + (p->ta ? m : m < 320 ? m : 320))) * sizeof(float);
    if (one > 11 << 20) one = 11 << 20;
    one = HEAPS + one * (size_t)(pieces < dev->threads ? pieces : dev->threads);
    if (!packs(m, n) || one <= state->packed) return;
    dev->scratch += one - state->packed;
    state->packed = one;
}

bool drt_cpu_product_fits(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, drt_mat c) {
    if (!DRT_READY(dev, "matmul, bias and result", bias, c)) return false;
    int64_t m = ta ? a.cols : a.rows, k = ta ? a.rows : a.cols, n = tb ? b.rows : b.cols;
    if (m == c.rows && n == c.cols && k == (tb ? b.cols : b.rows) && (!bias.data || bias.cols == n)) return true;
    drt_device_fail(dev, DRT_EARG, "matmul: [%lld, %lld] times [%lld, %lld] does not make [%lld, %lld]", (long long)m,
                    (long long)k, (long long)(tb ? b.cols : b.rows), (long long)n, (long long)c.rows,
                    (long long)c.cols);
    return false;
}

// dnnl_sgemm compiles one set of kernels for a column, one for few rows, one for the rest, each when it first meets
// such a product. All with the first product, so that no later step waits for it.
static void compile(drt_cpu_state *state) {
    const float x[16] = {0};
    float y[64];
    if (!state->compiled) {
        dnnl_sgemm('N', 'N', 1, 1, 1, 1.0f, x, 1, x, 1, 0.0f, y, 1);
        dnnl_sgemm('N', 'N', 2, 8, 2, 1.0f, x, 2, x, 8, 0.0f, y, 8);
        dnnl_sgemm('N', 'T', 2, 8, 2, 1.0f, x, 2, x, 2, 0.0f, y, 8);
    }
    state->compiled = true;
}

// Inside dnnl_sgemm (2.6) the stack pointer points into its packed operands. The system would write the frame of a
// signal handler there, over the heap, so signals wait until the product is done; the pool's helpers never take any.
static sigset_t hold_signals(void) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    return before;
}

void drt_cpu_product(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    int64_t m = c.rows, k = ta ? a.rows : a.cols, n = c.cols;
    if (!m || !n) return;
    _Atomic int status = dnnl_success;
    product p = {.ta = ta, .tb = tb, .add = acc, .a = a, .b = b, .c = c, .bias = bias, .k = k, .status = &status};
    p.state = dev->state;
    p.type = drt_cpu_multiplied(dev, a.type, b.type);
    if (p.type == DRT_AS_F16 && k) {
        drt_f16_product(dev, ta, tb, a, b, bias, acc, c);
        return;
    }
    p.blocks = dev->alone > 0 && !ta && m % dev->alone == 0 ? dev->alone : 1;
    p.block = m / p.blocks;
    cut(dev, &p);
    divide(&p);
    int64_t partial = p.cut_k > 1 ? (p.cut_k * m * n + 15) / 16 * 16 : 0, rooms = dev->threads * (p.room_a + p.room_b);
    float *scratch = partial + rooms ? drt_cpu_scratch(dev, (size_t)(partial + rooms)) : NULL;
    if (partial + rooms && !scratch) return;
    if (partial) p.partial = scratch;
    if (rooms) p.room = scratch + partial;
    if (dev->dry) {
        claim_packed(dev, &p);
        return;
    }
    int before = omp_get_max_threads();
    omp_set_num_threads(1);
    sigset_t mask = hold_signals();
    compile(dev->state);
    drt_cpu_each(dev, p.blocks * p.cut_m * p.cut_n * p.cut_k, multiply, &p);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    omp_set_num_threads(before);
    if (p.partial) drt_cpu_rows(dev, m, n * p.cut_k, add_partial, &p);
    if (status != dnnl_success)
        drt_device_fail(dev, status == dnnl_out_of_memory ? DRT_ENOMEM : DRT_EARG,
                        "matmul: oneDNN refuses [%lld, %lld] times [%lld, %lld] with status %d", (long long)m,
                        (long long)k, (long long)k, (long long)n, (int)status);
}
