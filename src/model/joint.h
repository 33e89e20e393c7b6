// The space that CLIP's and SigLIP's towers share: texts as ids for the text tower, single patches in it, and marks by
// which a vision tower is known again.
#ifndef DRT_MODEL_JOINT_H
#define DRT_MODEL_JOINT_H

#include "data/word_labels.h"
#include "model/model.h"

// A text as the text tower wants it, cut to its positions: id [config.text.positions], *n of them. CLIP: bos, tokens,
// eos. SigLIP: tokens, the tokenizer's eos (its config names CLIP's), and padding to the last position, which is read.
drt_status drt_joint_text(const drt_model *m, const char *text, size_t size, int32_t *id, int *n, drt_error *err);
// Patches in the joint space, rows of length 1: [images * P, joint]. hidden: the vision tower's last hidden state.
drt_tensor *drt_patch_embedding(drt_tape *t, const drt_model *m, drt_tensor *hidden);

// Numbers about the size of 1 that are the same, but for rounding, in every folder that holds the same vision tower,
// whatever its layout and type of number: signed sums over the first numbers of each tensor, the pooling head left out.
void drt_tower_marks(const drt_model *m, float marks[DRT_TOWER_MARKS]);
bool drt_tower_is(const drt_model *m, const float marks[DRT_TOWER_MARKS]);

#endif
