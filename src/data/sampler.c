#include "data/sampler.h"

#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

struct drt_sampler {
    int32_t n, *length, *order, *shard, window;
    int shards;
    int64_t epoch; // whose order `order` is; -1: none yet
    int batch, parts;
    bool group;
    uint64_t seed;
};

typedef struct {
    int32_t index;  // into the dataset
    int32_t place;  // where the permutation put it: equal lengths keep their order
    int64_t length;
} item;

static int longest_first(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->length != y->length) return x->length > y->length ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

// Deals the `size` items of one chunk to `parts` parts and writes them part after part.
static void deal(const item *chunk, int32_t size, int parts, int64_t *sum, int32_t *count, int32_t *out) {
    if (size % parts) {
        for (int p = 0; p < parts; p++)
            for (int32_t i = p; i < size; i += parts) *out++ = chunk[i].index;
        return;
    }
    int32_t each = size / parts;
    memset(sum, 0, (size_t)parts * sizeof *sum);
    memset(count, 0, (size_t)parts * sizeof *count);
    for (int32_t i = 0; i < size; i++) {
        int best = 0;
        for (int p = 1; p < parts; p++)
            if (sum[p] < sum[best]) best = p;
        out[best * each + count[best]++] = chunk[i].index;
        sum[best] = count[best] == each ? INT64_MAX : sum[best] + chunk[i].length;
    }
}

// LLAVA.md 4.1 step 1 over the n items; `index` and `length` of each are set.
static drt_status grouped(item *items, int32_t n, int batch, int parts, drt_permute *permute, void *user,
                          int32_t *out, drt_error *err) {
    int64_t chunk = (int64_t)batch * parts;
    int32_t *p = malloc((size_t)n * sizeof *p), *count = malloc((size_t)parts * sizeof *count);
    int64_t *sum = malloc((size_t)parts * sizeof *sum);
    item *moved = malloc((size_t)n * sizeof *moved);
    bool memory = p && count && sum && moved;
    if (memory) {
        permute(user, p, n);
        for (int32_t i = 0; i < n; i++) {
            moved[i] = items[p[i]];
            moved[i].place = i;
        }
        for (int64_t at = 0; at < n; at += chunk) {
            int32_t size = (int32_t)(n - at < chunk ? n - at : chunk);
            qsort(moved + at, (size_t)size, sizeof *moved, longest_first);
            deal(moved + at, size, parts, sum, count, out + at);
        }
    }
    free(p), free(count), free(sum), free(moved);
    return memory ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory to group %d samples", n);
}

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

// Step 3: megabatches of both kinds in random order, the last of each joined at the end. image[0..a) and text[0..b).
static drt_status interleave(const int32_t *image, int32_t a, const int32_t *text, int32_t b, int64_t mega,
                             drt_permute *permute, void *user, int32_t *order, drt_error *err) {
    int32_t images = (int32_t)((a - 1) / mega), all = images + (int32_t)((b - 1) / mega);
    int32_t *p = malloc(((size_t)all + 1) * sizeof *p), *out = order;
    if (!p) return drt_fail(err, DRT_ENOMEM, "no memory to order %d samples", a + b);
    permute(user, p, all);
    for (int32_t i = 0; i < all; i++, out += mega) {
        const int32_t *from = p[i] < images ? image + p[i] * mega : text + (p[i] - images) * mega;
        memcpy(out, from, (size_t)mega * sizeof *out);
    }
    free(p);
    int32_t rest_a = (int32_t)(a - images * mega), rest_b = (int32_t)(b - (all - images) * mega);
    memcpy(out, image + images * mega, (size_t)rest_a * sizeof *out);
    memcpy(out + rest_a, text + (all - images) * mega, (size_t)rest_b * sizeof *out);
    qsort(out, (size_t)(rest_a + rest_b), sizeof *out, ascending);
    return DRT_OK;
}

drt_status drt_sampler_group(const int32_t *length, int32_t n, int batch, int parts, drt_permute *permute, void *user,
                             int32_t *order, drt_error *err) {
    int32_t a = 0, b = 0;
    if (n < 1 || batch < 1 || parts < 1)
        return drt_fail(err, DRT_EARG, "grouping %d samples in %d x %d: all must be positive", n, batch, parts);
    for (int32_t i = 0; i < n; i++) {
        if (!length[i]) return drt_fail(err, DRT_EARG, "sample %d has length 0; lengths are signed and not 0", i);
        a += length[i] > 0;
    }
    item *items = malloc((size_t)n * sizeof *items);
    int32_t *found = malloc((size_t)n * sizeof *found);
    drt_status bad = items && found ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory to group %d samples", n);
    if (!bad && (a == 0 || a == n)) { // one kind only: by signed length, so that texts come shortest first
        for (int32_t i = 0; i < n; i++) items[i] = (item){.index = i, .length = length[i]};
        bad = grouped(items, n, batch, parts, permute, user, order, err);
    } else if (!bad) {
        int32_t image = 0;
        b = a; // texts are kept behind the images
        for (int32_t i = 0; i < n; i++)
            items[length[i] > 0 ? image++ : b++] = (item){.index = i, .length = llabs((long long)length[i])};
        bad = grouped(items, a, batch, parts, permute, user, found, err);
        if (!bad) bad = grouped(items + a, n - a, batch, parts, permute, user, found + a, err);
        if (!bad)
            bad = interleave(found, a, found + a, n - a, (int64_t)batch * parts, permute, user, order, err);
    }
    free(items), free(found);
    return bad;
}

static void permute_random(void *user, int32_t *p, int32_t n) {
    for (int32_t i = 0; i < n; i++) p[i] = i;
    drt_rng_shuffle(user, p, n);
}

drt_status drt_sampler_new(drt_sampler **out, const drt_sampler_options *o, drt_error *err) {
    int accumulation = o->accumulation ? o->accumulation : 1, ranks = o->ranks ? o->ranks : 1;
    *out = NULL;
    if (o->n < 1 || o->batch < 1 || accumulation < 1 || ranks < 1)
        return drt_fail(err, DRT_EARG, "%d samples in batches of %d x %d x %d: all must be positive", o->n, o->batch,
                        accumulation, ranks);
    if ((int64_t)accumulation * ranks > INT32_MAX / o->batch)
        return drt_fail(err, DRT_EARG, "batches of %d x %d x %d are too large", o->batch, accumulation, ranks);
    if (o->group && !o->length) return drt_fail(err, DRT_EARG, "grouping by length needs the lengths");
    drt_sampler *s = calloc(1, sizeof *s);
    if (!s) return drt_fail(err, DRT_ENOMEM, "no memory for a sampler");
    *s = (drt_sampler){.n = o->n, .epoch = -1, .batch = o->batch, .parts = accumulation * ranks, .group = o->group,
                       .seed = o->seed};
    s->order = malloc((size_t)o->n * sizeof *s->order);
    s->shard = malloc(((size_t)o->shards + 1) * sizeof *s->shard);
    if (o->group) s->length = malloc((size_t)o->n * sizeof *s->length);
    if (!s->order || !s->shard || (o->group && !s->length)) {
        drt_sampler_free(s);
        return drt_fail(err, DRT_ENOMEM, "no memory for the order of %d samples", o->n);
    }
    if (o->group) memcpy(s->length, o->length, (size_t)o->n * sizeof *s->length);
    // Shards that lie behind the last sample (a limit) are dropped.
    for (int i = 0; i < o->shards && o->shard[i] < o->n; i++) s->shard[s->shards++] = o->shard[i];
    s->shard[s->shards] = o->n;
    if (!o->group && s->shards) s->window = o->window < o->n ? (int32_t)o->window : 0;
    *out = s;
    return DRT_OK;
}

void drt_sampler_free(drt_sampler *s) {
    if (!s) return;
    free(s->length);
    free(s->order);
    free(s->shard);
    free(s);
}

int drt_sampler_batch(const drt_sampler *s) { return s->batch * s->parts; }

int64_t drt_sampler_steps_per_epoch(const drt_sampler *s) {
    int64_t m = drt_sampler_batch(s);
    return (s->n + m - 1) / m;
}

// Shards in random order, one behind the other; then each window of that is shuffled. The first is shorter, so that the
// borders of windows lie elsewhere in every epoch.
static drt_status order_shards(drt_sampler *s, drt_rng *r, drt_error *err) {
    int32_t *p = malloc((size_t)s->shards * sizeof *p), n = 0;
    if (!p) return drt_fail(err, DRT_ENOMEM, "no memory for the order of %d shards", s->shards);
    permute_random(r, p, s->shards);
    for (int i = 0; i < s->shards; i++)
        for (int32_t k = s->shard[p[i]]; k < s->shard[p[i] + 1]; k++) s->order[n++] = k;
    int32_t from = 0, size = 1 + (int32_t)drt_rng_below(r, (uint64_t)s->window);
    for (; from < n; from += size, size = s->window) {
        if (size > n - from) size = n - from;
        drt_rng_shuffle(r, s->order + from, size);
    }
    free(p);
    return DRT_OK;
}

static drt_status order_epoch(drt_sampler *s, int64_t epoch, drt_error *err) {
    static const char consumer[] = "sampler";
    drt_rng r;
    if (s->epoch == epoch) return DRT_OK;
    s->epoch = -1;
    drt_rng_init(&r, s->seed, drt_hash(consumer, sizeof consumer - 1) + (uint64_t)epoch);
    if (s->group) {
        drt_status bad = drt_sampler_group(s->length, s->n, s->batch, s->parts, permute_random, &r, s->order, err);
        if (bad) return bad;
    } else if (s->window) {
        drt_status bad = order_shards(s, &r, err);
        if (bad) return bad;
    } else {
        permute_random(&r, s->order, s->n);
    }
    s->epoch = epoch;
    return DRT_OK;
}

drt_status drt_sampler_at(drt_sampler *s, int64_t step, int32_t *index, drt_error *err) {
    int64_t steps = drt_sampler_steps_per_epoch(s), m = drt_sampler_batch(s);
    if (step < 0) return drt_fail(err, DRT_EARG, "step %lld is negative", (long long)step);
    drt_status bad = order_epoch(s, step / steps, err);
    if (bad) return bad;
    int64_t from = step % steps * m;
    for (int64_t i = 0; i < m; i++) index[i] = s->order[(from + i) % s->n];
    return DRT_OK;
}
