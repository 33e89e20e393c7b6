// Checkpoints: everything a run needs to go on bit for bit. A checkpoint is a folder RUN/checkpoints/step-N that
// appears by a rename when all of it is on disk; a torn one is never seen.
//
// Samples, shuffles and permutations are functions of (seed, step), so the state is: the step, the weights that learn
// and their optimizer moments.
#ifndef DRT_TRAIN_CHECKPOINT_H
#define DRT_TRAIN_CHECKPOINT_H

#include "tensor/params.h"

// Writes step-`step`, and removes what a killed program has left half done and all but the newest `keep` (at least 1)
// and step `best` (0: none). Needs no memory to speak of: it packs the weights where the gradients were, which belong
// to nobody between steps. So does loading.
drt_status drt_checkpoint_save(drt_params *p, const char *run, int64_t step, int64_t keep, int64_t best,
                               drt_error *err);
// What a checkpoint takes on the disk.
int64_t drt_checkpoint_bytes(const drt_params *p);
// Whether step-`step` has room there, or is there already. DRT_EIO, naming both sizes, before anything is begun.
drt_status drt_checkpoint_room(const drt_params *p, const char *run, int64_t step, drt_error *err);
// The steps of all whole checkpoints, ascending, malloc'ed (also after a failure); *n: how many. DRT_EIO, DRT_ENOMEM:
// the folder may hold more.
drt_status drt_checkpoint_steps(const char *run, int64_t **steps, int *n, drt_error *err);
// A hash of everything that step-`step` holds.
drt_status drt_checkpoint_hash(const char *run, int64_t step, uint64_t *hash, drt_error *err);
// Loads step-`step` into p. Another shape of model, weights kept in another type, other weights in what does not learn:
// DRT_ECONFIG.
drt_status drt_checkpoint_load(drt_params *p, const char *run, int64_t step, drt_error *err);

#endif
