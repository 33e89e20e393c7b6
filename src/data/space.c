#include "data/space.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

int drt_space_front(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    if (n && (s[0] == ' ' || (s[0] >= 9 && s[0] <= 13) || (s[0] >= 0x1C && s[0] <= 0x1F))) return 1;
    if (n >= 2 && s[0] == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0)) return 2;
    if (n < 3) return 0;
    unsigned c = (unsigned)s[0] << 16 | (unsigned)s[1] << 8 | s[2];
    // U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000
    if (c == 0xE19A80 || (c >= 0xE28080 && c <= 0xE2808A) || c == 0xE280A8 || c == 0xE280A9 || c == 0xE280AF ||
        c == 0xE2819F || c == 0xE38080)
        return 3;
    return 0;
}

int drt_space_back(const char *s, size_t n) {
    for (size_t k = 1; k <= 3 && k <= n; k++)
        if (drt_space_front(s + n - k, k) == (int)k) return (int)k;
    return 0;
}

void drt_strip(const char **s, size_t *n) {
    int k;
    while ((k = drt_space_front(*s, *n))) *s += k, *n -= (size_t)k;
    while ((k = drt_space_back(*s, *n))) *n -= (size_t)k;
}

const char *drt_next_word(const char *s, size_t n, size_t *at, size_t *size) {
    int k;
    while ((k = drt_space_front(s + *at, n - *at))) *at += (size_t)k;
    if (*at == n) return NULL;
    const char *word = s + *at;
    while (*at < n && !drt_space_front(s + *at, n - *at)) ++*at;
    *size = (size_t)(s + *at - word);
    return word;
}

#define EACH(byte) (0x0101010101010101u * (uint64_t)(byte))

// Words that begin in eight bytes of ASCII without control characters (all other: false), where `gap` says whether the
// byte before is white space. A byte's top bit in `letter` is set where it is none.
static bool count_eight(const char *s, size_t *words, bool *gap) {
    uint64_t w, top = EACH(0x80);
    memcpy(&w, s, 8);
    if ((w & top) || (((w | top) - EACH(' ')) & top) != top) return false;
    uint64_t letter = ((w | top) - EACH(' ' + 1)) & top, before = letter << 8 | (*gap ? 0 : 0x80);
    *words += (size_t)__builtin_popcountll(letter & ~before);
    *gap = !(letter >> 63);
    return true;
}

size_t drt_count_words(const char *s, size_t n) {
    size_t words = 0;
    bool gap = true; // the character before is white space, or there is none
    for (size_t at = 0; at < n;) {
        if (n - at >= 8 && count_eight(s + at, &words, &gap)) {
            at += 8;
            continue;
        }
        int k = drt_space_front(s + at, n - at);
        words += gap && !k;
        gap = k > 0;
        at += k ? (size_t)k : 1;
    }
    return words;
}
