#include "train/permute.h"

#include "base/memory.h"
#include "base/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

drt_permute drt_permute_defaults(void) {
    return (drt_permute){.tokens = 800,
                         .width = 2048,
                         .sets = 4,
                         .layers = 4,
                         .steps = 1000,
                         .stop = 1000,
                         .lr = 1e-4,
                         .weight_decay = 1e-5,
                         .clip = 0.5,
                         .tau_first = 2.0f,
                         .tau_last = 0.1f,
                         .dropout = 0.1f,
                         .how = drt_gps_defaults};
}

double drt_permute_rate(int64_t width) { return 1e-4 * 2048 / (double)width; }

// ---- memory --------------------------------------------------------------------------------------------------------

static drt_permuter_shape shape_of(const drt_permute *o) {
    return (drt_permuter_shape){o->width, 4 * o->width, o->layers};
}

double drt_permute_bytes(const drt_permute *o) {
    const drt_permuter_shape shape = shape_of(o);
    double n = (double)o->tokens, sets = o->sets;
    // Weights, gradients and two moments; what the tape holds.
    return 16.0 * (double)drt_permuter_numbers(&shape) +
           drt_permuter_bytes(&shape, n * sets, n * n * sets, n, o->how.sinkhorn.sweeps, true);
}

static drt_status check(const drt_permute *o, drt_error *err) {
    if (o->tokens < 1 || o->width < 1 || o->sets < 1 || o->layers < 1 || o->steps < 1 || o->stop < 1)
        return drt_fail(err, DRT_EARG, "tokens, width, sets, layers and steps must be at least 1");
    if (o->tokens > INT32_MAX / o->sets || o->width > INT32_MAX / 16)
        return drt_fail(err, DRT_EARG,
                        "%d sets of %lld tokens of %lld numbers are more than can be counted; take fewer", o->sets,
                        (long long)o->tokens, (long long)o->width);
    double need = drt_permute_bytes(o), have = (double)drt_memory_free();
    if (have > 0 && need > have)
        return drt_fail(err, DRT_ENOMEM,
                        "%d sets of %lld tokens at width %lld take about %.1f GB and %.1f GB are free; lower "
                        "--tokens, --width or --sets",
                        o->sets, (long long)o->tokens, (long long)o->width, need * 1e-9, have * 1e-9);
    return DRT_OK;
}

// ---- the experiment ------------------------------------------------------------------------------------------------

typedef struct {
    const drt_permute *o;
    drt_tape *t;
    drt_params *params;
    drt_permuter *g;
    float *tokens;            // [sets * N, d]
    int32_t *target, *column; // [sets * N] the permutation of each set; what was chosen
    int32_t *offsets;         // [sets + 1]
    drt_tensor **scores, **term;
    float *weight;
} experiment;

static void experiment_end(experiment *e) {
    drt_permuter_free(e->g);
    drt_params_free(e->params);
    free(e->tokens);
    free(e->target);
    free(e->offsets);
    free(e->scores);
    free(e->weight);
}

static drt_status experiment_begin(experiment *e, drt_error *err) {
    static const bool learns[DRT_GROUPS] = {[DRT_PERMUTER] = true};
    const drt_permute *o = e->o;
    const drt_permuter_shape shape = shape_of(o);
    int64_t rows = o->sets * o->tokens;
    e->params = drt_params_new();
    if (e->params) e->g = drt_permuter_new(e->params, &shape, err);
    if (!e->g) return drt_fail(err, DRT_ENOMEM, "no memory for the permuter");
    drt_status status = drt_params_allocate(e->params, learns, err);
    if (status) return status;
    drt_params_init(e->params, DRT_PERMUTER, o->seed);
    for (int i = 0; i < e->params->n; i++) {
        drt_tensor *w = &e->params->at[i]->tensor;
        w->f16 = o->f16 && w->value.rows > 1;
    }
    e->tokens = malloc((size_t)rows * (size_t)o->width * sizeof *e->tokens);
    e->target = malloc(2 * (size_t)rows * sizeof *e->target);
    e->offsets = malloc(((size_t)o->sets + 1) * sizeof *e->offsets);
    e->scores = malloc(2 * (size_t)o->sets * sizeof *e->scores);
    e->weight = malloc((size_t)o->sets * sizeof *e->weight);
    if (!e->tokens || !e->target || !e->offsets || !e->scores || !e->weight)
        return drt_fail(err, DRT_ENOMEM, "no memory for %lld tokens", (long long)rows);
    e->column = e->target + rows;
    e->term = e->scores + o->sets;
    drt_rng draw, order;
    drt_rng_init(&draw, o->seed, drt_hash("gps tokens", 10));
    drt_rng_init(&order, o->seed, drt_hash("gps targets", 11));
    for (int64_t i = 0; i < rows * o->width; i++) e->tokens[i] = (float)drt_rng_normal(&draw);
    for (int s = 0; s <= o->sets; s++) e->offsets[s] = (int32_t)(s * o->tokens);
    for (int s = 0; s < o->sets; s++) {
        int32_t *target = e->target + e->offsets[s];
        e->weight[s] = 1 / (float)o->sets;
        for (int64_t i = 0; i < o->tokens; i++) target[i] = (int32_t)i;
        drt_rng_shuffle(&order, target, o->tokens);
    }
    return DRT_OK;
}

// Forward and backward of a step; *step gets what it shows.
static drt_status gradients(experiment *e, drt_permute_step *step, drt_error *err) {
    static const drt_permutation_terms weights = {1, 1, 0.01f};
    const drt_permute *o = e->o;
    drt_tape *t = e->t;
    drt_gps_how how = o->how;
    how.tau = step->tau;
    uint64_t noise = drt_hash((uint64_t[]){o->seed, (uint64_t)step->step}, 2 * sizeof(uint64_t));
    drt_tape_begin(t, true);
    drt_tape_set_noise(t, noise);
    int64_t n = o->tokens, right = 0;
    drt_tensor *x = drt_tensor_wrap(t, drt_mat_f32(e->tokens, o->sets * n, o->width), false);
    drt_permuter_scores(t, e->g, x, o->sets, e->offsets, o->dropout, e->scores);
    for (int s = 0; s < o->sets && !drt_tape_failed(t, NULL); s++) {
        int32_t *column = e->column + e->offsets[s], *target = e->target + e->offsets[s];
        uint64_t own = drt_hash((uint64_t[]){noise, (uint64_t)s}, 2 * sizeof(uint64_t));
        drt_permutation_terms terms = {0, 0, 0};
        drt_tensor *p = drt_gps_plan(t, o->width, &how, e->scores[s], own);
        if (!p) break;
        drt_status status = drt_gps_choose(how.choice, p->value, column, err);
        if (status) return drt_fail_in(err, "step %lld", (long long)step->step + 1);
        for (int64_t i = 0; i < n; i++) right += column[i] == target[i];
        drt_tensor *hard = step->hard ? drt_one_hot(t, p, column) : NULL;
        e->term[s] = drt_permutation_loss(t, p, hard, target, &weights, &terms);
        step->terms.square += terms.square / (float)o->sets;
        step->terms.cross_entropy += terms.cross_entropy / (float)o->sets;
        step->terms.entropy += terms.entropy / (float)o->sets;
    }
    if (drt_tape_failed(t, err)) return drt_tape_failed(t, err);
    drt_tensor *loss = drt_total_loss(t, e->term, e->weight, NULL, NULL, o->sets);
    drt_params_zero_grads(e->params);
    drt_backward(t, loss);
    if (drt_tape_failed(t, err)) return drt_tape_failed(t, err);
    step->loss = drt_scalar(loss);
    step->accuracy = (double)right / (double)(o->sets * n);
    return DRT_OK;
}

static drt_status update(experiment *e, drt_permute_step *step, drt_error *err) {
    const drt_permute *o = e->o;
    drt_device *dev = drt_tape_device(e->t);
    drt_params *p = e->params;
    double squares = 0;
    dev->k->sum_squares(dev, drt_mat_f32(p->grads, 1, p->learning), &squares);
    step->norm = sqrt(squares);
    if (!isfinite(step->norm))
        return drt_fail(err, DRT_ENUMERIC, "the gradient of step %lld is not finite; lower --lr",
                        (long long)step->step + 1);
    double progress = (double)step->step / (double)o->steps, count = (double)step->step + 1;
    const drt_adamw c = {.lr = (float)(o->lr * 0.5 * (1 + cos(3.141592653589793 * progress))),
                         .beta1 = 0.9f,
                         .beta2 = 0.999f,
                         .eps = 1e-8f,
                         .weight_decay = (float)o->weight_decay,
                         .correction1 = (float)(1 - pow(0.9, count)),
                         .correction2 = (float)(1 - pow(0.999, count)),
                         .grad_scale = o->clip > 0 && step->norm > o->clip ? (float)(o->clip / step->norm) : 1};
    dev->k->adamw(dev, &c, p->learning, p->weights, p->grads, p->m, p->v);
    if (dev->error.code && err) *err = dev->error;
    return dev->error.code;
}

static drt_status run(experiment *e, drt_permute_result *out, drt_error *err) {
    const drt_permute *o = e->o;
    for (int64_t i = 0; i < o->steps && i < o->stop; i++) {
        double started = drt_clock();
        drt_permute_step step = {.step = i, .steps = o->steps, .hard = 2 * i >= o->steps};
        step.tau = drt_gps_tau(o->tau_first, o->tau_last, i, o->steps);
        drt_status status = gradients(e, &step, err);
        if (!status) status = update(e, &step, err);
        if (status) return status;
        step.seconds = drt_clock() - started;
        out->steps = i + 1;
        out->seconds += step.seconds;
        out->accuracy = step.accuracy;
        out->best = fmax(out->best, step.accuracy);
        if (step.accuracy == 1 && !out->solved) out->solved = i + 1;
        if (o->report) o->report(o->user, &step);
    }
    return DRT_OK;
}

drt_status drt_permute_run(drt_tape *t, const drt_permute *o, drt_permute_result *out, drt_error *err) {
    *out = (drt_permute_result){0};
    drt_status status = check(o, err);
    if (status) return status;
    experiment e = {.o = o, .t = t};
    status = experiment_begin(&e, err);
    if (!status) status = run(&e, out, err);
    experiment_end(&e);
    return status;
}
