#include "tensor/params.h"

#include "base/digest.h"
#include "base/half.h"
#include "base/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const drt_group_names[DRT_GROUPS] = {"vision",    "clip_text",  "clip_projection", "temperature",
                                                 "projector", "language",   "directed",        "order_head",
                                                 "balance",   "patch_head", "adapter",         "permuter"};

enum { ALIGN = 16 }; // numbers: every parameter starts on a cache line

drt_params *drt_params_new(void) { return calloc(1, sizeof(drt_params)); }

static void give_back(const drt_params *p, void *x, int64_t bytes) {
    if (p->dry) drt_memory_return(x, (size_t)bytes);
    else free(x);
}

void drt_params_free(drt_params *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++) {
        free(p->at[i]->block);
        free(p->at[i]);
    }
    for (int i = 0; i < p->slices; i++) free(p->slice[i].name);
    free(p->at);
    free(p->slice);
    give_back(p, p->weights, p->size * 4);
    give_back(p, p->halves, p->half * 2);
    give_back(p, p->grads, p->learning * 4);
    give_back(p, p->m, p->learning * 4);
    give_back(p, p->v, p->learning * 4);
    free(p);
}

drt_param *drt_param_add(drt_params *p, drt_group group, int64_t rows, int64_t cols, drt_init init, float scale) {
    drt_param **at = realloc(p->at, ((size_t)p->n + 1) * sizeof *at);
    drt_param *q = at ? calloc(1, sizeof *q) : NULL;
    if (at) p->at = at;
    if (!q) {
        p->failed = true;
        return NULL;
    }
    q->tensor.value = drt_mat_f32(NULL, rows, cols);
    q->tensor.leaf = true;
    q->group = group;
    q->init = init;
    q->scale = scale;
    q->index = p->n;
    p->at[p->n++] = q;
    return q;
}

void drt_param_name(drt_params *p, drt_param *param, int64_t row, int64_t rows, const char *name, int ndim,
                    const int64_t *shape) {
    drt_slice *s = param ? realloc(p->slice, ((size_t)p->slices + 1) * sizeof *s) : NULL;
    char *copy = strdup(name);
    if (s) p->slice = s;
    if (!s || !copy) {
        free(copy);
        p->failed = true;
        return;
    }
    s[p->slices] = (drt_slice){.name = copy, .param = param, .row = row, .rows = rows, .ndim = ndim};
    memcpy(s[p->slices].shape, shape, (size_t)ndim * sizeof *shape);
    p->slices++;
}

drt_param *drt_param_named(drt_params *p, drt_group group, int64_t rows, int64_t cols, bool vector, drt_init init,
                           float scale, const char *format, ...) {
    char name[256];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    drt_param *q = drt_param_add(p, group, rows, cols, init, scale);
    drt_param_name(p, q, 0, rows, name, vector ? 1 : 2, vector ? &cols : (int64_t[]){rows, cols});
    return q;
}

void drt_param_store(drt_param *q, drt_dtype type, bool mapped) {
    if (!q) return;
    q->tensor.value.type = type;
    q->mapped = mapped;
}

static int64_t padded(int64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }
static int64_t count(const drt_param *q) { return q->tensor.value.rows * q->tensor.value.cols; }
static bool learns_here(const drt_param *q, const bool *learns) { return learns && learns[q->group] && !q->mapped; }
static bool has_master(const drt_param *q, const bool *learns) {
    return q->tensor.value.type == DRT_F32 || learns_here(q, learns);
}
static bool has_half(const drt_param *q) { return q->tensor.value.type != DRT_F32 && !q->mapped; }

static drt_status sizes(drt_params *p, const bool *learns, drt_error *err) {
    p->size = p->learning = p->half = 0;
    for (int i = 0; i < p->n; i++) {
        drt_param *q = p->at[i];
        int64_t n;
        if (q->tensor.value.rows < 1 || q->tensor.value.cols < 1 ||
            __builtin_mul_overflow(q->tensor.value.rows, q->tensor.value.cols, &n) || n > (int64_t)1 << 40)
            return drt_fail(err, DRT_EFORMAT, "parameter %d is %lld x %lld; the config's sizes cannot be right", i,
                            (long long)q->tensor.value.rows, (long long)q->tensor.value.cols);
        q->offset = p->size;
        if (has_master(q, learns)) p->size += padded(n);
        if (has_half(q)) p->half += padded(n);
        if (learns_here(q, learns)) p->learning += padded(n);
    }
    return DRT_OK;
}

static void *zeros(const drt_params *p, int64_t n, size_t size) {
    if (p->dry && n) return drt_memory_reserve((size_t)n * size);
    size_t bytes = ((size_t)n * size + 63) / 64 * 64; // aligned_alloc wants whole multiples
    void *x = n ? aligned_alloc(64, bytes) : NULL;
    return x ? memset(x, 0, bytes) : NULL;
}

drt_status drt_params_allocate(drt_params *p, const bool learns[DRT_GROUPS], drt_error *err) {
    int64_t at = 0, half = 0;
    drt_status status =
        p->failed ? drt_fail(err, DRT_ENOMEM, "no memory for the list of parameters") : sizes(p, learns, err);
    if (status) return status;
    p->weights = zeros(p, p->size, sizeof *p->weights);
    p->halves = zeros(p, p->half, sizeof *p->halves);
    p->grads = zeros(p, p->learning, sizeof *p->grads);
    p->m = zeros(p, p->learning, sizeof *p->m);
    p->v = zeros(p, p->learning, sizeof *p->v);
    if ((p->size && !p->weights) || (p->half && !p->halves) || (p->learning && (!p->grads || !p->m || !p->v)))
        return drt_fail(err, DRT_ENOMEM,
                        "no memory for %.1f MB of weights and %.1f MB of gradients and optimizer state",
                        4e-6 * (double)p->size + 2e-6 * (double)p->half, 12e-6 * (double)p->learning);
    for (int i = 0; i < p->n; i++) {
        drt_param *q = p->at[i];
        drt_mat v = q->tensor.value;
        if (has_master(q, learns)) q->master = drt_mat_f32(p->weights + q->offset, v.rows, v.cols);
        if (has_half(q)) {
            q->tensor.value.data = p->halves + half;
            half += padded(count(q));
        } else if (!q->mapped) q->tensor.value = q->master;
        if (!learns_here(q, learns)) continue;
        q->tensor.needs_grad = q->tensor.grad_set = true;
        q->tensor.grad = drt_mat_f32(p->grads + at, v.rows, v.cols);
        at += padded(count(q));
    }
    return DRT_OK;
}

drt_param_bytes drt_params_bytes(const drt_params *p) {
    drt_param_bytes b = {.weights = p->size * (int64_t)sizeof *p->weights + p->half * (int64_t)sizeof *p->halves,
                         .gradients = p->learning * (int64_t)sizeof *p->grads,
                         .optimizer = p->learning * (int64_t)(sizeof *p->m + sizeof *p->v)};
    for (int i = 0; i < p->n; i++)
        if (p->at[i]->mapped) b.weights += count(p->at[i]) * (int64_t)drt_dtype_size(p->at[i]->tensor.value.type);
    return b;
}

bool drt_slice_map(drt_slice *s, const void *bytes) {
    drt_param *q = s->param;
    drt_mat block = q->tensor.value, *list;
    block.data = (void *)bytes; // weights that do not learn are only read
    block.rows = s->rows;
    if (s->rows == q->tensor.value.rows) {
        q->tensor.value = block;
        return true;
    }
    if (!(list = realloc(q->block, ((size_t)q->blocks + 1) * sizeof *list))) return false;
    list[q->blocks++] = block;
    q->tensor.block = q->block = list;
    return true;
}

drt_mat drt_slice_numbers(const drt_slice *s) {
    const drt_param *q = s->param;
    drt_mat v = q->master.data ? q->master : q->tensor.value;
    int64_t n = 1, from = s->row * (v.rows == 1 ? 1 : v.cols);
    for (int i = 0; i < s->ndim; i++) n *= s->shape[i];
    if (!v.data) {
        v = drt_weight_rows(&q->tensor, s->row);
        from = 0;
    }
    return (drt_mat){(char *)v.data + (size_t)from * drt_dtype_size(v.type), 1, n, n, v.type};
}

void drt_params_refresh(drt_params *p) {
    for (int i = 0; i < p->n; i++) {
        const drt_param *q = p->at[i];
        if (q->master.data && q->tensor.value.type == DRT_BF16)
            drt_f32_to_bf16_n(q->tensor.value.data, q->master.data, count(q));
    }
}

void drt_params_init(drt_params *p, drt_group group, uint64_t seed) {
    for (int i = 0; i < p->n; i++) {
        drt_param *q = p->at[i];
        if (q->group != group || !q->master.data) continue;
        drt_rng r;
        drt_rng_init(&r, seed, 0x9A4A + (uint64_t)i);
        float *x = q->master.data;
        int64_t n = q->tensor.value.rows * q->tensor.value.cols;
        double bound = 1 / sqrt(q->scale > 0 ? q->scale : (double)q->tensor.value.cols);
        for (int64_t k = 0; k < n; k++) {
            if (q->init == DRT_INIT_NORMAL) x[k] = (float)(drt_rng_normal(&r) * q->scale);
            else if (q->init == DRT_INIT_UNIFORM) x[k] = (float)((2 * drt_rng_uniform(&r) - 1) * bound);
            else x[k] = q->scale;
        }
    }
}

void drt_params_zero_grads(drt_params *p) {
    if (p->grads) memset(p->grads, 0, (size_t)p->learning * sizeof *p->grads);
}

int64_t drt_param_grad_offset(const drt_params *p, const drt_param *q) {
    return q->tensor.needs_grad ? (const float *)q->tensor.grad.data - p->grads : -1;
}

const drt_slice *drt_params_find(const drt_params *p, const char *name) {
    for (int i = 0; i < p->slices; i++)
        if (!strcmp(p->slice[i].name, name)) return &p->slice[i];
    return NULL;
}

uint64_t drt_params_hash(const drt_params *p) {
    return drt_digest_of(p->weights, (uint64_t)p->size * sizeof *p->weights);
}

uint64_t drt_params_learned(const drt_params *p) {
    uint64_t h[2] = {0};
    for (int i = 0; i < p->n; i++) {
        const drt_param *q = p->at[i];
        if (!q->tensor.needs_grad) continue;
        h[1] = drt_digest_of(q->master.data, (uint64_t)count(q) * sizeof *p->weights);
        h[0] = drt_hash(h, sizeof h);
    }
    return h[0];
}
