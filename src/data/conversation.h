// Conversations to token ids and labels, as LLaVA-1.5 writes them (LLAVA.md 2 and 3).
//
//   drt_turn turns[] = {{true, "<image>\nWhat is this?"}, {false, "A cup."}};
//   drt_encoded e;
//   if (drt_conversation_encode(drt_template_find("v1"), tok, turns, 2, 1, &e, &err)) ...
//   e.id:     BOS ... DRT_IMAGE_TOKEN ... "A cup." </s>
//   e.label:  the same id where it is trained on (every answer and its end), DRT_IGNORE elsewhere; not shifted
//   drt_encoded_free(&e);
//
// A template (template.h) prints:  SYSTEM human_first TEXT human_end assistant gap ANSWER end after human_next ...
// gap, ANSWER and end are trained on: what a model must write after a prompt that stops behind `assistant`. Which ids
// these are is read off the tokenizer's byte offsets (a piece that reaches into them is trained on; a special token
// counts where its own letters stand, not the white space it swallows), so that it holds for any tokenizer. The
// stretches between images are tokenised each on its own.
//
// Cleaning (samples with images only; without images "<image>" is ordinary text):
//   one image:      all placeholders of a turn become one "<image>\n" at its front, the turn is stripped. Exactly one
//                   turn may have any.
//   k > 1 images:   k placeholders in all, kept where they stand.
// A first turn that is not human is dropped. Then turns alternate. Answers must not be empty (LLaVA would train such
// a sample with every label masked). Literal "</s>" in a text is that token, as in LLaVA.
#ifndef DRT_DATA_CONVERSATION_H
#define DRT_DATA_CONVERSATION_H

#include "base/error.h"
#include "base/text.h"
#include "data/template.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    DRT_IMAGE_TOKEN = -200,    // here the rows of the next image go
    DRT_DIRECTED_TOKEN = -300, // here the directed token goes (put in by objectives, never by a template)
    DRT_IGNORE = -100          // a label that is not trained on
};
#define DRT_IMAGE_PLACEHOLDER "<image>"

typedef struct {
    bool human;
    const char *text; // UTF-8
} drt_turn;

typedef struct {
    int32_t *id, *label; // [n], malloc'ed
    int n, images;       // images: how many ids are DRT_IMAGE_TOKEN
    int trained;         // how many labels are not DRT_IGNORE
    int prompt;          // ids in front of the first answer; n if there is none
} drt_encoded;
void drt_encoded_free(drt_encoded *e); // leaves it zeroed

// For training. BOS stands in front once if the tokenizer adds one. DRT_EDATA: the conversation cannot be used (the
// message names the turn, counted from 1; put the sample in front of it); DRT_ECONFIG: the tokenizer has no EOS, or
// lacks a token that the template writes.
drt_status drt_conversation_encode(const drt_template *how, const drt_tokenizer *tok, const drt_turn *turns, int n,
                                   int images, drt_encoded *out, drt_error *err);

// For generation: turns that end with a human one, then an open answer. Every label is DRT_IGNORE. When no turn has a
// placeholder, all images go in front of the first human turn, each as "<image>\n".
drt_status drt_conversation_prompt(const drt_template *how, const drt_tokenizer *tok, const drt_turn *turns, int n,
                                   int images, drt_encoded *out, drt_error *err);

// A prompt that another program has written: its text as it stands, with `images` placeholders. Every label is
// DRT_IGNORE.
drt_status drt_prompt_encode(const drt_tokenizer *tok, const char *text, int images, drt_encoded *out, drt_error *err);

// The text that drt_conversation_encode tokenises, appended to *out ("</s>" as it stands in the template).
drt_status drt_conversation_text(const drt_template *how, const drt_turn *turns, int n, int images, drt_text *out,
                                 drt_error *err);

// All of the rules above that need no tokenizer. how: NULL for those that every template shares.
drt_status drt_conversation_check(const drt_template *how, const drt_turn *turns, int n, int images, drt_error *err);

// Cuts the tail so that at most `most` rows remain when every image takes `image_rows` (LLaVA's two truncations in
// one; an image that would be cut through goes whole). Updates images and trained. Returns whether anything was cut.
bool drt_encoded_cut(drt_encoded *e, int most, int image_rows);

#endif
