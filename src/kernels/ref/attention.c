// Rotary positions and varlen attention with the guided mass, one query row (or key row) at a time.
#include "kernels/ref/ref.h"

#include <math.h>

enum { MOST_HEAD = 8192 }; // the row sums live on the stack

void ref_rope(drt_device *dev, drt_mat x, const int32_t *position, drt_mat table, int head_size, bool inverse) {
    REF_F32(dev, x, table);
    int64_t half = table.cols / 2;
    if (!ref_indices_fit(dev, "rope, position", position, x.rows, 0, table.rows)) return;
    for (int64_t r = 0; x.data && r < x.rows; r++) {
        const float *cosine = drt_row(table, position[r]), *sine = cosine + half;
        for (int64_t h = 0; h < x.cols / head_size; h++) {
            float *a = drt_row(x, r) + h * head_size, *b = a + half;
            for (int j = 0; j < half; j++) {
                double c = cosine[j], s = inverse ? -sine[j] : sine[j], p = a[j], q = b[j];
                a[j] = (float)(p * c - q * s);
                b[j] = (float)(q * c + p * s);
            }
        }
    }
}

static bool head_fits(drt_device *dev, const drt_attention *a) {
    if (a->head_size <= MOST_HEAD) return true;
    drt_device_fail(dev, DRT_EARG, "attention: head size %d; ref handles at most %d", a->head_size, MOST_HEAD);
    return false;
}

static double dot(const float *x, const float *y, int n) {
    double s = 0;
    for (int i = 0; i < n; i++) s += (double)x[i] * y[i];
    return s;
}

// How many keys query row r of sequence s sees.
static int64_t reach_of(const drt_attention *a, int s, int64_t r) {
    int64_t keys = a->k_offsets[s + 1] - a->k_offsets[s];
    return a->reach && a->reach[r] < keys ? a->reach[r] : keys;
}

// Columns of query head h, and of the key and value head that it shares with its group.
static const float *query_at(const drt_attention *a, drt_mat q, int64_t r, int h) {
    return drt_row(q, r) + (int64_t)h * a->head_size;
}
static const float *key_at(const drt_attention *a, drt_mat k, int64_t j, int h) {
    return drt_row(k, j) + (int64_t)(h / (a->heads / a->kv_heads)) * a->head_size;
}

// Query row r, head h over the keys [first, first + reach): the largest score, then the sums.
static void attend(const drt_attention *a, drt_mat q, drt_mat k, drt_mat v, int64_t r, int h, int64_t first,
                   int64_t reach, double out[MOST_HEAD], double *lse, double *mass) {
    const float *query = query_at(a, q, r, h);
    double most = -INFINITY, sum = 0;
    for (int c = 0; c < a->head_size; c++) out[c] = 0;
    *mass = 0, *lse = -INFINITY;
    if (reach <= 0) return;
    for (int64_t j = first; j < first + reach; j++)
        most = fmax(most, a->scale * dot(query, key_at(a, k, j, h), a->head_size));
    for (int64_t j = first; j < first + reach; j++) {
        double p = exp(a->scale * dot(query, key_at(a, k, j, h), a->head_size) - most);
        const float *value = key_at(a, v, j, h);
        sum += p;
        if (a->visual && a->visual[j]) *mass += p;
        for (int c = 0; c < a->head_size; c++) out[c] += p * value[c];
    }
    *lse = most + log(sum);
    *mass /= sum;
    for (int c = 0; c < a->head_size; c++) out[c] /= sum;
}

void ref_attention(drt_device *dev, const drt_attention *a, drt_mat q, drt_mat k, drt_mat v, drt_mat out, drt_mat lse,
                   drt_mat mass) {
    REF_F32(dev, q, k, v, out, lse, mass);
    if (!head_fits(dev, a)) return;
    double row[MOST_HEAD], row_lse, row_mass;
    for (int s = 0; s < a->sequences; s++) {
        for (int64_t r = a->q_offsets[s]; r < a->q_offsets[s + 1]; r++) {
            for (int h = 0; h < a->heads; h++) {
                attend(a, q, k, v, r, h, a->k_offsets[s], reach_of(a, s, r), row, &row_lse, &row_mass);
                for (int c = 0; out.data && c < a->head_size; c++)
                    drt_row(out, r)[h * a->head_size + c] = (float)row[c];
                if (lse.data) drt_row(lse, r)[h] = (float)row_lse;
                if (mass.data && a->visual) drt_row(mass, r)[h] = (float)row_mass;
            }
        }
    }
}

// What the gradient of one score needs.
typedef struct {
    const drt_attention *a;
    drt_mat q, k, v, out, lse, mass, dout, dmass;
} back;

// The probability A(r, j) of head h, and the gradient of its score before scaling:
// dS = A * (dout_r . v_j - dout_r . out_r + dmass_r * (visual_j - mass_r))      (METHODS 2.3)
static double score_gradient(const back *b, int64_t r, int64_t j, int h, double *probability) {
    const drt_attention *a = b->a;
    const float *dout = query_at(a, b->dout, r, h);
    double score = a->scale * dot(query_at(a, b->q, r, h), key_at(a, b->k, j, h), a->head_size);
    double p = exp(score - drt_row(b->lse, r)[h]);
    double g = dot(dout, key_at(a, b->v, j, h), a->head_size) - dot(dout, query_at(a, b->out, r, h), a->head_size);
    if (b->dmass.data && a->visual)
        g += drt_row(b->dmass, r)[h] * ((a->visual[j] != 0) - (double)drt_row(b->mass, r)[h]);
    *probability = p;
    return p * g;
}

static void query_gradient(const back *b, bool acc, drt_mat dq) {
    const drt_attention *a = b->a;
    double row[MOST_HEAD], p;
    for (int s = 0; s < a->sequences; s++) {
        int64_t first = a->k_offsets[s];
        for (int64_t r = a->q_offsets[s]; r < a->q_offsets[s + 1]; r++) {
            for (int h = 0; h < a->heads; h++) {
                for (int c = 0; c < a->head_size; c++) row[c] = 0;
                for (int64_t j = first; j < first + reach_of(a, s, r); j++) {
                    double ds = a->scale * score_gradient(b, r, j, h, &p);
                    for (int c = 0; c < a->head_size; c++) row[c] += ds * key_at(a, b->k, j, h)[c];
                }
                for (int c = 0; c < a->head_size; c++)
                    ref_put(drt_row(dq, r) + h * a->head_size + c, row[c], acc);
            }
        }
    }
}

// One key row j of sequence s and one key head: sums over the group's query heads and the rows that see j.
static void key_gradient(const back *b, int s, int64_t j, int kv, bool acc, drt_mat dk, drt_mat dv) {
    const drt_attention *a = b->a;
    double key[MOST_HEAD], value[MOST_HEAD], p;
    for (int c = 0; c < a->head_size; c++) key[c] = value[c] = 0;
    int group = a->heads / a->kv_heads;
    for (int64_t r = a->q_offsets[s]; r < a->q_offsets[s + 1]; r++) {
        if (j - a->k_offsets[s] >= reach_of(a, s, r)) continue;
        for (int h = kv * group; h < (kv + 1) * group; h++) {
            double ds = a->scale * score_gradient(b, r, j, h, &p);
            const float *query = query_at(a, b->q, r, h), *dout = query_at(a, b->dout, r, h);
            for (int c = 0; c < a->head_size; c++) key[c] += ds * query[c], value[c] += p * dout[c];
        }
    }
    for (int c = 0; c < a->head_size; c++) {
        if (dk.data) ref_put(drt_row(dk, j) + kv * a->head_size + c, key[c], acc);
        if (dv.data) ref_put(drt_row(dv, j) + kv * a->head_size + c, value[c], acc);
    }
}

void ref_attention_back(drt_device *dev, const drt_attention *a, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                        drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq, drt_mat dk,
                        drt_mat dv) {
    REF_F32(dev, q, k, v, out, lse, mass, dout, dmass, dq, dk, dv);
    if (!head_fits(dev, a)) return;
    back b = {a, q, k, v, out, lse, mass, dout, dmass};
    if (dq.data) query_gradient(&b, acc, dq);
    if (!dk.data && !dv.data) return;
    for (int s = 0; s < a->sequences; s++)
        for (int64_t j = a->k_offsets[s]; j < a->k_offsets[s + 1]; j++)
            for (int kv = 0; kv < a->kv_heads; kv++) key_gradient(&b, s, j, kv, acc, dk, dv);
}
