// A picture with a word on each of its patches.
#ifndef DRT_EVAL_WORD_PICTURE_H
#define DRT_EVAL_WORD_PICTURE_H

#include "format/image.h"

typedef enum { DRT_WORD_UNJUDGED, DRT_WORD_RIGHT, DRT_WORD_WRONG } drt_word_verdict; // white, green, red

// Draws side x side patches, the picture darkened behind them; words that do not fit are broken, what is left after
// that cut off. seen: the picture as the model is shown it (any square). word, verdict: [side * side]. *out is new and
// the caller's.
drt_status drt_word_picture(const drt_image *seen, int side, char *const *word, const drt_word_verdict *verdict,
                            drt_image *out, drt_error *err);

#endif
