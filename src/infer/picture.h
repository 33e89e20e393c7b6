// Pictures as a model takes them: a file, or black, to rows of normalised patch pixels.
#ifndef DRT_INFER_PICTURE_H
#define DRT_INFER_PICTURE_H

#include "data/dataset.h"
#include "model/model.h"

// Numbers that one picture takes: patches * 3 * patch * patch; 0 for a model without a vision tower.
int64_t drt_picture_size(const drt_model *m);
// Reads, prepares (m->preprocess: pad or square) and cuts the picture at `path` into out [drt_picture_size].
// DRT_ECONFIG: the model has no vision tower.
drt_status drt_picture_read(const drt_model *m, const char *path, float *out, drt_error *err);
// The same from the bytes of a picture file; `name` stands for it in messages.
drt_status drt_picture_decode(const drt_model *m, const void *bytes, size_t size, const char *name, float *out,
                              drt_error *err);
// The same of picture k of a sample.
drt_status drt_picture_in(const drt_model *m, const drt_record *r, int k, float *out, drt_error *err);
// The picture that a blind model is shown: every pixel 0 before normalisation, as large as the model wants it.
drt_status drt_picture_black(const drt_model *m, float *out, drt_error *err);

#endif
