#include "format/image_print.h"

#include <stdlib.h>

enum { CELLS = 9, SAMPLES = 8, FLAT = 10, GREYS = 10, SHAPE = 15 };

// Mean brightness (0 to 1000 * 255) of a cell, from at most SAMPLES x SAMPLES pixels evenly over it.
static int cell_mean(const drt_image *m, int cx, int cy) {
    int64_t x0 = (int64_t)m->width * cx / CELLS, x1 = (int64_t)m->width * (cx + 1) / CELLS;
    int64_t y0 = (int64_t)m->height * cy / CELLS, y1 = (int64_t)m->height * (cy + 1) / CELLS;
    if (x1 == x0) x1 = x0 + 1;
    if (y1 == y0) y1 = y0 + 1;
    int64_t nx = x1 - x0 < SAMPLES ? x1 - x0 : SAMPLES, ny = y1 - y0 < SAMPLES ? y1 - y0 : SAMPLES, sum = 0;
    for (int64_t i = 0; i < ny; i++) {
        const uint8_t *row = m->rgb + (size_t)(y0 + (2 * i + 1) * (y1 - y0) / (2 * ny)) * (size_t)m->width * 3;
        for (int64_t k = 0; k < nx; k++) {
            const uint8_t *p = row + 3 * (x0 + (2 * k + 1) * (x1 - x0) / (2 * nx));
            sum += 299 * p[0] + 587 * p[1] + 114 * p[2];
        }
    }
    return (int)(sum / (nx * ny));
}

drt_image_print drt_image_print_of(const drt_image *m) {
    int mean[CELLS][CELLS], least = 255000, most = 0;
    drt_image_print p = {.shape = (uint16_t)(1000LL * m->width / (m->width + m->height))};
    for (int y = 0; y < CELLS; y++)
        for (int x = 0; x < CELLS; x++) {
            int v = mean[y][x] = cell_mean(m, x, y);
            if (v < least) least = v;
            if (v > most) most = v;
        }
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++) {
            p.bits[0] |= (uint64_t)(mean[y][x + 1] > mean[y][x]) << (8 * y + x);
            p.bits[1] |= (uint64_t)(mean[y + 1][x] > mean[y][x]) << (8 * y + x);
            p.grey[y / 2 * 4 + x / 2] += (uint8_t)(mean[y][x] / 4000);
        }
    p.flat = most - least < FLAT * 1000;
    return p;
}

int drt_image_print_distance(const drt_image_print *a, const drt_image_print *b) {
    return __builtin_popcountll(a->bits[0] ^ b->bits[0]) + __builtin_popcountll(a->bits[1] ^ b->bits[1]);
}

bool drt_image_print_near(const drt_image_print *a, const drt_image_print *b) {
    if (a->flat || b->flat || abs(a->shape - b->shape) > SHAPE || drt_image_print_distance(a, b) > DRT_PRINT_NEAR)
        return false;
    for (int i = 0; i < 16; i++)
        if (abs(a->grey[i] - b->grey[i]) > GREYS) return false;
    return true;
}

uint16_t drt_image_print_band(const drt_image_print *p, int band) {
    unsigned out = 0;
    for (int y = 0; y < 8; y++) { // one bit of every row, of both directions
        int at = 8 * y + (band + 3 * y) % 8;
        out |= (unsigned)(p->bits[0] >> at & 1) << (2 * y) | (unsigned)(p->bits[1] >> at & 1) << (2 * y + 1);
    }
    return (uint16_t)out;
}
