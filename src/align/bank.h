// The permutation bank of image order (METHODS 2.1): K permutations of the cells of a grid, far from each other.
#ifndef DRT_ALIGN_BANK_H
#define DRT_ALIGN_BANK_H

#include "base/error.h"

#include <stdint.h>

// Draws `classes` different permutations of `cells` cells: each is the best of several random candidates by its least
// Hamming distance to those chosen before (to at most 256 of them, evenly spread, when there are more). Same seed, same
// bank. *bank: malloc'ed [classes, cells]. Fewer permutations than classes exist: DRT_ECONFIG.
drt_status drt_bank_draw(int32_t **bank, int classes, int cells, uint64_t seed, drt_error *err);
// A bank from a file must hold permutations: DRT_EFORMAT names the first row that does not.
drt_status drt_bank_check(const int32_t *bank, int classes, int cells, drt_error *err);

#endif
