// CLIP's two towers (Radford et al. 2021), as Hugging Face's CLIPModel lays them out.
#ifndef DRT_MODEL_CLIP_H
#define DRT_MODEL_CLIP_H

#include "model/encoder.h"

typedef struct {
    drt_clip_tower size;
    drt_param *class_row, *patch, *position; // [1, d], [d, 3*patch*patch], [1 + patches, d]
    drt_param *pre, *pre_b, *post, *post_b;  // layer norms before and after the encoder
    drt_encoder encoder;
} drt_vision;

typedef struct {
    drt_clip_tower size;
    drt_param *token, *position; // [vocab, d], [positions, d]
    drt_param *final, *final_b;
    drt_encoder encoder;
} drt_clip_text;

drt_status drt_vision_declare(drt_vision *v, const drt_clip_tower *size, drt_params *p, drt_error *err);
drt_status drt_clip_text_declare(drt_clip_text *c, const drt_clip_tower *size, drt_params *p, drt_error *err);

// hidden state number `layer` of every image: 0 is the embedding after the pre-norm, k the output of layer k, -1 the
// last (the layers behind it are not computed). patches [images * P, 3*patch*patch] -> [images * (1 + P), d]; the class
// row stands first in each image.
drt_tensor *drt_vision_hidden(drt_tape *t, const drt_vision *v, drt_mat patches, int layer, bool recompute);
// From hidden state number `layer` on to the last one.
drt_tensor *drt_vision_rest(drt_tape *t, const drt_vision *v, drt_tensor *hidden, int layer, bool recompute);
// The class rows after the last layer and the post norm: [images, d], before CLIP's projection.
drt_tensor *drt_vision_pooled(drt_tape *t, const drt_vision *v, drt_tensor *hidden);
// Patch rows only, class rows dropped: [images * P, d].
drt_tensor *drt_vision_patches(drt_tape *t, const drt_vision *v, drt_tensor *hidden);

// Texts laid end to end: id [offsets[n]]. Pooled row of text i: the first eos (if size.eos is 2, CLIP's old rule: the
// largest id). -> [n, d] after the final norm. Longer than size.positions: DRT_EDATA.
drt_tensor *drt_clip_text_pooled(drt_tape *t, const drt_clip_text *c, const int32_t *id, const int32_t *offsets, int n,
                                 bool recompute);

#endif
