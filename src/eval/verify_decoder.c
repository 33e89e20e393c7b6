// drt_verify of a LLaVA or a decoder: the prompt with its picture, all stages up to the logits, then greedy tokens.
#include "align/gps.h"
#include "eval/verify_parts.h"
#include "infer/session.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// The prompt's rows as the decoder takes them.
typedef struct {
    int32_t *offsets, *token, *visual, *position, *reach, *select;
} packed;

static bool pack(const drt_verify_run *r, packed *p) {
    const int64_t n = r->rows;
    int32_t *a = drt_tape_alloc(r->t, 5 * n + 2, sizeof *a);
    if (!a) return false;
    *p = (packed){a + 5 * n, a, a + n, a + 2 * n, a + 3 * n, a + 4 * n};
    drt_id_layout(r->m, r->id, r->n, 0, p->token, p->visual);
    for (int32_t at = 0; at < n; at++) p->position[at] = p->select[at] = at, p->reach[at] = at + 1;
    p->offsets[0] = 0, p->offsets[1] = (int32_t)n;
    return true;
}

static drt_status forward(drt_verify_run *r) {
    const drt_model *m = r->m;
    const drt_tower *v = &m->config.vision;
    packed p;
    drt_tensor *seen = NULL;
    drt_tape_begin(r->t, false);
    if (!pack(r, &p)) return drt_tape_failed(r->t, r->err);
    drt_tape_set_tap(r->t, drt_verify_see, r);
    if (r->images)
        seen = drt_visual_tokens(r->t, m, drt_mat_f32(r->pixels, drt_patches(v), 3LL * v->patch * v->patch), false);
    const drt_splice splice = {r->rows, p.token, p.visual};
    drt_tensor *x = drt_splice_rows(r->t, m, &splice, seen);
    if (r->permuted) {
        const int32_t prompt = p.offsets[1];
        const drt_mixer_rows all = {1, p.offsets, &prompt, p.token, p.visual};
        drt_gps_places places;
        x = drt_gps_arrange(r->t, m, NULL, &all, x, &places);
    }
    const drt_decoder_rows rows = {.sequences = 1,
                                   .offsets = p.offsets,
                                   .position = p.position,
                                   .reach = p.reach,
                                   .select = p.select,
                                   .selected = r->rows};
    x = drt_decoder_run(r->t, &m->language, x, &rows, NULL);
    if (x && drt_verify_golden(r, "logits"))
        drt_tape_show(r->t, "logits", -1, drt_decoder_logits(r->t, &m->language, x));
    drt_tape_set_tap(r->t, NULL, NULL);
    drt_status status = drt_tape_failed(r->t, r->err);
    return status ? status : r->status;
}

static drt_status read_prompt(drt_verify_run *r) {
    drt_status status = drt_verify_ids(r, r->m->config.language.vocab, true);
    if (status) return status;
    const char *order = drt_weights_metadata(r->golden, "order");
    r->permuted = order && !strcmp(order, drt_input_order_names[DRT_INPUT_GPS]);
    if (order && !r->permuted) return drt_verify_bad(r, "is of an order of the input that drt verify does not know");
    if (r->permuted && !r->m->extra.permuter)
        return drt_verify_bad(r, "is of a model with a permuter, which this one has not (gps.safetensors)");
    if (r->images > 1) return drt_verify_bad(r, "more than one picture");
    if (r->images && r->m->config.kind != DRT_MODEL_LLAVA)
        return drt_verify_bad(r, "shows a picture, and this model has no eyes");
    if (r->images && r->m->config.scales)
        return drt_verify_bad(r, "shows a picture in several scales, which transformers does not");
    r->rows = drt_id_rows(r->m, r->id, r->n);
    if (r->rows > drt_decoder_context(&r->m->config.language))
        return drt_verify_bad(r, "is longer than the model can read");
    return DRT_OK;
}

static drt_status check_tokens(drt_verify_run *r) {
    const char *text = drt_weights_metadata(r->golden, "prompt");
    drt_encoded e;
    if (!text || !r->m->tokenizer) return DRT_OK;
    drt_status status = drt_prompt_encode(r->m->tokenizer, text, r->images, &e, r->err);
    if (status) return status;
    status = drt_verify_tokens(r, e.id, e.n);
    drt_encoded_free(&e);
    return status;
}

// ---- what comes out ------------------------------------------------------------------------------------------------

static int32_t likeliest(drt_mat logits) {
    int32_t best = 0;
    for (int64_t j = 1; j < logits.cols; j++)
        if (drt_verify_number(logits, 0, j) > drt_verify_number(logits, 0, best)) best = (int32_t)j;
    return best;
}

// The token where greedy continuations part: n if they do not. *drawn: what came instead.
static drt_status continue_greedily(drt_verify_run *r, const drt_weight *greedy, int n, int *parted, int32_t *drawn) {
    drt_session *s;
    drt_mat logits;
    drt_feed feed = {0, r->id, r->n, r->pixels, 0};
    const drt_token_mixer order = {.order = r->permuted ? DRT_INPUT_GPS : DRT_INPUT_NONE};
    drt_status status = drt_session_new(&s, r->m, r->t, 1, r->rows + n, r->err);
    if (status) return status;
    status = drt_session_order(s, &order, r->err);
    for (*parted = 0; *parted < n && !status; ++*parted) {
        status = drt_session_feed(s, &feed, 1, &logits, r->err);
        if (status) break;
        *drawn = likeliest(logits);
        if (*drawn != drt_verify_integer(greedy, *parted)) break;
        feed = (drt_feed){.id = drawn, .n = 1};
    }
    drt_session_free(s);
    return status;
}

static drt_status check_greedy(drt_verify_run *r) {
    const drt_weight *greedy = drt_weights_find(r->golden, "greedy"),
                     *margin = drt_weights_find(r->golden, "greedy_margin");
    if (!greedy) return DRT_OK;
    if (strcmp(greedy->dtype, "I64") || greedy->ndim != 1) return drt_verify_bad(r, "`greedy` is not I64 [tokens]");
    int64_t left = drt_decoder_context(&r->m->config.language) - r->rows;
    int n = greedy->shape[0] < left ? (int)greedy->shape[0] : (int)left, parted = 0;
    int32_t drawn = -1;
    drt_status status = continue_greedily(r, greedy, n, &parted, &drawn);
    drt_certificate_stage *s = status ? NULL : drt_verify_stage(r, "greedy");
    if (!s) return status ? status : r->status;
    s->rows = n, s->cols = 1;
    s->difference = n - parted;
    if (parted == n) return DRT_OK;
    double near = 0;
    float m = INFINITY;
    for (int i = 0; i < r->out->n; i++)
        if (!strcmp(r->out->stage[i].name, "logits")) near = 2 * r->out->stage[i].tolerance;
    if (margin && !strcmp(margin->dtype, "F32") && margin->size > (size_t)parted * 4)
        memcpy(&m, (const char *)margin->bytes + (size_t)parted * 4, 4);
    s->ok = m <= near; // two tokens as likely as rounding can tell: either is right, and what follows is not comparable
    snprintf(s->note, sizeof s->note, "token %d is %d instead of %lld, whose logit is %.2g above the next", parted,
             drawn, (long long)drt_verify_integer(greedy, parted), (double)m);
    return DRT_OK;
}

drt_status drt_verify_decoder(drt_verify_run *r) {
    drt_status status = read_prompt(r);
    if (!status) status = check_tokens(r);
    if (!status) status = drt_verify_pixels(r);
    if (!status) status = forward(r);
    return status ? status : check_greedy(r);
}
