// White space as Python's str.isspace, str.strip and str.split() see it in UTF-8: LLaVA's cleaning and lengths depend
// on it. Bytes that are not UTF-8 are no white space.
#ifndef DRT_DATA_SPACE_H
#define DRT_DATA_SPACE_H

#include <stddef.h>

// Bytes of the white-space character that s[0..n) begins with (1 to 3), or 0 if it begins with something else.
int drt_space_front(const char *s, size_t n);
// The same for the character that s[0..n) ends with.
int drt_space_back(const char *s, size_t n);
// Moves both ends of *s, *n inward past white space.
void drt_strip(const char **s, size_t *n);
// The next word of s[*at..n): returns its start and sets *size and *at (behind it), or NULL when none is left.
const char *drt_next_word(const char *s, size_t n, size_t *at, size_t *size);
size_t drt_count_words(const char *s, size_t n); // how often drt_next_word finds one

#endif
