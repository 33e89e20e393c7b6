#include "align/objective.h"

#include "align/methods.h"

#include <string.h>

const drt_objective drt_objectives[DRT_OBJECTIVES] = {
    [DRT_LANGUAGE_LOSS] = {"language", "word_accuracy", drt_language_pass, false, false, drt_language_loss},
    [DRT_IMAGE_ORDER] = {"image_order", "image_order_accuracy", drt_image_order_pass, true, false,
                         drt_image_order_loss},
    [DRT_TEXT_ORDER] = {"text_order", "text_order_accuracy", drt_text_order_pass, true, false, drt_text_order_loss},
    [DRT_GUIDED] = {"guided", "guided_mass", NULL, false, true, drt_guided_objective},
    [DRT_CONTRASTIVE] = {"contrastive", "retrieval", NULL, false, false, drt_contrastive_objective},
    [DRT_PATCH_WORDS] = {"patch_words", "patch_accuracy", NULL, false, false, drt_patch_words_loss},
    [DRT_SEA] = {"sea", "sea_accuracy", NULL, false, false, drt_sea_loss},
};

drt_tensor *drt_word_loss(drt_tape *t, const drt_forward *f, drt_pass_kind kind, drt_score *score) {
    const drt_word_rows *w = &f->batch->words[kind];
    if (!w->n) return NULL;
    float *weight = drt_tape_alloc(t, w->n, sizeof *weight), *hit = drt_tape_alloc(t, w->n, sizeof *hit);
    if (!weight || !hit) return NULL;
    for (int64_t i = 0; i < w->n; i++) weight[i] = 1.0f / (float)f->totals->words[kind];
    drt_tensor *x = w->n == f->batch->selected ? f->states : drt_select(t, f->states, w->at, w->n);
    drt_tensor *loss = drt_decoder_loss(t, &f->model->language, x, w->label, weight, NULL, hit);
    for (int64_t i = 0; i < w->n; i++) score->hits += hit[i];
    score->count += (double)w->n;
    return loss;
}

drt_status drt_pass_from(drt_encoded *e, const drt_align_options *o, drt_order_token at, drt_arena *arena,
                         drt_pass *out, drt_error *err) {
    int images = e->images, spare = at != DRT_ORDER_VISUAL;
    if ((int64_t)images * o->image_rows >= o->context - spare) {
        drt_encoded_free(e);
        return drt_fail(err, DRT_EDATA,
                        "%d images take %lld rows, the context has %d; raise data.context or use fewer images", images,
                        (long long)images * o->image_rows, o->context);
    }
    if (drt_encoded_cut(e, o->context - spare, o->image_rows) && !e->trained) {
        drt_encoded_free(e);
        return drt_fail(err, DRT_EDATA,
                        "cut to a context of %d rows it has no trained token left; raise data.context or "
                        "shorten the question",
                        o->context);
    }
    int n = e->n + spare;
    out->id = drt_arena_array(arena, n, sizeof *out->id);
    out->label = drt_arena_array(arena, n, sizeof *out->label);
    out->n = n;
    out->prompt = e->prompt + (at == DRT_ORDER_START);
    out->permutation = -1;
    if (!out->id || !out->label) {
        drt_encoded_free(e);
        return drt_fail(err, DRT_ENOMEM, "no memory for a pass of %d tokens", n);
    }
    int first = at == DRT_ORDER_START;
    memcpy(out->id + first, e->id, (size_t)e->n * sizeof *e->id);
    memcpy(out->label + first, e->label, (size_t)e->n * sizeof *e->label);
    if (spare) {
        int where = first ? 0 : n - 1;
        out->id[where] = DRT_DIRECTED_TOKEN;
        out->label[where] = DRT_IGNORE;
    }
    drt_encoded_free(e);
    return DRT_OK;
}
