// Which samples each step sees. Random access: step s gives the same samples whatever was asked before, so that a
// resumed run continues with the batches it would have had.
//
//   drt_sampler *s;
//   drt_sampler_options o = {.n = drt_dataset_size(ds), .length = drt_dataset_lengths(ds), .group = true,
//                            .batch = 16, .accumulation = 2, .ranks = 1, .seed = 42};
//   if (drt_sampler_new(&s, &o, &err)) ...
//   int32_t index[32];                                       // batch * accumulation * ranks
//   if (drt_sampler_at(s, step, index, &err)) ...
//   drt_sampler_free(s);
//
// A step takes M = batch * accumulation * ranks consecutive indices of its epoch's order; the m-th micro-batch of rank
// r is index[(m * ranks + r) * batch ...]. The last step of an epoch is filled from the start of the same order.
#ifndef DRT_DATA_SAMPLER_H
#define DRT_DATA_SAMPLER_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct drt_sampler drt_sampler;

typedef struct {
    int32_t n;             // samples, > 0
    const int32_t *length; // [n], signed as drt_dataset_lengths; copied; may be NULL unless `group`
    bool group;            // LLaVA's group_by_modality_length; false: plain shuffle
    int batch;             // samples of one micro-batch, > 0
    int accumulation;      // micro-batches of one step; 0 counts as 1
    int ranks;             // processes; 0 counts as 1
    uint64_t seed;
    // Shards that are read from front to back, as far as possible: their order is drawn, and of the samples, one shard
    // behind the other, each `window` are shuffled. Not with `group`.
    int64_t window;       // 0: all samples are shuffled
    const int32_t *shard; // [shards] the first sample of each; copied
    int shards;
} drt_sampler_options;

drt_status drt_sampler_new(drt_sampler **out, const drt_sampler_options *options, drt_error *err);
void drt_sampler_free(drt_sampler *s); // NULL is allowed

int drt_sampler_batch(const drt_sampler *s);               // M
int64_t drt_sampler_steps_per_epoch(const drt_sampler *s); // ceil(n / M)
// The M samples of step `step` (from 0; its epoch is step / steps_per_epoch). Keeps the order of one epoch: one
// thread at a time.
drt_status drt_sampler_at(drt_sampler *s, int64_t step, int32_t *index, drt_error *err);

// The order of one epoch, [n], each index once. `permute` fills p[0..n) with a permutation of 0..n-1 and is asked in
// LLaVA's sequence: all samples, or image samples, text samples, megabatches. Here for tests; DRT_EARG: a length is 0.
typedef void drt_permute(void *user, int32_t *p, int32_t n);
drt_status drt_sampler_group(const int32_t *length, int32_t n, int batch, int parts, drt_permute *permute, void *user,
                             int32_t *order, drt_error *err);

#endif
