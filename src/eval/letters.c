#include "eval/letters.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

// One byte a row, bit 4 the leftmost dot; the last row is for tails.
static const struct {
    char letter;
    uint8_t row[8];
} font[] = {
    {'a', {0, 0, 14, 1, 15, 17, 15, 0}},    {'b', {16, 16, 30, 17, 17, 17, 30, 0}},
    {'c', {0, 0, 14, 16, 16, 17, 14, 0}},   {'d', {1, 1, 15, 17, 17, 17, 15, 0}},
    {'e', {0, 0, 14, 17, 31, 16, 14, 0}},   {'f', {6, 8, 28, 8, 8, 8, 8, 0}},
    {'g', {0, 0, 15, 17, 17, 15, 1, 14}},   {'h', {16, 16, 30, 17, 17, 17, 17, 0}},
    {'i', {4, 0, 12, 4, 4, 4, 14, 0}},      {'j', {2, 0, 6, 2, 2, 2, 18, 12}},
    {'k', {16, 16, 18, 20, 24, 20, 18, 0}}, {'l', {12, 4, 4, 4, 4, 4, 14, 0}},
    {'m', {0, 0, 26, 21, 21, 21, 21, 0}},   {'n', {0, 0, 30, 17, 17, 17, 17, 0}},
    {'o', {0, 0, 14, 17, 17, 17, 14, 0}},   {'p', {0, 0, 30, 17, 17, 30, 16, 16}},
    {'q', {0, 0, 15, 17, 17, 15, 1, 1}},    {'r', {0, 0, 22, 25, 16, 16, 16, 0}},
    {'s', {0, 0, 15, 16, 14, 1, 30, 0}},    {'t', {8, 8, 28, 8, 8, 9, 6, 0}},
    {'u', {0, 0, 17, 17, 17, 19, 13, 0}},   {'v', {0, 0, 17, 17, 17, 10, 4, 0}},
    {'w', {0, 0, 17, 17, 21, 21, 10, 0}},   {'x', {0, 0, 17, 10, 4, 10, 17, 0}},
    {'y', {0, 0, 17, 17, 17, 15, 1, 14}},   {'z', {0, 0, 31, 2, 4, 8, 31, 0}},
    {'0', {14, 17, 19, 21, 25, 17, 14, 0}}, {'1', {4, 12, 4, 4, 4, 4, 14, 0}},
    {'2', {14, 17, 1, 2, 4, 8, 31, 0}},     {'3', {31, 2, 4, 2, 1, 17, 14, 0}},
    {'4', {2, 6, 10, 18, 31, 2, 2, 0}},     {'5', {31, 16, 30, 1, 1, 17, 14, 0}},
    {'6', {6, 8, 16, 30, 17, 17, 14, 0}},   {'7', {31, 1, 2, 4, 8, 8, 8, 0}},
    {'8', {14, 17, 17, 14, 17, 17, 14, 0}}, {'9', {14, 17, 17, 15, 1, 2, 12, 0}},
    {'-', {0, 0, 0, 14, 0, 0, 0, 0}},       {'\'', {4, 4, 8, 0, 0, 0, 0, 0}},
    {'.', {0, 0, 0, 0, 0, 12, 12, 0}},      {' ', {0}},
    {0, {31, 17, 17, 17, 17, 17, 31, 0}},
};
enum { GLYPHS = sizeof font / sizeof *font };

static const uint8_t *glyph(char letter) {
    int i = 0;
    while (i < GLYPHS - 1 && font[i].letter != tolower((unsigned char)letter)) i++;
    return font[i].row;
}

// Bytes inside a character of UTF-8 behind its first one.
static bool follows(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

int drt_letters_count(const char *text) {
    int n = 0;
    for (; *text; text++) n += !follows(*text);
    return n;
}

int drt_letters_bytes(const char *text, int n) {
    int i = 0;
    for (; text[i]; i++)
        if (!follows(text[i]) && n-- == 0) break;
    return i;
}

void drt_letters_write(drt_image *image, int x, int y, const char *text, int n, const uint8_t rgb[3]) {
    for (int i = 0; i < n; i++) {
        if (follows(text[i])) continue;
        const uint8_t *rows = glyph(text[i]);
        for (int dy = 0; dy < 8; dy++)
            for (int dx = 0; dx < 5; dx++) {
                int px = x + dx, py = y + dy;
                if (!(rows[dy] >> (4 - dx) & 1) || px < 0 || py < 0 || px >= image->width || py >= image->height)
                    continue;
                memcpy(image->rgb + 3 * ((size_t)py * (size_t)image->width + (size_t)px), rgb, 3);
            }
        x += DRT_LETTER_WIDTH;
    }
}
