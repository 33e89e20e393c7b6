// Small letters for pictures: 5 x 8 dots each, written into RGB pixels.
#ifndef DRT_EVAL_LETTERS_H
#define DRT_EVAL_LETTERS_H

#include "format/image.h"

enum { DRT_LETTER_WIDTH = 6, DRT_LETTER_HEIGHT = 9 }; // with the gap to the next

// Writes n bytes of text with its top left corner at (x, y), what lies outside the picture left out. Capitals are
// written small; a character that is no ASCII letter, digit, hyphen, apostrophe or full stop is a box.
void drt_letters_write(drt_image *image, int x, int y, const char *text, int n, const uint8_t rgb[3]);
// Letters that `text` takes.
int drt_letters_count(const char *text);
// Bytes of the first n letters of text.
int drt_letters_bytes(const char *text, int n);

#endif
