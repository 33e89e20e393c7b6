#include "format/image_internal.h"

#include <stdlib.h>

drt_status drt_image_check_size(int64_t width, int64_t height, drt_error *err) {
    if (width < 1 || height < 1)
        return drt_fail(err, DRT_EARG, "a picture of %lld x %lld pixels; both sides must be at least 1",
                        (long long)width, (long long)height);
    if (width > DRT_IMAGE_MOST_PIXELS / height)
        return drt_fail(err, DRT_ENOMEM, "a picture of %lld x %lld pixels; more than %lld are refused",
                        (long long)width, (long long)height, (long long)DRT_IMAGE_MOST_PIXELS);
    return DRT_OK;
}

drt_status drt_image_new(drt_image *image, int width, int height, drt_error *err) {
    *image = (drt_image){0};
    drt_status status = drt_image_check_size(width, height, err);
    if (status) return status;
    uint8_t *rgb = calloc((size_t)width * (size_t)height, 3);
    if (!rgb) return drt_fail(err, DRT_ENOMEM, "no memory for a picture of %d x %d pixels", width, height);
    *image = (drt_image){width, height, rgb};
    return DRT_OK;
}

void drt_image_free(drt_image *image) {
    if (!image) return;
    free(image->rgb);
    *image = (drt_image){0};
}
