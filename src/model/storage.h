// How a model keeps the weights that files hold: which type, and whether they stay where they lie.
#ifndef DRT_MODEL_STORAGE_H
#define DRT_MODEL_STORAGE_H

#include "model/files.h"

// Of matrices. Vectors (norms, biases) and what training adds beside the model are f32 always.
typedef enum {
    DRT_KEEP_F32,    // in f32, whatever the files hold
    DRT_KEEP_BF16,   // in bf16, rounded where the files hold more; with f32 masters where they learn
    DRT_KEEP_F16,    // in f32, multiplied as f16: a choice of speed, not of memory
    DRT_KEEP_STORED, // as the files hold them, f16 and bf16 where they lie (mapped); in f32 where they learn
    DRT_KEEPS
} drt_keep;
extern const char *const drt_keep_names[DRT_KEEPS]; // as users say it: f32, bf16, auto

// Settles it for every parameter, between declaration and allocation.
void drt_storage_settle(drt_params *p, drt_model_files *f, drt_keep keep, const bool learns[DRT_GROUPS]);
// Whether the tensor `found` of this slice holds all of it (a vocabulary may have grown since).
int drt_storage_grown(const drt_model_files *f, const drt_slice *slice);
// Puts the tensor's numbers where the slice's parameter keeps them. Shapes were checked (drt_layout_fits). NaN and
// infinity are refused; in mapped weights they are looked for until *left bytes have been, and *left falls.
drt_status drt_storage_fill(drt_slice *slice, const drt_weight *found, size_t *left, drt_error *err);
const char *drt_storage_name(drt_dtype type); // as in files: "F32", "BF16", "F16"

#endif
