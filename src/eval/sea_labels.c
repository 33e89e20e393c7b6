#include "eval/sea_labels.h"

#include "data/dataset.h"
#include "eval/word_search.h"
#include "model/joint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    uint64_t key;
    int32_t sample, image;
} picture;

typedef struct {
    const drt_model *m;
    drt_tape *t;
    const drt_sea_labels_options *o;
    drt_sea_labels_result *out;
    drt_error *err;
    drt_dataset *data;
    drt_word_list words;
    FILE *encoded; // rows of the words, [words, joint], in the order of the list
    picture *at;   // [n] by key, each once
    uint64_t *key; // [n]
    int64_t n;
    drt_preprocess how;
} extraction;

enum { ENCODE = 64 }; // texts at a time: those of SigLIP are long

static void phase(const extraction *x, const char *what) {
    drt_progress *p = x->o->progress;
    p->what = what;
    p->started = p->last = 0;
}

static int chunk_of(const extraction *x) { return x->o->chunk > 0 ? x->o->chunk : 1024; }

// ---- words ---------------------------------------------------------------------------------------------------------

// The next words of the list through the text tower; n is set to their number, 0 at the end.
static drt_status encode_some(extraction *x, int *n) {
    const int most = ENCODE, positions = x->m->config.text.positions;
    const char *word;
    size_t size;
    drt_status status = DRT_OK;
    drt_tape_begin(x->t, false);
    int32_t *id = drt_tape_alloc(x->t, (int64_t)most * positions, sizeof *id),
            *offsets = drt_tape_alloc(x->t, most + 1, sizeof *offsets);
    *n = 0;
    if (!id || !offsets) return drt_tape_failed(x->t, x->err);
    while (*n < most && !(status = drt_word_list_next(&x->words, &word, &size, x->err)) && word) {
        int own;
        status = drt_joint_text(x->m, word, size, id + offsets[*n], &own, x->err);
        if (status) return drt_fail_in(x->err, "%s:%lld", x->words.path, (long long)x->words.at);
        offsets[*n + 1] = offsets[*n] + own;
        ++*n;
    }
    if (status || !*n) return status;
    drt_tensor *rows = drt_text_embedding(x->t, x->m, id, offsets, *n, false);
    status = drt_tape_failed(x->t, x->err);
    if (status) return status;
    if (fwrite(rows->value.data, sizeof(float) * (size_t)rows->value.cols, (size_t)*n, x->encoded) == (size_t)*n)
        return DRT_OK;
    return drt_fail(x->err, DRT_EIO, "%s: no room beside it for encoded words (%lld bytes in all): %s", x->o->out,
                    (long long)(x->words.words * x->m->config.text.joint * 4), strerror(errno));
}

static drt_status encode_words(extraction *x) {
    drt_text name = {0};
    drt_text_printf(&name, "%s.words-%ld", x->o->out, (long)getpid());
    x->encoded = name.failed ? NULL : fopen(name.bytes, "w+b");
    int cause = errno;
    if (x->encoded) unlink(name.bytes); // nobody else needs it, and it goes with this process
    drt_text_free(&name);
    if (!x->encoded) return drt_fail(x->err, DRT_EIO, "%s: cannot write beside it: %s", x->o->out, strerror(cause));
    drt_status status = DRT_OK;
    drt_word_list_rewind(&x->words);
    phase(x, "encoding words");
    for (int n = 1; !status && n;) {
        status = encode_some(x, &n);
        drt_progress_at(x->o->progress, x->words.at, x->words.words);
    }
    if (!status && (fflush(x->encoded) || x->words.at != x->words.words))
        status =
            drt_fail(x->err, DRT_EIO, "%s: was changed while it was read, or %s has no room", x->words.path, x->o->out);
    return status;
}

static drt_tensor *rows_of(void *user, drt_tape *t, int64_t from, int n, drt_error *err) {
    extraction *x = user;
    int64_t width = x->m->config.text.joint;
    drt_tensor *rows = drt_tensor_new(t, n, width, false);
    if (!rows) return NULL;
    const size_t size = (size_t)(n * width) * sizeof(float);
    if (fseeko(x->encoded, (off_t)(from * width * (int64_t)sizeof(float)), SEEK_SET) ||
        fread(rows->value.data, 1, size, x->encoded) != size) {
        drt_fail(err, DRT_EIO, "%s: cannot read the encoded words beside it again", x->o->out);
        return NULL;
    }
    return rows;
}

// ---- pictures ------------------------------------------------------------------------------------------------------

static int by_key(const void *a, const void *b) {
    const picture *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->sample != y->sample ? x->sample - y->sample : x->image - y->image;
}

// Keys of all pictures: how many there are, and the order they will be in.
static drt_status take_keys(extraction *x) {
    int64_t samples = drt_dataset_size(x->data), room = 0;
    if (x->o->limit && x->o->limit < samples) samples = x->o->limit;
    phase(x, "reading pictures");
    for (int32_t i = 0; i < samples; i++) {
        drt_record *rec;
        drt_status status = drt_dataset_at(x->data, i, &rec, x->err);
        if (status) return status;
        for (int k = 0; !status && k < rec->n_images; k++) {
            if (x->n == room) {
                picture *more = realloc(x->at, (size_t)(room = 2 * room + 64) * sizeof *more);
                if (!more) status = drt_fail(x->err, DRT_ENOMEM, "no memory for %lld pictures", (long long)room);
                else x->at = more;
            }
            picture *p = status ? NULL : &x->at[x->n];
            if (p) *p = (picture){.sample = i, .image = k}, x->n++;
            if (p) status = drt_picture_key_in(rec, k, &p->key, x->err);
        }
        drt_record_free(rec);
        if (status) return status;
        drt_progress_at(x->o->progress, i + 1, samples);
    }
    if (!x->n) return drt_fail(x->err, DRT_EDATA, "%s: no sample has a picture", drt_dataset_path(x->data));
    qsort(x->at, (size_t)x->n, sizeof *x->at, by_key);
    int64_t n = 1;
    for (int64_t i = 1; i < x->n; i++)
        if (x->at[i].key != x->at[n - 1].key) x->at[n++] = x->at[i];
    x->n = n;
    x->key = malloc((size_t)n * sizeof *x->key);
    if (!x->key) return drt_fail(x->err, DRT_ENOMEM, "no memory for %lld pictures", (long long)n);
    for (int64_t i = 0; i < n; i++) x->key[i] = x->at[i].key;
    return DRT_OK;
}

static drt_status read_picture(const extraction *x, const picture *p, float *pixels) {
    drt_record *rec;
    drt_image image = {0}, ready = {0};
    drt_status status = drt_dataset_at(x->data, p->sample, &rec, x->err);
    if (status) return status;
    status = drt_record_image(rec, p->image, &image, x->err);
    if (!status) status = drt_image_prepare(&image, &x->how, &ready, x->err);
    if (!status) drt_image_patches(&ready, &x->how, x->m->config.vision.patch, pixels);
    drt_image_free(&image);
    drt_image_free(&ready);
    if (status) drt_dataset_fail_in(x->data, rec, x->err);
    drt_record_free(rec);
    return status;
}

// Pictures [from, from + n): through the tower, past all words, into the file.
static drt_status label_batch(extraction *x, int64_t from, int n, float *pixels, int32_t *word, float *score,
                              drt_word_labels_writer *w) {
    const drt_tower *v = &x->m->config.vision;
    const int64_t patches = drt_patches(v), numbers = 3LL * v->patch * v->patch;
    const int most = w->about.most;
    drt_status status = DRT_OK;
    for (int i = 0; !status && i < n; i++) status = read_picture(x, &x->at[from + i], pixels + i * patches * numbers);
    if (status) return status;
    drt_tape_begin(x->t, false);
    drt_mat all = drt_mat_f32(pixels, n * patches, numbers);
    drt_tensor *rows = drt_patch_embedding(x->t, x->m, drt_vision_hidden(x->t, &x->m->vision, all, -1, false));
    const drt_word_rows_of of = {x->words.words, chunk_of(x), rows_of, x};
    status = drt_word_search(x->t, rows, &of, x->out->negated, 0, most, word, score, x->err);
    for (int64_t i = 0; !status && i < n * patches; i++) {
        x->out->labelled += word[i * most] >= 0;
        for (int k = 0; k < most; k++)
            if (word[i * most + k] < 0) word[i * most + k] = 0;
    }
    for (int i = 0; !status && i < n; i++)
        drt_word_labels_put(w, word + i * patches * most, score + i * patches * most);
    return status;
}

static drt_status label_pictures(extraction *x) {
    const drt_tower *v = &x->m->config.vision;
    const int64_t patches = drt_patches(v), numbers = 3LL * v->patch * v->patch;
    const int batch = x->o->batch > 0 ? x->o->batch : 8, most = x->o->most > 0 ? x->o->most : 10;
    drt_word_labels_writer w;
    drt_word_labels_about about = {.side = v->image / v->patch,
                                   .most = most,
                                   .negated = x->out->negated,
                                   .padded = x->o->aspect == DRT_ASPECT_PAD,
                                   .pictures = x->n};
    drt_tower_marks(x->m, about.tower);
    float *pixels = malloc((size_t)(batch * patches * numbers) * sizeof *pixels),
          *score = malloc((size_t)(batch * patches * most) * sizeof *score);
    int32_t *word = malloc((size_t)(batch * patches * most) * sizeof *word);
    drt_status status =
        pixels && score && word ? DRT_OK : drt_fail(x->err, DRT_ENOMEM, "no memory for %d pictures", batch);
    if (!status) status = drt_word_labels_create(&w, x->o->out, &about, &x->words, x->key, x->err);
    if (!status) {
        phase(x, "labelling");
        for (int64_t from = 0; !status && from < x->n; from += batch) {
            int n = (int)(x->n - from < batch ? x->n - from : batch);
            status = label_batch(x, from, n, pixels, word, score, &w);
            drt_progress_at(x->o->progress, from + n, x->n);
        }
        if (!status && !x->out->labelled)
            status = drt_fail(x->err, DRT_EDATA,
                              "no patch of %lld pictures has a word with a positive score: here the %s of patches and "
                              "words is never above 0; set negate to %s",
                              (long long)x->n, x->out->negated ? "negated cosine" : "cosine",
                              x->out->negated ? "false" : "true");
        if (status) drt_word_labels_abandon(&w);
        else status = drt_word_labels_commit(&w, x->err);
    }
    free(pixels), free(score), free(word);
    return status;
}

// ---- all of it -----------------------------------------------------------------------------------------------------

static drt_status check_model(const drt_model *m, drt_error *err) {
    const char *name = m->folder ? m->folder : "the model";
    if (m->config.kind != DRT_MODEL_CLIP)
        return drt_fail(
            err, DRT_ECONFIG,
            "%s has no text tower to tell what its patches show; give the CLIP or SigLIP folder that its vision "
            "tower came from. Where there is none, all but the objective sea still works: language, "
            "image_order, text_order, guided, and the orders token_mixer and gps",
            name);
    if (!m->tokenizer)
        return drt_fail(err, DRT_ECONFIG, "%s has no tokenizer for its text tower; copy the one it was trained with",
                        name);
    if (m->visual_projection || m->vision.probe) return DRT_OK;
    return drt_fail(err, DRT_ECONFIG,
                    "%s: its vision tower has no head (vision_use_head), so patches and words have no "
                    "space in common",
                    name);
}

drt_status drt_sea_labels(const drt_model *m, drt_tape *t, const drt_sea_labels_options *options,
                          drt_sea_labels_result *out, drt_error *err) {
    drt_progress silent = {0};
    drt_sea_labels_options o = *options;
    if (!o.progress) o.progress = &silent;
    extraction x = {.m = m, .t = t, .o = &o, .out = out, .err = err, .how = m->preprocess};
    const drt_dataset_options how = {.images = DRT_IMAGES_EXIST};
    *out = (drt_sea_labels_result){0};
    x.how.aspect = o.aspect;
    drt_status status = check_model(m, err);
    out->negated = o.negate == DRT_SEA_AUTO ? m->config.vision.family == &drt_clip : o.negate == DRT_SEA_NEGATE;
    if (!status) status = drt_word_list_open(&x.words, o.words, err);
    if (!status) status = drt_dataset_open(&x.data, o.data, o.images, &how, NULL, err);
    if (!status) status = take_keys(&x);
    if (!status) status = encode_words(&x);
    if (!status) status = label_pictures(&x);
    out->words = x.words.words;
    out->pictures = x.n;
    out->patches = status ? 0 : x.n * drt_patches(&m->config.vision);
    if (x.encoded) fclose(x.encoded);
    drt_word_list_close(&x.words);
    drt_dataset_close(x.data);
    free(x.at), free(x.key);
    return status;
}
