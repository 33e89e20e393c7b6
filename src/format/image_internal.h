// What the files of image*.c share: the pixel limit and libjpeg's way out of an error.
#ifndef DRT_FORMAT_IMAGE_INTERNAL_H
#define DRT_FORMAT_IMAGE_INTERNAL_H

#include "format/image.h"

#include <setjmp.h>
#include <stdio.h>
// libjpeg's header needs stdio.h before it.
#include <jpeglib.h>

#define DRT_IMAGE_MOST_PIXELS ((int64_t)1 << 28)

// DRT_OK, DRT_EARG (a side below 1) or DRT_ENOMEM (more than DRT_IMAGE_MOST_PIXELS).
drt_status drt_image_check_size(int64_t width, int64_t height, drt_error *err);

// libjpeg reports an error by a call that must not return. The caller does `if (setjmp(e.back)) ...`; then `text`
// holds the message. Warnings are counted in base.num_warnings and never printed.
typedef struct {
    struct jpeg_error_mgr base; // first: libjpeg's pointer to it is a pointer to this struct
    jmp_buf back;
    char text[JMSG_LENGTH_MAX];
} drt_jpeg_errors;
struct jpeg_error_mgr *drt_jpeg_errors_init(drt_jpeg_errors *e);

#endif
