// Adapters as PEFT's folders hold them: adapter_config.json, and how modules are chosen by name. The tensors are in
// adapter_model.safetensors: "base_model.model.MODULE.lora_A.weight" [rank, in] and "...lora_B.weight" [out, rank].
#ifndef DRT_FORMAT_PEFT_H
#define DRT_FORMAT_PEFT_H

#include "base/error.h"
#include "base/text.h"

#include <stddef.h>

// y += scale * (drop(x) A^T) B^T beside a frozen W (Hu et al. 2021).
typedef struct {
    int rank;
    double alpha, dropout;
    bool root; // use_rslora: scale alpha / sqrt(rank) instead of alpha / rank
} drt_lora;
float drt_lora_scale(const drt_lora *l);

// Reads FOLDER/adapter_config.json. DRT_ECONFIG: another kind of adapter (DoRA, biases, ranks that differ by module,
// ...), named by its key; a rank below 1. Which modules it has, its tensors tell. *base: the model that it was trained
// beside, as it was called then, malloc'ed; NULL where the file does not say.
drt_status drt_peft_read(drt_lora *out, char **base, const char *folder, drt_error *err);
// The file. modules: full names of the adapted ones; base: the model's folder; `saved`: the one module that is stored
// whole beside them, NULL: none; causal: a causal language model.
void drt_peft_write(const drt_lora *l, const char *const *modules, int n, const char *saved, const char *base,
                    bool causal, drt_text *out);

// Targets as users write them: items between commas. Steps over the next one; false at the end.
bool drt_target_next(const char **targets, const char **item, size_t *n);
// Whether an item chooses the module `name`:
//   all-linear               every one
//   q_proj, mlp.up_proj      a module of that name, or one that ends with it behind a dot (as PEFT's lists)
//   model.language_model.*   with * ? [ ]: a file pattern of the whole name, * any characters
//   /.*\.(q|v)_proj/         between slashes: a regular expression of the whole name (as PEFT's strings)
// DRT_ECONFIG: the expression is none.
drt_status drt_target_matches(const char *item, size_t n, const char *name, bool *yes, drt_error *err);

#endif
