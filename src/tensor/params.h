// Parameters: named matrices that outlive the tape, their gradients and optimizer state in flat buffers.
//
//   drt_params *p = drt_params_new();
//   drt_param *w = drt_param_add(p, DRT_PROJECTOR, 192, 128, DRT_INIT_UNIFORM, 0);   // [rows, cols]
//   drt_param_name(p, w, 0, 192, "multi_modal_projector.linear_1.weight", 2, (int64_t[]){192, 128});
//   drt_params_allocate(p, learns, err);    // learns[group]: gradients and AdamW state only where something learns
//
// One parameter may hold several tensors of a checkpoint, one below the other (q, k and v are one product): each
// checkpoint tensor is a slice of rows with its own name and shape.
//
// Numbers are f32 unless drt_param_store says otherwise before the allocation:
//   learns, bf16    f32 numbers that are trained and saved (`master`), and a bf16 copy of them for the products, made
//                   anew whenever they change (drt_params_refresh; the optimizer does it for what it steps)
//   frozen, 16 bits that copy alone; `mapped`: it stays where the file has it, and nothing is allocated
#ifndef DRT_TENSOR_PARAMS_H
#define DRT_TENSOR_PARAMS_H

#include "base/rng.h"
#include "tensor/tape.h"

// Parts of a model that are frozen, given a learning rate, or saved together.
typedef enum {
    DRT_VISION,
    DRT_CLIP_TEXT,       // CLIP's text tower
    DRT_CLIP_PROJECTION, // the two projections to the joint space
    DRT_TEMPERATURE,     // CLIP's logit scale
    DRT_PROJECTOR,
    DRT_LANGUAGE,
    DRT_DIRECTED,   // the directed token
    DRT_ORDER_HEAD, // drt's hidden state -> permutation
    DRT_BALANCE,    // log-variances of `weights: learned`
    DRT_PATCH_HEAD, // the head of patch_words, thrown away after training
    DRT_ADAPTER,    // low-rank additions to weights
    DRT_PERMUTER,   // GPS
    DRT_GROUPS
} drt_group;
extern const char *const drt_group_names[DRT_GROUPS]; // as in recipes: vision, clip_text, ...

typedef enum {
    DRT_INIT_NORMAL,  // mean 0, standard deviation `scale`
    DRT_INIT_UNIFORM, // PyTorch's default of Linear: uniform in ±1/sqrt(fan in); scale: the fan in, 0: the columns
    DRT_INIT_CONSTANT // `scale` everywhere
} drt_init;

typedef struct drt_param {
    drt_tensor tensor; // leaf; its value is what kernels read
    drt_mat master; // f32, what is trained and saved: the value itself unless that is a copy; data NULL: there is none
    drt_group group;
    drt_init init;
    float scale;
    int64_t offset; // of the master in `weights`, in elements
    int index;
    bool mapped;
    drt_mat *block; // of the tensor, where mapped slices lie apart
    int blocks;
} drt_param;

// The tensor of a parameter that a model may lack: NULL for NULL.
static inline drt_tensor *drt_param_tensor(drt_param *p) { return p ? &p->tensor : NULL; }

typedef struct {
    char *name; // as in the checkpoint, without the model's prefix
    drt_param *param;
    int64_t row, rows;
    int ndim;
    int64_t shape[4];
} drt_slice;

typedef struct drt_params {
    drt_param **at;
    int n;
    drt_slice *slice;
    int slices;
    float *weights;               // all masters, parameter after parameter, groups in the order of adding
    uint16_t *halves;             // what is stored in 16 bits and not mapped; NULL if nothing is
    float *grads, *m, *v;         // of the learning parameters only, packed in the same order; NULL if nothing learns
    int64_t size, half, learning; // elements in weights; in halves; in grads, m, v
    bool dry;                     // set before the allocation: addresses alone, which read as zero (a dry run)
    bool failed;                  // an allocation in _add or _name failed
} drt_params;

drt_params *drt_params_new(void);
void drt_params_free(drt_params *p);
drt_param *drt_param_add(drt_params *p, drt_group group, int64_t rows, int64_t cols, drt_init init, float scale);
void drt_param_name(drt_params *p, drt_param *param, int64_t row, int64_t rows, const char *name, int ndim,
                    const int64_t *shape);
// Short for the common case: one tensor [rows, cols], or [cols] where vector is set.
drt_param *drt_param_named(drt_params *p, drt_group group, int64_t rows, int64_t cols, bool vector, drt_init init,
                           float scale, const char *format, ...) __attribute__((format(printf, 8, 9)));
// How a parameter's numbers are stored (drt_param_add: f32). Mapped ones get them by drt_slice_map and never learn.
void drt_param_store(drt_param *param, drt_dtype type, bool mapped);
// Allocates the flat buffers. Call once, after everything was added. learns NULL: nothing.
drt_status drt_params_allocate(drt_params *p, const bool learns[DRT_GROUPS], drt_error *err);
// Bytes that were allocated; weights: masters, copies, and what is mapped.
typedef struct {
    int64_t weights, gradients, optimizer;
} drt_param_bytes;
drt_param_bytes drt_params_bytes(const drt_params *p);
// The slice's numbers lie at `bytes` (aligned to 2, outliving p) in the type its parameter is stored in. In the order
// of the slices. False when memory is out.
bool drt_slice_map(drt_slice *slice, const void *bytes);
// All numbers of a slice, [1, n] without gaps: of the master if there is one.
drt_mat drt_slice_numbers(const drt_slice *slice);
// The bf16 copies of masters, made anew. Where they change with every step, train/optimizer.c does it.
void drt_params_refresh(drt_params *p);
// Fills the masters of `group` from the stream (seed, index of the parameter).
void drt_params_init(drt_params *p, drt_group group, uint64_t seed);
void drt_params_zero_grads(drt_params *p);
// [offset, offset + n) of the learning buffers that belong to `group` param by param: see train/optimizer.c
int64_t drt_param_grad_offset(const drt_params *p, const drt_param *param); // -1 if it does not learn
const drt_slice *drt_params_find(const drt_params *p, const char *name);
// 64-bit hashes of masters: of all, and of those that learn, which are what tells two runs of one recipe apart.
uint64_t drt_params_hash(const drt_params *p);
uint64_t drt_params_learned(const drt_params *p);

#endif
