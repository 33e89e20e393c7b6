// Hugging Face config.json: the sizes of a model, checked before anything is allocated.
#ifndef DRT_FORMAT_HF_CONFIG_H
#define DRT_FORMAT_HF_CONFIG_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum { DRT_ACT_GELU, DRT_ACT_QUICK_GELU, DRT_ACT_SILU } drt_act; // hidden_act

// A tower of CLIP: the vision transformer, or the text transformer.
typedef struct {
    int width, layers, heads, ffn;
    drt_act act;
    float eps;
    int joint;            // width of the joint space (projection_dim)
    int image, patch;     // vision: pixels
    int vocab, positions; // text
    int bos, eos, pad;    // text; the pooled row is the first eos (see clip_text.h for the old rule)
} drt_clip_tower;

typedef struct {
    int width, layers, heads, kv_heads, head_size, ffn, vocab, positions;
    float eps;
    double rope_theta;
    bool tied; // the output projection is the embedding
    int bos, eos, pad;
} drt_decoder_config;

typedef enum { DRT_MODEL_LLAVA, DRT_MODEL_CLIP, DRT_MODEL_LANGUAGE } drt_model_kind;
typedef enum { DRT_PROJECTOR_MLP2X_GELU, DRT_PROJECTOR_LINEAR } drt_projector_kind;

typedef struct {
    drt_model_kind kind;
    drt_clip_tower vision, text; // LLAVA: vision; CLIP: both
    drt_decoder_config language; // LLAVA, LANGUAGE
    // LLAVA
    drt_projector_kind projector;
    int select_layer; // as vision_feature_layer: -2 is the output of the last layer but one
    bool keep_class;  // vision_feature_select_strategy "full"
    int image_token;  // id of <image>
} drt_model_config;

// Reads FOLDER/config.json. Keys that Hugging Face leaves out get Hugging Face's defaults.
drt_status drt_model_config_read(drt_model_config *c, const char *folder, drt_error *err);
// The same from text; `name` stands in messages.
drt_status drt_model_config_parse(drt_model_config *c, const char *json, const char *name, drt_error *err);
// Writes config.json for `transformers`.
void drt_model_config_write(const drt_model_config *c, drt_text *out);
// Sizes that cannot be (0 heads, width not divisible, ...) are refused, naming the key.
drt_status drt_model_config_check(const drt_model_config *c, const char *name, drt_error *err);

// Patches of one image; rows a LLaVA image takes in the decoder.
int drt_patches(const drt_clip_tower *v);
int drt_visual_rows(const drt_model_config *c);

#endif
