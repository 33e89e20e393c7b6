// CLIP's symmetric InfoNCE and SigLIP's pairwise sigmoid loss, over rows a and b of length 1.
//
// InfoNCE: With z = s a b^T, s = exp(log_scale): the loss is the mean over i of CE(z[i, :], i) and of
// CE(z[:n, i], i), halved. Extra rows of b (hard negatives) stand only in the first.
#include "tensor/ops.h"

#include <math.h>

typedef struct {
    drt_tensor *a, *b, *log_scale, *y;
    drt_mat za, zb, lse_a, lse_b; // za [n, m] logits of a against b; zb [n, n] of the first n rows of b against a
    int32_t *label;
    float scale;
} contrast;

static void contrastive_back(drt_tape *t, void *context) {
    contrast *c = context;
    drt_device *dev = drt_tape_device(t);
    const drt_mat none = {0};
    int64_t n = c->a->value.rows, d = c->a->value.cols;
    float g = *(float *)c->y->grad.data, *weight = drt_tape_alloc(t, n, sizeof *weight);
    if (!weight) return;
    for (int64_t i = 0; i < n; i++) weight[i] = 0.5f * g / (float)n;
    drt_mat b_own = drt_mat_part(c->b->value, 0, n, 0, d);
    double slope = 0; // d loss / d log_scale = sum of z * dz
    if (c->log_scale->needs_grad) {
        // z is overwritten by dz: take sum z*dz as sum(dz * z) row by row through copies of the logits.
        drt_mat both[2] = {c->za, c->zb}, lse[2] = {c->lse_a, c->lse_b};
        for (int k = 0; k < 2; k++)
            for (int64_t i = 0; i < n; i++) {
                const float *z = drt_row(both[k], i);
                double mean = 0;
                for (int64_t j = 0; j < both[k].cols; j++) mean += exp(z[j] - *drt_row(lse[k], i)) * z[j];
                slope += (mean - z[i]) * weight[i];
            }
        drt_grad_scalar(t, c->log_scale, (float)slope);
    }
    dev->k->cross_entropy_back(dev, c->za, c->label, c->lse_a, weight);
    dev->k->cross_entropy_back(dev, c->zb, c->label, c->lse_b, weight);
    dev->k->scale(dev, c->scale, c->za, false, c->za);
    dev->k->scale(dev, c->scale, c->zb, false, c->zb);
    bool acc;
    drt_mat da = drt_grad_target(t, c->a, &acc);
    if (da.data) {
        dev->k->matmul(dev, false, false, c->za, c->b->value, none, acc, da);
        dev->k->matmul(dev, true, false, c->zb, b_own, none, true, da);
    }
    drt_mat db = drt_grad_target(t, c->b, &acc);
    if (db.data) {
        dev->k->matmul(dev, true, false, c->za, c->a->value, none, acc, db);
        dev->k->matmul(dev, false, false, c->zb, c->a->value, none, true, drt_mat_part(db, 0, n, 0, d));
    }
}

static void logits(drt_tape *t, drt_mat a, drt_mat b, float scale, const int32_t *label, drt_mat z, drt_mat lse,
                   double *mean, float *hit) {
    drt_device *dev = drt_tape_device(t);
    drt_tensor *loss = drt_tensor_new(t, a.rows, 1, false);
    if (!loss) return;
    dev->k->matmul(dev, false, true, a, b, (drt_mat){0}, false, z);
    dev->k->scale(dev, scale, z, false, z);
    dev->k->cross_entropy(dev, z, label, lse, loss->value, hit);
    dev->k->sum(dev, loss->value, NULL, mean);
    *mean /= (double)a.rows;
}

drt_tensor *drt_contrastive_loss(drt_tape *t, drt_tensor *a, drt_tensor *b, drt_tensor *log_scale, float *hit) {
    if (!a || !b || !log_scale || drt_tape_failed(t, NULL)) return NULL;
    int64_t n = a->value.rows, m = b->value.rows, d = a->value.cols;
    if (n < 1 || m < n || b->value.cols != d) {
        drt_tape_fail(t, DRT_EARG, "contrastive: a is %lld x %lld, b %lld x %lld", (long long)n, (long long)d,
                      (long long)m, (long long)b->value.cols);
        return NULL;
    }
    bool learns = a->needs_grad || b->needs_grad || log_scale->needs_grad;
    drt_tensor *y = drt_tensor_new(t, 1, 1, learns), *za = drt_tensor_new(t, n, m, false);
    drt_tensor *zb = drt_tensor_new(t, n, n, false), *la = drt_tensor_new(t, n, 1, false),
               *lb = drt_tensor_new(t, n, 1, false);
    contrast *c = drt_tape_alloc(t, 1, sizeof *c);
    int32_t *label = drt_tape_alloc(t, n, sizeof *label);
    float *hits = drt_tape_alloc(t, n, sizeof *hits);
    if (!y || !za || !zb || !la || !lb || !c || !label || !hits) return NULL;
    for (int64_t i = 0; i < n; i++) label[i] = (int32_t)i;
    *c = (contrast){a, b, log_scale, y, za->value, zb->value, la->value, lb->value, label, expf(drt_scalar(log_scale))};
    double forth = 0, back = 0;
    logits(t, a->value, b->value, c->scale, label, c->za, c->lse_a, &forth, hits);
    logits(t, drt_mat_part(b->value, 0, n, 0, d), a->value, c->scale, label, c->zb, c->lse_b, &back, NULL);
    *(float *)y->value.data = (float)(0.5 * (forth + back));
    if (hit) {
        *hit = 0;
        for (int64_t i = 0; i < n; i++) *hit += hits[i] / (float)n;
    }
    if (learns) drt_tape_record(t, contrastive_back, c, y, NULL);
    return y;
}

// ---- SigLIP: every pair is a question of its own -------------------------------------------------------------------
// With z = s a b^T + bias and y = 1 where i = j, -1 elsewhere: the mean over i of the sum over j of log(1 + e^(-y z)).

typedef struct {
    drt_tensor *a, *b, *log_scale, *bias, *y;
    drt_mat z; // [n, m]; the backward turns it into its gradient
    float scale;
} pairs;

static void sigmoid_back(drt_tape *t, void *context) {
    pairs *c = context;
    drt_device *dev = drt_tape_device(t);
    const drt_mat none = {0};
    int64_t n = c->z.rows, m = c->z.cols;
    float g = *(float *)c->y->grad.data / (float)n, bias = drt_scalar(c->bias);
    double slope = 0, lift = 0; // d loss / d log_scale = sum of dz (z - bias); d loss / d bias = sum of dz
    for (int64_t i = 0; i < n; i++) {
        float *z = drt_row(c->z, i);
        for (int64_t j = 0; j < m; j++) {
            float y = i == j ? 1 : -1, dz = -y * g / (1 + expf(y * z[j]));
            slope += (double)dz * (z[j] - bias);
            lift += dz;
            z[j] = dz * c->scale;
        }
    }
    if (c->log_scale->needs_grad) drt_grad_scalar(t, c->log_scale, (float)slope);
    if (c->bias->needs_grad) drt_grad_scalar(t, c->bias, (float)lift);
    bool acc;
    drt_mat da = drt_grad_target(t, c->a, &acc);
    if (da.data) dev->k->matmul(dev, false, false, c->z, c->b->value, none, acc, da);
    drt_mat db = drt_grad_target(t, c->b, &acc);
    if (db.data) dev->k->matmul(dev, true, false, c->z, c->a->value, none, acc, db);
}

drt_tensor *drt_sigmoid_loss(drt_tape *t, drt_tensor *a, drt_tensor *b, drt_tensor *log_scale, drt_tensor *bias,
                             float *hit) {
    if (!a || !b || !log_scale || !bias || drt_tape_failed(t, NULL)) return NULL;
    int64_t n = a->value.rows, m = b->value.rows, d = a->value.cols;
    if (n < 1 || m < n || b->value.cols != d) {
        drt_tape_fail(t, DRT_EARG, "sigmoid loss: a is %lld x %lld, b %lld x %lld", (long long)n, (long long)d,
                      (long long)m, (long long)b->value.cols);
        return NULL;
    }
    bool learns = a->needs_grad || b->needs_grad || log_scale->needs_grad || bias->needs_grad;
    drt_tensor *y = drt_tensor_new(t, 1, 1, learns), *z = drt_tensor_new(t, n, m, false);
    pairs *c = drt_tape_alloc(t, 1, sizeof *c);
    if (!y || !z || !c) return NULL;
    *c = (pairs){a, b, log_scale, bias, y, z->value, expf(drt_scalar(log_scale))};
    drt_device *dev = drt_tape_device(t);
    dev->k->matmul(dev, false, true, a->value, b->value, (drt_mat){0}, false, z->value);
    double loss = 0;
    int64_t hits = 0;
    for (int64_t i = 0; i < n; i++) {
        float *row = drt_row(z->value, i);
        int64_t best = 0;
        for (int64_t j = 0; j < m; j++) {
            row[j] = c->scale * row[j] + drt_scalar(bias);
            double x = i == j ? -row[j] : row[j];
            loss += (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
            if (row[j] > row[best]) best = j;
        }
        hits += best == i;
    }
    *(float *)y->value.data = (float)(loss / (double)n);
    if (hit) *hit = (float)hits / (float)n;
    if (learns) drt_tape_record(t, sigmoid_back, c, y, NULL);
    return y;
}
