#include "align/methods.h"

drt_status drt_language_pass(const drt_pass_source *s, drt_rng *r, drt_arena *arena, drt_pass *out, bool *made,
                             drt_error *err) {
    drt_encoded e = {0};
    (void)r;
    drt_status status =
        drt_conversation_encode(s->options->how, s->tokenizer, s->turns, s->n_turns, s->images, &e, err);
    if (!status) status = drt_pass_from(&e, s->options, DRT_ORDER_VISUAL, arena, out, err);
    out->kind = DRT_PASS_PLAIN;
    *made = !status;
    return status;
}

drt_tensor *drt_language_loss(drt_tape *t, const drt_forward *f, drt_score *score) {
    return drt_word_loss(t, f, DRT_PASS_PLAIN, score);
}
