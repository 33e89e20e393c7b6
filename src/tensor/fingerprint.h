// Which weights a part of a model has, in 40 bytes: what is trained beside frozen weights (an adapter, the rest of a
// checkpoint) is worthless beside others of the same shapes.
//
//   drt_fingerprint base, now;
//   drt_fingerprint_of(&base, m->params, DRT_LANGUAGE);
//   if (!drt_fingerprint_same(&base, &now)) ...
//
// Of each tensor its name, its shape and some numbers in its middle are hashed, one page of the file: a model of many
// gigabytes stays mapped. A training changes all numbers of what it trains; a few rows changed by hand are not seen.
#ifndef DRT_TENSOR_FINGERPRINT_H
#define DRT_TENSOR_FINGERPRINT_H

#include "tensor/params.h"

// Of the numbers as they are, as bf16, as f16, as bf16 of their f16, and as f16 of their bf16: weights remain the same
// when they are stored in fewer bits, be it in two steps. All 0: the part has no tensors.
enum { DRT_FINGERPRINT_WAYS = 5 };
typedef struct {
    uint64_t as[DRT_FINGERPRINT_WAYS];
} drt_fingerprint;

// Reads the values; for every parameter of the group that has a name.
void drt_fingerprint_of(drt_fingerprint *out, const drt_params *p, drt_group group);
// Whether one may be the other, stored in the same or in fewer bits.
bool drt_fingerprint_same(const drt_fingerprint *a, const drt_fingerprint *b);

enum { DRT_FINGERPRINT_TEXT = 17 * DRT_FINGERPRINT_WAYS };
void drt_fingerprint_write(const drt_fingerprint *f, char text[DRT_FINGERPRINT_TEXT]);
bool drt_fingerprint_read(drt_fingerprint *f, const char *text); // false: it is none

#endif
