// What a folder or a file of weights holds, for a reader's eyes, and everything that would keep it from running: it
// goes on where drt_model_open stops at the first fault.
//
//   drt_text report = {0};
//   int faults;
//   drt_model_inspect("llava-v1.5-7b", &(drt_inspect_options){0}, &report, &faults, &err);
//   fputs(report.bytes, stdout);                 // and drt_text_free(&report)
#ifndef DRT_MODEL_INSPECT_H
#define DRT_MODEL_INSPECT_H

#include "base/error.h"
#include "base/progress.h"
#include "base/text.h"

#include <stdbool.h>

typedef struct {
    const char *vision, *decoder; // as in drt_model_options
    bool tensors;                 // list every tensor
    drt_progress *progress;       // reading the weights of a file, in tensors; NULL: silent
} drt_inspect_options;

// Faults are counted and told, not failures; *faults 0: the folder runs. DRT_EIO: nothing is there; DRT_ENOMEM.
drt_status drt_model_inspect(const char *path, const drt_inspect_options *options, drt_text *out, int *faults,
                             drt_error *err);

#endif
