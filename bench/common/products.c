#include "common/products.h"
#include "common/timing.h"

#include "kernels/count.h"

#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

// ---- watching ------------------------------------------------------------------------------------------------------

static bench_log *log_of(drt_device *dev) { return (bench_log *)dev->k; }

static bench_product *shape_of(bench_log *log, const bench_product *like) {
    for (int i = 0; i < log->n; i++) {
        bench_product *p = &log->at[i];
        if (p->ta == like->ta && p->tb == like->tb && p->a == like->a && p->b == like->b && p->m == like->m &&
            p->n == like->n && p->k == like->k)
            return p;
    }
    if (log->n == BENCH_SHAPES) return NULL;
    log->at[log->n] = *like;
    return &log->at[log->n++];
}

static void matmul(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    bench_log *log = log_of(dev);
    int64_t k = ta ? a.rows : a.cols;
    double start = bench_now(log->cpu);
    log->plain->matmul(dev, ta, tb, a, b, bias, acc, c);
    double seconds = bench_now(log->cpu) - start;
    const bench_product like = {ta, tb, a.type, b.type, c.rows, c.cols, k, 0, 0};
    bench_product *p = shape_of(log, &like);
    if (p) p->calls++, p->seconds += seconds;
    log->seconds += seconds;
    log->flops += 2.0 * (double)c.rows * (double)c.cols * (double)k;
}

static void attention(drt_device *dev, const drt_attention *a, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                      drt_mat lse, drt_mat mass) {
    bench_log *log = log_of(dev);
    double start = bench_now(log->cpu);
    log->plain->attention(dev, a, q, k, v, out, lse, mass);
    log->attention += bench_now(log->cpu) - start;
    log->attention_flops += 4 * drt_count_attention(a);
}

static void attention_back(drt_device *dev, const drt_attention *a, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                           drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq, drt_mat dk,
                           drt_mat dv) {
    bench_log *log = log_of(dev);
    double start = bench_now(log->cpu);
    log->plain->attention_back(dev, a, q, k, v, out, lse, mass, dout, dmass, acc, dq, dk, dv);
    log->attention_back += bench_now(log->cpu) - start;
    log->attention_back_flops += 10 * drt_count_attention(a);
}

void bench_log_begin(bench_log *log, drt_device *dev, bool cpu) {
    log->k = *dev->k;
    log->plain = dev->k;
    log->cpu = cpu;
    log->k.matmul = matmul;
    log->k.attention = attention;
    log->k.attention_back = attention_back;
    dev->k = &log->k;
}

void bench_log_end(bench_log *log, drt_device *dev) { dev->k = log->plain; }

// ---- oneDNN's best -------------------------------------------------------------------------------------------------

typedef struct {
    const bench_product *p;
    float *a, *b, *c;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t made;
    dnnl_memory_t memory[3];
} rig;

static void run_sgemm(rig *r) {
    const bench_product *p = r->p;
    dnnl_sgemm(p->ta ? 'T' : 'N', p->tb ? 'T' : 'N', p->m, p->n, p->k, 1.0f, r->a, p->ta ? p->m : p->k, r->b,
               p->tb ? p->k : p->n, 0.0f, r->c, p->n);
}

static void run_made(rig *r) {
    const dnnl_exec_arg_t args[3] = {
        {DNNL_ARG_SRC, r->memory[0]}, {DNNL_ARG_WEIGHTS, r->memory[1]}, {DNNL_ARG_DST, r->memory[2]}};
    dnnl_primitive_execute(r->made, r->stream, 3, args);
    dnnl_stream_wait(r->stream);
}

static double timed(rig *r, void (*run)(rig *), int repeats, bool cpu) {
    double t[64];
    if (repeats > 64) repeats = 64;
    for (int i = -1; i < repeats; i++) {
        double start = bench_now(cpu);
        run(r);
        if (i >= 0) t[i] = bench_now(cpu) - start;
    }
    return bench_summary(t, repeats).median;
}

// The matmul primitive compiled for the shape; false where oneDNN has none.
static bool make(rig *r, dnnl_data_type_t type) {
    const bench_product *p = r->p;
    dnnl_memory_desc_t d[3];
    dnnl_matmul_desc_t what;
    dnnl_primitive_desc_t how = NULL;
    void *const data[3] = {r->a, r->b, r->c};
    const dnnl_dims_t size[3] = {{p->m, p->k}, {p->k, p->n}, {p->m, p->n}};
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < 3; i++) {
        bool turned = i == 0 ? p->ta : i == 1 && p->tb;
        const dnnl_dims_t step = {turned ? 1 : size[i][1], turned ? size[i][0] : 1};
        if (!status) status = dnnl_memory_desc_init_by_strides(&d[i], 2, size[i], i < 2 ? type : dnnl_f32, step);
        if (!status) status = dnnl_memory_create(&r->memory[i], &d[i], r->engine, data[i]);
    }
    if (!status) status = dnnl_matmul_desc_init(&what, &d[0], &d[1], NULL, &d[2]);
    if (!status) status = dnnl_primitive_desc_create(&how, &what, NULL, r->engine, NULL);
    if (!status) status = dnnl_primitive_create(&r->made, how);
    dnnl_primitive_desc_destroy(how);
    return !status;
}

static void unmake(rig *r) {
    dnnl_primitive_destroy(r->made);
    for (int i = 0; i < 3; i++) dnnl_memory_destroy(r->memory[i]), r->memory[i] = NULL;
    r->made = NULL;
}

static float *numbers(int64_t n) {
    float *x = bench_memory((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(i % 31 - 15) * 0.1f;
    return x;
}

double bench_best(const bench_product *p, int threads, int repeats, bool cpu) {
    rig r = {.p = p, .a = numbers(p->m * p->k), .b = numbers(p->k * p->n), .c = numbers(p->m * p->n)};
    int before = omp_get_max_threads();
    double best = INFINITY;
    omp_set_num_threads(threads);
    if (!dnnl_engine_create(&r.engine, dnnl_cpu, 0) && !dnnl_stream_create(&r.stream, r.engine, 0)) {
        best = timed(&r, run_sgemm, repeats, cpu);
        for (int half = 0; half < 1 + (p->a != DRT_F32 && p->b != DRT_F32); half++) {
            // The same bytes as bf16 are other numbers; time does not depend on them.
            if (make(&r, half ? dnnl_bf16 : dnnl_f32)) best = fmin(best, timed(&r, run_made, repeats, cpu));
            unmake(&r);
        }
    }
    dnnl_stream_destroy(r.stream);
    dnnl_engine_destroy(r.engine);
    omp_set_num_threads(before);
    free(r.a), free(r.b), free(r.c);
    return best;
}
