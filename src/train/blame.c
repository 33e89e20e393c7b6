#include "train/blame.h"

#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool drt_blame_possible(const drt_recipe *r) { return r->objectives.contrastive == 0 && r->objectives.sea == 0; }

static bool is_finite(drt_mat v) {
    for (int64_t row = 0; v.type == DRT_F32 && row < v.rows; row++) {
        const float *x = (const float *)v.data + row * v.ld;
        for (int64_t i = 0; i < v.cols; i++)
            if (!isfinite(x[i])) return false;
    }
    return true;
}

static void look(void *user, const char *stage, int index, drt_mat value) {
    drt_blame *b = user;
    if (*b->where || !value.data || is_finite(value)) return;
    if (index < 0) snprintf(b->where, sizeof b->where, "stage %s", stage);
    else snprintf(b->where, sizeof b->where, "stage %s, layer %d", stage, index);
}

static void look_at_gradients(const drt_params *p, drt_blame *b) {
    for (int i = 0; i < p->n && !*b->where; i++) {
        const drt_param *q = p->at[i];
        int64_t at = drt_param_grad_offset(p, q), n = q->tensor.value.rows * q->tensor.value.cols;
        if (at < 0 || is_finite(drt_mat_f32(p->grads + at, 1, n))) continue;
        const char *name = drt_group_names[q->group];
        for (int k = 0; k < p->slices; k++)
            if (p->slice[k].param == q) {
                name = p->slice[k].name;
                break;
            }
        snprintf(b->where, sizeof b->where, "the gradient of %.50s", name);
    }
}

static drt_status run_alone(const drt_blame_with *w, const drt_step_data *d, int i, drt_arena *arena, drt_blame *b,
                            drt_error *err) {
    drt_step_data alone = {.arena = arena};
    drt_step_report report;
    drt_arena_reset(arena);
    *b = (drt_blame){.index = d->sample[i]->index, .id = d->sample[i]->id};
    drt_status status = drt_step_alone(d, i, w->pack, &alone, err);
    drt_params_zero_grads(w->model->params);
    drt_tape_set_tap(w->tape, look, b);
    if (!status) status = drt_train_gradients(w->tape, w->model, w->recipe, w->options, &alone, &report, err);
    drt_tape_set_tap(w->tape, NULL, NULL);
    if (status) return status;
    b->loss = report.loss;
    b->gradient = drt_gradient_norm(drt_tape_device(w->tape), w->model->params);
    if (!isfinite(b->loss) && !*b->where) snprintf(b->where, sizeof b->where, "the loss");
    if (!isfinite(b->gradient)) look_at_gradients(w->model->params, b);
    return DRT_OK;
}

static int worst_first(const void *a, const void *b) {
    const drt_blame *x = a, *y = b;
    int bad = !*x->where - !*y->where;
    return bad ? bad : (x->gradient < y->gradient) - (x->gradient > y->gradient);
}

drt_status drt_blame_samples(const drt_blame_with *w, const drt_step_data *d, drt_blame *out, drt_error *err) {
    drt_arena *arena = drt_arena_new(0);
    drt_status status = arena ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory to run samples alone");
    for (int i = 0; i < d->samples && !status; i++) status = run_alone(w, d, i, arena, &out[i], err);
    drt_arena_free(arena);
    if (!status) qsort(out, (size_t)d->samples, sizeof *out, worst_first);
    return status;
}

void drt_blame_text(const drt_blame *b, int n, int most, const drt_step_report *step, drt_text *out) {
    for (int i = 0; i < n && i < most; i++) {
        drt_text_printf(out, "%ssample %d", i ? "; " : "", (int)b[i].index);
        if (*b[i].id) drt_text_printf(out, " (id '%.60s')", b[i].id);
        if (*b[i].where) drt_text_printf(out, ": not finite from %s on", b[i].where);
        else
            drt_text_printf(out, ": loss %.4g of %.4g, gradient %.4g of %.4g", b[i].loss, step->loss, b[i].gradient,
                            step->grad_norm);
    }
}
