// Hugging Face config.json: the sizes of a model, checked before anything is allocated.
#ifndef DRT_FORMAT_HF_CONFIG_H
#define DRT_FORMAT_HF_CONFIG_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum { DRT_ACT_GELU, DRT_ACT_QUICK_GELU, DRT_ACT_SILU, DRT_ACT_GELU_TANH } drt_act; // hidden_act
enum { DRT_ACTS = 4 };
extern const char *const drt_act_names[DRT_ACTS];

// What families of towers differ in; everything else is one code (model/tower.h).
typedef struct {
    const char *pair, *vision, *text;     // model_type of both towers together, and of each
    const char *architecture[2];          // of both together, of the vision tower alone
    bool class_row, pre_norm, patch_bias; // vision: a learnt row in front, a norm before the layers, a bias of patches
    bool causal;                          // text: and read at its end mark; else bidirectional and read at its last row
    bool logit_bias;                      // the score of a picture and a text has a bias: trained by the sigmoid loss
} drt_family;
extern const drt_family drt_clip, drt_siglip;

// A vision transformer, or the text transformer that was trained with it.
typedef struct {
    const drt_family *family;
    int width, layers, heads, ffn;
    drt_act act;
    float eps;
    int joint;            // width of the joint space (projection_dim; SigLIP: projection_size of the text)
    int image, patch;     // vision: pixels
    bool head;            // vision without class row: attention pooling (vision_use_head)
    int vocab, positions; // text
    int bos, eos, pad;    // text; CLIP reads the row of the first eos (model/tower.h has the old rule)
} drt_tower;

// Families of decoders, by Hugging Face's model_type: what their tensors are called and which keys their configs have.
// LLAMA: LLaMA-2, LLaMA-3, Vicuna, TinyLlama. QWEN2: Qwen1.5, Qwen2, Qwen2.5. PHI: Phi-1, Phi-1.5, Phi-2.
typedef enum {
    DRT_LLAMA,
    DRT_MISTRAL,
    DRT_QWEN2,
    DRT_GEMMA,
    DRT_PHI3,
    DRT_PHI,
    DRT_DECODER_FAMILIES
} drt_decoder_family;

// How rotary angles are stretched for a longer context. DYNAMIC begins behind max_position_embeddings, where this
// version does not go: plain. LONGROPE has other angles for sequences beyond `original`; this version ends there.
enum { DRT_LONGROPE_PAIRS = 128 };
typedef struct {
    enum {
        DRT_ROPE_PLAIN,
        DRT_ROPE_LINEAR,
        DRT_ROPE_DYNAMIC,
        DRT_ROPE_LLAMA3,
        DRT_ROPE_YARN,
        DRT_ROPE_LONGROPE,
        DRT_ROPES
    } kind;
    double factor;
    // LLAMA3, YARN: pairs of fewer than `low` turns in `original` rows are stretched, of more than `high` not.
    double low, high;
    int original;
    bool truncate;    // YARN: what lies between begins and ends at whole pairs
    double attention; // YARN, LONGROPE: factor on queries and keys
    // LONGROPE: a divisor for each pair; up to `original` rows the short ones hold, the others are kept to be written
    int pairs;
    float shorter[DRT_LONGROPE_PAIRS], longer[DRT_LONGROPE_PAIRS];
} drt_rope_scaling;

enum { DRT_MORE_EOS = 7 };
// What a decoder computes: everything in which the families differ.
typedef struct {
    drt_decoder_family family;
    int width, layers, heads, kv_heads, head_size, ffn, vocab, positions;
    int rotary; // channels of a head that turn, from the first on
    double rope_theta;
    drt_rope_scaling scaling;
    int window, window_from; // layers from window_from on see only the last `window` rows; 0: all rows, everywhere
    drt_act act;
    float eps;
    bool gated;                                   // down(act(gate) * up), else down(act(up))
    bool parallel;                                // the feed-forward reads what attention reads, not what it leaves
    bool layer_norm;                              // with bias, in place of RMS norms
    bool norm_from_one;                           // the norm's factor is 1 + its weight
    bool words_scaled;                            // a word's row is its embedding times sqrt(width)
    bool qkv_bias, out_bias, mlp_bias, head_bias; // which maps have biases
    bool tied;                                    // the output projection is the embedding
    int bos, eos, pad;                            // -1: none
    int also_eos[DRT_MORE_EOS], more_eos;         // further ids that end an answer, where eos_token_id is a list
} drt_decoder_config;

enum { DRT_SCALES = 4 }; // the most scales of a picture

// The order of the input (align/token_mixer.h, align/gps.h); a folder remembers the one that it was trained with.
typedef enum { DRT_INPUT_NONE, DRT_INPUT_TOKEN_MIXER, DRT_INPUT_GPS, DRT_INPUT_ORDERS } drt_input_order;
typedef enum { DRT_MIXER_BEFORE, DRT_MIXER_AFTER, DRT_MIXER_SIDES } drt_mixer_side;
extern const char *const drt_input_order_names[DRT_INPUT_ORDERS]; // "none", "token_mixer", "gps"
extern const char *const drt_mixer_side_names[DRT_MIXER_SIDES];   // "before", "after"
typedef struct {
    drt_input_order order; // NONE: rows stay as they are spliced
    float tau;             // TOKEN_MIXER: least cosine, in [-1, 1]
    drt_mixer_side side;   // TOKEN_MIXER: of its word that a visual token is put on
} drt_token_mixer;

// CLIP: a vision and a text tower of either family. VISION: the vision tower alone.
typedef enum { DRT_MODEL_LLAVA, DRT_MODEL_CLIP, DRT_MODEL_LANGUAGE, DRT_MODEL_VISION } drt_model_kind;
// A projector is that many linear layers with GELU between them: 0 identity, 1 linear, N mlpNx_gelu.
enum { DRT_PROJECTOR_LAYERS = 8 };

typedef struct {
    drt_model_kind kind;
    drt_tower vision, text;      // LLAVA, VISION: vision; CLIP: both
    drt_decoder_config language; // LLAVA, LANGUAGE
    // LLAVA
    int projector;    // layers
    int select_layer; // as vision_feature_layer: -2 is the output of the last layer but one
    // S²-Wrapper: sides of the scales in pixels, ascending, the first the tower's own; scales 0: only that one.
    int scales, scale[DRT_SCALES];
    // Rows of a picture in front of its first patch: 1, its class row; 0; -1: the first patch itself is left out, which
    // vision_feature_select_strategy "default" means to transformers and TinyLLaVA where there is no class row.
    int front;
    int image_token; // id of <image>; -1: the vocabulary has none
    drt_token_mixer order;
    bool pad; // image_aspect_ratio "pad" of an original LLaVA
    // Visual tokens are multiplied as words are where the decoder scales these (Gemma): by programs on transformers 4
    bool visual_scaled;
    // Original LLaVA: the folder or name of the vision tower; "": the tower is in the model's own folder and config.
    char tower[256];
    bool tower_inside; // its weights are those among the model's, its folder gives the sizes only

    // drt_template: how conversations are written; "": see drt_template_choose
    char conversation[24];
} drt_model_config;

// Reads FOLDER/config.json. Keys that Hugging Face leaves out get Hugging Face's defaults.
drt_status drt_model_config_read(drt_model_config *c, const char *folder, drt_error *err);
// The same from text; `name` stands in messages.
drt_status drt_model_config_parse(drt_model_config *c, const char *json, const char *name, drt_error *err);
// Writes config.json for `transformers`, which loads the weights as this `dtype` ("F32", "BF16", "F16").
void drt_model_config_write(const drt_model_config *c, const char *dtype, drt_text *out);
// Sizes that cannot be (0 heads, width not divisible, ...) are refused, naming the key.
drt_status drt_model_config_check(const drt_model_config *c, const char *name, drt_error *err);

// "linear", "identity", "mlp3x_gelu", ... -> its layers; -1 if there is no such projector, or too many layers.
int drt_projector_layers(const char *name);
void drt_projector_name(char out[16], int layers);

static inline bool drt_has_vision(const drt_model_config *c) { return c->kind != DRT_MODEL_LANGUAGE; }
static inline bool drt_has_decoder(const drt_model_config *c) {
    return c->kind == DRT_MODEL_LLAVA || c->kind == DRT_MODEL_LANGUAGE;
}
// "key": the id, or the list of all of them; no line end. Nothing to end with: null.
void drt_eos_write(const drt_decoder_config *l, const char *key, drt_text *out);
// Rows that a sequence may have: max_position_embeddings, a shorter sliding window, which this version does not slide,
// or where LONGROPE would change to other angles.
int drt_decoder_context(const drt_decoder_config *l);
// Patches of one image; rows of it in the tower; rows a LLaVA image takes in the decoder.
int drt_patches(const drt_tower *v);
int drt_tower_rows(const drt_tower *v);
int drt_visual_rows(const drt_model_config *c);
// S²: pictures of the tower's own size that one picture is cut into, and the columns of its features.
int drt_views(const drt_model_config *c);
int drt_feature_width(const drt_model_config *c);
// "336,672,1008" -> c->scales, c->scale, sorted; "" or NULL: none. DRT_ECONFIG names `key`.
drt_status drt_scales_parse(drt_model_config *c, const char *text, const char *name, const char *key, drt_error *err);
void drt_scales_name(char out[64], const drt_model_config *c);

#endif
