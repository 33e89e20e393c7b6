// One step done again from its file (step_file.h), sample by sample: where numbers stop being finite, and in whom.
//
//   drt_step_replay found;
//   if (drt_replay_step("out/run/replay/step-000000012.safetensors", 0, NULL, NULL, &found, &err)) ...
//   puts(found.text);
//   drt_step_replay_free(&found);
//
// The run folder around the file gives the recipe and, in checkpoints/, the weights before the step; nothing is written
// or updated. Overrides ("device=ref", "dtype=f32") try the step under other conditions.
#ifndef DRT_TRAIN_REPLAY_STEP_H
#define DRT_TRAIN_REPLAY_STEP_H

#include "base/progress.h"
#include "base/text.h"
#include "train/step.h"

typedef struct {
    int64_t step; // from 1
    drt_step_report report;
    bool finite;      // it is not the step's fault any more
    int samples, bad; // bad: those of which alone something is not finite
    drt_text text;    // all of it for a person, one line a sample
} drt_step_replay;

// DRT_EFORMAT: no such file. DRT_EIO: the checkpoint before the step is gone, or the recipe.
drt_status drt_replay_step(const char *file, int n, const char *const *overrides, drt_progress *progress,
                           drt_step_replay *out, drt_error *err);
void drt_step_replay_free(drt_step_replay *s);

#endif
