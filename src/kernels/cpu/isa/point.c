// Element by element: activations, gated activations, rotary positions, AdamW.
#include "kernels/cpu/isa/table.h"

// P(X <= x) of a standard normal X and, in *bell, its density without 1/sqrt(2 pi), e^(-x^2/2). The lower tail is
// bell * Q(t), t = 1 / (1 + 0.3 |x|), Q minimax of degree 8 (1.3e-7 relative, fitted over |x| <= 13.5), so that GELU
// keeps its relative accuracy where it vanishes (1 + erf loses it).
INLINE vf normal_cdf(vf x, vf *bell) {
    vf a = vabs(x), t = 1.0f / (1.0f + 0.3f * a);
    *bell = vexp(x * x * -0.5f);
    vf q = t * 0.035931755f - 0.15827608f;
    q = q * t + 0.20820673f;
    q = q * t - 0.055393946f;
    q = q * t + 0.12946925f;
    q = q * t + 0.09963748f;
    q = q * t + 0.12079836f;
    q = q * t + 0.11962639f;
    vf tail = q * t * *bell;
    return vselect(x > 0.0f, 1.0f - tail, tail);
}

// The activation, and its derivative in *d when d is not NULL. `kind` is a constant at every call.
INLINE vf act(drt_activation kind, vf x, vf *d) {
    if (kind == DRT_GELU) {
        vf bell, p = normal_cdf(x, &bell);
        if (d) *d = p + x * bell * 0.398942280f;
        return x * p;
    }
    if (kind == DRT_RELU) {
        if (d) *d = vselect(x > 0.0f, vset(1.0f), vset(0.0f));
        return vmax(vset(0.0f), x);
    }
    if (kind == DRT_GELU_TANH) {
        // x sigmoid(z), z = 2 sqrt(2/pi) (x + 0.044715 x^3); beyond 12 the sigmoid is 0 or 1 and z would overflow.
        vf a = vmin(vset(12.0f), vmax(vset(-12.0f), x)), square = a * a;
        vf e = vexp(a * (square * -0.0713548163f - 1.59576912f)), s = 1.0f / (1.0f + e);
        // 1 - s: near s = 1 the difference would keep few digits, and the slope multiplies it by up to 37.
        vf rest = vselect(x > 0.0f, e * s, 1.0f - s);
        if (d) *d = s + a * s * rest * (square * 0.214064449f + 1.59576912f);
        return x * s;
    }
    float k = kind == DRT_SILU ? 1.0f : 1.702f;
    vf s = 1.0f / (1.0f + vexp(x * -k));
    if (d) *d = s + k * x * s * (1.0f - s);
    return x * s;
}

// One row of everything below, with the kind as a constant.
INLINE void act_row(drt_activation kind, int64_t n, const float *x, float *y) {
    for (int64_t c = 0; c < n; c += VL) vstore_n(y + c, n - c, act(kind, vload_n(x + c, n - c), NULL));
}
INLINE void act_back_row(drt_activation kind, int64_t n, const float *x, const float *dy, bool acc, float *dx) {
    for (int64_t c = 0; c < n; c += VL) {
        vf d, g;
        act(kind, vload_n(x + c, n - c), &d);
        g = d * vload_n(dy + c, n - c);
        vstore_n(dx + c, n - c, acc ? vload_n(dx + c, n - c) + g : g);
    }
}
INLINE void glu_row(drt_activation kind, int64_t n, const float *x, float *y) {
    for (int64_t c = 0; c < n; c += VL)
        vstore_n(y + c, n - c, act(kind, vload_n(x + c, n - c), NULL) * vload_n(x + n + c, n - c));
}
INLINE void glu_back_row(drt_activation kind, int64_t n, const float *x, const float *dy, bool acc, float *dx) {
    for (int64_t c = 0; c < n; c += VL) {
        vf d, up = vload_n(x + n + c, n - c), g = vload_n(dy + c, n - c);
        vf a = act(kind, vload_n(x + c, n - c), &d), dgate = g * up * d, dup = g * a;
        if (acc) dgate += vload_n(dx + c, n - c), dup += vload_n(dx + n + c, n - c);
        vstore_n(dx + c, n - c, dgate);
        vstore_n(dx + n + c, n - c, dup);
    }
}

// Calls f(KIND, ...) with the kind as a constant.
#define BY_KIND(kind, f, ...)                                                                                         \
    do {                                                                                                              \
        if ((kind) == DRT_GELU) f(DRT_GELU, __VA_ARGS__);                                                             \
        else if ((kind) == DRT_QUICK_GELU) f(DRT_QUICK_GELU, __VA_ARGS__);                                            \
        else if ((kind) == DRT_SILU) f(DRT_SILU, __VA_ARGS__);                                                        \
        else if ((kind) == DRT_GELU_TANH) f(DRT_GELU_TANH, __VA_ARGS__);                                              \
        else f(DRT_RELU, __VA_ARGS__);                                                                                \
    } while (0)

typedef struct {
    drt_activation kind;
    drt_mat x, y, dy, dx;
    drt_span span;
    bool acc;
} point;

// About what one vector costs beside its memory: a grain should take some 5 us here too.
enum { HEAVY = 4 };

static void activate_pieces(const void *args, int64_t first, int64_t end, int worker) {
    const point *k = args;
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        const float *x = (const float *)k->x.data + i * k->span.step[0];
        float *y = (float *)k->y.data + i * k->span.step[1];
        BY_KIND(k->kind, act_row, drt_span_length(&k->span, i), x, y);
    }
}

void DRT_FN(activate)(drt_device *dev, drt_activation kind, drt_mat x, drt_mat y) {
    if (!DRT_READY(dev, "activate", x, y) || !y.data) return;
    point k = {.kind = kind, .x = x, .y = y, .span = drt_span_of(2, (drt_mat[]){x, y})};
    drt_cpu_rows(dev, k.span.pieces, HEAVY * k.span.length, activate_pieces, &k);
}

static void activate_back_pieces(const void *args, int64_t first, int64_t end, int worker) {
    const point *k = args;
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        const float *x = (const float *)k->x.data + i * k->span.step[0];
        const float *dy = (const float *)k->dy.data + i * k->span.step[1];
        float *dx = (float *)k->dx.data + i * k->span.step[2];
        BY_KIND(k->kind, act_back_row, drt_span_length(&k->span, i), x, dy, k->acc, dx);
    }
}

void DRT_FN(activate_back)(drt_device *dev, drt_activation kind, drt_mat x, drt_mat dy, bool acc, drt_mat dx) {
    if (!DRT_READY(dev, "activate_back", x, dy, dx) || !dx.data) return;
    point k = {.kind = kind, .x = x, .dy = dy, .dx = dx, .acc = acc, .span = drt_span_of(3, (drt_mat[]){x, dy, dx})};
    drt_cpu_rows(dev, k.span.pieces, HEAVY * k.span.length, activate_back_pieces, &k);
}

static void glu_rows(const void *args, int64_t first, int64_t end, int worker) {
    const point *k = args;
    (void)worker;
    for (int64_t r = first; r < end; r++) BY_KIND(k->kind, glu_row, k->y.cols, drt_row(k->x, r), drt_row(k->y, r));
}

void DRT_FN(glu)(drt_device *dev, drt_activation kind, drt_mat x, drt_mat y) {
    if (!DRT_READY(dev, "glu", x, y) || !y.data) return;
    point k = {.kind = kind, .x = x, .y = y};
    drt_cpu_rows(dev, y.rows, HEAVY * y.cols, glu_rows, &k);
}

static void glu_back_rows(const void *args, int64_t first, int64_t end, int worker) {
    const point *k = args;
    (void)worker;
    for (int64_t r = first; r < end; r++)
        BY_KIND(k->kind, glu_back_row, k->dy.cols, drt_row(k->x, r), drt_row(k->dy, r), k->acc, drt_row(k->dx, r));
}

void DRT_FN(glu_back)(drt_device *dev, drt_activation kind, drt_mat x, drt_mat dy, bool acc, drt_mat dx) {
    if (!DRT_READY(dev, "glu_back", x, dy, dx) || !dx.data) return;
    point k = {.kind = kind, .x = x, .dy = dy, .dx = dx, .acc = acc};
    drt_cpu_rows(dev, dy.rows, HEAVY * dy.cols, glu_back_rows, &k);
}

typedef struct {
    drt_mat x, table;
    const int32_t *position;
    int64_t head_size;
    float sign;
} rotation;

static void rope_rows(const void *args, int64_t first, int64_t end, int worker) {
    const rotation *k = args;
    int64_t half = k->table.cols / 2, heads = k->x.cols / k->head_size;
    float sign = k->sign;
    (void)worker;
    for (int64_t r = first; r < end; r++) {
        const float *cosine = drt_row(k->table, k->position[r]), *sine = cosine + half;
        for (int64_t h = 0; h < heads; h++) {
            float *a = drt_row(k->x, r) + h * k->head_size, *b = a + half;
#pragma omp simd
            for (int64_t j = 0; j < half; j++) {
                float s = sign * sine[j], u = a[j], w = b[j];
                a[j] = u * cosine[j] - w * s;
                b[j] = w * cosine[j] + u * s;
            }
        }
    }
}

void DRT_FN(rope)(drt_device *dev, drt_mat x, const int32_t *position, drt_mat table, int head_size, bool inverse) {
    if (!DRT_READY(dev, "rope", x, table) || !x.data) return;
    if (!drt_cpu_indices_good(dev, "rope, position", position, x.rows, 0, table.rows)) return;
    rotation k = {x, table, position, head_size, inverse ? -1.0f : 1.0f};
    drt_cpu_rows(dev, x.rows, x.cols, rope_rows, &k);
}

typedef struct {
    const drt_adamw *o;
    float *w, *m, *v;
    const float *g;
} adam;

static void adamw_run(const void *args, int64_t first, int64_t end, int worker) {
    const adam *k = args;
    const drt_adamw *o = k->o;
    float *w = k->w, *m = k->m, *v = k->v;
    const float *g = k->g;
    float b1 = o->beta1, b2 = o->beta2, a1 = 1.0f - b1, a2 = 1.0f - b2, eps = o->eps, gs = o->grad_scale;
    float keep = 1.0f - o->lr * o->weight_decay, step = o->lr / o->correction1, root = 1.0f / sqrtf(o->correction2);
    (void)worker;
#pragma omp simd
    for (int64_t j = first; j < end; j++) {
        float d = g[j] * gs;
        m[j] = b1 * m[j] + a1 * d;
        v[j] = b2 * v[j] + a2 * d * d;
        w[j] = w[j] * keep - step * m[j] / (sqrtf(v[j]) * root + eps);
    }
}

void DRT_FN(adamw)(drt_device *dev, const drt_adamw *o, int64_t n, float *w, const float *g, float *m, float *v) {
    if (dev->error.code) return;
    adam k = {o, w, m, v, g};
    drt_cpu_rows(dev, n, 1, adamw_run, &k);
}
