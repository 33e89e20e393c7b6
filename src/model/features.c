#include "model/features.h"

#include "base/digest.h"
#include "base/rng.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t key;
    float *rows; // NULL: a free place
    int64_t run; // that used it last
} entry;

struct drt_features {
    pthread_mutex_t lock;
    entry *at; // open addressing; places is a power of 2, at most half of them taken
    int64_t places, n;
    int64_t most, held; // bytes
    int64_t run;
    uint64_t tag;
};

enum { FIRST_PLACES = 1024 };

drt_features *drt_features_new(void) {
    drt_features *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->at = calloc(FIRST_PLACES, sizeof *f->at);
    if (!f->at || pthread_mutex_init(&f->lock, NULL)) {
        free(f->at);
        free(f);
        return NULL;
    }
    f->places = FIRST_PLACES;
    return f;
}

static void forget(drt_features *f) {
    for (int64_t i = 0; i < f->places; i++) free(f->at[i].rows), f->at[i] = (entry){0};
    f->n = f->held = 0;
}

void drt_features_free(drt_features *f) {
    if (!f) return;
    forget(f);
    pthread_mutex_destroy(&f->lock);
    free(f->at);
    free(f);
}

// Where key is, or would be put.
static entry *place(entry *at, int64_t places, uint64_t key) {
    int64_t i = (int64_t)(key & (uint64_t)(places - 1));
    while (at[i].rows && at[i].key != key) i = (i + 1) & (places - 1);
    return &at[i];
}

static int64_t bytes_of(int64_t numbers) { return numbers * (int64_t)sizeof(float) + 2 * (int64_t)sizeof(entry); }

void drt_features_open(drt_features *f, uint64_t tag, int64_t most_bytes) {
    entry *at = f->tag == tag ? calloc((size_t)f->places, sizeof *at) : NULL;
    int64_t each = f->n ? f->held / f->n : 0, n = 0;
    for (int64_t i = 0; at && i < f->places; i++) {
        entry *e = &f->at[i];
        if (!e->rows || e->run < f->run) continue;
        *place(at, f->places, e->key) = *e;
        e->rows = NULL;
        n++;
    }
    forget(f);
    if (at) free(f->at), f->at = at;
    f->n = n;
    f->held = n * each; // of one tower, all are as large
    f->tag = tag;
    f->most = most_bytes;
    f->run++;
}

const float *drt_features_find(drt_features *f, uint64_t key) {
    pthread_mutex_lock(&f->lock);
    entry *e = place(f->at, f->places, key);
    if (e->rows) e->run = f->run;
    const float *rows = e->rows;
    pthread_mutex_unlock(&f->lock);
    return rows;
}

static bool grow(drt_features *f) {
    if (2 * f->n < f->places) return true;
    entry *at = calloc((size_t)f->places * 2, sizeof *at);
    for (int64_t i = 0; at && i < f->places; i++)
        if (f->at[i].rows) *place(at, 2 * f->places, f->at[i].key) = f->at[i];
    if (!at) return false;
    free(f->at);
    f->at = at;
    f->places *= 2;
    return true;
}

void drt_features_keep(drt_features *f, uint64_t key, const float *rows, int64_t numbers) {
    int64_t all = bytes_of(numbers);
    pthread_mutex_lock(&f->lock);
    entry *e = f->held + all <= f->most && grow(f) ? place(f->at, f->places, key) : NULL;
    float *copy = e && !e->rows ? malloc((size_t)numbers * sizeof *rows) : NULL;
    if (copy) { // without memory it is simply not kept
        memcpy(copy, rows, (size_t)numbers * sizeof *rows);
        *e = (entry){key, copy, f->run};
        f->n++;
        f->held += all;
    }
    pthread_mutex_unlock(&f->lock);
}

int64_t drt_features_bytes(drt_features *f) {
    pthread_mutex_lock(&f->lock);
    int64_t held = f->held;
    pthread_mutex_unlock(&f->lock);
    return held;
}

uint64_t drt_features_tag(const drt_model *m, const drt_preprocess *how, const drt_device *dev) {
    const drt_model_config *c = &m->config;
    const drt_tower *v = &c->vision;
    const double numbers[] = {v->width,    v->layers,   v->heads,     v->ffn,          v->act,       v->eps,
                              v->image,    v->patch,    v->head,      c->select_layer, c->front,     how->size,
                              how->aspect, how->fit,    how->mean[0], how->mean[1],    how->mean[2], how->std[0],
                              how->std[1], how->std[2], dev->threads, how->scales};
    uint64_t h[2] = {drt_hash(numbers, sizeof numbers), drt_hash(dev->k->name, strlen(dev->k->name))};
    h[0] = drt_hash(h, sizeof h);
    for (int i = 0; i < how->scales; i++) h[1] = (uint64_t)how->multiple[i], h[0] = drt_hash(h, sizeof h);
    for (int i = 0; i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (s->param->group != DRT_VISION) continue;
        drt_mat all = drt_slice_numbers(s);
        h[1] = drt_digest_of(all.data, (uint64_t)(all.rows * all.cols) * drt_dtype_size(all.type)) + (uint64_t)all.type;
        h[0] = drt_hash(h, sizeof h);
    }
    return h[0];
}

bool drt_features_fit(const drt_model *m) {
    return m->config.kind == DRT_MODEL_LLAVA && !m->vision.patch->tensor.needs_grad && !m->adapter.vision;
}

int64_t drt_features_numbers(const drt_model *m) {
    return (int64_t)drt_visual_rows(&m->config) * drt_feature_width(&m->config);
}

int64_t drt_features_bytes_each(const drt_model *m) { return bytes_of(drt_features_numbers(m)); }

double drt_features_flops(const drt_model *m) {
    const drt_tower *v = &m->config.vision;
    double rows = drt_tower_rows(v), d = v->width;
    int layers = m->config.select_layer < 0 ? v->layers + 1 + m->config.select_layer : m->config.select_layer;
    double patches = 2.0 * drt_patches(v) * 3 * v->patch * v->patch * d;
    double layer = 2 * rows * (4 * d * d + 2 * d * v->ffn) + 4 * rows * rows * d;
    return drt_views(&m->config) * (patches + layers * layer);
}
