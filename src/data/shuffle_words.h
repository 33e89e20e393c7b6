// The puzzle of text order (METHODS 2.2): a sentence whose words are shuffled, and the question that goes with it.
#ifndef DRT_DATA_SHUFFLE_WORDS_H
#define DRT_DATA_SHUFFLE_WORDS_H

#include "base/rng.h"

#define DRT_TEXT_ORDER_PROMPT "Re-order the sentence to represent the information of the image: "

// `sentence` with its words (split at white space) shuffled by r, joined by single spaces; malloc'ed, NULL: no memory.
char *drt_shuffle_words(const char *sentence, drt_rng *r);

#endif
