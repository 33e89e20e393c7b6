// What the files of check*.c share.
#ifndef DRT_DATA_CHECK_PARTS_H
#define DRT_DATA_CHECK_PARTS_H

#include "data/check.h"
#include "format/image_print.h"

// A place where a picture is named, and a picture: what is named first by the same path.
typedef struct {
    uint64_t key; // digest of the path
    int32_t sample, image, picture;
} drt_picture_use;
typedef struct {
    int32_t sample, image; // where it is named first
    bool good;             // decoded
    int kind;              // of its finding, -1: none
    char *text;            // what was found
    uint64_t content;      // digest of its bytes
    drt_image_print print;
} drt_checked_picture;

typedef struct {
    const drt_data_check_options *o;
    drt_data_check *c;
    drt_picture_use *use;         // [c->uses]
    drt_checked_picture *picture; // [c->pictures]
    drt_checked_picture *eval;    // [c->eval_pictures]; sample: which question, image: unused
    char **eval_name;             // [c->eval_pictures]
    uint64_t *question;           // [questions] digests of the evaluation's questions without a picture, ascending
    int64_t questions;
    drt_error fault; // the first that ended the check
} drt_checker;

// Adds a finding; from any thread. text is copied; other -1: none.
void drt_check_find(drt_checker *k, drt_find_kind kind, int32_t sample, int32_t image, int32_t other,
                    int32_t other_image, const char *text);
// Keeps the first failure that no finding can tell; from any thread.
void drt_check_fault(drt_checker *k, const drt_error *err);
drt_progress drt_check_bar(const drt_checker *k, const char *what); // a progress line of its own
// The picture's bytes into p: decoded, hashed; *bytes and *pixels are added to.
void drt_check_picture(drt_checker *k, drt_checked_picture *p, const void *bytes, size_t size, const char *name,
                       int64_t *pixels);
// Whether an evaluation file asks this without a picture, word for word.
bool drt_check_is_asked(const drt_checker *k, const char *text);

drt_status drt_check_pictures(drt_checker *k, drt_error *err);  // check_pictures.c
drt_status drt_check_likeness(drt_checker *k, drt_error *err);  // check_likeness.c
drt_status drt_check_eval_read(drt_checker *k, drt_error *err); // check_eval.c
void drt_check_eval_free(drt_checker *k);

#endif
