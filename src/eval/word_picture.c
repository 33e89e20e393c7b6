#include "eval/word_picture.h"

#include "eval/letters.h"

#include <string.h>

enum { ACROSS = 10, MARGIN = 3, CELL = ACROSS * DRT_LETTER_WIDTH + 2 * MARGIN }; // letters in a line; pixels of a patch

static void shade(drt_image *image) {
    for (size_t i = 0; i < 3 * (size_t)image->width * (size_t)image->height; i++)
        image->rgb[i] = (uint8_t)(image->rgb[i] * 5 / 8);
}

static void draw_grid(drt_image *image) {
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++) {
            uint8_t *p = image->rgb + 3 * ((size_t)y * (size_t)image->width + (size_t)x);
            if (x % CELL == 0 || y % CELL == 0)
                for (int c = 0; c < 3; c++) p[c] /= 2;
        }
}

// A letter in its colour with a dark copy around it, readable on anything.
static void write(drt_image *image, int x, int y, const char *text, int n, const uint8_t rgb[3]) {
    static const uint8_t dark[3] = {0, 0, 0};
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            if (dx || dy) drt_letters_write(image, x + dx, y + dy, text, n, dark);
    drt_letters_write(image, x, y, text, n, rgb);
}

static void put_word(drt_image *image, int left, int top, const char *word, drt_word_verdict verdict) {
    static const uint8_t colour[][3] = {{255, 255, 255}, {110, 255, 110}, {255, 120, 110}};
    const int most = (CELL - 2 * MARGIN) / DRT_LETTER_HEIGHT;
    int letters = drt_letters_count(word), lines = (letters + ACROSS - 1) / ACROSS;
    if (lines > most) lines = most;
    int y = top + (CELL - lines * DRT_LETTER_HEIGHT) / 2;
    for (int i = 0; i < lines; i++, y += DRT_LETTER_HEIGHT) {
        int bytes = drt_letters_bytes(word, ACROSS), n = letters < ACROSS ? letters : ACROSS;
        write(image, left + (CELL - n * DRT_LETTER_WIDTH) / 2, y, word, bytes, colour[verdict]);
        word += bytes, letters -= n;
    }
}

drt_status drt_word_picture(const drt_image *seen, int side, char *const *word, const drt_word_verdict *verdict,
                            drt_image *out, drt_error *err) {
    drt_status status = drt_image_resize_bicubic(seen, side * CELL, side * CELL, out, err);
    if (status) return status;
    shade(out);
    draw_grid(out);
    for (int i = 0; i < side * side; i++) put_word(out, i % side * CELL, i / side * CELL, word[i], verdict[i]);
    return DRT_OK;
}
