// Random numbers that are the same everywhere: xoshiro256++ seeded by splitmix64. A stream is named by
// (seed, stream), so that every consumer has its own and none depends on the order in which others draw.
// The state is plain data: it is written into checkpoints as it is.
#ifndef DRT_BASE_RNG_H
#define DRT_BASE_RNG_H

#include <stdint.h>

typedef struct {
    uint64_t s[4];
} drt_rng;

void drt_rng_init(drt_rng *r, uint64_t seed, uint64_t stream);
uint64_t drt_rng_next(drt_rng *r);                       // 64 random bits
uint64_t drt_rng_below(drt_rng *r, uint64_t n);          // uniform in [0, n), unbiased; n > 0
double drt_rng_uniform(drt_rng *r);                      // uniform in [0, 1)
double drt_rng_normal(drt_rng *r);                       // mean 0, standard deviation 1
void drt_rng_shuffle(drt_rng *r, int32_t *x, int64_t n); // Fisher–Yates
uint64_t drt_hash(const void *bytes,
                  uint64_t n); // FNV-1a with a final mix: names, keys, content of little size (else base/digest.h)

#endif
