// What a training objective is. It declares the passes it needs of every sample, and adds its loss from the rows that
// it reads in the packed batch; the model runs once for all of them. A new method is one file in this folder and one
// line in drt_objectives (objective.c).
#ifndef DRT_ALIGN_OBJECTIVE_H
#define DRT_ALIGN_OBJECTIVE_H

#include "align/gps.h"
#include "align/token_mixer.h"
#include "base/rng.h"
#include "data/batch.h"
#include "model/features.h"

typedef enum { DRT_ORDER_END, DRT_ORDER_START, DRT_ORDER_VISUAL } drt_order_token;
typedef enum { DRT_GUIDED_MASS, DRT_GUIDED_PAIR } drt_guided_reduce;

typedef struct {
    drt_order_token order_token;
    drt_guided_reduce reduce;
    const drt_template *how;
    const drt_template *ask; // of puzzles put as a question: how, or the model's own where that is a caption
    int context;             // most rows of a sequence
    int image_rows;          // rows an image takes
    int classes;             // of the bank
    drt_token_mixer mixer;   // the input order
    bool share_prefixes;     // rows that sequences begin with alike are run once (share.h); not with an input order
} drt_align_options;

// A sample before its passes are made.
typedef struct {
    const drt_tokenizer *tokenizer;
    const drt_turn *turns;
    int n_turns, images;
    const drt_align_options *options;
} drt_pass_source;

// Counts over the whole optimizer step: losses are means over these, however the step is cut into batches.
typedef struct {
    int64_t words[DRT_PASS_KINDS], orders, guided, samples, captions, pairs;
} drt_totals;

typedef struct {
    const drt_model *model;
    const drt_batch *batch;
    const drt_totals *totals;
    const drt_align_options *options;
    drt_features *store;     // of the frozen tower's features; NULL: none are kept
    const drt_gps_step *gps; // of a training with that order; NULL: as the model's folder tells, without noise
    drt_gps_places places;   // what it did
    drt_tensor *states;      // [batch->selected, d] final states of the selected rows (LLaVA, decoder)
    drt_tensor *visual;      // [images * rows, d] visual tokens; NULL: no images
    drt_tensor **mass;       // one a decoder layer, the last over the selected rows; NULL if nobody asked
    drt_tensor *pooled_images, *pooled_texts; // CLIP: [captions, joint], [texts, joint], of length 1
    drt_tensor *features;                     // CLIP: patch rows of the layer that LLaVA will read [images * P, width]
} drt_forward;

// What an objective reports beside its loss: hits of count (image_order: permutations found; language: words), or the
// mean mass of guided. Added up over the batches of a step.
typedef struct {
    double hits, count;
} drt_score;

typedef struct {
    const char *name;
    const char *score; // what score is called in the log, NULL: none
    // Appends the pass this objective needs of a sample, or none (returns DRT_OK with *made false) where it does not
    // apply (no image). Memory from the arena. NULL: needs no pass of its own.
    drt_status (*make)(const drt_pass_source *s, drt_rng *r, drt_arena *arena, drt_pass *out, bool *made,
                       drt_error *err);
    bool puzzle; // `passes: sampled` draws one of these a sample
    bool mass;   // reads the guided mass
    // The loss of this batch as its part of the step's mean; NULL if the batch has no row for it.
    drt_tensor *(*loss)(drt_tape *t, const drt_forward *f, drt_score *score);
} drt_objective;

enum {
    DRT_LANGUAGE_LOSS,
    DRT_IMAGE_ORDER,
    DRT_TEXT_ORDER,
    DRT_GUIDED,
    DRT_CONTRASTIVE,
    DRT_PATCH_WORDS,
    DRT_SEA,
    DRT_OBJECTIVES
};
extern const drt_objective drt_objectives[DRT_OBJECTIVES];

// Shared by the objectives that predict words: mean cross-entropy over the rows of one kind of pass.
drt_tensor *drt_word_loss(drt_tape *t, const drt_forward *f, drt_pass_kind kind, drt_score *score);
// Moves an encoded conversation into a pass: cut to the context (leaving `spare` rows), then the directed token put in
// where options say (at: DRT_ORDER_END, ..._START, or DRT_ORDER_VISUAL for none). Frees e.
drt_status drt_pass_from(drt_encoded *e, const drt_align_options *o, drt_order_token at, drt_arena *arena,
                         drt_pass *out, drt_error *err);

#endif
