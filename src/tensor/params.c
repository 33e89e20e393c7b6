#include "tensor/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const drt_group_names[DRT_GROUPS] = {"vision",    "clip_text", "clip_projection", "temperature",
                                                 "projector", "language",  "directed",        "order_head",
                                                 "balance",   "patch_head"};

enum { ALIGN_FLOATS = 16 }; // every parameter starts on a cache line

drt_params *drt_params_new(void) { return calloc(1, sizeof(drt_params)); }

void drt_params_free(drt_params *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++) free(p->at[i]);
    for (int i = 0; i < p->slices; i++) free(p->slice[i].name);
    free(p->at);
    free(p->slice);
    free(p->weights);
    free(p->grads);
    free(p->m);
    free(p->v);
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

static drt_status sizes(drt_params *p, const bool *learns, drt_error *err) {
    p->size = p->learning = 0;
    for (int i = 0; i < p->n; i++) {
        drt_param *q = p->at[i];
        int64_t n;
        if (q->tensor.value.rows < 1 || q->tensor.value.cols < 1 ||
            __builtin_mul_overflow(q->tensor.value.rows, q->tensor.value.cols, &n) || n > (int64_t)1 << 40)
            return drt_fail(err, DRT_EFORMAT, "parameter %d is %lld x %lld; the config's sizes cannot be right", i,
                            (long long)q->tensor.value.rows, (long long)q->tensor.value.cols);
        n = (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
        q->offset = p->size;
        p->size += n;
        if (learns && learns[q->group]) p->learning += n;
    }
    return DRT_OK;
}

static float *floats(int64_t n) {
    float *x = n ? aligned_alloc(64, (size_t)n * sizeof *x) : NULL;
    return x ? memset(x, 0, (size_t)n * sizeof *x) : NULL;
}

drt_status drt_params_allocate(drt_params *p, const bool learns[DRT_GROUPS], drt_error *err) {
    drt_status status =
        p->failed ? drt_fail(err, DRT_ENOMEM, "no memory for the list of parameters") : sizes(p, learns, err);
    if (status) return status;
    p->weights = floats(p->size);
    p->grads = floats(p->learning);
    p->m = floats(p->learning);
    p->v = floats(p->learning);
    if (!p->weights || (p->learning && (!p->grads || !p->m || !p->v)))
        return drt_fail(err, DRT_ENOMEM,
                        "no memory for %.1f MB of weights and %.1f MB of gradients and optimizer state",
                        4e-6 * (double)p->size, 12e-6 * (double)p->learning);
    int64_t at = 0;
    for (int i = 0; i < p->n; i++) {
        drt_param *q = p->at[i];
        drt_mat v = q->tensor.value;
        q->tensor.value.data = p->weights + q->offset;
        if (!learns || !learns[q->group]) continue;
        q->tensor.needs_grad = q->tensor.grad_set = true;
        q->tensor.grad = drt_mat_f32(p->grads + at, v.rows, v.cols);
        at += (v.rows * v.cols + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
    return DRT_OK;
}

void drt_params_init(drt_params *p, drt_group group, uint64_t seed) {
    for (int i = 0; i < p->n; i++) {
        drt_param *q = p->at[i];
        if (q->group != group) continue;
        drt_rng r;
        drt_rng_init(&r, seed, 0x9A4A + (uint64_t)i);
        float *x = q->tensor.value.data;
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

uint64_t drt_params_hash(const drt_params *p) { return drt_hash(p->weights, (uint64_t)p->size * sizeof *p->weights); }
