#include "align/methods.h"

drt_tensor *drt_contrastive_objective(drt_tape *t, const drt_forward *f, drt_score *score) {
    float hit = 0;
    if (!f->pooled_images || !f->pooled_texts) return NULL;
    drt_tensor *a = f->pooled_images, *b = f->pooled_texts, *scale = &f->model->logit_scale->tensor;
    drt_param *bias = f->model->logit_bias;
    drt_tensor *loss =
        bias ? drt_sigmoid_loss(t, a, b, scale, &bias->tensor, &hit) : drt_contrastive_loss(t, a, b, scale, &hit);
    score->hits += hit * (double)f->batch->captions;
    score->count += (double)f->batch->captions;
    // The mean over this batch; of the step's mean it is the part that its captions are.
    const float share = (float)f->batch->captions / (float)f->totals->captions;
    return share < 1 ? drt_total_loss(t, &loss, &share, NULL, NULL, 1) : loss;
}
