// What the kinds of models share in drt_verify: the golden file, the certificate that grows, and the comparison. An
// observer on the tape (drt_verify_see) hands over every stage that a forward pass shows.
#ifndef DRT_EVAL_VERIFY_PARTS_H
#define DRT_EVAL_VERIFY_PARTS_H

#include "eval/verify.h"
#include "format/weights.h"

typedef struct {
    const drt_model *m;
    drt_tape *t;
    drt_weights *golden;
    const char *path;
    drt_certificate *out;
    drt_error *err;
    drt_status status;        // of what happens inside the observer
    double h;                 // rounding of what is stored, the coarser of both sides; 0: f32
    double length, roundings; // on the way to here
    int32_t *id;              // [n]
    int n, images;
    int64_t rows;  // of the prompt, its image laid out
    float *pixels; // [drt_picture_size]; NULL: no picture
    int room;      // of out->stage
    bool permuted; // the golden run was in the permuter's order
} drt_verify_run;

// A stage of the certificate, in order so far; NULL: r->status says why.
drt_certificate_stage *drt_verify_stage(drt_verify_run *r, const char *name);
const drt_weight *drt_verify_golden(const drt_verify_run *r, const char *name); // "stage.NAME" or NULL
// Takes a stage as the tape shows it (drt_tape_set_tap; user: the run): compared where the golden file has it.
void drt_verify_see(void *user, const char *stage, int index, drt_mat value);
double drt_verify_number(drt_mat m, int64_t row, int64_t col);
int64_t drt_verify_integer(const drt_weight *t, int64_t i);          // of I64
drt_status drt_verify_bad(const drt_verify_run *r, const char *why); // DRT_EDATA
// The golden file's `ids` into r->id, all below `vocab` or, where there may be one, DRT_IMAGE_TOKEN.
drt_status drt_verify_ids(drt_verify_run *r, int vocab, bool image);
// `have` [n] against r->id, as the stage "tokens".
drt_status drt_verify_tokens(drt_verify_run *r, const int32_t *have, int n);
// r->pixels from the golden file's picture, else from its pixels; r->images says whether there is one.
drt_status drt_verify_pixels(drt_verify_run *r);

drt_status drt_verify_decoder(drt_verify_run *r); // LLaVA and decoders
drt_status drt_verify_towers(drt_verify_run *r);  // CLIP, SigLIP, a vision tower alone

#endif
