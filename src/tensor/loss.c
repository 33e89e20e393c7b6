// Losses: scalars in host memory at the end of the tape.
#include "tensor/ops.h"

#include <math.h>
#include <string.h>

// So many logits are kept until the backward. More are done in chunks, and again in the backward. Products of 65 rows
// with 32 000 classes run at 0.6 of the rate of 500 rows, and a vocabulary is a tenth of a small model's work.
enum { KEPT_NUMBERS = 1 << 25, CHUNK_NUMBERS = 1 << 24, CHUNK_ROWS = 64 };

static drt_tensor *scalar_new(drt_tape *t, double v, bool learns) {
    drt_tensor *y = drt_tensor_new(t, 1, 1, learns);
    if (y) *(float *)y->value.data = (float)v;
    return y;
}

static float upstream(const drt_tensor *y) { return *(const float *)y->grad.data; }

// ---- cross-entropy over an output projection -----------------------------------------------------------------------

// The logits are x w^T + b, and u b^T beside it where w has an adapter (ops.h).
typedef struct {
    drt_tensor *x, *w;
} product;
typedef struct {
    product term[2];
    int terms;
    drt_tensor *b, *y;
    const int32_t *label;
    const float *weight;
    int64_t chunk;
    drt_mat lse, kept; // kept: the logits, when one chunk holds them all
} projection;

static drt_mat rows_of(drt_mat m, int64_t from, int64_t n) { return drt_mat_part(m, from, n, 0, m.cols); }

static drt_mat chunk_logits(drt_tape *t, const projection *c, int64_t from, int64_t n, drt_mat logits) {
    drt_device *dev = drt_tape_device(t);
    logits.rows = n;
    for (int i = 0; i < c->terms; i++) {
        const drt_tensor *w = c->term[i].w;
        drt_mat x = drt_operand(rows_of(c->term[i].x->value, from, n), w);
        drt_mat b = c->b && !i ? c->b->value : (drt_mat){0};
        dev->k->matmul(dev, false, true, x, drt_operand(w->value, w), b, i > 0, logits);
    }
    return logits;
}

// What the rows [from, from + n) of the logits' gradient bring to one product. Where `acc`, dx is added to.
static void product_back(drt_tape *t, const product *p, drt_mat dlogits, int64_t from, drt_mat dx, bool acc,
                         drt_mat dw) {
    drt_device *dev = drt_tape_device(t);
    drt_mat none = {0};
    drt_mat dy = drt_operand(dlogits, p->w), x = drt_operand(rows_of(p->x->value, from, dlogits.rows), p->w);
    drt_mat w = drt_operand(p->w->value, p->w);
    if (dx.data) dev->k->matmul(dev, false, false, dy, w, none, acc, rows_of(dx, from, dlogits.rows));
    // dw belongs to a parameter or adds up over the chunks: it adds, after the first writer.
    if (dw.data) dev->k->matmul(dev, true, false, dy, x, none, true, dw);
}

static void projection_back(drt_tape *t, void *context) {
    projection *c = context;
    drt_device *dev = drt_tape_device(t);
    int64_t rows = c->term[0].x->value.rows;
    bool acc_x[2], acc;
    float g = upstream(c->y), *scaled = drt_tape_alloc(t, rows, sizeof *scaled);
    drt_mat dx[2], dw[2], db = drt_grad_target(t, c->b, &acc);
    for (int i = 0; i < c->terms; i++) {
        dx[i] = drt_grad_target(t, c->term[i].x, &acc_x[i]);
        dw[i] = drt_grad_target(t, c->term[i].w, &acc);
    }
    drt_mat logits = c->kept;
    if (!logits.data) {
        drt_tensor *room = drt_tensor_new(t, c->chunk, c->term[0].w->value.rows, false);
        if (!room) return;
        logits = room->value;
    }
    if (!scaled) return;
    for (int64_t r = 0; r < rows; r++) scaled[r] = g * c->weight[r];
    for (int64_t from = 0; from < rows; from += c->chunk) {
        int64_t n = rows - from < c->chunk ? rows - from : c->chunk;
        drt_mat part = c->kept.data ? c->kept : chunk_logits(t, c, from, n, logits);
        dev->k->cross_entropy_back(dev, part, c->label + from, drt_mat_part(c->lse, from, n, 0, 1), scaled + from);
        for (int i = 0; i < c->terms; i++) product_back(t, &c->term[i], part, from, dx[i], acc_x[i], dw[i]);
        if (db.data) dev->k->col_sum(dev, part, true, db);
    }
}

static bool projection_fits(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b, const int32_t *label) {
    if (x->value.cols != w->value.cols || (b && b->value.cols != w->value.rows)) {
        drt_tape_fail(t, DRT_EARG, "cross-entropy: rows are %lld wide, the projection is %lld x %lld",
                      (long long)x->value.cols, (long long)w->value.rows, (long long)w->value.cols);
        return false;
    }
    if ((w->needs_grad && !w->leaf && !w->base) || (b && b->needs_grad && !b->leaf)) {
        drt_tape_fail(t, DRT_EARG, "cross-entropy: the projection must be a parameter");
        return false;
    }
    for (int64_t r = 0; r < x->value.rows; r++)
        if (label[r] < 0 || label[r] >= w->value.rows) {
            drt_tape_fail(t, DRT_EDATA, "label %d of row %lld is not among %lld classes; tokenizer and model differ",
                          label[r], (long long)r, (long long)w->value.rows);
            return false;
        }
    return true;
}

drt_tensor *drt_linear_cross_entropy(drt_tape *t, drt_tensor *x, drt_tensor *w, drt_tensor *b, const int32_t *label,
                                     const float *weight, float *row_loss, float *hit) {
    if (!x || !w || drt_tape_failed(t, NULL) || !projection_fits(t, x, w, b, label)) return NULL;
    drt_device *dev = drt_tape_device(t);
    int64_t rows = x->value.rows, classes = w->value.rows, chunk = CHUNK_NUMBERS / (classes ? classes : 1);
    if (chunk < CHUNK_ROWS) chunk = CHUNK_ROWS;
    drt_tensor *wide, *narrow = drt_low_rank_apart(t, x, w, &wide);
    bool learns = x->needs_grad || w->needs_grad || (b && b->needs_grad) || drt_low_rank_learns(w);
    bool one = rows <= chunk || rows * classes <= KEPT_NUMBERS;
    int64_t chunks = one ? 1 : (rows + chunk - 1) / chunk;
    chunk = rows ? (rows + chunks - 1) / chunks : 1; // equal ones
    drt_tensor *lse = drt_tensor_new(t, rows, 1, false), *loss = drt_tensor_new(t, rows, 1, false);
    drt_tensor *y = scalar_new(t, 0, learns);
    projection *c = drt_tape_alloc(t, 1, sizeof *c);
    size_t mark = drt_arena_mark(drt_tape_arena(t));
    drt_tensor *logits = drt_tensor_new(t, chunk, classes, false);
    if (!lse || !loss || !y || !c || !logits) return NULL;
    *c = (projection){{{x, w}, {narrow, wide}}, narrow ? 2 : 1, b, y, label, weight, chunk, lse->value, {0}};
    for (int64_t from = 0; from < rows; from += chunk) {
        int64_t n = rows - from < chunk ? rows - from : chunk;
        drt_mat part = chunk_logits(t, c, from, n, logits->value);
        dev->k->cross_entropy(dev, part, label + from, drt_mat_part(lse->value, from, n, 0, 1),
                              drt_mat_part(loss->value, from, n, 0, 1), hit ? hit + from : NULL);
    }
    double sum = 0;
    dev->k->sum(dev, loss->value, weight, &sum);
    *(float *)y->value.data = (float)sum;
    if (row_loss) memcpy(row_loss, loss->value.data, (size_t)rows * sizeof *row_loss);
    if (learns && one) {
        c->kept = logits->value;
        c->kept.rows = rows;
    } else drt_arena_release(drt_tape_arena(t), mark);
    if (learns) drt_tape_record(t, projection_back, c, y, NULL);
    return y;
}

// ---- guided loss ---------------------------------------------------------------------------------------------------

typedef struct {
    drt_tensor **mass, *y;
    const float **weight;
    int layers;
} guided;

static void guided_back(drt_tape *t, void *context) {
    guided *c = context;
    drt_device *dev = drt_tape_device(t);
    drt_mat d = {0};
    for (int l = 0; l < c->layers; l++) {
        drt_tensor *m = c->mass[l];
        int64_t rows = m->value.rows, heads = m->value.cols;
        // dm = -g * weight[row] / (layers * heads): layers that share their weights share this matrix, too.
        if (l == 0 || c->weight[l] != c->weight[l - 1]) {
            drt_tensor *fresh = drt_tensor_new(t, rows, heads, false), *one = drt_tensor_new(t, 1, heads, false);
            int32_t *zero = drt_tape_alloc(t, rows, sizeof *zero);
            if (!fresh || !one || !zero) return;
            d = fresh->value;
            dev->k->fill(dev, one->value, -upstream(c->y) / (float)(c->layers * heads));
            dev->k->copy_rows(dev, d, NULL, one->value, zero, c->weight[l], rows, false);
        }
        if (!m->needs_grad) continue;
        if (m->grad.data) {
            bool acc;
            drt_mat dm = drt_grad_target(t, m, &acc);
            if (dm.data) dev->k->scale(dev, 1, d, acc, dm);
        } else {
            m->grad = d;
            m->grad_set = m->grad_shared = true;
        }
    }
}

drt_tensor *drt_guided_loss(drt_tape *t, drt_tensor *const *mass, const float *const *weight, int layers) {
    if (drt_tape_failed(t, NULL)) return NULL;
    double total = 0;
    bool learns = false;
    guided *c = drt_tape_alloc(t, 1, sizeof *c);
    drt_tensor **copy = drt_tape_alloc(t, layers, sizeof *copy);
    const float **weights = drt_tape_alloc(t, layers, sizeof *weights);
    if (!c || !copy || !weights || layers <= 0) return NULL;
    drt_device *dev = drt_tape_device(t);
    for (int l = 0; l < layers; l++) {
        double sum = 0;
        if (!mass[l]) return NULL;
        dev->k->sum(dev, mass[l]->value, weight[l], &sum);
        total += sum;
        learns |= mass[l]->needs_grad;
        copy[l] = mass[l];
        weights[l] = weight[l];
    }
    drt_tensor *y = scalar_new(t, 1 - total / (double)(layers * mass[0]->value.cols), learns);
    if (!y) return NULL;
    *c = (guided){copy, y, weights, layers};
    if (learns) drt_tape_record(t, guided_back, c, y, NULL);
    return y;
}

// ---- sum of losses -------------------------------------------------------------------------------------------------

typedef struct {
    drt_tensor **term, **log_variance, *y;
    float *weight, *share;
    int n;
} total;

static void total_back(drt_tape *t, void *context) {
    total *c = context;
    float g = upstream(c->y);
    for (int i = 0; i < c->n; i++) {
        drt_tensor *s = c->log_variance[i];
        float scale = c->weight[i] * (s ? expf(-drt_scalar(s)) : 1);
        if (s) drt_grad_scalar(t, s, g * (0.5f * c->share[i] - scale * drt_scalar(c->term[i])));
        drt_grad_scalar(t, c->term[i], g * scale);
    }
}

drt_tensor *drt_total_loss(drt_tape *t, drt_tensor *const *term, const float *weight, drt_tensor *const *log_variance,
                           const float *share, int n) {
    if (drt_tape_failed(t, NULL)) return NULL;
    total *c = drt_tape_alloc(t, 1, sizeof *c);
    drt_tensor **terms = drt_tape_alloc(t, n, sizeof *terms), **logs = drt_tape_alloc(t, n, sizeof *logs);
    float *weights = drt_tape_alloc(t, n, sizeof *weights), *shares = drt_tape_alloc(t, n, sizeof *shares);
    if (!c || !terms || !logs || !weights || !shares) return NULL;
    double sum = 0;
    bool learns = false;
    for (int i = 0; i < n; i++) {
        if (!term[i]) return NULL;
        terms[i] = term[i];
        logs[i] = log_variance ? log_variance[i] : NULL;
        weights[i] = weight[i];
        shares[i] = share ? share[i] : 1;
        double s = logs[i] ? drt_scalar(logs[i]) : 0;
        sum += weight[i] * exp(-s) * drt_scalar(term[i]) + 0.5 * shares[i] * s;
        learns |= term[i]->needs_grad || (logs[i] && logs[i]->needs_grad);
    }
    drt_tensor *y = scalar_new(t, sum, learns);
    if (!y) return NULL;
    *c = (total){terms, logs, y, weights, shares, n};
    if (learns) drt_tape_record(t, total_back, c, y, NULL);
    return y;
}
