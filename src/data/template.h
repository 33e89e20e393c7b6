// How a conversation is written: one row of strings for each template that a model can have been trained with.
//
//   const drt_template *how = drt_template_find("v1");
//   if (drt_template_check(how, tok, &err)) ...        // the tokenizer lacks a token that the template writes
//
// The strings, printed one after another, are the prompt (see conversation.h for which of them are trained on):
//   SYSTEM human_first TEXT human_end  assistant gap ANSWER end after
//          human_next  TEXT human_end  assistant gap ANSWER end after ...
// where SYSTEM is system_before system system_after, and stands behind human_first where it is part of the first turn.
// Sources: LLaVA's conversation.py (v0, v1, llama_2, mpt, plain), LLaVA-NeXT's (llama_3, gemma, chatml as its qwen
// templates), and the chat templates that Meta, Google, Microsoft and Qwen publish with their tokenizers, with which
// all of the last four and llama_2 agree to the letter. tools/golden_templates.py compares them.
#ifndef DRT_DATA_TEMPLATE_H
#define DRT_DATA_TEMPLATE_H

#include "base/error.h"
#include "format/tokenizer.h"

#include <stdbool.h>

enum { DRT_TEMPLATE_TOKENS = 4 };

// Plain data: copy a row and change `system` for another system prompt.
typedef struct {
    const char *name;
    const char *system_before, *system, *system_after; // all three left out when system is ""
    bool system_inside;                                // they stand in the first turn, behind human_first
    const char *human_first, *human_next, *human_end;
    const char *assistant, *gap;
    const char *end;   // "</s>" in it stands for the tokenizer's EOS where that is spelled differently
    const char *after; // between the end and the next turn; not trained on
    const char *token[DRT_TEMPLATE_TOKENS]; // what it writes that must be one token; NULL behind the last
    bool caption;                           // LLaVA's `plain`: two turns, of the human one only the placeholders stay
} drt_template;

const drt_template *drt_template_find(const char *name); // NULL if unknown
const char *const *drt_template_names(int *n);           // for messages and drt_nearest

// DRT_ECONFIG: a token of the template is none of the tokenizer's; the message names it and what to do.
drt_status drt_template_check(const drt_template *how, const drt_tokenizer *tok, drt_error *err);

// The template of a model folder, when nobody names one:
//   1. named: the key drt_template of config.json, which training writes; "" goes on to 2
//   2. the chat template in chat_template.jinja, chat_template.json, processor_config.json or tokenizer_config.json,
//   the
//      first that is there, known by what it writes: <|start_header_id|> llama_3, <|im_start|> chatml,
//      <start_of_turn> gemma, <|end|> phi3, <<SYS>> llama_2, ASSISTANT: v1. Any other: *out is NULL, name one
//   3. no chat template: v1, LLaVA-1.5's own
// folder may be NULL. DRT_ECONFIG: `named` is unknown.
drt_status drt_template_choose(const drt_template **out, const char *named, const char *folder, drt_error *err);

#endif
