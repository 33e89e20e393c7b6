// A list of words, one a line, read as a stream: what is held in memory does not grow with the list.
//
//   drt_word_list l;
//   if (drt_word_list_open(&l, "words.txt", &err)) ...       // reads it all once: counts and checks
//   const char *word;
//   size_t size;
//   while (!(status = drt_word_list_next(&l, &word, &size, &err)) && word) ...
//   drt_word_list_rewind(&l);                                 // from the first word again
//   drt_word_list_close(&l);
//
// A word is a line without the white space around it; words may have spaces inside. Refused with the number of the
// line: an empty line, a word that stands there twice, one of more than DRT_WORD_SIZE bytes, a line of more than
// DRT_WORD_LINE, a NUL.
#ifndef DRT_DATA_WORD_LIST_H
#define DRT_DATA_WORD_LIST_H

#include "base/error.h"

#include <stdint.h>
#include <stdio.h>

enum { DRT_WORD_SIZE = 255, DRT_WORD_LINE = 1024 };

typedef struct {
    FILE *file;
    char *path, line[DRT_WORD_LINE];
    int64_t words, bytes; // of the whole list; bytes of the words alone
    uint64_t hash;        // chained over the words: see drt_word_chain
    int64_t at;           // words read since the start
} drt_word_list;

// DRT_EIO: cannot be read. DRT_EDATA: a line is no word, there is no word, or a word stands twice.
drt_status drt_word_list_open(drt_word_list *l, const char *path, drt_error *err);
// The next word, valid until the next call; *word is NULL behind the last.
drt_status drt_word_list_next(drt_word_list *l, const char **word, size_t *size, drt_error *err);
void drt_word_list_rewind(drt_word_list *l);
void drt_word_list_close(drt_word_list *l); // also of a zeroed one

// The hash of a list, word by word: begins with 0.
uint64_t drt_word_chain(uint64_t hash, const char *word, size_t size);

#endif
