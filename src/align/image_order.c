#include "align/methods.h"

drt_status drt_image_order_pass(const drt_pass_source *s, drt_rng *r, drt_arena *arena, drt_pass *out, bool *made,
                                drt_error *err) {
    drt_encoded e = {0};
    *made = false;
    if (!s->images) return DRT_OK;
    drt_status status =
        drt_conversation_encode(s->options->how, s->tokenizer, s->turns, s->n_turns, s->images, &e, err);
    if (!status) status = drt_pass_from(&e, s->options, s->options->order_token, arena, out, err);
    if (status) return status;
    // No language loss is taken on this sequence.
    for (int i = 0; i < out->n; i++) out->label[i] = DRT_IGNORE;
    out->kind = DRT_PASS_IMAGE_ORDER;
    out->permutation = (int)drt_rng_below(r, (uint64_t)s->options->classes);
    *made = true;
    return DRT_OK;
}

// The rows that the head reads: the directed token of every sequence, or the mean of its visual rows.
static drt_tensor *readers(drt_tape *t, const drt_forward *f) {
    const drt_batch *b = f->batch;
    int64_t n = b->order_from[b->orders];
    if (n == b->orders) return drt_select(t, f->states, b->order_at, n);
    int32_t *to = drt_tape_alloc(t, n, sizeof *to);
    float *share = drt_tape_alloc(t, n, sizeof *share);
    if (!to || !share) return NULL;
    for (int64_t s = 0; s < b->orders; s++)
        for (int32_t i = b->order_from[s]; i < b->order_from[s + 1]; i++) {
            to[i] = (int32_t)s;
            share[i] = 1.0f / (float)(b->order_from[s + 1] - b->order_from[s]);
        }
    return drt_gather(t, b->orders, f->states->value.cols, false, &(drt_rows){f->states, to, b->order_at, share, n}, 1);
}

drt_tensor *drt_image_order_loss(drt_tape *t, const drt_forward *f, drt_score *score) {
    const drt_batch *b = f->batch;
    const drt_extra *x = &f->model->extra;
    if (!b->orders || !f->states || !x->order) return NULL;
    float *weight = drt_tape_alloc(t, b->orders, sizeof *weight), *hit = drt_tape_alloc(t, b->orders, sizeof *hit);
    if (!weight || !hit) return NULL;
    for (int64_t i = 0; i < b->orders; i++) weight[i] = 1.0f / (float)f->totals->orders;
    drt_tensor *loss = drt_linear_cross_entropy(t, readers(t, f), &x->order->tensor, &x->order_b->tensor,
                                                b->order_class, weight, NULL, hit);
    for (int64_t i = 0; i < b->orders; i++) score->hits += hit[i];
    score->count += (double)b->orders;
    return loss;
}
