#include "eval/verify.h"

#include "base/half.h"
#include "format/weights.h"
#include "infer/picture.h"
#include "infer/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IDS = 1 << 20 };

typedef struct {
    const drt_model *m;
    drt_tape *t;
    drt_weights *golden;
    const char *path;
    drt_certificate *out;
    drt_error *err;
    drt_status status; // of what happens inside the observer
    double h;          // rounding of what is stored, the coarser of both sides; 0: f32
    double length, roundings;
    int32_t *id; // [n] the prompt
    int n, images;
    int64_t rows;  // of the prompt, its image laid out
    float *pixels; // [drt_picture_size]
    int room;      // of out->stage
} run;

static drt_certificate_stage *new_stage(run *r, const char *name, int index) {
    drt_certificate *c = r->out;
    if (c->n == r->room) {
        drt_certificate_stage *more = realloc(c->stage, (size_t)(r->room + 64) * sizeof *more);
        if (!more) {
            r->status = drt_fail(r->err, DRT_ENOMEM, "no memory for a certificate");
            return NULL;
        }
        c->stage = more;
        r->room += 64;
    }
    drt_certificate_stage *s = &c->stage[c->n++];
    *s = (drt_certificate_stage){.ok = true};
    snprintf(s->name, sizeof s->name, index < 0 ? "%s" : "%s.%d", name, index);
    return s;
}

static const drt_weight *golden_stage(const run *r, const char *name) {
    char key[60];
    snprintf(key, sizeof key, "stage.%s", name);
    return drt_weights_find(r->golden, key);
}

static bool has_stage(const run *r, const char *name) {
    for (int i = 0; i < r->out->n; i++)
        if (!strcmp(r->out->stage[i].name, name)) return true;
    return false;
}

// ---- one comparison ------------------------------------------------------------------------------------------------

static double number(drt_mat m, int64_t row, int64_t col) {
    const uint16_t *half = (const uint16_t *)m.data + row * m.ld + col;
    if (m.type == DRT_BF16) return drt_bf16_to_f32(*half);
    return m.type == DRT_F16 ? drt_f16_to_f32(*half) : drt_row(m, row)[col];
}

// want [rows * cols] against have; also notes where they are furthest apart.
static void judge(const run *r, drt_certificate_stage *s, const float *want, drt_mat have) {
    const double u = ldexp(1, -24);
    double squares = 0, most = 0;
    int64_t row = 0, col = 0;
    for (int64_t i = 0; i < have.rows; i++)
        for (int64_t j = 0; j < have.cols; j++) {
            double w = want[i * have.cols + j], d = fabs(number(have, i, j) - w);
            squares += w * w;
            if (!isfinite(d)) d = INFINITY;
            if (d > most) most = d, row = i, col = j;
        }
    double rms = sqrt(squares / (double)(have.rows * have.cols));
    s->difference = most;
    s->tolerance = 8 * rms * (u * sqrt(r->length) + r->h * sqrt(r->roundings));
    s->ok = most <= s->tolerance;
    if (!s->ok)
        snprintf(s->note, sizeof s->note, "row %lld, column %lld: %g instead of %g", (long long)row, (long long)col,
                 number(have, row, col), want[row * have.cols + col]);
}

// `tensor` has the numbers of `have`: its last dimension is the columns, whatever stands before it the rows.
static void compare(run *r, drt_certificate_stage *s, const drt_weight *tensor, drt_mat have) {
    int64_t n = drt_weight_elements(tensor), cols = tensor->ndim ? tensor->shape[tensor->ndim - 1] : 1;
    s->rows = have.rows, s->cols = have.cols;
    if (cols != have.cols || n != have.rows * have.cols) {
        s->ok = false, s->difference = INFINITY;
        snprintf(s->note, sizeof s->note, "the golden file has %lld x %lld", (long long)(cols ? n / cols : 0),
                 (long long)cols);
        return;
    }
    float *want = malloc((size_t)n * sizeof *want + 1);
    if (!want) r->status = drt_fail(r->err, DRT_ENOMEM, "no memory for %lld numbers", (long long)n);
    else r->status = drt_weight_to_f32(tensor, want, n, r->err);
    if (!r->status) judge(r, s, want, have);
    free(want);
}

// ---- the run -------------------------------------------------------------------------------------------------------

// Adds the sums and the stored tensors between a stage and the one before it.
static void walk(run *r, const char *stage, int index) {
    const drt_tower *v = &r->m->config.vision;
    const drt_decoder_config *d = &r->m->config.language;
    const int patches = r->images ? drt_patches(v) : 0; // a decoder alone has no patch size to divide by
    const struct {
        const char *stage;
        double length, roundings;
    } steps[] = {
        {"vision.embedding", 3.0 * v->patch * v->patch, 2},
        {"vision", index ? 4.0 * v->width + v->ffn + patches : v->width, index ? 10 : 1},
        {"projector", (double)v->width + d->width, 3},
        {"splice", 1, 1}, // a weight as it is stored
        {"decoder", 4.0 * d->width + d->ffn + (double)r->rows, 10},
        {"final", d->width, 1},
        {"logits", d->width, 1},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (!strcmp(steps[i].stage, stage)) r->length += steps[i].length, r->roundings += steps[i].roundings;
}

static void see(void *user, const char *stage, int index, drt_mat value) {
    run *r = user;
    char name[40];
    walk(r, stage, index);
    snprintf(name, sizeof name, index < 0 ? "%s" : "%s.%d", stage, index);
    const drt_weight *want = golden_stage(r, name);
    if (r->status || !want || has_stage(r, name)) return;
    drt_certificate_stage *s = new_stage(r, name, -1);
    if (s) compare(r, s, want, value);
}

// The prompt's rows as the decoder takes them.
typedef struct {
    int32_t *offsets, *token, *visual, *position, *reach, *select;
} packed;

static bool pack(const run *r, packed *p) {
    int64_t n = r->rows, at = 0, image = r->images ? drt_visual_rows(&r->m->config) : 0;
    int32_t *a = drt_tape_alloc(r->t, 5 * n + 2, sizeof *a);
    if (!a) return false;
    *p = (packed){a + 5 * n, a, a + n, a + 2 * n, a + 3 * n, a + 4 * n};
    for (int i = 0; i < r->n; i++) {
        int64_t rows = r->id[i] == DRT_IMAGE_TOKEN ? image : 1;
        for (int64_t j = 0; j < rows; j++, at++) {
            p->token[at] = r->id[i] == DRT_IMAGE_TOKEN ? -1 : r->id[i];
            p->visual[at] = r->id[i] == DRT_IMAGE_TOKEN ? (int32_t)j : -1;
            p->position[at] = p->select[at] = (int32_t)at;
            p->reach[at] = (int32_t)at + 1;
        }
    }
    p->offsets[0] = 0, p->offsets[1] = (int32_t)n;
    return true;
}

static drt_status forward(run *r) {
    const drt_model *m = r->m;
    const drt_tower *v = &m->config.vision;
    packed p;
    drt_tensor *seen = NULL;
    drt_tape_begin(r->t, false);
    if (!pack(r, &p)) return drt_tape_failed(r->t, r->err);
    drt_tape_set_tap(r->t, see, r);
    if (r->images)
        seen = drt_visual_tokens(r->t, m, drt_mat_f32(r->pixels, drt_patches(v), 3LL * v->patch * v->patch), false);
    const drt_splice splice = {r->rows, p.token, p.visual};
    drt_tensor *x = drt_splice_rows(r->t, m, &splice, seen);
    const drt_decoder_rows rows = {.sequences = 1,
                                   .offsets = p.offsets,
                                   .position = p.position,
                                   .reach = p.reach,
                                   .select = p.select,
                                   .selected = r->rows};
    x = drt_decoder_run(r->t, &m->language, x, &rows, NULL);
    if (x && golden_stage(r, "logits")) drt_tape_show(r->t, "logits", -1, drt_decoder_logits(r->t, &m->language, x));
    drt_tape_set_tap(r->t, NULL, NULL);
    drt_status status = drt_tape_failed(r->t, r->err);
    return status ? status : r->status;
}

// ---- what goes in --------------------------------------------------------------------------------------------------

static int64_t integer(const drt_weight *t, int64_t i) {
    int64_t v;
    memcpy(&v, (const char *)t->bytes + i * 8, 8);
    return v;
}

static drt_status bad(const run *r, const char *why) { return drt_fail(r->err, DRT_EDATA, "%s: %s", r->path, why); }

static drt_status read_ids(run *r) {
    const drt_weight *ids = drt_weights_find(r->golden, "ids");
    if (!ids || strcmp(ids->dtype, "I64") || ids->ndim != 1 || ids->shape[0] < 1 || ids->shape[0] > MOST_IDS)
        return drt_fail(r->err, DRT_EFORMAT, "%s: has no `ids` of I64 [n]; make it with tools/golden_verify.py",
                        r->path);
    r->n = (int)ids->shape[0];
    r->id = malloc((size_t)r->n * sizeof *r->id);
    if (!r->id) return drt_fail(r->err, DRT_ENOMEM, "no memory for a prompt");
    for (int i = 0; i < r->n; i++) {
        int64_t id = integer(ids, i);
        if (id != DRT_IMAGE_TOKEN && (id < 0 || id >= r->m->config.language.vocab))
            return bad(r, "an id is not among the model's words; it belongs to another model");
        r->id[i] = (int32_t)id;
        r->images += id == DRT_IMAGE_TOKEN;
    }
    if (r->images > 1) return bad(r, "more than one picture");
    if (r->images && r->m->config.kind != DRT_MODEL_LLAVA) return bad(r, "shows a picture, and this model has no eyes");
    if (r->images && r->m->config.scales)
        return bad(r, "shows a picture in several scales, which transformers does not");
    r->rows = drt_id_rows(r->m, r->id, r->n);
    if (r->rows > drt_decoder_context(&r->m->config.language)) return bad(r, "is longer than the model can read");
    return DRT_OK;
}

static drt_status check_tokens(run *r) {
    const char *text = drt_weights_metadata(r->golden, "prompt");
    drt_encoded e;
    if (!text || !r->m->tokenizer) return DRT_OK;
    drt_status status = drt_prompt_encode(r->m->tokenizer, text, r->images, &e, r->err);
    drt_certificate_stage *s = status ? NULL : new_stage(r, "tokens", -1);
    if (!s) return status ? status : r->status;
    int i = 0;
    while (i < e.n && i < r->n && e.id[i] == r->id[i]) i++;
    s->rows = e.n, s->cols = 1;
    s->ok = e.n == r->n && i == r->n;
    s->difference = s->ok ? 0 : INFINITY;
    if (!s->ok && i < e.n && i < r->n)
        snprintf(s->note, sizeof s->note, "token %d is %d instead of %d; the rest runs on the golden tokens", i,
                 e.id[i], r->id[i]);
    else if (!s->ok)
        snprintf(s->note, sizeof s->note, "%d tokens instead of %d; the rest runs on the golden tokens", e.n, r->n);
    drt_encoded_free(&e);
    return DRT_OK;
}

// From [3, size, size] to rows of patches, as drt_image_patches lays them.
static void cut(const drt_tower *v, const float *from, float *to) {
    int p = v->patch, side = v->image / p, size = v->image;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < side * p; y++)
            for (int x = 0; x < side * p; x++)
                to[((int64_t)(y / p * side + x / p) * 3 + c) * p * p + y % p * p + x % p] =
                    from[((int64_t)c * size + y) * size + x];
}

static drt_status check_pixels(run *r) {
    const drt_tower *v = &r->m->config.vision;
    const drt_weight *picture = drt_weights_find(r->golden, "picture"), *want = golden_stage(r, "pixels");
    int64_t size = drt_picture_size(r->m), all = 3LL * v->image * v->image;
    if (!r->images) return DRT_OK;
    if (!picture && !want) return bad(r, "has an image among its ids, and neither `picture` nor `stage.pixels`");
    r->pixels = malloc((size_t)size * sizeof *r->pixels);
    float *golden = want ? malloc((size_t)(all + size) * sizeof *golden) : NULL;
    drt_status status = DRT_OK;
    if (!r->pixels || (want && !golden)) status = drt_fail(r->err, DRT_ENOMEM, "no memory for a picture");
    if (!status && want) status = drt_weight_to_f32(want, golden, all, r->err);
    if (!status && want) cut(v, golden, golden + all);
    if (!status && picture)
        status = drt_picture_decode(r->m, picture->bytes, picture->size, r->path, r->pixels, r->err);
    drt_certificate_stage *s = !status && want && picture ? new_stage(r, "pixels", -1) : NULL;
    if (s) {
        r->length = 2; // a scale and a shift
        s->rows = drt_patches(v), s->cols = size / s->rows;
        judge(r, s, golden + all, drt_mat_f32(r->pixels, s->rows, s->cols));
    }
    if (!status && want && (!s || !s->ok)) memcpy(r->pixels, golden + all, (size_t)size * sizeof *r->pixels);
    free(golden);
    return status ? status : r->status;
}

// ---- what comes out ------------------------------------------------------------------------------------------------

static int32_t likeliest(drt_mat logits) {
    int32_t best = 0;
    for (int64_t j = 1; j < logits.cols; j++)
        if (number(logits, 0, j) > number(logits, 0, best)) best = (int32_t)j;
    return best;
}

// The token where greedy continuations part: n if they do not. *drawn: what came instead.
static drt_status continue_greedily(run *r, const drt_weight *greedy, int n, int *parted, int32_t *drawn) {
    drt_session *s;
    drt_mat logits;
    drt_feed feed = {0, r->id, r->n, r->pixels, 0};
    drt_status status = drt_session_new(&s, r->m, r->t, 1, r->rows + n, r->err);
    if (status) return status;
    for (*parted = 0; *parted < n && !status; ++*parted) {
        status = drt_session_feed(s, &feed, 1, &logits, r->err);
        if (status) break;
        *drawn = likeliest(logits);
        if (*drawn != integer(greedy, *parted)) break;
        feed = (drt_feed){.id = drawn, .n = 1};
    }
    drt_session_free(s);
    return status;
}

static drt_status check_greedy(run *r) {
    const drt_weight *greedy = drt_weights_find(r->golden, "greedy"),
                     *margin = drt_weights_find(r->golden, "greedy_margin");
    if (!greedy || strcmp(greedy->dtype, "I64") || greedy->ndim != 1) return DRT_OK;
    int64_t left = drt_decoder_context(&r->m->config.language) - r->rows;
    int n = greedy->shape[0] < left ? (int)greedy->shape[0] : (int)left, parted = 0;
    int32_t drawn = -1;
    drt_status status = continue_greedily(r, greedy, n, &parted, &drawn);
    drt_certificate_stage *s = status ? NULL : new_stage(r, "greedy", -1);
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
             drawn, (long long)integer(greedy, parted), (double)m);
    return DRT_OK;
}

// Golden stages that no stage of ours answers to.
static drt_status check_missing(run *r) {
    for (int i = 0; i < drt_weights_count(r->golden) && !r->status; i++) {
        const char *name = drt_weights_at(r->golden, i)->name;
        if (strncmp(name, "stage.", 6) || has_stage(r, name + 6) || (!r->images && !strcmp(name, "stage.pixels")))
            continue;
        if (!strcmp(name, "stage.pixels") && !drt_weights_find(r->golden, "picture")) continue;
        drt_certificate_stage *s = new_stage(r, name + 6, -1);
        if (!s) break;
        s->ok = false, s->difference = INFINITY;
        snprintf(s->note, sizeof s->note, "the model computes no such stage");
    }
    return r->status;
}

// Weights kept in f16 are expanded: they round nothing.
static bool multiplies_bf16(const drt_model *m) {
    for (int i = 0; i < m->params->n; i++)
        if (m->params->at[i]->tensor.value.type == DRT_BF16) return true;
    return false;
}

drt_status drt_verify(const drt_model *m, drt_tape *t, const char *golden, drt_certificate *out, drt_error *err) {
    run r = {.m = m, .t = t, .path = golden, .out = out, .err = err};
    *out = (drt_certificate){0};
    if (!drt_has_decoder(&m->config))
        return drt_fail(err, DRT_ECONFIG, "%s has no decoder; drt verify compares LLaVA models and decoders",
                        m->folder ? m->folder : "the model");
    drt_status status = drt_weights_open(&r.golden, golden, err);
    if (status) return status;
    const char *dtype = drt_weights_metadata(r.golden, "dtype"), *by = drt_weights_metadata(r.golden, "made_by");
    snprintf(out->dtype, sizeof out->dtype, "%s", dtype ? dtype : "float32");
    snprintf(out->made_by, sizeof out->made_by, "%s", by ? by : "an unnamed program");
    if (!strcmp(out->dtype, "float16")) r.h = ldexp(1, -12);
    if (!strcmp(out->dtype, "bfloat16") || multiplies_bf16(m)) r.h = ldexp(1, -9);
    status = read_ids(&r);
    if (!status) status = check_tokens(&r);
    if (!status) status = check_pixels(&r);
    if (!status) status = forward(&r);
    if (!status) status = check_greedy(&r);
    if (!status) status = check_missing(&r);
    for (int i = 0; i < out->n && !out->first; i++)
        if (!out->stage[i].ok) out->first = &out->stage[i];
    free(r.id), free(r.pixels);
    drt_weights_close(r.golden);
    if (status) drt_certificate_free(out);
    return status;
}

void drt_certificate_free(drt_certificate *c) {
    free(c->stage);
    *c = (drt_certificate){0};
}
