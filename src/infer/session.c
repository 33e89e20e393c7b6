#include "infer/session.h"

#include "infer/picture.h"

#include <stdlib.h>
#include <string.h>

struct drt_session {
    const drt_model *model;
    drt_tape *tape;
    drt_cache *cache;
    const drt_token_mixer *order; // NULL: none
};

drt_status drt_session_new(drt_session **out, const drt_model *model, drt_tape *tape, int sequences, int64_t room,
                           drt_error *err) {
    *out = NULL;
    const drt_decoder_config *size = &model->config.language;
    const char *name = model->folder ? model->folder : "the model";
    if (!drt_has_decoder(&model->config))
        return drt_fail(err, DRT_ECONFIG,
                        "%s is a CLIP model and writes no text; use the folder of a LLaVA or of a decoder", name);
    if (sequences < 1 || room < 1 || room > drt_decoder_context(size))
        return drt_fail(err, DRT_EARG, "%d sequences of %lld rows: %s has %d positions", sequences, (long long)room,
                        name, drt_decoder_context(size));
    drt_session *s = calloc(1, sizeof *s);
    if (!s) return drt_fail(err, DRT_ENOMEM, "no memory for a session");
    *s = (drt_session){.model = model, .tape = tape};
    drt_status status = drt_cache_new(&s->cache, size, sequences, room, err);
    if (status) {
        free(s);
        return status;
    }
    *out = s;
    return DRT_OK;
}

void drt_session_free(drt_session *s) {
    if (!s) return;
    drt_cache_free(s->cache);
    free(s);
}

drt_status drt_session_order(drt_session *s, const drt_token_mixer *order, drt_error *err) {
    s->order = order;
    return order ? drt_gps_check(s->model, order, err) : DRT_OK;
}

int64_t drt_session_length(const drt_session *s, int sequence) { return s->cache->length[sequence]; }

void drt_session_cut(drt_session *s, int sequence, int64_t length) {
    if (length < s->cache->length[sequence]) s->cache->length[sequence] = (int32_t)(length > 0 ? length : 0);
}

int64_t drt_id_rows(const drt_model *model, const int32_t *id, int n) {
    int64_t rows = 0, image = model->config.kind == DRT_MODEL_LLAVA ? drt_visual_rows(&model->config) : 1;
    for (int i = 0; i < n; i++) rows += id[i] == DRT_IMAGE_TOKEN ? image : 1;
    return rows;
}

void drt_id_layout(const drt_model *model, const int32_t *id, int n, int image, int32_t *token, int32_t *visual) {
    int64_t row = 0;
    for (int i = 0; i < n; i++) {
        const bool seen = id[i] == DRT_IMAGE_TOKEN;
        const int64_t rows = drt_id_rows(model, id + i, 1);
        for (int64_t j = 0; j < rows; j++, row++) {
            token[row] = seen ? -1 : id[i];
            visual[row] = seen ? (int32_t)(image * rows + j) : -1;
        }
        image += seen;
    }
}

// The packed rows of one call, in the tape's memory.
typedef struct {
    int64_t rows, selected;
    int images;
    int32_t *offsets, *prompt, *token, *visual, *position, *reach, *slot, *select, *label;
    float *patches;
} packed;

static int images_in(const drt_feed *f) {
    int images = 0;
    for (int i = 0; i < f->n; i++) images += f->id[i] == DRT_IMAGE_TOKEN;
    return images;
}

// Counts rows and images and refuses what cannot be read. `used`: ids of a feed that become rows are n - score.
static drt_status measure(const drt_session *s, const drt_feed *feeds, int n, bool score, packed *p, drt_error *err) {
    const drt_cache *c = s->cache;
    for (int i = 0, before = -1; i < n; before = feeds[i++].sequence) {
        const drt_feed *f = &feeds[i];
        if (f->sequence <= before || f->sequence >= c->sequences || f->n < 1 + score)
            return drt_fail(err, DRT_EARG, "internal: feed %d of %d ids for sequence %d of %d", i, f->n, f->sequence,
                            c->sequences);
        int images = images_in(f);
        int64_t rows = drt_id_rows(s->model, f->id, f->n - score), have = c->length[f->sequence];
        if (images && (score || !f->patches || s->model->config.kind != DRT_MODEL_LLAVA))
            return drt_fail(err, DRT_EARG, "sequence %d has %d images that this model cannot be shown", f->sequence,
                            images);
        if (have + rows > c->room)
            return drt_fail(err, DRT_EARG, "sequence %d: %lld rows and %lld more are over its room of %lld",
                            f->sequence, (long long)have, (long long)rows, (long long)c->room);
        for (int j = 0; j < f->n; j++)
            if (f->id[j] != DRT_IMAGE_TOKEN && (f->id[j] < 0 || f->id[j] >= s->model->config.language.vocab))
                return drt_fail(err, DRT_EARG, "sequence %d: token %d is not among the model's %d", f->sequence,
                                f->id[j], s->model->config.language.vocab);
        p->rows += rows;
        p->selected += score ? f->n - 1 : 1;
        p->images += images;
    }
    return DRT_OK;
}

static bool allocate(drt_session *s, packed *p) {
    drt_tape *t = s->tape;
    int64_t n = p->rows > 0 ? p->rows : 1;
    int32_t *at = drt_tape_alloc(t, 7 * n + 2 * s->cache->sequences + 1, sizeof *at);
    p->patches = p->images ? drt_tape_alloc(t, p->images * drt_picture_size(s->model), sizeof *p->patches) : NULL;
    if (!at || (p->images && !p->patches)) return false;
    p->token = at;
    p->visual = at + n;
    p->position = at + 2 * n;
    p->reach = at + 3 * n;
    p->slot = at + 4 * n;
    p->select = at + 5 * n;
    p->label = at + 6 * n;
    p->prompt = at + 7 * n;
    p->offsets = p->prompt + s->cache->sequences;
    return true;
}

static void fill(const drt_session *s, const drt_feed *feeds, int n, bool score, packed *p) {
    const drt_cache *c = s->cache;
    const int64_t picture = drt_picture_size(s->model);
    int64_t row = 0, selected = 0;
    int next = 0, image = 0;
    for (int q = 0; q < c->sequences; q++) {
        p->offsets[q] = (int32_t)row;
        if (next == n || feeds[next].sequence != q) continue;
        const drt_feed *f = &feeds[next++];
        const int ids = f->n - score, images = images_in(f), prompt = f->prompt && f->prompt < ids ? f->prompt : ids;
        const int64_t rows = drt_id_rows(s->model, f->id, ids);
        p->prompt[q] = (int32_t)drt_id_rows(s->model, f->id, prompt);
        if (images) memcpy(p->patches + image * picture, f->patches, (size_t)(images * picture) * sizeof *p->patches);
        drt_id_layout(s->model, f->id, ids, image, p->token + row, p->visual + row);
        image += images;
        for (int32_t j = 0, at = c->length[q]; j < rows; j++, at++) {
            p->position[row + j] = at;
            p->reach[row + j] = at + 1;
            p->slot[row + j] = (int32_t)(q * c->room) + at;
        }
        // A score is of each row, which are words all; else the last one tells what comes next.
        for (int64_t j = score ? 0 : rows - 1; j < rows; j++) {
            if (score) p->label[selected] = f->id[j + 1];
            p->select[selected++] = (int32_t)(row + j);
        }
        row += rows;
    }
    p->offsets[c->sequences] = (int32_t)row;
}

static void mix(const drt_session *s, const drt_mixer_rows *rows, packed *p, const drt_tensor *seen) {
    drt_mixer_places places;
    int32_t *moved = drt_tape_alloc(s->tape, 2 * p->rows, sizeof *moved);
    if (!moved || !drt_token_mixer_places(s->tape, s->model, s->order, rows, seen, &places)) return;
    for (int64_t r = 0; r < p->rows; r++) {
        moved[places.to[r]] = p->token[r];
        moved[p->rows + places.to[r]] = p->visual[r];
    }
    p->token = moved;
    p->visual = moved + p->rows;
}

// The spliced rows in the places that the input order gives them.
static drt_tensor *arrange(const drt_session *s, packed *p, drt_tensor *seen) {
    const drt_mixer_rows rows = {s->cache->sequences, p->offsets, p->prompt, p->token, p->visual};
    const drt_input_order order = seen && s->order ? s->order->order : DRT_INPUT_NONE;
    if (order == DRT_INPUT_TOKEN_MIXER) mix(s, &rows, p, seen);
    const drt_splice splice = {p->rows, p->token, p->visual};
    drt_tensor *x = drt_splice_rows(s->tape, s->model, &splice, seen);
    drt_gps_places places;
    return order == DRT_INPUT_GPS ? drt_gps_arrange(s->tape, s->model, NULL, &rows, x, &places) : x;
}

// Packs and runs the feeds; the caller takes the states and then calls `settle`.
static drt_status run(drt_session *s, const drt_feed *feeds, int n, bool score, packed *p, drt_tensor **states,
                      drt_error *err) {
    drt_status status = measure(s, feeds, n, score, p, err);
    if (status) return status;
    drt_tape *t = s->tape;
    drt_tape_begin(t, false);
    if (!allocate(s, p)) return drt_tape_failed(t, err);
    fill(s, feeds, n, score, p);
    drt_tensor *seen = NULL;
    if (p->images) {
        seen = drt_visual_tokens(t, s->model, drt_picture_rows(s->model, p->patches, p->images), false);
    }
    const drt_decoder_rows rows = {.sequences = s->cache->sequences,
                                   .offsets = p->offsets,
                                   .position = p->position,
                                   .reach = p->reach,
                                   .select = p->select,
                                   .selected = p->selected,
                                   .cache = s->cache,
                                   .cache_slot = p->slot};
    drt_tensor *x = arrange(s, p, seen);
    *states = drt_decoder_run(t, &s->model->language, x, &rows, NULL);
    return drt_tape_failed(t, err);
}

static drt_status settle(drt_session *s, const drt_feed *feeds, int n, bool score, drt_error *err) {
    drt_status status = drt_tape_failed(s->tape, err);
    for (int i = 0; i < n && !status; i++)
        s->cache->length[feeds[i].sequence] += (int32_t)drt_id_rows(s->model, feeds[i].id, feeds[i].n - score);
    return status;
}

drt_status drt_session_feed(drt_session *s, const drt_feed *feeds, int n, drt_mat *logits, drt_error *err) {
    packed p = {0};
    drt_tensor *states = NULL;
    *logits = (drt_mat){0};
    drt_status status = run(s, feeds, n, false, &p, &states, err);
    if (status) return status;
    drt_tensor *y = drt_decoder_logits(s->tape, &s->model->language, states);
    status = settle(s, feeds, n, false, err);
    if (!status) *logits = y->value;
    return status;
}

drt_status drt_session_score(drt_session *s, const drt_feed *feeds, int n, double *logprob, drt_error *err) {
    packed p = {0};
    drt_tensor *states = NULL;
    drt_status status = run(s, feeds, n, true, &p, &states, err);
    if (status) return status;
    float *loss = drt_tape_alloc(s->tape, 2 * p.selected, sizeof *loss), *weight = loss + p.selected;
    if (loss) drt_decoder_loss(s->tape, &s->model->language, states, p.label, weight, loss, NULL);
    status = settle(s, feeds, n, true, err);
    for (int64_t i = 0, row = 0; i < n && !status; i++) {
        logprob[i] = 0;
        for (int j = 1; j < feeds[i].n; j++) logprob[i] -= loss[row++];
    }
    return status;
}
