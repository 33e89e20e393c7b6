// From the dataset to a step's packed batches, on the prefetch thread: pixels, passes, packing.
#ifndef DRT_TRAIN_LOADER_H
#define DRT_TRAIN_LOADER_H

#include "align/objective.h"
#include "data/dataset.h"
#include "data/prefetch.h"
#include "data/sampler.h"
#include "train/step_data.h"

typedef struct drt_loader drt_loader;

enum { DRT_LOADER_STEPS = 3 }; // whose data are held at a time: the one at hand, and those read ahead

// Opens the recipe's data for this model and starts reading at optimizer step `first`, up to `steps`; steps 0: as many
// as the epochs take. bank: [classes, cells], must outlive the loader; may be NULL without image_order. bad (may be
// NULL) receives one line for every unusable sample. store (may be NULL): open for this model's features, outliving the
// loader; pictures whose features it has are not decoded.
drt_status drt_loader_open(drt_loader **out, const drt_recipe *r, const drt_model *m, const int32_t *bank,
                           int64_t first, int64_t *steps, drt_features *store, drt_progress *progress, drt_text *bad,
                           drt_error *err);
// From now on: every sample exactly once, from the first; *steps: in so many steps. Ends what was being read, so that
// it can be called again. (A loader for this alone is opened with first = INT64_MAX, and reads nothing until then.)
drt_status drt_loader_once(drt_loader *l, int64_t *steps, drt_error *err);
// The data of any step without reading its pixels, for dry runs, in out->arena, which the caller makes. Of a loader for
// a model that is dry, which reads nothing ahead.
drt_status drt_loader_shape(drt_loader *l, int64_t step, drt_step_data *out, drt_error *err);
// About how many words the largest part of a step has, pictures counted as the rows they take. Needs no sample to be
// read.
drt_status drt_loader_words(drt_loader *l, int64_t step, int64_t *words, drt_error *err);
int64_t drt_loader_epoch(const drt_loader *l); // steps of one round over the samples
// The next step's data, valid until drt_loader_release.
drt_status drt_loader_next(drt_loader *l, drt_step_data **out, drt_error *err);
void drt_loader_release(drt_loader *l);
// Decodes the pictures of a step that were not, because their features are known.
drt_status drt_loader_pixels(const drt_loader *l, const drt_step_data *d, drt_error *err);
void drt_loader_close(drt_loader *l);
const drt_dataset *drt_loader_dataset(const drt_loader *l);
const drt_align_options *drt_loader_options(const drt_loader *l);
const drt_pack_options *drt_loader_pack(const drt_loader *l);
double drt_loader_waited(const drt_loader *l); // seconds that training waited for data

// How the recipe makes passes of samples, and rows of passes. DRT_ECONFIG: the picture and the context, or the grid and
// the patches, do not go together.
drt_status drt_loader_settings(const drt_recipe *r, const drt_model *m, const int32_t *bank, drt_align_options *o,
                               drt_pack_options *pack, drt_error *err);
// Numbers of the packer for a model and a bank of `grid` x `grid` cells.
drt_pack_options drt_pack_options_of(const drt_model *m, const int32_t *bank, int grid);

#endif
