// Low-rank adapters (LoRA) beside the linear layers of a model: declared with it, read from and written as PEFT
// folders, merged into its weights.
//
//   drt_model_options o = {.adapter = "out/run/adapter"};        // or .lora and .targets: new ones
//   if (drt_model_open(&m, "models/llava", &o, &err)) ...         // every forward pass now counts them in
//   drt_adapter_save(m, "out/adapter", &err);
//   drt_adapter_merge(m, dev, &err);                             // W += scale B A; the adapters are gone
//
// A module is a linear layer as transformers names it: q, k and v each have their own, though they are one parameter
// here. Layers that can have one: the attention and feed-forward layers of decoder, vision and text tower, the
// projector, the projections to the joint space, and, where they are named, lm_head and the convolution that makes
// patches.
#ifndef DRT_MODEL_ADAPTER_H
#define DRT_MODEL_ADAPTER_H

#include "format/peft.h"
#include "format/weights.h"
#include "tensor/fingerprint.h"
#include "tensor/ops.h"
#include "tensor/params.h"

typedef struct {
    int slice; // of params: the weight it stands beside
    drt_low_rank added;
    drt_param *a, *b; // [rank, in], [out, rank]
} drt_adapter_module;

typedef struct {
    drt_lora lora;
    drt_adapter_module *module;
    int n;
    bool vision;        // one stands in the vision tower
    bool projector;     // the folder brought a projector, which goes on with it whether it learns or not
    drt_weights *files; // while the model is being opened
    char *path;         // of those
    char *base;         // what the base was called when it was trained; NULL: unknown, or it is new
    drt_fingerprint beside[DRT_LANGUAGE + 1]; // the weights of the model's parts as they were opened
} drt_adapter;

struct drt_model;
struct drt_model_options;
// The steps of opening a model. Declares, after every other parameter, what the options ask for. DRT_ECONFIG: a target
// that chooses nothing (the message lists what there is). DRT_EFORMAT: a folder made for another base, by its tensor.
drt_status drt_adapter_declare(struct drt_model *m, const struct drt_model_options *options, drt_error *err);
// Fills them, and the projector if the folder holds one, from the folder. `base`: what the model was opened from.
// DRT_EFORMAT: a folder that says it was trained beside other weights of the same shapes.
drt_status drt_adapter_load(struct drt_model *m, const char *base, drt_error *err);
void drt_adapter_free(drt_adapter *a);

// adapter_model.safetensors (F32), then adapter_config.json. A projector that learns, or that came with the adapter, is
// stored whole (modules_to_save). Fingerprints of the other parts that did not learn stand in the metadata of the
// first, which peft leaves alone.
drt_status drt_adapter_save(const struct drt_model *m, const char *folder, drt_error *err);
// Adds the products to the weights, which must be f32 (drt_model_options.keep), and takes the adapters away.
drt_status drt_adapter_merge(struct drt_model *m, drt_device *dev, drt_error *err);

#endif
