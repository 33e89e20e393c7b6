// Pictures: JPEG, PNG and WebP files to 8-bit RGB and back, PIL's bicubic resize, LLaVA's and CLIP's preprocessing.
#ifndef DRT_FORMAT_IMAGE_H
#define DRT_FORMAT_IMAGE_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// 8-bit RGB, rows from the top, 3 * width bytes a row, no gaps. `rgb` is malloc'ed; drt_image_free releases it.
typedef struct {
    int width, height;
    uint8_t *rgb;
} drt_image;

// Functions that make a picture overwrite *image without releasing what it held, and leave it empty when they fail.
drt_status drt_image_new(drt_image *image, int width, int height, drt_error *err); // black
void drt_image_free(drt_image *image); // NULL and an empty picture are allowed; leaves it empty

// Decodes JPEG, PNG and WebP by content, not by name; drt_image_decode takes a file's bytes and the name for messages.
// Same pixels as PIL's Image.open(path).convert("RGB"): grey and palette are expanded; alpha is dropped without
// blending; 16-bit colour PNG keeps the high byte, 16-bit grey PNG is clipped at 255; CMYK JPEG is taken as inverted,
// as Adobe writes it; EXIF orientation, gamma and colour profiles are ignored. An animated PNG gives its still picture,
// an animated WebP is refused. Errors (DRT_EFORMAT) name the file, the byte and the row: unknown content, damage, or
// an end before the last pixel. More than 2^28 pixels (DRT_ENOMEM), or more than so many bytes can hold, are refused
// before anything is allocated. Damage inside a JPEG that libjpeg reads over is read over, as PIL does.
drt_status drt_image_read(drt_image *image, const char *path, drt_error *err);
drt_status drt_image_decode(drt_image *image, const void *bytes, size_t size, const char *name, drt_error *err);

// The same, and what a reader of the data should know beside the pixels.
typedef struct {
    bool cut_off;     // decoding failed because the file ends too early (else its bytes are damaged)
    char passed[200]; // damage that was read over (JPEG), in libjpeg's words; "": none
} drt_image_health;
drt_status drt_image_examine(drt_image *image, const void *bytes, size_t size, const char *name,
                             drt_image_health *health, drt_error *err);

// Encoders. *bytes is malloc'ed, the caller frees it. The bytes depend on nothing but the pixels (and `quality`, 1 to
// 100; JPEG with 4:2:0 colour): same seed, same file.
drt_status drt_image_encode_png(const drt_image *image, unsigned char **bytes, size_t *size, drt_error *err);
drt_status drt_image_encode_jpeg(const drt_image *image, int quality, unsigned char **bytes, size_t *size,
                                 drt_error *err);
// By the ending of `path` (.png, or .jpg and .jpeg at quality 95), atomically.
drt_status drt_image_write(const drt_image *image, const char *path, drt_error *err);

// Pillow's Image.resize((width, height), BICUBIC), bit for bit, antialiasing included. Pillow 13 resizes the height
// first when it loses more than twice as many rows as columns are lost, and so does this; Pillow 12 and before always
// began with the width, so that such pictures differ by a level here and there (never after padding). *out is new and
// the caller's.
drt_status drt_image_resize_bicubic(const drt_image *in, int width, int height, drt_image *out, drt_error *err);

// What stands in preprocessor_config.json, as far as CLIP and SigLIP need it.
typedef enum { DRT_ASPECT_SQUARE, DRT_ASPECT_PAD } drt_aspect; // LLaVA's image_aspect_ratio
// CLIP's: the shortest edge to `size`, then the middle. SigLIP's: both sides to `size`, whatever the shape was.
typedef enum { DRT_FIT_CROP, DRT_FIT_SQUASH } drt_fit;
typedef struct {
    int size; // side of the square that comes out (of the largest scale)
    // S²: the picture is looked at in several scales, each `multiple` times the tower's side and cut into multiple^2
    // tiles; ascending, the last makes `size`. scales 0: one, the whole picture.
    int scales, multiple[4];
    drt_aspect aspect; // SQUARE: as it is; PAD: onto a square of the mean colour first
    drt_fit fit;
    float mean[3], std[3];
} drt_preprocess;
extern const drt_preprocess drt_preprocess_clip;   // 336 px, CLIP's mean and standard deviation, SQUARE, CROP
extern const drt_preprocess drt_preprocess_siglip; // 384 px, both 1/2, SQUARE, SQUASH

// Reads FOLDER/preprocessor_config.json, or processor_config.json, over what *p holds; neither: *p stays. Steps that
// drt does not do (other filters, no crop, no normalisation, crop_size apart from size) are refused: DRT_ECONFIG.
drt_status drt_preprocess_read(drt_preprocess *p, const char *folder, drt_error *err);
drt_status drt_preprocess_parse(drt_preprocess *p, const char *json, const char *name, drt_error *err);
// The text of a preprocessor_config.json that transformers reads; image_aspect_ratio is LLaVA's and ours.
void drt_preprocess_write(const drt_preprocess *p, drt_text *out);

// The uint8 picture that the model sees, size x size: padded (PAD, with int(mean * 255)); then CROP: the shortest edge
// resized to `size` and the other to int(size * long / short), the middle cropped, top = (height - size) / 2, left
// alike; SQUASH: resized to size x size. *out is new and the caller's. DRT_EARG: size < 1; DRT_ENOMEM: a padded square
// of more than 2^28 pixels.
drt_status drt_image_prepare(const drt_image *in, const drt_preprocess *how, drt_image *out, drt_error *err);
// Normalised pixels as patch rows: row = patch (row-major over the picture), column = channel, y, x inside the patch
// (the order of CLIP's patch convolution weight). out: [(size/patch)^2, 3*patch*patch] f32, caller's memory; pixels
// right of and below the last whole patch are left out. value = (f32(pixel * (1/255)) - mean) / std, where the product
// is in double and the rest in f32: the same bits as HF's CLIPImageProcessor (its PIL backend).
// With scales: the rows of scale after scale, tile after tile (row by row). Smaller scales are made from the normalised
// pixels of the largest as torch's interpolate(bicubic) makes them: four taps a side, a = -3/4, no antialiasing.
void drt_image_patches(const drt_image *prepared, const drt_preprocess *how, int patch, float *out);

#endif
