// Where two runs part: `drt replay`. Their logs and checkpoints tell the first step that is known to differ and the
// last checkpoint that is the same in both; from there both are run again, one after the other, and every tensor of
// every step is compared in the order in which it is computed: samples, tokens, pixels, the stages of the forward pass,
// the losses, gradients, weights.
//
//   drt_replay_result found;
//   if (drt_replay("out/a", "out/b", NULL, &found, &err)) ...
//   if (found.step) printf("step %lld: %s\n", (long long)found.step, found.tensor);
//
// Of the runs nothing is changed. A re-run needs what the recipes name (models, data) as it was then.
#ifndef DRT_TRAIN_REPLAY_H
#define DRT_TRAIN_REPLAY_H

#include "base/error.h"
#include "base/progress.h"

#include <stdbool.h>

// Steps count from 1, as in the log; 0: there is none.
typedef struct {
    int64_t steps;    // that both logs reach
    char recipe[300]; // the first key in which the recipes differ, with both values; "": none, folders, saving and
                      // looking aside
    int64_t known;    // the first step that logs or checkpoints show to differ
    char field[100];  // what differs there: a field of the log, or "checkpoint"
    double value[2];  // of a number in the log
    int64_t from;     // steps that are the same in both by a common checkpoint; 0: begun at the start
    int64_t step;     // at which they part when they are run again
    char tensor[300]; // the first that differs; of step 0, a weight that the checkpoints of step `known` have different
    int64_t unlike[2]; // of each run: the first step that does not come out here as its log says
} drt_replay_result;

// DRT_EIO, DRT_EFORMAT: no run folder. *out is right as far as it came also after a failure of a re-run.
drt_status drt_replay(const char *a, const char *b, drt_progress *progress, drt_replay_result *out, drt_error *err);

#endif
