// Which words are most like each patch of a picture, as a vision tower and its text tower see it (SEA, METHODS 3): made
// once for a data set, kept in one file, read at random while training.
//
//   drt_word_labels *l;
//   if (drt_word_labels_open(&l, "labels.sea", &err)) ...
//   int64_t at = drt_word_labels_find(l, drt_picture_key(bytes, size));    // of a picture file's bytes
//   if (at >= 0 && drt_word_labels_read(l, at, word, score, &err)) ...     // [patches * most] each
//   drt_word_labels_close(l);
//
// The file, little-endian, nothing between its parts:
//   header    drt_word_labels_about and sizes, closed by a hash of itself
//   words     u64 [words] where each ends among the bytes; the bytes; zeros to a multiple of 8
//   keys      u64 [pictures] ascending: the hash of a picture file's bytes
//   records   of the pictures in the order of their keys: [patches][most] numbers of words (2 bytes each, 4 where there
//             are more than 65536 words), [patches][most] scores (f16, descending, 0 behind the last label), and a u64
//             hash of key and record
// The header holds a hash of words and keys. So what is read is what was written, or is refused.
#ifndef DRT_DATA_WORD_LABELS_H
#define DRT_DATA_WORD_LABELS_H

#include "base/file.h"
#include "data/dataset.h"
#include "data/word_list.h"

#include <stdbool.h>

enum { DRT_LABELS_MOST = 64, DRT_TOWER_MARKS = 8 };

typedef struct {
    int side, most;               // patches along a side of a picture; labels that a patch has at most
    bool negated;                 // scores are -cosine
    bool padded;                  // pictures were padded to squares (data.aspect: pad)
    float tower[DRT_TOWER_MARKS]; // whose labels these are: drt_tower_marks
    int64_t words, pictures;
} drt_word_labels_about;

typedef struct drt_word_labels drt_word_labels;

// Header, words and keys are checked here, records when they are read. DRT_EFORMAT names what is wrong, and the remedy.
drt_status drt_word_labels_open(drt_word_labels **out, const char *path, drt_error *err);
// The same from memory, which must outlive *out; `name` stands for the file in messages.
drt_status drt_word_labels_open_memory(drt_word_labels **out, const void *bytes, size_t size, const char *name,
                                       drt_error *err);
void drt_word_labels_close(drt_word_labels *l); // NULL is allowed
const drt_word_labels_about *drt_word_labels_tell(const drt_word_labels *l);
const char *drt_word_labels_path(const drt_word_labels *l);
const char *drt_word_labels_word(const drt_word_labels *l, int64_t word, size_t *size); // not NUL-terminated
int64_t drt_word_labels_find(const drt_word_labels *l, uint64_t key);                   // -1: not among them
// The same of the file at `path`. DRT_EDATA: it has no labels; says that they are of other pictures.
drt_status drt_word_labels_find_file(const drt_word_labels *l, const char *path, int64_t *picture, drt_error *err);
// Labels of a picture, [side * side * most] each, best first; score 0 (and word 0): there is none. From any thread.
drt_status drt_word_labels_read(const drt_word_labels *l, int64_t picture, int32_t *word, float *score, drt_error *err);

// The same of picture k of a sample, which may have come with it.
drt_status drt_word_labels_find_in(const drt_word_labels *l, const drt_record *r, int k, int64_t *picture,
                                   drt_error *err);

uint64_t drt_picture_key(const void *bytes, size_t size);
drt_status drt_picture_key_in(const drt_record *r, int k, uint64_t *key, drt_error *err);
drt_status drt_picture_key_of(const char *path, uint64_t *key, drt_error *err); // of the file at `path`

// Writing, atomically. keys: [about->pictures] ascending, outliving the writer; `words` is read once more (its number
// is put in for about->words). Then one drt_word_labels_put a picture, in the order of the keys, and a commit, or an
// abandon. Numbers of words must be below the list's; scores are rounded to f16.
typedef struct {
    drt_writer file;
    drt_word_labels_about about;
    const uint64_t *keys;
    int64_t at;
    unsigned char *record;
} drt_word_labels_writer;
drt_status drt_word_labels_create(drt_word_labels_writer *w, const char *path, const drt_word_labels_about *about,
                                  drt_word_list *words, const uint64_t *keys, drt_error *err);
void drt_word_labels_put(drt_word_labels_writer *w, const int32_t *word, const float *score);
drt_status drt_word_labels_commit(drt_word_labels_writer *w, drt_error *err);
void drt_word_labels_abandon(drt_word_labels_writer *w);

#endif
