// preprocessor_config.json in the forms that published folders have, and forms that ask for what drt does not do.
#include "support/check.h"

#include "format/image.h"

#include <stdio.h>

#define MEAN "\"image_mean\": [0.5, 0.25, 0.125], \"image_std\": [0.5, 0.5, 0.5]"

static void forms(void **state) {
    static const struct {
        const char *json;
        int size;
        drt_fit fit;
        drt_aspect aspect;
        float mean;
    } good[] = {
        // CLIP of 2021, CLIP of today, SigLIP, transformers 5's nested file, LLaVA's own padding, drt's key, nothing at
        // all
        {"{\"size\": 56, \"crop_size\": 56, \"resample\": 3, " MEAN "}", 56, DRT_FIT_CROP, DRT_ASPECT_SQUARE, 0.5f},
        {"{\"size\": {\"shortest_edge\": 28}, \"crop_size\": {\"height\": 28, \"width\": 28}, \"do_center_crop\": "
         "true, "
         "\"rescale_factor\": 0.00392156862745098, " MEAN "}",
         28, DRT_FIT_CROP, DRT_ASPECT_SQUARE, 0.5f},
        {"{\"size\": {\"height\": 42, \"width\": 42}, \"do_center_crop\": null, " MEAN "}", 42, DRT_FIT_SQUASH,
         DRT_ASPECT_SQUARE, 0.5f},
        {"{\"processor_class\": \"P\", \"image_processor\": {\"size\": {\"height\": 42, \"width\": 42}, " MEAN "}}", 42,
         DRT_FIT_SQUASH, DRT_ASPECT_SQUARE, 0.5f},
        {"{\"do_pad\": true, \"size\": {\"shortest_edge\": 28}, \"crop_size\": {\"height\": 28, \"width\": 28}}", 28,
         DRT_FIT_CROP, DRT_ASPECT_PAD, 0.48145466f},
        {"{\"image_aspect_ratio\": \"pad\", " MEAN "}", 336, DRT_FIT_CROP, DRT_ASPECT_PAD, 0.5f},
        {"{\"processor_class\": \"LlavaProcessor\", \"patch_size\": 14}", 336, DRT_FIT_CROP, DRT_ASPECT_SQUARE,
         0.48145466f},
    };
    drt_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        drt_preprocess p = drt_preprocess_clip, q = drt_preprocess_siglip;
        check_ok(drt_preprocess_parse(&p, good[i].json, "place", &err));
        check(p.size == good[i].size && p.fit == good[i].fit && p.aspect == good[i].aspect);
        check(p.mean[0] == good[i].mean);
        // What is written is read again, whatever was there before.
        drt_text t = {0};
        drt_preprocess_write(&p, &t);
        check_ok(drt_preprocess_parse(&q, t.bytes, "written", &err));
        check(!memcmp(&p, &q, sizeof p));
        drt_text_free(&t);
    }
}

static void refusals(void **state) {
    static const struct {
        const char *json, *told;
    } wrong[] = {
        {"{\"size\": {\"shortest_edge\": 28}, \"crop_size\": 27}", "crop_size"},
        {"{\"size\": {\"shortest_edge\": 28}, \"do_center_crop\": false}", "do_center_crop"},
        {"{\"size\": {\"height\": 28, \"width\": 42}}", "size"},
        {"{\"size\": {\"longest_edge\": 28}}", "size"},
        {"{\"size\": -3}", "size"},
        {"{\"size\": {\"shortest_edge\": \"large\"}}", "size"},
        {"{\"size\": 28, \"resample\": 2}", "resample is 2"},
        {"{\"size\": 28, \"rescale_factor\": 0.0078}", "rescale_factor"},
        {"{\"size\": 28, \"do_normalize\": false}", "do_normalize"},
        {"{\"image_mean\": [0.5, 0.5]}", "image_mean"},
        {"{\"image_mean\": [0.5, 0.5, \"x\"]}", "image_mean"},
        {"{\"image_mean\": 0.5}", "image_mean"},
        {"{\"image_mean\": [0, 0, 0], \"image_std\": [1, 0, 1]}", "above 0"},
        {"{\"size\": 28", "place:1"},
        {"", "place:1"},
    };
    drt_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        drt_preprocess p = drt_preprocess_clip;
        if (drt_preprocess_parse(&p, wrong[i].json, "place", &err) == DRT_OK) fail_msg("%s was taken", wrong[i].json);
        if (strncmp(err.text, "place", 5) || !strstr(err.text, wrong[i].told))
            fail_msg("%s: %s", wrong[i].json, err.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forms), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
