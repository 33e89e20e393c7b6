// A progress line for anything that takes more than two seconds. The library reports through a callback and never
// prints; drt_progress_terminal is the callback that `drt` installs.
//
//   drt_progress p = {.report = drt_progress_terminal, .user = stderr, .what = "encoding"};
//   for (i...) { ...; drt_progress_at(&p, i + 1, n); }
#ifndef DRT_BASE_PROGRESS_H
#define DRT_BASE_PROGRESS_H

#include <stdint.h>

typedef struct drt_progress {
    void (*report)(struct drt_progress *p, int64_t done, int64_t total, double seconds); // NULL: silent
    void *user;
    const char *what;
    double started, last; // seconds of the monotonic clock; 0 before the first call
} drt_progress;

// Calls `report` at most ten times a second, and at the end; nothing is shown in the first two seconds.
void drt_progress_at(drt_progress *p, int64_t done, int64_t total);
void drt_progress_terminal(drt_progress *p, int64_t done, int64_t total, double seconds); // user: a FILE *
double drt_clock(void);                                                                   // monotonic seconds
// Writes a duration as a person says it ("2 h 05 min", "3 min 12 s", "8.4 s") into `out` (24 bytes) and returns it.
char *drt_duration(char out[24], double seconds);

#endif
