#include "kernels/count.h"

static drt_counter *counter_of(drt_device *dev) { return (drt_counter *)dev->k; }

static void matmul(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    drt_counter *n = counter_of(dev);
    n->flops += 2.0 * (double)c.rows * (double)c.cols * (double)(ta ? a.rows : a.cols);
    n->plain->matmul(dev, ta, tb, a, b, bias, acc, c);
}

double drt_count_attention(const drt_attention *a) {
    int64_t pairs = 0;
    for (int s = 0; s < a->sequences; s++) {
        int64_t keys = a->k_offsets[s + 1] - a->k_offsets[s];
        if (!a->reach) pairs += keys * (a->q_offsets[s + 1] - a->q_offsets[s]);
        else
            for (int32_t q = a->q_offsets[s]; q < a->q_offsets[s + 1]; q++) pairs += a->reach[q];
    }
    return (double)pairs * a->heads * a->head_size;
}

static void attention(drt_device *dev, const drt_attention *a, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                      drt_mat lse, drt_mat mass) {
    drt_counter *n = counter_of(dev);
    n->flops += 4 * drt_count_attention(a);
    n->plain->attention(dev, a, q, k, v, out, lse, mass);
}

static void attention_back(drt_device *dev, const drt_attention *a, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                           drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq, drt_mat dk,
                           drt_mat dv) {
    drt_counter *n = counter_of(dev);
    n->flops += 10 * drt_count_attention(a);
    n->plain->attention_back(dev, a, q, k, v, out, lse, mass, dout, dmass, acc, dq, dk, dv);
}

void drt_count_begin(drt_counter *c, drt_device *dev) {
    *c = (drt_counter){.k = *dev->k, .plain = dev->k};
    c->k.matmul = matmul;
    c->k.attention = attention;
    c->k.attention_back = attention_back;
    dev->k = &c->k;
}

void drt_count_end(drt_counter *c, drt_device *dev) { dev->k = c->plain; }
