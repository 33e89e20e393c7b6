#include "align/forward.h"

#include "align/share.h"

#include <string.h>

static drt_mat pixels(const drt_forward *f) { return drt_picture_rows(f->model, f->batch->patches, f->batch->pixels); }

// Features of all pictures, [images * rows, width]: the tower's of those that it must look at, the others as they are
// known. Keeps what may be kept.
static drt_tensor *features(drt_tape *t, const drt_forward *f, bool recompute) {
    const drt_batch *b = f->batch;
    const drt_model *m = f->model;
    drt_tensor *seen = b->pixels ? drt_visual_features(t, m, pixels(f), recompute) : NULL;
    if (drt_tape_failed(t, NULL) || !f->store) return seen;
    int64_t rows = drt_visual_rows(&m->config), width = drt_feature_width(&m->config), numbers = rows * width;
    drt_tensor *all = drt_tensor_new(t, b->images * rows, width, false);
    for (int i = 0; all && i < b->images; i++) {
        const float *from = b->known[i] ? b->known[i] : drt_row(seen->value, b->picture[i] * rows);
        if (drt_tape_device(t)->dry) continue;
        memcpy(drt_row(all->value, i * rows), from, (size_t)numbers * sizeof *from);
        if (b->key[i] && !b->known[i]) drt_features_keep(f->store, b->key[i], from, numbers);
    }
    return all;
}

// The rows in the order that the permuter gives them, and their marks with them.
static drt_tensor *permute(drt_tape *t, drt_forward *f, drt_tensor *x) {
    const drt_batch *b = f->batch;
    const drt_mixer_rows rows = {b->sequences, b->offsets, b->prompt, b->token, b->visual};
    drt_tensor *y = drt_gps_arrange(t, f->model, f->gps, &rows, x, &f->places);
    if (!y || y == x) return y;
    b = drt_gps_marks(t, b, &f->places);
    if (b) f->batch = b;
    return b ? y : NULL;
}

// vision tower → projector → TokenMixer, or what sequences share → splice → GPS → decoder
static void run_decoder(drt_tape *t, drt_forward *f, bool guided, bool recompute) {
    const drt_model *m = f->model;
    drt_tensor *seen = f->batch->images ? drt_project(t, m, features(t, f, recompute)) : NULL;
    f->visual = seen;
    if (!f->batch->rows) return; // an objective of visual tokens alone
    const drt_batch *b = f->options->share_prefixes ? drt_share_prefixes(t, f->batch)
                                                    : drt_token_mixer_batch(t, m, &f->options->mixer, f->batch, seen);
    if (!b) return;
    f->batch = b; // the objectives read rows where they are now
    const drt_splice splice = {b->rows, b->token, b->visual};
    drt_tensor *x = drt_splice_rows(t, m, &splice, seen);
    if (f->options->mixer.order == DRT_INPUT_GPS) x = permute(t, f, x);
    if (!x) return;
    b = f->batch;
    const drt_decoder_rows rows = {.sequences = b->sequences,
                                   .offsets = b->offsets,
                                   .key_offsets = b->key_offsets,
                                   .key_row = b->key_row,
                                   .position = b->position,
                                   .reach = b->reach,
                                   .visual = guided ? b->is_visual : NULL,
                                   .select = b->select,
                                   .selected = b->selected,
                                   .recompute = recompute};
    f->mass = guided ? drt_tape_alloc(t, m->config.language.layers, sizeof *f->mass) : NULL;
    f->states = drt_decoder_run(t, &m->language, x, &rows, f->mass);
}

// Both towers of CLIP or SigLIP, their pooled rows in the joint space, and the features that LLaVA will read on the
// way.
static void run_clip(drt_tape *t, drt_forward *f, bool recompute) {
    const drt_batch *b = f->batch;
    const drt_model *m = f->model;
    const int read = -2;
    drt_tensor *h = drt_vision_hidden(t, &m->vision, pixels(f), read, recompute);
    f->features = drt_vision_patches(t, &m->vision, h);
    if (!b->texts) return; // all pictures are shuffled
    h = drt_vision_rest(t, &m->vision, h, read, recompute);
    f->pooled_images = drt_select(t, drt_image_embedding(t, m, h), b->captioned, b->captions);
    f->pooled_texts = drt_text_embedding(t, m, b->text, b->text_offsets, b->texts, recompute);
}

void drt_forward_run(drt_tape *t, drt_forward *f, bool guided, bool recompute) {
    f->states = f->visual = f->pooled_images = f->pooled_texts = f->features = NULL;
    f->mass = NULL;
    if (f->model->config.kind == DRT_MODEL_CLIP) run_clip(t, f, recompute);
    else run_decoder(t, f, guided, recompute);
}
