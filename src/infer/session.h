// Several sequences that a decoder has read so far: its cache of keys and values, and how rows are added to it.
//
//   drt_session *s;
//   drt_session_new(&s, model, tape, 2, 300, &err);              // 2 sequences of at most 300 rows
//   drt_feed f[] = {{0, id0, n0, patches0}, {1, id1, n1, NULL}};
//   drt_session_feed(s, f, 2, &logits, &err);                    // [2, vocab]: what comes next
//   ... f[0] = (drt_feed){0, &chosen, 1, NULL} ...               // and one by one, for whoever goes on
//   drt_session_free(s);
//
// All feeds of a call are one packed batch without padding. Every call starts a step of the tape (without recording).
#ifndef DRT_INFER_SESSION_H
#define DRT_INFER_SESSION_H

#include "align/gps.h"
#include "data/conversation.h"
#include "model/model.h"

typedef struct drt_session drt_session;

// model (LLaVA or a decoder) and tape must outlive the session. room: rows a sequence, at most the model's positions.
drt_status drt_session_new(drt_session **out, const drt_model *model, drt_tape *tape, int sequences, int64_t room,
                           drt_error *err);
void drt_session_free(drt_session *s); // NULL is allowed

// The input order of what is fed from now on, each feed by itself; it must outlive the session. NULL: none.
// DRT_ECONFIG: gps, and the model has no permuter.
drt_status drt_session_order(drt_session *s, const drt_token_mixer *order, drt_error *err);
int64_t drt_session_length(const drt_session *s, int sequence); // rows read so far
// Forgets all rows from `length` on (a no-op if there are none).
void drt_session_cut(drt_session *s, int sequence, int64_t length);
// Rows that ids take: one each, and an image's rows for DRT_IMAGE_TOKEN.
int64_t drt_id_rows(const drt_model *model, const int32_t *id, int n);
// What drt_splice takes of these rows: token (-1: visual), visual (-1: a word; else the row among those of all
// pictures, the first of which is number `image`).
void drt_id_layout(const drt_model *model, const int32_t *id, int n, int image, int32_t *token, int32_t *visual);

typedef struct {
    int sequence;      // ascending within a call
    const int32_t *id; // [n], n >= 1: tokens and DRT_IMAGE_TOKEN
    int n;
    const float *patches; // [images in id * drt_picture_size] pixels, one image after another; NULL without images
    int prompt;           // ids in front of the first answer, whose rows an input order moves; 0: all
} drt_feed;

// Reads the feeds. *logits [n, vocab] of the token after each feed, in the tape's memory: valid until its next step.
// DRT_EARG: more rows than the room, a token that the model lacks. A failure leaves every length as it was.
drt_status drt_session_feed(drt_session *s, const drt_feed *feeds, int n, drt_mat *logits, drt_error *err);
// logprob[i] = log P(id[1], ..., id[n - 1] | all before and id[0]) of feed i. Reads all but the last id; cut the
// sequences back afterwards. Feeds without images, n >= 2.
drt_status drt_session_score(drt_session *s, const drt_feed *feeds, int n, double *logprob, drt_error *err);

#endif
