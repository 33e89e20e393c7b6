#include "train/step_data.h"

static drt_status add_batch(drt_step_data *d, int from, int to, const drt_pack_options *o, drt_error *err) {
    drt_batch *b = drt_batch_pack(d->arena, (const drt_sample *const *)(d->sample + from), to - from, o, err);
    if (!b) return DRT_ENOMEM;
    d->batch[d->n++] = b;
    d->rows += b->rows;
    for (int k = 0; k < DRT_PASS_KINDS; k++) d->totals.words[k] += b->words[k].n;
    d->totals.orders += b->orders;
    d->totals.guided += b->guided;
    d->totals.samples += to - from;
    d->totals.captions += b->captions;
    d->totals.pairs += b->pairs;
    return DRT_OK;
}

static drt_status begin(drt_step_data *d, drt_sample **samples, int n, drt_error *err) {
    d->sample = samples;
    d->samples = n;
    d->n = 0;
    d->rows = 0;
    d->totals = (drt_totals){0};
    d->batch = drt_arena_array(d->arena, n, sizeof *d->batch);
    return d->batch ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for batches");
}

drt_status drt_step_pack(drt_step_data *d, drt_sample **samples, int n, const drt_recipe *r, const drt_pack_options *o,
                         drt_error *err) {
    int parts = (int)r->train.accumulate, from = 0;
    drt_status status = begin(d, samples, n, err);
    while (!status && from < n) {
        int part = (int)((int64_t)from * parts / n), end = (int)(((int64_t)(part + 1) * n + parts - 1) / parts),
            to = from;
        int64_t rows = 0;
        for (; to < end && to < n; to++) {
            int64_t more = drt_sample_rows(samples[to], o);
            if (to > from && r->train.tokens && rows + more > r->train.tokens) break;
            rows += more;
        }
        status = add_batch(d, from, to, o, err);
        from = to;
    }
    return status;
}

drt_status drt_step_alone(const drt_step_data *d, int i, const drt_pack_options *o, drt_step_data *out,
                          drt_error *err) {
    drt_status status = begin(out, &d->sample[i], 1, err);
    if (!status) status = add_batch(out, 0, 1, o, err);
    out->totals = d->totals;
    out->noise = 0;
    out->gps = d->gps;
    out->store = d->store;
    return status;
}
