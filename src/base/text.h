// A growing string. The first failure to allocate sticks: check `failed` once at the end.
//
//   drt_text t = {0};
//   drt_text_printf(&t, "%d rows", n);
//   ... t.bytes (always NUL-terminated, "" at least once something was added), t.size ...
//   drt_text_free(&t);
#ifndef DRT_BASE_TEXT_H
#define DRT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *bytes;
    size_t size, room;
    bool failed;
} drt_text;

void drt_text_add(drt_text *t, const void *bytes, size_t n);
void drt_text_puts(drt_text *t, const char *s);
void drt_text_printf(drt_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void drt_text_json(drt_text *t, const char *s); // s as a quoted JSON string; U+FFFD for a byte that is not UTF-8
void drt_text_html(drt_text *t, const char *s); // s with &<>"' escaped
// s for a terminal, which would obey control characters: a line end as ↵, others as ·
void drt_text_plain(drt_text *t, const char *s);
void drt_text_base64(drt_text *t, const void *bytes, size_t n);
void drt_text_free(drt_text *t);

// Bytes (1 to 4) of the UTF-8 character that p begins with, p < end; 0: none (cut off, overlong, a surrogate).
int drt_utf8(const char *p, const char *end);
bool drt_is_utf8(const char *s);

// Which of n words `word` is; n if none.
int drt_place_of(const char *word, const char *const *words, int n);
// The edit distance (insert, delete, replace, swap of neighbours) of two words, for "did you mean".
int drt_edit_distance(const char *a, const char *b);
// The nearest of n words to `word` (one that begins with it is), or NULL if none is near enough to be meant.
const char *drt_nearest(const char *word, const char *const *words, int n);

#endif
