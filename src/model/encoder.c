#include "model/encoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

drt_activation drt_activation_of(drt_act act) {
    switch (act) {
    case DRT_ACT_QUICK_GELU: return DRT_QUICK_GELU;
    case DRT_ACT_SILU: return DRT_SILU;
    case DRT_ACT_GELU_TANH: return DRT_GELU_TANH;
    case DRT_ACT_GELU: break;
    }
    return DRT_GELU;
}

static drt_param *vector(drt_params *p, drt_group group, const char *prefix, int layer, const char *name, int64_t n,
                         float value) {
    return drt_param_named(p, group, 1, n, true, DRT_INIT_CONSTANT, value, "%s.encoder.layers.%d.%s", prefix, layer,
                           name);
}

static drt_param *matrix(drt_params *p, drt_group group, const char *prefix, int layer, const char *name, int64_t rows,
                         int64_t cols, double deviation) {
    return drt_param_named(p, group, rows, cols, false, DRT_INIT_NORMAL, (float)deviation, "%s.encoder.layers.%d.%s",
                           prefix, layer, name);
}

// q, k and v stand one below the other in one parameter, so that one product makes all three.
static void qkv_names(drt_params *p, drt_param *w, drt_param *b, const char *prefix, int layer, int64_t d) {
    static const char part[] = "qkv";
    char name[256];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.encoder.layers.%d.self_attn.%c_proj.weight", prefix, layer, part[i]);
        drt_param_name(p, w, i * d, d, name, 2, (int64_t[]){d, d});
        // A vector's slice is a range of its columns: it is stored as d rows of one column.
        snprintf(name, sizeof name, "%s.encoder.layers.%d.self_attn.%c_proj.bias", prefix, layer, part[i]);
        drt_param_name(p, b, i * d, d, name, 1, &d);
    }
}

drt_status drt_encoder_declare(drt_encoder *e, const drt_tower *size, drt_params *p, drt_group group,
                               const char *prefix, drt_error *err) {
    int64_t d = size->width, f = size->ffn;
    // CLIP's own initialisation: residual branches shrink with depth.
    double in = pow(d, -0.5) * pow(2.0 * size->layers, -0.5), out = pow(d, -0.5), fc = pow(2.0 * d, -0.5);
    e->size = size;
    e->name = group == DRT_VISION ? "vision" : "text";
    e->layer = calloc((size_t)size->layers, sizeof *e->layer);
    if (!e->layer) return drt_fail(err, DRT_ENOMEM, "no memory for %d layers", size->layers);
    for (int i = 0; i < size->layers; i++) {
        drt_encoder_layer *l = &e->layer[i];
        l->norm1 = vector(p, group, prefix, i, "layer_norm1.weight", d, 1);
        l->norm1_b = vector(p, group, prefix, i, "layer_norm1.bias", d, 0);
        l->qkv = drt_param_add(p, group, 3 * d, d, DRT_INIT_NORMAL, (float)in);
        l->qkv_b = drt_param_add(p, group, 1, 3 * d, DRT_INIT_CONSTANT, 0);
        qkv_names(p, l->qkv, l->qkv_b, prefix, i, d);
        l->out = matrix(p, group, prefix, i, "self_attn.out_proj.weight", d, d, out);
        l->out_b = vector(p, group, prefix, i, "self_attn.out_proj.bias", d, 0);
        l->norm2 = vector(p, group, prefix, i, "layer_norm2.weight", d, 1);
        l->norm2_b = vector(p, group, prefix, i, "layer_norm2.bias", d, 0);
        l->fc1 = matrix(p, group, prefix, i, "mlp.fc1.weight", f, d, fc);
        l->fc1_b = vector(p, group, prefix, i, "mlp.fc1.bias", f, 0);
        l->fc2 = matrix(p, group, prefix, i, "mlp.fc2.weight", d, f, in);
        l->fc2_b = vector(p, group, prefix, i, "mlp.fc2.bias", d, 0);
    }
    return DRT_OK;
}

void drt_encoder_free(drt_encoder *e) {
    free(e->layer);
    e->layer = NULL;
}

drt_tensor *drt_encoder_mlp(drt_tape *t, const drt_tower *size, const drt_encoder_layer *l, drt_tensor *x) {
    drt_tensor *h = drt_layer_norm(t, x, &l->norm2->tensor, &l->norm2_b->tensor, size->eps);
    h = drt_linear(t, h, &l->fc1->tensor, &l->fc1_b->tensor);
    return drt_feed_forward(t, drt_activation_of(size->act), false, h, &l->fc2->tensor, &l->fc2_b->tensor, x);
}

typedef struct {
    const drt_tower *size;
    const drt_encoder_layer *l;
    drt_attention attention;
} layer_run;

static void layer_forward(drt_tape *t, const void *context, drt_tensor *x, drt_tensor **y, drt_tensor **y2) {
    const layer_run *c = context;
    const drt_encoder_layer *l = c->l;
    int64_t n = x->value.rows, d = c->size->width;
    (void)y2;
    drt_tensor *h = drt_layer_norm(t, x, &l->norm1->tensor, &l->norm1_b->tensor, c->size->eps);
    drt_tensor *qkv = drt_linear(t, h, &l->qkv->tensor, &l->qkv_b->tensor);
    drt_tensor *q = drt_part(t, qkv, 0, n, 0, d), *k = drt_part(t, qkv, 0, n, d, d),
               *v = drt_part(t, qkv, 0, n, 2 * d, d);
    h = drt_attend(t, &c->attention, NULL, q, k, v, NULL);
    x = drt_linear_add(t, h, &l->out->tensor, &l->out_b->tensor, x);
    *y = drt_encoder_mlp(t, c->size, l, x);
}

drt_tensor *drt_encoder_run(drt_tape *t, const drt_encoder *e, int from, int to, drt_tensor *x, int sequences,
                            const int32_t *offsets, const int32_t *reach, bool recompute) {
    const drt_tower *s = e->size;
    layer_run *run = drt_tape_alloc(t, s->layers, sizeof *run);
    if (!run || !x) return NULL;
    drt_block_shape shape = {.rows = x->value.rows, .cols = s->width, .recompute = recompute};
    for (int i = from; i < to; i++) {
        drt_attention a = {.sequences = sequences,
                           .q_offsets = offsets,
                           .k_offsets = offsets,
                           .reach = reach,
                           .heads = s->heads,
                           .kv_heads = s->heads,
                           .head_size = s->width / s->heads};
        a.scale = 1 / sqrtf((float)a.head_size);
        run[i] = (layer_run){s, &e->layer[i], a};
        x = drt_block(t, layer_forward, &run[i], x, &shape, NULL);
        drt_tape_show(t, e->name, i + 1, x);
    }
    return x;
}
