// drt merge: an adapter added to the weights of its base.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "base/file.h"
#include "infer/session.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "drt merge MODEL ADAPTER OUT [--dtype f32|f16|bf16]\n"
    "\n"
    "Adds the adapter in the PEFT folder ADAPTER to the weights of MODEL and writes the sum as OUT, a model like any\n"
    "other. OUT is read back: every number is compared, and so are its logits with those of MODEL beside ADAPTER.\n"
    "\n"
    "  --dtype T         type of the numbers (default: that of MODEL); f16 and bf16 round the sum\n"
    "  --threads N       default: all cores\n"
    "\n"
    "  drt merge models/llava out/run/adapter models/mine\n";

// The patches of a picture of noise, malloc'ed.
static float *noise(const drt_model *m, drt_rng *r, drt_error *err) {
    const drt_tower *v = &m->config.vision;
    int64_t size = (int64_t)drt_views(&m->config) * drt_patches(v) * 3 * v->patch * v->patch;
    float *pixels = malloc((size_t)size * sizeof *pixels);
    if (!pixels) drt_fail(err, DRT_ENOMEM, "no memory for a picture");
    for (int64_t i = 0; pixels && i < size; i++) pixels[i] = (float)drt_rng_normal(r);
    return pixels;
}

// Of two towers: a picture of noise and some words in the joint space, [2 * *size]. malloc'ed; NULL after a failure.
static float *embeddings_of(const drt_model *m, drt_tape *tape, int *size, drt_error *err) {
    const drt_tower *v = &m->config.vision, *c = &m->config.text;
    int32_t id[2048], offsets[2] = {0, c->positions < 2048 ? c->positions : 2048};
    drt_rng r;
    drt_rng_init(&r, 1, 2);
    float *pixels = noise(m, &r, err), *out = NULL;
    if (!pixels) return NULL;
    for (int i = 0; i < offsets[1]; i++) id[i] = (int32_t)drt_rng_below(&r, (uint64_t)c->vocab);
    if (c->family->causal) id[offsets[1] - 1] = c->eos;
    drt_tape_begin(tape, false);
    drt_mat patches = drt_mat_f32(pixels, drt_patches(v), 3LL * v->patch * v->patch);
    drt_tensor *seen = drt_image_embedding(tape, m, drt_vision_hidden(tape, &m->vision, patches, -1, false)),
               *read = drt_text_embedding(tape, m, id, offsets, 1, false);
    if (!drt_tape_failed(tape, err)) {
        *size = (int)seen->value.cols;
        out = malloc(2 * (size_t)*size * sizeof *out);
        if (!out) drt_fail(err, DRT_ENOMEM, "no memory for embeddings");
    }
    for (int i = 0; out && i < 2; i++)
        memcpy(out + i * *size, (i ? read : seen)->value.data, (size_t)*size * sizeof *out);
    if (out) *size *= 2;
    free(pixels);
    return out;
}

// Some rows of words, and a picture of noise where the model sees: what follows, [*size]. malloc'ed; NULL after a
// failure.
static float *logits_of(const drt_model *m, drt_tape *tape, int *size, drt_error *err) {
    enum { WORDS = 12 };
    int32_t id[WORDS + 1];
    int n = 0, vocab = m->config.language.vocab;
    float *pixels = NULL, *out = NULL;
    drt_session *s = NULL;
    drt_mat y;
    drt_rng r;
    if (m->config.kind == DRT_MODEL_CLIP) return embeddings_of(m, tape, size, err);
    *size = vocab;
    drt_rng_init(&r, 1, 2);
    drt_status status = DRT_OK;
    for (int i = 0; i < WORDS; i++) {
        if (i == WORDS / 2 && m->config.kind == DRT_MODEL_LLAVA) id[n++] = DRT_IMAGE_TOKEN;
        id[n++] = (int32_t)drt_rng_below(&r, (uint64_t)vocab);
    }
    if (m->config.kind == DRT_MODEL_LLAVA && !(pixels = noise(m, &r, err))) status = DRT_ENOMEM;
    if (!status) status = drt_session_new(&s, m, tape, 1, drt_id_rows(m, id, n), err);
    if (!status) status = drt_session_feed(s, &(drt_feed){.id = id, .n = n, .patches = pixels}, 1, &y, err);
    if (!status && !(out = malloc((size_t)vocab * sizeof *out)))
        status = drt_fail(err, DRT_ENOMEM, "no memory for logits");
    if (!status) memcpy(out, y.data, (size_t)vocab * sizeof *out);
    drt_session_free(s);
    free(pixels);
    return out;
}

// The largest difference of n numbers in units of the largest of them.
static double apart(const float *a, const float *b, int n) {
    double gap = 0, size = FLT_MIN;
    for (int i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (isnan(d)) return NAN;
        gap = fmax(gap, d);
        size = fmax(size, fabs(a[i]));
    }
    return gap / size;
}

// What rounding alone may do to logits: that of a weight and of its product in each of a layer's seven maps, growing as
// a random walk; 16 leaves room for cancellation.
static double allowed(const drt_model_config *c, const char *dtype) {
    double spacing = !strcmp(dtype, "BF16") ? 0x1p-8 : !strcmp(dtype, "F16") ? 0x1p-11 : 0x1p-24;
    return 16 * spacing * sqrt(14.0 * (c->language.layers + c->vision.layers + c->text.layers));
}

// Whether OUT, opened anew, answers as the model beside its adapter did. *gap: how far it is off.
static drt_status reopen(const char *folder, drt_tape *tape, const float *want, const char *dtype, double *gap,
                         drt_error *err) {
    drt_model *m = NULL;
    const drt_model_options o = {.keep = DRT_KEEP_F32};
    drt_status status = drt_model_open(&m, folder, &o, err);
    int n = 0;
    float *have = status ? NULL : logits_of(m, tape, &n, err);
    if (!status && !have) status = err->code;
    if (!status) {
        *gap = apart(want, have, n);
        double most = allowed(&m->config, dtype);
        if (!(*gap <= most))
            status =
                drt_fail(err, DRT_ENUMERIC,
                         "%s: its logits differ from those of the model beside the adapter by %.1e, rounding to %s "
                         "explains %.1e; config.json is taken away again",
                         folder, *gap, dtype, most);
    }
    free(have);
    drt_model_close(m);
    char *config = status ? drt_path_join(folder, "config.json") : NULL;
    if (config) unlink(config);
    free(config);
    return status;
}

static int merge(const char *const folder[3], const char *dtype, drt_device *dev, drt_tape *tape) {
    drt_error err = {0};
    drt_model *m = NULL;
    double gap = 0;
    int layers = 0, n;
    const drt_model_options o = {.keep = DRT_KEEP_F32, .adapter = folder[1]};
    drt_status status = drt_model_open(&m, folder[0], &o, &err);
    if (!status) layers = m->adapter.n;
    if (!status && !dtype) dtype = m->dtype;
    float *want = status ? NULL : logits_of(m, tape, &n, &err);
    if (!status && !want) status = err.code;
    if (!status) status = drt_adapter_merge(m, dev, &err);
    if (!status) status = drt_cli_save(m, folder[2], DRT_LAYOUT_HF, dtype, &err);
    drt_model_close(m); // before the other one is opened: two may not fit
    if (!status) status = reopen(folder[2], tape, want, dtype, &gap, &err);
    if (!status) printf("%s: %d layers merged, as %s; read back, logits %.1e apart\n", folder[2], layers, dtype, gap);
    else fprintf(stderr, "drt merge: %s\n", err.text);
    free(want);
    return status ? 1 : 0;
}

int drt_cli_merge(int argc, char **argv) {
    const char *folder[3] = {NULL, NULL, NULL}, *name = NULL, *dtype = NULL, *threads = NULL;
    const drt_option options[] = {{"--dtype", &name, NULL, false}, {"--threads", &threads, NULL, false}};
    int n = 3, rc = drt_options_parse(argc, argv, options, 2, folder, &n, help);
    if (rc) return rc == 1 ? 0 : 2;
    if (n < 3 || !strcmp(folder[0], folder[2]) || !strcmp(folder[1], folder[2])) {
        fputs("drt merge: MODEL, ADAPTER and OUT are wanted, three folders\nTry: drt merge --help\n", stderr);
        return 2;
    }
    if (name && !(dtype = drt_cli_dtype("merge", name))) return 2;
    if (!drt_cli_new_folder("merge", folder[2])) return 2;
    drt_device *dev;
    drt_tape *tape;
    if (!drt_cli_open("merge", "cpu", threads, &dev, &tape)) return 2;
    rc = merge(folder, dtype, dev, tape);
    drt_cli_close(dev, tape);
    return rc;
}
