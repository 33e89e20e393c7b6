#include "align/gps.h"

#include "align/assignment.h"

#include <math.h>
#include <stdlib.h>

const char *const drt_gps_choice_names[] = {"argmax", "assignment"};
const drt_gps_how drt_gps_defaults = {
    .alpha = 0.5f, .tau = 2, .bound = 15, .sinkhorn = {.sweeps = 50, .tolerance = 1e-6f}};

static const float EPS = 1e-5f; // of the norms

static void add_block(drt_params *p, drt_gps_block *b, int64_t d, int layer, bool last) {
    const drt_group group = DRT_PERMUTER;
    const drt_init uniform = DRT_INIT_UNIFORM, constant = DRT_INIT_CONSTANT;
#define ADD(rows, cols, vector, init, scale, name)                                                                     \
    drt_param_named(p, group, rows, cols, vector, init, scale, "blocks.%d." name, layer)
    b->qkv = ADD(last ? 2 * d : 3 * d, d, false, uniform, 0, "qkv.weight");
    if (last) return;
    b->norm1_w = ADD(1, d, true, constant, 1, "norm1.weight");
    b->norm1_b = ADD(1, d, true, constant, 0, "norm1.bias");
    b->up_w = ADD(4 * d, d, false, uniform, 0, "up.weight");
    b->up_b = ADD(1, 4 * d, true, uniform, (float)d, "up.bias");
    b->down_w = ADD(d, 4 * d, false, uniform, 0, "down.weight");
    b->down_b = ADD(1, d, true, uniform, (float)(4 * d), "down.bias");
    b->norm2_w = ADD(1, d, true, constant, 1, "norm2.weight");
    b->norm2_b = ADD(1, d, true, constant, 0, "norm2.bias");
#undef ADD
}

drt_gps *drt_gps_new(drt_params *params, int64_t width, int layers, drt_error *err) {
    drt_gps *g = calloc(1, sizeof *g);
    if (g) g->block = calloc((size_t)layers, sizeof *g->block);
    for (int l = 0; g && g->block && l < layers; l++) add_block(params, &g->block[l], width, l, l == layers - 1);
    if (g && g->block && !params->failed) {
        g->width = width, g->layers = layers;
        return g;
    }
    drt_gps_free(g);
    drt_fail(err, DRT_ENOMEM, "no memory for a permuter of %d layers", layers);
    return NULL;
}

void drt_gps_free(drt_gps *g) {
    if (!g) return;
    free(g->block);
    free(g);
}

int64_t drt_gps_numbers(int64_t width, int layers) {
    return (layers - 1) * (11 * width * width + 9 * width) + 2 * width * width;
}

// x after one block, or the last one's q | k.
static drt_tensor *run_block(drt_tape *t, const drt_gps *g, int layer, drt_tensor *x, int sequences,
                             const int32_t *offsets, float dropout) {
    const drt_gps_block *b = &g->block[layer];
    drt_tensor *qkv = drt_linear(t, x, &b->qkv->tensor, NULL);
    if (layer == g->layers - 1 || !qkv) return qkv;
    int64_t rows = x->value.rows, d = g->width;
    const drt_attention one_head = {.sequences = sequences,
                                    .q_offsets = offsets,
                                    .k_offsets = offsets,
                                    .heads = 1,
                                    .kv_heads = 1,
                                    .head_size = (int)d,
                                    .scale = 1 / sqrtf((float)d)};
    drt_tensor *q = drt_part(t, qkv, 0, rows, 0, d), *k = drt_part(t, qkv, 0, rows, d, d),
               *v = drt_part(t, qkv, 0, rows, 2 * d, d);
    drt_tensor *mixed = drt_attend(t, &one_head, q, k, v, NULL);
    const drt_rows sum[] = {{.x = x, .n = rows}, {.x = mixed, .n = rows}};
    if (!mixed) return NULL;
    x = drt_layer_norm(t, drt_gather(t, rows, d, false, sum, 2), &b->norm1_w->tensor, &b->norm1_b->tensor, EPS);
    drt_tensor *h = drt_activate(t, DRT_RELU, drt_linear(t, x, &b->up_w->tensor, &b->up_b->tensor));
    h = drt_drop(t, dropout, (uint64_t)layer, h);
    x = drt_linear_add(t, h, &b->down_w->tensor, &b->down_b->tensor, x);
    return drt_layer_norm(t, x, &b->norm2_w->tensor, &b->norm2_b->tensor, EPS);
}

bool drt_gps_scores(drt_tape *t, const drt_gps *g, drt_tensor *x, int sequences, const int32_t *offsets, float dropout,
                    drt_tensor **scores) {
    if (x && (x->value.cols != g->width || offsets[sequences] != x->value.rows))
        drt_tape_fail(t, DRT_EARG, "permuter: rows are %lld x %lld, it takes %d rows of %lld", (long long)x->value.rows,
                      (long long)x->value.cols, offsets[sequences], (long long)g->width);
    for (int l = 0; l < g->layers; l++)
        x = drt_tape_failed(t, NULL) || !x ? NULL : run_block(t, g, l, x, sequences, offsets, dropout);
    for (int s = 0; x && s < sequences; s++) {
        int64_t from = offsets[s], n = offsets[s + 1] - from, d = g->width;
        drt_tensor *q = drt_part(t, x, from, n, 0, d), *k = drt_part(t, x, from, n, d, d);
        scores[s] = drt_linear(t, q, k, NULL);
    }
    return x && !drt_tape_failed(t, NULL);
}

drt_tensor *drt_gps_plan(drt_tape *t, const drt_gps *g, const drt_gps_how *how, drt_tensor *scores, uint64_t noise) {
    const drt_soften soften = {1 / sqrtf((float)g->width), how->alpha, how->tau, how->bound, noise};
    return drt_sinkhorn_plan(t, &how->sinkhorn, drt_soften_scores(t, &soften, scores), NULL);
}

drt_status drt_gps_choose(drt_gps_choice how, drt_mat plan, int32_t *column, drt_error *err) {
    if (how == DRT_GPS_ASSIGNMENT) return drt_assign(plan, column, err);
    for (int64_t i = 0; i < plan.rows; i++) {
        const float *p = drt_row(plan, i);
        int64_t best = 0;
        for (int64_t j = 1; j < plan.cols; j++)
            if (p[j] > p[best]) best = j;
        column[i] = (int32_t)best;
    }
    return DRT_OK;
}

float drt_gps_tau(float first, float last, int64_t step, int64_t steps) {
    double progress = steps > 0 ? (double)step / (double)steps : 1;
    return (float)(last + 0.5 * (first - last) * (1 + cos(3.141592653589793 * fmin(progress, 1))));
}
