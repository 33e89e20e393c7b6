// Optimal assignment: which column does every row take, each column once, so that the numbers taken add up to the most?
//
// Shortest augmenting paths (Jonker and Volgenant 1987): rows whose best column is free take it, each of the others is
// brought in along a cheapest path that moves rows before it to other columns. O(n^3) at worst, O(n^2) where nearly all
// rows agree, as in a sharp plan.
#ifndef DRT_ALIGN_ASSIGNMENT_H
#define DRT_ALIGN_ASSIGNMENT_H

#include "base/error.h"
#include "kernels/kernels.h"

// gain: [n, n], finite, f32; column: [n], set. Of several best assignments the same one every time.
drt_status drt_assign(drt_mat gain, int32_t *column, drt_error *err);

#endif
