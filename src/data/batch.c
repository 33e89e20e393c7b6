#include "data/batch.h"

#include <string.h>

typedef struct {
    const drt_pack_options *o;
    drt_batch *b;
    int64_t row, selected, order_rows, orders, pair;
    int sequence;
} packer;

static int patches_of(const drt_pack_options *o) { return o->patches_side * o->patches_side; }
static int image_rows(const drt_pack_options *o) { return patches_of(o) + o->front; }

static int64_t pass_rows(const drt_pass *p, const drt_pack_options *o) {
    int64_t rows = 0;
    for (int i = 0; i < p->n; i++) rows += p->id[i] == DRT_IMAGE_TOKEN ? image_rows(o) : 1;
    return rows;
}

int64_t drt_sample_rows(const drt_sample *s, const drt_pack_options *o) {
    int64_t rows = 0;
    for (int i = 0; i < s->passes; i++) rows += pass_rows(&s->pass[i], o);
    return rows;
}

// Images of the batch: the intact ones of a sample if a pass shows them, then the shuffled ones.
static bool shows(const drt_sample *s, bool shuffled) {
    for (int i = 0; i < s->passes; i++)
        if ((s->pass[i].kind == DRT_PASS_IMAGE_ORDER) == shuffled) return s->images > 0;
    return (s->texts > 0 || s->order || s->pairs > 0) && !shuffled;
}

static void *take(drt_arena *a, int64_t n, size_t size, bool *ok) {
    void *p = drt_arena_array(a, n > 0 ? n : 1, size);
    if (!p) *ok = false;
    return p;
}

static bool allocate(drt_arena *a, drt_batch *b, int64_t images, int64_t pixels, int64_t texts, int64_t words, int64_t pair_tokens,
                     bool labels, const drt_pack_options *o) {
    bool ok = true;
    int64_t n = b->rows, p = patches_of(o);
    b->offsets = take(a, b->sequences + 1, sizeof *b->offsets, &ok);
    b->prompt = take(a, b->sequences, sizeof *b->prompt, &ok);
    b->token = take(a, n, sizeof *b->token, &ok);
    b->visual = take(a, n, sizeof *b->visual, &ok);
    b->position = take(a, n, sizeof *b->position, &ok);
    b->reach = take(a, n, sizeof *b->reach, &ok);
    b->is_visual = take(a, n, sizeof *b->is_visual, &ok);
    b->select = take(a, n, sizeof *b->select, &ok);
    b->responds = take(a, n, sizeof *b->responds, &ok);
    b->seen = take(a, n, sizeof *b->seen, &ok);
    for (int k = 0; k < DRT_PASS_KINDS; k++) {
        b->words[k].at = take(a, n, sizeof *b->words[k].at, &ok);
        b->words[k].label = take(a, n, sizeof *b->words[k].label, &ok);
    }
    b->order_from = take(a, b->sequences + 1, sizeof *b->order_from, &ok);
    b->order_at = take(a, n, sizeof *b->order_at, &ok);
    b->order_class = take(a, b->sequences, sizeof *b->order_class, &ok);
    b->patches = take(a, pixels * drt_pack_picture(o), sizeof *b->patches, &ok);
    b->picture = take(a, images, sizeof *b->picture, &ok);
    b->known = take(a, images, sizeof *b->known, &ok);
    b->key = take(a, images, sizeof *b->key, &ok);
    b->pair_row = take(a, b->pairs, sizeof *b->pair_row, &ok);
    b->pair_from = take(a, b->pairs + 1, sizeof *b->pair_from, &ok);
    b->pair_token = take(a, pair_tokens, sizeof *b->pair_token, &ok);
    b->sample = take(a, b->samples, sizeof *b->sample, &ok);
    b->text = take(a, words, sizeof *b->text, &ok);
    b->text_offsets = take(a, texts + 1, sizeof *b->text_offsets, &ok);
    b->captioned = take(a, b->samples, sizeof *b->captioned, &ok);
    b->patch_label = labels ? take(a, images * p, sizeof *b->patch_label, &ok) : NULL;
    return ok;
}

static int multiple_of(const drt_pack_options *o, int scale) { return o->scales ? o->multiple[scale] : 1; }

int64_t drt_pack_picture(const drt_pack_options *o) {
    int64_t views = o->scales ? 0 : 1;
    for (int i = 0; i < o->scales; i++) views += o->multiple[i] * o->multiple[i];
    return views * patches_of(o) * o->patch_numbers;
}

// Where the patch at (y, x) of a scale stands among its rows: tile after tile.
static size_t place(int side, int multiple, int y, int x) {
    return ((size_t)(y / side * multiple + x / side) * (size_t)side + (size_t)(y % side)) * (size_t)side +
           (size_t)(x % side);
}

// Cell i of the shuffled image shows cell order[i] of the original. A cell is a square of whole patches, so shuffling
// pixels is moving rows of the patch matrix; `row` bytes each.
static void shuffle(const drt_pack_options *o, int multiple, const void *in, size_t row, const int32_t *order,
                    void *out) {
    int side = o->patches_side, g = o->grid, cell = side / g * multiple;
    for (int y = 0; y < side * multiple; y++)
        for (int x = 0; x < side * multiple; x++) {
            int32_t from = order[(y / cell) * g + x / cell];
            int sy = from / g * cell + y % cell, sx = from % g * cell + x % cell;
            memcpy((char *)out + place(side, multiple, y, x) * row,
                   (const char *)in + place(side, multiple, sy, sx) * row, row);
        }
}

// Whether picture i of an intact sample needs no pixels: its features are known, or an earlier picture of this content
// will have them.
static bool is_known(packer *k, const drt_sample *s, int i, int image) {
    drt_batch *b = k->b;
    b->key[image] = s->key ? s->key[i] : 0;
    b->known[image] = s->known ? s->known[i] : NULL;
    b->picture[image] = -1;
    for (int j = 0; b->key[image] && !b->known[image] && j < image; j++)
        if (b->key[j] == b->key[image]) {
            b->picture[image] = b->picture[j];
            return true;
        }
    return b->known[image] != NULL;
}

static void add_images(packer *k, const drt_sample *s, const int32_t *order) {
    const drt_pack_options *o = k->o;
    size_t size = (size_t)drt_pack_picture(o), row = (size_t)o->patch_numbers * sizeof(float);
    for (int i = 0; i < s->images; i++) {
        int image = k->b->images++;
        k->b->key[image] = 0, k->b->known[image] = NULL;
        if (!order && is_known(k, s, i, image)) continue;
        k->b->picture[image] = k->b->pixels;
        float *out = k->b->patches + (size_t)k->b->pixels++ * size;
        if (!s->patches) continue;
        const float *in = s->patches + (size_t)i * size;
        if (!order) memcpy(out, in, size * sizeof *out);
        for (int n = 0; order && n < (o->scales ? o->scales : 1); n++) {
            int multiple = multiple_of(o, n);
            size_t numbers = (size_t)(multiple * multiple) * (size_t)patches_of(o) * (size_t)o->patch_numbers;
            shuffle(o, multiple, in, row, order, out);
            in += numbers, out += numbers;
        }
    }
}

static void add_row(packer *k, int32_t token, int32_t visual, int32_t position) {
    drt_batch *b = k->b;
    b->token[k->row] = token;
    b->visual[k->row] = visual;
    b->is_visual[k->row] = visual >= 0;
    b->position[k->row] = position;
    b->reach[k->row] = position + 1;
    b->responds[k->row] = 0;
    k->row++;
}

// Notes that row r's final state is read; returns its index among the selected.
static int32_t pick(packer *k, int64_t r) {
    if (k->o->select_all) return (int32_t)r;
    k->b->select[k->selected] = (int32_t)r;
    return (int32_t)k->selected++;
}

// Expands one pass. `image`: the batch image that its first DRT_IMAGE_TOKEN stands for.
static void add_pass(packer *k, const drt_pass *p, int image) {
    drt_batch *b = k->b;
    bool order = p->kind == DRT_PASS_IMAGE_ORDER, any = false;
    int64_t start = k->row;
    int32_t *prompt = &b->prompt[k->sequence];
    *prompt = 0;
    b->offsets[k->sequence++] = (int32_t)start;
    if (order) b->order_from[k->orders] = (int32_t)k->order_rows;
    for (int i = 0; i < p->n; i++) {
        int32_t id = p->id[i];
        bool picture = id == DRT_IMAGE_TOKEN;
        int n = picture ? image_rows(k->o) : 1;
        for (int j = 0; j < n; j++)
            add_row(k, id >= 0 ? id : -1, picture ? image * image_rows(k->o) + j : -1, (int32_t)(k->row - start));
        if (i < p->prompt) *prompt += n;
        image += picture;
        any |= picture;
        int64_t last = k->row - 1;
        // The row in front of a trained token predicts it: labels shift by one.
        int32_t next = i + 1 < p->n ? p->label[i + 1] : DRT_IGNORE;
        bool word = !order && next != DRT_IGNORE,
             reads = order && (k->o->read_visual ? picture : id == DRT_DIRECTED_TOKEN);
        if (reads)
            for (int64_t r = k->row - n; r < k->row; r++) b->order_at[k->order_rows++] = pick(k, r);
        if (word) {
            drt_word_rows *w = &b->words[p->kind];
            w->at[w->n] = pick(k, last);
            w->label[w->n++] = next;
            b->responds[last] = 1;
        }
    }
    int32_t seen = 0;
    for (int64_t r = start; r < k->row; r++) seen += b->is_visual[r];
    for (int64_t r = start; r < k->row; r++) {
        b->seen[r] = seen;
        if (!any) b->responds[r] = 0; // no image: nothing to be guided to
        b->guided += b->responds[r];
    }
    if (order) b->order_class[k->orders++] = p->permutation;
}

// first: the batch image of the sample's first one.
static void add_pairs(packer *k, const drt_sample *s, int first) {
    drt_batch *b = k->b;
    for (int i = 0; i < s->pairs; i++, k->pair++) {
        const drt_word_pair *p = &s->pair[i];
        int32_t from = b->pair_from[k->pair];
        b->pair_row[k->pair] = (first + p->image) * image_rows(k->o) + k->o->front + p->patch;
        memcpy(b->pair_token + from, p->token, (size_t)p->tokens * sizeof *p->token);
        b->pair_from[k->pair + 1] = from + p->tokens;
    }
}

static void add_sample(packer *k, const drt_sample *s) {
    drt_batch *b = k->b;
    int intact = b->images;
    add_pairs(k, s, intact);
    if (shows(s, false)) {
        if (s->patch_label && b->patch_label) {
            void *label = b->patch_label + (size_t)b->images * (size_t)patches_of(k->o);
            if (s->order) shuffle(k->o, 1, s->patch_label, sizeof *s->patch_label, s->order, label);
            else memcpy(label, s->patch_label, (size_t)patches_of(k->o) * sizeof *s->patch_label);
        }
        if (s->texts) b->captioned[b->captions++] = b->images;
        add_images(k, s, s->order);
    }
    for (int i = 0; i < s->passes; i++) {
        const drt_pass *p = &s->pass[i];
        int image = intact;
        if (p->kind == DRT_PASS_IMAGE_ORDER) {
            image = b->images;
            add_images(k, s, k->o->bank + (size_t)p->permutation * (size_t)(k->o->grid * k->o->grid));
        }
        add_pass(k, p, image);
    }
}

// Own captions first, in the order of the samples, then everybody's hard negatives.
static void add_texts(drt_batch *b, const drt_sample *const *samples, int n) {
    int32_t at = 0;
    int texts = 0;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < n; i++)
            for (int j = round; j < (round ? samples[i]->texts : samples[i]->texts > 0); j++) {
                b->text_offsets[texts++] = at;
                memcpy(b->text + at, samples[i]->text[j], (size_t)samples[i]->text_size[j] * sizeof *b->text);
                at += samples[i]->text_size[j];
            }
    b->text_offsets[texts] = at;
    b->texts = texts;
}

drt_batch *drt_batch_pack(drt_arena *arena, const drt_sample *const *samples, int n, const drt_pack_options *options,
                          drt_error *err) {
    drt_batch *b = drt_arena_zalloc(arena, sizeof *b);
    int64_t images = 0, pixels = 0, texts = 0, words = 0, pair_tokens = 0;
    bool labels = n > 0;
    for (int i = 0; b && i < n; i++) {
        const drt_sample *s = samples[i];
        b->rows += drt_sample_rows(s, options);
        b->sequences += s->passes;
        if (shows(s, false)) images += s->images;
        if (shows(s, true)) images += s->images, pixels += s->images;
        for (int j = 0; shows(s, false) && j < s->images; j++) pixels += !(s->known && s->known[j]);
        texts += s->texts;
        for (int j = 0; j < s->texts; j++) words += s->text_size[j];
        labels &= s->patch_label != NULL;
        b->pairs += s->pairs;
        for (int j = 0; j < s->pairs; j++) pair_tokens += s->pair[j].tokens;
    }
    if (b) b->samples = n;
    if (!b || b->rows > INT32_MAX || !allocate(arena, b, images, pixels, texts, words, pair_tokens, labels, options)) {
        drt_fail(err, DRT_ENOMEM,
                 "no memory for a batch of %lld rows and %lld images; lower train.batch or train.tokens",
                 b ? (long long)b->rows : 0LL, (long long)images);
        return NULL;
    }
    packer k = {.o = options, .b = b};
    b->pair_from[0] = 0;
    for (int i = 0; i < n; i++) {
        b->sample[i] = samples[i]->index;
        add_sample(&k, samples[i]);
    }
    b->offsets[b->sequences] = (int32_t)k.row;
    for (; options->select_all && k.selected < k.row; k.selected++) b->select[k.selected] = (int32_t)k.selected;
    b->selected = k.selected;
    b->orders = k.orders;
    b->order_from[k.orders] = (int32_t)k.order_rows;
    add_texts(b, samples, n);
    return b;
}
