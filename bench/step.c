// One training step of a small LLaVA as the kernels see it, against bench/torch_step.py, which does the same step in
// eager PyTorch. Vision tower: 128 wide, 4 layers, 32 images of 65 rows, forward only. Projector: two layers. Decoder:
// 192 wide, 4 heads, 4 layers, SwiGLU 512, 32 sequences laid end to end, loss on the labelled rows over 500 classes;
// gradients of everything behind the tower; AdamW. One JSON line: median and best time of a step, and its parts.
// Usage: build/bench/step [-t threads] [-n repeats] [-d cpu|ref] [-c: processor time] [-g: with the guided mass]
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IMAGES = 32, PATCHES = 64, VISION = 128, WIDTH = 192, HEADS = 4, FFN = 512, LAYERS = 4, CLASSES = 500 };
enum { PRODUCTS, ATTENTION, OTHERS, OPTIMIZER, PARTS };

static drt_device *dev;
static double part_time[PARTS];

// Processor time instead of the clock (-c): on a busy machine, with one thread, the steadier of the two.
static bool cpu_time;

static double now(void) {
    struct timespec t;
    clock_gettime(cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
#define PART(part, call)                                                                                              \
    do {                                                                                                              \
        double start_ = now();                                                                                        \
        call;                                                                                                         \
        part_time[part] += now() - start_;                                                                            \
    } while (0)

static drt_mat matrix(int64_t rows, int64_t cols, float scale) {
    float *p = aligned_alloc(64, (size_t)(rows * cols * 4 + 63) / 64 * 64);
    if (!p) exit(1);
    for (int64_t i = 0; i < rows * cols; i++) p[i] = scale * ((float)((i * 7919 + i / 13) % 2001 - 1000) * 1e-3f);
    return drt_mat_f32(p, rows, cols);
}

typedef struct {
    drt_mat w, g, m, v;
} weight;
static weight all[100];
static int weights;
static weight *make_weight(int64_t out, int64_t in) {
    weight *w = &all[weights++];
    w->w = matrix(out, in, out == 1 ? 1.0f : 1.0f / sqrtf((float)in));
    w->g = matrix(out, in, 0), w->m = matrix(out, in, 0), w->v = matrix(out, in, 0);
    return w;
}

static const drt_mat NONE;
static void linear(drt_mat x, const weight *w, drt_mat bias, drt_mat y) {
    PART(PRODUCTS, dev->k->matmul(dev, false, true, x, w->w, bias, false, y));
}
static void linear_back(drt_mat x, const weight *w, drt_mat dy, bool acc, drt_mat dx) {
    if (dx.data) PART(PRODUCTS, dev->k->matmul(dev, false, false, dy, w->w, NONE, acc, dx));
    PART(PRODUCTS, dev->k->matmul(dev, true, false, dy, x, NONE, true, w->g));
}

// The tower: pre-norm blocks with biases; x is [IMAGES * 65, VISION].
typedef struct {
    weight *norm[2], *b_norm[2], *qkv, *b_qkv, *o, *b_o, *up, *b_up, *down, *b_down;
} vision_layer;
static vision_layer vision[LAYERS];
static drt_mat v_in, v_x, v_n, v_qkv, v_a, v_t, v_h, v_lse, v_stat;
static int32_t v_offsets[IMAGES + 1];

static void run_vision(void) {
    drt_attention at = {IMAGES, v_offsets, v_offsets, NULL, 4, 4, VISION / 4, 1.0f / sqrtf(VISION / 4), NULL};
    PART(OTHERS, dev->k->scale(dev, 1.0f, v_in, false, v_x));
    for (int l = 0; l < LAYERS; l++) {
        vision_layer *w = &vision[l];
        drt_mat q = drt_mat_part(v_qkv, 0, v_x.rows, 0, VISION), k = drt_mat_part(v_qkv, 0, v_x.rows, VISION, VISION),
                v = drt_mat_part(v_qkv, 0, v_x.rows, 2 * VISION, VISION);
        PART(OTHERS, dev->k->layer_norm(dev, v_x, w->norm[0]->w, w->b_norm[0]->w, 1e-5f, v_n, v_stat));
        linear(v_n, w->qkv, w->b_qkv->w, v_qkv);
        PART(ATTENTION, dev->k->attention(dev, &at, q, k, v, v_a, v_lse, NONE));
        linear(v_a, w->o, w->b_o->w, v_t);
        PART(OTHERS, dev->k->add(dev, v_x, v_t, v_x));
        PART(OTHERS, dev->k->layer_norm(dev, v_x, w->norm[1]->w, w->b_norm[1]->w, 1e-5f, v_n, v_stat));
        linear(v_n, w->up, w->b_up->w, v_h);
        PART(OTHERS, dev->k->activate(dev, DRT_GELU, v_h, v_h));
        linear(v_h, w->down, w->b_down->w, v_t);
        PART(OTHERS, dev->k->add(dev, v_x, v_t, v_x));
    }
}

typedef struct {
    weight *norm[2], *qkv, *o, *gate_up, *down;
    drt_mat x, n1, s1, qkv_out, a, lse, mass, x2, n2, s2, gu, h;
} layer;
static layer layers[LAYERS];
static weight *p1, *p2, *table, *last_norm, *head;
static drt_mat patches, ph, pa, pv, x_end, n_end, s_end, picked, logits, lse, losses, rope_table;
static drt_mat dx, dn, dt, dgu, dqkv, da, dh, dpicked, dpv, dpa, dph, dmass;
static int32_t offsets[IMAGES + 1], *reach, *place, *word, *word_row, *patch_row, *label, *label_row, *patch_at;
static uint8_t *visual;
static float *weight_of;
static int rows, words, labels;
static bool guided;

static drt_mat third(drt_mat m, int i) { return drt_mat_part(m, 0, m.rows, i * WIDTH, WIDTH); }
static drt_attention decoder_attention(void) {
    return (drt_attention){IMAGES, offsets, offsets, reach, HEADS, HEADS, WIDTH / HEADS, 1.0f / sqrtf(WIDTH / HEADS),
                           guided ? visual : NULL};
}

static void forward(void) {
    drt_attention at = decoder_attention();
    PART(OTHERS, dev->k->copy_rows(dev, patches, NULL, v_x, patch_at, NULL, patches.rows, false));
    linear(patches, p1, NONE, ph);
    PART(OTHERS, dev->k->activate(dev, DRT_GELU, ph, pa));
    linear(pa, p2, NONE, pv);
    PART(OTHERS, dev->k->copy_rows(dev, layers[0].x, patch_row, pv, NULL, NULL, pv.rows, false));
    PART(OTHERS, dev->k->copy_rows(dev, layers[0].x, word_row, table->w, word, NULL, words, false));
    for (int l = 0; l < LAYERS; l++) {
        layer *w = &layers[l];
        drt_mat next = l + 1 < LAYERS ? layers[l + 1].x : x_end;
        PART(OTHERS, dev->k->rms_norm(dev, w->x, w->norm[0]->w, 1e-5f, w->n1, w->s1));
        linear(w->n1, w->qkv, NONE, w->qkv_out);
        for (int i = 0; i < 2; i++)
            PART(OTHERS, dev->k->rope(dev, third(w->qkv_out, i), place, rope_table, WIDTH / HEADS, false));
        PART(ATTENTION, dev->k->attention(dev, &at, third(w->qkv_out, 0), third(w->qkv_out, 1), third(w->qkv_out, 2),
                                          w->a, w->lse, guided ? w->mass : NONE));
        linear(w->a, w->o, NONE, w->x2);
        PART(OTHERS, dev->k->add(dev, w->x2, w->x, w->x2));
        PART(OTHERS, dev->k->rms_norm(dev, w->x2, w->norm[1]->w, 1e-5f, w->n2, w->s2));
        linear(w->n2, w->gate_up, NONE, w->gu);
        PART(OTHERS, dev->k->glu(dev, DRT_SILU, w->gu, w->h));
        linear(w->h, w->down, NONE, next);
        PART(OTHERS, dev->k->add(dev, next, w->x2, next));
    }
    PART(OTHERS, dev->k->rms_norm(dev, x_end, last_norm->w, 1e-5f, n_end, s_end));
    PART(OTHERS, dev->k->copy_rows(dev, picked, NULL, n_end, label_row, NULL, labels, false));
    linear(picked, head, NONE, logits);
    PART(OTHERS, dev->k->cross_entropy(dev, logits, label, lse, losses, NULL));
}

static void backward(void) {
    drt_attention at = decoder_attention();
    PART(OTHERS, dev->k->cross_entropy_back(dev, logits, label, lse, weight_of));
    linear_back(picked, head, logits, false, dpicked);
    PART(OTHERS, dev->k->fill(dev, dn, 0));
    PART(OTHERS, dev->k->copy_rows(dev, dn, label_row, dpicked, NULL, NULL, labels, true));
    PART(OTHERS, dev->k->rms_norm_back(dev, x_end, last_norm->w, s_end, dn, false, dx, last_norm->g));
    for (int l = LAYERS - 1; l >= 0; l--) {
        layer *w = &layers[l];
        linear_back(w->h, w->down, dx, false, dh);
        PART(OTHERS, dev->k->glu_back(dev, DRT_SILU, w->gu, dh, false, dgu));
        linear_back(w->n2, w->gate_up, dgu, false, dn);
        PART(OTHERS, dev->k->rms_norm_back(dev, w->x2, w->norm[1]->w, w->s2, dn, true, dx, w->norm[1]->g));
        linear_back(w->a, w->o, dx, false, da);
        PART(ATTENTION, dev->k->attention_back(dev, &at, third(w->qkv_out, 0), third(w->qkv_out, 1),
                                               third(w->qkv_out, 2), w->a, w->lse, guided ? w->mass : NONE, da,
                                               guided ? dmass : NONE, false, third(dqkv, 0), third(dqkv, 1),
                                               third(dqkv, 2)));
        for (int i = 0; i < 2; i++)
            PART(OTHERS, dev->k->rope(dev, third(dqkv, i), place, rope_table, WIDTH / HEADS, true));
        linear_back(w->n1, w->qkv, dqkv, false, dn);
        PART(OTHERS, dev->k->rms_norm_back(dev, w->x, w->norm[0]->w, w->s1, dn, true, dx, w->norm[0]->g));
    }
    PART(OTHERS, dev->k->copy_rows(dev, table->g, word, dx, word_row, NULL, words, true));
    PART(OTHERS, dev->k->copy_rows(dev, dpv, NULL, dx, patch_row, NULL, pv.rows, false));
    linear_back(pa, p2, dpv, false, dpa);
    PART(OTHERS, dev->k->activate_back(dev, DRT_GELU, ph, dpa, false, dph));
    linear_back(patches, p1, dph, false, NONE);
}

static int first_trained;
static void optimize(int step) {
    double total = 0, s;
    for (int i = first_trained; i < weights; i++) {
        PART(OPTIMIZER, dev->k->sum_squares(dev, all[i].g, &s));
        total += s;
    }
    drt_adamw o = {1e-3f,  0.9f, 0.999f, 1e-8f, 0.0f, 1 - powf(0.9f, (float)step), 1 - powf(0.999f, (float)step),
                   total > 1 ? 1 / (float)sqrt(total) : 1};
    for (int i = first_trained; i < weights; i++) {
        weight *w = &all[i];
        PART(OPTIMIZER, dev->k->adamw(dev, &o, w->w.rows * w->w.cols, w->w.data, w->g.data, w->m.data, w->v.data));
        PART(OPTIMIZER, dev->k->fill(dev, w->g, 0));
    }
}

static void set_up_vision(void) {
    int64_t n = IMAGES * (PATCHES + 1);
    for (int l = 0; l < LAYERS; l++) {
        vision_layer *w = &vision[l];
        for (int i = 0; i < 2; i++) w->norm[i] = make_weight(1, VISION), w->b_norm[i] = make_weight(1, VISION);
        w->qkv = make_weight(3 * VISION, VISION), w->b_qkv = make_weight(1, 3 * VISION);
        w->o = make_weight(VISION, VISION), w->b_o = make_weight(1, VISION);
        w->up = make_weight(4 * VISION, VISION), w->b_up = make_weight(1, 4 * VISION);
        w->down = make_weight(VISION, 4 * VISION), w->b_down = make_weight(1, VISION);
    }
    v_in = matrix(n, VISION, 1), v_x = matrix(n, VISION, 0), v_n = matrix(n, VISION, 0);
    v_qkv = matrix(n, 3 * VISION, 0), v_a = matrix(n, VISION, 0), v_t = matrix(n, VISION, 0);
    v_h = matrix(n, 4 * VISION, 0), v_lse = matrix(n, 4, 0), v_stat = matrix(n, 2, 0);
    for (int i = 0; i <= IMAGES; i++) v_offsets[i] = i * (PATCHES + 1);
}

// Sequence s: 8 words, 64 patches, then words to its length 80..143; the last words are labelled. As torch_step.py.
static void set_up_rows(void) {
    for (int s = 0; s < IMAGES; s++) offsets[s + 1] = offsets[s] + 80 + s * 37 % 64;
    rows = offsets[IMAGES];
    size_t bytes = (size_t)rows * 4;
    reach = malloc(bytes), place = malloc(bytes), word = malloc(bytes), word_row = malloc(bytes), label = malloc(bytes);
    label_row = malloc(bytes), patch_row = malloc(bytes), patch_at = malloc(bytes), visual = calloc((size_t)rows, 1);
    weight_of = malloc(bytes);
    for (int s = 0, p = 0; s < IMAGES; s++)
        for (int r = offsets[s]; r < offsets[s + 1]; r++) {
            int i = r - offsets[s];
            reach[r] = i + 1, place[r] = i;
            if (i >= 8 && i < 8 + PATCHES) visual[r] = 1, patch_row[p] = r, patch_at[p++] = s * (PATCHES + 1) + i - 7;
            else word_row[words] = r, word[words++] = r * 31 % CLASSES;
            if (i >= 8 + PATCHES) label_row[labels] = r, label[labels++] = r * 17 % CLASSES;
        }
    for (int i = 0; i < labels; i++) weight_of[i] = 1.0f / (float)labels;
}

static void set_up_decoder(void) {
    int64_t n = rows, np = IMAGES * PATCHES;
    first_trained = weights;
    p1 = make_weight(WIDTH, VISION), p2 = make_weight(WIDTH, WIDTH), table = make_weight(CLASSES, WIDTH);
    for (int l = 0; l < LAYERS; l++) {
        layer *w = &layers[l];
        w->norm[0] = make_weight(1, WIDTH), w->norm[1] = make_weight(1, WIDTH);
        w->qkv = make_weight(3 * WIDTH, WIDTH), w->o = make_weight(WIDTH, WIDTH);
        w->gate_up = make_weight(2 * FFN, WIDTH), w->down = make_weight(WIDTH, FFN);
        w->x = matrix(n, WIDTH, 0), w->n1 = matrix(n, WIDTH, 0), w->s1 = matrix(n, 1, 0);
        w->qkv_out = matrix(n, 3 * WIDTH, 0), w->a = matrix(n, WIDTH, 0), w->lse = matrix(n, HEADS, 0);
        w->mass = matrix(n, HEADS, 0), w->x2 = matrix(n, WIDTH, 0), w->n2 = matrix(n, WIDTH, 0);
        w->s2 = matrix(n, 1, 0), w->gu = matrix(n, 2 * FFN, 0), w->h = matrix(n, FFN, 0);
    }
    last_norm = make_weight(1, WIDTH), head = make_weight(CLASSES, WIDTH);
    patches = matrix(np, VISION, 0), ph = matrix(np, WIDTH, 0), pa = matrix(np, WIDTH, 0), pv = matrix(np, WIDTH, 0);
    x_end = matrix(n, WIDTH, 0), n_end = matrix(n, WIDTH, 0), s_end = matrix(n, 1, 0);
    picked = matrix(labels, WIDTH, 0), logits = matrix(labels, CLASSES, 0), lse = matrix(labels, 1, 0);
    losses = matrix(labels, 1, 0), dpicked = matrix(labels, WIDTH, 0), rope_table = matrix(256, WIDTH / HEADS, 1);
    dx = matrix(n, WIDTH, 0), dn = matrix(n, WIDTH, 0), dt = matrix(n, WIDTH, 0), dgu = matrix(n, 2 * FFN, 0);
    dqkv = matrix(n, 3 * WIDTH, 0), da = matrix(n, WIDTH, 0), dh = matrix(n, FFN, 0), dpv = matrix(np, WIDTH, 0);
    dpa = matrix(np, WIDTH, 0), dph = matrix(np, WIDTH, 0), dmass = matrix(n, HEADS, 1e-4f);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    int threads = 0, repeats = 21;
    const char *device = "cpu";
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-t") && i + 1 < argc) threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-n") && i + 1 < argc) repeats = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-d") && i + 1 < argc) device = argv[++i];
        else if (!strcmp(argv[i], "-g")) guided = true;
        else if (!strcmp(argv[i], "-c")) cpu_time = true;
    }
    if (repeats < 1 || repeats > 500) repeats = 21;
    drt_error err = {0};
    if (drt_device_open(&dev, device, threads, &err)) return fprintf(stderr, "%s\n", err.text), 1;
    set_up_vision();
    set_up_rows();
    set_up_decoder();
    double t[500], best_part[PARTS];
    for (int p = 0; p < PARTS; p++) best_part[p] = INFINITY;
    for (int i = -2; i < repeats; i++) {
        memset(part_time, 0, sizeof part_time);
        double start = now();
        run_vision();
        forward();
        backward();
        optimize(i + 3);
        if (i < 0) continue;
        t[i] = now() - start;
        for (int p = 0; p < PARTS; p++) best_part[p] = fmin(best_part[p], part_time[p]);
    }
    qsort(t, (size_t)repeats, sizeof *t, by_value);
    double loss;
    dev->k->sum(dev, losses, weight_of, &loss);
    printf("{\"op\": \"%s\", \"shape\": \"%d rows, %d labels\", \"dtype\": \"f32\", \"device\": \"%s\", "
           "\"threads\": %d, \"median_us\": %.0f, \"best_us\": %.0f, \"products_us\": %.0f, \"attention_us\": %.0f, "
           "\"others_us\": %.0f, \"optimizer_us\": %.0f, \"loss\": %.4f}\n",
           guided ? "step_guided" : "step", rows, labels, dev->k->name, dev->threads, t[repeats / 2] * 1e6, t[0] * 1e6,
           best_part[PRODUCTS] * 1e6, best_part[ATTENTION] * 1e6, best_part[OTHERS] * 1e6, best_part[OPTIMIZER] * 1e6,
           loss);
    if (dev->error.code) return fprintf(stderr, "%s\n", dev->error.text), 1;
    drt_device_close(dev);
    return 0;
}
