// The next token from logits: greedy, or drawn at a temperature from the smallest set of tokens that holds top_p.
#ifndef DRT_INFER_PICK_H
#define DRT_INFER_PICK_H

#include "base/rng.h"
#include "model/model.h"

typedef struct {
    double p;
    int32_t id;
} drt_pick_entry;

typedef struct {
    int n;                 // vocabulary
    uint8_t *banned;       // [n] never picked
    uint8_t *ends;         // [n] ends an answer
    drt_pick_entry *entry; // [n] working room
} drt_picker;

// Bans what no answer may hold: rows of the output that the tokenizer has no piece for (padding of the vocabulary),
// special tokens, the image placeholder. The tokens that end an answer stay: EOS of the tokenizer and of config.json,
// and those of the `stops` strings that are special tokens (<|im_end|>: it would never show in the text).
drt_status drt_picker_new(drt_picker *p, const drt_model *model, const char *const *stop, int stops, drt_error *err);
void drt_picker_free(drt_picker *p); // leaves it zeroed

// temperature 0: the largest logit, the first of equals. Else drawn with one number of r from softmax(logits /
// temperature), cut to the smallest set of most likely tokens that together have at least top_p (Holtzman et al. 2020;
// outside of (0, 1): no cut). -1 if no allowed logit is a finite number.
int32_t drt_pick(drt_picker *p, const float *logits, double temperature, double top_p, drt_rng *r);

#endif
