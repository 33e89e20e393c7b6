// What a frozen vision tower answered, kept by the content of the picture's file, so that a picture that comes again is
// neither decoded nor looked at again. Bounded: once full, nothing more is kept and nothing is thrown out (of pictures
// that come round in turn, a store that throws out the oldest would lose each just before it is wanted).
//
//   drt_features *f = drt_features_new();
//   drt_features_open(f, drt_features_tag(m, &preprocess, dev), 512 << 20);
//   const float *rows = drt_features_find(f, key);                   // NULL: not there
//   drt_features_keep(f, key, rows, numbers);                        // a copy, if there is room
//   drt_features_free(f);
//
// A frozen tower's features do not depend on the other pictures of a batch, to the last bit (drt_visual_features), so
// that a run computes the same with a store and without one. Finding and keeping are safe from any thread; what was
// found stays valid until drt_features_open forgets it or drt_features_free.
#ifndef DRT_MODEL_FEATURES_H
#define DRT_MODEL_FEATURES_H

#include "model/model.h"

typedef struct drt_features drt_features;

drt_features *drt_features_new(void);    // NULL: no memory
void drt_features_free(drt_features *f); // NULL is allowed
// For a new run of at most so many bytes. Forgets what another tower answered, and what the run before did not use.
void drt_features_open(drt_features *f, uint64_t tag, int64_t most_bytes);
const float *drt_features_find(drt_features *f, uint64_t key);
void drt_features_keep(drt_features *f, uint64_t key, const float *rows, int64_t numbers);
int64_t drt_features_bytes(drt_features *f);         // held
int64_t drt_features_bytes_each(const drt_model *m); // held for one picture

// A number for all that features depend on beside the picture: the tower's weights, its config, how pictures are
// prepared, the device and its threads.
uint64_t drt_features_tag(const drt_model *m, const drt_preprocess *how, const drt_device *dev);
// Whether this model's features can be kept: a LLaVA whose tower nothing trains.
bool drt_features_fit(const drt_model *m);
// Numbers that one picture's features are: visual rows * feature width.
int64_t drt_features_numbers(const drt_model *m);
// Arithmetic of the tower for one picture, as kernels/count.h counts it.
double drt_features_flops(const drt_model *m);

#endif
