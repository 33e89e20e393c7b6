#include "format/image_internal.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

drt_status drt_image_check_size(int64_t width, int64_t height, int64_t most, drt_error *err) {
    if (width < 1 || height < 1)
        return drt_fail(err, DRT_EARG, "a picture of %lld x %lld pixels; both sides must be at least 1",
                        (long long)width, (long long)height);
    if (width > most / height)
        return drt_fail(err, DRT_EFORMAT, "a picture of %lld x %lld pixels; more than %lld in all are refused",
                        (long long)width, (long long)height, (long long)most);
    return DRT_OK;
}

static drt_status allocate(drt_image *image, int width, int height, bool black, drt_error *err) {
    *image = (drt_image){0};
    drt_status status = drt_image_check_size(width, height, DRT_IMAGE_MOST_PIXELS, err);
    if (status) return status;
    size_t pixels = (size_t)width * (size_t)height;
    uint8_t *rgb = black ? calloc(pixels, 3) : malloc(3 * pixels);
    if (!rgb) return drt_fail(err, DRT_ENOMEM, "no memory for a picture of %d x %d pixels", width, height);
    *image = (drt_image){width, height, rgb};
    return DRT_OK;
}

drt_status drt_image_new(drt_image *image, int width, int height, drt_error *err) {
    return allocate(image, width, height, true, err);
}

drt_status drt_image_room(drt_image *image, int width, int height, drt_error *err) {
    return allocate(image, width, height, false, err);
}

void drt_image_free(drt_image *image) {
    if (!image) return;
    free(image->rgb);
    *image = (drt_image){0};
}

// --- reading: the first bytes tell the format, whatever the file is called ---

typedef drt_status decoder(drt_image *, const unsigned char *, size_t, int64_t, drt_image_health *, drt_error *);

typedef struct {
    const char *name;
    size_t at, n; // `magic` stands at byte `at` and has n bytes
    const char *magic;
    decoder *decode; // NULL: known by name only, so that the refusal can say what the file is
} signature;

static const signature signatures[] = {
    {"JPEG", 0, 3, "\xff\xd8\xff", drt_image_decode_jpeg},
    {"PNG", 0, 8, "\x89PNG\r\n\x1a\n", drt_image_decode_png},
    {"WebP", 8, 4, "WEBP", drt_image_decode_webp},
    {"GIF", 0, 4, "GIF8", NULL},
    {"BMP", 0, 2, "BM", NULL},
    {"TIFF", 0, 4, "II*\0", NULL},
    {"TIFF", 0, 4, "MM\0*", NULL},
    {"AVIF or HEIF", 4, 4, "ftyp", NULL},
    {"JPEG 2000", 4, 4, "jP  ", NULL},
    {"a web page or SVG", 0, 1, "<", NULL}, // what a dead download link leaves behind
};

static const signature *recognise(const unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
        const signature *s = &signatures[i];
        if (size >= s->at + s->n && !memcmp(bytes + s->at, s->magic, s->n)) return s;
    }
    return NULL;
}

drt_status drt_image_decode_at_most(drt_image *image, const void *bytes, size_t size, const char *name,
                                    int64_t most_pixels, drt_image_health *health, drt_error *err) {
    *image = (drt_image){0};
    *health = (drt_image_health){.cut_off = !size};
    if (!size) return drt_fail(err, DRT_EFORMAT, "%s: the file is empty", name);
    const signature *s = recognise(bytes, size);
    if (!s || !s->decode)
        return drt_fail(err, DRT_EFORMAT, "%s: %s%s; JPEG, PNG and WebP files are read: convert it to one of them",
                        name, s ? "this is " : "not a picture that is known here", s ? s->name : "");
    drt_status status = s->decode(image, bytes, size, most_pixels, health, err);
    if (!status) return DRT_OK;
    drt_image_free(image);
    drt_fail_in(err, "%s: %s", name, s->name);
    return status;
}

drt_status drt_image_decode(drt_image *image, const void *bytes, size_t size, const char *name, drt_error *err) {
    drt_image_health health;
    return drt_image_examine(image, bytes, size, name, &health, err);
}

drt_status drt_image_examine(drt_image *image, const void *bytes, size_t size, const char *name,
                             drt_image_health *health, drt_error *err) {
    return drt_image_decode_at_most(image, bytes, size, name, DRT_IMAGE_MOST_PIXELS, health, err);
}

drt_status drt_image_read(drt_image *image, const char *path, drt_error *err) {
    *image = (drt_image){0};
    char *bytes;
    size_t size;
    drt_status status = drt_file_read(&bytes, &size, path, 0, err);
    if (status) return status;
    status = drt_image_decode(image, bytes, size, path, err);
    free(bytes);
    return status;
}

// --- writing ---

drt_status drt_image_hand_over(drt_text *out, unsigned char **bytes, size_t *size, drt_status status, drt_error *err) {
    if (out->failed) status = drt_fail(err, DRT_ENOMEM, "no memory for the encoded picture");
    if (status) {
        drt_text_free(out);
        return status;
    }
    *bytes = (unsigned char *)out->bytes;
    *size = out->size;
    return DRT_OK;
}

drt_status drt_image_write(const drt_image *image, const char *path, drt_error *err) {
    const char *ending = strrchr(path, '.');
    bool png = ending && !strcasecmp(ending, ".png");
    bool jpeg = ending && (!strcasecmp(ending, ".jpg") || !strcasecmp(ending, ".jpeg"));
    if (!png && !jpeg)
        return drt_fail(err, DRT_EARG, "%s: pictures are written as .png, .jpg or .jpeg; end the name so", path);
    unsigned char *bytes = NULL;
    size_t size = 0;
    drt_status status =
        png ? drt_image_encode_png(image, &bytes, &size, err) : drt_image_encode_jpeg(image, 95, &bytes, &size, err);
    if (status) {
        drt_fail_in(err, "%s", path);
        return status;
    }
    status = drt_file_write(path, bytes, size, err);
    free(bytes);
    return status;
}
