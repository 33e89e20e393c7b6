// What a picture looks like, in a few bytes: copies that were scaled, compressed again or touched up a little have
// nearly the same, whatever their files are. Not for crops and mirrored pictures.
//
// Of the mean brightness of 9 x 9 cells: 64 bits say which cell of two neighbours in a row is the brighter one, 64 the
// same of columns (a gradient hash in both directions), and 16 bytes are the picture in 4 x 4 levels of grey.
#ifndef DRT_FORMAT_IMAGE_PRINT_H
#define DRT_FORMAT_IMAGE_PRINT_H

#include "format/image.h"

#include <stdbool.h>
#include <stdint.h>

enum { DRT_PRINT_BANDS = 8, DRT_PRINT_NEAR = 10 };

typedef struct {
    uint64_t bits[2];
    uint8_t grey[16];
    uint16_t shape; // 1000 * width / (width + height)
    bool flat;      // hardly any contrast: like every other such picture, and compared with none
} drt_image_print;

drt_image_print drt_image_print_of(const drt_image *image);
// Bits that differ, 0 to 128.
int drt_image_print_distance(const drt_image_print *a, const drt_image_print *b);
// The same picture to the eye: at most DRT_PRINT_NEAR bits, about the same greys and shape, and neither flat.
bool drt_image_print_near(const drt_image_print *a, const drt_image_print *b);
// 16 of the bits, each band from all over the picture: prints that differ in fewer bits than there are bands agree in
// one of them, which is what near ones are found by.
uint16_t drt_image_print_band(const drt_image_print *p, int band);

#endif
