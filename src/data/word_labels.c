#include "data/word_labels.h"

#include "base/half.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, MOST_SIDE = 1024 };

typedef struct {
    char magic[8];
    uint32_t version, side, most, wide; // wide: bytes of a word's number
    uint32_t negated, padded;
    uint64_t words, pictures, bytes; // bytes: of all words
    float tower[DRT_TOWER_MARKS];
    uint64_t index; // hash of words and keys
    uint64_t self;  // hash of everything above
} header;
_Static_assert(sizeof(header) == 104 && sizeof(header) % 8 == 0, "the header has no gaps");
static const char magic[8] = "drt-sea";
static const char remedy[] = "make it again with drt sea-labels";

struct drt_word_labels {
    drt_map map; // bytes NULL: memory of somebody else
    char *name;
    drt_word_labels_about about;
    const unsigned char *end, *text, *keys, *records; // end, keys: u64s, at multiples of 8 from the start
    size_t record;                                    // bytes of one
    int wide;
};

static uint64_t number(const unsigned char *at, int64_t i) {
    uint64_t x;
    memcpy(&x, at + i * 8, sizeof x);
    return x;
}

static uint64_t self_of(const header *h) { return drt_hash(h, offsetof(header, self)); }
static size_t record_size(int64_t side, int64_t most, int wide) {
    return (size_t)(side * side * most * (wide + 2)) + 8;
}
static int width_of(int64_t words) { return words > 65536 ? 4 : 2; }

uint64_t drt_picture_key(const void *bytes, size_t size) { return drt_hash(bytes, size); }

drt_status drt_picture_key_in(const drt_record *r, int k, uint64_t *key, drt_error *err) {
    const void *bytes;
    void *owned;
    size_t size;
    drt_status status = drt_record_picture(r, k, &bytes, &size, &owned, err);
    if (!status) *key = drt_picture_key(bytes, size);
    free(owned);
    return status;
}

drt_status drt_picture_key_of(const char *path, uint64_t *key, drt_error *err) {
    drt_map map;
    drt_status status = drt_map_open(&map, path, err);
    if (status) return status;
    *key = drt_picture_key(map.bytes, map.size);
    drt_map_close(&map);
    return DRT_OK;
}

// ---- reading -------------------------------------------------------------------------------------------------------

static drt_status damaged(const char *name, const char *what, drt_error *err) {
    return drt_fail(err, DRT_EFORMAT, "%s: %s; %s", name, what, remedy);
}

static drt_status check_header(const header *h, size_t size, const char *name, drt_error *err) {
    if (size < sizeof *h || memcmp(h->magic, magic, sizeof magic))
        return damaged(name, "not a file of drt sea-labels", err);
    if (h->version != VERSION)
        return drt_fail(err, DRT_EFORMAT, "%s: version %u of the format, this drt reads %d; %s", name, h->version,
                        VERSION, remedy);
    if (h->self != self_of(h)) return damaged(name, "the header is damaged", err);
    bool good = h->side >= 1 && h->side <= MOST_SIDE && h->most >= 1 && h->most <= DRT_LABELS_MOST && h->words >= 1 &&
                h->words <= INT32_MAX && h->wide == (uint32_t)width_of((int64_t)h->words) && h->pictures >= 1 &&
                h->pictures <= INT32_MAX && h->bytes >= h->words && h->bytes <= h->words * DRT_WORD_SIZE;
    for (int i = 0; i < DRT_TOWER_MARKS; i++) good &= isfinite(h->tower[i]);
    if (!good) return damaged(name, "sizes in the header make no sense", err);
    // No overflow: at most 2^31 * 263 + 2^31 * 8 + 2^31 * (2^26 * 6 + 8) bytes.
    uint64_t want = sizeof *h + h->words * 8 + (h->bytes + 7) / 8 * 8 + h->pictures * 8 +
                    h->pictures * record_size(h->side, h->most, (int)h->wide);
    if (want == size) return DRT_OK;
    return drt_fail(err, DRT_EFORMAT, "%s: %zu bytes, %llu are due: the file is %s; %s", name, size,
                    (unsigned long long)want, size < want ? "cut off" : "too long", remedy);
}

static drt_status check_index(const drt_word_labels *l, const header *h, drt_error *err) {
    uint64_t hash = 0, from = 0;
    for (int64_t i = 0; i < l->about.words; i++) {
        uint64_t to = number(l->end, i);
        if (to <= from || to > h->bytes) return damaged(l->name, "its words are damaged", err);
        hash = drt_word_chain(hash, (const char *)l->text + from, to - from);
        from = to;
    }
    const uint64_t both[] = {hash, drt_hash(l->keys, h->pictures * 8)};
    if (from != h->bytes || drt_hash(both, sizeof both) != h->index)
        return damaged(l->name, "its words or keys are damaged", err);
    for (int64_t i = 1; i < l->about.pictures; i++)
        if (number(l->keys, i) <= number(l->keys, i - 1)) return damaged(l->name, "its keys are out of order", err);
    return DRT_OK;
}

drt_status drt_word_labels_open_memory(drt_word_labels **out, const void *bytes, size_t size, const char *name,
                                       drt_error *err) {
    header h = {0};
    *out = NULL;
    if (size >= sizeof h) memcpy(&h, bytes, sizeof h);
    drt_status status = check_header(&h, size, name, err);
    if (status) return status;
    drt_word_labels *l = calloc(1, sizeof *l);
    if (l) l->name = strdup(name);
    if (!l || !l->name) {
        free(l);
        return drt_fail(err, DRT_ENOMEM, "%s: no memory", name);
    }
    l->about = (drt_word_labels_about){.side = (int)h.side,
                                       .most = (int)h.most,
                                       .negated = h.negated,
                                       .padded = h.padded,
                                       .words = (int64_t)h.words,
                                       .pictures = (int64_t)h.pictures};
    memcpy(l->about.tower, h.tower, sizeof h.tower);
    l->wide = (int)h.wide;
    l->end = (const unsigned char *)bytes + sizeof h;
    l->text = l->end + h.words * 8;
    l->keys = l->text + (h.bytes + 7) / 8 * 8;
    l->records = l->keys + h.pictures * 8;
    l->record = record_size(h.side, h.most, l->wide);
    status = check_index(l, &h, err);
    if (status) drt_word_labels_close(l);
    else *out = l;
    return status;
}

drt_status drt_word_labels_open(drt_word_labels **out, const char *path, drt_error *err) {
    drt_map map;
    *out = NULL;
    drt_status status = drt_map_open(&map, path, err);
    if (status) return status;
    status = drt_word_labels_open_memory(out, map.bytes, map.size, path, err);
    if (status) drt_map_close(&map);
    else (*out)->map = map;
    return status;
}

void drt_word_labels_close(drt_word_labels *l) {
    if (!l) return;
    if (l->map.bytes) drt_map_close(&l->map);
    free(l->name);
    free(l);
}

const drt_word_labels_about *drt_word_labels_tell(const drt_word_labels *l) { return &l->about; }
const char *drt_word_labels_path(const drt_word_labels *l) { return l->name; }

const char *drt_word_labels_word(const drt_word_labels *l, int64_t word, size_t *size) {
    uint64_t from = word ? number(l->end, word - 1) : 0;
    *size = number(l->end, word) - from;
    return (const char *)l->text + from;
}

int64_t drt_word_labels_find(const drt_word_labels *l, uint64_t key) {
    int64_t low = 0, high = l->about.pictures;
    while (low < high) {
        int64_t mid = low + (high - low) / 2;
        if (number(l->keys, mid) < key) low = mid + 1;
        else high = mid;
    }
    return low < l->about.pictures && number(l->keys, low) == key ? low : -1;
}

static drt_status find(const drt_word_labels *l, uint64_t key, const char *path, int64_t *picture, drt_error *err) {
    *picture = drt_word_labels_find(l, key);
    if (*picture >= 0) return DRT_OK;
    return drt_fail(err, DRT_EDATA,
                    "%s has no labels in %s: those are of other pictures; make them for this data with drt sea-labels",
                    path, l->name);
}

drt_status drt_word_labels_find_file(const drt_word_labels *l, const char *path, int64_t *picture, drt_error *err) {
    uint64_t key;
    drt_status status = drt_picture_key_of(path, &key, err);
    return status ? status : find(l, key, path, picture, err);
}

drt_status drt_word_labels_find_in(const drt_word_labels *l, const drt_record *r, int k, int64_t *picture,
                                   drt_error *err) {
    uint64_t key;
    drt_status status = drt_picture_key_in(r, k, &key, err);
    return status ? status : find(l, key, r->images[k], picture, err);
}

static uint64_t record_hash(uint64_t key, const unsigned char *record, size_t size) {
    const uint64_t both[] = {key, drt_hash(record, size)};
    return drt_hash(both, sizeof both);
}

drt_status drt_word_labels_read(const drt_word_labels *l, int64_t picture, int32_t *word, float *score,
                                drt_error *err) {
    const drt_word_labels_about *a = &l->about;
    const unsigned char *r = l->records + (size_t)picture * l->record;
    const int64_t n = (int64_t)a->side * a->side * a->most;
    uint64_t hash;
    memcpy(&hash, r + l->record - 8, sizeof hash);
    bool good = hash == record_hash(number(l->keys, picture), r, l->record - 8);
    for (int64_t i = 0; good && i < n; i++) {
        uint16_t narrow, half;
        uint32_t wide;
        if (l->wide == 2) memcpy(&narrow, r + i * 2, 2), wide = narrow;
        else memcpy(&wide, r + i * 4, 4);
        memcpy(&half, r + n * l->wide + i * 2, 2);
        score[i] = drt_f16_to_f32(half);
        good = wide < (uint64_t)a->words && score[i] >= 0 && isfinite(score[i]); // callers index with it
        word[i] = (int32_t)wide;
    }
    if (good) return DRT_OK;
    return drt_fail(err, DRT_EFORMAT, "%s: the labels of picture %lld are damaged; %s", l->name, (long long)picture,
                    remedy);
}

// ---- writing -------------------------------------------------------------------------------------------------------

static drt_status put_words(drt_word_labels_writer *w, drt_word_list *words, drt_error *err) {
    const char *word;
    size_t size;
    int64_t n = 0, bytes = 0;
    const uint64_t zero = 0;
    drt_status status = DRT_OK;
    for (int round = 0; !status && round < 2; round++) {
        uint64_t end = 0;
        drt_word_list_rewind(words);
        while (!(status = drt_word_list_next(words, &word, &size, err)) && word) {
            end += size;
            if (round) drt_writer_put(&w->file, word, size), bytes += (int64_t)size;
            else drt_writer_put(&w->file, &end, sizeof end), n++;
        }
    }
    if (!status && (n != words->words || bytes != words->bytes))
        status = drt_fail(err, DRT_EIO, "%s was changed while it was read; begin again", words->path);
    drt_writer_put(&w->file, &zero, (size_t)((bytes + 7) / 8 * 8 - bytes));
    return status;
}

drt_status drt_word_labels_create(drt_word_labels_writer *w, const char *path, const drt_word_labels_about *about,
                                  drt_word_list *words, const uint64_t *keys, drt_error *err) {
    const uint64_t both[] = {words->hash, drt_hash(keys, (uint64_t)about->pictures * 8)};
    header h = {.version = VERSION,
                .side = (uint32_t)about->side,
                .most = (uint32_t)about->most,
                .wide = (uint32_t)width_of(words->words),
                .negated = about->negated,
                .padded = about->padded,
                .words = (uint64_t)words->words,
                .pictures = (uint64_t)about->pictures,
                .bytes = (uint64_t)words->bytes,
                .index = drt_hash(both, sizeof both)};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.tower, about->tower, sizeof h.tower);
    h.self = self_of(&h);
    *w = (drt_word_labels_writer){.about = *about, .keys = keys};
    w->about.words = words->words;
    w->record = calloc(1, record_size(about->side, about->most, (int)h.wide));
    if (!w->record) return drt_fail(err, DRT_ENOMEM, "%s: no memory for the labels of a picture", path);
    drt_status status = drt_writer_open(&w->file, path, err);
    if (status) free(w->record);
    if (status) return status;
    drt_writer_put(&w->file, &h, sizeof h);
    status = put_words(w, words, err);
    drt_writer_put(&w->file, keys, (size_t)about->pictures * 8);
    if (status) drt_word_labels_abandon(w);
    return status;
}

void drt_word_labels_put(drt_word_labels_writer *w, const int32_t *word, const float *score) {
    const int64_t n = (int64_t)w->about.side * w->about.side * w->about.most;
    const int wide = width_of(w->about.words);
    const size_t size = record_size(w->about.side, w->about.most, wide);
    unsigned char *r = w->record;
    for (int64_t i = 0; i < n; i++) memcpy(r + i * wide, &word[i], (size_t)wide); // little-endian: the low bytes
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = drt_f32_to_f16(score[i]);
        memcpy(r + n * wide + i * 2, &half, 2);
    }
    uint64_t hash = record_hash(w->keys[w->at++], r, size - 8);
    memcpy(r + size - 8, &hash, sizeof hash);
    drt_writer_put(&w->file, r, size);
}

drt_status drt_word_labels_commit(drt_word_labels_writer *w, drt_error *err) {
    free(w->record);
    w->record = NULL;
    return drt_writer_commit(&w->file, err);
}

void drt_word_labels_abandon(drt_word_labels_writer *w) {
    free(w->record);
    w->record = NULL;
    drt_writer_abandon(&w->file);
}
