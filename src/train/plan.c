#include "train/plan.h"

#include "base/memory.h"
#include "base/rng.h"
#include "train/validation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALL_SAMPLES = 16384, LARGEST = 64, SPREAD = 32 };

// What no plan sees: the log, the history of runs, SQLite, the heap of the thread that reads ahead, code of decoders
// that was not touched before. With the heaps of threads that multiply (kernels/cpu/matmul.c) 5 to 8 MB in runs of 250
// to 450 MB; 0 to 3 MB in small ones in which oneDNN packs nothing.
enum { OPENED_LATER = 3 << 20 };

// What a scan of steps finds.
typedef struct {
    drt_training t;
    drt_step_data data[DRT_LOADER_STEPS];
    drt_features *store; // that nothing is put into: every picture is new
    int64_t end;         // steps that will be done
} scan;

static void scan_close(scan *s) {
    drt_training_close(&s->t);
    drt_features_free(s->store);
    for (int i = 0; i < DRT_LOADER_STEPS; i++) drt_arena_free(s->data[i].arena);
}

static drt_status scan_open(scan *s, const drt_recipe *r, drt_progress *progress, drt_error *err) {
    *s = (scan){0};
    drt_status status = drt_training_open(&s->t, r, true, NULL, err);
    for (int i = 0; i < DRT_LOADER_STEPS && !status; i++)
        if (!(s->data[i].arena = drt_arena_new_dry())) status = drt_fail(err, DRT_ENOMEM, "no memory for a plan");
    if (!status && r->data.features && drt_features_fit(s->t.m) && !(s->t.store = s->store = drt_features_new()))
        status = drt_fail(err, DRT_ENOMEM, "no memory for a plan");
    if (!status) status = drt_training_data(&s->t, 0, progress, NULL, err);
    s->end = r->train.stop && r->train.stop < s->t.steps ? r->train.stop : s->t.steps;
    return status;
}

// One step; the slot that holds its data is the one that will.
static drt_status look_at(scan *s, int64_t step, drt_plan *p, drt_error *err) {
    drt_tape_bytes before = drt_tape_need(s->t.tape);
    drt_step_data *d = &s->data[step % DRT_LOADER_STEPS];
    drt_status status = drt_training_shape(&s->t, step, d, err);
    if (status) return status;
    p->need = drt_tape_need(s->t.tape);
    if (p->need.values + p->need.grads <= before.values + before.grads) return DRT_OK;
    p->step = step + 1;
    p->rows = d->rows;
    p->part_rows = p->images = 0;
    for (int i = 0; i < d->n; i++) {
        const drt_batch *b = d->batch[i];
        if (b->rows < p->part_rows || (b->rows == p->part_rows && b->images <= p->images)) continue;
        p->part_rows = b->rows;
        p->images = b->images;
    }
    return DRT_OK;
}

// Validations run between steps, on the same tape.
static drt_status look_at_validation(scan *s, drt_plan *p, drt_error *err) {
    drt_validation *v;
    drt_step_data data = {.arena = drt_arena_new_dry()};
    if (!*s->t.r->data.validation) {
        drt_arena_free(data.arena);
        return DRT_OK;
    }
    drt_status status =
        data.arena ? drt_validation_open(&v, &s->t, NULL, err) : drt_fail(err, DRT_ENOMEM, "no memory for a plan");
    if (!status) {
        status = drt_validation_shape(v, &data, err);
        p->need = drt_tape_need(s->t.tape);
        p->data += DRT_LOADER_STEPS * (int64_t)drt_arena_peak(data.arena);
        drt_validation_close(v);
    }
    drt_arena_free(data.arena);
    return status;
}

typedef struct {
    int64_t step, words;
} candidate;

static int by_words(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->words != y->words) return x->words < y->words ? 1 : -1;
    return (x->step > y->step) - (x->step < y->step);
}

// Where there are too many: some that lie evenly, for the mean arithmetic, and the largest.
static drt_status look_at_some(scan *s, drt_plan *p, drt_error *err) {
    candidate *c = malloc((size_t)s->end * sizeof *c);
    drt_status status = c ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for a list of %lld steps", (long long)s->end);
    for (int64_t i = 0; i < SPREAD && !status; i++) status = look_at(s, i * s->end / SPREAD, p, err);
    p->flops = s->t.count.flops / SPREAD;
    for (int64_t i = 0; i < s->end && !status; i++) {
        c[i].step = i;
        status = drt_loader_words(s->t.loader, i, &c[i].words, err);
    }
    if (!status) qsort(c, (size_t)s->end, sizeof *c, by_words);
    for (int i = 0; i < LARGEST && !status; i++) status = look_at(s, c[i].step, p, err);
    free(c);
    return status;
}

static drt_status look_at_all(scan *s, drt_plan *p, drt_error *err) {
    drt_status status = DRT_OK;
    int64_t batch = s->t.r->train.batch;
    p->whole = s->end <= ALL_SAMPLES / batch || s->end <= SPREAD + LARGEST;
    if (!p->whole) return look_at_some(s, p, err);
    for (int64_t i = 0; i < s->end && !status; i++) status = look_at(s, i, p, err);
    p->flops = s->end ? s->t.count.flops / (double)s->end : 0;
    return status;
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// What the features of the run's pictures take: of so many different files as its samples name, or all that may be
// kept.
static drt_status count_features(const scan *s, drt_plan *p, drt_error *err) {
    const drt_recipe *r = s->t.r;
    const drt_dataset *ds = drt_loader_dataset(s->t.loader);
    int64_t most = r->data.features * 1000000, samples = drt_dataset_size(ds), steps = s->end * r->train.batch, n = 0;
    if (!s->store) return DRT_OK;
    if (r->data.limit && r->data.limit < samples) samples = r->data.limit;
    int64_t one = drt_features_bytes_each(s->t.m), room = most / one + 1;
    if (steps < samples) room = steps < room ? steps : room;
    uint64_t *name = malloc((size_t)(room + 1) * sizeof *name);
    drt_status status = name ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for the names of pictures");
    for (int32_t i = 0; i < samples && n < room && !status; i++) {
        drt_record *rec;
        if ((status = drt_dataset_at(ds, i, &rec, err))) break;
        for (int k = 0; k < rec->n_images && n < room; k++)
            name[n++] = drt_hash(rec->images[k], strlen(rec->images[k]));
        drt_record_free(rec);
    }
    if (!status) qsort(name, (size_t)n, sizeof *name, by_number);
    for (int64_t i = 0; i < n && !status; i++)
        if (!i || name[i] != name[i - 1]) p->features += one;
    if (p->features > most) p->features = most;
    free(name);
    return status;
}

// Everything that the tape does not hold; `program` aside.
static void count_rest(const scan *s, drt_plan *p) {
    const drt_params *params = s->t.m->params;
    const drt_param_bytes held = drt_params_bytes(params);
    p->weights = held.weights;
    p->gradients = held.gradients;
    p->optimizer = held.optimizer;
    for (int i = 0; i < params->slices; i++) {
        const drt_slice *slice = &params->slice[i];
        int64_t bytes = 4;
        for (int d = 0; d < slice->ndim; d++) bytes *= slice->shape[d];
        if (!slice->param->mapped && bytes > p->reading) p->reading = bytes;
    }
    p->activations = (int64_t)(p->need.values + p->need.grads);
    p->kernels = (int64_t)s->t.dev->scratch;
    for (int i = 0; i < DRT_LOADER_STEPS; i++) p->data += (int64_t)drt_arena_peak(s->data[i].arena);
    p->steps = s->t.steps;
    p->epoch = drt_loader_epoch(s->t.loader);
    p->threads = s->t.dev->threads;
}

static void add_up(drt_plan *p) {
    int64_t step = p->activations + p->kernels + p->data;
    p->peak =
        p->program + p->weights + p->gradients + p->optimizer + p->features + (step > p->reading ? step : p->reading);
}

// oneDNN makes its code at the first product: it belongs to the program.
static void warm_up(void) {
    enum { SIDE = 48 };
    drt_device *dev;
    float x[3][SIDE * SIDE] = {{0}};
    if (drt_device_open(&dev, "cpu", 1, NULL)) return;
    dev->k->matmul(dev, false, true, drt_mat_f32(x[0], SIDE, SIDE), drt_mat_f32(x[1], SIDE, SIDE), (drt_mat){0}, false,
                   drt_mat_f32(x[2], SIDE, SIDE));
    drt_device_close(dev);
}

drt_status drt_plan_make(drt_plan *out, const drt_recipe *r, int64_t kept, drt_progress *progress, drt_error *err) {
    scan s;
    *out = (drt_plan){0};
    warm_up();
    drt_status status = scan_open(&s, r, progress, err);
    if (!status) status = look_at_all(&s, out, err);
    if (!status) status = look_at_validation(&s, out, err);
    if (!status) status = count_features(&s, out, err);
    if (!status) count_rest(&s, out);
    out->features = out->features > kept ? out->features - kept : 0;
    out->program = drt_memory_resident() + OPENED_LATER;
    add_up(out);
    scan_close(&s);
    return status;
}

int64_t drt_plan_memory(const drt_recipe *r) {
    int64_t bytes;
    return *r->memory && drt_memory_parse(r->memory, &bytes) ? bytes : drt_memory_given();
}

// ---- what fits -----------------------------------------------------------------------------------------------------

// The next smaller parts of the same batch. A contrastive loss is over its part: other parts are another loss.
static bool smaller_parts(drt_recipe *r, int64_t part_rows) {
    if (r->objectives.contrastive > 0 || r->objectives.sea > 0) return false;
    if (r->train.tokens) {
        int64_t now = r->train.tokens < part_rows ? r->train.tokens : part_rows;
        r->train.tokens = now / 2;
        return r->train.tokens >= 64;
    }
    for (int64_t n = r->train.accumulate + 1; n <= r->train.batch; n++)
        if (r->train.batch % n == 0 && (n >= 2 * r->train.accumulate || n == r->train.batch)) {
            r->train.accumulate = n;
            return true;
        }
    return false;
}

static void name_keys(const drt_recipe *r, const drt_recipe *c, char keys[200]) {
    char parts[60] = "";
    if (c->train.accumulate != r->train.accumulate)
        snprintf(parts, sizeof parts, "train.accumulate=%lld", (long long)c->train.accumulate);
    if (c->train.tokens != r->train.tokens)
        snprintf(parts, sizeof parts, "train.tokens=%lld", (long long)c->train.tokens);
    snprintf(keys, 200, "%s%s%s", parts, c->train.recompute != r->train.recompute ? " train.recompute=true" : "",
             c->dtype != r->dtype ? " dtype=bf16" : "");
    if (*keys == ' ') memmove(keys, keys + 1, strlen(keys));
}

// Goes down in the size of parts until one fits.
static drt_status try_parts(drt_recipe *c, int64_t given, drt_plan *p, drt_plan *least, bool *fits, drt_error *err) {
    drt_status status;
    do {
        if ((status = drt_plan_make(p, c, 0, NULL, err))) return status;
        *fits = p->peak <= given;
        if (!least->peak || p->peak < least->peak) *least = *p;
    } while (!*fits && smaller_parts(c, p->part_rows));
    return DRT_OK;
}

drt_status drt_plan_nearest(drt_plan *out, char keys[200], const drt_recipe *r, int64_t given, drt_error *err) {
    drt_plan least = {0};
    *keys = 0;
    for (int half = 0; half < 2; half++)
        for (int again = 0; again < 2; again++) {
            drt_recipe c = *r; // its strings stay r's
            bool fits = false;
            if ((half && r->dtype == DRT_KEEP_BF16) || (again && r->train.recompute)) continue;
            if (half) c.dtype = DRT_KEEP_BF16;
            if (again) c.train.recompute = true;
            drt_status status = try_parts(&c, given, out, &least, &fits, err);
            if (status) return status;
            if (!fits) continue;
            name_keys(r, &c, keys);
            return DRT_OK;
        }
    *out = least;
    return DRT_OK;
}

void drt_plan_say(const drt_plan *p, drt_text *out) {
    const struct {
        const char *name;
        int64_t bytes;
    } rows[] = {{"weights", p->weights},     {"gradients", p->gradients},
                {"optimizer", p->optimizer}, {"activations", p->activations},
                {"kernels", p->kernels},     {"features", p->features},
                {"data", p->data},           {"program", p->program}};
    char text[24];
    drt_text_printf(out, "peak %s: ", drt_memory_text(text, p->peak));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        drt_text_printf(out, "%s%s %s", i ? ", " : "", rows[i].name, drt_memory_text(text, rows[i].bytes));
    drt_text_printf(out, "; largest step %lld, %lld rows", (long long)p->step, (long long)p->rows);
}

drt_status drt_plan_refuse(const drt_plan *p, const drt_recipe *r, int64_t given, drt_error *err) {
    drt_plan near;
    drt_text what = {0};
    char keys[200], a[24], b[24];
    drt_status status = drt_plan_nearest(&near, keys, r, given, NULL);
    drt_plan_say(p, &what);
    drt_memory_text(a, given);
    drt_memory_text(b, near.peak);
    if (status || what.failed) drt_fail(err, DRT_ENOMEM, "does not fit in %s: %s", a, what.failed ? "" : what.bytes);
    else if (*keys)
        drt_fail(err, DRT_ENOMEM, "does not fit in %s: %s. The nearest that fits takes %s: %s", a, what.bytes, b, keys);
    else
        drt_fail(err, DRT_ENOMEM,
                 "does not fit in %s: %s. No size of parts, train.recompute or dtype=bf16 fits; the least takes %s. "
                 "Train fewer weights (groups.*, lora.targets), or a smaller model",
                 a, what.bytes, b);
    drt_text_free(&what);
    return DRT_ENOMEM;
}

drt_status drt_plan_apply(const drt_plan *p, drt_training *t, int64_t given, drt_error *err) {
    // Answers shown with a validation are of no planned length.
    size_t more = (p->whole && !*t->r->data.validation) || given <= p->peak ? 0 : (size_t)(given - p->peak);
    return drt_tape_reserve(t->tape, p->need, more, err);
}

drt_status drt_plan_time(const drt_plan *p, const drt_recipe *r, double *seconds, drt_error *err) {
    drt_training t;
    drt_step_report report;
    *seconds = 0;
    drt_status status = drt_training_open(&t, r, false, NULL, err);
    if (!status) status = drt_plan_apply(p, &t, 0, err);
    if (!status) status = drt_training_data(&t, 0, NULL, NULL, err);
    // The first step touches memory for the first time; the second is like all others.
    for (int64_t i = 0; i < 2 && i < t.steps && !status; i++) {
        double before = t.count.flops, start = drt_clock();
        status = drt_training_measure(&t, i, &report, err);
        if (!status) status = drt_training_update(&t, i, &report, err);
        double flops = t.count.flops - before;
        *seconds = (drt_clock() - start) * (flops > 0 ? p->flops / flops : 1);
    }
    drt_training_close(&t);
    return status;
}
