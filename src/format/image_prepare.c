// From a picture to what a tower sees: LLaVA's padding, then the steps of HF's CLIPImageProcessor or
// SiglipImageProcessor.
#include "format/image_internal.h"

#include <math.h>
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

typedef float pixel_values[3][256]; // of each colour's levels

// Four neighbours of a sample and their weights (Keys 1981, a = -3/4), as torch computes them in f32.
typedef struct {
    int at[4];
    float weight[4];
} taps;

static taps taps_of(int i, int in, int out) {
    const float a = -0.75f, from = (float)in / (float)out * ((float)i + 0.5f) - 0.5f;
    const float floor_from = floorf(from), t = from - floor_from;
    taps k;
    for (int j = 0; j < 4; j++) {
        int at = (int)floor_from - 1 + j;
        float x = fabsf(t + 1 - (float)j);
        k.at[j] = at < 0 ? 0 : at >= in ? in - 1 : at;
        k.weight[j] =
            j == 1 || j == 2 ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    }
    return k;
}

static float sample(const drt_image *p, const float value[256], int c, const taps *row, const taps *col) {
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        const uint8_t *from = p->rgb + 3 * (size_t)row->at[i] * (size_t)p->width + c;
        float line = 0;
        for (int j = 0; j < 4; j++) line += col->weight[j] * value[from[3 * (size_t)col->at[j]]];
        sum += row->weight[i] * line;
    }
    return sum;
}

// The tile at (left, top) of the picture scaled to `side`: its patches' rows.
static float *tile_patches(const drt_image *p, const pixel_values value, int side, int left, int top, int tile,
                           int patch, float *out) {
    for (int py = 0; py < tile / patch; py++)
        for (int px = 0; px < tile / patch; px++)
            for (int c = 0; c < 3; c++)
                for (int y = 0; y < patch; y++) {
                    taps row = taps_of(top + py * patch + y, p->height, side);
                    for (int x = 0; x < patch; x++) {
                        taps col = taps_of(left + px * patch + x, p->width, side);
                        *out++ = sample(p, value[c], c, &row, &col);
                    }
                }
    return out;
}

static void scaled_patches(const drt_image *p, const drt_preprocess *how, const pixel_values value, int patch,
                           float *out) {
    int tile = p->width / how->multiple[how->scales - 1];
    for (int s = 0; s < how->scales; s++)
        for (int i = 0, n = how->multiple[s]; i < n * n; i++)
            out = tile_patches(p, value, n * tile, i % n * tile, i / n * tile, tile, patch, out);
}

void drt_image_patches(const drt_image *prepared, const drt_preprocess *how, int patch, float *out) {
    pixel_values value; // HF scales in double, rounds to f32, then normalises in f32
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) value[c][v] = ((float)(v * (1 / 255.0)) - how->mean[c]) / how->std[c];
    if (how->scales) {
        scaled_patches(prepared, how, value, patch, out);
        return;
    }
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
