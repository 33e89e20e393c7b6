// Element by element: activations, gated activations, rotary positions, AdamW.
#include "kernels/cpu/isa/table.h"

// P(X <= x) of a standard normal X and, in *bell, its density without 1/sqrt(2 pi), e^(-x^2/2): the lower tail is bell * Q(t),
// t = 1 / (1 + 0.3 |x|), Q minimax of degree 8 (1.3e-7 relative, fitted over |x| <= 13.5), so that GELU keeps its
// relative accuracy where it vanishes (1 + erf loses it).
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
        else f(DRT_RELU, __VA_ARGS__);                                                                                \
    } while (0)

void DRT_FN(activate)(drt_device *dev, drt_activation kind, drt_mat x, drt_mat y) {
    if (!DRT_READY(dev, "activate", x, y) || !y.data) return;
    drt_span s = drt_span_of(2, (drt_mat[]){y, x});
#pragma omp parallel for num_threads(drt_cpu_threads(dev, 4 * x.rows * x.cols))
    for (int64_t i = 0; i < s.pieces; i++) {
        float *py = (float *)y.data + i * s.step[0];
        const float *px = (const float *)x.data + i * s.step[1];
        BY_KIND(kind, act_row, drt_span_length(&s, i), px, py);
    }
}

void DRT_FN(activate_back)(drt_device *dev, drt_activation kind, drt_mat x, drt_mat dy, bool acc, drt_mat dx) {
    if (!DRT_READY(dev, "activate_back", x, dy, dx) || !dx.data) return;
    drt_span s = drt_span_of(3, (drt_mat[]){dx, x, dy});
#pragma omp parallel for num_threads(drt_cpu_threads(dev, 4 * x.rows * x.cols))
    for (int64_t i = 0; i < s.pieces; i++) {
        float *pdx = (float *)dx.data + i * s.step[0];
        const float *px = (const float *)x.data + i * s.step[1], *pdy = (const float *)dy.data + i * s.step[2];
        BY_KIND(kind, act_back_row, drt_span_length(&s, i), px, pdy, acc, pdx);
    }
}

void DRT_FN(glu)(drt_device *dev, drt_activation kind, drt_mat x, drt_mat y) {
    if (!DRT_READY(dev, "glu", x, y) || !y.data) return;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, 4 * y.rows * y.cols))
    for (int64_t r = 0; r < y.rows; r++) BY_KIND(kind, glu_row, y.cols, drt_row(x, r), drt_row(y, r));
}

void DRT_FN(glu_back)(drt_device *dev, drt_activation kind, drt_mat x, drt_mat dy, bool acc, drt_mat dx) {
    if (!DRT_READY(dev, "glu_back", x, dy, dx) || !dx.data) return;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, 4 * dy.rows * dy.cols))
    for (int64_t r = 0; r < dy.rows; r++)
        BY_KIND(kind, glu_back_row, dy.cols, drt_row(x, r), drt_row(dy, r), acc, drt_row(dx, r));
}

void DRT_FN(rope)(drt_device *dev, drt_mat x, const int32_t *position, drt_mat table, int head_size, bool inverse) {
    if (!DRT_READY(dev, "rope", x, table) || !x.data) return;
    if (!drt_cpu_indices_below(dev, "rope, position", position, x.rows, table.rows)) return;
    int64_t heads = x.cols / head_size, half = head_size / 2;
    float sign = inverse ? -1.0f : 1.0f;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, x.rows * x.cols))
    for (int64_t r = 0; r < x.rows; r++) {
        const float *cosine = drt_row(table, position[r]), *sine = cosine + half;
        for (int64_t h = 0; h < heads; h++) {
            float *a = drt_row(x, r) + h * head_size, *b = a + half;
#pragma omp simd
            for (int64_t j = 0; j < half; j++) {
                float s = sign * sine[j], u = a[j], w = b[j];
                a[j] = u * cosine[j] - w * s;
                b[j] = w * cosine[j] + u * s;
            }
        }
    }
}

void DRT_FN(adamw)(drt_device *dev, const drt_adamw *o, int64_t n, float *w, const float *g, float *m, float *v) {
    if (dev->error.code) return;
    float b1 = o->beta1, b2 = o->beta2, a1 = 1.0f - b1, a2 = 1.0f - b2, eps = o->eps, gs = o->grad_scale;
    float keep = 1.0f - o->lr * o->weight_decay, step = o->lr / o->correction1, root = 1.0f / sqrtf(o->correction2);
    int64_t run = 4096, pieces = (n + run - 1) / run;
#pragma omp parallel for num_threads(drt_cpu_threads(dev, n))
    for (int64_t i = 0; i < pieces; i++) {
        int64_t end = (i + 1) * run < n ? (i + 1) * run : n;
#pragma omp simd
        for (int64_t j = i * run; j < end; j++) {
            float d = g[j] * gs;
            m[j] = b1 * m[j] + a1 * d;
            v[j] = b2 * v[j] + a2 * d * d;
            w[j] = w[j] * keep - step * m[j] / (sqrtf(v[j]) * root + eps);
        }
    }
}
