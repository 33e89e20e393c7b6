// Prepares the batches of coming steps in one background thread while the current one is computed.
//
//   drt_prefetch *p;
//   if (drt_prefetch_start(&p, make, user, slots, 3, first, end, &err)) ...
//   for (;;) {
//       int64_t step;
//       void *slot;
//       if (drt_prefetch_next(p, &step, &slot, &err)) ...    // what `make` answered for this step
//       if (!slot) break;                                    // all steps are done
//       ... use the slot ...
//       drt_prefetch_release(p);
//   }
//   drt_prefetch_stop(p);
//
// `make` runs for first, first + 1, ... end - 1, in that order and never twice at once, each time on a slot that the
// consumer has released; slots are used in turn. So what it produces does not depend on timing. In its thread
// OpenMP is limited to one thread, so that it does not take cores from the step.
#ifndef DRT_DATA_PREFETCH_H
#define DRT_DATA_PREFETCH_H

#include "base/error.h"

#include <stdint.h>

typedef struct drt_prefetch drt_prefetch;
// Fills *slot for `step`. After an error no further step is made.
typedef drt_status drt_prefetch_make(void *user, int64_t step, void *slot, drt_error *err);

// slots: n_slots >= 1 pointers of the caller (n_slots = 1 works but overlaps nothing); the array is copied.
drt_status drt_prefetch_start(drt_prefetch **out, drt_prefetch_make *make, void *user, void *const *slots, int n_slots,
                              int64_t first, int64_t end, drt_error *err);
// Waits for the next step. *slot is NULL after the last. An error of `make` comes after all steps before it, and again
// at every later call. DRT_EARG: every slot is held already.
drt_status drt_prefetch_next(drt_prefetch *p, int64_t *step, void **slot, drt_error *err);
void drt_prefetch_release(drt_prefetch *p);   // gives back the slot held longest; nothing if none is held
double drt_prefetch_waited(const drt_prefetch *p); // seconds that drt_prefetch_next has waited so far, in all
// Waits for the running `make`, ends the thread, frees everything but the slots. NULL is allowed.
void drt_prefetch_stop(drt_prefetch *p);

#endif
