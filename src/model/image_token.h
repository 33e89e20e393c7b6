// <image> in a vocabulary that lacks it, as transformers' LLaVA wants it: an id behind the tokenizer's, a row for it in
// the embedding and the output projection, and the tokenizer's files that name it.
#ifndef DRT_MODEL_IMAGE_TOKEN_H
#define DRT_MODEL_IMAGE_TOKEN_H

#include "base/error.h"

#include <stdint.h>

enum { DRT_VOCABULARY_STEP = 64 }; // as llava-hf: a vocabulary that grows becomes a multiple of this

// Ids that were added; -1: not.
typedef struct {
    int image, pad;
} drt_added_tokens;

// Copies tokenizer.json and tokenizer_config.json of a folder with the tokens added (special, neither stripped nor
// normalised); where there is tokenizer.model alone, they join those of added_tokens.json. A folder with none is left
// alone; DRT_EFORMAT: not the JSON that such files are.
drt_status drt_added_tokens_write(const drt_added_tokens *added, const char *from, const char *to, drt_error *err);
// Fills rows [rows - grown, rows) of [rows, cols] with the mean of the rows before them.
void drt_fill_added_rows(float *x, int64_t rows, int64_t cols, int64_t grown);

#endif
