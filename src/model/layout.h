// Where a model's tensors stand in the checkpoints of others, by name.
//
// drt's own names (drt_slice.name) are those of the separate models in transformers: vision_model.*, model.* and
// lm_head.weight, multi_modal_projector.linear_N.*. A LLaVA folder puts something in front of them or in their place:
//
// TinyLLaVA Factory: language_model.*, vision_tower._vision_tower.vision_model.*, connector._connector.{0,2,4,...}.*
//
//   part        llava-hf                          newer transformers                   the original LLaVA
//   vision      vision_tower.vision_model.*       model.vision_tower.[vision_model.]*  model.vision_tower.vision_tower.
//                                                                                      vision_model.*, or a folder of
//                                                                                      its own
//   decoder     language_model.model.*,           model.language_model.*,              model.*, lm_head.weight
//               language_model.lm_head.weight     lm_head.weight
//   projector   multi_modal_projector.linear_N.*  model.multi_modal_projector.*        model.mm_projector.{0,2,4,...}.*
//                                                                                      (linear: model.mm_projector.*)
#ifndef DRT_MODEL_LAYOUT_H
#define DRT_MODEL_LAYOUT_H

#include "format/hf_config.h"
#include "format/weights.h"
#include "tensor/params.h"

typedef enum { DRT_LAYOUT_HF, DRT_LAYOUT_LLAVA } drt_layout;

// The tensor that fills a slice, under whichever name; NULL if there is none.
const drt_weight *drt_layout_find(const drt_weights *w, const drt_slice *slice);
// The same in an adapter's file: FRONT NAME TAIL, where TAIL stands for the ".weight" of the slice's name.
const drt_weight *drt_layout_find_beside(const drt_weights *w, const drt_slice *slice, const char *front,
                                         const char *tail);
// The module of transformers 5 whose weight a slice is.
void drt_layout_module(char *out, size_t room, const drt_model_config *c, const drt_slice *slice);
// The name under which a layout writes a slice of such a model.
void drt_layout_name(char *out, size_t room, drt_layout layout, const drt_model_config *c, const drt_slice *slice);
// Whether a tensor without a slice may be passed over: no weights (position_ids, rotary inv_freq), the output
// projection of a tied decoder, or a vision tower that the original LLaVA loads from its own folder instead.
bool drt_layout_needless(const drt_model_config *c, const char *name);
// Right shape, finite. `found` may be NULL (missing); `folder` is where it was sought. DRT_EFORMAT, DRT_ENUMERIC.
drt_status drt_layout_fits(const drt_slice *slice, const drt_weight *found, const char *folder, drt_error *err);
void drt_shape_text(char *out, size_t room, int ndim, const int64_t *shape); // "3x4", for messages
drt_status drt_layout_finite(const drt_weight *found, drt_error *err);

#endif
