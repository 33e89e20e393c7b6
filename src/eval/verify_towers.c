// drt_verify of a vision and a text tower (CLIP, SigLIP), and of a vision tower alone: pixels to the picture's row in
// the joint space, tokens to those of the texts, and their scores.
#include "eval/verify_parts.h"
#include "model/joint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int32_t *offsets; // [n + 1] into the run's ids
    int n;
} texts;

// Where texts begin: `lengths` I64 [texts]; without it all ids are one text.
static drt_status read_texts(drt_verify_run *r, texts *x) {
    drt_status status = drt_verify_ids(r, r->m->config.text.vocab, false);
    if (status) return status;
    const drt_weight *lengths = drt_weights_find(r->golden, "lengths");
    if (lengths && (strcmp(lengths->dtype, "I64") || lengths->ndim != 1 || lengths->shape[0] > r->n))
        return drt_verify_bad(r, "`lengths` is not I64 [texts]");
    x->n = lengths ? (int)lengths->shape[0] : 1;
    x->offsets = calloc((size_t)x->n + 1, sizeof *x->offsets);
    if (!x->offsets) return drt_fail(r->err, DRT_ENOMEM, "no memory for a list of texts");
    for (int i = 0; i < x->n; i++) {
        int64_t n = lengths ? drt_verify_integer(lengths, i) : r->n, most = r->n - x->offsets[i];
        if (n < 1 || n > most) return drt_verify_bad(r, "`lengths` are not those of the texts in `ids`");
        x->offsets[i + 1] = x->offsets[i] + (int32_t)n;
    }
    return x->offsets[x->n] == r->n ? DRT_OK : drt_verify_bad(r, "`lengths` leave some of `ids` over");
}

// Every line of the prompt is a text.
static drt_status check_tokens(drt_verify_run *r) {
    const char *line = drt_weights_metadata(r->golden, "prompt");
    const int64_t positions = r->m->config.text.positions;
    int all = 0, lines = 1, n;
    if (!line || !r->m->tokenizer) return DRT_OK;
    for (const char *c = line; *c; c++) lines += *c == '\n';
    int32_t *id = calloc((size_t)(lines * positions), sizeof *id);
    drt_status status = id ? DRT_OK : drt_fail(r->err, DRT_ENOMEM, "no memory for %d texts", lines);
    for (int i = 0; i < lines && !status; i++) {
        size_t size = strcspn(line, "\n");
        status = drt_joint_text(r->m, line, size, id + all, &n, r->err);
        all += n, line += size + 1;
    }
    if (!status) status = drt_verify_tokens(r, id, all);
    free(id);
    return status;
}

static drt_tensor *see_picture(drt_verify_run *r) {
    const drt_model *m = r->m;
    drt_tensor *x = drt_vision_hidden(r->t, &m->vision, drt_picture_rows(m, r->pixels, 1), -1, false);
    if (m->config.kind == DRT_MODEL_CLIP) return drt_image_embedding(r->t, m, x);
    return m->vision.class_row || m->vision.probe ? drt_vision_pooled(r->t, &m->vision, x) : x;
}

// e^scale * cosine + bias: [1, texts].
static void score(drt_verify_run *r, drt_tensor *seen, drt_tensor *read) {
    const drt_model *m = r->m;
    drt_tensor *cosine = drt_linear(r->t, seen, read, NULL);
    float *logit = cosine ? drt_tape_alloc(r->t, cosine->value.cols, sizeof *logit) : NULL;
    if (!logit) return;
    const float scale = expf(*drt_row(m->logit_scale->tensor.value, 0)),
                bias = m->logit_bias ? *drt_row(m->logit_bias->tensor.value, 0) : 0;
    for (int64_t i = 0; i < cosine->value.cols; i++) logit[i] = scale * drt_row(cosine->value, 0)[i] + bias;
    drt_verify_see(r, "logits", -1, drt_mat_f32(logit, 1, cosine->value.cols));
}

static drt_status forward(drt_verify_run *r, const texts *x) {
    drt_tensor *seen = NULL, *read = NULL;
    drt_tape_begin(r->t, false);
    drt_tape_set_tap(r->t, drt_verify_see, r);
    if (r->pixels) seen = see_picture(r);
    const double length = r->length, roundings = r->roundings;
    r->length = r->roundings = 0; // the text's own way
    if (x->n) read = drt_text_embedding(r->t, r->m, r->id, x->offsets, x->n, false);
    r->length += length, r->roundings += roundings;
    if (seen && read) score(r, seen, read);
    drt_tape_set_tap(r->t, NULL, NULL);
    drt_status status = drt_tape_failed(r->t, r->err);
    return status ? status : r->status;
}

drt_status drt_verify_towers(drt_verify_run *r) {
    const bool reads = r->m->config.kind == DRT_MODEL_CLIP;
    texts x = {0};
    drt_status status = reads ? read_texts(r, &x) : DRT_OK;
    if (!status && reads) status = check_tokens(r);
    r->images = drt_weights_find(r->golden, "picture") || drt_verify_golden(r, "pixels");
    if (!status && !reads && !r->images) status = drt_verify_bad(r, "shows no picture to a vision tower");
    if (!status) status = drt_verify_pixels(r);
    if (!status) status = forward(r, &x);
    free(x.offsets);
    return status;
}
