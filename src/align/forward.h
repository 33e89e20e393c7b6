// The model run once over a packed batch, for all objectives together.
#ifndef DRT_ALIGN_FORWARD_H
#define DRT_ALIGN_FORWARD_H

#include "align/objective.h"

// Fills f->states (and f->mass if `guided`) for LLaVA and decoders, or the pooled rows and features for CLIP.
// f->model, batch, totals, options and gps are set by the caller; an input order puts its own batch in the place of
// f->batch. Failures stick to the tape.
void drt_forward_run(drt_tape *t, drt_forward *f, bool guided, bool recompute);

#endif
