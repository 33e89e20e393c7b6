// What the files of image*.c share. One file per format (image_png.c, image_jpeg.c, image_webp.c) turns bytes into
// pixels and back; image.c chooses among them.
#ifndef DRT_FORMAT_IMAGE_INTERNAL_H
#define DRT_FORMAT_IMAGE_INTERNAL_H

#include "base/text.h"
#include "format/image.h"

#define DRT_IMAGE_MOST_PIXELS ((int64_t)1 << 28)

// DRT_OK, DRT_EARG (a side below 1) or DRT_ENOMEM (more than `most` pixels).
drt_status drt_image_check_size(int64_t width, int64_t height, int64_t most, drt_error *err);

// drt_image_new for who writes every pixel: not black.
drt_status drt_image_room(drt_image *image, int width, int height, drt_error *err);

// Decoders of one format. They check the header's size against most_pixels before they allocate the picture. When one
// fails, *image may already hold pixels: the caller frees it. *health is zeroed by the caller.
drt_status drt_image_decode_png(drt_image *image, const unsigned char *bytes, size_t size, int64_t most_pixels,
                                drt_image_health *health, drt_error *err);
drt_status drt_image_decode_jpeg(drt_image *image, const unsigned char *bytes, size_t size, int64_t most_pixels,
                                 drt_image_health *health, drt_error *err);
drt_status drt_image_decode_webp(drt_image *image, const unsigned char *bytes, size_t size, int64_t most_pixels,
                                 drt_image_health *health, drt_error *err);
// drt_image_decode with another limit, so that a fuzzer does not spend its hours on empty giants.
drt_status drt_image_decode_at_most(drt_image *image, const void *bytes, size_t size, const char *name,
                                    int64_t most_pixels, drt_image_health *health, drt_error *err);

// The end of an encoder: the bytes go to the caller or, after a failure, are released.
drt_status drt_image_hand_over(drt_text *out, unsigned char **bytes, size_t *size, drt_status status, drt_error *err);

// The part of drt_image_resize_bicubic(in, width, height) that starts at (x, y) and is as large as *out, which the
// caller made with drt_image_new. Only that part is computed: a thin strip whose crop is small stays cheap.
drt_status drt_image_resize_part(const drt_image *in, int width, int height, int x, int y, drt_image *out,
                                 drt_error *err);

#endif
