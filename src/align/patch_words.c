#include "align/methods.h"

// Colour, shape, size, word of what covers the patch, 0 for background; which background, 0 for none. Room for worlds a
// little larger than ours.
const int drt_patch_classes[DRT_PATCH_LABELS] = {12, 10, 4, 14, 8};

int drt_patch_classes_total(void) {
    int n = 0;
    for (int k = 0; k < DRT_PATCH_LABELS; k++) n += drt_patch_classes[k];
    return n;
}

drt_tensor *drt_patch_words_loss(drt_tape *t, const drt_forward *f, drt_score *score) {
    const drt_batch *b = f->batch;
    if (!f->features || !b->patch_label || !f->model->extra.probe) return NULL;
    int64_t n = f->features->value.rows, d = f->features->value.cols, first = 0;
    float *weight = drt_tape_alloc(t, n, sizeof *weight), *hit = drt_tape_alloc(t, n, sizeof *hit);
    int32_t *label = drt_tape_alloc(t, n * DRT_PATCH_LABELS, sizeof *label);
    drt_tensor *terms[DRT_PATCH_LABELS];
    const float each[DRT_PATCH_LABELS] = {1, 1, 1, 1, 1};
    const float share = (float)b->samples / (float)f->totals->samples;
    if (!weight || !hit || !label) return NULL;
    for (int64_t i = 0; i < n; i++) weight[i] = share / (float)n;
    for (int k = 0; k < DRT_PATCH_LABELS; k++) {
        int32_t *own = label + k * n;
        for (int64_t i = 0; i < n; i++) {
            own[i] = b->patch_label[i][k];
            if (own[i] < 0 || own[i] >= drt_patch_classes[k]) {
                drt_tape_fail(t, DRT_EDATA, "sample %d: patch label %d of kind %d is outside [0, %d)", b->sample[0],
                              own[i], k, drt_patch_classes[k]);
                return NULL;
            }
        }
        drt_tensor *w = drt_part(t, &f->model->extra.probe->tensor, first, drt_patch_classes[k], 0, d);
        terms[k] = drt_linear_cross_entropy(t, f->features, w, NULL, own, weight, NULL, hit);
        first += drt_patch_classes[k];
        // Background is most of a picture: accuracy is told over what is not.
        for (int64_t i = 0; k < DRT_PATCH_LABELS - 1 && i < n; i++)
            if (own[i]) {
                score->hits += hit[i];
                score->count++;
            }
    }
    return drt_total_loss(t, terms, each, NULL, NULL, DRT_PATCH_LABELS);
}
