// The run log: `run.jsonl` in the run folder, one JSON object per step, and the live line of a run.
//
//   drt_log *log;
//   if (drt_log_open(&log, folder, resumed_step, &err)) ...     // 0: a new run
//   drt_log_screen screen = {.file = stderr};
//   drt_log_watch(log, total_steps, drt_log_terminal, &screen);
//   for each step:
//       drt_log_begin(log, step);
//       drt_log_number(log, "lr", lr);
//       drt_log_number(log, "loss", total);
//       drt_log_number(log, "loss.language", language);
//       drt_log_number(log, "tokens_per_second", rate);
//       drt_log_number(log, "memory", (double)drt_peak_memory());
//       if (drt_log_end(log, &err)) ...
//   drt_log_close(log);
//
// Fields stand in the line in the order in which they were given, after "step". Names that have a meaning here: "loss"
// and all that begin with "loss." (smoothed in the live line), "tokens_per_second", "memory" (bytes). Other names used
// by training: lr, grad_norm, rows, flops, seconds, and at checkpoints weights (text: drt_params_learned). NaN and
// infinity are written as null. Not thread-safe.
#ifndef DRT_TRAIN_RUN_LOG_H
#define DRT_TRAIN_RUN_LOG_H

#include "base/error.h"
#include "eval/log_read.h" // drt_run_log_read

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct drt_log drt_log;

// Opens folder/run.jsonl for appending. Lines of steps past `resumed_step` and a torn last line are dropped first,
// atomically; resumed_step 0 starts anew, so whoever must not lose an old run asks before calling this.
drt_status drt_log_open(drt_log **out, const char *folder, int64_t resumed_step, drt_error *err);
void drt_log_close(drt_log *log); // NULL is allowed
// Writes only steps divisible by `every` (default 1), and lines that are kept; the live line and its means see all.
void drt_log_every(drt_log *log, int64_t every);

void drt_log_begin(drt_log *log, int64_t step);
void drt_log_number(drt_log *log, const char *name, double value);
void drt_log_text(drt_log *log, const char *name, const char *value); // a line with text is kept
void drt_log_keep(drt_log *log);                                      // this line is written in any case
// Hands the line to the operating system and reports to the watcher. DRT_EIO names the file when the disk is full.
drt_status drt_log_end(drt_log *log, drt_error *err);

// Called with the numbers of every line that was written, in the order in which they were given. NULL: nobody listens.
typedef void (*drt_log_listener)(void *user, int64_t step, int n, const char *const *names, const double *values);
void drt_log_listen(drt_log *log, drt_log_listener listener, void *user);

// What a watcher sees after each step. Arrays and names belong to the log and change with the next step.
typedef struct {
    int64_t step, total;
    int n_losses;
    const char *const *names; // "loss" first, the others without "loss."
    const double *losses;     // exponential means over about the last 20 steps
    double tokens_per_second; // 0: not given
    double memory;            // bytes, 0: not given
    double seconds_left;      // from the mean time between the last steps; negative: not known yet
} drt_log_view;
typedef void (*drt_log_report)(void *user, const drt_log_view *view);
void drt_log_watch(drt_log *log, int64_t total, drt_log_report report, void *user);

// The watcher that `drt` installs: on a terminal one line drawn over and over, elsewhere a plain line every ten
// seconds and at the end. `user` is a drt_log_screen.
typedef struct {
    FILE *file;
    double last; // when it was drawn last; 0 before the first time
    int columns; // 0: ask the terminal
} drt_log_screen;
void drt_log_terminal(void *user, const drt_log_view *view);

bool drt_log_is_cost(const char *name); // seconds, memory, ...: what a step takes, not what it learns
int64_t drt_peak_memory(void);          // most bytes of memory this process ever held

#endif
