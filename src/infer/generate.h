// Answers: prompts in, text out. A batch of prompts is read in one packed run; then every unfinished answer grows by
// one token a step, finished ones take no part. The same answers as one by one, and as without a cache.
//
//   drt_generate_options o = {.max_new_tokens = 128};                       // greedy
//   drt_prompt p = {.id = e.id, .n = e.n, .patches = pixels, .images = 1};  // e: drt_conversation_prompt
//   drt_reply r;
//   if (drt_generate(model, tape, &p, 1, &o, &r, &err)) ...
//   puts(r.text);
//   drt_replies_free(&r, 1);
#ifndef DRT_INFER_GENERATE_H
#define DRT_INFER_GENERATE_H

#include "infer/session.h"

// A continuation to be judged, ending with its EOS if it is a whole answer.
typedef struct {
    const int32_t *id; // [n]
    int n;
} drt_choice;

typedef struct {
    const int32_t *id; // [n]; the last one a word, or, without an input order, an image
    int n;
    const float *patches;     // [images * drt_picture_size]
    int images;               // as many as id holds DRT_IMAGE_TOKEN
    uint64_t stream;          // random numbers come from (options.seed, stream), whatever else is in the batch
    const drt_choice *choice; // answers that are compared on the way (restricted answers); NULL: none
    int choices;
    int prompt; // ids in front of the first answer, whose rows an input order moves; 0: all
} drt_prompt;

typedef struct {
    int max_new_tokens; // 0: nothing is written, only choices are compared
    double temperature; // 0: greedy
    double top_p;       // outside of (0, 1): no cut
    uint64_t seed;
    // [stops] strings that end an answer and are not part of it, beside EOS. One that is a special token ends it as
    // that token.
    const char *const *stop;
    int stops;
    const drt_token_mixer *order; // input order; NULL: the model's own
    // Called after every token, with what has become certain of prompt `index`'s answer (whole characters, stripped, no
    // stop string; size may be 0). Returning false ends that answer. NULL: not wanted.
    bool (*on_text)(void *user, int index, const char *text, size_t size);
    void *user;
} drt_generate_options;

typedef enum {
    DRT_FINISH_EOS,    // or a stop string that is a special token
    DRT_FINISH_STOP,   // a stop string
    DRT_FINISH_LENGTH, // max_new_tokens, or the end of the model's positions
    DRT_FINISH_CALLER  // on_text said so
} drt_finish;

typedef struct {
    int32_t *id; // [n] new tokens, malloc'ed; without EOS
    int n;
    char *text; // without special tokens and stop string, stripped; malloc'ed
    drt_finish finish;
    // log P(choice | prompt), the sum over its tokens, EOS included: the probability of that whole answer, so that
    // answers of different lengths compare fairly. malloc'ed [choices], NULL without choices.
    double *logprob;
    int best; // the choice with the largest logprob, the first of equals; -1 without choices
} drt_reply;

// replies [n], overwritten; empty after a failure. DRT_EDATA: a prompt leaves no room in the model's positions (message
// counts prompts from 1). DRT_ENUMERIC: the model's output is not a number. A model without a tokenizer gives ids,
// and "" as text.
drt_status drt_generate(const drt_model *model, drt_tape *tape, const drt_prompt *prompts, int n,
                        const drt_generate_options *options, drt_reply *replies, drt_error *err);
void drt_replies_free(drt_reply *replies, int n); // leaves them zeroed

#endif
