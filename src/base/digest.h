// A 64-bit hash of many bytes, given piece by piece, at the speed of memory: whether two files, weights or activations
// are the same. Not against an adversary. The same bytes give the same hash however they are cut.
//
//   drt_digest d;
//   drt_digest_begin(&d);
//   while (...) drt_digest_add(&d, bytes, n);
//   uint64_t h = drt_digest_end(&d);
#ifndef DRT_BASE_DIGEST_H
#define DRT_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

enum { DRT_DIGEST_BLOCK = 32 };
typedef struct {
    uint64_t lane[4], size;
    unsigned char rest[DRT_DIGEST_BLOCK]; // what is not a whole block yet: size % 32 bytes
} drt_digest;

void drt_digest_begin(drt_digest *d);
void drt_digest_add(drt_digest *d, const void *bytes, size_t n);
uint64_t drt_digest_end(const drt_digest *d); // of what was added so far
uint64_t drt_digest_of(const void *bytes, size_t n);

#endif
