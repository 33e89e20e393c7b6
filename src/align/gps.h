// GPS, the Gumbel Permutation Sinkformer (METHODS 5): scores of a network (model/permuter.h) become a permutation of
// its rows; and an input order that is learned, through the language loss, with the model it stands in.
//
//   drt_tensor *p = drt_gps_plan(t, width, &how, scores[0], noise); // soft, rows and columns sum to 1
//   drt_gps_choose(how.choice, p->value, column, &err);             // hard
//   y = drt_product(t, p, x)  or  drt_product(t, drt_one_hot(t, p, column), x)
//
// As an input order it permutes the spliced rows of a prompt, words and visual tokens alike:
//
//   [directed token] [BOS] | P x, as many rows | first answer ...
//
// What stands in front of the first answer moves, but for a directed token in front and BOS; a prompt without visual
// tokens stays as it is. The answer and all behind it keep their places: what predicts its first word is the last place
// of the prompt, whatever row stands there. Positions belong to places. Where rows are mixed, the marks of a place are
// those of the row that counts most in it.
#ifndef DRT_ALIGN_GPS_H
#define DRT_ALIGN_GPS_H

#include "align/token_mixer.h"
#include "model/permuter.h"

// The soft permutation of one sequence whose scores are of rows so wide. noise: of the Gumbel draws, 0: none.
drt_tensor *drt_gps_plan(drt_tape *t, int64_t width, const drt_gps_how *how, drt_tensor *scores, uint64_t noise);
// column[i]: what row i of the output shows. The largest number of the row (which may name a column twice), or the
// optimal assignment, a permutation.
drt_status drt_gps_choose(drt_gps_choice how, drt_mat plan, int32_t *column, drt_error *err);
// The temperature of `step` of `steps`: from `first` to `last` along half a cosine.
float drt_gps_tau(float first, float last, int64_t step, int64_t steps);

// ---- as an input order ---------------------------------------------------------------------------------------------
// A step of training.
typedef struct {
    drt_gps_how how;
    float dropout;
    uint64_t noise; // of the step's Gumbel draws, 0: none
    int64_t first;  // sequences of the step in front of this batch: the draws are of a sequence, however a step is cut
} drt_gps_step;

typedef struct {
    int32_t *from; // [rows] the row that stands at each place, or counts most there; itself where nothing moves
    float *share;  // [rows] how much it counts there
    int64_t moved, movable; // places with another row than before; places that the permuter fills
} drt_gps_places;

// DRT_ECONFIG where the order is gps and the model has no permuter.
drt_status drt_gps_check(const drt_model *m, const drt_token_mixer *order, drt_error *err);
// The spliced rows x [rows, d] in the permuter's order; x itself where nothing moves. step NULL: without noise, as the
// model's folder tells. *out in the tape's memory. Plans take memory quadratic in the prompt: DRT_ENOMEM, before any is
// taken, where that is more than is free. NULL after a failure.
drt_tensor *drt_gps_arrange(drt_tape *t, const drt_model *m, const drt_gps_step *step, const drt_mixer_rows *rows,
                            drt_tensor *x, drt_gps_places *out);
// The batch with its marks where its rows are; in the tape's memory. NULL after a failure.
const drt_batch *drt_gps_marks(drt_tape *t, const drt_batch *b, const drt_gps_places *places);

#endif
