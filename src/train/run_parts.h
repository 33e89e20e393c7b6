// A run while it goes, and its parts: opening (run_open.c), its steps (run.c), the lines of its log (run_lines.c), the
// model at its end (run_finish.c). Private to run*.c.
#ifndef DRT_TRAIN_RUN_PARTS_H
#define DRT_TRAIN_RUN_PARTS_H

#include "train/guard.h"
#include "train/plan.h"
#include "train/recorder.h"
#include "train/run.h"
#include "train/validation.h"

typedef struct {
    const drt_recipe *r;
    const drt_run_hooks *hooks;
    int claim; // of the folder
    drt_training t;
    drt_features *own; // where nobody lends a store
    drt_plan plan;     // peak 0: there is none
    int64_t given;     // memory
    double counted;    // arithmetic before this step
    drt_log *log;
    drt_recorder *recorder;
    drt_guard guard;
    drt_validation *validation; // NULL: none
    drt_best best;
    int64_t saved;     // step of the newest checkpoint
    int64_t kept;      // step of the best validation's checkpoint; 0: there is none
    bool shown;        // TensorBoard has the pictures of validation
    uint64_t weights;  // after the last step
    char early[120];   // why training ended before its schedule
    int64_t step, end; // done; to do (train.stop)
    double loss;
} drt_run;

// A line for a person (hooks.say).
void drt_run_say(const drt_run *u, const char *format, ...) __attribute__((format(printf, 2, 3)));
// What a person should find later, too: said, and kept in the history.
void drt_run_note(const drt_run *u, int64_t step, const char *kind, const char *text);
// Writes a file of the run folder.
drt_status drt_run_file(const drt_recipe *r, const char *name, const char *text, size_t size, drt_error *err);
// The state after u->step as a checkpoint; keep: how many stay. DRT_EIO: it has no room, and was not begun.
drt_status drt_run_save(drt_run *u, int64_t keep, drt_error *err);

// Everything that is done before the first step; the caller closes what is open also after a failure.
drt_status drt_run_open(drt_run *u, drt_error *err);
// The line of a step; spike: NULL if it was none; hashed: with the hash of the weights.
drt_status drt_run_log_step(drt_run *u, const drt_step_report *s, double seconds, const char *spike, bool hashed,
                            drt_error *err);
// A line of its own, which a run that goes on finds again.
drt_status drt_run_log_validation(drt_run *u, const drt_validation_report *v, double seconds, drt_error *err);
// The last checkpoint, model/ or adapter/, curves.svg.
drt_status drt_run_finish(drt_run *u, drt_error *err);

#endif
