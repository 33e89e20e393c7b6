// PNG by libpng. It reports errors by longjmp: everything that must be released lives in a struct of the outer
// function, and the function that calls setjmp changes no local of its own afterwards.
#include "format/image_internal.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_error(png_structp png, const char *message) {
    snprintf(png_get_error_ptr(png), 200, "%s", message); // char[200]: `text` of reader and writer
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, const char *message) {
    (void)png, (void)message; // libpng's own handler would print it
}

// --- decoding ---

typedef struct {
    png_structp png;
    png_infop info;
    const unsigned char *bytes;
    size_t size, at;
    int row; // being decoded
    bool cut_off;
    drt_image *image;
    int64_t most_pixels;
    char text[200]; // libpng's last error
} reader;

static void get(png_structp png, png_bytep to, size_t n) {
    reader *r = png_get_io_ptr(png);
    if (n > r->size - r->at) {
        r->at = r->size;
        r->cut_off = true;
        png_error(png, "the file is cut off here; copy it again");
    }
    memcpy(to, r->bytes + r->at, n);
    r->at += n;
}

// Refuses what is too large, and what cannot be there: deflate shrinks at most 1032-fold (zlib's technical notes), so
// that a header of a few bytes cannot make us allocate a giant.
static drt_status check_header(reader *r, drt_error *err) {
    png_uint_32 width = png_get_image_width(r->png, r->info), height = png_get_image_height(r->png, r->info);
    drt_status status = drt_image_check_size(width, height, r->most_pixels, err);
    if (status) return status;
    r->cut_off = png_get_rowbytes(r->png, r->info) * (size_t)height / 1032 > r->size;
    if (r->cut_off)
        return drt_fail(err, DRT_EFORMAT, "%u x %u pixels cannot be in %zu bytes; the file is cut off or damaged",
                        width, height, r->size);
    return DRT_OK;
}

// Asks libpng for 8-bit RGB or grey as Pillow understands them; alpha and transparent colours are dropped unblended.
// Returns the bytes per pixel that rows will have: 3, 1 (grey) or 2 (16-bit grey).
static int choose_pixels(reader *r) {
    int type = png_get_color_type(r->png, r->info), depth = png_get_bit_depth(r->png, r->info);
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(r->png); // indices past the palette are black
    if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(r->png);
    bool grey16 = type == PNG_COLOR_TYPE_GRAY && depth == 16;
    if (!grey16) png_set_strip_16(r->png);
    png_set_strip_alpha(r->png);
    return type & PNG_COLOR_MASK_COLOR ? 3 : grey16 ? 2 : 1;
}

// A row of n grey pixels, 1 or 2 bytes each, becomes RGB in place, from its end so that nothing is overwritten unread.
// Pillow reads 16-bit grey as numbers and clips them at 255, where for colours it keeps the high byte.
static void grey_to_rgb(uint8_t *row, int n, int bytes) {
    for (int x = n - 1; x >= 0; x--) {
        uint8_t v = row[(size_t)x * (size_t)bytes];
        if (bytes == 2) v = v ? 255 : row[2 * (size_t)x + 1];
        memset(row + 3 * (size_t)x, v, 3);
    }
}

static drt_status read_all(reader *r, drt_error *err) {
    if (setjmp(png_jmpbuf(r->png))) return drt_fail(err, DRT_EFORMAT, "byte %zu, row %d: %s", r->at, r->row, r->text);
    png_set_read_fn(r->png, r, get);
    png_set_user_limits(r->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); // ours is checked below
    // Texts, profiles and dates do not change a pixel; not reading them is the safest way of reading them.
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(r->png, r->info);
    drt_status status = check_header(r, err);
    if (status) return status;
    int bytes = choose_pixels(r), passes = png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    status = drt_image_new(r->image, (int)png_get_image_width(r->png, r->info),
                           (int)png_get_image_height(r->png, r->info), err);
    if (status) return status;
    size_t stride = 3 * (size_t)r->image->width;
    if (png_get_rowbytes(r->png, r->info) != stride / 3 * (size_t)bytes) png_error(r->png, "unexpected row length");
    for (int pass = 0; pass < passes; pass++)
        for (r->row = 0; r->row < r->image->height; r->row++)
            png_read_row(r->png, r->image->rgb + (size_t)r->row * stride, NULL);
    // png_read_end is not called: what follows the last row is no business of ours, and Pillow ignores it, too.
    for (int y = 0; bytes < 3 && y < r->image->height; y++)
        grey_to_rgb(r->image->rgb + (size_t)y * stride, r->image->width, bytes);
    return DRT_OK;
}

drt_status drt_image_decode_png(drt_image *image, const unsigned char *bytes, size_t size, int64_t most_pixels,
                                drt_image_health *health, drt_error *err) {
    reader r = {.bytes = bytes, .size = size, .image = image, .most_pixels = most_pixels};
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, r.text, on_error, on_warning);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    drt_status status = r.info ? read_all(&r, err) : drt_fail(err, DRT_ENOMEM, "no memory for the decoder");
    png_destroy_read_struct(&r.png, &r.info, NULL);
    health->cut_off = r.cut_off;
    return status;
}

// --- encoding ---

typedef struct {
    png_structp png;
    png_infop info;
    drt_text out;
    char text[200];
} writer;

static void put(png_structp png, png_bytep bytes, size_t n) {
    writer *w = png_get_io_ptr(png);
    drt_text_add(&w->out, bytes, n);
    if (w->out.failed) png_error(png, "out of memory");
}

static void flush_nothing(png_structp png) { (void)png; }

static drt_status write_all(writer *w, const drt_image *image, drt_error *err) {
    if (setjmp(png_jmpbuf(w->png))) return drt_fail(err, DRT_EIO, "PNG encoder: %s", w->text);
    png_set_write_fn(w->png, w, put, flush_nothing);
    png_set_user_limits(w->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(w->png, w->info, (png_uint_32)image->width, (png_uint_32)image->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    // Spelled out, so that another default of the library does not change files.
    png_set_compression_level(w->png, 6);
    png_set_filter(w->png, PNG_FILTER_TYPE_BASE, PNG_ALL_FILTERS);
    png_write_info(w->png, w->info);
    for (int y = 0; y < image->height; y++) png_write_row(w->png, image->rgb + (size_t)y * (size_t)image->width * 3);
    png_write_end(w->png, NULL);
    return DRT_OK;
}

drt_status drt_image_encode_png(const drt_image *image, unsigned char **bytes, size_t *size, drt_error *err) {
    drt_status status = drt_image_check_size(image->width, image->height, DRT_IMAGE_MOST_PIXELS, err);
    if (status) return status;
    writer w = {0};
    w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, w.text, on_error, on_warning);
    w.info = w.png ? png_create_info_struct(w.png) : NULL;
    status = w.info ? write_all(&w, image, err) : drt_fail(err, DRT_ENOMEM, "no memory for the PNG encoder");
    png_destroy_write_struct(&w.png, &w.info);
    return drt_image_hand_over(&w.out, bytes, size, status, err);
}
