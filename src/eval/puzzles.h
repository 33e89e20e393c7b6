// How well a model solves the puzzles it was trained on, on pictures that it has not seen: the order of a picture's
// cells (METHODS 2.1), the order of a sentence's words (2.2), and how much of the response's attention rests on the
// picture (2.3).
#ifndef DRT_EVAL_PUZZLES_H
#define DRT_EVAL_PUZZLES_H

#include "align/objective.h"
#include "base/progress.h"
#include "model/model.h"

typedef struct {
    const char *file;             // LLaVA's JSON: DIR/eval/captions.json, DIR/eval/order.json
    const char *images;           // folder of its pictures: DIR
    bool blind;                   // black pictures
    int batch;                    // samples at a time; 0: 32
    int64_t limit;                // samples; 0: all
    uint64_t seed;                // of permutations and shuffled words
    const drt_template *how;      // NULL: the model's own
    const drt_token_mixer *order; // input order; NULL: the model's own
    drt_progress *progress;       // may be NULL
} drt_puzzle_options;

// hits of count; for the guided mass hits / count is the mean.
typedef struct {
    double hits, count;
} drt_rate;
static inline double drt_rate_of(drt_rate r) { return r.count > 0 ? r.hits / r.count : 0; }

// A LLaVA folder, with the PEFT folder `adapter` beside it where that is not NULL, and with the directed token, order
// head and bank of the latter or else of the former, if it has them (directed.safetensors); else *bank is NULL and
// *classes 0. *bank: malloc'ed [classes, grid * grid].
drt_status drt_puzzle_model_open(drt_model **m, const char *folder, const char *adapter, drt_keep keep, int32_t **bank,
                                 int *classes, int *grid, drt_error *err);

// Every picture is shuffled by `passes` permutations of the bank [classes, grid * grid]; the order head says which (its
// chance is 1 / classes). token: where the directed token stood in training.
drt_status drt_eval_image_order(const drt_model *m, drt_tape *t, const int32_t *bank, int classes, int grid,
                                drt_order_token token, int passes, const drt_puzzle_options *o, drt_rate *out,
                                drt_error *err);
// The first answer of every sample with one picture, its words shuffled, asked for in its order: DRT_TEXT_ORDER_PROMPT,
// answered greedily. A hit is the very sentence; runs of white space count as one.
drt_status drt_eval_text_order(const drt_model *m, drt_tape *t, const drt_puzzle_options *o, drt_rate *out,
                               drt_error *err);
// The mean attention on visual rows over layers, heads and the rows that predict an answer's tokens, answers given.
drt_status drt_eval_guided_mass(const drt_model *m, drt_tape *t, const drt_puzzle_options *o, drt_rate *out,
                                drt_error *err);

// All of them on a folder of the shapes world: eval/captions.json and eval/order.json. NaN: not measured, for want of
// the file or of the bank.
typedef struct {
    double image_order, image_order_chance; // accuracy
    double text_order;                      // share of sentences wholly in order
    double guided_mass;
} drt_puzzles;
typedef struct {
    const char *data;    // folder
    const int32_t *bank; // [classes, grid * grid]; NULL: no picture puzzles
    int classes, grid;
    drt_order_token token;
    int passes; // permutations a picture
    bool blind;
    int batch;
    int64_t limit;
    const drt_template *how;
    const drt_token_mixer *order;
    drt_progress *progress;
} drt_puzzles_options;
drt_status drt_eval_puzzles(const drt_model *m, drt_tape *t, const drt_puzzles_options *o, drt_puzzles *out,
                            drt_error *err);

#endif
