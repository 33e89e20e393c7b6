// A LLaVA of odd sizes with strong random weights (so that every row it sees matters), and the byte-level tokenizer of
// the golden files: what tests of answers and of evaluation run on.
#ifndef DRT_TESTS_TINY_MODEL_H
#define DRT_TESTS_TINY_MODEL_H

#include "base/rng.h"
#include "model/model.h"

enum { TINY_POSITIONS = 320, TINY_IMAGE = 12, TINY_PATCH = 4, TINY_PATCHES = 9 };

// order_classes: as in drt_model_options. Close with drt_model_close.
drt_model *tiny_llava(uint64_t seed, int order_classes);
drt_model *tiny_gps(uint64_t seed, bool hard); // with a permuter of two blocks, as its order
drt_model *tiny_clip(uint64_t seed);
// n random pictures [n * drt_picture_size], malloc'ed.
float *tiny_pixels(const drt_model *m, int n, uint64_t seed);
// Writes FOLDER/NAME, a picture of stripes that differ by `factor`; returns its path, malloc'ed.
char *tiny_picture(const char *folder, const char *name, int width, int height, int factor);

#endif
