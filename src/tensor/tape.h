// Tensors and the tape: operations compute at once and record how to go back.
//
//   drt_tape *t = drt_tape_new(dev, &err);
//   drt_tape_begin(t, true);                        // a new step: the arenas start over
//   drt_tensor *y = drt_linear(t, x, w, b);         // ops.h
//   drt_tensor *loss = ...;                         // [1, 1]
//   drt_backward(t, loss);                          // adds to the gradients of the parameters
//   if (drt_tape_failed(t, &err)) ...               // sticky: after a failure operations return NULL and do nothing
//
// Rules
// - A tensor is a matrix of token rows. Values and gradients live in arenas that are reset by drt_tape_begin.
// - needs_grad says that something upstream learns. Nothing is recorded or computed backwards where it is false.
// - The first writer of a gradient writes, later ones add; buffers return to a pool once their producer has run.
// - Scalars (losses) are [1, 1] tensors in host memory whatever the device.
#ifndef DRT_TENSOR_TAPE_H
#define DRT_TENSOR_TAPE_H

#include "base/arena.h"
#include "kernels/kernels.h"

typedef struct drt_low_rank drt_low_rank; // ops.h

typedef struct drt_tensor {
    drt_mat value;
    drt_mat grad; // data NULL until a buffer is taken
    bool needs_grad;
    bool grad_set;           // grad holds a value: the next writer adds
    bool grad_shared;        // grad is somebody else's read-only memory: copied before anything is added
    bool leaf;               // lives outside the tape (parameter): grad is persistent and always added to
    bool parted;             // has parts (drt_part)
    struct drt_tensor *base; // for a part: whose rows and columns these are
    int64_t row, col;        // where in base
    // A weight in a mapped file whose rows do not lie together: its blocks of rows, one below the other. value.data is
    // then NULL, and drt_linear its only user (drt_weight_rows).
    const drt_mat *block;
    bool f16;                  // of an f32 weight: its products read both operands as f16 (drt_operand)
    const drt_low_rank *added; // of a weight: what drt_linear adds to its products
} drt_tensor;

typedef struct drt_tape drt_tape;
typedef void (*drt_back)(drt_tape *t, void *context);

drt_tape *drt_tape_new(drt_device *dev, drt_error *err);
// A tape of addresses alone, for a device that is dry: drt_tape_need then tells what a step takes.
drt_tape *drt_tape_new_dry(drt_device *dev, drt_error *err);
void drt_tape_free(drt_tape *t);
// Starts a step: releases everything of the last one. record false: inference, nothing is kept for a backward.
void drt_tape_begin(drt_tape *t, bool record);
bool drt_tape_recording(const drt_tape *t);
// Switches recording inside a step (the frozen vision tower runs without); returns the former setting.
bool drt_tape_set_recording(drt_tape *t, bool record);
// Turns dropout on until the next drt_tape_begin: masks follow from the key (not 0). 0: off, as after drt_tape_begin.
void drt_tape_set_noise(drt_tape *t, uint64_t key);
uint64_t drt_tape_noise(const drt_tape *t);
drt_device *drt_tape_device(drt_tape *t);
drt_arena *drt_tape_arena(drt_tape *t);
size_t drt_tape_peak(const drt_tape *t);        // most bytes of values and gradients ever held
size_t drt_tape_spare(const drt_tape *t);       // bytes it holds for values and gradients and does not use now
void drt_tape_limit(drt_tape *t, size_t bytes); // of both together, 0: none
// Most bytes of values, and of gradients, ever in use; and memory for so many, taken at once, between steps. `more` is
// what a step may take beyond, values and gradients together; a step that wants still more fails. DRT_ENOMEM: there is
// not so much.
typedef struct {
    size_t values, grads;
} drt_tape_bytes;
drt_tape_bytes drt_tape_need(const drt_tape *t);
drt_status drt_tape_reserve(drt_tape *t, drt_tape_bytes need, size_t more, drt_error *err);

void drt_tape_fail(drt_tape *t, drt_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));
// DRT_OK, or the first failure of the tape or its device, copied into err (NULL allowed).
drt_status drt_tape_failed(const drt_tape *t, drt_error *err);

// An observer of a run, for comparing it with another program's stage by stage. `index` counts a stage's layers, -1
// where there is but one. The value is valid during the call.
typedef void (*drt_tap)(void *user, const char *stage, int index, drt_mat value);
void drt_tape_set_tap(drt_tape *t, drt_tap tap, void *user); // tap NULL: nobody looks
// Shows x to the observer, if there is one and nothing has failed.
void drt_tape_show(drt_tape *t, const char *stage, int index, const drt_tensor *x);

// Runs the recorded operations in reverse from the scalar `loss` (its gradient is 1).
void drt_backward(drt_tape *t, drt_tensor *loss);

// ---- for operations ------------------------------------------------------------------------------------------------
// A new f32 tensor, uninitialised; NULL (and a sticky error) when memory is out or the size overflows.
drt_tensor *drt_tensor_new(drt_tape *t, int64_t rows, int64_t cols, bool needs_grad);
// A tensor over memory of somebody else that outlives the step (inputs).
drt_tensor *drt_tensor_wrap(drt_tape *t, drt_mat value, bool needs_grad);
// x as it is multiplied with the weight w, and the weight's own numbers: read rounded where w says so (linear.c).
drt_mat drt_operand(drt_mat x, const drt_tensor *w);
// The rows of a weight from `row` on that lie together: [up to the last, columns].
drt_mat drt_weight_rows(const drt_tensor *w, int64_t row);
// Zeroed memory that lives as long as the step's values.
void *drt_tape_alloc(drt_tape *t, int64_t count, size_t size);
// Records a backward for `out` (and `out2`, may be NULL): skipped at run time if neither has a gradient. With both
// NULL it always runs.
void drt_tape_record(drt_tape *t, drt_back back, void *context, drt_tensor *out, drt_tensor *out2);
// Where a backward writes the gradient of x; *acc: add instead of write. data NULL if x needs none.
drt_mat drt_grad_target(drt_tape *t, drt_tensor *x, bool *acc);
// Hands the gradient buffer of `from` to `to` if `to` has none yet (no copy); else adds it.
void drt_grad_pass(drt_tape *t, drt_tensor *from, drt_tensor *to);
// For scalars: adds v to the host gradient of x.
void drt_grad_scalar(drt_tape *t, drt_tensor *x, float v);

// ---- blocks --------------------------------------------------------------------------------------------------------
// A block is a piece of network from one tensor to one tensor (and possibly a second output such as the guided mass).
//   keep       everything is recorded as usual
//   recompute  only x and the outputs are kept; the backward runs the block again (gradient checkpointing)
// Without recording, a block's temporaries are released as soon as it is done.
typedef void (*drt_block_fn)(drt_tape *t, const void *context, drt_tensor *x, drt_tensor **y, drt_tensor **y2);
typedef struct {
    int64_t rows, cols;   // of y
    int64_t rows2, cols2; // of y2; rows2 0: there is none
    bool recompute;
} drt_block_shape;
// `context` must outlive the step. y2 may be NULL.
drt_tensor *drt_block(drt_tape *t, drt_block_fn fn, const void *context, drt_tensor *x, const drt_block_shape *shape,
                      drt_tensor **y2);

#endif
