#include "train/optimizer.h"

#include <math.h>

double drt_learning_rate(const drt_recipe *r, int64_t step, int64_t steps) {
    double warm = ceil(r->optimizer.warmup * (double)steps), top = r->optimizer.lr, low = r->optimizer.min_lr;
    if ((double)step < warm) return top * (double)step / warm;
    double left = (double)steps - warm, progress = left > 0 ? ((double)step - warm) / left : 0;
    switch (r->optimizer.schedule) {
    case DRT_SCHEDULE_COSINE: return low + (top - low) * 0.5 * (1 + cos(3.141592653589793 * progress));
    case DRT_SCHEDULE_LINEAR: return low + (top - low) * (1 - progress);
    case DRT_SCHEDULE_CONSTANT: break;
    }
    return top;
}

double drt_group_factor(const drt_recipe *r, drt_group group) {
    switch (group) {
    case DRT_VISION: return r->groups.vision;
    case DRT_CLIP_TEXT: return r->groups.clip_text;
    case DRT_CLIP_PROJECTION: return r->groups.clip_projection;
    case DRT_TEMPERATURE: return r->groups.temperature;
    case DRT_PROJECTOR: return r->groups.projector;
    case DRT_LANGUAGE: return r->groups.language;
    case DRT_DIRECTED: return r->groups.directed;
    case DRT_ORDER_HEAD: return r->groups.order_head;
    case DRT_BALANCE: return r->weights == DRT_WEIGHTS_LEARNED ? 1 : 0;
    case DRT_PATCH_HEAD: return r->groups.patch_head;
    case DRT_ADAPTER: return *r->lora.targets || *r->lora.from ? 1 : 0;
    case DRT_PERMUTER: return r->groups.permuter;
    case DRT_GROUPS: break;
    }
    return 0;
}

static int64_t padded(const drt_param *q) { return (q->tensor.value.rows * q->tensor.value.cols + 15) / 16 * 16; }

// Vectors (norms, biases) and scalars do not decay; an adapter of rank 1 is no vector.
static bool is_matrix(const drt_param *q) { return q->tensor.value.rows > 1 || q->group == DRT_ADAPTER; }

double drt_gradient_norm(drt_device *dev, const drt_params *p) {
    double squares = 0;
    dev->k->sum_squares(dev, drt_mat_f32(p->grads, 1, p->learning), &squares);
    return sqrt(squares);
}

drt_status drt_optimizer_step(drt_device *dev, drt_params *p, const drt_recipe *r, double lr, int64_t update,
                              double norm, drt_error *err) {
    double clip = r->optimizer.clip, scale = clip > 0 && norm > clip ? clip / norm : 1;
    drt_adamw c = {
        .beta1 = (float)r->optimizer.beta1, .beta2 = (float)r->optimizer.beta2, .eps = (float)r->optimizer.eps};
    c.correction1 = (float)(1 - pow(r->optimizer.beta1, (double)(update + 1)));
    c.correction2 = (float)(1 - pow(r->optimizer.beta2, (double)(update + 1)));
    c.grad_scale = (float)scale;
    // Neighbours of one group and decay are one call: the buffers of weights and gradients are laid out alike.
    for (int i = 0; i < p->n;) {
        const drt_param *q = p->at[i];
        int64_t from = drt_param_grad_offset(p, q), n = 0;
        bool decays = is_matrix(q);
        int j = i;
        for (; j < p->n && p->at[j]->group == q->group && is_matrix(p->at[j]) == decays; j++) n += padded(p->at[j]);
        i = j;
        if (from < 0) continue;
        c.lr = (float)(lr * drt_group_factor(r, q->group));
        c.weight_decay = decays ? (float)r->optimizer.weight_decay : 0;
        // Also at rate 0 (the first step of a warm-up): the moments take note of the gradient, as torch.optim.AdamW
        // does.
        dev->k->adamw(dev, &c, n, p->weights + q->offset, p->grads + from, p->m + from, p->v + from);
    }
    for (int i = 0; i < p->n; i++)
        if (p->at[i]->tensor.needs_grad && p->at[i]->tensor.value.type != DRT_F32)
            dev->k->convert(dev, p->at[i]->master, p->at[i]->tensor.value);
    if (dev->error.code && err) *err = dev->error;
    return dev->error.code;
}
