// Whether a sample that comes out of a file, where anything may stand, can be packed for a model: every number of it
// that becomes an index is looked at.
#ifndef DRT_TRAIN_STEP_CHECK_H
#define DRT_TRAIN_STEP_CHECK_H

#include "data/batch.h"
#include "model/model.h"

// The arrays are of the sizes that *s says. DRT_EFORMAT: the message names the file, the sample and the place in it.
drt_status drt_sample_check(const drt_sample *s, const drt_model *m, const drt_pack_options *o, const char *file,
                            drt_error *err);

#endif
