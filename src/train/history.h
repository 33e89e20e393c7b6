// The history of runs: one SQLite file that every training run enters by itself. `drt runs` shows it.
//
//   drt_history *h;
//   const drt_history_entry entry = {.folder = "out/try", .recipe = yaml, .data = "train.json", ...};
//   if (drt_history_begin(&h, "out/runs.sqlite", &entry, &err)) ...
//   for each step: if (drt_history_metrics(h, step, n, names, values, &err)) ...
//   if (drt_history_end(h, "finished", "all steps are done", weights, &err)) ...    // also frees
//
//   drt_history_list list;
//   if (drt_history_read(&list, "out/runs.sqlite", &err)) ...
//   const drt_history_run *run = drt_history_find(&list, "out/try");
//   drt_history_free(&list);
//
// The curves stay in the run folder's run.jsonl; the history keeps of each metric its last, least and largest value.
// Tables: run (a row for each run; a resumed run keeps its row), metric (run, name), note (run, step, kind, text).
// Several programs may write at the same time: each waits for the other up to ten seconds.
#ifndef DRT_TRAIN_HISTORY_H
#define DRT_TRAIN_HISTORY_H

#include "train/recipe.h"

#define DRT_HISTORY_VARIABLE "DRT_RUNS"       // environment: the file where the recipe names none
#define DRT_HISTORY_DEFAULT "out/runs.sqlite" // from the working folder, where no variable names it either

// The file for a key's value (log.history; NULL or "": by the environment, else the default), malloc'ed. *path NULL
// with DRT_OK: none is wanted ("none").
drt_status drt_history_path(const char *key, char **path, drt_error *err);

typedef struct {
    const char *folder; // of the run; kept as an absolute path
    const char *recipe; // YAML
    const char *data, *data_hash, *device;
    int64_t seed, threads, samples, steps; // steps: of the schedule
    bool resumed;                          // goes on with the folder's last row, if there is one
} drt_history_entry;

typedef struct drt_history drt_history;
// DRT_EIO: the file cannot be made or is in use for long; DRT_EFORMAT: it is no history, or a newer drt's.
drt_status drt_history_begin(drt_history **out, const char *path, const drt_history_entry *entry, drt_error *err);
// Takes note of a step's numbers; the file is written every thirty seconds and at the end. What could not be written is
// tried again then, and no longer waits for other programs.
drt_status drt_history_metrics(drt_history *h, int64_t step, int n, const char *const *names, const double *values,
                               drt_error *err);
// Something that a person should find later, written at once. kind: "spike", "disk", "validation", ...
drt_status drt_history_note(drt_history *h, int64_t step, const char *kind, const char *text, drt_error *err);
// state: "finished", "stopped" or "failed"; reason: why, in words. Frees h, whatever comes of it. NULL is allowed.
drt_status drt_history_end(drt_history *h, const char *state, const char *reason, uint64_t weights, drt_error *err);

typedef struct {
    char *name;
    int64_t step, least_step, most_step;
    double last, least, most;
} drt_history_metric;

typedef struct {
    int64_t step;
    char *kind, *text;
} drt_history_comment;

// Strings are never NULL.
typedef struct {
    int64_t id;
    char *folder, *started; // UTC, "2026-01-31 09:30:00"
    char *host, *version, *commit;
    char *recipe, *data, *data_hash, *device, *weights;
    char *state; // running, lost (its process is gone without a word), finished, stopped, failed
    char *reason;
    int64_t pid, seed, threads, samples, step, steps, sessions; // sessions: 1 and how often it was resumed
    double seconds;                                             // in training, all sessions together
    drt_history_metric *metric;                                 // [metrics] in the order of their names
    int metrics;
    drt_history_comment *note; // [notes] by step
    int notes;
} drt_history_run;

typedef struct {
    drt_history_run *run; // [n] newest first
    int n;
} drt_history_list;

// DRT_EIO: there is no such file.
drt_status drt_history_read(drt_history_list *out, const char *path, drt_error *err);
void drt_history_free(drt_history_list *list);
// The run that a person means: its number, its folder, or the end of its folder's path; of several the newest.
// DRT_EARG names what there is.
drt_status drt_history_find(const drt_history_list *list, const char *name, const drt_history_run **out,
                            drt_error *err);
const drt_history_metric *drt_history_metric_find(const drt_history_run *run, const char *name); // NULL: none

#endif
