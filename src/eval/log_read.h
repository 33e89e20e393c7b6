// A run log (run.jsonl, written by train/run_log.h) read back: one series per numeric field, in order of first
// appearance, and the hashes of weights at checkpoints.
//
//   drt_run_log log;
//   if (drt_run_log_read(&log, "run/run.jsonl", &err)) ...
//   const drt_run_series *loss = drt_run_log_find(&log, "loss");
//   drt_run_log_free(&log);
#ifndef DRT_EVAL_LOG_READ_H
#define DRT_EVAL_LOG_READ_H

#include "base/error.h"

#include <stdint.h>

typedef struct {
    char *name;
    int64_t n;
    double *step, *value; // null reads as NaN
} drt_run_series;
typedef struct {
    int64_t step;
    uint64_t weights;
} drt_run_hash;
typedef struct {
    int n_series;
    drt_run_series *series;
    int64_t n_hashes;
    drt_run_hash *hash; // in the order of the file, which is that of steps
} drt_run_log;
// Reads a run.jsonl. A torn last line is ignored; any other fault is DRT_EFORMAT with file and line.
drt_status drt_run_log_read(drt_run_log *out, const char *path, drt_error *err);
drt_status drt_run_log_of(drt_run_log *out, const char *folder, drt_error *err);  // the one of a run
const drt_run_series *drt_run_log_find(const drt_run_log *log, const char *name); // NULL if there is none
void drt_run_log_free(drt_run_log *log);

#endif
