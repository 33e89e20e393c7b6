// TokenMixer (METHODS 4): an input order for training and inference. Every visual token in front of the first answer
// goes to the prompt's text token that is most like it, where the cosine of the two is tau or more; the others stay, in
// their order, before all prompt text.
//
//   [directed token] [BOS] [visual tokens of no word] ... [visual tokens of a word] [the word] ... | answer ...
//
// Which rows may move: visual tokens in front of the first answer of a sequence; what an answer has seen would
// otherwise change with what is said after it. Text keeps its order, the answer and all behind it their places. Special
// tokens attract nothing. Of equally similar words the first one counts. No gradient flows through the choice.
//
// Reordering costs nothing: the places go into the index arrays of the splice (drt_splice_rows), which gathers anyway.
#ifndef DRT_ALIGN_TOKEN_MIXER_H
#define DRT_ALIGN_TOKEN_MIXER_H

#include "data/batch.h"
#include "model/model.h"

enum { DRT_MIXER_UNMATCHED = -1 };

// Sequences laid end to end, before they are spliced.
typedef struct {
    int sequences;
    const int32_t *offsets;        // [sequences + 1]
    const int32_t *prompt;         // [sequences] rows in front of the first answer
    const int32_t *token, *visual; // [rows] as in drt_splice
} drt_mixer_rows;

// The row of sequence s from which on its prompt moves: behind a directed token in front, and BOS.
int32_t drt_prompt_lead(const drt_model *m, const drt_mixer_rows *rows, int s);

typedef struct {
    int32_t *to;    // [rows] the place of each row
    int32_t *match; // [rows] the row of a visual token's word, or DRT_MIXER_UNMATCHED
    float *cosine;  // [rows] of a visual token and its most similar word, also below tau; -1: there was no word
} drt_mixer_places;

// Where every row goes. seen: the visual tokens [.., d], NULL if there are none; then nothing moves. The arrays are in
// the tape's memory. False after a failure, which sticks to the tape.
bool drt_token_mixer_places(drt_tape *t, const drt_model *m, const drt_token_mixer *how, const drt_mixer_rows *rows,
                            const drt_tensor *seen, drt_mixer_places *out);
// The batch with its rows in their places: marks and selections go with them, rows that predict a word stay in front of
// it. b itself where nothing is to be done; NULL after a failure. In the tape's memory.
const drt_batch *drt_token_mixer_batch(drt_tape *t, const drt_model *m, const drt_token_mixer *how, const drt_batch *b,
                                       const drt_tensor *seen);

#endif
