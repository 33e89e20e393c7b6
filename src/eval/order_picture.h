// A drawing of what an input order does to one question: the picture as the model sees it, every patch in the colour of
// the word that its visual token went to (TokenMixer) or of its place (GPS), and below it the prompt as the decoder
// reads it; of GPS also the permutation as a matrix.
//
//   drt_order_question q = {.message = "What is left of the cup?", .image = "cup.jpg"};
//   drt_text svg = {0};
//   if (drt_order_picture(model, tape, &mixer, &q, &svg, &err)) ...
//   ... svg.bytes, svg.size ...
//   drt_text_free(&svg);
#ifndef DRT_EVAL_ORDER_PICTURE_H
#define DRT_EVAL_ORDER_PICTURE_H

#include "align/gps.h"
#include "base/text.h"
#include "data/template.h"

typedef struct {
    const drt_template *how; // NULL: the model's own
    const char *system;      // instead of the template's; NULL: that one
    const char *message, *image;
} drt_order_question;

// Appends one self-contained <svg>, readable on light and dark ground. DRT_ECONFIG: the model sees no pictures, has no
// tokenizer, or no permuter where the order is gps; DRT_EIO, DRT_EFORMAT: the picture. Starts a step of the tape.
drt_status drt_order_picture(const drt_model *m, drt_tape *t, const drt_token_mixer *order, const drt_order_question *q,
                             drt_text *svg, drt_error *err);

#endif
