// A conversation: what was said so far, with which pictures, and the next answer.
//
//   drt_chat *c;
//   drt_chat_new(&c, model, tape, NULL, NULL, &err);
//   drt_chat_image(c, "cup.jpg", &err);                  // shown with the next message
//   drt_chat_say(c, "What is this?", &options, &reply, &err);
//   puts(reply.text);
//   drt_replies_free(&reply, 1);
//   drt_chat_free(c);
//
// Every answer reads the whole conversation anew. Answers are remembered as text, without the end token that the
// template itself puts behind them.
#ifndef DRT_INFER_CHAT_H
#define DRT_INFER_CHAT_H

#include "infer/generate.h"

typedef struct drt_chat drt_chat;

// model, tape and template must outlive the chat. how: NULL for the model's own. system: instead of the template's
// system prompt; NULL: that one.
drt_status drt_chat_new(drt_chat **out, const drt_model *model, drt_tape *tape, const drt_template *how,
                        const char *system, drt_error *err);
void drt_chat_free(drt_chat *c); // NULL is allowed
// Reads the picture; several before one message are shown in their order.
drt_status drt_chat_image(drt_chat *c, const char *path, drt_error *err);
// Answers `message`. The random stream is the number of the turn. A failure, or an answer of no text, leaves the
// conversation as it was before (pictures still wait). DRT_EDATA: the conversation has grown too long.
drt_status drt_chat_say(drt_chat *c, const char *message, const drt_generate_options *options, drt_reply *reply,
                        drt_error *err);
int drt_chat_turns(const drt_chat *c); // messages and answers so far
void drt_chat_reset(drt_chat *c);      // forgets turns and pictures

#endif
