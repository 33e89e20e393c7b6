#include "kernels/cpu/bf16.h"

#include <dnnl.h>
#include <stdlib.h>

struct drt_bf16_products {
    dnnl_engine_t engine;
    dnnl_primitive_t product[2][2][2]; // [ta][tb][add]
    int threads;
    dnnl_stream_t stream[]; // one a thread
};

bool drt_bf16_is_fast(void) {
#ifdef __x86_64__
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa == dnnl_cpu_isa_avx512_core_amx || (isa == dnnl_cpu_isa_avx512_core_bf16 && __builtin_cpu_is("amd"));
#else
    return false;
#endif
}

// [rows, cols] or its transpose, of a matrix with `ld` numbers from row to row.
static dnnl_status_t describe(dnnl_memory_desc_t *d, bool transposed, int64_t rows, int64_t cols, int64_t ld,
                              dnnl_data_type_t type) {
    dnnl_dims_t size = {transposed ? cols : rows, transposed ? rows : cols};
    dnnl_dims_t step = {transposed ? 1 : ld, transposed ? ld : 1};
    return dnnl_memory_desc_init_by_strides(d, 2, size, type, step);
}

static dnnl_status_t create(drt_bf16_products *p, bool ta, bool tb, bool add) {
    const int64_t any = DNNL_RUNTIME_DIM_VAL;
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t what;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t then = NULL;
    dnnl_primitive_desc_t how = NULL;
    dnnl_status_t status = describe(&a, ta, any, any, any, dnnl_bf16);
    if (!status) status = describe(&b, tb, any, any, any, dnnl_bf16);
    if (!status) status = describe(&c, false, any, any, any, dnnl_f32);
    if (!status) status = dnnl_matmul_desc_init(&what, &a, &b, NULL, &c);
    if (!status) status = dnnl_primitive_attr_create(&attributes);
    // oneDNN's own scratchpad belongs to the thread that creates a primitive; these run on several and need none.
    if (!status) status = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (!status) status = dnnl_post_ops_create(&then);
    if (!status && add) status = dnnl_post_ops_append_sum(then, 1);
    if (!status) status = dnnl_primitive_attr_set_post_ops(attributes, then);
    if (!status) status = dnnl_primitive_desc_create(&how, &what, attributes, p->engine, NULL);
    if (!status && dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(how, dnnl_query_scratchpad_md, 0)))
        status = dnnl_unimplemented;
    if (!status) status = dnnl_primitive_create(&p->product[ta][tb][add], how);
    dnnl_primitive_desc_destroy(how);
    dnnl_post_ops_destroy(then);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

drt_bf16_products *drt_bf16_open(int threads) {
    drt_bf16_products *p = calloc(1, sizeof *p + (size_t)threads * sizeof(dnnl_stream_t));
    if (!p) return NULL;
    p->threads = threads;
    dnnl_status_t status = dnnl_engine_create(&p->engine, dnnl_cpu, 0);
    for (int i = 0; !status && i < threads; i++)
        status = dnnl_stream_create(&p->stream[i], p->engine, dnnl_stream_default_flags);
    for (int i = 0; !status && i < 8; i++) status = create(p, i & 1, i & 2, i & 4);
    if (!status) return p;
    drt_bf16_close(p);
    return NULL;
}

void drt_bf16_close(drt_bf16_products *p) {
    if (!p) return;
    for (int i = 0; i < 8; i++) dnnl_primitive_destroy(p->product[i & 1][i >> 1 & 1][i >> 2]);
    for (int i = 0; i < p->threads; i++) dnnl_stream_destroy(p->stream[i]);
    dnnl_engine_destroy(p->engine);
    free(p);
}

int drt_bf16_multiply(const drt_bf16_products *p, int worker, bool ta, bool tb, drt_mat a, drt_mat b, bool add,
                      drt_mat c) {
    const drt_mat mat[3] = {a, b, c};
    const bool transposed[3] = {ta, tb, false};
    const int role[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    dnnl_exec_arg_t argument[3];
    dnnl_memory_t memory[3] = {0};
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < 3; i++) {
        dnnl_memory_desc_t d;
        if (!status)
            status = describe(&d, transposed[i], mat[i].rows, mat[i].cols, mat[i].ld, i < 2 ? dnnl_bf16 : dnnl_f32);
        if (!status) status = dnnl_memory_create(&memory[i], &d, p->engine, mat[i].data);
        argument[i] = (dnnl_exec_arg_t){role[i], memory[i]};
    }
    if (!status) status = dnnl_primitive_execute(p->product[ta][tb][add], p->stream[worker], 3, argument);
    for (int i = 0; i < 3; i++) dnnl_memory_destroy(memory[i]);
    return (int)status;
}
