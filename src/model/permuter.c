#include "model/permuter.h"

#include <math.h>
#include <stdlib.h>

const char *const drt_gps_choice_names[] = {"argmax", "assignment"};
const drt_gps_how drt_gps_defaults = {
    .alpha = 0.5f, .tau = 2, .bound = 15, .sinkhorn = {.sweeps = 50, .tolerance = 1e-6f}};

static const float EPS = 1e-5f; // of the norms

static void add_block(drt_params *p, drt_permuter_block *b, const drt_permuter_shape *shape, int layer) {
    const drt_group group = DRT_PERMUTER;
    const drt_init uniform = DRT_INIT_UNIFORM, constant = DRT_INIT_CONSTANT;
    const int64_t d = shape->width, h = shape->hidden;
    const bool last = layer == shape->layers - 1;
#define ADD(rows, cols, vector, init, scale, name)                                                                     \
    drt_param_named(p, group, rows, cols, vector, init, scale, "blocks.%d." name, layer)
    b->qkv = ADD(last ? 2 * d : 3 * d, d, false, uniform, 0, "qkv.weight");
    if (last) return;
    b->norm1_w = ADD(1, d, true, constant, 1, "norm1.weight");
    b->norm1_b = ADD(1, d, true, constant, 0, "norm1.bias");
    b->up_w = ADD(h, d, false, uniform, 0, "up.weight");
    b->up_b = ADD(1, h, true, uniform, (float)d, "up.bias");
    b->down_w = ADD(d, h, false, uniform, 0, "down.weight");
    b->down_b = ADD(1, d, true, uniform, (float)h, "down.bias");
    b->norm2_w = ADD(1, d, true, constant, 1, "norm2.weight");
    b->norm2_b = ADD(1, d, true, constant, 0, "norm2.bias");
#undef ADD
}

drt_permuter *drt_permuter_new(drt_params *params, const drt_permuter_shape *shape, drt_error *err) {
    enum { MOST = 1 << 24, MOST_LAYERS = 1 << 12 };
    if (shape->width < 1 || shape->hidden < 1 || shape->layers < 1 || shape->width > MOST || shape->hidden > MOST ||
        shape->layers > MOST_LAYERS) {
        drt_fail(err, DRT_EARG, "a permuter of %d layers, %lld wide, %lld inside: each must be 1 to %d, layers to %d",
                 shape->layers, (long long)shape->width, (long long)shape->hidden, MOST, MOST_LAYERS);
        return NULL;
    }
    drt_permuter *g = calloc(1, sizeof *g);
    if (g) g->block = calloc((size_t)shape->layers, sizeof *g->block);
    for (int l = 0; g && g->block && l < shape->layers; l++) add_block(params, &g->block[l], shape, l);
    if (g && g->block && !params->failed) {
        g->shape = *shape;
        g->how = drt_gps_defaults;
        return g;
    }
    drt_permuter_free(g);
    drt_fail(err, DRT_ENOMEM, "no memory for a permuter of %d layers", shape->layers);
    return NULL;
}

void drt_permuter_free(drt_permuter *g) {
    if (!g) return;
    free(g->block);
    free(g);
}

int64_t drt_permuter_numbers(const drt_permuter_shape *s) {
    const int64_t d = s->width, h = s->hidden;
    return (s->layers - 1) * (3 * d * d + 2 * d * h + 5 * d + h) + 2 * d * d;
}

double drt_permuter_bytes(const drt_permuter_shape *s, double rows, double squares, double longest, int sweeps,
                          bool learns) {
    const double d = (double)s->width, inner = (double)s->hidden, blocks = s->layers - 1;
    // The rows themselves, the last q and k; a block keeps q, k, v, the mix, its sum, two norms, the end of the
    // feed-forward (8 d) and three times what is inside it; gradients need the largest of these again.
    double kept = rows * (d * (3 + 8 * blocks) + 3 * inner * (blocks + learns));
    // Of a sequence: scores, softened scores, plan, hard plan; Sinkhorn's two matrices; to learn, two gradients and the
    // trace of the sweeps.
    double plans = squares * (learns ? 6 : 4) + 2 * longest * longest;
    if (learns) plans += 2.0 * sweeps * (rows + 2 * longest);
    return 4 * (kept + plans);
}

// x after one block, or the last one's q | k.
static drt_tensor *run_block(drt_tape *t, const drt_permuter *g, int layer, drt_tensor *x, int sequences,
                             const int32_t *offsets, float dropout) {
    const drt_permuter_block *b = &g->block[layer];
    drt_tensor *qkv = drt_linear(t, x, &b->qkv->tensor, NULL);
    if (layer == g->shape.layers - 1 || !qkv) return qkv;
    int64_t rows = x->value.rows, d = g->shape.width;
    const drt_attention one_head = {.sequences = sequences,
                                    .q_offsets = offsets,
                                    .k_offsets = offsets,
                                    .heads = 1,
                                    .kv_heads = 1,
                                    .head_size = (int)d,
                                    .scale = 1 / sqrtf((float)d),
                                    .f16 = b->qkv->tensor.f16};
    drt_tensor *q = drt_part(t, qkv, 0, rows, 0, d), *k = drt_part(t, qkv, 0, rows, d, d),
               *v = drt_part(t, qkv, 0, rows, 2 * d, d);
    drt_tensor *mixed = drt_attend(t, &one_head, NULL, q, k, v, NULL);
    const drt_rows sum[] = {{.x = x, .n = rows}, {.x = mixed, .n = rows}};
    if (!mixed) return NULL;
    x = drt_layer_norm(t, drt_gather(t, rows, d, false, sum, 2), &b->norm1_w->tensor, &b->norm1_b->tensor, EPS);
    drt_tensor *h = drt_activate(t, DRT_RELU, drt_linear(t, x, &b->up_w->tensor, &b->up_b->tensor));
    h = drt_drop(t, dropout, (uint64_t)layer, h);
    x = drt_linear_add(t, h, &b->down_w->tensor, &b->down_b->tensor, x);
    return drt_layer_norm(t, x, &b->norm2_w->tensor, &b->norm2_b->tensor, EPS);
}

bool drt_permuter_scores(drt_tape *t, const drt_permuter *g, drt_tensor *x, int sequences, const int32_t *offsets,
                         float dropout, drt_tensor **scores) {
    if (x && (x->value.cols != g->shape.width || offsets[sequences] != x->value.rows))
        drt_tape_fail(t, DRT_EARG, "permuter: rows are %lld x %lld, it takes %d rows of %lld", (long long)x->value.rows,
                      (long long)x->value.cols, offsets[sequences], (long long)g->shape.width);
    for (int l = 0; l < g->shape.layers; l++)
        x = drt_tape_failed(t, NULL) || !x ? NULL : run_block(t, g, l, x, sequences, offsets, dropout);
    for (int s = 0; x && s < sequences; s++) {
        int64_t from = offsets[s], n = offsets[s + 1] - from, d = g->shape.width;
        drt_tensor *q = drt_part(t, x, from, n, 0, d), *k = drt_part(t, x, from, n, d, d);
        if (k) k->f16 = g->block[g->shape.layers - 1].qkv->tensor.f16;
        scores[s] = drt_linear(t, q, k, NULL);
    }
    return x && !drt_tape_failed(t, NULL);
}
