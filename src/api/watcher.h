// Progress of the rooms below, handed on to the callbacks of drt.h.
#ifndef DRT_API_WATCHER_H
#define DRT_API_WATCHER_H

#include "base/progress.h"
#include "drt.h"

typedef struct {
    drt_on_progress on_progress;
    void *user;
} drt_watcher;

// Progress that calls w (whose on_progress may be NULL: silent); w must outlive it.
drt_progress drt_watcher_progress(drt_watcher *w, const char *what);

#endif
