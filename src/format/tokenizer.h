// Tokenizers: the `tokenizer.json` of Hugging Face, with the ids that HF `tokenizers` gives, and the `tokenizer.model`
// of SentencePiece, with the ids that `sentencepiece` gives. docs/tokenizers.md lists what is supported.
//
//   drt_tokenizer *tok;
//   if (drt_tokenizer_open(&tok, "model-folder", &err)) ...
//   drt_token *t; int n;
//   if (drt_tokenizer_encode(tok, text, strlen(text), &t, &n, &err)) ...   // free(t)
//   drt_text back = {0};
//   if (drt_tokenizer_decode(tok, ids, n, true, &back, &err)) ...          // drt_text_free(&back)
//   drt_tokenizer_close(tok);
//
// A text becomes ids in five stages: added tokens are cut out; the rest is normalised; pre-tokenizers cut it into
// words; the model (byte-pair merges, or the best path of Unigram) cuts words into pieces; pieces have ids. encode adds
// neither BOS nor EOS: callers put drt_tokenizer_bos() where their template wants it, or what drt_tokenizer_before and
// _after say.
// Immutable after opening: several threads may encode and decode with one tokenizer.
#ifndef DRT_FORMAT_TOKENIZER_H
#define DRT_FORMAT_TOKENIZER_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct drt_tokenizer drt_tokenizer;

// `path`: a tokenizer.json, a tokenizer.model (any name that ends in .model), or a folder that holds one of them
// (drt_tokenizer_in_folder). tokenizer_config.json and special_tokens_map.json beside it name BOS, EOS, PAD and UNK.
// Parts that are not supported are refused by name (DRT_EFORMAT).
drt_status drt_tokenizer_open(drt_tokenizer **out, const char *path, drt_error *err);
// The first that is there of tokenizer.json, tokenizer.model and spiece.model; NULL: none.
const char *drt_tokenizer_in_folder(const char *folder);
// The same from the bytes of a tokenizer.json, or of a tokenizer.model; `name` stands for the file in messages.
drt_status drt_tokenizer_open_memory(drt_tokenizer **out, const char *json, size_t size, const char *name,
                                     drt_error *err);
drt_status drt_tokenizer_open_sentencepiece(drt_tokenizer **out, const void *bytes, size_t size, const char *name,
                                            drt_error *err);
void drt_tokenizer_close(drt_tokenizer *tok); // NULL is allowed

int drt_tokenizer_size(const drt_tokenizer *tok);                  // highest id + 1
int drt_tokenizer_id(const drt_tokenizer *tok, const char *piece); // exact vocabulary or added token, -1 if none
// As in the file (byte-level pieces keep their stand-in letters: "Ġthe"); NULL if no piece has that id.
const char *drt_tokenizer_piece(const drt_tokenizer *tok, int id);
bool drt_tokenizer_is_special(const drt_tokenizer *tok, int id); // left out when decoding with skip_special
// From the files beside tokenizer.json, else the token of a common name ("<s>", "<|endoftext|>", ...), else -1.
int drt_tokenizer_bos(const drt_tokenizer *tok);
int drt_tokenizer_eos(const drt_tokenizer *tok);
int drt_tokenizer_pad(const drt_tokenizer *tok);
int drt_tokenizer_unk(const drt_tokenizer *tok);
// Whether HF puts BOS in front of a text: as add_bos_token in tokenizer_config.json says, else if the post_processor
// does so (a file without one: if there is a BOS).
bool drt_tokenizer_adds_bos(const drt_tokenizer *tok);
// The *n ids that HF puts before (behind) a single text where special tokens are asked for: what the post_processor of
// tokenizer.json says, or add_bos_token and add_eos_token beside a tokenizer.model.
const int32_t *drt_tokenizer_before(const drt_tokenizer *tok, int *n);
const int32_t *drt_tokenizer_after(const drt_tokenizer *tok, int *n);

// The piece `id` stands for text[from, to), in bytes of the input. A character split over several tokens is given to
// each of them whole, as HF does, so that from and to are always character boundaries.
typedef struct {
    int32_t id;
    int32_t from, to;
} drt_token;

// Encodes UTF-8 text and recognises added tokens (like "</s>") in it. *out is malloc'ed (NULL when n is 0).
// What is not UTF-8 is read as U+FFFD (as Python's bytes.decode(errors="replace") does); offsets stay those of the
// input. Where a normaliser changes the text, a piece points to the input characters it was made of.
// DRT_EARG: longer than 2^30 bytes. DRT_EDATA: a character has no piece and there is no UNK (HF drops it silently), or
// a pattern of the file takes too long on this text.
drt_status drt_tokenizer_encode(const drt_tokenizer *tok, const char *text, size_t size, drt_token **out, int *n,
                                drt_error *err);
// Appends the text of the ids to *out. A model's end_of_word_suffix (CLIP's "</w>") becomes a space between words.
// Bytes that do not join to UTF-8 give U+FFFD, as many as HF (SentencePiece) puts. DRT_EARG: an id without a piece.
drt_status drt_tokenizer_decode(const drt_tokenizer *tok, const int32_t *ids, int n, bool skip_special, drt_text *out,
                                drt_error *err);

// Decoding a stream: each call appends only whole characters, the rest waits for the next id. All calls together
// append the same bytes as one drt_tokenizer_decode. Behind HF's ByteFallback, bytes wait for the end of their run:
// only then it is known whether all of them are text.
//   drt_detokenizer d = {.tokenizer = tok, .skip_special = true};
//   while (...) if (drt_detokenizer_put(&d, id, &out, &err)) ...
//   drt_detokenizer_finish(&d, &out, &err);                     // what was left incomplete, as U+FFFD
typedef struct drt_detokenizer {
    const drt_tokenizer *tokenizer;
    bool skip_special;
    // private: zero at the start
    bool later;     // the rule for the first piece is over
    bool begun;     // some text was appended
    bool mark_seen; // and left out
    bool space_due; // after a piece that ends a word, before the next
    int stripped;
    int held; // bytes waiting for the rest of their character
    unsigned char hold[4];
    drt_text run; // byte pieces waiting for the last of their run
} drt_detokenizer;
drt_status drt_detokenizer_put(drt_detokenizer *d, int32_t id, drt_text *out, drt_error *err);
drt_status drt_detokenizer_finish(drt_detokenizer *d, drt_text *out,
                                  drt_error *err); // ready for a new stream afterwards
void drt_detokenizer_free(drt_detokenizer *d);     // for a stream that was not finished; ready for a new one, too

#endif
