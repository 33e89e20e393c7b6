// Varlen attention, first form: one query row at a time.
#include "kernels/cpu/isa/table.h"

static float dot(const float *a, const float *b, int64_t n) {
    float t = 0;
#pragma omp simd reduction(+ : t)
    for (int64_t i = 0; i < n; i++) t += a[i] * b[i];
    return t;
}
static void axpy(float *y, float f, const float *x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += f * x[i];
}

static int64_t longest(const drt_attention *at) {
    int64_t n = 0;
    for (int s = 0; s < at->sequences; s++)
        n = at->k_offsets[s + 1] - at->k_offsets[s] > n ? at->k_offsets[s + 1] - at->k_offsets[s] : n;
    return (n + 15) / 16 * 16;
}

static int64_t reach_of(const drt_attention *at, int s, int64_t r) {
    int64_t all = at->k_offsets[s + 1] - at->k_offsets[s];
    return at->reach && at->reach[r] < all ? at->reach[r] : all;
}

void DRT_FN(attention)(drt_device *dev, const drt_attention *at, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                       drt_mat lse, drt_mat mass) {
    if (!DRT_READY(dev, "attention", q, k, v, out, lse, mass) || !at->sequences) return;
    int64_t pad = longest(at), hs = at->head_size;
    int heads = at->heads, group = heads / at->kv_heads;
    float *scratch = drt_cpu_scratch(dev, (size_t)(pad * at->sequences * heads));
    if (!scratch) return;
#pragma omp parallel for num_threads(dev->threads) schedule(dynamic)
    for (int item = 0; item < at->sequences * heads; item++) {
        int s = item / heads, h = item % heads;
        int64_t k0 = at->k_offsets[s];
        float *p = scratch + item * pad;
        for (int64_t r = at->q_offsets[s]; r < at->q_offsets[s + 1]; r++) {
            int64_t n = reach_of(at, s, r);
            float *o = drt_row(out, r) + h * hs, m = -INFINITY, sum = 0, seen = 0;
            memset(o, 0, (size_t)hs * sizeof *o);
            for (int64_t j = 0; j < n; j++) {
                p[j] = at->scale * dot(drt_row(q, r) + h * hs, drt_row(k, k0 + j) + h / group * hs, hs);
                m = p[j] > m ? p[j] : m;
            }
            for (int64_t j = 0; j < n; j++) {
                p[j] = expf(p[j] - m);
                sum += p[j];
                if (at->visual && at->visual[k0 + j]) seen += p[j];
            }
            for (int64_t j = 0; j < n; j++) axpy(o, p[j] / sum, drt_row(v, k0 + j) + h / group * hs, hs);
            if (lse.data) drt_row(lse, r)[h] = n ? m + logf(sum) : -INFINITY;
            if (mass.data) drt_row(mass, r)[h] = n ? seen / sum : 0.0f;
        }
    }
}

void DRT_FN(attention_back)(drt_device *dev, const drt_attention *at, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                            drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq, drt_mat dk,
                            drt_mat dv) {
    if (!DRT_READY(dev, "attention_back", q, k, v, out, lse, mass, dout, dmass, dq, dk, dv)) return;
    int64_t hs = at->head_size;
    int group = at->heads / at->kv_heads;
#pragma omp parallel for num_threads(dev->threads) schedule(dynamic)
    for (int item = 0; item < at->sequences * at->kv_heads; item++) {
        int s = item / at->kv_heads, g = item % at->kv_heads;
        int64_t k0 = at->k_offsets[s], k1 = at->k_offsets[s + 1];
        for (int64_t j = k0; !acc && j < k1; j++) {
            if (dk.data) memset(drt_row(dk, j) + g * hs, 0, (size_t)hs * sizeof(float));
            if (dv.data) memset(drt_row(dv, j) + g * hs, 0, (size_t)hs * sizeof(float));
        }
        for (int h = g * group; h < (g + 1) * group; h++)
            for (int64_t r = at->q_offsets[s]; r < at->q_offsets[s + 1]; r++) {
                const float *pq = drt_row(q, r) + h * hs, *go = drt_row(dout, r) + h * hs;
                float *pdq = dq.data ? drt_row(dq, r) + h * hs : NULL;
                if (pdq && !acc) memset(pdq, 0, (size_t)hs * sizeof(float));
                float d = dot(go, drt_row(out, r) + h * hs, hs), gm = dmass.data && at->visual ? drt_row(dmass, r)[h] : 0;
                if (gm != 0) d += gm * drt_row(mass, r)[h];
                int64_t n = reach_of(at, s, r);
                for (int64_t j = k0; j < k0 + n; j++) {
                    const float *pk = drt_row(k, j) + g * hs, *pv = drt_row(v, j) + g * hs;
                    float p = expf(at->scale * dot(pq, pk, hs) - drt_row(lse, r)[h]);
                    float ds = at->scale * p * (dot(go, pv, hs) - d + (gm != 0 && at->visual[j] ? gm : 0));
                    if (pdq) axpy(pdq, ds, pk, hs);
                    if (dk.data) axpy(drt_row(dk, j) + g * hs, ds, pq, hs);
                    if (dv.data) axpy(drt_row(dv, j) + g * hs, p, go, hs);
                }
            }
    }
}
