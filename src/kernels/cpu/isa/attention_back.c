// Varlen attention, backward: the probabilities of a strip are recomputed from lse, nothing of rows x keys is kept.
// With A the probabilities, m the guided mass and g its gradient (METHODS 2.3):
//   dS = A (dout . v - dout . out + g (visual - m)),  dq = scale dS k,  dk = scale dS^T q,  dv = A^T dout
// Both leave the registers as such. An item holds dk and dv of its keys in scratch and writes them once.
#include "kernels/cpu/isa/attention.h"

typedef struct {
    const drt_attention *at;
    drt_mat q, k, v, out, lse, mass, dout, dmass, dq, dk, dv;
    bool acc;
    float *scratch; // [threads][floats]
    size_t floats;
    int threads;
    int64_t most_keys, items;
} job;

typedef struct {
    float *p, *ds;          // A and dS of a strip, [keys][PANEL]
    float *qt, *dt;         // its queries and dout, [size][PANEL]
    float *q, *dout;        // and as rows, [PANEL][width]
    float *k, *v, *dk, *dv; // [keys][width]
    float *visual;          // [keys]
    int64_t width;
} room;

static size_t room_floats(int64_t keys, int64_t size) {
    int64_t padded = round_up(keys, VL), width = round_up(size, VL);
    return (size_t)round_up(padded * (2 * PANEL + 4 * width + 1) + 4 * width * PANEL, 16);
}

static room room_at(float *at, int64_t keys, int64_t size) {
    int64_t padded = round_up(keys, VL), width = round_up(size, VL);
    room m = {.p = at, .width = width};
    m.ds = m.p + padded * PANEL;
    m.qt = m.ds + padded * PANEL;
    m.dt = m.qt + width * PANEL;
    m.q = m.dt + width * PANEL;
    m.dout = m.q + PANEL * width;
    m.k = m.dout + PANEL * width;
    m.v = m.k + padded * width;
    m.dk = m.v + padded * width;
    m.dv = m.dk + padded * width;
    m.visual = m.dv + padded * width;
    return m;
}

// Of the columns of a strip: minus log2 of their sums of exponentials, minus (dout . out + g m), and g.
typedef struct {
    vf lse[TILE_VECTORS], d[TILE_VECTORS], g[TILE_VECTORS];
} terms;

// dout . out of columns [c, c + VL), both as rows; dout has no gaps.
static vf row_dots(const drt_strip *s, int64_t size, int64_t c, const float *dout, int64_t width,
                   const float *const *out) {
    vf x[VL];
    for (int i = 0; i < VL; i++) {
        x[i] = vset(0.0f);
        for (int64_t d = 0; d < size && c + i < s->n; d += VL)
            x[i] += vload(dout + (c + i) * width + d) * vload_n(out[c + i] + d, size - d);
    }
    transpose_block(x);
    for (int w = VL / 2; w; w /= 2)
        for (int i = 0; i < w; i++) x[i] += x[i + w];
    return x[0];
}

static void collect_terms(const job *b, const drt_strip *s, const float *dout, int64_t width, terms *t) {
    const float *out[PANEL];
    drt_heads(b->out, s, b->at->head_size, out);
    for (int v = 0; v < s->vectors; v++) {
        float lse[VL] = {0}, g[VL] = {0}, mass[VL] = {0};
        for (int64_t i = 0; i < VL && v * VL + i < s->n; i++) {
            int64_t row = s->at[v * VL + i].row;
            int head = s->at[v * VL + i].head;
            lse[i] = drt_row(b->lse, row)[head];
            if (b->dmass.data) g[i] = drt_row(b->dmass, row)[head], mass[i] = drt_row(b->mass, row)[head];
        }
        t->lse[v] = vload(lse) * -LOG2_E;
        t->g[v] = vload(g);
        t->d[v] = -(row_dots(s, b->at->head_size, v * VL, dout, width, out) + t->g[v] * vload(mass));
    }
}

// A of TILE_ROWS keys from key j on; reach is NULL where every column reaches all of them.
INLINE void probability_tile(const int vectors, int64_t size, int64_t j, const float *k, int64_t width, const float *q,
                             const vf *lse, const int32_t *reach, float *p) {
    const vf zero[TILE_VECTORS] = {{0}};
    drt_tile s;
    tile_fill(vectors, zero, s);
    tile_add(vectors, size, k, width, 1, q, PANEL, s);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            vf a = vexp2(s[i][v] + lse[v]);
            if (reach) a = vselect(vload_int(reach + v * VL) > (int32_t)(j + i), a, vset(0.0f));
            vstore(p + i * PANEL + v * VL, a);
        }
}

// dS from A; visual is NULL without a gradient of the mass.
INLINE void gradient_tile(const int vectors, int64_t size, const float *v, int64_t width, const float *dout,
                          const vf *d, const vf *g, const float *visual, const float *p, float *ds) {
    drt_tile s;
    tile_fill(vectors, d, s);
    tile_add(vectors, size, v, width, 1, dout, PANEL, s);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int w = 0; w < vectors; w++) {
            if (visual) s[i][w] += g[w] * visual[i];
            vstore(ds + i * PANEL + w * VL, s[i][w] * vload(p + i * PANEL + w * VL));
        }
}

// A and dS of a strip.
static void gradients(const job *b, const drt_strip *s, const room *m, drt_ahead *ahead) {
    int64_t size = b->at->head_size, w = m->width;
    const float *q[PANEL], *dout[PANEL];
    terms t;
    drt_heads(b->q, s, size, q);
    drt_heads(b->dout, s, size, dout);
    for (int64_t c = 0; c < s->n; c++) {
        pack_rows(q[c], 0, 1, size, 0, w, m->q + c * w);
        pack_rows(dout[c], 0, 1, size, 0, w, m->dout + c * w);
    }
    pack_transposed(q, s->n, size, b->at->scale * LOG2_E, m->qt);
    pack_transposed(dout, s->n, size, 1.0f, m->dt);
    collect_terms(b, s, m->dout, w, &t);
    for (int64_t j = 0; j < drt_strip_keys(s); j += TILE_ROWS) {
        int v = drt_strip_from(s, j);
        const int32_t *reach = j + TILE_ROWS > s->least[v] ? s->reach + v * VL : NULL;
        drt_fetch(ahead, 1);
        BY_VECTORS(s->vectors - v, probability_tile, size, j, m->k + j * w, w, m->qt + v * VL, t.lse + v, reach,
                   m->p + j * PANEL + v * VL);
    }
    for (int64_t j = 0; j < drt_strip_keys(s); j += TILE_ROWS) { // again: each panel of a strip fills half of L1
        int v = drt_strip_from(s, j);
        drt_fetch(ahead, 1);
        BY_VECTORS(s->vectors - v, gradient_tile, size, m->v + j * w, w, m->dt + v * VL, t.d + v, t.g + v,
                   b->dmass.data ? m->visual + j : NULL, m->p + j * PANEL + v * VL, m->ds + j * PANEL + v * VL);
    }
    // The probability of a single key is 1 whatever its score; rounding would leave a gradient.
    for (int64_t c = 0; c < s->n && s->reach[c] <= 1; c++) m->ds[c] = 0;
}

static void put_rows(drt_mat to, int64_t row, int64_t column, int64_t n, int64_t size, const float *from, int64_t width,
                     float f, bool acc) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < size; d += VL)
            drt_put(drt_row(to, row + i) + column + d, size - d, vload(from + i * width + d) * f, acc);
}

// sums[j] += sum over n columns of p[j][column] * rows[column], TILE_ROWS keys.
INLINE void key_tile(const int vectors, int64_t n, const float *p, const float *rows, int64_t width, float *sums) {
    drt_tile x;
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) x[i][v] = vload(sums + i * width + v * VL);
    tile_add(vectors, n, p, PANEL, 1, rows, width, x);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) vstore(sums + i * width + v * VL, x[i][v]);
}

// dk and dv of the strip's columns, for keys that some of them reach.
static void add_to_keys(const job *b, const drt_strip *s, const room *m, drt_ahead *ahead) {
    int64_t all = m->width / VL, w = m->width, c = 0;
    int split = tile_split(all);
    for (int64_t j = 0; j < drt_strip_keys(s); j += TILE_ROWS) {
        while (s->reach[c] <= j) c++; // these columns reach neither key j nor a later one
        drt_fetch(ahead, 2);
        for (int64_t d = 0; d < all; d += split) {
            int vectors = all - d < split ? (int)(all - d) : split;
            const float *q = m->q + c * w + d * VL, *dout = m->dout + c * w + d * VL;
            float *dk = m->dk + j * w + d * VL, *dv = m->dv + j * w + d * VL;
            if (b->dv.data) BY_VECTORS(vectors, key_tile, s->n - c, m->p + j * PANEL + c, dout, w, dv);
            if (b->dk.data) BY_VECTORS(vectors, key_tile, s->n - c, m->ds + j * PANEL + c, q, w, dk);
        }
    }
}

static void back_strip(const job *b, const drt_strip *s, const room *m, drt_ahead *ahead) {
    int64_t all = m->width / VL;
    int split = tile_split(all);
    gradients(b, s, m, ahead);
    for (int64_t c = 0; b->dq.data && c < s->n; c += TILE_ROWS)
        for (int64_t d = 0; d < all; d += split)
            BY_VECTORS(all - d < split ? all - d : split, drt_sum_over_keys, b->dq, s, b->at->head_size, c, d * VL,
                       m->ds, m->k, m->width, NULL, b->at->scale, b->acc);
    add_to_keys(b, s, m, ahead);
}

static void attend_back(const job *b, const drt_item *item, drt_ahead *ahead, const room *m) {
    const drt_attention *at = b->at;
    int64_t size = at->head_size, keys = item->keys, column = item->kv_head * size, padded = round_up(keys, TILE_ROWS);
    size_t bytes = (size_t)(padded * m->width) * sizeof(float);
    if (keys) {
        pack_rows(drt_row(b->k, item->k_first) + column, b->k.ld, keys, size, padded, m->width, m->k);
        pack_rows(drt_row(b->v, item->k_first) + column, b->v.ld, keys, size, padded, m->width, m->v);
    }
    if (b->dk.data) memset(m->dk, 0, bytes);
    if (b->dv.data) memset(m->dv, 0, bytes);
    if (b->dmass.data) drt_mark_visual(at, item, m->visual, padded);
    for (int64_t first = 0; first < drt_columns(at, item); first += PANEL) {
        drt_strip s;
        drt_strip_of(at, item, first, &s);
        back_strip(b, &s, m, ahead);
    }
    if (b->dk.data) put_rows(b->dk, item->k_first, column, keys, size, m->dk, m->width, at->scale, b->acc);
    if (b->dv.data) put_rows(b->dv, item->k_first, column, keys, size, m->dv, m->width, 1.0f, b->acc);
}

static void attend_back_items(const void *args, int64_t first, int64_t end, int worker) {
    const job *b = args;
    room m = room_at(b->scratch + b->floats * (size_t)worker, b->most_keys, b->at->head_size);
    for (int64_t i = first; i < end; i++) {
        drt_item item = drt_item_of(b->at, i, 1);
        drt_ahead ahead = {0};
        if (i + b->threads < b->items) {
            drt_item next = drt_item_of(b->at, i + b->threads, 1);
            drt_ahead_of_queries(&ahead, b->at, &next, b->q);
            drt_ahead_of_queries(&ahead, b->at, &next, b->out);
            drt_ahead_of_queries(&ahead, b->at, &next, b->dout);
            drt_ahead_of_keys(&ahead, b->at, &next, b->k);
            drt_ahead_of_keys(&ahead, b->at, &next, b->v);
        }
        if (b->dk.data) drt_ahead_of_keys(&ahead, b->at, &item, b->dk);
        if (b->dv.data) drt_ahead_of_keys(&ahead, b->at, &item, b->dv);
        attend_back(b, &item, &ahead, &m);
    }
}

void DRT_FN(attention_back)(drt_device *dev, const drt_attention *at, drt_mat q, drt_mat k, drt_mat v, drt_mat out,
                            drt_mat lse, drt_mat mass, drt_mat dout, drt_mat dmass, bool acc, drt_mat dq, drt_mat dk,
                            drt_mat dv) {
    if (!DRT_READY(dev, "attention_back", q, k, v, out, lse, mass, dout, dmass, dq, dk, dv)) return;
    if (!at->visual) dmass.data = NULL;
    if (drt_attention_is_wide(at)) {
        DRT_FN(attention_wide_back)(dev, at, q, k, v, out, lse, mass, dout, dmass, acc, dq, dk, dv);
        return;
    }
    int64_t items = (int64_t)at->sequences * at->kv_heads, keys = drt_most_keys(at);
    bool alone = dev->threads == 1 || drt_attention_work(at) < DRT_SMALL_ATTENTION;
    job b = {at, q, k, v, out, lse, mass, dout, dmass, dq, dk, dv, acc, .most_keys = keys};
    b.floats = room_floats(keys, at->head_size);
    b.threads = alone ? 1 : dev->threads, b.items = items;
    b.scratch = drt_cpu_scratch(dev, b.floats * (size_t)(alone ? 1 : dev->threads));
    if (!b.scratch) return;
    if (alone && !dev->dry) attend_back_items(&b, 0, items, 0);
    else drt_cpu_each(dev, items, attend_back_items, &b);
}
