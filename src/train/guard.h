// Watches the numbers of a run: spikes of loss and gradient are reported with the samples that made them, and a step
// whose numbers are not finite is kept in a file, to be done again (replay_step.h).
//
//   drt_guard guard = {0};
//   drt_guard_remember(&guard, &log);                                       // a run that goes on
//   status = drt_training_measure(&t, step, &report, &err);
//   if (status == DRT_ENUMERIC) drt_guard_keep(&t, folder, step, &err);     // adds to the message
//   if (!status) status = drt_guard_judge(&guard, &t, step, &report, &text, &err);
//   if (text.size) ... it was a spike ...
#ifndef DRT_TRAIN_GUARD_H
#define DRT_TRAIN_GUARD_H

#include "eval/log_read.h"
#include "train/spike.h"
#include "train/training.h"

typedef struct {
    drt_spike_window loss, gradient;
} drt_guard;

// Takes the last values of a run's log as seen.
void drt_guard_remember(drt_guard *g, const drt_run_log *log);
// Judges a measured step (recipe key guard.spike); what is to be said of a spike is appended to *text. To find the
// samples each is run alone (twice the time of a step), before the update; then the step is measured again, so that the
// update is what it would have been, to the last bit.
drt_status drt_guard_judge(drt_guard *g, drt_training *t, int64_t step, drt_step_report *report, drt_text *text,
                           drt_error *err);
// After DRT_ENUMERIC, with its message in *err: writes folder/replay/step-N.safetensors and adds to the message who the
// culprits are and how to do the step again. What fails here is added, too.
void drt_guard_keep(drt_training *t, const char *folder, int64_t step, drt_error *err);

#endif
