// What the files of preview*.c share.
#ifndef DRT_TRAIN_PREVIEW_PARTS_H
#define DRT_TRAIN_PREVIEW_PARTS_H

#include "train/preview.h"
#include "train/training.h"

typedef enum {
    DRT_SEEN_MASKED, // read, not trained on
    DRT_SEEN_TRAINED,
    DRT_SEEN_VISUAL,   // the rows of a picture
    DRT_SEEN_DIRECTED, // the directed token
    DRT_SEEN_CUT,      // behind the end of the context
    DRT_SEEN_KINDS
} drt_seen_kind;
extern const char *const drt_seen_names[DRT_SEEN_KINDS];

// One token, or one picture's rows.
typedef struct {
    drt_seen_kind kind;
    bool picture; // also where it is cut off
    int rows;
    const char *text; // of a token: what it says; white space as it is
} drt_seen;

// One sequence of a sample.
typedef struct {
    drt_pass_kind kind;
    int permutation, rows, trained, cut; // rows in the model; tokens that are trained on; rows that were cut off
    drt_seen *seen;                      // [n]
    int n, images;
    const float *patches; // its pictures in the packed batch; NULL: none
} drt_seen_pass;

typedef struct {
    const char *name;     // "sample 12 (id 'abc')"
    const char **picture; // [images] names
    int images;
    drt_seen_pass pass[DRT_PASS_KINDS];
    int passes;
} drt_seen_sample;

struct drt_preview {
    drt_training t;
    drt_step_data *data;
    int64_t step;
    drt_arena *arena;
    drt_seen_sample *sample; // [n] in the order of the batches
    int n;
};

extern const char *const drt_pass_titles[DRT_PASS_KINDS];
// Picture k of a pass as the model sees it, denormalised; the largest scale is cut into tiles, so S² gives the first.
drt_status drt_preview_picture(const drt_preview *p, const drt_seen_pass *pass, int k, drt_image *out, drt_error *err);

#endif
