// The pre-norm transformer layer of vision and text towers, and a stack of them.
//   x = x + out(attention(qkv(layer_norm(x))));  x = x + fc2(act(fc1(layer_norm(x))))
#ifndef DRT_MODEL_ENCODER_H
#define DRT_MODEL_ENCODER_H

#include "format/hf_config.h"
#include "tensor/ops.h"
#include "tensor/params.h"

typedef struct {
    drt_param *norm1, *norm1_b, *qkv, *qkv_b, *out, *out_b; // qkv [3 width, width]: q, k, v one below the other
    drt_param *norm2, *norm2_b, *fc1, *fc1_b, *fc2, *fc2_b;
} drt_encoder_layer;

typedef struct {
    const drt_tower *size;
    const char *name; // "vision" or "text", for observers
    drt_encoder_layer *layer;
} drt_encoder;

// Declares the parameters "PREFIX.encoder.layers.N.…" of size->layers layers. drt_encoder_free releases the list only.
drt_status drt_encoder_declare(drt_encoder *e, const drt_tower *size, drt_params *p, drt_group group,
                               const char *prefix, drt_error *err);
void drt_encoder_free(drt_encoder *e);
// Runs layers [from, to) over sequences laid end to end. x [rows, width]; offsets [sequences + 1];
// reach [rows]: see drt_attention (NULL: every row sees its whole sequence). Arrays must outlive the step.
drt_tensor *drt_encoder_run(drt_tape *t, const drt_encoder *e, int from, int to, drt_tensor *x, int sequences,
                            const int32_t *offsets, const int32_t *reach, bool recompute);

// The second half of a layer: x + fc2(act(fc1(layer_norm2(x)))).
drt_tensor *drt_encoder_mlp(drt_tape *t, const drt_tower *size, const drt_encoder_layer *l, drt_tensor *x);

drt_activation drt_activation_of(drt_act act);

#endif
