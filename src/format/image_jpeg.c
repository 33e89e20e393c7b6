// JPEG by libjpeg-turbo. It reports errors by a call that must not return, hence longjmp: everything that must be
// released lives in a struct of the outer function, and the function that calls setjmp changes no local afterwards.
#include "format/image_internal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// libjpeg's header needs stdio.h before it.
#include <jpeglib.h>

typedef struct {
    struct jpeg_error_mgr base; // first: libjpeg's pointer to it is a pointer to this struct
    jmp_buf back;
    char text[JMSG_LENGTH_MAX], first[JMSG_LENGTH_MAX]; // of the failure; of the first damage that was read over
} errors;

static void on_error(j_common_ptr jpeg) {
    errors *e = (errors *)jpeg->err;
    e->base.format_message(jpeg, e->text);
    longjmp(e->back, 1);
}

static void on_message(j_common_ptr jpeg, int level) {
    if (level >= 0) return;
    errors *e = (errors *)jpeg->err;
    if (!e->base.num_warnings++) e->base.format_message(jpeg, e->first); // libjpeg's own handler would print it
}

static struct jpeg_error_mgr *errors_init(errors *e) {
    jpeg_std_error(&e->base);
    e->base.error_exit = on_error;
    e->base.emit_message = on_message;
    return &e->base;
}

// --- decoding ---

typedef struct {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_source_mgr from;
    struct jpeg_progress_mgr progress;
    errors errors;
    size_t size;
    drt_image *image;
    int64_t most_pixels;
    bool cut_off;
} reader;

static void stop(reader *r, const char *message) {
    snprintf(r->errors.text, sizeof r->errors.text, "%s", message);
    longjmp(r->errors.back, 1);
}

static void nothing(j_decompress_ptr jpeg) { (void)jpeg; }

// libjpeg's own memory source would invent an end marker here and fill the rest with grey.
static boolean need_more(j_decompress_ptr jpeg) {
    reader *r = jpeg->client_data;
    r->cut_off = !r->errors.base.num_warnings; // damage can lead behind the end, too
    stop(r, "the file is cut off here; copy it again");
    return FALSE;
}

static void skip(j_decompress_ptr jpeg, long n) {
    struct jpeg_source_mgr *from = jpeg->src;
    if (n <= 0) return;
    size_t step = (size_t)n < from->bytes_in_buffer ? (size_t)n : from->bytes_in_buffer;
    from->next_input_byte += step;
    from->bytes_in_buffer -= step;
}

// A progressive file may hold any number of scans, each of which costs a pass over all pixels. Encoders write about
// ten; one scan for each coefficient and bit of three colours would be some hundreds.
static void on_progress(j_common_ptr jpeg) {
    reader *r = jpeg->client_data;
    if (r->jpeg.input_scan_number > 500) stop(r, "more than 500 scans; such files are made to waste time");
}

// Pillow takes all four-colour files as inverted, the way Adobe writes them, and converts without a profile:
// rgb = k - c*k/255, rounded to nearest, where c and k are ink (255: full) and "k - " works on the inverted k.
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *stored, int n) {
    for (int x = 0; x < n; x++, rgb += 3, stored += 4)
        for (int c = 0; c < 3; c++) {
            unsigned t = (255u - stored[c]) * stored[3] + 128;
            rgb[c] = (uint8_t)(stored[3] - ((t + (t >> 8)) >> 8));
        }
}

// Refuses what is too large, and what cannot be there, so that a header of a few bytes cannot make us allocate a
// giant: a Huffman-coded file holds at least one bit for each block of 8 x 8 samples, and its finest colour has at
// least a quarter as many samples as pixels. (Arithmetic coding has no such bound.)
static drt_status check_header(reader *r, drt_error *err) {
    drt_status status = drt_image_check_size(r->jpeg.image_width, r->jpeg.image_height, r->most_pixels, err);
    if (status) return status;
    r->cut_off = !r->jpeg.arith_code && (size_t)r->jpeg.image_width * r->jpeg.image_height / (64 * 8 * 4) > r->size;
    if (r->cut_off)
        return drt_fail(err, DRT_EFORMAT, "%u x %u pixels cannot be in %zu bytes; the file is cut off or damaged",
                        r->jpeg.image_width, r->jpeg.image_height, r->size);
    int colours = r->jpeg.num_components;
    if (colours != 1 && colours != 3 && colours != 4)
        return drt_fail(err, DRT_EFORMAT, "%d colours; 1 (grey), 3 and 4 (CMYK) are read", colours);
    return DRT_OK;
}

static drt_status read_all(reader *r, drt_error *err) {
    if (setjmp(r->errors.back))
        return drt_fail(err, DRT_EFORMAT, "byte %zu, row %u: %s", r->size - r->from.bytes_in_buffer,
                        r->jpeg.output_scanline, r->errors.text);
    jpeg_create_decompress(&r->jpeg);
    r->jpeg.client_data = r;
    r->jpeg.src = &r->from;
    r->jpeg.progress = &r->progress;
    jpeg_read_header(&r->jpeg, TRUE);
    drt_status status = check_header(r, err);
    if (status) return status;
    bool cmyk = r->jpeg.num_components == 4;
    r->jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    // Pillow's choices, spelled out: the exact integer transform, and chroma that is interpolated.
    r->jpeg.dct_method = JDCT_ISLOW;
    r->jpeg.do_fancy_upsampling = TRUE;
    status = drt_image_room(r->image, (int)r->jpeg.image_width, (int)r->jpeg.image_height, err);
    if (status) return status;
    jpeg_start_decompress(&r->jpeg);
    size_t stride = 3 * (size_t)r->image->width;
    JSAMPARRAY four = NULL; // a row of CMYK; belongs to libjpeg's pool
    if (cmyk) four = r->jpeg.mem->alloc_sarray((j_common_ptr)&r->jpeg, JPOOL_IMAGE, 4 * r->jpeg.image_width, 1);
    while (r->jpeg.output_scanline < r->jpeg.output_height) {
        JSAMPROW row = r->image->rgb + r->jpeg.output_scanline * stride;
        jpeg_read_scanlines(&r->jpeg, four ? four : &row, 1);
        if (four) cmyk_to_rgb(row, four[0], r->image->width);
    }
    return DRT_OK; // without jpeg_finish_decompress: what follows the last row does not matter
}

drt_status drt_image_decode_jpeg(drt_image *image, const unsigned char *bytes, size_t size, int64_t most_pixels,
                                 drt_image_health *health, drt_error *err) {
    reader r = {.size = size, .image = image, .most_pixels = most_pixels};
    r.jpeg.err = errors_init(&r.errors);
    r.from = (struct jpeg_source_mgr){.next_input_byte = bytes,
                                      .bytes_in_buffer = size,
                                      .init_source = nothing,
                                      .fill_input_buffer = need_more,
                                      .skip_input_data = skip,
                                      .resync_to_restart = jpeg_resync_to_restart,
                                      .term_source = nothing};
    r.progress.progress_monitor = on_progress;
    drt_status status = read_all(&r, err);
    jpeg_destroy_decompress(&r.jpeg);
    health->cut_off = status && r.cut_off;
    snprintf(health->passed, sizeof health->passed, "%s", r.errors.first);
    return status;
}

// --- encoding ---

typedef struct {
    struct jpeg_compress_struct jpeg;
    struct jpeg_destination_mgr to;
    errors errors;
    drt_text out;
    JOCTET buffer[16384]; // added to `out` when full
} writer;

static void buffer_reset(writer *w) {
    w->to.next_output_byte = w->buffer;
    w->to.free_in_buffer = sizeof w->buffer;
}

static void put_begin(j_compress_ptr jpeg) { buffer_reset(jpeg->client_data); }

static boolean put(j_compress_ptr jpeg) {
    writer *w = jpeg->client_data;
    drt_text_add(&w->out, w->buffer, sizeof w->buffer);
    buffer_reset(w);
    return TRUE;
}

static void put_end(j_compress_ptr jpeg) {
    writer *w = jpeg->client_data;
    drt_text_add(&w->out, w->buffer, sizeof w->buffer - w->to.free_in_buffer);
}

static drt_status write_all(writer *w, const drt_image *image, int quality, drt_error *err) {
    if (setjmp(w->errors.back)) return drt_fail(err, DRT_EIO, "JPEG encoder: %s", w->errors.text);
    jpeg_create_compress(&w->jpeg);
    w->jpeg.client_data = w;
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
    drt_status status = drt_image_check_size(image->width, image->height, DRT_IMAGE_MOST_PIXELS, err);
    if (status) return status;
    if (quality < 1 || quality > 100)
        return drt_fail(err, DRT_EARG, "JPEG quality %d; it goes from 1 (coarse) to 100 (fine)", quality);
    writer w = {0};
    w.jpeg.err = errors_init(&w.errors);
    w.to = (struct jpeg_destination_mgr){
        .init_destination = put_begin, .empty_output_buffer = put, .term_destination = put_end};
    status = write_all(&w, image, quality, err);
    jpeg_destroy_compress(&w.jpeg);
    return drt_image_hand_over(&w.out, bytes, size, status, err);
}
