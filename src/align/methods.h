// The objectives, one file each: what passes they make and what loss they add (see objective.h for the two signatures).
#ifndef DRT_ALIGN_METHODS_H
#define DRT_ALIGN_METHODS_H

#include "align/objective.h"
#include "data/shuffle_words.h"

// language.c: next-token cross-entropy over the supervised tokens of the conversation as it is.
drt_status drt_language_pass(const drt_pass_source *s, drt_rng *r, drt_arena *arena, drt_pass *out, bool *made,
                             drt_error *err);
drt_tensor *drt_language_loss(drt_tape *t, const drt_forward *f, drt_score *score);

// image_order.c: METHODS 2.1. Which permutation were the image's cells shuffled by?
drt_status drt_image_order_pass(const drt_pass_source *s, drt_rng *r, drt_arena *arena, drt_pass *out, bool *made,
                                drt_error *err);
drt_tensor *drt_image_order_loss(drt_tape *t, const drt_forward *f, drt_score *score);

// text_order.c: METHODS 2.2. The words of the description, shuffled, are put back in order with the help of the image.
drt_status drt_text_order_pass(const drt_pass_source *s, drt_rng *r, drt_arena *arena, drt_pass *out, bool *made,
                               drt_error *err);
drt_tensor *drt_text_order_loss(drt_tape *t, const drt_forward *f, drt_score *score);

// guided.c: METHODS 2.3. One minus the attention that rows predicting the response spend on the image.
drt_tensor *drt_guided_objective(drt_tape *t, const drt_forward *f, drt_score *score);

// contrastive.c: CLIP's symmetric InfoNCE over the batch, or SigLIP's sigmoid loss; hard negative captions included.
drt_tensor *drt_contrastive_objective(drt_tape *t, const drt_forward *f, drt_score *score);

// patch_words.c: what covers this patch? Cross-entropy of linear heads on the patch features LLaVA will read; it makes
// a small tower see what captions alone do not force it to see (docs/shapes.md).
extern const int drt_patch_classes[DRT_PATCH_LABELS];
int drt_patch_classes_total(void);
drt_tensor *drt_patch_words_loss(drt_tape *t, const drt_forward *f, drt_score *score);

// sea.c: METHODS 3. Visual tokens and the embeddings of their patches' words, matched within a batch (align/sea.h).
drt_tensor *drt_sea_loss(drt_tape *t, const drt_forward *f, drt_score *score);

#endif
