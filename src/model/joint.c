#include "model/joint.h"

#include "base/rng.h"
#include "format/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

drt_status drt_joint_text(const drt_model *m, const char *text, size_t size, int32_t *id, int *n, drt_error *err) {
    const drt_tower *c = &m->config.text;
    drt_token *token = NULL;
    int tokens = 0;
    drt_status status = drt_tokenizer_encode(m->tokenizer, text, size, &token, &tokens, err);
    if (status) return status;
    int front = c->family->causal, eos = front ? c->eos : drt_tokenizer_eos(m->tokenizer), most = c->positions - 1;
    if (tokens > most - front) tokens = most - front;
    *n = front ? tokens + 2 : c->positions;
    for (int i = 0; i < *n; i++) id[i] = c->pad;
    if (front) id[0] = c->bos;
    for (int i = 0; i < tokens; i++) id[front + i] = token[i].id;
    id[front + tokens] = eos;
    free(token);
    return DRT_OK;
}

drt_tensor *drt_patch_embedding(drt_tape *t, const drt_model *m, drt_tensor *hidden) {
    drt_tensor *x = drt_vision_patches_pooled(t, &m->vision, hidden);
    if (m->visual_projection) x = drt_linear(t, x, &m->visual_projection->tensor, NULL);
    return drt_unit_rows(t, x);
}

void drt_tower_marks(const drt_model *m, float marks[DRT_TOWER_MARKS]) {
    enum { MOST = 4096 }; // of a tensor: other weights differ everywhere
    static const char head[] = "vision_model.head.";
    double sum[DRT_TOWER_MARKS] = {0}, count = 0;
    float x[MOST];
    for (int i = 0; i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (s->param->group != DRT_VISION || !strncmp(s->name, head, sizeof head - 1)) continue;
        drt_mat all = drt_slice_numbers(s);
        int64_t n = all.rows * all.cols < MOST ? all.rows * all.cols : MOST;
        double squares = 0, own[DRT_TOWER_MARKS] = {0};
        drt_rng signs;
        drt_rng_init(&signs, 0, drt_hash(s->name, strlen(s->name)));
        drt_weight_numbers(x, drt_storage_name(all.type), all.data, n);
        for (int64_t k = 0; k < n; k++) {
            uint64_t bits = drt_rng_next(&signs);
            squares += (double)x[k] * x[k];
            for (int j = 0; j < DRT_TOWER_MARKS; j++) own[j] += bits >> j & 1 ? x[k] : -x[k];
        }
        if (!(squares > 0)) continue;
        // Every tensor counts by its length, not by the size of its numbers.
        for (int j = 0; j < DRT_TOWER_MARKS; j++) sum[j] += own[j] * sqrt((double)n / squares);
        count += (double)n;
    }
    for (int j = 0; j < DRT_TOWER_MARKS; j++) marks[j] = count > 0 ? (float)(sum[j] / sqrt(count)) : 0;
}

// Rounding to bf16 changes every number by up to 2^-9 of it at random, a mark by less than 2^-9; other weights by 1.
bool drt_tower_is(const drt_model *m, const float marks[DRT_TOWER_MARKS]) {
    float own[DRT_TOWER_MARKS];
    drt_tower_marks(m, own);
    for (int j = 0; j < DRT_TOWER_MARKS; j++)
        if (!(fabsf(own[j] - marks[j]) <= 0x1p-7f)) return false;
    return true;
}
