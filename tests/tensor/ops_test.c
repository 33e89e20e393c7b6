// Gradients of every operation of tensor/ops.h by finite differences; the harness is support/slope.h.
#include "support/slope.h"

#include <math.h>
#include <stdio.h>

static const int64_t odd[][2] = {{1, 1}, {1, 7}, {7, 1}, {5, 3}, {11, 13}};
enum { ODD = sizeof odd / sizeof *odd };

// ---- products ------------------------------------------------------------------------------------------------------

static drt_tensor *linear(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_linear(t, bench_copy(t, leaf[0]), leaf[1], leaf[2]);
}
static drt_tensor *linear_add(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    drt_tensor *x = bench_copy(t, leaf[0]);
    return drt_linear_add(t, x, leaf[1], leaf[2], bench_copy(t, leaf[3]));
}
// x is its own residual, twice: the gradient that is handed on meets one that is added.
static drt_tensor *residuals(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    drt_tensor *x = bench_copy(t, leaf[0]);
    x = drt_linear_add(t, x, leaf[1], NULL, x);
    return drt_linear_add(t, drt_activate(t, DRT_SILU, x), leaf[1], NULL, x);
}

// Two adapters beside different rows of one weight [4, c]; with dropout, whose masks are the same in every run. `part`
// leaves out the first row, and so cuts through the first adapter.
typedef struct {
    float dropout;
    bool part;
} adapted;
static drt_tensor *low_rank(drt_tape *t, drt_tensor *const *leaf, const void *context) {
    const adapted *c = context;
    drt_low_rank *l = drt_tape_alloc(t, 2, sizeof *l);
    drt_tensor *x = bench_copy(t, leaf[0]), *w = leaf[1];
    if (!l || !x) return NULL;
    l[0] = (drt_low_rank){leaf[2], leaf[3], 0, 0.7f, c->dropout, 1, &l[1]};
    l[1] = (drt_low_rank){leaf[4], leaf[5], 3, -1.3f, c->dropout, 2, NULL};
    drt_tape_set_noise(t, 5);
    w->added = l;
    drt_tensor *y = drt_linear(t, x, c->part ? drt_part(t, w, 1, 3, 0, x->value.cols) : w, NULL);
    w->added = NULL;
    return y;
}

static void adapters(void **state) {
    (void)state;
    static const adapted ways[] = {{0, false}, {0.4f, false}, {0, true}, {0.4f, true}};
    for (int i = 0; i < ODD; i++)
        for (int k = 0; k < 4; k++) {
            int64_t n = odd[i][0], c = odd[i][1];
            // A mask may clear all there is of one number: then a wrong gradient is no other.
            slope_check(&(slope){"low_rank",
                                 6,
                                 {n, 4, 2, 3, 3, 1},
                                 {c, c, c, 2, c, 3},
                                 .build = low_rank,
                                 .context = &ways[k],
                                 .flat = c == 1});
        }
}

static void products(void **state) {
    (void)state;
    for (int i = 0; i < ODD; i++) {
        int64_t n = odd[i][0], c = odd[i][1], out = 4;
        slope_check(&(slope){"linear", 3, {n, out, 1}, {c, c, out}, .build = linear});
        slope_check(&(slope){"linear_add", 4, {n, out, 1, n}, {c, c, out, out}, .build = linear_add});
        slope_check(&(slope){"residuals", 2, {n, c}, {c, c}, .build = residuals});
    }
}

// ---- rows ----------------------------------------------------------------------------------------------------------

static const int32_t to[] = {3, 0, 2, 3, -1, 1}, from[] = {0, 4, 4, 2, 1, -1}, pick[] = {4, 0, 4, 2, 2, 2, 1};
static const float factor[] = {0.5f, -2, 1, 3, 1, 1};

static drt_tensor *gathered(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    const drt_rows sources[] = {{bench_copy(t, leaf[0]), to, from, factor, 6}, {leaf[1], NULL, NULL, NULL, 4}};
    return drt_gather(t, 4, 3, false, sources, 2);
}
static drt_tensor *selected(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_select(t, leaf[0], pick, 7);
}
// A matrix cut in four parts that go different ways, one of which is not used at all.
static drt_tensor *parts(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    drt_tensor *x = bench_copy(t, leaf[0]);
    drt_tensor *a = drt_part(t, x, 0, 2, 0, 3), *b = drt_part(t, x, 2, 3, 0, 3), *d = drt_part(t, x, 0, 5, 3, 2);
    (void)drt_part(t, x, 0, 5, 5, 2);
    a = drt_linear(t, drt_activate(t, DRT_GELU, a), leaf[1], NULL);
    b = drt_linear(t, b, drt_part(t, leaf[1], 0, 2, 0, 3), NULL); // a window of a parameter
    d = drt_select(t, d, pick, 5);
    static const int32_t first[] = {0, 1}, rest[] = {2, 3, 4};
    const drt_rows sources[] = {{a, first, NULL, NULL, 2}, {d, NULL, NULL, NULL, 5}, {b, rest, NULL, NULL, 3}};
    return drt_gather(t, 5, 2, false, sources, 3);
}
static drt_tensor *reshaped(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_linear(t, drt_reshape(t, drt_activate(t, DRT_GELU, bench_copy(t, leaf[0])), 2, 9), leaf[1], NULL);
}
// A tensor that is used as a whole before its parts are taken (a residual): both gradients arrive.
static drt_tensor *whole_and_parts(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    drt_tensor *x = bench_copy(t, leaf[0]), *early = drt_linear(t, x, leaf[1], NULL);
    drt_tensor *a = drt_part(t, x, 0, 5, 0, 4), *b = drt_part(t, x, 0, 5, 4, 3);
    a = drt_linear(t, a, drt_part(t, leaf[1], 0, 2, 0, 4), NULL);
    b = drt_linear(t, b, drt_part(t, leaf[1], 0, 2, 4, 3), NULL);
    const drt_rows sources[] = {{early, NULL, NULL, NULL, 5}, {a, NULL, NULL, NULL, 5}, {b, NULL, NULL, NULL, 5}};
    return drt_gather(t, 5, 2, false, sources, 3);
}

static void rows(void **state) {
    (void)state;
    slope_check(&(slope){"gather", 2, {5, 4}, {3, 3}, .build = gathered});
    slope_check(&(slope){"reshape", 2, {6, 4}, {3, 9}, .build = reshaped});
    slope_check(&(slope){"select", 1, {5}, {3}, .build = selected});
    slope_check(&(slope){"parts", 2, {5, 2}, {7, 3}, .build = parts});
    slope_check(&(slope){"whole and parts", 2, {5, 2}, {7, 7}, .build = whole_and_parts});
}

// ---- norms and activations -----------------------------------------------------------------------------------------

static drt_tensor *layer_norm(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_layer_norm(t, bench_copy(t, leaf[0]), leaf[1], leaf[2], 0.1f);
}
static drt_tensor *rms_norm(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_rms_norm(t, bench_copy(t, leaf[0]), leaf[1], 0.1f);
}
// A norm by one more than its weight; the shifted weight, no parameter itself, serves twice.
static drt_tensor *from_one(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    drt_tensor *w = drt_shift(t, leaf[1], 1), *x = bench_copy(t, leaf[0]);
    drt_tensor *a = drt_rms_norm(t, x, w, 0.1f), *b = drt_rms_norm(t, drt_activate(t, DRT_SILU, x), w, 0.1f);
    if (!a || !b) return NULL;
    int64_t n = a->value.rows;
    const drt_rows sources[] = {{a, NULL, NULL, NULL, n}, {b, NULL, NULL, NULL, n}};
    return drt_gather(t, n, a->value.cols, false, sources, 2);
}
static drt_tensor *unit_rows(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_unit_rows(t, bench_copy(t, leaf[0]));
}
static drt_tensor *activated(drt_tape *t, drt_tensor *const *leaf, const void *kind) {
    return drt_activate(t, *(const drt_activation *)kind, bench_copy(t, leaf[0]));
}
static drt_tensor *gated(drt_tape *t, drt_tensor *const *leaf, const void *kind) {
    return drt_glu(t, *(const drt_activation *)kind, bench_copy(t, leaf[0]));
}

typedef struct {
    drt_activation kind;
    bool gated, whole; // whole: with bias and residual
} forward_kind;
static drt_tensor *fed_forward(drt_tape *t, drt_tensor *const *leaf, const void *context) {
    const forward_kind *k = context;
    drt_tensor *b = k->whole ? leaf[2] : NULL, *residual = k->whole ? bench_copy(t, leaf[3]) : NULL;
    return drt_feed_forward(t, k->kind, k->gated, bench_copy(t, leaf[0]), leaf[1], b, residual);
}

static void norms(void **state) {
    (void)state;
    for (int i = 0; i < ODD; i++) {
        int64_t n = odd[i][0], c = odd[i][1];
        slope_check(&(slope){"layer_norm", 3, {n, 1, 1}, {c, c, c}, .build = layer_norm, .flat = c == 1});
        slope_check(&(slope){"rms_norm", 2, {n, 1}, {c, c}, .build = rms_norm, .flat = c == 1});
        slope_check(&(slope){"rms_norm from one", 2, {n, 1}, {c, c}, .build = from_one, .flat = c == 1});
        slope_check(&(slope){"unit_rows", 1, {n}, {c}, .build = unit_rows, .away = true, .flat = c == 1});
    }
}

static void activations(void **state) {
    static const drt_activation kinds[] = {DRT_GELU, DRT_QUICK_GELU, DRT_SILU, DRT_RELU, DRT_GELU_TANH};
    (void)state;
    for (int k = 0; k < 5; k++)
        for (int i = 0; i < ODD; i++) {
            int64_t n = odd[i][0], c = odd[i][1];
            slope_check(&(slope){"activate",
                                 1,
                                 {n},
                                 {c},
                                 .build = activated,
                                 .context = &kinds[k],
                                 .away = kinds[k] == DRT_RELU,
                                 .flat = n * c < 3});
            slope_check(&(slope){"glu",
                                 1,
                                 {n},
                                 {2 * c},
                                 .build = gated,
                                 .context = &kinds[k],
                                 .away = kinds[k] == DRT_RELU,
                                 .flat = n * c < 3});
            for (int way = 0; way < 4; way++) {
                const forward_kind f = {kinds[k], way & 1, way & 2};
                slope_check(&(slope){"feed-forward",
                                     f.whole ? 4 : 2,
                                     {n, 3, 1, n},
                                     {f.gated ? 2 * c : c, c, 3, 3},
                                     .build = fed_forward,
                                     .context = &f,
                                     .away = kinds[k] == DRT_RELU,
                                     .flat = n * c < 3});
            }
        }
}

// ---- losses --------------------------------------------------------------------------------------------------------

static const int32_t label[] = {2, 0, 3, 3, 1, 0, 2, 1, 0, 0, 3};
static const float weight[] = {0.5f, 1, 0, 2, 0.25f, 1, 1, 1, 3, 1, 0.1f};

static drt_tensor *cross_entropy(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_linear_cross_entropy(t, bench_copy(t, leaf[0]), leaf[1], leaf[2], label, weight, NULL, NULL);
}
// An adapter beside the head; context: its dropout.
static drt_tensor *adapted_head(drt_tape *t, drt_tensor *const *leaf, const void *dropout) {
    drt_low_rank l = {leaf[3], leaf[4], 0, 0.7f, *(const float *)dropout, 1, NULL};
    drt_tape_set_noise(t, 5);
    leaf[1]->added = &l;
    drt_tensor *y = drt_linear_cross_entropy(t, bench_copy(t, leaf[0]), leaf[1], leaf[2], label, weight, NULL, NULL);
    leaf[1]->added = NULL;
    return y;
}

typedef struct {
    bench b;
    drt_tensor *x, *w;
    drt_low_rank l;
    int32_t *label;
    float *one;
} wide_head;

static void wide_open(wide_head *h, int rows, int classes) {
    enum { WIDTH = 3, RANK = 2 };
    static const bool learns[DRT_GROUPS] = {[DRT_ADAPTER] = true};
    *h = (wide_head){0};
    bench_open(&h->b, "cpu");
    h->x = bench_leaf(&h->b, rows, WIDTH, DRT_LANGUAGE);
    h->w = bench_leaf(&h->b, classes, WIDTH, DRT_LANGUAGE);
    drt_tensor *a = bench_leaf(&h->b, RANK, WIDTH, DRT_ADAPTER), *b = bench_leaf(&h->b, classes, RANK, DRT_ADAPTER);
    bench_ready(&h->b, learns);
    h->l = (drt_low_rank){a, b, 0, 0.7f, 0, 1, NULL};
    h->w->added = &h->l;
    h->label = malloc((size_t)rows * sizeof *h->label);
    h->one = malloc((size_t)rows * sizeof *h->one);
    for (int i = 0; i < rows; i++) h->label[i] = i * (classes / rows), h->one[i] = 1;
}

static void wide_close(wide_head *h) {
    free(h->label), free(h->one);
    bench_close(&h->b);
}

// With dropout the loss is that of the logits that the product makes as a whole, by the same masks.
static void head_drops(void **state) {
    (void)state;
    enum { ROWS = 7, CLASSES = 40 };
    wide_head h;
    drt_error err = {0};
    float loss[ROWS];
    wide_open(&h, ROWS, CLASSES);
    h.l.dropout = 0.4f;
    drt_tape_begin(h.b.t, true);
    drt_tape_set_noise(h.b.t, 5);
    drt_tensor *logits = drt_linear(h.b.t, h.x, h.w, NULL);
    check(drt_linear_cross_entropy(h.b.t, h.x, h.w, NULL, h.label, h.one, loss, NULL) != NULL);
    check_ok(drt_tape_failed(h.b.t, &err));
    for (int i = 0; i < ROWS; i++) {
        const float *z = drt_row(logits->value, i);
        double sum = 0;
        for (int k = 0; k < CLASSES; k++) sum += exp((double)z[k]);
        check(fabs(log(sum) - z[h.label[i]] - loss[i]) < 1e-5);
    }
    wide_close(&h);
}

// Two chunks make the gradients of two losses of half the rows, each of which is one.
static void head_in_chunks(void **state) {
    (void)state;
    enum { ROWS = 70, CLASSES = 500000 }; // more than 2^25 logits
    wide_head h;
    drt_error err = {0};
    wide_open(&h, ROWS, CLASSES);
    const drt_mat g = h.l.b->value;
    float *had = malloc((size_t)(g.rows * g.cols) * sizeof *had);
    for (int halves = 0; halves < 2; halves++) {
        drt_tensor *term[2];
        drt_params_zero_grads(h.b.p);
        drt_tape_begin(h.b.t, true);
        for (int i = 0; i <= halves; i++) {
            int64_t n = halves ? ROWS / 2 : ROWS;
            int32_t *from = drt_tape_alloc(h.b.t, n, sizeof *from);
            for (int64_t k = 0; k < n; k++) from[k] = (int32_t)(i * n + k);
            term[i] = drt_linear_cross_entropy(h.b.t, drt_select(h.b.t, h.x, from, n), h.w, NULL, h.label + i * n,
                                               h.one, NULL, NULL);
        }
        drt_backward(h.b.t, drt_total_loss(h.b.t, term, h.one, NULL, NULL, 1 + halves));
        check_ok(drt_tape_failed(h.b.t, &err));
        if (!halves) memcpy(had, h.l.b->grad.data, (size_t)(g.rows * g.cols) * sizeof *had);
    }
    double gap = 0, size = 0;
    for (int64_t i = 0; i < g.rows * g.cols; i++) {
        double now = ((float *)h.l.b->grad.data)[i];
        gap += (now - had[i]) * (now - had[i]);
        size += now * now;
    }
    check(size > 0 && gap <= 1e-10 * size);
    free(had);
    wide_close(&h);
}

// One tensor under two heads, one of which is a window of the other.
static drt_tensor *two_heads(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    drt_tensor *x = bench_copy(t, leaf[0]), *head = drt_part(t, leaf[1], 1, 4, 0, 3);
    drt_tensor *term[] = {drt_linear_cross_entropy(t, x, head, NULL, label, weight, NULL, NULL),
                          drt_linear_cross_entropy(t, x, leaf[1], NULL, label + 3, weight, NULL, NULL)};
    return drt_total_loss(t, term, (const float[]){2, -0.5f}, NULL, NULL, 2);
}
static drt_tensor *contrast(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_contrastive_loss(t, drt_unit_rows(t, leaf[0]), drt_unit_rows(t, leaf[1]), leaf[2], NULL);
}
static drt_tensor *paired(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    return drt_sigmoid_loss(t, drt_unit_rows(t, leaf[0]), drt_unit_rows(t, leaf[1]), leaf[2], leaf[3], NULL);
}
static drt_tensor *balanced(drt_tape *t, drt_tensor *const *leaf, const void *c) {
    (void)c;
    drt_tensor *term[] = {bench_project(t, leaf[0], 1), bench_project(t, drt_activate(t, DRT_SILU, leaf[0]), 2)};
    drt_tensor *logs[] = {drt_part(t, leaf[1], 1, 1, 0, 1), NULL};
    return drt_total_loss(t, term, (const float[]){2, 3}, logs, (const float[]){0.25f, 1}, 2);
}

static void losses(void **state) {
    (void)state;
    slope_check(&(slope){"cross-entropy", 3, {11, 4, 1}, {3, 3, 4}, .build = cross_entropy});
    slope_check(&(slope){"cross-entropy of a row", 3, {1, 4, 1}, {1, 1, 4}, .build = cross_entropy});
    static const float dropout[] = {0, 0.4f};
    for (int i = 0; i < 2; i++)
        slope_check(&(slope){"cross-entropy beside an adapter",
                             5,
                             {11, 4, 1, 2, 4},
                             {3, 3, 4, 3, 2},
                             .build = adapted_head,
                             .context = &dropout[i]});
    slope_check(&(slope){"two heads", 2, {7, 5}, {3, 3}, .build = two_heads});
    slope_check(&(slope){"contrastive", 3, {5, 5, 1}, {3, 3, 1}, .build = contrast});
    slope_check(&(slope){"contrastive, more texts", 3, {3, 7, 1}, {5, 5, 1}, .build = contrast});
    slope_check(&(slope){"contrastive of one", 3, {1, 2, 1}, {3, 3, 1}, .build = contrast});
    slope_check(&(slope){"sigmoid", 4, {5, 5, 1, 1}, {3, 3, 1, 1}, .build = paired});
    slope_check(&(slope){"sigmoid, more texts", 4, {3, 7, 1, 1}, {5, 5, 1, 1}, .build = paired});
    slope_check(&(slope){"sigmoid of one", 4, {1, 1, 1, 1}, {3, 3, 1, 1}, .build = paired});
    slope_check(&(slope){"total", 2, {3, 2}, {2, 1}, .build = balanced});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),   cmocka_unit_test(adapters),       cmocka_unit_test(rows),
        cmocka_unit_test(norms),      cmocka_unit_test(activations),    cmocka_unit_test(losses),
        cmocka_unit_test(head_drops), cmocka_unit_test(head_in_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
