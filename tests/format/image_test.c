// Pictures: encoders, decoders, the resize and the preprocessing, against what PIL and HF make of the files in
// tests/golden/images (tools/golden_images.py), and proofs that near misses would be noticed.
#include "support/check.h"

#include "base/file.h"
#include "base/rng.h"
#include "format/image.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
// libjpeg's header needs stdio.h before it.
#include <jpeglib.h>

// tools/golden_pixels.py lets the golden lines of its own pictures be checked.
static const char *golden_folder(void) {
    const char *other = getenv("DRT_GOLDEN_IMAGES");
    return other ? other : "tests/golden/images";
}

static drt_error err;

static drt_image golden(const char *name) {
    char path[600];
    drt_image image;
    snprintf(path, sizeof path, "%s/%s", golden_folder(), name);
    check_ok(drt_image_read(&image, path, &err));
    return image;
}

static void expected_text(char **text) {
    char path[600];
    snprintf(path, sizeof path, "%s/expected.txt", golden_folder());
    check_ok(drt_file_read(text, NULL, path, 0, &err));
}

static uint64_t hash_of(const drt_image *image) {
    return drt_hash(image->rgb, (uint64_t)image->width * (uint64_t)image->height * 3);
}

// The hashes of the line of expected.txt that begins with these words; a missing line fails.
static void expected(const char *words, uint64_t hash[2]) {
    char *text, *at;
    expected_text(&text);
    char line[200];
    snprintf(line, sizeof line, "\n%s ", words);
    at = strstr(text, line);
    if (!at) fail_msg("expected.txt lacks '%s'", words);
    char *end;
    hash[0] = strtoull(at + strlen(line), &end, 16);
    hash[1] = strtoull(end, NULL, 16);
    free(text);
}

// --- the golden lines ---

static const float *patches_of(const drt_image *image, drt_preprocess how, int patch) {
    float *out = malloc((size_t)image->width * (size_t)image->height * 3 * sizeof *out);
    check(out != NULL);
    drt_image_patches(image, &how, patch, out);
    return out;
}

static bool same_hash(const char *line, uint64_t got, const char *want) {
    bool same = got == strtoull(want, NULL, 16);
    if (!same) print_error("%s: hash is %016llx\n", line, (unsigned long long)got);
    return same;
}

static bool same_line(const char *line) {
    char verb[20], file[100], a[20], b[20], first[20], second[20] = "", tower[20] = "";
    check(sscanf(line, "%19s %99s %19s %19s %19s %19s %19s", verb, file, a, b, first, second, tower) >= 5);
    drt_image image = golden(file), out = {0};
    bool same;
    if (!strcmp(verb, "decode")) {
        assert_int_equal(image.width, atoi(a));
        assert_int_equal(image.height, atoi(b));
        same = same_hash(line, hash_of(&image), first);
    } else if (!strcmp(verb, "resize")) {
        check_ok(drt_image_resize_bicubic(&image, atoi(a), atoi(b), &out, &err));
        same = same_hash(line, hash_of(&out), first);
    } else {
        drt_preprocess how = strcmp(tower, "siglip") ? drt_preprocess_clip : drt_preprocess_siglip;
        how.size = atoi(a);
        how.aspect = strcmp(b, "pad") ? DRT_ASPECT_SQUARE : DRT_ASPECT_PAD;
        check_ok(drt_image_prepare(&image, &how, &out, &err));
        same = same_hash(line, hash_of(&out), first);
        const float *rows = patches_of(&out, how, 7);
        uint64_t side = (uint64_t)(how.size / 7 * 7); // what is left over belongs to no patch
        same = same_hash(line, drt_hash(rows, side * side * 3 * sizeof *rows), second) && same;
        free((void *)rows);
    }
    drt_image_free(&image), drt_image_free(&out);
    return same;
}

static void check_lines(const char *verb, int at_least) {
    char *text, *next;
    int lines = 0, wrong = 0;
    expected_text(&text);
    for (char *line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next))
        if (!strncmp(line, verb, strlen(verb))) wrong += !same_line(line), lines++;
    print_message("%d lines of %s, %d differ\n", lines, verb, wrong);
    check(wrong == 0 && (lines >= at_least || getenv("DRT_GOLDEN_IMAGES")));
    free(text);
}

static void decoders_agree_with_pil(void **state) {
    (void)state;
    check_lines("decode", 57);
}

static void resize_agrees_with_pil(void **state) {
    (void)state;
    check_lines("resize", 19);
}

static void prepare_agrees_with_hf(void **state) {
    (void)state;
    check_lines("prepare", 108);
}

// --- near misses: each plausible mistake must lead to other hashes than the golden ones ---

typedef struct {
    const char *mistake;
    double a;           // Keys' parameter; 0: a bilinear triangle instead
    bool antialias;     // stretch the kernel when shrinking
    int bits;           // fractional bits of the weights
    bool round_between; // to 8 bits after the first pass
    double centre;      // of an input pixel
    int order;          // 0: the rule of Pillow 13; 1: width first; 2: height first
} variant;

static double kernel(double x, double a) {
    x = fabs(x);
    if (!a) return x < 1 ? 1 - x : 0;
    return x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// One axis the plain way: `in` has n samples, `step` apart; writes `out_n` samples.
static void resample(const double *in, int n, int step, double *out, int out_n, int out_step, variant v, bool last) {
    double scale = (double)n / out_n, stretch = v.antialias && scale > 1 ? scale : 1, support = (v.a ? 2 : 1) * stretch;
    for (int i = 0; i < out_n; i++) {
        double centre = (i + v.centre) * scale, sum = 0, value = 0;
        int from = (int)fmax(centre - support + 0.5, 0), to = (int)fmin(centre + support + 0.5, n);
        for (int k = from; k < to; k++) sum += kernel((k - centre + v.centre) * (1 / stretch), v.a);
        for (int k = from; k < to; k++)
            value += round(kernel((k - centre + v.centre) * (1 / stretch), v.a) / sum * exp2(v.bits)) * in[k * step];
        value *= exp2(-v.bits);
        if (last || v.round_between) value = fmin(fmax(floor(value + 0.5), 0), 255);
        out[i * out_step] = value;
    }
}

static uint64_t resize_by(const drt_image *in, int width, int height, variant v) {
    double from[64 * 64], between[64 * 128], to[64 * 128];
    uint8_t bytes[64 * 128 * 3];
    bool down_first = v.order == 2 || (v.order == 0 && in->height - height > 2 * (in->width - width));
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < in->width * in->height; i++) from[i] = in->rgb[3 * i + c];
        if (down_first) {
            for (int x = 0; x < in->width; x++)
                resample(from + x, in->height, in->width, between + x, height, in->width, v, false);
            for (int y = 0; y < height; y++)
                resample(between + y * in->width, in->width, 1, to + y * width, width, 1, v, true);
        } else {
            for (int y = 0; y < in->height; y++)
                resample(from + y * in->width, in->width, 1, between + y * width, width, 1, v, false);
            for (int x = 0; x < width; x++) resample(between + x, in->height, width, to + x, height, width, v, true);
        }
        for (int i = 0; i < width * height; i++) bytes[3 * i + c] = (uint8_t)to[i];
    }
    return drt_hash(bytes, (uint64_t)(3 * width * height));
}

static void other_resizes_are_noticed(void **state) {
    (void)state;
    static const variant all[] = {
        {"none", -0.5, true, 22, true, 0.5, 0},          {"bilinear", 0, true, 22, true, 0.5, 0},
        {"OpenCV's a", -0.75, true, 22, true, 0.5, 0},   {"aliasing", -0.5, false, 22, true, 0.5, 0},
        {"coarse weights", -0.5, true, 8, true, 0.5, 0}, {"no rounding between", -0.5, true, 22, false, 0.5, 0},
        {"corner-aligned", -0.5, true, 22, true, 0, 0},  {"height first", -0.5, true, 22, true, 0.5, 2},
    };
    drt_image image = golden("444.jpg");
    uint64_t want[2];
    expected("resize 444.jpg 20 15", want);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool same = resize_by(&image, 20, 15, all[i]) == want[0];
        if (same != (i == 0)) fail_msg("mistake '%s' %s", all[i].mistake, same ? "goes unnoticed" : "is reported");
    }
    variant width_first = all[0];
    width_first.order = 1;
    expected("resize 444.jpg 60 44", want);
    check(resize_by(&image, 60, 44, all[0]) == want[0] && resize_by(&image, 60, 44, width_first) != want[0]);
    expected("resize 444.jpg 60 45", want);
    check(resize_by(&image, 60, 45, all[0]) == want[0] && resize_by(&image, 60, 45, width_first) == want[0]);
    drt_image_free(&image);
}

// libjpeg with its other choices: the golden file must tell them apart, or it would not prove ours.
static uint64_t decode_jpeg_by(const char *name, J_DCT_METHOD dct, bool fancy) {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    char *bytes, path[200];
    size_t size;
    snprintf(path, sizeof path, "tests/golden/images/%s", name);
    check_ok(drt_file_read(&bytes, &size, path, 0, &err));
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, (unsigned char *)bytes, size);
    jpeg_read_header(&jpeg, TRUE);
    jpeg.dct_method = dct;
    jpeg.do_fancy_upsampling = fancy;
    drt_image image;
    check_ok(drt_image_new(&image, (int)jpeg.image_width, (int)jpeg.image_height, &err));
    jpeg_start_decompress(&jpeg);
    while (jpeg.output_scanline < jpeg.output_height) {
        JSAMPROW row = image.rgb + (size_t)jpeg.output_scanline * 3 * (size_t)image.width;
        jpeg_read_scanlines(&jpeg, &row, 1);
    }
    jpeg_destroy_decompress(&jpeg);
    uint64_t hash = hash_of(&image);
    drt_image_free(&image);
    free(bytes);
    return hash;
}

static void other_jpeg_decoders_are_noticed(void **state) {
    (void)state;
    uint64_t want[2];
    expected("decode 420.jpg 61 47", want);
    check(decode_jpeg_by("420.jpg", JDCT_ISLOW, true) == want[0]);
    check(decode_jpeg_by("420.jpg", JDCT_IFAST, true) != want[0]);
    check(decode_jpeg_by("420.jpg", JDCT_ISLOW, false) != want[0]);
}

// The part of `in` at (x, y), size x size.
static uint64_t cropped(const drt_image *in, int x, int y, int size) {
    drt_image out;
    check_ok(drt_image_new(&out, size, size, &err));
    for (int r = 0; r < size; r++)
        memcpy(out.rgb + r * 3 * size, in->rgb + ((y + r) * in->width + x) * 3, (size_t)(3 * size));
    uint64_t hash = hash_of(&out);
    drt_image_free(&out);
    return hash;
}

static void other_preprocessing_is_noticed(void **state) {
    (void)state;
    drt_image image = golden("scene.jpg"), out; // 403 x 302: the long side becomes int(56 * 403 / 302) = int(74.7)
    drt_preprocess how = drt_preprocess_clip;
    uint64_t square[2], padded[2];
    how.size = 56;
    expected("prepare scene.jpg 56 square", square);
    expected("prepare scene.jpg 56 pad", padded);
    check_ok(drt_image_resize_bicubic(&image, 74, 56, &out, &err));
    check(cropped(&out, 9, 0, 56) == square[0] && cropped(&out, 10, 0, 56) != square[0]);
    drt_image_free(&out);
    check_ok(drt_image_resize_bicubic(&image, 75, 56, &out, &err)); // rounded, not cut
    check(cropped(&out, 9, 0, 56) != square[0] && cropped(&out, 10, 0, 56) != square[0]);
    drt_image_free(&out);
    check_ok(drt_image_resize_bicubic(&image, 56, 56, &out, &err)); // squashed
    check(hash_of(&out) != square[0] && hash_of(&out) != padded[0]);
    drt_image_free(&out);
    how.aspect = DRT_ASPECT_PAD;
    how.mean[0] += 1 / 255.0f; // another background
    check_ok(drt_image_prepare(&image, &how, &out, &err));
    check(hash_of(&out) != padded[0]);
    drt_image_free(&out);
    how = drt_preprocess_clip, how.size = 56;
    check_ok(drt_image_prepare(&image, &how, &out, &err));
    float *rows = (float *)patches_of(&out, how, 7);
    const uint64_t bytes = 56 * 56 * 3 * sizeof *rows;
    check(drt_hash(rows, bytes) == square[1]);
    drt_image_patches(&out, &how, 14, rows); // another patch size: the same numbers elsewhere
    check(drt_hash(rows, bytes) != square[1]);
    drt_image_patches(&out, &how, 7, rows);
    rows[1000] = nextafterf(rows[1000], 9); // one last bit
    check(drt_hash(rows, bytes) != square[1]);
    free(rows);
    drt_image_free(&image), drt_image_free(&out);
}

static void patches_are_in_the_order_of_the_convolution(void **state) {
    (void)state;
    drt_image image;
    check_ok(drt_image_new(&image, 6, 4, &err));
    for (int i = 0; i < 72; i++) image.rgb[i] = (uint8_t)(3 * i);
    drt_preprocess how = {.size = 4, .mean = {0.5f, 0.25f, 0.125f}, .std = {0.5f, 0.25f, 2}};
    const float *rows = patches_of(&image, how, 2);
    for (int p = 0; p < 6; p++)
        for (int c = 0; c < 3; c++)
            for (int k = 0; k < 4; k++) {
                int x = p % 3 * 2 + k % 2, y = p / 3 * 2 + k / 2, v = image.rgb[(y * 6 + x) * 3 + c];
                float want = ((float)(v * (1 / 255.0)) - how.mean[c]) / how.std[c];
                check(rows[p * 12 + c * 4 + k] == want);
            }
    free((void *)rows);
    drt_image_free(&image);
}

// --- refusals ---

static void damaged_files_are_refused(void **state) {
    (void)state;
    static const char *const files[] = {"rgb8.png",   "rgb8-interlaced.png", "palette4.png",        "420.jpg",
                                        "cmyk.jpg",   "444-progressive.jpg", "lossy.webp",          "lossless.webp",
                                        "grey16.png", "restart.jpg",         "lossless-alpha.webp", "lossy-alpha.webp"};
    drt_image image;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        char path[200], *bytes;
        size_t size;
        snprintf(path, sizeof path, "tests/golden/images/%s", files[f]);
        check_ok(drt_file_read(&bytes, &size, path, 0, &err));
        for (size_t cut = 0; cut < size; cut++) {
            char *part = malloc(cut + 1); // its own block, so that AddressSanitizer sees a read past the end
            memcpy(part, bytes, cut);
            drt_status status = drt_image_decode(&image, part, cut, files[f], &err);
            free(part);
            // What follows the last pixel's byte (PNG: checksums and the end chunk, WebP: padding) may be missing.
            if (!status && cut < size - 24) fail_msg("%s: accepted with %zu of %zu bytes", files[f], cut, size);
            if (status && !strstr(err.text, files[f])) fail_msg("\"%s\" does not name %s", err.text, files[f]);
            check(!image.rgb == !!status);
            if (status && cut > 200) check_refused(status, DRT_EFORMAT, "byte");
            drt_image_free(&image);
        }
        free(bytes);
    }
}

static void other_content_is_refused(void **state) {
    (void)state;
    static const char *const contents[][2] = {{"GIF89a...", "this is GIF; JPEG, PNG and WebP files are read"},
                                              {"<html>not found</html>", "web page"},
                                              {"BM123456", "BMP"},
                                              {"what?", "not a picture that is known here; JPEG, PNG and WebP"},
                                              {"", "empty"}};
    drt_image image;
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++)
        check_refused(drt_image_decode(&image, contents[i][0], strlen(contents[i][0]), "a.jpg", &err), DRT_EFORMAT,
                      contents[i][1]);
    check_refused(drt_image_read(&image, "tests/golden/images/animated.webp", &err), DRT_EFORMAT, "animation");
    check_refused(drt_image_read(&image, "tests/golden/images/none.png", &err), DRT_EIO, "none.png");
    assert_null(image.rgb);
}

// A header that promises more than its file can hold, or more than is allowed, costs no memory.
static void giants_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *ihdr; // width, height, depth, colour type, ...; then its checksum
        drt_status status;
        const char *part;
    } cases[] = {
        {"\0\0\x27\x10\0\0\x27\x10\x08\2\0\0\0\x35\x2c\xf5\x70", DRT_EFORMAT, "10000 x 10000 pixels cannot be in"},
        {"\0\0\x4e\x20\0\0\x4e\x20\x08\2\0\0\0\x6c\x12\xd1\x6e", DRT_EFORMAT, "more than 268435456"},
    };
    for (size_t i = 0; i < 2; i++) {
        unsigned char png[57] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        memcpy(png + 16, cases[i].ihdr, 17);
        memcpy(png + 33, "\0\0\0\x0cIDAT\x78\x9c", 10);
        drt_image image;
        check_refused(drt_image_decode(&image, png, sizeof png, "big.png", &err), cases[i].status, cases[i].part);
        check_refused(drt_image_decode(&image, png, sizeof png, "big.png", &err), cases[i].status, "big.png");
    }
    char *bytes;
    size_t size, at = 0;
    check_ok(drt_file_read(&bytes, &size, "tests/golden/images/420.jpg", 0, &err));
    while (memcmp(bytes + at, "\xff\xc0\0\x11\x08", 5)) at++; // the frame's header: height and width follow
    memcpy(bytes + at + 5, "\x27\x10\x27\x10", 4);
    drt_image image;
    check_refused(drt_image_decode(&image, bytes, size, "big.jpg", &err), DRT_EFORMAT, "10000 x 10000 pixels cannot");
    free(bytes);
}

static void fill(drt_image *image) {
    for (int i = 0; i < 3 * image->width * image->height; i++) image->rgb[i] = (uint8_t)(i * 37 + i / 7);
}

static void bad_requests_are_refused(void **state) {
    (void)state;
    drt_image image, out;
    check_refused(drt_image_new(&image, 0, 5, &err), DRT_EARG, "0 x 5");
    check_refused(drt_image_new(&image, 1 << 15, 1 << 14, &err), DRT_EFORMAT, "268435456");
    assert_null(image.rgb);
    drt_image_free(&image), drt_image_free(NULL);
    check_ok(drt_image_new(&image, 70000, 1, &err));
    unsigned char *bytes = NULL;
    size_t n = 0;
    check_refused(drt_image_encode_jpeg(&image, 90, &bytes, &n, &err), DRT_EIO, "65500");
    check_refused(drt_image_encode_jpeg(&image, 101, &bytes, &n, &err), DRT_EARG, "101");
    assert_null(bytes);
    check_refused(drt_image_write(&image, "x.gif", &err), DRT_EARG, ".png");
    check_refused(drt_image_write(&image, "/nowhere/at/all.png", &err), DRT_EIO, "/nowhere/at/all.png");
    check_refused(drt_image_resize_bicubic(&image, 3, -1, &out, &err), DRT_EARG, "3 x -1");
    drt_preprocess how = drt_preprocess_clip;
    check_ok(drt_image_prepare(&image, &how, &out, &err)); // resized to 23520000 x 336, of which the middle is made
    drt_image_free(&out);
    how.aspect = DRT_ASPECT_PAD;
    check_refused(drt_image_prepare(&image, &how, &out, &err), DRT_EFORMAT, "padding 70000 x 1");
    how.size = 0;
    check_refused(drt_image_prepare(&image, &how, &out, &err), DRT_EFORMAT, "padding");
    how.aspect = DRT_ASPECT_SQUARE;
    check_refused(drt_image_prepare(&image, &how, &out, &err), DRT_EARG, "0 x 0");
    assert_null(out.rgb);
    drt_image_free(&image);
}

// --- encoders ---

static void encoders_repeat_themselves(void **state) {
    (void)state;
    drt_image image;
    check_ok(drt_image_new(&image, 19, 7, &err));
    fill(&image);
    unsigned char *a, *b;
    size_t n, m;
    check_ok(drt_image_encode_png(&image, &a, &n, &err));
    check_ok(drt_image_encode_png(&image, &b, &m, &err));
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a), free(b);
    check_ok(drt_image_encode_jpeg(&image, 90, &a, &n, &err));
    check_ok(drt_image_encode_jpeg(&image, 90, &b, &m, &err));
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a), free(b);
    drt_image_free(&image);
}

static void written_files_are_read_back(void **state) {
    (void)state;
    drt_image image = golden("scene.jpg"), again;
    char *folder = test_folder("image"), *png = drt_path_join(folder, "a.PNG"), *jpg = drt_path_join(folder, "a.jpg");
    check_ok(drt_image_write(&image, png, &err));
    check_ok(drt_image_read(&again, png, &err));
    check(again.width == 403 && again.height == 302 && hash_of(&again) == hash_of(&image));
    drt_image_free(&again);
    check_ok(drt_image_write(&image, jpg, &err));
    check_ok(drt_image_read(&again, jpg, &err));
    double squares = 0;
    for (int i = 0; i < 403 * 302 * 3; i++) squares += pow(again.rgb[i] - image.rgb[i], 2);
    // 4:2:0 blurs the hard coloured edges; 20 dB is far above what single channels or rows would reach.
    check(again.width == 403 && again.height == 302 && 10 * log10(255 * 255 / (squares / (403 * 302 * 3))) > 20);
    drt_image_free(&image), drt_image_free(&again);
    check_ok(drt_remove_tree(folder, &err));
    free(png), free(jpg), free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoders_agree_with_pil),
        cmocka_unit_test(resize_agrees_with_pil),
        cmocka_unit_test(prepare_agrees_with_hf),
        cmocka_unit_test(other_resizes_are_noticed),
        cmocka_unit_test(other_jpeg_decoders_are_noticed),
        cmocka_unit_test(other_preprocessing_is_noticed),
        cmocka_unit_test(patches_are_in_the_order_of_the_convolution),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(other_content_is_refused),
        cmocka_unit_test(giants_are_refused),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(encoders_repeat_themselves),
        cmocka_unit_test(written_files_are_read_back),
    };
    if (getenv("DRT_GOLDEN_IMAGES")) {
        const struct CMUnitTest golden_lines[] = {tests[0], tests[2]};
        return cmocka_run_group_tests_name("image", golden_lines, NULL, NULL);
    }
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
