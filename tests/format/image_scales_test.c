// The scales of a picture (S²-Wrapper) against torch: tests/golden/images/scales.safetensors by tools/golden_vision.py.
#include "support/check.h"

#include "format/image.h"
#include "format/weights.h"

#include <math.h>

static drt_error err;

// The two programs add 16 products in different orders.
static void scales_agree_with_torch(void **state) {
    (void)state;
    drt_weights *file;
    check_ok(drt_weights_open(&file, "tests/golden/images/scales.safetensors", &err));
    const drt_weight *picture = drt_weights_find(file, "picture"), *rows = drt_weights_find(file, "rows");
    check(picture && rows);
    drt_image image = {36, 36, (uint8_t *)picture->bytes};
    drt_preprocess how = drt_preprocess_clip;
    how.scales = 3;
    for (int i = 0; i < 3; i++) how.multiple[i] = i + 1;
    enum { NUMBERS = 56 * 75 };
    const float *want = rows->bytes;
    float have[NUMBERS], gap = 0, other = 0;
    check(rows->size == sizeof have);
    drt_image_patches(&image, &how, 5, have);
    for (int i = 0; i < NUMBERS; i++) gap = fmaxf(gap, fabsf(have[i] - want[i]));
    print_message("scales: %.1e apart\n", (double)gap);
    check(gap <= 16 * 0x1p-23f * 2.6f); // 16 products of numbers below 2.6
    float *single = malloc(sizeof have);
    check(single != NULL);
    how = drt_preprocess_clip;
    how.size = 36;
    drt_image_patches(&image, &how, 5, single); // one scale only
    for (int i = 0; i < 49 * 75 && i < NUMBERS; i++) other = fmaxf(other, fabsf(single[i] - want[i]));
    check(other > 0.1f);
    free(single);
    drt_weights_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(scales_agree_with_torch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
