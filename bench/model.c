// Times model steps as training runs them, on made-up batches of real shapes; one JSON line per case:
//   op        vision: the tower's forward; stage1: projector learns; stage2: decoder, too; guided: stage2 with the
//   guided
//             loss; order: that and image order (every sequence twice, the second picture shuffled)
//   size, shape, dtype, threads, median_ms, best_ms, spread (p90 - p10 over the median)
//   against   median of this case's time over the first stage2 or stage1 case's, repetition by repetition (its own: 1)
//   gflops, limit, share    arithmetic of products and attention a second; the best that oneDNN reached in this run
//   with
//             any of the step's products or a square one; the quotient
//   products  time: their share of the step; gflops; of_best: oneDNN's best for the same shapes over their time
//   attention, attention_back   time, gflops
//   weights_mb, activations_mb  weights, gradients and optimizer state; the highest memory less these and less what the
//             process held before (of all cases in this run that have the same model)
// Usage: build/bench/model [-s demo|small|ragged|slice]... [-t threads] [-n repeats] [-d f32|bf16|f16] [-c: processor
// time]
//                          [-q: without oneDNN's best of every shape] [-k: features of intact pictures are known, as
//                          from the second round of an epoch on] [-p: a line for each shape of a product, m x k x n]
//                          [case]...
#include "common/products.h"
#include "common/sizes.h"
#include "common/timing.h"

#include "kernels/count.h"
#include "train/step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VISION, STAGE1, STAGE2, GUIDED, ORDER, CASES, MOST_REPEATS = 100, SIDE = 1024 };
static const char *const case_name[CASES] = {"vision", "stage1", "stage2", "guided", "order"};

typedef struct {
    int threads, repeats;
    drt_keep dtype;
    bool cpu, quick, known, shapes;
    bool wanted[CASES];
    drt_device *dev;
    drt_tape *tape;
} bench;

typedef struct {
    drt_step_data data;
    drt_recipe recipe;
    double t[MOST_REPEATS];
    bench_log log; // of all repetitions
    double loss;
} timed_case;

static drt_status recipe_of(drt_recipe *r, int which, drt_error *err) {
    const char *const key[] = {which >= STAGE2 ? "groups.language=1" : "groups.language=0", "optimizer.lr=1e-5",
                               which >= GUIDED ? "objectives.guided=0.1" : "objectives.guided=0",
                               which == ORDER ? "objectives.image_order=0.5" : "objectives.image_order=0"};
    return drt_recipe_load(r, NULL, sizeof key / sizeof *key, key, err);
}

static drt_status run_case(const bench *b, drt_model *m, timed_case *c, int which, int step, drt_error *err) {
    drt_align_options options = bench_options(m);
    drt_step_report report;
    if (which != VISION) {
        drt_status status = drt_train_step(b->tape, m, &c->recipe, &options, &c->data, step, 1000, &report, err);
        c->loss = report.loss;
        return status;
    }
    drt_tape_begin(b->tape, false);
    const drt_batch *batch = c->data.batch[0];
    drt_visual_features(b->tape, m, drt_picture_rows(m, batch->patches, batch->images), false);
    return drt_tape_failed(b->tape, err);
}

// oneDNN's best time for the shapes that make up 97 % of the products' time, over that time; *most: the best rate.
static double of_best(const bench *b, const bench_log *log, double *most) {
    double mine = 0, best = 0;
    for (int i = 0; i < log->n; i++) {
        const bench_product *p = &log->at[i];
        if (p->seconds < 0.02 * log->seconds) continue;
        double t = bench_best(p, b->threads, 3, b->cpu), flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
        *most = fmax(*most, flops / t);
        if (b->shapes)
            printf("{\"op\": \"product\", \"shape\": \"%lldx%lldx%lld\", \"turned\": \"%s%s\", \"dtype\": \"%s\", "
                   "\"calls\": %lld, "
                   "\"time\": %.3f, \"gflops\": %.1f, \"best\": %.1f}\n",
                   (long long)p->m, (long long)p->k, (long long)p->n, p->ta ? "a" : "", p->tb ? "b" : "",
                   drt_dtype_name(p->a), (long long)p->calls, p->seconds / log->seconds,
                   1e-9 * flops * (double)p->calls / p->seconds, 1e-9 * flops / t);
        best += (double)p->calls * t;
        mine += p->seconds;
    }
    return best / mine;
}

static void print_attention(const char *name, double seconds, double flops, double all) {
    if (seconds > 0)
        printf(", \"%s\": {\"time\": %.3f, \"gflops\": %.1f}", name, seconds / all, 1e-9 * flops / seconds);
}

static void print_case(const bench *b, const char *size, int which, timed_case *c, const timed_case *first,
                       double square, double weights, double activations) {
    int n = b->repeats;
    double all = 0, against[MOST_REPEATS], most = square;
    for (int i = 0; i < n; i++) all += c->t[i], against[i] = c->t[i] / first->t[i];
    const bench_log *log = &c->log;
    const drt_batch *batch = c->data.batch[0];
    double best = b->quick || !log->n ? NAN : of_best(b, log, &most);
    double flops = (log->flops + log->attention_flops + log->attention_back_flops) / n;
    double paired = bench_summary(against, n).median;
    double t[MOST_REPEATS];
    memcpy(t, c->t, sizeof t);
    bench_times s = bench_summary(t, n);
    printf("{\"op\": \"%s\", \"size\": \"%s\", \"shape\": \"%d pictures, %lld rows, %lld labels\", \"dtype\": \"%s\", "
           "\"device\": \"%s\", \"threads\": %d, \"median_ms\": %.2f, \"best_ms\": %.2f, \"spread\": %.2f, "
           "\"against\": %.3f, \"gflops\": %.1f, \"limit\": %.1f, \"share\": %.2f",
           case_name[which], size, batch->images, (long long)(which == VISION ? 0 : batch->rows),
           (long long)(which == VISION ? 0 : batch->selected), drt_keep_names[b->dtype], log->plain->name, b->threads,
           1e3 * s.median, 1e3 * s.best, s.spread, paired, 1e-9 * flops / s.median, 1e-9 * most,
           flops / s.median / most);
    printf(", \"products\": {\"time\": %.3f, \"gflops\": %.1f", log->seconds / all, 1e-9 * log->flops / log->seconds);
    if (!b->quick) printf(", \"of_best\": %.3f", best);
    printf("}");
    print_attention("attention", log->attention, log->attention_flops, all);
    print_attention("attention_back", log->attention_back, log->attention_back_flops, all);
    printf(", \"weights_mb\": %.1f, \"activations_mb\": %.1f", 1e-6 * weights, 1e-6 * activations);
    if (which != VISION) printf(", \"loss\": %.4f", c->loss);
    printf("}\n");
    fflush(stdout);
}

// The same batch, now that a step has kept its features.
static drt_status repack(drt_step_data *d, const bench_size *size, const drt_model *m, bool order, drt_error *err) {
    drt_arena_reset(d->arena);
    return bench_batch(d, size, m, order, err);
}

// The cases from..to that are wanted, which share a model, in turn.
static drt_status run_group(bench *b, const char *size_name, const bench_size *size, int from, int to, drt_error *err) {
    bool learns[DRT_GROUPS] = {[DRT_PROJECTOR] = from >= STAGE1, [DRT_LANGUAGE] = from >= STAGE2};
    learns[DRT_DIRECTED] = learns[DRT_ORDER_HEAD] = to >= ORDER && b->wanted[ORDER];
    timed_case *all = calloc(CASES, sizeof *all), *first = NULL;
    drt_model *m = NULL;
    drt_features *store = NULL;
    double square[MOST_REPEATS];
    const bench_product like = {.tb = true, .m = SIDE, .n = SIDE, .k = SIDE};
    double before = bench_held("VmRSS");
    b->tape = drt_tape_new(b->dev, err);
    drt_status status = all && b->tape ? bench_model(&m, size, learns, b->dtype, err) : DRT_ENOMEM;
    bench_memory_watch();
    for (int k = from; k <= to && !status; k++) {
        timed_case *c = &all[k];
        if (!b->wanted[k]) continue;
        if (!first) first = c;
        c->data.arena = drt_arena_new(0);
        if (b->known && k != VISION && !store && !(store = drt_features_new())) status = DRT_ENOMEM;
        if (store) drt_features_open(store, 1, INT64_MAX);
        c->data.store = store;
        if (!c->data.arena) status = drt_fail(err, DRT_ENOMEM, "no memory for a batch");
        if (!status) status = recipe_of(&c->recipe, k, err);
        if (!status) status = bench_batch(&c->data, size, m, k == ORDER, err);
    }
    for (int i = -2; i < b->repeats && !status && first; i++) { // the arenas grow in the first, settle in the second
        for (int k = from; k <= to && !status; k++) {
            timed_case *c = &all[k];
            if (!b->wanted[k]) continue;
            if (i >= 0) bench_log_begin(&c->log, b->dev, b->cpu);
            double start = bench_now(b->cpu);
            status = run_case(b, m, c, k, i + 2, err);
            if (i >= 0) c->t[i] = bench_now(b->cpu) - start, bench_log_end(&c->log, b->dev);
            else if (b->known && !status) status = repack(&c->data, size, m, k == ORDER, err);
        }
        if (i >= 0) square[i] = bench_best(&like, b->threads, 1, b->cpu);
    }
    double used = m ? bench_model_bytes(m) : 0, peak = bench_held("VmHWM") - before - used;
    for (int k = from; k <= to && !status; k++)
        if (b->wanted[k])
            print_case(b, size_name, k, &all[k], first,
                       2.0 * SIDE * SIDE * SIDE / bench_summary(square, b->repeats).median, used, peak);
    for (int k = 0; all && k < CASES; k++) drt_arena_free(all[k].data.arena), drt_recipe_free(&all[k].recipe);
    free(all);
    drt_features_free(store);
    drt_model_close(m);
    drt_tape_free(b->tape);
    return status;
}

int main(int argc, char **argv) {
    static const char *const known[] = {"demo", "small", "ragged", "slice"};
    bench b = {.repeats = 5};
    const char *sizes[8];
    int n = 0, cases = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-t") && i + 1 < argc) b.threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-n") && i + 1 < argc) b.repeats = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-s") && i + 1 < argc && n < 8) sizes[n++] = argv[++i];
        else if (!strcmp(argv[i], "-d") && i + 1 < argc) {
            b.dtype = (drt_keep)drt_place_of(argv[++i], drt_keep_names, DRT_KEEPS);
            if (b.dtype >= DRT_KEEP_STORED) return fprintf(stderr, "-d %s: f32, bf16 or f16\n", argv[i]), 2;
        } else if (!strcmp(argv[i], "-c")) b.cpu = true;
        else if (!strcmp(argv[i], "-q")) b.quick = true;
        else if (!strcmp(argv[i], "-k")) b.known = true;
        else if (!strcmp(argv[i], "-p")) b.shapes = true;
        else
            for (int k = 0; k < CASES; k++)
                if (!strcmp(argv[i], case_name[k])) b.wanted[k] = true, cases++;
    }
    if (b.repeats < 1 || b.repeats > MOST_REPEATS) b.repeats = 5;
    for (int k = 0; !cases && k < CASES; k++) b.wanted[k] = true;
    for (int i = 0; !n && i < 4; i++) sizes[i] = known[i];
    drt_error err = {0};
    drt_status status = drt_device_open(&b.dev, "cpu", b.threads, &err);
    b.threads = status ? 0 : b.dev->threads;
    for (int i = 0; i < (n ? n : 4) && !status; i++) {
        bench_size size;
        status = bench_size_read(&size, sizes[i], &err);
        if (!status && b.wanted[VISION]) status = run_group(&b, sizes[i], &size, VISION, VISION, &err);
        if (!status && b.wanted[STAGE1]) status = run_group(&b, sizes[i], &size, STAGE1, STAGE1, &err);
        if (!status && (b.wanted[STAGE2] || b.wanted[GUIDED] || b.wanted[ORDER]))
            status = run_group(&b, sizes[i], &size, STAGE2, ORDER, &err);
    }
    if (status) fprintf(stderr, "%s\n", err.text);
    drt_device_close(b.dev);
    return status != DRT_OK;
}
