// What a run leaves beside its own log: a row in the history of runs (history.h) and event files for TensorBoard
// (RUN/tensorboard/). Neither is worth a run: what cannot be written is said, and the run goes on. The history is tried
// again; an event file that fails is given up.
//
//   drt_recorder *rec = drt_recorder_open(&recipe, &facts, say, user);     // never NULL but when memory is out
//   drt_log_listen(log, drt_recorder_listen, rec);                         // every line of the log
//   drt_recorder_note(rec, step, "spike", "...");
//   drt_recorder_close(rec, status, reason, weights);
#ifndef DRT_TRAIN_RECORDER_H
#define DRT_TRAIN_RECORDER_H

#include "format/event_file.h"
#include "tensor/params.h"
#include "train/recipe.h"

typedef struct {
    int64_t step; // done before, by a run that goes on
    int64_t samples, steps, threads;
    uint64_t data; // digest of the data's content
} drt_recorder_facts;

typedef struct drt_recorder drt_recorder;

// say (may be NULL) is told what cannot be written; it and user must outlive the recorder. All functions take NULL for
// the recorder.
drt_recorder *drt_recorder_open(const drt_recipe *r, const drt_recorder_facts *facts,
                                void (*say)(void *user, const char *line), void *user);
// A drt_log_listener; rec: the recorder. "loss.language" is loss/language in TensorBoard, which groups by what stands
// in front of the slash; what a step takes is under cost/.
void drt_recorder_listen(void *rec, int64_t step, int n, const char *const *names, const double *values);
// Before the optimizer's next step, where this one is due for it (log.histograms): for every part that learns, a
// histogram of the gradient norms of its tensors, gradient/PART, and the norm of all of them, gradient_norm/PART.
void drt_recorder_gradients(drt_recorder *rec, drt_device *dev, const drt_params *p, int64_t step);
// For the history, and as a text in TensorBoard.
void drt_recorder_note(drt_recorder *rec, int64_t step, const char *kind, const char *text);
drt_event_file *drt_recorder_events(drt_recorder *rec); // to add pictures and texts to; NULL: none are written
void drt_recorder_put(drt_recorder *rec, int64_t step); // writes what was added
// status and reason: how the run ended, in the history's words; weights: hash of what learns. Frees.
void drt_recorder_close(drt_recorder *rec, const char *state, const char *reason, uint64_t weights);

#endif
