// Rows that sequences of a batch begin with alike, run once: the system prompt of all conversations, and the picture
// and its prompt where a sample brings several passes (Direct-LLaVA's descriptions with their words in order and out of
// it). In a causal decoder a row's state is a function of itself and the rows before it, so it is the same state, and
// its gradient the sum of what each sequence would send. Only keys and values are told apart by sequence.
#ifndef DRT_ALIGN_SHARE_H
#define DRT_ALIGN_SHARE_H

#include "data/batch.h"
#include "tensor/tape.h"

// The same batch with such rows left out behind their first sequence, and key_row set; b itself where there are none.
// A row that somebody reads (select) stays with its sequence, and so does every row behind it. Memory from the step's
// values; NULL after a failure, which sticks to the tape. Not for input orders or dropout, which tell the rows apart.
const drt_batch *drt_share_prefixes(drt_tape *t, const drt_batch *b);

#endif
