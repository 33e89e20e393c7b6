// Pictures: encoders, decoders, the resize and the preprocessing, against files that PIL and HF wrote.
#include "support/check.h"

#include "base/file.h"
#include "format/image.h"

static void fill(drt_image *image) {
    for (int i = 0; i < 3 * image->width * image->height; i++) image->rgb[i] = (uint8_t)(i * 37 + i / 7);
}

static void encoders_repeat_themselves(void **state) {
    (void)state;
    drt_error err = {0};
    drt_image image;
    check_ok(drt_image_new(&image, 19, 7, &err));
    fill(&image);
    unsigned char *a, *b;
    size_t n, m;
    check_ok(drt_image_encode_png(&image, &a, &n, &err));
    check_ok(drt_image_encode_png(&image, &b, &m, &err));
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    assert_memory_equal(a, "\x89PNG\r\n", 6);
    free(a), free(b);
    check_ok(drt_image_encode_jpeg(&image, 90, &a, &n, &err));
    check_ok(drt_image_encode_jpeg(&image, 90, &b, &m, &err));
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    assert_memory_equal(a, "\xff\xd8\xff", 3);
    assert_memory_equal(a + n - 2, "\xff\xd9", 2);
    free(a), free(b);
    drt_image_free(&image);
}

static void png_round_trip_is_exact(void **state) {
    (void)state;
    drt_error err = {0};
    drt_image image, again;
    check_ok(drt_image_new(&image, 19, 7, &err));
    fill(&image);
    char *folder = test_folder("image"), *path = drt_path_join(folder, "a.PNG");
    check_ok(drt_image_write(&image, path, &err));
    check_ok(drt_image_read(&again, path, &err));
    assert_int_equal(again.width, 19);
    assert_int_equal(again.height, 7);
    assert_memory_equal(again.rgb, image.rgb, 19 * 7 * 3);
    drt_image_free(&image), drt_image_free(&again);
    check_ok(drt_remove_tree(folder, &err));
    free(path), free(folder);
}

static void bad_requests_are_refused(void **state) {
    (void)state;
    drt_error err = {0};
    drt_image image;
    check_refused(drt_image_new(&image, 0, 5, &err), DRT_EARG, "0 x 5");
    check_refused(drt_image_new(&image, 1 << 15, 1 << 14, &err), DRT_ENOMEM, "268435456");
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
    drt_image_free(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoders_repeat_themselves),
        cmocka_unit_test(png_round_trip_is_exact),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
