// A step's samples in a file, as the model was shown them: pixels, ids, labels, permutations. What a run that met a NaN
// leaves (RUN/replay/step-N.safetensors), so that the step can be done again whatever becomes of the data.
//
//   if (drt_step_file_write(path, data, &pack, step, steps, &err)) ...
//   drt_step_data d = {.arena = arena};
//   if (drt_step_file_read(path, &recipe, &pack, &d, &step, &err)) ...     // packed as the recipe says
//
// Safetensors; of sample S: "s.S.info" I64 [8] = index, images, passes, pairs, texts, patches with labels, cells of a
// picture's order, numbers of its pictures; "s.S.id" U8; "s.S.patches" F32; of its pass P "s.S.p.P.ids" and ".labels"
// I32 [n],
// ".info" I64 [3] = kind, ids in front of the first answer, permutation; "s.S.pairs" I32 [n, 4] = image, patch, word,
// tokens and "s.S.pair_ids"; "s.S.t.T" I32; "s.S.patch_labels" I16; "s.S.order" I32. Metadata: step, steps, noise, and
// hash over all numbers, without which a damaged file could name rows that are not there.
#ifndef DRT_TRAIN_STEP_FILE_H
#define DRT_TRAIN_STEP_FILE_H

#include "model/model.h"
#include "train/step_data.h"

// step: 0-based; steps: of the schedule, which the permuter's settings follow.
drt_status drt_step_file_write(const char *path, const drt_step_data *d, const drt_pack_options *o, int64_t step,
                               int64_t steps, drt_error *err);
// DRT_EFORMAT: no such file, a damaged one, or one with a number that this model has no place for (step_check.h).
// DRT_ECONFIG: its pictures are not of the size that `o` has.
drt_status drt_step_file_read(const char *path, const drt_recipe *r, const drt_model *m, const drt_pack_options *o,
                              drt_step_data *d, int64_t *step, drt_error *err);

#endif
