// A tiny model from tests/golden, a device, and batches of samples that a golden file spells out.
//
//   static const char *const keys[] = {"groups.vision=1"};
//   rig r;
//   rig_open(&r, "model/llava", "model/llava/expected.safetensors", "ref", 1, keys);
//   rig_pack(&r, 0, r.samples); // one batch of all samples of the golden file
//   rig_gradients(&r);          // drt_train_gradients over the batches packed
//   check(rig_gradient_gap(&r, "grad.") <= RIG_GAP);
//   rig_close(&r);
//
// A golden file holds "pixels" [images, 3, side, side] of all samples in their order; of sample S and its pass P
// "s.S.p.P.ids" and ".labels" (before expansion: -200 an image, -300 the directed token) and ".info" = [kind,
// permutation] (absent: a plain pass), ".prompt" the ids in front of the first answer; "s.S.pairs" and ".pair_ids"
// (SEA); "bank" [classes, cells], "directed", "order.weight", "order.bias", "balance", "log_scale", "w.NAME" of the
// permuter's tensors, where they matter. The permuter is used as the recipe has it in the first step.
#ifndef DRT_TESTS_RIG_H
#define DRT_TESTS_RIG_H

#include "support/check.h"

#include "align/forward.h"
#include "format/safetensors.h"
#include "train/optimizer.h"
#include "train/step.h"

// Distances are relative: |a - b| / |b| in the Euclidean norm over a whole tensor. What may differ between two correct
// f32 programs: every rounding (2^-24) in a chain of `depth` sums of `width` terms, as a random walk of depth *
// sqrt(width) steps, with a factor of 16 for cancellation: 16 * 2^-24 * depth * sqrt(width). A tiny model has depth 12
// (about four products a layer, three layers) and width 24, forth and back: 1e-4, which is also the bound that is
// promised to users.
#define RIG_GAP 1e-4

enum { RIG_SAMPLES = 8, RIG_BATCHES = 8 };

typedef struct {
    drt_weights *golden;
    drt_model *m;
    drt_device *dev;
    drt_tape *t;
    drt_arena *arena;
    drt_recipe recipe;
    drt_align_options options;
    drt_pack_options pack;
    int32_t *bank;
    drt_sample sample[RIG_SAMPLES];
    int samples;
    drt_batch *batch[RIG_BATCHES];
    drt_step_data data;
    drt_step_report report;
    bool quiet; // a distance is expected: do not print what is apart
} rig;

// model: folder under tests/golden; golden: file there. Overrides are recipe keys (the recipe starts from defaults).
void rig_open(rig *r, const char *model, const char *golden, const char *device, int n, const char *const *overrides);
void rig_close(rig *r);
// For CLIP and SigLIP, whose golden files hold "pixels" of `n` images and "ids.K" of as many texts: samples of one
// image and one text, in one batch.
void rig_pairs(rig *r, int n);
// Adds a batch of samples [from, to) to the step.
void rig_pack(rig *r, int from, int to);
// Zeroes the gradients and runs drt_train_gradients over the batches; fails the test when that fails.
void rig_gradients(rig *r);
// Forward alone over the first batch; states, mass in *f.
void rig_forward(rig *r, drt_forward *f, bool guided);
// The same, then the logits of its selected rows, [rows, words]: *n numbers of the tape. And their largest difference
// from the golden "logits".
float *rig_logits(rig *r, int64_t *n);
double rig_logit_gap(rig *r);
// The largest distance of a parameter's gradient from the golden "PREFIX NAME"; a parameter that learns and has no
// golden gradient must have a zero one, and every golden gradient must be looked at.
double rig_gradient_gap(rig *r, const char *prefix);
// The golden "greedy.tokens", 64 of them, must follow "greedy.prompt" when read through the cache; an <image> in it is
// the first picture. No id ends the answer.
void rig_greedy(rig *r);
// All gradients, copied (malloc'ed), and the distance of the present ones from such a copy.
float *rig_gradient_copy(const rig *r);
double rig_gradient_moved(const rig *r, const float *copy);

// Numbers of the golden file, from the rig's arena; n (NULL allowed): how many. Missing: the test fails.
const float *rig_numbers(rig *r, const char *name, int64_t *n);
const int32_t *rig_whole(rig *r, const char *name, int64_t *n);
double rig_apart(const float *a, const float *b, int64_t n);
// pixels [3, side, side] of one image to patch rows.
void rig_patches(const float *pixels, int side, int patch, float *out);

#endif
