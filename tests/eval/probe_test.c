// Linear probes find what is in the features, and only that.
#include "support/check.h"
#include "support/tiny_model.h"

#include "base/file.h"
#include "eval/probe.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

enum { PICTURES = 60 };

// Patches are red, green or grey; what is red or green has that colour as label, a shape that the picture knows nothing
// of, one size, and a word that is on red patches only.
static char *draw_world(void) {
    drt_error err = {0};
    char *folder = test_folder("probe"), *eval = drt_path_join(folder, "eval");
    check_ok(drt_make_folders(eval, &err));
    drt_text json = {0};
    drt_rng r;
    drt_rng_init(&r, 3, 3);
    for (int k = 0; k < PICTURES; k++) {
        drt_image image;
        char name[32];
        check_ok(drt_image_new(&image, TINY_IMAGE, TINY_IMAGE, &err));
        drt_text_printf(&json, "%s{\"id\": \"%d\", \"image\": \"%d.png\", \"caption\": \"x\", \"patches\": [",
                        k ? ",\n" : "[", k, k);
        for (int p = 0; p < TINY_PATCHES; p++) {
            int color = (int)drt_rng_below(&r, 3), shape = 1 + (int)drt_rng_below(&r, 2);
            if (color) drt_text_printf(&json, "%s[%d,%d,1,%d,0]", p ? "," : "", color, shape, color == 1);
            else drt_text_printf(&json, "%s[0,0,0,0,1]", p ? "," : "");
            for (int i = 0; i < TINY_PATCH * TINY_PATCH; i++) {
                int x = p % 3 * TINY_PATCH + i % TINY_PATCH, y = p / 3 * TINY_PATCH + i / TINY_PATCH;
                uint8_t *rgb = image.rgb + 3 * (y * TINY_IMAGE + x);
                for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(110 + drt_rng_below(&r, 30));
                if (color) rgb[color - 1] = 250;
            }
        }
        drt_text_puts(&json, "]}");
        snprintf(name, sizeof name, "%d.png", k);
        char *path = drt_path_join(folder, name);
        check_ok(drt_image_write(&image, path, &err));
        free(path);
        drt_image_free(&image);
    }
    drt_text_puts(&json, "]");
    char *path = drt_path_join(eval, "clip.json");
    check_ok(drt_file_write(path, json.bytes, json.size, &err));
    drt_text_free(&json);
    free(path), free(eval);
    return folder;
}

static void finds_what_is_there(void **state) {
    (void)state;
    drt_error err = {0};
    drt_device *dev;
    check_ok(drt_device_open(&dev, "cpu", 2, &err));
    drt_tape *t = drt_tape_new(dev, &err);
    char *folder = draw_world();
    drt_model *models[] = {tiny_clip(4), tiny_llava(4, 0)};
    const drt_probe_options o = {.data = folder, .batch = 7, .limit = 58};
    for (int k = 0; k < 2; k++) {
        drt_probe_result r, again;
        // Where a patch is must show beside what is in it.
        drt_mat place = models[k]->vision.position->tensor.value;
        for (int64_t i = 0; i < place.rows * place.cols; i++) ((float *)place.data)[i] *= 5;
        check_ok(drt_probe_run(models[k], t, &o, &r, &err));
        assert_int_equal(r.train_pictures, 47);
        assert_int_equal(r.test_pictures, 11);
        assert_int_equal(r.width, 12);
        check(r.probe[DRT_PROBE_COLOR].classes == 2 && r.probe[DRT_PROBE_COLOR].accuracy > 0.9);
        check(r.probe[DRT_PROBE_COLOR].chance < 0.65);
        check(r.probe[DRT_PROBE_SHAPE].accuracy < 0.7); // it is not in the picture
        check(r.probe[DRT_PROBE_SIZE].classes == 1 && r.probe[DRT_PROBE_SIZE].accuracy == 1);
        check(r.probe[DRT_PROBE_SIZE].chance == 1);
        check(r.probe[DRT_PROBE_WORD].test < r.probe[DRT_PROBE_COLOR].test); // red patches only
        check(r.probe[DRT_PROBE_ROW].test == 11 * TINY_PATCHES && r.probe[DRT_PROBE_ROW].classes == 3);
        check(r.probe[DRT_PROBE_ROW].accuracy > 0.75 && r.probe[DRT_PROBE_COLUMN].accuracy > 0.75);
        check(fabs(r.probe[DRT_PROBE_ROW].chance - 1.0 / 3) < 1e-9);
        check_ok(drt_probe_run(models[k], t, &o, &again, &err));
        assert_memory_equal(&r, &again, sizeof r);
        drt_text text = {0};
        drt_probe_json(&r, &text);
        json_t *j = json_loads(text.bytes, 0, NULL);
        const json_t *row = json_object_get(json_object_get(j, "probes"), "row");
        check(fabs(json_number_value(json_object_get(row, "accuracy")) - r.probe[DRT_PROBE_ROW].accuracy) < 1e-6);
        json_decref(j), drt_text_free(&text);
    }
    drt_probe_result r;
    const drt_probe_options few = {.data = folder, .limit = 9}, nowhere = {.data = "no/world"};
    check_refused(drt_probe_run(models[0], t, &few, &r, &err), DRT_EDATA, "too few");
    check_refused(drt_probe_run(models[0], t, &nowhere, &r, &err), DRT_EIO, "no/world/eval/clip.json");
    models[1]->config.kind = DRT_MODEL_LANGUAGE;
    check_refused(drt_probe_run(models[1], t, &o, &r, &err), DRT_ECONFIG, "no vision tower");
    models[1]->config.kind = DRT_MODEL_LLAVA;
    check_ok(drt_remove_tree(folder, &err));
    free(folder);
    drt_model_close(models[0]), drt_model_close(models[1]);
    drt_tape_free(t);
    drt_device_close(dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_what_is_there)};
    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
