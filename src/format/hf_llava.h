// config.json of the original LLaVA (model_type llava without text_config, llava_llama, ...): a decoder's config with
// keys for what LLaVA adds. The vision tower's sizes are not in it: they stand in the folder that mm_vision_tower
// names.
#ifndef DRT_FORMAT_HF_LLAVA_H
#define DRT_FORMAT_HF_LLAVA_H

#include "format/hf_config.h"

#include <jansson.h>

bool drt_is_original_llava(const json_t *o);
// Everything but c->vision, which the caller reads from where c->tower says and then checks (drt_model_config_check).
drt_status drt_original_llava_parse(drt_model_config *c, const json_t *o, const char *name, drt_error *err);
// `tower`: the vision tower's folder as mm_vision_tower. DRT_ECONFIG for decoders that this layout does not have.
drt_status drt_original_llava_write(const drt_model_config *c, const char *tower, const char *dtype, drt_text *out,
                                    drt_error *err);
// The sizes of the towers that released checkpoints name (openai/clip-vit-large-patch14-336, ...).
bool drt_tower_known(drt_tower *out, const char *name);

#endif
