// Times every kernel at the sizes of the small model and of a real one; one JSON line per case:
//   op, shape, dtype, device, threads, median_us, best_us, spread (p90 - p10 over the median), gflops or gbs (at the
//   median), limit (what the machine reached in the same run, in turn with the case: the best product, or a copy of as
//   many bytes, or, where a matrix is read over and over, reading one as large), share of that limit.
// Usage: build/bench/kernels [-t threads] [-n repeats] [-d cpu|ref] [-c: processor time] [name filter]
#include "common/timing.h"

#include "kernels/kernels.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench bench;
struct bench {
    drt_device *dev;
    int threads, repeats;
    const char *filter;
    bool failed;
    // of the running case
    drt_mat m[10];
    int32_t *index;
    drt_attention at;
    drt_activation act;
    bool ta, tb, acc;
    int head_size;
    drt_dtype type; // of the operands of products
    // of the limits
    drt_mat square[3];
    char *from, *to;
    size_t copy;
    int rereads; // > 0: the case reads its matrix so often
};

// Processor time instead of the clock (-c): on a busy machine, with one thread, the steadier of the two.
static bool cpu_time;

static double now(void) { return bench_now(cpu_time); }

// Values that differ, are small and need no random numbers.
static drt_mat matrix(int64_t rows, int64_t cols) {
    float *p = bench_memory((size_t)(rows * cols) * sizeof *p);
    for (int64_t i = 0; i < rows * cols; i++) p[i] = (float)((i * 7919 + i / 13) % 2001 - 1000) * 1e-3f;
    return drt_mat_f32(p, rows, cols);
}

// The same numbers in another type, in place of m.
static drt_mat stored(bench *b, drt_mat m, drt_dtype type) {
    if (drt_dtype_size(type) == 4) return m.type = type, m;
    drt_mat y = {bench_memory((size_t)(m.rows * m.cols) * drt_dtype_size(type)), m.rows, m.cols, m.cols, type};
    b->dev->k->convert(b->dev, m, y);
    free(m.data);
    return y;
}

static void product_limit(bench *b) {
    b->dev->k->matmul(b->dev, false, false, b->square[0], b->square[1], (drt_mat){0}, false, b->square[2]);
}
static void copy_limit(bench *b) {
#pragma omp parallel num_threads(b->threads)
    {
        size_t n = b->copy / 2, i = (size_t)omp_get_thread_num(), all = (size_t)omp_get_num_threads();
        memcpy(b->to + n * i / all, b->from + n * i / all, n * (i + 1) / all - n * i / all);
    }
}

static void read_limit(bench *b) {
    static volatile uintptr_t seen;
    for (int i = 0; i < b->rereads; i++) seen += (uintptr_t)memchr(b->from, 2, b->copy / (size_t)b->rereads);
}

enum { MOST_REPEATS = 1000, SIDE = 768 };

// Runs one case in turn with its limit. Exactly one of flops and bytes is not 0.
static void measure(bench *b, const char *op, const char *shape, double flops, double bytes, void (*run)(bench *)) {
    double t[MOST_REPEATS], limit[MOST_REPEATS];
    char name[200];
    snprintf(name, sizeof name, "%s %s", op, shape);
    if (b->filter && !strstr(name, b->filter)) return;
    b->copy = (size_t)bytes;
    if (bytes > 0) {
        b->from = bench_memory(b->copy), b->to = bench_memory(b->copy);
        memset(b->from, 1, b->copy), memset(b->to, 1, b->copy);
    }
    for (int i = -2; i < b->repeats; i++) {
        double t0 = now();
        run(b);
        double t1 = now();
        if (flops > 0) product_limit(b);
        else if (b->rereads) read_limit(b);
        else copy_limit(b);
        double t2 = now();
        if (i >= 0) t[i] = t1 - t0, limit[i] = t2 - t1;
    }
    if (bytes > 0) free(b->from), free(b->to);
    bench_times took = bench_summary(t, b->repeats), least = bench_summary(limit, b->repeats);
    double most = (flops > 0 ? 2.0 * SIDE * SIDE * SIDE : bytes) / least.median;
    double rate = (flops > 0 ? flops : bytes) / took.median;
    printf("{\"op\": \"%s\", \"shape\": \"%s\", \"dtype\": \"%s\", \"device\": \"%s\", \"threads\": %d, "
           "\"median_us\": %.1f, \"best_us\": %.1f, \"spread\": %.2f, \"%s\": %.1f, \"limit\": %.1f, "
           "\"share\": %.2f}\n",
           op, shape, drt_dtype_name(b->type), b->dev->k->name, b->threads, took.median * 1e6, took.best * 1e6,
           took.spread, flops > 0 ? "gflops" : "gbs", rate * 1e-9, most * 1e-9, rate / most);
    fflush(stdout);
    if (!b->dev->error.code) return;
    fprintf(stderr, "%s: %s\n", op, b->dev->error.text);
    b->failed = true;
    b->dev->error.code = 0;
}

static void release(bench *b) {
    for (int i = 0; i < 10; i++) free(b->m[i].data), b->m[i] = (drt_mat){0};
    free(b->index);
    b->index = NULL;
}

// One line per kernel: what is called with b->m.
static void run_matmul(bench *b) {
    b->dev->k->matmul(b->dev, b->ta, b->tb, b->m[0], b->m[1], b->m[3], b->acc, b->m[2]);
}
static void run_col_sum(bench *b) { b->dev->k->col_sum(b->dev, b->m[0], true, b->m[4]); }
static void run_gather(bench *b) {
    b->dev->k->copy_rows(b->dev, b->m[1], NULL, b->m[0], b->index, NULL, b->m[1].rows, false);
}
static void run_scatter(bench *b) {
    b->dev->k->copy_rows(b->dev, b->m[1], b->index, b->m[0], NULL, NULL, b->m[0].rows, true);
}
static void run_add(bench *b) { b->dev->k->add(b->dev, b->m[0], b->m[1], b->m[2]); }
static void run_activate(bench *b) { b->dev->k->activate(b->dev, b->act, b->m[0], b->m[1]); }
static void run_activate_back(bench *b) { b->dev->k->activate_back(b->dev, b->act, b->m[0], b->m[1], false, b->m[2]); }
static void run_glu(bench *b) { b->dev->k->glu(b->dev, b->act, b->m[0], b->m[1]); }
static void run_glu_back(bench *b) { b->dev->k->glu_back(b->dev, b->act, b->m[0], b->m[1], false, b->m[2]); }
static void run_layer_norm(bench *b) {
    b->dev->k->layer_norm(b->dev, b->m[0], b->m[4], b->m[5], 1e-5f, b->m[1], b->m[3]);
}
static void run_layer_norm_back(bench *b) {
    b->dev->k->layer_norm_back(b->dev, b->m[0], b->m[4], b->m[3], b->m[1], true, b->m[2], b->m[6], b->m[7]);
}
static void run_rms_norm(bench *b) { b->dev->k->rms_norm(b->dev, b->m[0], b->m[4], 1e-5f, b->m[1], b->m[3]); }
static void run_rms_norm_back(bench *b) {
    b->dev->k->rms_norm_back(b->dev, b->m[0], b->m[4], b->m[3], b->m[1], true, b->m[2], b->m[6]);
}
static void run_rope(bench *b) { b->dev->k->rope(b->dev, b->m[0], b->index, b->m[1], b->head_size, false); }
static void run_attention(bench *b) {
    b->dev->k->attention(b->dev, &b->at, b->m[0], b->m[1], b->m[2], b->m[3], b->m[4], b->m[5]);
}
static void run_attention_back(bench *b) {
    b->dev->k->attention_back(b->dev, &b->at, b->m[0], b->m[1], b->m[2], b->m[3], b->m[4], b->m[5], b->m[6],
                              b->at.visual ? b->m[5] : (drt_mat){0}, false, b->m[7], b->m[8], b->m[9]);
}
static void run_cross_entropy(bench *b) {
    b->dev->k->cross_entropy(b->dev, b->m[0], b->index, b->m[1], b->m[2], b->m[3].data);
}
static void run_cross_entropy_back(bench *b) { // the values drift, the work does not
    b->dev->k->cross_entropy_back(b->dev, b->m[0], b->index, b->m[1], b->m[2].data);
}
static void run_sum_squares(bench *b) {
    double s;
    b->dev->k->sum_squares(b->dev, b->m[0], &s);
}
static void run_adamw(bench *b) {
    drt_adamw o = {1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 0.5f, 0.5f, 1.0f};
    b->dev->k->adamw(b->dev, &o, b->m[0].cols, b->m[0].data, b->m[1].data, b->m[2].data, b->m[3].data);
}

// y = x w^T, dx = dy w, dw += dy^T x of one linear layer.
static void linear(bench *b, int64_t rows, int64_t in, int64_t out) {
    char shape[100];
    for (int kind = 0; kind < 4; kind++) {
        static const char *op[] = {"matmul", "matmul_bias", "matmul_dx", "matmul_dw"};
        bool bias = kind == 1, dx = kind == 2, dw = kind == 3;
        b->ta = dw, b->tb = !dx && !dw, b->acc = dw;
        b->m[0] = dx || dw ? matrix(rows, out) : matrix(rows, in);
        b->m[1] = dw ? matrix(rows, in) : matrix(out, in);
        b->m[2] = dx ? matrix(rows, in) : dw ? matrix(out, in) : matrix(rows, out);
        if (bias) b->m[3] = matrix(1, out);
        for (int i = 0; i < 2; i++) b->m[i] = stored(b, b->m[i], b->type);
        snprintf(shape, sizeof shape, "%lldx%lld -> %lld", (long long)rows, (long long)in, (long long)out);
        measure(b, op[kind], shape, 2.0 * (double)rows * (double)in * (double)out, 0, run_matmul);
        release(b);
    }
}

static void run_convert(bench *b) { b->dev->k->convert(b->dev, b->m[0], b->m[1]); }

// 16-bit operands, and such that are read as f16. The limit stays the f32 product, or, of few rows, copying the
// weights.
static void half(bench *b) {
    char shape[100];
    static const int64_t size[][3] = {
        {3500, 192, 576}, {3500, 512, 192}, {64, 4096, 4096}, {640, 4096, 4096}, {640, 4096, 11008}};
    for (b->type = DRT_BF16; b->type <= DRT_F16; b->type++) {
        for (int i = 0; i < 5; i++) linear(b, size[i][0], size[i][1], size[i][2]);
        for (int64_t rows = 1; rows <= 16; rows *= 2) {
            b->ta = b->acc = false, b->tb = true;
            b->m[0] = matrix(rows, 4096), b->m[2] = matrix(rows, 11008);
            b->m[1] = stored(b, matrix(11008, 4096), b->type);
            snprintf(shape, sizeof shape, "%lldx4096 -> 11008", (long long)rows);
            measure(b, "matmul_few", shape, 0, 2.0 * 11008 * 4096, run_matmul);
            release(b);
        }
    }
    b->type = DRT_AS_F16;
    for (int i = 0; i < 5; i++) linear(b, size[i][0], size[i][1], size[i][2]);
    b->type = DRT_BF16;
    b->m[0] = matrix(640, 4096), b->m[1] = stored(b, matrix(640, 4096), DRT_BF16);
    measure(b, "convert", "640x4096", 0, 6.0 * 640 * 4096, run_convert);
    release(b);
    b->type = DRT_F32;
}

// Kernels between the products, on [rows, cols].
static void between(bench *b, int64_t rows, int64_t cols) {
    char shape[100];
    double one = 4.0 * (double)rows * (double)cols;
    snprintf(shape, sizeof shape, "%lldx%lld", (long long)rows, (long long)cols);
    for (int i = 0; i < 3; i++) b->m[i] = matrix(rows, cols);
    b->m[3] = matrix(rows, 2);
    for (int i = 4; i < 8; i++) b->m[i] = matrix(1, cols);
    b->index = bench_memory((size_t)rows * 4);
    for (int64_t i = 0; i < rows; i++) b->index[i] = (int32_t)(i * 7919 % rows);
    measure(b, "add", shape, 0, 3 * one, run_add);
    measure(b, "col_sum", shape, 0, one, run_col_sum);
    measure(b, "gather", shape, 0, 2 * one, run_gather);
    measure(b, "scatter_add", shape, 0, 3 * one, run_scatter);
    measure(b, "layer_norm", shape, 0, 2 * one, run_layer_norm);
    measure(b, "layer_norm_back", shape, 0, 4 * one, run_layer_norm_back);
    b->m[3].cols = 1;
    measure(b, "rms_norm", shape, 0, 2 * one, run_rms_norm);
    measure(b, "rms_norm_back", shape, 0, 4 * one, run_rms_norm_back);
    measure(b, "sum_squares", shape, 0, one, run_sum_squares);
    release(b);
}

static void activations(bench *b, int64_t rows, int64_t cols) {
    static const char *fwd[] = {"gelu", "quick_gelu", "silu"}, *back[] = {"gelu_back", "quick_gelu_back", "silu_back"};
    char shape[100];
    double one = 4.0 * (double)rows * (double)cols;
    snprintf(shape, sizeof shape, "%lldx%lld", (long long)rows, (long long)cols);
    for (int i = 0; i < 3; i++) b->m[i] = matrix(rows, cols);
    for (b->act = DRT_GELU; b->act <= DRT_SILU; b->act++) {
        measure(b, fwd[b->act], shape, 0, 2 * one, run_activate);
        measure(b, back[b->act], shape, 0, 3 * one, run_activate_back);
    }
    release(b);
    b->act = DRT_SILU;
    b->m[0] = matrix(rows, 2 * cols), b->m[1] = matrix(rows, cols), b->m[2] = matrix(rows, 2 * cols);
    measure(b, "swiglu", shape, 0, 3 * one, run_glu);
    measure(b, "swiglu_back", shape, 0, 5 * one, run_glu_back);
    release(b);
}

static void rope(bench *b, int64_t rows, int heads, int size) {
    char shape[100];
    snprintf(shape, sizeof shape, "%lldx%dx%d", (long long)rows, heads, size);
    b->m[0] = matrix(rows, heads * size), b->m[1] = matrix(1024, size), b->head_size = size;
    b->index = bench_memory((size_t)rows * 4);
    for (int64_t i = 0; i < rows; i++) b->index[i] = (int32_t)(i % 200);
    measure(b, "rope", shape, 0, 8.0 * (double)rows * heads * size, run_rope);
    release(b);
}

// `sequences` of lengths from `least` to `most`.
static void attention(bench *b, int sequences, int least, int most, bool causal, bool visual, int heads, int kv_heads,
                      int size) {
    char shape[100];
    int32_t *offsets = bench_memory((size_t)(sequences + 1) * 4);
    double pairs = 0;
    offsets[0] = 0;
    for (int s = 0; s < sequences; s++) {
        double n = least + (s * 37) % (most - least + 1);
        offsets[s + 1] = offsets[s] + (int32_t)n;
        pairs += causal ? n * (n + 1) / 2 : n * n;
    }
    int64_t rows = offsets[sequences];
    int32_t *reach = bench_memory((size_t)rows * 4);
    uint8_t *marks = bench_memory((size_t)rows);
    for (int s = 0; s < sequences; s++)
        for (int32_t r = offsets[s]; r < offsets[s + 1]; r++)
            reach[r] = r - offsets[s] + 1, marks[r] = r - offsets[s] < 64;
    b->at = (drt_attention){sequences,
                            offsets,
                            offsets,
                            causal ? reach : NULL,
                            heads,
                            kv_heads,
                            size,
                            1.0f / sqrtf((float)size),
                            visual ? marks : NULL,
                            false};
    for (int i = 0; i < 10; i++)
        b->m[i] = matrix(rows, i == 4 || i == 5 ? heads : (i == 1 || i == 2 || i > 7 ? kv_heads : heads) * size);
    snprintf(shape, sizeof shape, "%dx(%d..%d)%s%s, %d/%d heads of %d", sequences, least, most, causal ? " causal" : "",
             visual ? " guided" : "", heads, kv_heads, size);
    measure(b, "attention", shape, 4 * pairs * heads * size, 0, run_attention);
    run_attention(b);
    measure(b, "attention_back", shape, 10 * pairs * heads * size, 0, run_attention_back);
    if (size >= 512) { // heads whose products can be f16
        b->at.f16 = true, b->type = DRT_AS_F16;
        measure(b, "attention", shape, 4 * pairs * heads * size, 0, run_attention);
        measure(b, "attention_back", shape, 10 * pairs * heads * size, 0, run_attention_back);
        b->type = DRT_F32;
    }
    free(offsets), free(reach), free(marks);
    release(b);
}

static void loss(bench *b, int64_t rows, int64_t classes) {
    char shape[100];
    double one = 4.0 * (double)rows * (double)classes;
    snprintf(shape, sizeof shape, "%lldx%lld", (long long)rows, (long long)classes);
    b->m[0] = matrix(rows, classes);
    for (int i = 1; i < 4; i++) b->m[i] = matrix(rows, 1);
    b->index = bench_memory((size_t)rows * 4);
    for (int64_t i = 0; i < rows; i++) b->index[i] = (int32_t)(i * 31 % classes);
    measure(b, "cross_entropy", shape, 0, one, run_cross_entropy);
    measure(b, "cross_entropy_back", shape, 0, 2 * one, run_cross_entropy_back);
    release(b);
}

static void run_sinkhorn(bench *b) {
    const drt_sinkhorn how = {(int)b->m[2].rows / 2, 0, false};
    int done;
    b->dev->k->sinkhorn(b->dev, &how, b->m[0], b->m[1], b->m[2], &done);
}
static void run_sinkhorn_back(bench *b) {
    const drt_sinkhorn how = {(int)b->m[2].rows / 2, 0, b->m[5].data != NULL};
    b->dev->k->sinkhorn_back(b->dev, &how, b->m[0], b->m[1], b->m[2], how.sweeps, b->m[3], false, b->m[4]);
}

// Each sweep must read the matrix once: the limit is reading it, one thread.
static void sinkhorn(bench *b, int64_t n, int sweeps) {
    char shape[100];
    snprintf(shape, sizeof shape, "%lldx%lld, %d sweeps", (long long)n, (long long)n, sweeps);
    for (int i = 0; i < 5; i++) b->m[i] = matrix(i == 2 ? 2 * sweeps : n, n);
    for (int64_t i = 0; i < n * n; i++) ((float *)b->m[0].data)[i] *= 15;
    double bytes = 4.0 * (double)n * (double)n * sweeps;
    b->rereads = sweeps;
    measure(b, "sinkhorn", shape, 0, bytes, run_sinkhorn);
    run_sinkhorn(b);
    measure(b, "sinkhorn_back", shape, 0, bytes, run_sinkhorn_back);
    b->m[5] = matrix(1, 1);
    measure(b, "sinkhorn_implicit", shape, 0, bytes, run_sinkhorn_back);
    b->rereads = 0;
    release(b);
}

static void adamw(bench *b, int64_t n) {
    char shape[100];
    snprintf(shape, sizeof shape, "%lld", (long long)n);
    for (int i = 0; i < 4; i++) b->m[i] = matrix(1, n);
    memset(b->m[3].data, 0, (size_t)n * 4);
    measure(b, "adamw", shape, 0, 28.0 * (double)n, run_adamw);
    release(b);
}

int main(int argc, char **argv) {
    bench b = {.repeats = 41};
    const char *device = "cpu";
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-t") && i + 1 < argc) b.threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-n") && i + 1 < argc) b.repeats = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-d") && i + 1 < argc) device = argv[++i];
        else if (!strcmp(argv[i], "-c")) cpu_time = true;
        else b.filter = argv[i];
    }
    if (b.repeats < 1 || b.repeats > MOST_REPEATS) b.repeats = 41;
    drt_error err = {0};
    if (drt_device_open(&b.dev, device, b.threads, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    b.threads = b.dev->threads;
    for (int i = 0; i < 3; i++) b.square[i] = matrix(SIDE, SIDE);
    // the small model
    linear(&b, 2080, 128, 512);
    linear(&b, 3500, 192, 576);
    linear(&b, 3500, 192, 192);
    linear(&b, 3500, 192, 1024);
    linear(&b, 3500, 512, 192);
    linear(&b, 1200, 192, 500);
    between(&b, 2080, 128);
    between(&b, 3500, 192);
    activations(&b, 2080, 512);
    activations(&b, 3500, 512);
    rope(&b, 3500, 4, 48);
    attention(&b, 32, 65, 65, false, false, 4, 4, 32);
    attention(&b, 25, 80, 200, true, false, 4, 4, 48);
    attention(&b, 25, 80, 200, true, true, 4, 4, 48);
    attention(&b, 25, 80, 200, true, true, 6, 2, 32);
    loss(&b, 1200, 500);
    adamw(&b, 2 << 20);
    sinkhorn(&b, 1000, 50);
    // a real one
    linear(&b, 640, 4096, 4096);
    between(&b, 640, 4096);
    activations(&b, 640, 11008);
    rope(&b, 640, 32, 128);
    attention(&b, 1, 640, 640, true, true, 32, 32, 128);
    attention(&b, 1, 2048, 2048, true, false, 8, 2, 128);
    attention(&b, 4, 800, 800, false, false, 1, 1, 256); // the permuter's
    attention(&b, 4, 800, 800, false, false, 1, 1, 2048);
    loss(&b, 64, 32000);
    half(&b);
    for (int i = 0; i < 3; i++) free(b.square[i].data);
    drt_device_close(b.dev);
    return b.failed;
}
