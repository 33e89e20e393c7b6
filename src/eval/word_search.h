// The words of a list that are most like some rows: cosines of all rows with all words, a chunk of words at a time, so
// that memory does not grow with the list.
#ifndef DRT_EVAL_WORD_SEARCH_H
#define DRT_EVAL_WORD_SEARCH_H

#include "tensor/ops.h"

typedef struct {
    int64_t words;
    int chunk; // words at a time; 0: 1024
    // Rows of length 1 of words [from, from + n), chunk after chunk from 0 on: [n, width] in the tape's memory. NULL
    // after a failure, which sticks to the tape, or stands in *err.
    drt_tensor *(*rows)(void *user, drt_tape *t, int64_t from, int n, drt_error *err);
    void *user;
} drt_word_rows_of;

// For each of x's rows (of length 1) the `most` words of the largest score above `least`, best first; of equal words
// the first. The score is the cosine, or its negative. word, score: [rows * most]; where there are fewer, word is -1
// and score 0. Temporaries are released from the tape's memory.
drt_status drt_word_search(drt_tape *t, drt_tensor *x, const drt_word_rows_of *of, bool negated, float least, int most,
                           int32_t *word, float *score, drt_error *err);

#endif
