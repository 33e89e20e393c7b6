// SEA in a run: pairs that follow from the seed alone, labels that belong to tower and pictures, and a temperature that
// learns, survives a stop and lies beside the model.
#include "support/check.h"

#include "data/shapes.h"
#include "eval/sea_labels.h"
#include "format/safetensors.h"
#include "format/weights.h"
#include "train/loader.h"
#include "train/run.h"
#include "train/training.h"

#include <math.h>
#include <stdio.h>

static char *folder, world[300], labels[300];

static void make_labels(const char *data, const char *out) {
    drt_error err = {0};
    drt_device *dev;
    drt_model *m;
    drt_sea_labels_result r;
    char words[400], file[400];
    const drt_model_options inference = {0};
    snprintf(words, sizeof words, "%s/words.txt", world);
    snprintf(file, sizeof file, "%s/%s", world, data);
    check_ok(drt_device_open(&dev, "cpu", 1, &err));
    drt_tape *t = drt_tape_new(dev, &err);
    check_ok(drt_model_open(&m, "models/tiny-clip", &inference, &err));
    const drt_sea_labels_options o = {
        .words = words, .data = file, .images = world, .out = out, .negate = DRT_SEA_PLAIN};
    check_ok(drt_sea_labels(m, t, &o, &r, &err));
    drt_model_close(m);
    drt_tape_free(t);
    drt_device_close(dev);
}

static int begin(void **state) {
    drt_error err = {0};
    (void)state;
    folder = test_folder("sea-source");
    snprintf(world, sizeof world, "%s/world", folder);
    snprintf(labels, sizeof labels, "%s/labels.sea", folder);
    const drt_shapes_config config = {.out = world, .train = 24, .eval = 4, .seed = 5};
    check_ok(drt_shapes_generate(&config, NULL, &err));
    make_labels("pretrain.json", labels);
    return 0;
}

// A recipe of stage 1 on the world, with more keys.
static drt_status load(drt_recipe *r, int n, const char *const *more, drt_error *err) {
    static char file[400], from[400];
    const char *keys[40] = {
        "vision=models/tiny-clip", "language=models/tiny-llama", file,        from, "train.batch=8", "threads=1",
        "objectives.sea=1",        "optimizer.lr=1e-2",          "out=unused"};
    snprintf(file, sizeof file, "data.file=%s/pretrain.json", world);
    snprintf(from, sizeof from, "sea.labels=%s", labels);
    for (int i = 0; i < n; i++) keys[9 + i] = more[i];
    return drt_recipe_load(r, NULL, 9 + n, keys, err);
}

// ---- pairs ---------------------------------------------------------------------------------------------------------

enum { STEPS = 3, MOST = 600 };
typedef struct {
    int n;
    struct {
        int32_t sample, patch, first, tokens;
    } at[MOST];
    int passes;
} drawn;

static int by_place(const void *a, const void *b) { return memcmp(a, b, 4 * sizeof(int32_t)); }

// The pairs of the first steps: which patch of which sample, and the first token of its word.
static void draw(drawn out[STEPS], int n, const char *const *more) {
    drt_error err = {0};
    drt_recipe r;
    drt_model *m;
    drt_loader *l;
    int32_t *bank;
    int cells;
    int64_t steps = STEPS;
    check_ok(load(&r, n, more, &err));
    check_ok(drt_recipe_model(&r, false, &m, &bank, &cells, NULL, &err));
    check_ok(drt_loader_open(&l, &r, m, bank, 0, &steps, NULL, NULL, NULL, &err));
    const int p = drt_patches(&m->config.vision);
    for (int s = 0; s < STEPS; s++) {
        drt_step_data *d;
        int64_t pairs = 0;
        check_ok(drt_loader_next(l, &d, &err));
        out[s].n = 0;
        out[s].passes = d->n;
        for (int i = 0; i < d->n; i++) {
            const drt_batch *b = d->batch[i];
            pairs += b->pairs;
            for (int64_t k = 0; k < b->pairs; k++) {
                check(out[s].n < MOST && b->pair_row[k] >= 0 && b->pair_row[k] < b->images * p);
                // One image a sample: which sample's it is, its place tells.
                int image = b->pair_row[k] / p;
                check(b->images == b->samples);
                out[s].at[out[s].n].sample = b->sample[image];
                out[s].at[out[s].n].patch = b->pair_row[k] % p;
                out[s].at[out[s].n].first = b->pair_token[b->pair_from[k]];
                out[s].at[out[s].n++].tokens = b->pair_from[k + 1] - b->pair_from[k];
            }
        }
        check(pairs == d->totals.pairs && pairs > 10);
        qsort(out[s].at, (size_t)out[s].n, sizeof *out[s].at, by_place);
        drt_loader_release(l);
    }
    drt_loader_close(l);
    drt_model_close(m);
    free(bank);
    drt_recipe_free(&r);
}

static bool alike(const drawn *a, const drawn *b) {
    return a->n == b->n && !memcmp(a->at, b->at, (size_t)a->n * sizeof *a->at);
}

static void however_cut(void **state) {
    static const char *const ways[] = {
        "train.accumulate=1", "train.accumulate=4", "train.accumulate=8", "train.tokens=200", "seed=43",
        "sea.window=1"};
    static drawn first[STEPS], other[STEPS];
    (void)state;
    draw(first, 1, ways);
    check(!alike(&first[0], &first[1]) && first[0].passes == 1);
    for (int w = 0; w < 6; w++) {
        draw(other, 1, &ways[w]);
        for (int s = 0; s < STEPS; s++) check(alike(&first[s], &other[s]) == (w < 4));
        if (w > 0 && w < 4) check(other[0].passes > 1);
    }
    // Of a window no two patches, of a word no two patches.
    for (int s = 0; s < STEPS; s++)
        for (int i = 0; i < first[s].n; i++)
            for (int k = 0; k < i; k++) {
                int a = first[s].at[i].patch, b = first[s].at[k].patch;
                bool window =
                    first[s].at[i].sample == first[s].at[k].sample && a / 16 == b / 16 && a % 8 / 2 == b % 8 / 2;
                bool word = first[s].at[i].first == first[s].at[k].first && first[s].at[i].tokens == 1 &&
                            first[s].at[k].tokens == 1;
                check(!window && !word);
            }
}

// ---- labels that do not belong -------------------------------------------------------------------------------------

static void refused(int n, const char *const *more, drt_status code, const char *part) {
    drt_error err = {0};
    drt_recipe r;
    drt_model *m = NULL;
    drt_loader *l = NULL;
    int32_t *bank = NULL;
    int cells;
    int64_t steps = 1;
    drt_status status = load(&r, n, more, &err);
    bool loaded = !status;
    if (!status) status = drt_recipe_complete(&r, &err);
    if (!status) status = drt_recipe_model(&r, false, &m, &bank, &cells, NULL, &err);
    if (!status) status = drt_loader_open(&l, &r, m, bank, 0, &steps, NULL, NULL, NULL, &err);
    check_refused(status, code, part);
    drt_model_close(m);
    free(bank);
    if (loaded) drt_recipe_free(&r);
}

static void labels_must_fit(void **state) {
    (void)state;
    char other[400], key[450];
    snprintf(other, sizeof other, "%s/eval.sea", folder);
    make_labels("eval/captions.json", other);
    snprintf(key, sizeof key, "sea.labels=%s", other);
    refused(1, (const char *const[]){key}, DRT_EDATA, "has no labels in");
    refused(1, (const char *const[]){"sea.labels="}, DRT_ECONFIG, "make them with drt sea-labels and");
    refused(1, (const char *const[]){"sea.labels=no/such/file"}, DRT_EIO, "no/such/file");
    refused(1, (const char *const[]){"data.aspect=pad"}, DRT_ECONFIG, "prepared with aspect square");
    refused(1, (const char *const[]){"sea.negate=true"}, DRT_ECONFIG, "its scores are the cosine");
    refused(1, (const char *const[]){"groups.vision=0.1"}, DRT_ECONFIG, "set groups.vision=0");
    refused(3, (const char *const[]){"task=clip", "model=models/tiny-clip", "vision="}, DRT_ECONFIG,
            "task clip does not do");
    refused(2, (const char *const[]){"vision=tests/golden/model/clip", "data.context=2000"}, DRT_ECONFIG,
            "of another vision tower");
}

// ---- the temperature -----------------------------------------------------------------------------------------------

static double scale_in(const char *run) {
    char path[500];
    drt_error err = {0};
    drt_weights *w;
    float x;
    snprintf(path, sizeof path, "%s/%s/model/sea.safetensors", folder, run);
    check_ok(drt_weights_open(&w, path, &err));
    check_ok(drt_weight_to_f32(drt_weights_find(w, "log_scale"), &x, 1, &err));
    drt_weights_close(w);
    return x;
}

static uint64_t train(const char *name, int n, const char *const *more) {
    drt_error err = {0};
    drt_recipe r;
    drt_run_result result;
    const drt_run_hooks hooks = {0};
    char out[400];
    const char *keys[8] = {out, "train.steps=4", "optimizer.warmup=0"};
    snprintf(out, sizeof out, "out=%s/%s", folder, name);
    for (int i = 0; i < n; i++) keys[3 + i] = more[i];
    check_ok(load(&r, 3 + n, keys, &err));
    check_ok(drt_train_run(&r, &hooks, &result, &err));
    drt_recipe_free(&r);
    return result.weights;
}

static void the_temperature_lasts(void **state) {
    (void)state;
    uint64_t whole = train("whole", 0, NULL);
    double learned = scale_in("whole");
    check(learned != 0 && fabs(learned) < 0.05);
    train("halves", 1, (const char *const[]){"train.stop=2"});
    check(scale_in("halves") != learned);
    check(train("halves", 1, (const char *const[]){"checkpoint.resume=true"}) == whole);
    check(scale_in("halves") == learned);
    // Frozen it stays; another run goes on from where it lies.
    train("frozen", 1, (const char *const[]){"groups.temperature=0"});
    check(scale_in("frozen") == 0);
    char model[400];
    snprintf(model, sizeof model, "model=%s/whole/model", folder);
    train("on", 4, (const char *const[]){model, "vision=", "language=", "groups.temperature=0"});
    check(scale_in("on") == learned);
    static const struct {
        const char *name;
        int64_t n;
        float x;
        const char *told;
    } bad[] = {{"log_scale", 1, 5, "is 5, not a number up to ln 100"},
               {"log_scale", 1, -INFINITY, "is -inf, not a number"},
               {"log_scale", 2, 0, "no 'log_scale' of one number"},
               {"scale", 1, 0, "no 'log_scale' of one number"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[500];
        drt_error err = {0};
        const float x[2] = {bad[i].x};
        const drt_st_entry entry = {bad[i].name, "F32", 1, {bad[i].n}, x, NULL};
        snprintf(path, sizeof path, "%s/whole/model/sea.safetensors", folder);
        check_ok(drt_safetensors_write(path, &entry, 1, NULL, &err));
        refused(3, (const char *const[]){model, "vision=", "language="}, DRT_EFORMAT, bad[i].told);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(however_cut),
        cmocka_unit_test(labels_must_fit),
        cmocka_unit_test(the_temperature_lasts),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
