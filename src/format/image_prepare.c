// From a picture to what a tower sees: LLaVA's padding, then the steps of HF's CLIPImageProcessor or
// SiglipImageProcessor.
#include "format/image_internal.h"

#include <string.h>

const drt_preprocess drt_preprocess_clip = {
    .size = 336,
    .aspect = DRT_ASPECT_SQUARE,
    .mean = {0.48145466f, 0.4578275f, 0.40821073f},
    .std = {0.26862954f, 0.26130258f, 0.27577711f},
};

const drt_preprocess drt_preprocess_siglip = {
    .size = 384,
    .aspect = DRT_ASPECT_SQUARE,
    .fit = DRT_FIT_SQUASH,
    .mean = {0.5f, 0.5f, 0.5f},
    .std = {0.5f, 0.5f, 0.5f},
};

// The picture in the middle of a square of int(mean * 255); an odd difference leaves the extra line below or right.
static drt_status pad(const drt_image *in, const float mean[3], drt_image *out, drt_error *err) {
    int side = in->width > in->height ? in->width : in->height;
    int left = (side - in->width) / 2, top = (side - in->height) / 2;
    drt_status status = drt_image_new(out, side, side, err);
    if (status) return drt_fail_in(err, "padding %d x %d to a square", in->width, in->height), status;
    uint8_t background[3];
    for (int c = 0; c < 3; c++) background[c] = (uint8_t)(mean[c] * 255.0);
    size_t stride = 3 * (size_t)side, bytes = 3 * (size_t)in->width;
    for (size_t x = 0; x < stride; x += 3) memcpy(out->rgb + x, background, 3);
    for (size_t y = 1; y < (size_t)side; y++) memcpy(out->rgb + y * stride, out->rgb, stride);
    for (int y = 0; y < in->height; y++)
        memcpy(out->rgb + (size_t)(top + y) * stride + 3 * (size_t)left, in->rgb + (size_t)y * bytes, bytes);
    return DRT_OK;
}

// Shortest edge to how->size, the other int(size * long / short); then the middle, top = (height - size) / 2.
static drt_status crop(const drt_image *in, int size, drt_image *out, drt_error *err) {
    int64_t narrow = in->width < in->height ? in->width : in->height;
    int64_t width = (int64_t)size * in->width / narrow, height = (int64_t)size * in->height / narrow;
    if (width > INT32_MAX || height > INT32_MAX)
        return drt_fail(err, DRT_EDATA, "%d x %d pixels, too thin a strip to be resized to %d", in->width, in->height,
                        size);
    drt_status status = drt_image_new(out, size, size, err);
    if (status) return status;
    return drt_image_resize_part(in, (int)width, (int)height, (int)(width - size) / 2, (int)(height - size) / 2, out,
                                 err);
}

drt_status drt_image_prepare(const drt_image *in, const drt_preprocess *how, drt_image *out, drt_error *err) {
    *out = (drt_image){0};
    drt_status status = drt_image_check_size(in->width, in->height, DRT_IMAGE_MOST_PIXELS, err);
    if (status) return status;
    drt_image square = {0};
    if (how->aspect == DRT_ASPECT_PAD && in->width != in->height) {
        status = pad(in, how->mean, &square, err);
        in = &square;
    }
    if (!status && how->fit == DRT_FIT_CROP) status = crop(in, how->size, out, err);
    else if (!status) status = drt_image_resize_bicubic(in, how->size, how->size, out, err);
    drt_image_free(&square);
    if (status) drt_image_free(out);
    return status;
}

void drt_image_patches(const drt_image *prepared, const drt_preprocess *how, int patch, float *out) {
    float value[3][256]; // HF scales in double, rounds to f32, then normalises in f32
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) value[c][v] = ((float)(v * (1 / 255.0)) - how->mean[c]) / how->std[c];
    int across = prepared->width / patch, down = prepared->height / patch;
    for (int py = 0; py < down; py++)
        for (int px = 0; px < across; px++)
            for (int c = 0; c < 3; c++)
                for (int y = 0; y < patch; y++) {
                    size_t row = (size_t)(py * patch + y) * (size_t)prepared->width;
                    const uint8_t *from = prepared->rgb + 3 * (row + (size_t)(px * patch)) + c;
                    for (int x = 0; x < patch; x++) *out++ = value[c][from[3 * x]];
                }
}
