// A model: its config, its parameters, its parts. LLaVA, CLIP and a decoder alone are the same struct with parts
// absent.
//
//   drt_model *m;
//   drt_model_options o = {0};                       // inference: nothing learns
//   if (drt_model_open(&m, "models/llava", &o, &err)) ...
//   drt_model_save(m, "out/model", &err);            // a folder that transformers loads
//   drt_model_close(m);
#ifndef DRT_MODEL_MODEL_H
#define DRT_MODEL_MODEL_H

#include "base/progress.h"
#include "data/template.h"
#include "format/image.h"
#include "format/tokenizer.h"
#include "model/adapter.h"
#include "model/decoder.h"
#include "model/image_token.h"
#include "model/permuter.h"
#include "model/storage.h"
#include "model/tower.h"

// Parts that training adds beside the model; they are saved in directed.safetensors (drt_directed_save) and never in
// the model's own files.
typedef struct {
    drt_param *token;           // [1, d] the directed token (METHODS 2.1)
    drt_param *order, *order_b; // [K, d], [1, K]: its final state -> logits over the bank
    drt_param *balance;         // [objectives, 1] log-variances of `weights: learned`
    drt_param *temperature;     // [1, 1] logarithm of the scale of SEA's scores (sea.safetensors)
    drt_param *probe;           // [classes, vision width] head of patch_words
    drt_permuter *permuter;     // GPS (gps.safetensors); NULL: none
} drt_extra;

typedef struct drt_model_options {
    bool learns[DRT_GROUPS];
    drt_keep keep;
    int order_classes; // 0: no directed token, no order head
    int objectives;    // 0: no balance
    int probe_classes; // 0: no probe
    bool temperature;  // SEA's
    // The permuter of a training, its width the decoder's, hidden 0: four times that; layers 0: none. Where the folder
    // or the adapter's has one it goes on with that, which must be of this shape. NULL: the adapter's, or the folder's
    // if config.json names gps as its order.
    const drt_permuter_shape *permuter;
    const char *scales; // of an assembled model: S²-Wrapper, "336,672,1008"; NULL or "": none
    uint64_t seed;      // of everything that is not in the files
    // Numbers in the files that will fill the towers and the decoder (0: nothing will). These then start as 0, and a
    // config that describes more is refused before memory is taken for it.
    int64_t stored;
    // Folders of an original LLaVA's vision tower and language model where its own does not tell (model/files.h); NULL.
    const char *vision, *decoder;
    const drt_lora *lora; // new adapters beside the layers that `targets` choose (format/peft.h); NULL: none
    const char *targets;
    const char *adapter;    // a PEFT folder; NULL: none. Of `lora` then only the dropout counts
    bool look_through;      // all mapped weights for NaN, as a training does; else the first 128 MB of them
    drt_progress *progress; // reading weights, in tensors; NULL: silent
    bool dry;               // sizes and tokenizer alone: weights are addresses that read as zero (a dry run)
    bool image_row;         // LLaVA: a vocabulary without <image> gets a row for it (model/image_token.h)
} drt_model_options;

typedef struct drt_model {
    drt_model_config config;
    drt_params *params;
    drt_vision vision;
    drt_text_tower clip_text;
    // CLIP; NULL where the family has none
    drt_param *visual_projection, *text_projection, *text_projection_b;
    drt_param *logit_scale, *logit_bias;
    drt_decoder language;
    drt_param *projector[DRT_PROJECTOR_LAYERS], *projector_b[DRT_PROJECTOR_LAYERS]; // LLaVA; config.projector of them
    drt_extra extra;
    drt_adapter adapter;
    drt_tokenizer *tokenizer;  // NULL if the folder has none
    drt_preprocess preprocess; // size 0 without a vision tower
    const drt_template *how;   // how conversations are written when nobody says otherwise; NULL: unknown
    char *folder;              // where its tokenizer came from; NULL for a new one
    const char *dtype;         // of the files it came from: "F32", "BF16" or "F16"; "F32" if they are mixed, or new
    drt_added_tokens added;    // what image_row added to the tokenizer; -1: nothing
    drt_weights *files[3];     // the files that mapped weights lie in; NULL: none do
} drt_model;

// Declares and allocates a model of these sizes, weights initialised from options->seed.
drt_status drt_model_new(drt_model **out, const drt_model_config *config, const drt_model_options *options,
                         drt_error *err);
// The two halves of that: parts, parameters and their names; memory for weights, and those that no file fills. Between
// them the storage of parameters is settled (model/storage.h).
drt_status drt_model_declare(drt_model **out, const drt_model_config *config, const drt_model_options *options,
                             drt_error *err);
drt_status drt_model_allocate(drt_model *m, const drt_model_options *options, drt_error *err);
// Opens a folder in any layout of model/layout.h: config.json, *.safetensors or pytorch_model*.bin, tokenizer.json,
// preprocessor_config.json. A missing tensor, a wrong shape, or a tensor that belongs nowhere is refused by name.
drt_status drt_model_open(drt_model **out, const char *folder, const drt_model_options *options, drt_error *err);
// The starting point of stage 1: vision tower of a CLIP or vision folder, decoder and tokenizer of a folder, a new
// projector of that many layers whose output is scaled to the root mean square of the word embeddings.
drt_status drt_model_assemble(drt_model **out, const char *vision, const char *language, int projector,
                              int select_layer, const drt_model_options *options, drt_error *err);
// Writes config.json, model.safetensors (dtype "F32", "BF16" or "F16"), preprocessor_config.json,
// generation_config.json and copies the tokenizer's files. Each file atomically.
drt_status drt_model_save(const drt_model *m, const char *folder, const char *dtype, drt_error *err);
// The same in another layout. DRT_LAYOUT_LLAVA of a LLaVA: the tower in FOLDER/vision_tower with its own config.
drt_status drt_model_save_as(const drt_model *m, const char *folder, drt_layout layout, const char *dtype,
                             drt_error *err);
// Whether the files of `folder` hold exactly m's weights rounded to `dtype`. DRT_EIO: the first tensor that differs.
drt_status drt_model_compare(const drt_model *m, const char *folder, const char *dtype, drt_error *err);
void drt_model_close(drt_model *m);
// The template to write conversations with: `wanted`, or the model's own where that is NULL (drt_template_choose).
// DRT_ECONFIG: the model has no tokenizer, its chat template is none that drt knows, or the tokenizer lacks a token.
drt_status drt_model_template(const drt_model *m, const drt_template *wanted, const drt_template **out, drt_error *err);

// The learning extras and the permutation bank beside the model: directed.safetensors.
drt_status drt_directed_save(const drt_model *m, const int32_t *bank, int classes, int cells, const char *folder,
                             drt_error *err);
// Reads token and head into m->extra (which must have the same classes) and the bank into *bank (malloc'ed
// [classes * cells]); a folder without the file leaves everything as it is and sets *bank to NULL.
drt_status drt_directed_load(drt_model *m, const char *folder, int32_t **bank, int *classes, int *cells,
                             drt_error *err);

// SEA's temperature beside the model: sea.safetensors. Nothing to do without one; a folder without the file leaves it
// as it is.
drt_status drt_sea_save(const drt_model *m, const char *folder, drt_error *err);
drt_status drt_sea_load(drt_model *m, const char *folder, drt_error *err);

// ---- forward ---------------------------------------------------------------------------------------------------
// Patch rows of `pictures` pictures as a matrix.
drt_mat drt_picture_rows(const drt_model *m, float *patches, int64_t pictures);
// Visual tokens g(f(x)): patches [images * P, 3*patch*patch] -> [images * rows, d] (rows = drt_visual_rows). The vision
// tower runs without a tape unless it learns.
drt_tensor *drt_visual_tokens(drt_tape *t, const drt_model *m, drt_mat patches, bool recompute);
// The hidden state of the selected layer before the projector, class rows dropped (or kept, by config). With scales
// (S²) patches are those of all views, [images * drt_views * P, ...]; the features of a scale's tiles are laid together
// and averaged down to the grid of one tile, and the scales stand side by side: [images * P, drt_feature_width].
// Of a tower that does not learn, a picture's rows are the same bits whichever other pictures stand beside it.
drt_tensor *drt_visual_features(drt_tape *t, const drt_model *m, drt_mat patches, bool recompute);
drt_tensor *drt_project(drt_tape *t, const drt_model *m, drt_tensor *features);

// Rows of length 1 in the joint space of a CLIP or SigLIP model. hidden: the vision tower's last hidden state.
drt_tensor *drt_image_embedding(drt_tape *t, const drt_model *m, drt_tensor *hidden);
drt_tensor *drt_text_embedding(drt_tape *t, const drt_model *m, const int32_t *id, const int32_t *offsets, int n,
                               bool recompute);

// A decoder batch: every row is a word, a visual token or the directed token. Row r is token[r] >= 0, or visual row
// visual[r] >= 0, or neither: the directed token.
typedef struct {
    int64_t rows;
    const int32_t *token, *visual;
} drt_splice;
// The spliced input [rows, d]. visual tokens may be NULL if no row is visual.
drt_tensor *drt_splice_rows(drt_tape *t, const drt_model *m, const drt_splice *s, drt_tensor *visual);

#endif
