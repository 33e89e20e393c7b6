// SigLIP's text as its training program prepared it and transformers' SiglipTokenizer does: lower case, no punctuation
// of ASCII, white space collapsed. A tokenizer.json says so itself; beside a SentencePiece model only the name of the
// class does. Of a text that special tokens cut, the first stretch has the mark of a word's beginning, and spaces
// behind it stay one; the other stretches have none.
#include "format/tokenizer_internal.h"

// Python's lower() ends a word in the other small sigma.
#define BEHIND_A_LETTER "(?=\\p{Cased})\\P{Case_Ignorable}\\p{Case_Ignorable}*+\\K"
#define BEFORE_NONE "(?!\\p{Case_Ignorable}*+\\p{Cased})"

drt_status drt_tok_siglip_load(drt_tokenizer *tok, bool lower, drt_error *err) {
    static const struct {
        tok_normal_kind kind;
        const char *pattern, *content;
        bool lowers;
    } steps[] = {{NORMAL_REPLACE, TOK_MARK, " ", false},
                 {NORMAL_PREPEND, NULL, TOK_MARK, false},
                 {NORMAL_REPLACE, BEHIND_A_LETTER "\xce\xa3" BEFORE_NONE, "\xcf\x82", true},
                 {NORMAL_LOWER, NULL, NULL, true},
                 {NORMAL_REPLACE, "[\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e]", "", false},
                 {NORMAL_REPLACE, "[\\s\\x1c-\\x1f]+", " ", false},
                 {NORMAL_STRIP, NULL, NULL, false}};
    drt_status status = DRT_OK;
    for (size_t i = 0; !status && i < sizeof steps / sizeof *steps; i++) {
        if (steps[i].lowers && !lower) continue;
        tok_normal *op = &tok->normal[tok->normal_count++];
        *op = (tok_normal){
            .kind = steps[i].kind, .content = steps[i].content, .left = true, .right = true, .first_only = true};
        if (steps[i].pattern) status = drt_tok_pattern_regex(&op->pattern, steps[i].pattern, tok->name, err);
    }
    return status;
}
