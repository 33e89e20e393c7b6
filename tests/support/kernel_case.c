#include "support/kernel_case.h"

#include "base/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const int K_EDGES[15] = {1, 7, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 67, 127, 129};

struct kmemory {
    void **block;
    int blocks, room;
};

void *kcase_alloc(kcase *c, size_t bytes) {
    struct kmemory *m = c->memory;
    if (m->blocks == m->room) {
        m->room = m->room ? 2 * m->room : 32;
        m->block = realloc(m->block, (size_t)m->room * sizeof *m->block);
    }
    void *p = m->block ? malloc(bytes ? bytes : 1) : NULL;
    if (!p) abort();
    m->block[m->blocks++] = p;
    return p;
}

void kcase_end(kcase *c) {
    for (int i = 0; i < c->memory->blocks; i++) free(c->memory->block[i]);
    free(c->memory->block);
    free(c->memory);
    memset(c, 0, sizeof *c);
}

static void describe(kcase *c) {
    int at = snprintf(c->name, sizeof c->name, "%s(", c->test->name), last = K_PARAMS;
    while (last > 1 && !c->p[last - 1]) last--;
    for (int i = 0; i < last; i++)
        at += snprintf(c->name + at, sizeof c->name - (size_t)at, i ? ", %d" : "%d", c->p[i]);
    snprintf(c->name + at, sizeof c->name - (size_t)at, ")");
}

static void begin(kcase *c, const ktest *test) {
    memset(c, 0, sizeof *c);
    c->test = test;
    c->memory = calloc(1, sizeof *c->memory);
    if (!c->memory) abort();
}

void kcase_begin(kcase *c, const ktest *test, const int p[K_PARAMS], uint64_t seed) {
    begin(c, test);
    memcpy(c->p, p, sizeof c->p);
    drt_rng_init(&c->rng, seed, drt_hash(c->p, sizeof c->p));
    describe(c);
    test->build(c);
}

static const drt_weight *golden(const kcase *c, const char *name) {
    char key[128];
    snprintf(key, sizeof key, "%s/%s", c->prefix, name);
    return drt_weights_find(c->golden, key);
}

void kcase_begin_golden(kcase *c, const ktest *test, const drt_weights *file, int i) {
    begin(c, test);
    c->golden = file;
    snprintf(c->prefix, sizeof c->prefix, "%s/%d", test->name, i);
    const drt_weight *p = golden(c, "p");
    if (!p || p->size > sizeof c->p) return;
    memcpy(c->p, p->bytes, p->size);
    describe(c);
    test->build(c);
}

// Reads a golden tensor into rows that may be apart. A missing one leaves NaN, which no comparison accepts.
static void read_golden(const kcase *c, const char *name, float *to, int64_t rows, int64_t cols, int64_t ld) {
    const drt_weight *t = golden(c, name);
    size_t row = (size_t)cols * sizeof(float);
    for (int64_t r = 0; r < rows; r++) {
        if (t && t->size == row * (size_t)rows) memcpy(to + r * ld, (const char *)t->bytes + (size_t)r * row, row);
        else
            for (int64_t i = 0; i < cols; i++) to[r * ld + i] = NAN;
    }
}

static karg *declare(kcase *c, const char *name, krole role, int64_t rows, int64_t cols, double n) {
    if (c->args == K_ARGS) abort();
    karg *a = &c->arg[c->args++];
    int64_t ld = cols + c->pad;
    // With padding the matrix is a column slice, off every alignment, with a guard row before and after it. Without,
    // the allocation ends with the matrix, so that a sanitizer sees the first float beyond.
    size_t before = c->pad ? (size_t)(ld + c->pad) : 0;
    a->room = c->pad ? (size_t)((rows + 2) * ld + 2 * c->pad) : (size_t)(rows * cols);
    a->name = name, a->role = role, a->n = n, a->partial = 1;
    a->whole = kcase_alloc(c, a->room * sizeof(float));
    a->start = kcase_alloc(c, a->room * sizeof(float));
    a->expected = kcase_alloc(c, (size_t)(rows * cols) * sizeof(float));
    for (size_t i = 0; i < a->room; i++) a->whole[i] = NAN;
    a->m = (drt_mat){a->whole + before, rows, cols, ld, DRT_F32};
    return a;
}

static void draw(kcase *c, karg *a) {
    for (int64_t r = 0; r < a->m.rows; r++)
        for (int64_t i = 0; i < a->m.cols; i++) drt_row(a->m, r)[i] = (float)drt_rng_normal(&c->rng);
}

static karg *begun(karg *a) {
    memcpy(a->start, a->whole, a->room * sizeof(float));
    return a;
}

karg *karg_in(kcase *c, const char *name, int64_t rows, int64_t cols) {
    karg *a = declare(c, name, K_IN, rows, cols, 1);
    if (c->golden) read_golden(c, name, a->m.data, rows, cols, a->m.ld);
    else draw(c, a);
    return begun(a);
}

karg *karg_stored(kcase *c, karg *a, drt_dtype type) {
    a->any = true;
    if (drt_dtype_size(type) == 4) a->m.type = type;
    if (drt_dtype_size(type) == 4 || !a->m.data) return a;
    // The same numbers and guards in 16 bits; the allocation still ends where it ended.
    size_t floats = (a->room + 1) / 2, odd = a->room & 1, first = (size_t)((float *)a->m.data - a->whole);
    uint16_t *to = kcase_alloc(c, floats * sizeof(float));
    for (size_t i = 0; i < 2 * floats; i++) to[i] = 0x7fc0; // NaN in both
    for (size_t i = 0; i < a->room; i++)
        if (!isnan(a->whole[i]))
            to[odd + i] = type == DRT_BF16 ? drt_f32_to_bf16(a->whole[i]) : drt_f32_to_f16(a->whole[i]);
    a->m.data = to + odd + first, a->m.type = type;
    a->whole = (float *)to, a->room = floats;
    memcpy(a->start, a->whole, floats * sizeof(float));
    return a;
}

karg *karg_later(kcase *c, const char *name, int64_t rows, int64_t cols) {
    return begun(declare(c, name, K_IN, rows, cols, 1));
}

karg *karg_out(kcase *c, const char *name, int64_t rows, int64_t cols, double n) {
    return begun(declare(c, name, K_OUT, rows, cols, n));
}

karg *karg_add(kcase *c, const char *name, int64_t rows, int64_t cols, double n) {
    karg *a = declare(c, name, K_ADD, rows, cols, n);
    draw(c, a);
    for (int64_t r = 0; c->golden && r < rows; r++) memset(drt_row(a->m, r), 0, (size_t)cols * sizeof(float));
    return begun(a);
}

karg *karg_acc(kcase *c, const char *name, int64_t rows, int64_t cols, double n) {
    return c->acc ? karg_add(c, name, rows, cols, n) : karg_out(c, name, rows, cols, n);
}

karg *karg_sum(karg *a) {
    a->partial = fmax(1, sqrt(a->n));
    return a;
}

karg *karg_work(kcase *c, const char *name, int64_t rows, int64_t cols) {
    return begun(declare(c, name, K_WORK, rows, cols, 1));
}

karg *karg_none(kcase *c, const char *name) {
    karg *a = declare(c, name, K_IN, 0, 0, 1);
    a->m = (drt_mat){0}, a->room = 0;
    return begun(a);
}

karg *karg_vector(kcase *c, const char *name, krole role, int64_t n) {
    int pad = c->pad;
    c->pad = 0;
    karg *a = role == K_IN    ? karg_in(c, name, n, 1)
              : role == K_ADD ? karg_add(c, name, n, 1, 1)
                              : karg_out(c, name, n, 1, 1);
    c->pad = pad;
    a->raw = true;
    return a;
}

void karg_drop(karg *a) { a->m.data = NULL; }

int32_t *kcase_indices(kcase *c, const char *name, int64_t n, int64_t below) {
    int32_t *x = kcase_alloc(c, (size_t)n * sizeof *x);
    const drt_weight *t = c->golden ? golden(c, name) : NULL;
    for (int64_t i = 0; i < n; i++) {
        if (!c->golden) x[i] = (int32_t)drt_rng_below(&c->rng, (uint64_t)below);
        else if (t && t->size == (size_t)n * sizeof *x) memcpy(x + i, (const int32_t *)t->bytes + i, sizeof *x);
        else x[i] = 0;
    }
    return x;
}

float *kdata(const kcase *c, int i) { return c->arg[i].m.data; }

void kcase_reset(kcase *c) {
    for (int i = 0; i < c->args; i++) memcpy(c->arg[i].whole, c->arg[i].start, c->arg[i].room * sizeof(float));
}

void kcase_poison(kcase *c) {
    for (int i = 0; i < c->args; i++)
        if (c->arg[i].role == K_IN) memset(c->arg[i].whole, 0xff, c->arg[i].room * sizeof(float)); // NaN in every type
}

void kcase_freeze(kcase *c) {
    for (int i = 0; i < c->args; i++)
        if (c->arg[i].role == K_IN) memcpy(c->arg[i].start, c->arg[i].whole, c->arg[i].room * sizeof(float));
}

bool karg_is_output(const kcase *c, int i) {
    const karg *a = &c->arg[i];
    return (a->role == K_OUT || a->role == K_ADD) && a->m.data && a->m.rows && a->m.cols;
}

void kcase_expect(kcase *c) {
    for (int i = 0; i < c->args; i++) {
        karg *a = &c->arg[i];
        size_t row = (size_t)a->m.cols * sizeof(float);
        for (int64_t r = 0; karg_is_output(c, i) && r < a->m.rows; r++)
            memcpy(a->expected + r * a->m.cols, drt_row(a->m, r), row);
    }
}

bool kcase_expect_golden(kcase *c) {
    for (int i = 0; i < c->args; i++) {
        karg *a = &c->arg[i];
        if (!karg_is_output(c, i)) continue;
        if (!golden(c, a->name)) {
            snprintf(c->name, sizeof c->name, "%s/%s", c->prefix, a->name);
            return false;
        }
        read_golden(c, a->name, a->expected, a->m.rows, a->m.cols, a->m.cols);
    }
    return true;
}

bool kcase_intact(const kcase *c, char why[K_WHY]) {
    for (int i = 0; i < c->args; i++) {
        const karg *a = &c->arg[i];
        int64_t first = a->m.data && a->role != K_IN ? (float *)a->m.data - a->whole : 0;
        for (int64_t at = 0; a->role != K_WORK && at < (int64_t)a->room; at++) {
            int64_t inside = at - first;
            bool own = a->role == K_IN || (inside >= 0 && inside / a->m.ld < a->m.rows && inside % a->m.ld < a->m.cols);
            if ((own && a->role != K_IN) || !memcmp(a->whole + at, a->start + at, sizeof(float))) continue;
            snprintf(why, K_WHY, "%s: %s %s was overwritten (offset %lld)", c->name,
                     own ? "the input" : "memory around", a->name, (long long)inside);
            return false;
        }
    }
    return true;
}

double karg_error(const kcase *c, int i) {
    const karg *a = &c->arg[i];
    double worst = 0;
    for (int64_t r = 0; r < a->m.rows; r++) {
        const float *got = drt_row(a->m, r), *expected = a->expected + r * a->m.cols;
        double magnitude = a->partial;
        for (int64_t j = 0; j < a->m.cols; j++)
            if (!isinf(expected[j])) magnitude = fmax(magnitude, fabs((double)expected[j]));
        for (int64_t j = 0; j < a->m.cols; j++) {
            if (isinf(expected[j])) continue;
            double off = fabs((double)got[j] - expected[j]) / magnitude;
            if (!(off <= worst)) worst = isnan(off) ? INFINITY : off;
        }
    }
    return worst;
}

double karg_tolerance(const kcase *c, int i, double step) { return rounding_tolerance(DRT_F32, c->arg[i].n) / step; }

bool kcase_accepts(const kcase *c, double step, char why[K_WHY]) {
    for (int i = 0; i < c->args; i++) {
        if (!karg_is_output(c, i)) continue;
        double error = karg_error(c, i), tolerance = karg_tolerance(c, i, step);
        if (error <= tolerance) continue;
        snprintf(why, K_WHY, "%s: %s is off by %.3g of its magnitude, allowed are %.3g", c->name, c->arg[i].name, error,
                 tolerance);
        return false;
    }
    return true;
}

uint64_t kcase_bits(const kcase *c) {
    uint64_t h = 0;
    for (int i = 0; i < c->args; i++)
        if (karg_is_output(c, i)) h = h * 31 + drt_hash(c->arg[i].whole, c->arg[i].room * sizeof(float));
    return h;
}

double kmat_dot(drt_mat a, drt_mat b) {
    double s = 0;
    for (int64_t r = 0; r < a.rows; r++)
        for (int64_t i = 0; i < a.cols; i++) s += (double)drt_row(a, r)[i] * drt_row(b, r)[i];
    return s;
}

double kmat_most(drt_mat m) {
    double most = 0;
    for (int64_t r = 0; r < m.rows; r++)
        for (int64_t i = 0; i < m.cols; i++) most = fmax(most, fabs((double)drt_row(m, r)[i]));
    return most;
}

void kmat_copy(drt_mat to, drt_mat from) {
    for (int64_t r = 0; r < from.rows; r++) memcpy(drt_row(to, r), drt_row(from, r), (size_t)from.cols * sizeof(float));
}

drt_mat kmat_zeros(kcase *c, int64_t rows, int64_t cols) {
    size_t bytes = (size_t)(rows * cols) * sizeof(float);
    return drt_mat_f32(memset(kcase_alloc(c, bytes), 0, bytes), rows, cols);
}

bool kgrid(int i, int p[K_PARAMS], int axes, const int *const axis[], const int length[]) {
    for (int a = axes - 1; a >= 0; i /= length[a--]) p[a] = axis[a][i % length[a]];
    return i == 0;
}

int kchance(int i, int what, int below) {
    int key[2] = {i, what};
    return (int)(drt_hash(key, sizeof key) % (uint64_t)below);
}
