// Tokenizers against golden files (tools/golden_tokenizer.py, tools/golden_tokenizer_pieces.py).
#ifndef DRT_TESTS_GOLDEN_TOKENS_H
#define DRT_TESTS_GOLDEN_TOKENS_H

// tests/golden/tokenizer/KIND + suffix against KIND.cases.json: ids, places, text decoded at once and as a stream that
// never ends inside a character.
void check_golden_tokens(const char *kind, const char *suffix);

#endif
