#include "align/methods.h"

// Rows are weighted so that the loss is METHODS 2.3: 1/R each (mass), or 1/(R * |V|) with V the row's visual rows
// (pair: the mean of 1 - A over pairs, of which 1/|V| of the mass is left).
static float row_weight(const drt_forward *f, int64_t row) {
    const drt_batch *b = f->batch;
    if (!b->responds[row]) return 0;
    float w = 1.0f / (float)f->totals->guided;
    return f->options->reduce == DRT_GUIDED_PAIR ? w / (float)b->seen[row] : w;
}

drt_tensor *drt_guided_objective(drt_tape *t, const drt_forward *f, drt_score *score) {
    const drt_batch *b = f->batch;
    int layers = f->model->config.language.layers;
    if (!b->guided || !f->mass) return NULL;
    float *all = drt_tape_alloc(t, b->rows, sizeof *all), *some = drt_tape_alloc(t, b->selected, sizeof *some);
    const float **weight = drt_tape_alloc(t, layers, sizeof *weight);
    if (!all || !some || !weight) return NULL;
    for (int64_t r = 0; r < b->rows; r++) all[r] = row_weight(f, r);
    for (int64_t i = 0; i < b->selected; i++) some[i] = all[b->select[i]];
    // In the last layer only the selected rows ask, and every row that responds is selected.
    for (int l = 0; l < layers; l++) weight[l] = l == layers - 1 ? some : all;
    drt_tensor *loss = drt_guided_loss(t, f->mass, weight, layers);
    if (!loss) return NULL;
    // drt_guided_loss is 1 - sum of weighted mass: of the constant this batch brings its share of rows.
    float share = (float)b->guided / (float)f->totals->guided;
    float mass = 1 - drt_scalar(loss);
    *(float *)loss->value.data = share - mass;
    score->hits += mass * (double)f->totals->guided;
    score->count += (double)b->guided;
    return loss;
}
