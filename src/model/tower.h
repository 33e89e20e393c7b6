// Vision and text towers of CLIP (Radford et al. 2021) and SigLIP (Zhai et al. 2023), as Hugging Face's CLIPModel and
// SiglipModel lay them out. One code: what the families differ in stands in drt_family (format/hf_config.h), and a
// parameter that a family lacks is NULL.
#ifndef DRT_MODEL_TOWER_H
#define DRT_MODEL_TOWER_H

#include "model/encoder.h"

typedef struct {
    drt_tower size;
    drt_param *class_row, *patch, *patch_b, *position; // [1, d], [d, 3*patch*patch], [1, d], [rows, d]
    drt_param *pre, *pre_b, *post, *post_b;            // layer norms before and after the encoder
    drt_encoder encoder;
    drt_param *probe;       // [1, d] the query of the attention that pools; its layer is `head`, without norm1
    drt_encoder_layer head; // qkv is PyTorch's in_proj
} drt_vision;

typedef struct {
    drt_tower size;
    drt_param *token, *position; // [vocab, d], [positions, d]
    drt_param *final, *final_b;
    drt_encoder encoder;
} drt_text_tower;

drt_status drt_vision_declare(drt_vision *v, const drt_tower *size, drt_params *p, drt_error *err);
drt_status drt_text_tower_declare(drt_text_tower *c, const drt_tower *size, drt_params *p, drt_error *err);

// hidden state number `layer` of every image: 0 is the embedding (after the pre-norm where there is one), k the output
// of layer k, -1 the last (the layers behind it are not computed). patches [images * P, 3*patch*patch] ->
// [images * drt_tower_rows, d]; a class row stands first in each image.
drt_tensor *drt_vision_hidden(drt_tape *t, const drt_vision *v, drt_mat patches, int layer, bool recompute);
// From hidden state number `layer` on to the last one.
drt_tensor *drt_vision_rest(drt_tape *t, const drt_vision *v, drt_tensor *hidden, int layer, bool recompute);
// One row for each image, from the last hidden state: [images, d]. CLIP: the class row after the post norm, before the
// projection. SigLIP: all rows after the post norm, pooled by attention. DRT_ECONFIG: neither class row nor head.
drt_tensor *drt_vision_pooled(drt_tape *t, const drt_vision *v, drt_tensor *hidden);
// Every patch as if the picture were it alone: CLIP's patch rows after the final norm; SigLIP's head with all of its
// attention on the patch, which then answers with the patch's value. [images * P, d]; DRT_ECONFIG as above.
drt_tensor *drt_vision_patches_pooled(drt_tape *t, const drt_vision *v, drt_tensor *hidden);
// Patch rows only, class rows dropped: [images * P, d].
drt_tensor *drt_vision_patches(drt_tape *t, const drt_vision *v, drt_tensor *hidden);
// All rows of each image but its first, whatever that is.
drt_tensor *drt_vision_but_first(drt_tape *t, const drt_vision *v, drt_tensor *hidden);

// Texts laid end to end: id [offsets[n]]. Pooled row of text i: CLIP's the first eos (if size.eos is 2, CLIP's old
// rule: the largest id), SigLIP's the last, whatever it holds: SigLIP wants texts filled up with `pad` to
// size.positions.
// -> [n, d] after the final norm. Longer than size.positions: DRT_EDATA.
drt_tensor *drt_text_tower_pooled(drt_tape *t, const drt_text_tower *c, const int32_t *id, const int32_t *offsets,
                                  int n, bool recompute);

#endif
