#include "eval/probe.h"

#include "data/dataset.h"
#include "infer/picture.h"
#include "tensor/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const drt_probe_names[DRT_PROBES] = {"color", "shape", "size", "word", "row", "column"};

enum { HOLD_OUT = 5 };

typedef struct {
    const drt_model *m;
    drt_tape *t;
    const drt_probe_options *o;
    drt_probe_result *out;
    drt_error *err;
    int64_t pictures, width;
    int side, patches;                  // along a side, of a picture
    int16_t (*label)[DRT_PATCH_LABELS]; // [pictures * patches]
    float *features;                    // [pictures * patches, width]
    int64_t done, total;
} probe;

// ---- features ------------------------------------------------------------------------------------------------------

static drt_status read_picture(const probe *p, const drt_dataset *ds, int64_t at, float *pixels) {
    drt_record *rec = NULL;
    drt_status status = drt_dataset_at(ds, (int32_t)at, &rec, p->err);
    if (status) return status;
    if (rec->n_images != 1 || rec->n_patches != p->patches)
        status =
            drt_fail(p->err, DRT_EDATA, "%d pictures and %d patch labels; this tower wants one picture and %d labels",
                     rec->n_images, rec->n_patches, p->patches);
    if (!status) status = drt_picture_in(p->m, rec, 0, pixels, p->err);
    if (status) drt_dataset_fail_in(ds, rec, p->err);
    else memcpy(p->label + at * p->patches, rec->patches, (size_t)p->patches * sizeof *p->label);
    drt_record_free(rec);
    return status;
}

static drt_status run_tower(const probe *p, float *pixels, int64_t from, int64_t n) {
    const drt_tower *v = &p->m->config.vision;
    int layer = p->m->config.kind == DRT_MODEL_LLAVA ? p->m->config.select_layer : -2;
    drt_tape_begin(p->t, false);
    drt_mat x = drt_mat_f32(pixels, n * p->patches, 3LL * v->patch * v->patch);
    drt_tensor *h = drt_vision_patches(p->t, &p->m->vision, drt_vision_hidden(p->t, &p->m->vision, x, layer, false));
    drt_status status = drt_tape_failed(p->t, p->err);
    if (!status)
        memcpy(p->features + from * p->patches * p->width, h->value.data,
               (size_t)(n * p->patches * p->width) * sizeof *p->features);
    return status;
}

static drt_status take_features(probe *p, const drt_dataset *ds) {
    int64_t size = drt_picture_size(p->m), batch = p->o->batch > 0 ? p->o->batch : 64;
    float *pixels = malloc((size_t)(batch * size) * sizeof *pixels);
    if (!pixels) return drt_fail(p->err, DRT_ENOMEM, "no memory for %lld pictures", (long long)batch);
    drt_status status = DRT_OK;
    for (int64_t from = 0; from < p->pictures && !status; from += batch) {
        int64_t n = p->pictures - from < batch ? p->pictures - from : batch;
        for (int64_t i = 0; i < n && !status; i++) status = read_picture(p, ds, from + i, pixels + i * size);
        if (!status) status = run_tower(p, pixels, from, n);
        drt_progress_at(p->o->progress, p->done += n, p->total);
    }
    free(pixels);
    return status;
}

static bool held_out(int64_t picture) { return picture % HOLD_OUT == HOLD_OUT - 1; }

// Columns to mean 0 and deviation 1, as the training pictures have them.
static void standardise(probe *p) {
    for (int64_t c = 0; c < p->width; c++) {
        double sum = 0, squares = 0, n = 0;
        for (int64_t r = 0; r < p->pictures * p->patches; r++) {
            if (held_out(r / p->patches)) continue;
            double x = p->features[r * p->width + c];
            sum += x, squares += x * x, n++;
        }
        double mean = sum / n, variance = squares / n - mean * mean, by = variance > 1e-12 ? 1 / sqrt(variance) : 0;
        for (int64_t r = 0; r < p->pictures * p->patches; r++) {
            float *x = &p->features[r * p->width + c];
            *x = (float)((*x - mean) * by);
        }
    }
}

// ---- one probe -----------------------------------------------------------------------------------------------------

typedef struct {
    int32_t *row, *label; // [n]
    int64_t n;
} rows;

// The class of a patch, -1 where this probe does not ask.
static int class_of(const probe *p, int kind, int64_t row) {
    int patch = (int)(row % p->patches);
    if (kind == DRT_PROBE_ROW) return patch / p->side;
    if (kind == DRT_PROBE_COLUMN) return patch % p->side;
    return p->label[row][kind] - 1;
}

static drt_status choose_rows(const probe *p, int kind, rows *train, rows *test, int *classes) {
    int64_t all = p->pictures * p->patches;
    int32_t *at = malloc((size_t)all * 4 * sizeof *at);
    *classes = 0;
    *train = (rows){at, at + all, 0};
    *test = (rows){at + 2 * all, at + 3 * all, 0};
    if (!at) return drt_fail(p->err, DRT_ENOMEM, "no memory for %lld patches", (long long)all);
    for (int64_t r = 0; r < all; r++) {
        int label = class_of(p, kind, r);
        if (label < 0) continue;
        if (label >= *classes) *classes = label + 1;
        rows *to = held_out(r / p->patches) ? test : train;
        to->row[to->n] = (int32_t)r;
        to->label[to->n++] = label;
    }
    if (train->n && test->n) return DRT_OK;
    return drt_fail(p->err, DRT_EDATA,
                    "%s/eval/clip.json: %lld and %lld patches to learn and to tell the %s from; draw more "
                    "pictures",
                    p->o->data, (long long)train->n, (long long)test->n, drt_probe_names[kind]);
}

typedef struct {
    drt_params *params;
    drt_param *w, *b; // [classes, width], [1, classes]
} layer;

static drt_status layer_new(layer *l, int classes, int64_t width, drt_error *err) {
    const bool learns[DRT_GROUPS] = {[DRT_PATCH_HEAD] = true};
    *l = (layer){.params = drt_params_new()};
    if (!l->params) return drt_fail(err, DRT_ENOMEM, "no memory for a probe");
    l->w = drt_param_add(l->params, DRT_PATCH_HEAD, classes, width, DRT_INIT_CONSTANT, 0);
    l->b = drt_param_add(l->params, DRT_PATCH_HEAD, 1, classes, DRT_INIT_CONSTANT, 0);
    drt_status status = drt_params_allocate(l->params, learns, err);
    if (!status) drt_params_init(l->params, DRT_PATCH_HEAD, 0);
    return status;
}

// Mean cross-entropy of the rows; hit [n] may be NULL.
static drt_tensor *loss_of(const probe *p, const layer *l, const rows *r, float *hit) {
    float *weight = drt_tape_alloc(p->t, r->n, sizeof *weight);
    drt_tensor *all = drt_tensor_wrap(p->t, drt_mat_f32(p->features, p->pictures * p->patches, p->width), false);
    if (!weight || !all) return NULL;
    for (int64_t i = 0; i < r->n; i++) weight[i] = 1.0f / (float)r->n;
    drt_tensor *x = drt_select(p->t, all, r->row, r->n);
    return drt_linear_cross_entropy(p->t, x, &l->w->tensor, &l->b->tensor, r->label, weight, NULL, hit);
}

static drt_status learn(probe *p, layer *l, const rows *train) {
    const float rate = 0.05f;
    int steps = p->o->steps > 0 ? p->o->steps : 300;
    drt_device *dev = drt_tape_device(p->t);
    drt_adamw how = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 1e-3f, .grad_scale = 1};
    double power1 = 1, power2 = 1;
    for (int step = 0; step < steps; step++) {
        drt_params_zero_grads(l->params);
        drt_tape_begin(p->t, true);
        drt_backward(p->t, loss_of(p, l, train, NULL));
        drt_status status = drt_tape_failed(p->t, p->err);
        if (status) return status;
        how.lr = rate * (1 - (float)step / (float)steps);
        how.correction1 = (float)(1 - (power1 *= 0.9));
        how.correction2 = (float)(1 - (power2 *= 0.999));
        dev->k->adamw(dev, &how, l->params->learning, l->params->weights, l->params->grads, l->params->m, l->params->v);
        drt_progress_at(p->o->progress, ++p->done, p->total);
    }
    return DRT_OK;
}

static double chance_of(const rows *train, const rows *test, int classes) {
    int64_t best = 0, most = -1, right = 0;
    for (int k = 0; k < classes; k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < train->n; i++) n += train->label[i] == k;
        if (n > most) most = n, best = k;
    }
    for (int64_t i = 0; i < test->n; i++) right += test->label[i] == best;
    return (double)right / (double)test->n;
}

static drt_status run_probe(probe *p, int kind) {
    rows train, test;
    layer l = {0};
    int classes;
    drt_status status = choose_rows(p, kind, &train, &test, &classes);
    if (!status) status = layer_new(&l, classes, p->width, p->err);
    if (!status) status = learn(p, &l, &train);
    if (!status) {
        drt_tape_begin(p->t, false);
        float *hit = drt_tape_alloc(p->t, test.n, sizeof *hit);
        if (hit) loss_of(p, &l, &test, hit);
        status = drt_tape_failed(p->t, p->err);
        double right = 0;
        for (int64_t i = 0; i < test.n && !status; i++) right += hit[i];
        p->out->probe[kind] =
            (drt_probe_score){classes, train.n, test.n, right / (double)test.n, chance_of(&train, &test, classes)};
    }
    if (l.params) drt_params_free(l.params);
    free(train.row);
    return status;
}

// ---- all of it -----------------------------------------------------------------------------------------------------

static drt_status prepare(probe *p, drt_dataset **ds, drt_text *file) {
    const drt_model *m = p->m;
    const drt_tower *v = &m->config.vision;
    if (!drt_has_vision(&m->config))
        return drt_fail(p->err, DRT_ECONFIG, "%s has no vision tower; probe a CLIP or LLaVA folder",
                        m->folder ? m->folder : "the model");
    if (m->config.scales)
        return drt_fail(p->err, DRT_ECONFIG, "%s sees several scales of a picture; probe its vision tower alone",
                        m->folder ? m->folder : "the model");
    p->width = v->width;
    p->side = v->image / v->patch;
    p->patches = p->side * p->side;
    drt_text_printf(file, "%s/eval/clip.json", p->o->data);
    if (file->failed) return drt_fail(p->err, DRT_ENOMEM, "no memory");
    const drt_dataset_options options = {.images = DRT_IMAGES_EXIST};
    drt_status status = drt_dataset_open(ds, file->bytes, p->o->data, &options, NULL, p->err);
    if (status) return status;
    int64_t most = p->o->limit > 0 ? p->o->limit : 1000;
    p->pictures = drt_dataset_size(*ds) < most ? drt_dataset_size(*ds) : most;
    if (p->pictures < 2 * HOLD_OUT)
        return drt_fail(p->err, DRT_EDATA,
                        "%s: %lld pictures are too few to learn from; draw more (drt shapes --eval 500)", file->bytes,
                        (long long)p->pictures);
    int64_t n = p->pictures * p->patches;
    p->total = p->pictures + (int64_t)DRT_PROBES * (p->o->steps > 0 ? p->o->steps : 300);
    p->label = malloc((size_t)n * sizeof *p->label);
    p->features = malloc((size_t)(n * p->width) * sizeof *p->features);
    if (p->label && p->features && n <= INT32_MAX) return DRT_OK;
    return drt_fail(p->err, DRT_ENOMEM, "no memory for %lld patches of %lld numbers; lower the limit", (long long)n,
                    (long long)p->width);
}

drt_status drt_probe_run(const drt_model *model, drt_tape *tape, const drt_probe_options *options,
                         drt_probe_result *out, drt_error *err) {
    probe p = {.m = model, .t = tape, .o = options, .out = out, .err = err};
    drt_dataset *ds = NULL;
    drt_text file = {0};
    *out = (drt_probe_result){0};
    drt_status status = prepare(&p, &ds, &file);
    if (!status) status = take_features(&p, ds);
    if (!status) {
        standardise(&p);
        out->width = (int)p.width;
        for (int64_t i = 0; i < p.pictures; i++) held_out(i) ? out->test_pictures++ : out->train_pictures++;
    }
    for (int kind = 0; kind < DRT_PROBES && !status; kind++) status = run_probe(&p, kind);
    drt_dataset_close(ds);
    drt_text_free(&file);
    free(p.label);
    free(p.features);
    return status;
}

void drt_probe_table(const drt_probe_result *r, drt_text *out) {
    drt_text_printf(out, "%lld pictures to learn from, %lld held out, features of width %d\n\n",
                    (long long)r->train_pictures, (long long)r->test_pictures, r->width);
    drt_text_puts(out, "probe    classes  patches  accuracy  chance\n");
    for (int k = 0; k < DRT_PROBES; k++)
        drt_text_printf(out, "%-8s %7d  %7lld  %8.3f  %6.3f\n", drt_probe_names[k], r->probe[k].classes,
                        (long long)r->probe[k].test, r->probe[k].accuracy, r->probe[k].chance);
}

void drt_probe_json(const drt_probe_result *r, drt_text *out) {
    drt_text_printf(out, "{\"train_pictures\": %lld, \"test_pictures\": %lld, \"width\": %d, \"probes\": {",
                    (long long)r->train_pictures, (long long)r->test_pictures, r->width);
    for (int k = 0; k < DRT_PROBES; k++) {
        const drt_probe_score *p = &r->probe[k];
        drt_text_printf(out,
                        "%s\n  \"%s\": {\"classes\": %d, \"train_patches\": %lld, \"test_patches\": %lld, "
                        "\"accuracy\": %.6f, \"chance\": %.6f}",
                        k ? "," : "", drt_probe_names[k], p->classes, (long long)p->train, (long long)p->test,
                        p->accuracy, p->chance);
    }
    drt_text_puts(out, "}}\n");
}
