// The parts of a tokenizer, shared by the tokenizer_*.c files and the BPE trainer; not for others.
//
//   tokenizer.c          open and close, look-ups
//   tokenizer_load.c     tokenizer.json: which parts there are; refusal of the others by name
//   tokenizer_text.c     UTF-8, stretches of text that know where they came from
//   tokenizer_unicode.c  kinds of characters, decompositions
//   tokenizer_vocab.c    pieces, their ids, the byte alphabet
//   tokenizer_added.c    added tokens in a text
//   tokenizer_normal.c   normalisers
//   tokenizer_pattern.c  regular expressions and literal patterns
//   tokenizer_split.c    pre-tokenizers
//   tokenizer_bpe.c      the model: merges
//   tokenizer_encode.c   all of them in order
//   tokenizer_decode.c   ids back to text
#ifndef DRT_FORMAT_TOKENIZER_INTERNAL_H
#define DRT_FORMAT_TOKENIZER_INTERNAL_H

#include "base/arena.h"
#include "format/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>

enum { TOK_MOST_IDS = 1 << 22, TOK_MOST_OPS = 32, TOK_MOST_DEPTH = 8 };
#define TOK_NO_RANK UINT32_MAX

// ---- text on its way from the input to pieces ----

typedef struct {
    int32_t from, to; // bytes of the input
} tok_place;

// A stretch of valid UTF-8. place[i] is the input's character that byte i came from; place == NULL: the stretch is
// the input itself from byte `base` on.
typedef struct {
    const unsigned char *bytes;
    const tok_place *place;
    int32_t n, base;
} tok_chunk;

// A growing stretch; the first failure to allocate sticks.
typedef struct {
    unsigned char *bytes;
    tok_place *place;
    int32_t n, room;
    bool failed;
} tok_buffer;

typedef struct {
    int32_t from, to; // bytes of a chunk
    int32_t id;       // of an added token, -1: none
    bool match;       // found by a pattern; false: lies between two finds
} tok_range;

typedef struct {
    tok_range *at;
    int32_t n, room;
    bool failed;
} tok_ranges;

// What one call of encode works with.
typedef struct {
    tok_buffer clean, normal[2], spaced[2];
    tok_ranges first, second, words, next; // added tokens of the two passes; words, and words being made of them
    pcre2_match_data *match;
    pcre2_match_context *limits;
    void *heap; // of the merge loop for long words
    int32_t heap_room;
    int32_t *ids, *ends; // pieces of one word: ids and where they end, in bytes of the word
    int32_t piece_room;
    drt_token *out;
    int32_t n, room;
} tok_scratch;

void drt_tok_scratch_free(tok_scratch *s);
tok_chunk drt_tok_part(const tok_chunk *c, int32_t from, int32_t to);
tok_place drt_tok_place(const tok_chunk *c, int32_t from, int32_t to); // whole characters that touch [from, to)
void drt_tok_add(tok_buffer *b, const void *bytes, int32_t n, tok_place place);
void drt_tok_copy(tok_buffer *b, const tok_chunk *c, int32_t from, int32_t to);
tok_chunk drt_tok_chunk_of(const tok_buffer *b);
void drt_tok_push(tok_ranges *r, int32_t from, int32_t to, bool match); // empty ranges are left out

// One character: its length, 1 to 4, or minus the length of bytes that begin none (at least one; as many as begin a
// well-formed character that does not end). *cut: those bytes reach the end, more bytes might complete them.
int drt_tok_utf8(const unsigned char *p, int64_t n, int32_t *code, bool *cut);
int64_t drt_tok_utf8_valid(const unsigned char *p, int64_t n); // length of the longest valid prefix
int32_t drt_tok_char_before(const unsigned char *p, int32_t at,
                            int32_t *code); // start of the character that ends at `at`
// Replaces what is not UTF-8 by U+FFFD.
void drt_tok_clean(tok_buffer *out, const unsigned char *p, int32_t n);

// ---- characters ----

enum { DRT_TOK_PARTS = 32 };
bool drt_tok_is_space(int32_t code);
bool drt_tok_is_number(int32_t code);
bool drt_tok_is_punctuation(int32_t code);
bool drt_tok_is_word(int32_t code); // \w of Unicode's UTS 18
// Canonical or compatibility decomposition, in full; how many characters it has.
int drt_tok_decompose(int32_t code, bool compatible, int32_t out[DRT_TOK_PARTS]);
int drt_tok_combining_class(int32_t code);
// Can it, or what it decomposes to, combine with the character before? Marks, and vowels and finals of Hangul.
bool drt_tok_may_combine(int32_t code, bool compatible);

// ---- pieces ----

typedef struct {
    const char *text;         // as in the file, NUL-terminated; NULL: no piece has this id
    const unsigned char *raw; // what it decodes to
    uint32_t text_size, raw_size;
    bool special, added, ends_word; // ends_word: carries the model's end_of_word_suffix (not in raw)
} tok_piece;

typedef struct {
    uint32_t hash;
    int32_t id; // -1: free
} tok_slot;

typedef struct {
    tok_slot *slots;
    uint32_t mask;
} tok_table;

uint32_t drt_tok_hash(const void *bytes, size_t n);
tok_slot *drt_tok_slots(drt_arena *a, int64_t entries, uint32_t *mask); // at most half full; NULL: no memory
// The letter of each byte (GPT-2): printable Latin-1 bytes stand for themselves, the rest for U+0100 and up.
int32_t drt_tok_byte_letter(int byte);
int drt_tok_letter_byte(int32_t code); // -1: no byte's letter
// Bytes of a text written in these letters into out (room for n); -1 if some character is no such letter.
int32_t drt_tok_unletter(unsigned char *out, const char *text, size_t n);

// ---- patterns ----

typedef struct {
    pcre2_code *code; // NULL: the literal string
    const char *literal;
    int32_t literal_size;
} tok_pattern;

// {"Regex": "..."} or {"String": "..."}.
drt_status drt_tok_pattern_load(tok_pattern *p, drt_arena *a, const json_t *j, const char *where, drt_error *err);
drt_status drt_tok_pattern_regex(tok_pattern *p, const char *regex, const char *where, drt_error *err);
void drt_tok_pattern_free(tok_pattern *p);
// Appends the ranges of text[from, to) to r, found ones with match = true.
drt_status drt_tok_pattern_cut(const tok_pattern *p, tok_scratch *s, const unsigned char *text, int32_t from,
                               int32_t to, tok_ranges *r, drt_error *err);
extern const char drt_tok_gpt2_pattern[];

// ---- normalisers ----

typedef enum {
    NORMAL_NFC,
    NORMAL_NFD,
    NORMAL_NFKC,
    NORMAL_NFKD,
    NORMAL_LOWER,
    NORMAL_PREPEND,
    NORMAL_REPLACE
} tok_normal_kind;
typedef struct {
    tok_normal_kind kind;
    const char *content; // PREPEND, REPLACE
    tok_pattern pattern; // REPLACE
} tok_normal;

// Runs all of them; *out lies in the scratch or is *in itself.
drt_status drt_tok_normalise(const drt_tokenizer *tok, tok_scratch *s, const tok_chunk *in, tok_chunk *out,
                             drt_error *err);
// The normal forms (what: NORMAL_NFC .. NORMAL_NFKD).
void drt_tok_form(tok_normal_kind what, const tok_chunk *in, tok_buffer *out, bool *changed);

// ---- pre-tokenizers ----

typedef enum {
    SPLIT_PATTERN,
    SPLIT_DIGITS,
    SPLIT_PUNCTUATION,
    SPLIT_SPACE,
    SPLIT_PREFIX_SPACE,
    SPLIT_BYTE_LETTERS
} tok_split_kind;
typedef enum { KEEP_REMOVED, KEEP_ISOLATED, KEEP_PREVIOUS, KEEP_NEXT, KEEP_CONTIGUOUS } tok_keep;
typedef struct {
    tok_split_kind kind;
    tok_keep keep;
    bool invert;
    tok_pattern pattern;
} tok_split;

// Cuts *chunk into s->words; *chunk may become another one in the scratch (prefix spaces, letters of bytes).
drt_status drt_tok_split(const drt_tokenizer *tok, tok_scratch *s, tok_chunk *chunk, drt_error *err);

// ---- the model ----

typedef struct {
    uint32_t left, right, rank, id;
} tok_merge;

typedef struct {
    tok_merge *merges; // a hash table
    uint32_t mask;
    int32_t byte_id[256], last_byte_id[256]; // ids of single bytes, inside a word and at its end; -1: none
    tok_table words;                         // words that are one piece, so that most words need no merging
    bool byte_level;                         // words are bytes; false: characters of the vocabulary's text
    bool ignore_merges, fuse_unk;
    int32_t unk; // -1: none
    const char *suffix;
    uint32_t suffix_size;
} tok_bpe;

drt_status drt_tok_bpe_load(drt_tokenizer *tok, const json_t *model, drt_error *err);
// Pieces of one word into s->ids and s->ends; *n of them. `at` is the word's byte in the chunk, for messages.
drt_status drt_tok_bpe_word(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t size, int32_t *n,
                            drt_error *err);

// ---- added tokens ----

typedef struct {
    const unsigned char *text; // normalised, if `normalized`
    int32_t size, id;
    bool single_word, lstrip, rstrip, normalized;
} tok_added;

// Patterns ordered by their bytes; first[c]: some pattern begins with c.
typedef struct {
    tok_added *at;
    int32_t n;
    bool first[256];
} tok_added_set;

void drt_tok_added_sort(tok_added_set *set);
// Appends the ranges of c to r: tokens with their id, what lies between them with id -1.
void drt_tok_added_cut(const tok_added_set *set, const tok_chunk *c, tok_ranges *r);

struct drt_tokenizer {
    drt_arena *arena;
    char *name; // for messages
    tok_piece *pieces;
    int32_t size; // highest id + 1
    tok_table by_text;
    tok_normal normal[TOK_MOST_OPS];
    int normal_count;
    tok_split split[TOK_MOST_OPS];
    int split_count;
    tok_added_set plain, normalised; // sought before and after normalising
    tok_bpe bpe;
    int32_t bos, eos, pad, unk;
    bool adds_bos;
};

drt_status drt_tok_load(drt_tokenizer *tok, const json_t *root, drt_error *err);
drt_status drt_tok_vocab_load(drt_tokenizer *tok, const json_t *vocab, const json_t *added, const char *suffix,
                              drt_error *err);
int32_t drt_tok_find(const drt_tokenizer *tok, const char *text, size_t n);
drt_status drt_tok_names_load(drt_tokenizer *tok, const char *folder, const char *unk_token, const json_t *post,
                              drt_error *err);
drt_status drt_tok_no_memory(const char *name, drt_error *err);

#endif
