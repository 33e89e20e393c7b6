// The files of a model: its config and its tensors, wherever the layout of its folder puts them. Nothing is copied.
//
//   drt_model_files f;
//   if (drt_model_files_open(&f, "llava-v1.5-7b", NULL, NULL, &err)) ...
//   const drt_weight *w = drt_model_files_find(&f, slice);
//   drt_model_files_close(&f);
#ifndef DRT_MODEL_FILES_H
#define DRT_MODEL_FILES_H

#include "model/layout.h"

#include <stdbool.h>

// One checkpoint and what of the model is sought in it.
typedef struct {
    drt_weights *weights;
    char *folder;           // or file
    bool holds[DRT_GROUPS]; // a slice is taken from the first part that holds its group and has it
    bool whole;             // a tensor of it that no slice takes is refused
    bool *used;             // by tensor
} drt_files_part;

typedef struct {
    drt_model_config config; // complete and checked
    drt_files_part part[3];
    int parts;
    char *vision, *text; // folders of preprocessor_config.json and of the tokenizer
    int grown;           // rows that config.language.vocab has beyond the files'
} drt_model_files;

// A Hugging Face folder, or one of the original LLaVA. Of the latter the vision tower is sought in `vision`, else, as
// config.json's mm_vision_tower says, in FOLDER/NAME, FOLDER/LAST and FOLDER/../LAST (LAST: what follows its last
// slash); and where the folder holds mm_projector.bin but no other weights, these are those of `language`. Both may be
// NULL. Of TinyLLaVA also the folder of a training, with a folder a part. On failure nothing stays open.
drt_status drt_model_files_open(drt_model_files *f, const char *folder, const char *vision, const char *language,
                                drt_error *err);
// The tower of one folder and the decoder of another; config's own fields (projector, select_layer) are `like`'s.
drt_status drt_model_files_pair(drt_model_files *f, const drt_model_config *like, const char *vision,
                                const char *language, drt_error *err);
void drt_model_files_close(drt_model_files *f);

int64_t drt_model_files_numbers(const drt_model_files *f);   // in all tensors of all parts
const char *drt_model_files_dtype(const drt_model_files *f); // of all floats; "F32" if they differ
// Marks the tensor as used; NULL if no part has it.
const drt_weight *drt_model_files_find(drt_model_files *f, const drt_slice *slice);
// The first tensor from *part, *at on that belongs nowhere, NULL if there is none; both move behind it (start at 0, 0).
const drt_weight *drt_model_files_stranger(const drt_model_files *f, int *part, int *at);
drt_status drt_model_files_refuse(const drt_weight *stranger, drt_error *err); // DRT_EFORMAT with its name

#endif
