// The products of a linear layer, for operations that hold one. Over the blocks of the weight's rows, which are one but
// in mapped files (drt_weight_rows); operands are read as the weight says (drt_operand).
#ifndef DRT_TENSOR_LINEAR_H
#define DRT_TENSOR_LINEAR_H

#include "tensor/tape.h"

// y (+)= x w^T + b; b.data may be NULL.
void drt_linear_forward(drt_device *dev, drt_mat x, const drt_tensor *w, drt_mat b, bool acc, drt_mat y);
// dx (+)= dy w
void drt_linear_input(drt_device *dev, drt_mat dy, const drt_tensor *w, bool acc, drt_mat dx);
// dw (+)= dy^T x
void drt_linear_weight(drt_device *dev, drt_mat dy, drt_mat x, const drt_tensor *w, bool acc, drt_mat dw);

#endif
