#include "base/half.h"
#include "data/conversation.h"
#include "eval/verify_parts.h"
#include "infer/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IDS = 1 << 20 };

drt_certificate_stage *drt_verify_stage(drt_verify_run *r, const char *name) {
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
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

const drt_weight *drt_verify_golden(const drt_verify_run *r, const char *name) {
    char key[60];
    snprintf(key, sizeof key, "stage.%s", name);
    return drt_weights_find(r->golden, key);
}

static bool has_stage(const drt_verify_run *r, const char *name) {
    for (int i = 0; i < r->out->n; i++)
        if (!strcmp(r->out->stage[i].name, name)) return true;
    return false;
}

drt_status drt_verify_bad(const drt_verify_run *r, const char *why) {
    return drt_fail(r->err, DRT_EDATA, "%s: %s", r->path, why);
}

int64_t drt_verify_integer(const drt_weight *t, int64_t i) {
    int64_t v;
    memcpy(&v, (const char *)t->bytes + i * 8, 8);
    return v;
}

// ---- one comparison ------------------------------------------------------------------------------------------------

double drt_verify_number(drt_mat m, int64_t row, int64_t col) {
    const uint16_t *half = (const uint16_t *)m.data + row * m.ld + col;
    if (m.type == DRT_BF16) return drt_bf16_to_f32(*half);
    return m.type == DRT_F16 ? drt_f16_to_f32(*half) : drt_row(m, row)[col];
}

// want [rows * cols] against have; also notes where they are furthest apart.
static void judge(const drt_verify_run *r, drt_certificate_stage *s, const float *want, drt_mat have) {
    const double u = ldexp(1, -24);
    double squares = 0, most = 0;
    int64_t row = 0, col = 0;
    for (int64_t i = 0; i < have.rows; i++)
        for (int64_t j = 0; j < have.cols; j++) {
            double w = want[i * have.cols + j], d = fabs(drt_verify_number(have, i, j) - w);
            squares += w * w;
            if (!isfinite(d)) d = INFINITY;
            if (d > most) most = d, row = i, col = j;
        }
    double rms = sqrt(squares / (double)(have.rows * have.cols));
    s->difference = most;
    s->tolerance = 8 * rms * (u * sqrt(r->length) + r->h * sqrt(r->roundings));
    s->ok = isfinite(most) && most <= s->tolerance; // an infinite golden number makes the tolerance infinite, too
    if (!s->ok)
        snprintf(s->note, sizeof s->note, "row %lld, column %lld: %g instead of %g", (long long)row, (long long)col,
                 drt_verify_number(have, row, col), want[row * have.cols + col]);
}

// `tensor` has the numbers of `have`: its last dimension is the columns, whatever stands before it the rows.
static void compare(drt_verify_run *r, drt_certificate_stage *s, const drt_weight *tensor, drt_mat have) {
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

// The sums that a permuter adds to rows that it mixes: a plan's come through its blocks, divided by the temperature.
// What is chosen is moved as it is.
static double permuter(const drt_verify_run *r) {
    const drt_permuter *g = r->permuted ? r->m->extra.permuter : NULL;
    if (!g || g->how.hard) return 0;
    double d = (double)g->shape.width, block = 4 * d + 2 * (double)g->shape.hidden + (double)r->rows;
    return (g->shape.layers * block + 2.0 * g->how.sinkhorn.sweeps * (double)r->rows) / (g->how.tau * g->how.tau);
}

// Adds the sums and the stored tensors between a stage and the one before it.
static void walk(drt_verify_run *r, const char *stage, int index) {
    const drt_tower *v = &r->m->config.vision, *t = &r->m->config.text;
    const drt_decoder_config *d = &r->m->config.language;
    const int patches = r->pixels ? drt_patches(v) : 0; // a decoder alone has no patch size to divide by
    const double layer = 4.0 * v->width + v->ffn + patches;
    const bool towers = !drt_has_decoder(&r->m->config);
    const struct {
        const char *stage;
        double length, roundings;
    } steps[] = {
        {"vision.embedding", 3.0 * v->patch * v->patch, 2},
        {"vision", index ? layer : v->width, index ? 10 : 1},
        {"vision.pooled", v->head ? layer : v->width, v->head ? 10 : 1},
        {"vision.joint", (double)v->width + v->joint, 2},
        {"text.embedding", 1, 3}, // words, positions, their sum
        {"text", 4.0 * t->width + t->ffn + t->positions, 10},
        {"text.pooled", t->width, 1},
        {"text.joint", (double)t->width + t->joint, 2},
        {"projector", (double)v->width + d->width, 3},
        {"splice", 1 + permuter(r), 1}, // a weight as it is stored
        {"decoder", 4.0 * d->width + d->ffn + (double)r->rows, 10},
        {"final", d->width, 1},
        {"logits", towers ? t->joint : d->width, 1},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (!strcmp(steps[i].stage, stage)) r->length += steps[i].length, r->roundings += steps[i].roundings;
}

void drt_verify_see(void *user, const char *stage, int index, drt_mat value) {
    drt_verify_run *r = user;
    char name[40];
    walk(r, stage, index);
    if (index < 0) snprintf(name, sizeof name, "%s", stage);
    else snprintf(name, sizeof name, "%s.%d", stage, index);
    const drt_weight *want = drt_verify_golden(r, name);
    if (r->status || !want || has_stage(r, name)) return;
    drt_certificate_stage *s = drt_verify_stage(r, name);
    if (s) compare(r, s, want, value);
}

// ---- what goes in --------------------------------------------------------------------------------------------------

drt_status drt_verify_ids(drt_verify_run *r, int vocab, bool image) {
    const drt_weight *ids = drt_weights_find(r->golden, "ids");
    if (!ids || strcmp(ids->dtype, "I64") || ids->ndim != 1 || ids->shape[0] < 1 || ids->shape[0] > MOST_IDS)
        return drt_fail(r->err, DRT_EFORMAT, "%s: has no `ids` of I64 [n]; make it with tools/golden_verify.py",
                        r->path);
    r->n = (int)ids->shape[0];
    r->id = malloc((size_t)r->n * sizeof *r->id);
    if (!r->id) return drt_fail(r->err, DRT_ENOMEM, "no memory for a prompt");
    for (int i = 0; i < r->n; i++) {
        int64_t id = drt_verify_integer(ids, i);
        bool seen = image && id == DRT_IMAGE_TOKEN;
        if (!seen && (id < 0 || id >= vocab))
            return drt_verify_bad(r, "an id is not among the model's words; it belongs to another model");
        r->id[i] = (int32_t)id;
        r->images += seen;
    }
    return DRT_OK;
}

drt_status drt_verify_tokens(drt_verify_run *r, const int32_t *have, int n) {
    drt_certificate_stage *s = drt_verify_stage(r, "tokens");
    if (!s) return r->status;
    int i = 0;
    while (i < n && i < r->n && have[i] == r->id[i]) i++;
    s->rows = n, s->cols = 1;
    s->ok = n == r->n && i == r->n;
    s->difference = s->ok ? 0 : INFINITY;
    if (!s->ok && i < n && i < r->n)
        snprintf(s->note, sizeof s->note, "token %d is %d instead of %d; the rest runs on the golden tokens", i,
                 have[i], r->id[i]);
    else if (!s->ok)
        snprintf(s->note, sizeof s->note, "%d tokens instead of %d; the rest runs on the golden tokens", n, r->n);
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

drt_status drt_verify_pixels(drt_verify_run *r) {
    const drt_tower *v = &r->m->config.vision;
    const drt_weight *picture = drt_weights_find(r->golden, "picture"), *want = drt_verify_golden(r, "pixels");
    int64_t size = drt_picture_size(r->m), all = 3LL * v->image * v->image;
    if (!r->images) return DRT_OK;
    if (!picture && !want)
        return drt_verify_bad(r, "has an image among its ids, and neither `picture` nor `stage.pixels`");
    r->pixels = malloc((size_t)size * sizeof *r->pixels);
    float *golden = want ? malloc((size_t)(all + size) * sizeof *golden) : NULL;
    drt_status status = DRT_OK;
    if (!r->pixels || (want && !golden)) status = drt_fail(r->err, DRT_ENOMEM, "no memory for a picture");
    if (!status && want) status = drt_weight_to_f32(want, golden, all, r->err);
    if (!status && want) cut(v, golden, golden + all);
    if (!status && picture)
        status = drt_picture_decode(r->m, picture->bytes, picture->size, r->path, r->pixels, r->err);
    drt_certificate_stage *s = !status && want && picture ? drt_verify_stage(r, "pixels") : NULL;
    if (s) {
        r->length = 2; // a scale and a shift
        s->rows = drt_patches(v), s->cols = size / s->rows;
        judge(r, s, golden + all, drt_mat_f32(r->pixels, s->rows, s->cols));
    }
    if (!status && want && (!s || !s->ok)) memcpy(r->pixels, golden + all, (size_t)size * sizeof *r->pixels);
    free(golden);
    return status ? status : r->status;
}

// Golden stages that no stage of ours answers to.
static drt_status check_missing(drt_verify_run *r) {
    for (int i = 0; i < drt_weights_count(r->golden) && !r->status; i++) {
        const char *name = drt_weights_at(r->golden, i)->name;
        if (strncmp(name, "stage.", 6) || has_stage(r, name + 6) || (!r->images && !strcmp(name, "stage.pixels")))
            continue;
        if (!strcmp(name, "stage.pixels") && !drt_weights_find(r->golden, "picture")) continue;
        drt_certificate_stage *s = drt_verify_stage(r, name + 6);
        if (!s) break;
        s->ok = false, s->difference = INFINITY;
        snprintf(s->note, sizeof s->note, "the model computes no such stage");
    }
    return r->status;
}

// What reading operands rounded costs a product, as a rounding (kernels/cpu/f16.h). Weights kept in f16 are expanded:
// they round nothing.
static double rounding(const drt_model *m) {
    double h = 0;
    for (int i = 0; i < m->params->n; i++) {
        const drt_tensor *w = &m->params->at[i]->tensor;
        if (w->value.type == DRT_BF16) h = ldexp(1, -9);
        if (w->f16) h = ldexp(1, -10);
    }
    return h;
}

drt_status drt_verify(const drt_model *m, drt_tape *t, const char *golden, drt_certificate *out, drt_error *err) {
    drt_verify_run r = {.m = m, .t = t, .path = golden, .out = out, .err = err};
    *out = (drt_certificate){0};
    drt_status status = drt_weights_open(&r.golden, golden, err);
    if (status) return status;
    const char *dtype = drt_weights_metadata(r.golden, "dtype"), *by = drt_weights_metadata(r.golden, "made_by");
    snprintf(out->dtype, sizeof out->dtype, "%s", dtype ? dtype : "float32");
    snprintf(out->made_by, sizeof out->made_by, "%s", by ? by : "an unnamed program");
    if (!strcmp(out->dtype, "float16")) r.h = ldexp(1, -12);
    if (!strcmp(out->dtype, "bfloat16")) r.h = ldexp(1, -9);
    r.h = fmax(r.h, rounding(m));
    status = (drt_has_decoder(&m->config) ? drt_verify_decoder : drt_verify_towers)(&r);
    if (!status) status = check_missing(&r);
    if (!status && !out->n)
        status = drt_verify_bad(&r, "holds nothing to compare with: no stage, no prompt, no greedy");
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
