#include "align/methods.h"

#include <stdlib.h>

// Asked of descriptions: one question, one answer. Shuffled words would destroy a conversation's context (METHODS 2.2),
// so longer samples have no such pass, in whichever stage. The puzzle is asked as the model is talked with also where
// the stage's template is `plain`, which has no place for a question.
drt_status drt_text_order_pass(const drt_pass_source *s, drt_rng *r, drt_arena *arena, drt_pass *out, bool *made,
                               drt_error *err) {
    *made = false;
    if (s->images != 1 || s->n_turns != 2 || s->turns[1].human) return DRT_OK;
    const char *sentence = s->turns[1].text;
    char *shuffled = drt_shuffle_words(sentence, r);
    drt_text question = {0};
    drt_encoded e = {0};
    if (shuffled) drt_text_printf(&question, DRT_IMAGE_PLACEHOLDER "\n" DRT_TEXT_ORDER_PROMPT "%s", shuffled);
    free(shuffled);
    if (!question.bytes || question.failed) {
        drt_text_free(&question);
        return drt_fail(err, DRT_ENOMEM, "no memory for a shuffled sentence");
    }
    const drt_turn turns[] = {{true, question.bytes}, {false, sentence}};
    drt_status status = drt_conversation_encode(s->options->ask, s->tokenizer, turns, 2, s->images, &e, err);
    drt_text_free(&question);
    if (!status) status = drt_pass_from(&e, s->options, s->options->order_token, arena, out, err);
    if (status == DRT_EDATA) return DRT_OK; // the puzzle repeats the sentence; where it does not fit, there is none
    out->kind = DRT_PASS_TEXT_ORDER;
    *made = !status;
    return status;
}

drt_tensor *drt_text_order_loss(drt_tape *t, const drt_forward *f, drt_score *score) {
    return drt_word_loss(t, f, DRT_PASS_TEXT_ORDER, score);
}
