// Encoders. Both libraries report errors by longjmp: everything that must be released lives in a struct of the outer
// function, and the function that calls setjmp changes no local of its own afterwards.
#include "format/image_internal.h"

#include "base/file.h"
#include "base/text.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// The bytes of a finished (or failed) encoding go to the caller (or are released).
static drt_status hand_over(drt_text *out, unsigned char **bytes, size_t *size, drt_status status, drt_error *err) {
    if (out->failed) status = drt_fail(err, DRT_ENOMEM, "no memory for the encoded picture");
    if (status) {
        drt_text_free(out);
        return status;
    }
    *bytes = (unsigned char *)out->bytes;
    *size = out->size;
    return DRT_OK;
}

// --- PNG ---

typedef struct {
    png_structp png;
    png_infop info;
    drt_text out;
    char text[200]; // libpng's last error
} png_writer;

static void png_put(png_structp png, png_bytep bytes, size_t n) {
    png_writer *w = png_get_io_ptr(png);
    drt_text_add(&w->out, bytes, n);
    if (w->out.failed) png_error(png, "out of memory");
}

static void png_flush_nothing(png_structp png) {
    (void)png;
}

static void png_on_error(png_structp png, const char *message) {
    png_writer *w = png_get_error_ptr(png);
    snprintf(w->text, sizeof w->text, "%s", message);
    png_longjmp(png, 1);
}

static void png_on_warning(png_structp png, const char *message) {
    (void)png, (void)message; // by default libpng prints them
}

// setjmp lives here and nothing local changes after it.
static drt_status png_run(png_writer *w, const drt_image *image, drt_error *err) {
    if (setjmp(png_jmpbuf(w->png))) return drt_fail(err, DRT_EIO, "PNG encoder: %s", w->text);
    png_set_write_fn(w->png, w, png_put, png_flush_nothing);
    png_set_user_limits(w->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); // ours is checked already
    png_set_IHDR(w->png, w->info, (png_uint_32)image->width, (png_uint_32)image->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    // Spelled out, so that another default of the library does not change files.
    png_set_compression_level(w->png, 6);
    png_set_filter(w->png, PNG_FILTER_TYPE_BASE, PNG_ALL_FILTERS);
    png_write_info(w->png, w->info);
    for (int y = 0; y < image->height; y++)
        png_write_row(w->png, image->rgb + (size_t)y * (size_t)image->width * 3);
    png_write_end(w->png, NULL);
    return DRT_OK;
}

drt_status drt_image_encode_png(const drt_image *image, unsigned char **bytes, size_t *size, drt_error *err) {
    drt_status status = drt_image_check_size(image->width, image->height, err);
    if (status) return status;
    png_writer w = {0};
    w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, png_on_error, png_on_warning);
    w.info = w.png ? png_create_info_struct(w.png) : NULL;
    status = w.info ? png_run(&w, image, err) : drt_fail(err, DRT_ENOMEM, "no memory for the PNG encoder");
    png_destroy_write_struct(&w.png, &w.info);
    return hand_over(&w.out, bytes, size, status, err);
}

// --- JPEG ---

static void jpeg_on_error(j_common_ptr jpeg) {
    drt_jpeg_errors *e = (drt_jpeg_errors *)jpeg->err;
    e->base.format_message(jpeg, e->text);
    longjmp(e->back, 1);
}

static void jpeg_on_message(j_common_ptr jpeg, int level) {
    if (level < 0) jpeg->err->num_warnings++;
}

struct jpeg_error_mgr *drt_jpeg_errors_init(drt_jpeg_errors *e) {
    jpeg_std_error(&e->base);
    e->base.error_exit = jpeg_on_error;
    e->base.emit_message = jpeg_on_message;
    e->text[0] = '\0';
    return &e->base;
}

typedef struct {
    struct jpeg_compress_struct jpeg;
    struct jpeg_destination_mgr to;
    drt_jpeg_errors errors;
    drt_text out;
    JOCTET buffer[16384]; // handed to `out` when full
} jpeg_writer;

static void jpeg_fill_buffer(jpeg_writer *w) {
    w->to.next_output_byte = w->buffer;
    w->to.free_in_buffer = sizeof w->buffer;
}

static void jpeg_begin(j_compress_ptr jpeg) {
    jpeg_fill_buffer(jpeg->client_data);
}

static boolean jpeg_put(j_compress_ptr jpeg) {
    jpeg_writer *w = jpeg->client_data;
    drt_text_add(&w->out, w->buffer, sizeof w->buffer);
    jpeg_fill_buffer(w);
    return TRUE;
}

static void jpeg_end(j_compress_ptr jpeg) {
    jpeg_writer *w = jpeg->client_data;
    drt_text_add(&w->out, w->buffer, sizeof w->buffer - w->to.free_in_buffer);
}

static drt_status jpeg_run(jpeg_writer *w, const drt_image *image, int quality, drt_error *err) {
    if (setjmp(w->errors.back)) return drt_fail(err, DRT_EIO, "JPEG encoder: %s", w->errors.text);
    jpeg_create_compress(&w->jpeg);
    w->jpeg.client_data = w;
    w->to = (struct jpeg_destination_mgr){
        .init_destination = jpeg_begin, .empty_output_buffer = jpeg_put, .term_destination = jpeg_end};
    w->jpeg.dest = &w->to;
    w->jpeg.image_width = (JDIMENSION)image->width;
    w->jpeg.image_height = (JDIMENSION)image->height;
    w->jpeg.input_components = 3;
    w->jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&w->jpeg);
    jpeg_set_quality(&w->jpeg, quality, TRUE);
    w->jpeg.dct_method = JDCT_ISLOW; // the exact integer transform: the same bytes on every machine
    jpeg_start_compress(&w->jpeg, TRUE);
    while (w->jpeg.next_scanline < w->jpeg.image_height) {
        JSAMPROW row = image->rgb + (size_t)w->jpeg.next_scanline * (size_t)image->width * 3;
        jpeg_write_scanlines(&w->jpeg, &row, 1);
    }
    jpeg_finish_compress(&w->jpeg);
    return DRT_OK;
}

drt_status drt_image_encode_jpeg(const drt_image *image, int quality, unsigned char **bytes, size_t *size,
                                 drt_error *err) {
    drt_status status = drt_image_check_size(image->width, image->height, err);
    if (status) return status;
    if (quality < 1 || quality > 100)
        return drt_fail(err, DRT_EARG, "JPEG quality %d; it goes from 1 (coarse) to 100 (fine)", quality);
    jpeg_writer *w = calloc(1, sizeof *w);
    if (!w) return drt_fail(err, DRT_ENOMEM, "no memory for the JPEG encoder");
    w->jpeg.err = drt_jpeg_errors_init(&w->errors);
    status = jpeg_run(w, image, quality, err);
    jpeg_destroy_compress(&w->jpeg);
    status = hand_over(&w->out, bytes, size, status, err);
    free(w);
    return status;
}

// --- files ---

drt_status drt_image_write(const drt_image *image, const char *path, drt_error *err) {
    const char *ending = strrchr(path, '.');
    bool png = ending && !strcasecmp(ending, ".png");
    bool jpeg = ending && (!strcasecmp(ending, ".jpg") || !strcasecmp(ending, ".jpeg"));
    if (!png && !jpeg)
        return drt_fail(err, DRT_EARG, "%s: pictures are written as .png, .jpg or .jpeg; end the name so", path);
    unsigned char *bytes = NULL;
    size_t size = 0;
    drt_status status = png ? drt_image_encode_png(image, &bytes, &size, err)
                            : drt_image_encode_jpeg(image, 95, &bytes, &size, err);
    if (status) return drt_fail_in(err, "%s", path), status;
    status = drt_file_write(path, bytes, size, err);
    free(bytes);
    return status;
}
