// From samples to one packed batch: every sample brings passes (sequences to run), all passes are laid end to end, and
// every row is marked with what it is. Nothing is padded.
#ifndef DRT_DATA_BATCH_H
#define DRT_DATA_BATCH_H

#include "base/arena.h"
#include "data/conversation.h"
#include "data/dataset.h"

typedef enum {
    DRT_PASS_PLAIN,       // image and text as they are
    DRT_PASS_IMAGE_ORDER, // shuffled image, text, directed token (METHODS 2.1)
    DRT_PASS_TEXT_ORDER,  // image, shuffled words, the sentence, directed token (METHODS 2.2)
    DRT_PASS_KINDS
} drt_pass_kind;

// One sequence, before image expansion: id is a token, DRT_IMAGE_TOKEN or DRT_DIRECTED_TOKEN.
typedef struct {
    drt_pass_kind kind;
    int32_t *id, *label; // [n]; label as in drt_encoded (unshifted)
    int n;
    int prompt;      // ids in front of the first answer
    int permutation; // IMAGE_ORDER: number in the bank; else -1
} drt_pass;

// One patch and the word that its visual token is to be like (SEA).
typedef struct {
    int image, patch; // of the sample
    int32_t word;     // its number in the file of labels
    int32_t *token;   // [tokens] as the decoder's tokenizer spells it
    int tokens;
} drt_word_pair;

// A sample ready to be packed. Memory is the step's arena.
typedef struct {
    int32_t index;  // in the dataset
    int32_t place;  // as drt_dataset_at counts
    const char *id; // "" if it has none
    int images;
    // [images * views * P, patch numbers], intact; unset where a picture is known and nothing shuffles it. NULL: nobody
    // will read the pixels (a dry run)
    float *patches;
    // Where features are kept: what a file's content is called, and the features where they are known (else NULL).
    const uint64_t *key;       // [images]; NULL: nothing is kept
    const float *const *known; // [images]
    drt_pass pass[DRT_PASS_KINDS];
    int passes;
    drt_word_pair *pair; // [pairs]; of its intact images
    int pairs;
    // CLIP: the caption and its hard negatives, tokenised (none where the picture is shuffled); labels of patches.
    int texts;
    int32_t **text, *text_size;
    int16_t (*patch_label)[DRT_PATCH_LABELS]; // [P] or NULL
    const int32_t *order;                     // CLIP: cell i of the picture shows cell order[i]; NULL: intact
} drt_sample;

// How images become rows, and how cells of the shuffled image are cut.
typedef struct {
    int patches_side;  // patches along one side of an image
    int patch_numbers; // 3 * patch * patch
    // S²: a picture is its scales one after the other, each cut into multiple^2 tiles of P patches; 0: one tile
    int scales, multiple[4];
    int front; // visual rows of an image in front of its first patch: 1 the class row; -1: that patch has none
    const int32_t *bank; // [classes, cells]: cell i of the shuffled image shows cell bank[k][i] of the original
    int grid;            // cells along one side, a divisor of patches_side
    bool select_all;     // every row is selected (train.select_rows: false)
    bool read_visual;    // order.token: visual — the order head reads the visual rows, there is no directed token
} drt_pack_options;

typedef struct {
    int64_t n;
    int32_t *at, *label; // [n] index among the selected rows; the token it must predict
} drt_word_rows;

// Everything in a batch belongs to the arena it was packed in.
typedef struct {
    int sequences;
    int64_t rows;
    int32_t *offsets; // [sequences + 1]
    // Where rows that sequences begin with alike are there once (align/share.h): key i is row key_row[i], those of
    // sequence s from key_offsets[s] on. NULL: keys are the rows.
    int32_t *key_offsets, *key_row;
    int32_t *prompt;           // [sequences] rows in front of the first answer
    int32_t *token, *visual;   // [rows] word id or -1; row among the visual tokens or -1; both -1: directed token
    int32_t *position, *reach; // [rows]
    uint8_t *is_visual;        // [keys]
    int32_t *select;           // [selected] rows whose final state somebody reads, ascending
    int64_t selected;
    drt_word_rows words[DRT_PASS_KINDS]; // rows that predict a trained token, by kind of pass
    int64_t orders;                      // image-order sequences
    int32_t *order_from;                 // [orders + 1] into order_at
    int32_t *order_at;    // selected rows that the order head reads: the directed token, or the visual rows
    int32_t *order_class; // [orders]
    int64_t guided;       // rows that respond in a sequence with an image
    uint8_t *responds;    // [rows] such a row
    int32_t *seen;        // [rows] visual rows in the row's sequence
    int images;
    int pixels;          // pictures that a tower must look at, in `patches`; fewer than images where features are known
    float *patches;      // [pixels * views * P, patch numbers]
    int32_t *picture;    // [images] which of these it is; pictures of one content are looked at once; -1: known
    const float **known; // [images] its features
    uint64_t *key;       // [images] what they are to be kept as; 0: they are not
    int64_t pairs;       // visual tokens that are to be like words
    int32_t *pair_row;   // [pairs] rows among the visual tokens
    int32_t *pair_from, *pair_token; // [pairs + 1] into the words' tokens
    int samples;
    int32_t *sample; // [samples] index in the dataset
    // CLIP
    int texts; // the first `captions` match the images named by `captioned`, the rest are hard negatives
    int captions;
    int32_t *captioned; // [captions] images that have a caption
    int32_t *text, *text_offsets;
    int16_t (*patch_label)[DRT_PATCH_LABELS]; // [images * P] or NULL
} drt_batch;

// Packs n samples. NULL and *err when memory is out, or a sample has more rows than fit in int32.
drt_batch *drt_batch_pack(drt_arena *arena, const drt_sample *const *samples, int n, const drt_pack_options *options,
                          drt_error *err);
// Numbers of one picture: views * P * patch_numbers.
int64_t drt_pack_picture(const drt_pack_options *o);
// Rows that a sample's passes will take.
int64_t drt_sample_rows(const drt_sample *s, const drt_pack_options *options);

#endif
