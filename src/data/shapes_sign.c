// The sign's font: capitals on 5 x 7 dots, one byte a row, bit 4 the leftmost dot.
#include "data/shapes_world.h"

static const struct {
    char letter;
    uint8_t rows[7];
} font[] = {
    {'a', {14, 17, 17, 31, 17, 17, 17}}, {'b', {30, 17, 17, 30, 17, 17, 30}}, {'c', {14, 17, 16, 16, 16, 17, 14}},
    {'d', {30, 17, 17, 17, 17, 17, 30}}, {'e', {31, 16, 16, 30, 16, 16, 31}}, {'f', {31, 16, 16, 30, 16, 16, 16}},
    {'g', {14, 17, 16, 23, 17, 17, 14}}, {'h', {17, 17, 17, 31, 17, 17, 17}}, {'i', {14, 4, 4, 4, 4, 4, 14}},
    {'k', {17, 18, 20, 24, 20, 18, 17}}, {'m', {17, 27, 21, 21, 17, 17, 17}}, {'n', {17, 25, 21, 19, 17, 17, 17}},
    {'o', {14, 17, 17, 17, 17, 17, 14}}, {'p', {30, 17, 17, 30, 16, 16, 16}}, {'s', {15, 16, 16, 14, 1, 1, 30}},
    {'t', {31, 4, 4, 4, 4, 4, 4}},       {'u', {17, 17, 17, 17, 17, 17, 14}}, {'x', {17, 17, 10, 4, 10, 17, 17}},
    {'y', {17, 17, 10, 4, 4, 4, 4}},     {'z', {31, 1, 2, 4, 8, 16, 31}},
};

bool drt_shapes_ink(int word, float x, float y) {
    if (x < 0 || y < 0 || x >= 17 || y >= 7) return false;
    int column = (int)x, at = column / 6, dot = column % 6;
    if (dot == 5) return false;
    for (size_t i = 0; i < sizeof font / sizeof *font; i++) {
        if (font[i].letter == drt_shapes_signs[word][at]) return font[i].rows[(int)y] >> (4 - dot) & 1;
    }
    return false;
}
