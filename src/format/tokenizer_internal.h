// The parts of a tokenizer, shared by the tokenizer_*.c files and the BPE trainer; not for others.
//
//   tokenizer.c          open and close, look-ups
//   tokenizer_load.c     tokenizer.json: which parts there are; refusal of the others by name
//   tokenizer_ends.c     tokenizer.json: decoder and post-processor
//   tokenizer_spm.c      tokenizer.model: SentencePiece's protobuf
//   tokenizer_siglip.c   what SigLIP does to a text before it
//   tokenizer_names.c    the files beside: BOS, EOS, PAD, UNK and more added tokens
//   tokenizer_text.c     UTF-8, stretches of text that know where they came from
//   tokenizer_unicode.c  kinds of characters, decompositions
//   tokenizer_vocab.c    pieces, their ids, the byte alphabet
//   tokenizer_added.c    added tokens in a text
//   tokenizer_normal.c   normalisers
//   tokenizer_charsmap.c normalisers that SentencePiece compiled: its rules, its white space
//   tokenizer_pattern.c  regular expressions and literal patterns
//   tokenizer_split.c    pre-tokenizers
//   tokenizer_bpe.c      the model: words to pieces by merges
//   tokenizer_merges.c   the merges, from lists and from scores
//   tokenizer_unigram.c  the model: words to pieces by the best path
//   tokenizer_cache.c    words seen before in the same text
//   tokenizer_encode.c   all of them in order
//   tokenizer_decode.c   ids back to text
#ifndef DRT_FORMAT_TOKENIZER_INTERNAL_H
#define DRT_FORMAT_TOKENIZER_INTERNAL_H

#include "base/arena.h"
#include "format/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>

enum {
    TOK_MOST_IDS = 1 << 22,
    TOK_MOST_PIECE = 1 << 16, // bytes
    TOK_MOST_OPS = 32,
    TOK_MOST_DEPTH = 8,
    TOK_MOST_AROUND = 8 // ids that a post-processor puts before or behind a text
};
#define TOK_NO_RANK UINT32_MAX
// U+2581, which stands for a space in the pieces of SentencePiece.
#define TOK_MARK "\xe2\x96\x81"
#define TOK_MARK_SIZE 3

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
    int32_t n, room, most; // most: bytes that it may hold; 0: any number
    bool failed, full;     // full: because of `most`
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

typedef struct tok_cached tok_cached;

// What one call of encode works with.
typedef struct {
    tok_buffer clean, normal[2], spaced[2];
    tok_ranges first, second, words, next; // added tokens of the two passes; words, and words being made of them
    pcre2_match_data *match;
    pcre2_match_context *limits;
    void *merging; // of the merge loop
    int32_t merging_room;
    void *path; // of the best path through a word
    int64_t path_room;
    tok_cached *cache;   // what words became; NULL: the text is short
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
    int16_t byte;                   // "<0x41>" decodes to this byte; -1: no such piece
    bool special, added, ends_word; // ends_word: carries the model's end_of_word_suffix (not in raw)
    bool in_model;                  // the model may find it in a text
    bool user_defined;              // SentencePiece: wherever its text stands, it is this piece
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

// Room for `entries` pieces with ids below `size`; their texts have `bytes` bytes, NULs included.
drt_status drt_tok_vocab_begin(drt_tokenizer *tok, int32_t size, int64_t entries, size_t bytes, drt_error *err);
drt_status drt_tok_vocab_put(drt_tokenizer *tok, const char *text, size_t n, int32_t id, drt_error *err);

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
    NORMAL_STRIP,
    NORMAL_PRECOMPILED,   // HF's reading of a charsmap
    NORMAL_SENTENCEPIECE, // SentencePiece's own, with its white space
    NORMAL_PREPEND,
    NORMAL_REPLACE
} tok_normal_kind;

// SentencePiece's rules "these bytes become those": a double array of the bytes to replace, and the texts to put.
typedef struct {
    const uint32_t *units; // NULL: no rules
    const char *texts;     // NUL-terminated, one behind the other
    uint32_t n, texts_size;
} tok_charsmap;

typedef struct {
    tok_normal_kind kind;
    const char *content;   // PREPEND, REPLACE
    tok_pattern pattern;   // REPLACE
    bool left, right;      // STRIP
    tok_charsmap charsmap; // PRECOMPILED, SENTENCEPIECE
    bool first_only;       // PREPEND, SENTENCEPIECE's white space: in front of the first stretch of a text only
    // SENTENCEPIECE: white space in front, runs of it to one, ' ' to U+2581
    bool dummy_prefix, collapse_spaces, escape_spaces;
    bool goes_on; // SENTENCEPIECE: as if text stood before it; white space at its beginning stays
} tok_normal;

// Runs all of them; *out lies in the scratch or is *in itself.
drt_status drt_tok_normalise(const drt_tokenizer *tok, tok_scratch *s, const tok_chunk *in, tok_chunk *out,
                             drt_error *err);
// The normal forms (what: NORMAL_NFC .. NORMAL_NFKD).
void drt_tok_form(tok_normal_kind what, const tok_chunk *in, tok_buffer *out, bool *changed);
// `blob` as in normalizer_spec.precompiled_charsmap; copied into the arena. `where` is for messages.
drt_status drt_tok_charsmap_load(tok_charsmap *m, drt_arena *a, const void *blob, size_t size, const char *where,
                                 drt_error *err);
drt_status drt_tok_charsmap_base64(tok_charsmap *m, drt_arena *a, const char *text, const char *where, drt_error *err);
void drt_tok_precompiled(const tok_charsmap *m, const tok_chunk *in, tok_buffer *out, bool *changed);
void drt_tok_sentencepiece(const drt_tokenizer *tok, const tok_normal *op, const tok_chunk *in, tok_buffer *out,
                           bool *changed);

// ---- pre-tokenizers ----

typedef enum {
    SPLIT_PATTERN,
    SPLIT_DIGITS,
    SPLIT_PUNCTUATION,
    SPLIT_SPACE,
    SPLIT_PREFIX_SPACE,
    SPLIT_BYTE_LETTERS,
    SPLIT_METASPACE // ' ' becomes a mark, and words begin with one
} tok_split_kind;
typedef enum { PREFIX_ALWAYS, PREFIX_FIRST, PREFIX_NEVER } tok_prefix;
typedef enum { KEEP_REMOVED, KEEP_ISOLATED, KEEP_PREVIOUS, KEEP_NEXT, KEEP_CONTIGUOUS } tok_keep;
typedef struct {
    tok_split_kind kind;
    tok_keep keep;
    bool invert;
    tok_pattern pattern; // METASPACE: the mark
    tok_prefix prefix;   // METASPACE
} tok_split;

// Cuts *chunk into s->words; *chunk may become another one in the scratch (prefix spaces, letters of bytes).
drt_status drt_tok_split(const drt_tokenizer *tok, tok_scratch *s, tok_chunk *chunk, drt_error *err);

// ---- the model ----

typedef struct {
    uint32_t left, right, rank, id;
} tok_merge;

typedef struct {
    int32_t code, id; // id -1: free
} tok_char;

typedef struct {
    const unsigned char *bytes;
    int32_t size; // 0: no word can be just this piece
} tok_word;

// Symbols are ids, or numbers from tok->size on for characters that are no pieces but parts of pieces, or
// TOK_UNKNOWN. Only the last two are left to the fallback.
#define TOK_UNKNOWN (-1)
typedef struct {
    tok_merge *merges; // a hash table
    uint32_t mask;
    // Bit hash(left, right) is set if there may be such a merge. Most pairs have none, and this lies in the cache where
    // the table does not.
    uint64_t *mergeable;
    uint32_t mergeable_mask;
    int32_t byte_id[256], last_byte_id[256]; // ids of single bytes, inside a word and at its end; -1: none
    tok_char *chars;                         // symbols of single characters; a hash table
    uint32_t char_mask;
    // Bit hash(x, y) is set if some merge joins a text that ends in x to one that begins with y. Where it is not, no
    // piece crosses: long words are cut there, which changes nothing but the time. NULL: words are not cut.
    uint64_t *joins;
    uint32_t joins_mask;
    tok_table words;      // words that are one piece, so that most words need no merging
    const tok_word *word; // [tok->size] the word that a piece is
    int32_t longest;      // bytes of the longest word in the table
    bool byte_level;      // words are bytes; false: characters of the vocabulary's text
    bool ignore_merges;
    const char *suffix;
    uint32_t suffix_size;
} tok_bpe;

drt_status drt_tok_bpe_load(drt_tokenizer *tok, const json_t *model, drt_error *err);
// SentencePiece: every two pieces whose joined text is a piece may merge, those of the best score first.
drt_status drt_tok_bpe_from_scores(drt_tokenizer *tok, const double *scores, drt_error *err);
// Pieces of one word into s->ids and s->ends; *n of them.
drt_status drt_tok_bpe_word(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t size, int32_t *n,
                            drt_error *err);
static inline uint32_t drt_tok_pair_hash(uint32_t left, uint32_t right) {
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32 ^ h >> 15);
}
tok_merge *drt_tok_merge_slot(const tok_bpe *b, uint32_t left, uint32_t right);
tok_char *drt_tok_char_slot(const tok_bpe *b, int32_t code);
uint32_t drt_tok_joins_bit(const tok_bpe *b, int32_t left, int32_t right);

// A double array: from node x the byte c leads to base[x] ^ c if that one's parent is x.
typedef struct {
    int32_t base, parent, id; // parent -1: free; id -1: no piece ends here
} tok_node;

typedef struct {
    tok_node *nodes;
    int32_t n;
    const double *scores; // [tok->size]
    double unknown;       // score of a character without piece
    double most;          // highest score of a normal piece
    double before;        // score that every path begins with
    bool narrow;          // sums are rounded to float, as in SentencePiece; false: double, as in HF
} tok_unigram;

// Scores by id; pieces that are in_model are found.
drt_status drt_tok_unigram_build(drt_tokenizer *tok, const double *scores, drt_error *err);
// From here on every text goes on from this one: sums of many scores are rounded as if it stood in front.
drt_status drt_tok_unigram_goes_on(drt_tokenizer *tok, const char *text, drt_error *err);
drt_status drt_tok_unigram_word(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t size,
                                int32_t *n, drt_error *err);

// What becomes of a stretch of text that no piece covers; the same for both models.
typedef struct {
    int32_t unk; // -1: none
    bool fuse;   // a run of them is one
    bool bytes;  // one piece a byte instead
    int32_t byte_id[256];
} tok_fallback;

bool drt_tok_piece_room(tok_scratch *s, int32_t n);
// Appends w[from, to) to s->ids and s->ends. *open: the last one appended is unknown and may be extended.
drt_status drt_tok_put_unknown(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t from,
                               int32_t to, int32_t *n, bool *open, drt_error *err);
// The pieces "<0x00>" to "<0xFF>": all or none, else an error.
drt_status drt_tok_fallback_load(drt_tokenizer *tok, drt_error *err);

void drt_tok_cache_open(tok_scratch *s, int64_t text_size);
// Appends the pieces of w[from, to) if they are known; `hash` is drt_tok_hash of it.
bool drt_tok_cache_get(tok_scratch *s, uint32_t hash, const unsigned char *w, int32_t from, int32_t to, int32_t *n);
// Remembers the pieces [first, n) of w[from, to).
void drt_tok_cache_put(tok_scratch *s, uint32_t hash, const unsigned char *w, int32_t from, int32_t to, int32_t first,
                       int32_t n);

// ---- decoding ----

typedef enum {
    DECODE_PIECES,    // every piece for itself
    DECODE_BYTES,     // bytes of all pieces together (ByteLevel)
    DECODE_BYTE_RUNS, // byte pieces in a row: UTF-8, or as many U+FFFD as bytes (HF's ByteFallback)
    DECODE_CHARACTERS // byte pieces in a row: characters, and one U+FFFD for each byte outside them (SentencePiece)
} tok_decode_kind;

typedef struct {
    tok_decode_kind kind;
    const char *mark;      // of the first piece all of these are left out, of the others they are spaces; NULL: none
    bool mark_first_space; // SentencePiece: only one, and of the first piece with text
    bool collapsed;        // SentencePiece's remove_extra_whitespaces: of every piece before the first text
    const char *strip;     // left out up to strip_most times where the text begins
    int32_t strip_most;
} tok_decoding;

// What one piece becomes before the pieces are joined.
typedef struct {
    bool strip;
    tok_pattern pattern; // REPLACE; strip: the character
    const char *content;
    int32_t left, right;
} tok_decode_op;

// Fills raw and byte of all pieces.
drt_status drt_tok_decoding_prepare(drt_tokenizer *tok, const tok_decode_op *ops, int n, drt_error *err);

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

// Room for `count` tokens in each set.
drt_status drt_tok_added_room(drt_tokenizer *tok, int64_t count, drt_error *err);
// A token that is a piece already, with the flags of JSON's `how` (NULL: none; sought before normalising).
void drt_tok_added_put(drt_tokenizer *tok, int32_t id, bool special, const json_t *how);
void drt_tok_added_sort(tok_added_set *set);
// Normalises the tokens that are sought in normalised text, and makes the sets ready.
drt_status drt_tok_added_finish(drt_tokenizer *tok, drt_error *err);
const tok_added *drt_tok_added_longest(const tok_added_set *set, const unsigned char *p, int32_t n); // NULL: none
// Appends the ranges of c to r: tokens with their id, what lies between them with id -1.
void drt_tok_added_cut(const tok_added_set *set, const tok_chunk *c, tok_ranges *r);

struct drt_tokenizer {
    drt_arena *arena;
    char *name; // for messages
    tok_piece *pieces;
    int32_t size; // highest id + 1
    char *texts;  // where the next piece's text goes
    tok_table by_text;
    tok_normal normal[TOK_MOST_OPS];
    int normal_count;
    tok_split split[TOK_MOST_OPS];
    int split_count;
    tok_added_set plain, normalised; // sought before and after normalising
    tok_added_set user_defined;      // of SentencePiece: its normaliser leaves them alone
    tok_fallback fallback;
    bool is_unigram;
    tok_bpe bpe;
    tok_unigram unigram;
    tok_decoding decoding;
    int32_t before[TOK_MOST_AROUND], after[TOK_MOST_AROUND];
    int before_count, after_count;
    int32_t bos, eos, pad, unk;
    bool adds_bos;
};

drt_status drt_tok_load(drt_tokenizer *tok, const json_t *root, drt_error *err);
drt_status drt_tok_vocab_load(drt_tokenizer *tok, const json_t *vocab, const json_t *added, drt_error *err);
drt_status drt_tok_decoder_load(drt_tokenizer *tok, const json_t *j, drt_error *err);
drt_status drt_tok_around_load(drt_tokenizer *tok, const json_t *post_processor, drt_error *err);
int32_t drt_tok_find(const drt_tokenizer *tok, const char *text, size_t n);
int32_t drt_tok_find_in_model(const drt_tokenizer *tok, const char *text, size_t n); // -1 also for added tokens
// Names of the files beside tokenizer.json or tokenizer.model; NULL: not there.
typedef struct {
    json_t *config, *map, *added; // tokenizer_config.json, special_tokens_map.json, added_tokens.json
} tok_beside;
drt_status drt_tok_beside_read(tok_beside *b, const char *folder, drt_error *err);
void drt_tok_beside_free(tok_beside *b);
// says_around: the file itself says what stands around a text, so that before and after are known.
void drt_tok_names_load(drt_tokenizer *tok, const tok_beside *b, const char *unk_token, bool says_around);
// What SiglipTokenizer does to a text before SentencePiece. Appended to tok->normal.
drt_status drt_tok_siglip_load(drt_tokenizer *tok, bool lower, drt_error *err);
drt_status drt_tok_spm_load(drt_tokenizer *tok, const unsigned char *bytes, size_t size, const tok_beside *beside,
                            drt_error *err);
drt_status drt_tok_no_memory(const char *name, drt_error *err);
// What n bytes may become in a normalizer, a pre_tokenizer or a decoder: 32 steps that each make ten letters of one
// are written in a few bytes. Unicode's longest decomposition makes 33 bytes of 3.
int32_t drt_tok_most(int64_t n);
drt_status drt_tok_too_long(const char *name, const char *part, int64_t n, drt_error *err);

#endif
