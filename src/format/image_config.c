// preprocessor_config.json, and processor_config.json of transformers 5, which holds the same under "image_processor".
#include "format/image.h"

#include "base/file.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static drt_status need_true(const json_t *o, const char *key, const char *name, drt_error *err) {
    if (!json_is_false(json_object_get(o, key))) return DRT_OK;
    return drt_fail(err, DRT_ECONFIG, "%s: %s is false; pictures are always resized, scaled and normalised", name, key);
}

// A whole number, or {"height": n, "width": n}: n. Absent: `standard`; anything else: 0.
static int side_of(const json_t *v, int standard) {
    if (!v || json_is_null(v)) return standard;
    const json_t *height = json_object_get(v, "height"), *width = json_object_get(v, "width");
    if (json_is_object(v)) {
        if (json_integer_value(height) != json_integer_value(width)) return 0;
        v = height;
    }
    json_int_t n = json_integer_value(v);
    return n > 0 && n <= 1 << 14 ? (int)n : 0;
}

// size and crop_size: {"shortest_edge": n} (older files: n) with a crop of n x n, or {"height": n, "width": n}.
static drt_status read_size(drt_preprocess *p, const json_t *o, const char *name, drt_error *err) {
    const json_t *size = json_object_get(o, "size"), *edge = json_object_get(size, "shortest_edge");
    if (edge || json_is_integer(size)) p->fit = DRT_FIT_CROP;
    else if (json_object_get(size, "height")) p->fit = DRT_FIT_SQUASH;
    p->size = side_of(edge ? edge : size, p->size);
    const json_t *crops = json_object_get(o, "do_center_crop");
    if (!p->size)
        return drt_fail(err, DRT_ECONFIG, "%s: size is neither a shortest_edge nor a height and a width that are equal",
                        name);
    if (p->fit == DRT_FIT_CROP && json_is_false(crops))
        return drt_fail(err, DRT_ECONFIG, "%s: do_center_crop is false, but the tower takes squares", name);
    if ((p->fit == DRT_FIT_CROP || json_is_true(crops)) && side_of(json_object_get(o, "crop_size"), p->size) != p->size)
        return drt_fail(err, DRT_ECONFIG, "%s: crop_size is not the %d x %d that size says", name, p->size, p->size);
    return DRT_OK;
}

static drt_status read_three(float out[3], const json_t *o, const char *key, const char *name, drt_error *err) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return DRT_OK;
    bool good = json_array_size(v) == 3;
    for (size_t i = 0; good && i < 3; i++) {
        const json_t *x = json_array_get(v, i);
        out[i] = (float)json_number_value(x);
        good = json_is_number(x) && isfinite(out[i]);
    }
    return good ? DRT_OK : drt_fail(err, DRT_ECONFIG, "%s: %s is not three numbers", name, key);
}

static drt_status read_object(drt_preprocess *p, const json_t *o, const char *name, drt_error *err) {
    static const char *const always[] = {"do_resize", "do_rescale", "do_normalize"};
    const json_t *factor = json_object_get(o, "rescale_factor"), *resample = json_object_get(o, "resample");
    drt_status status = DRT_OK;
    for (int i = 0; i < 3 && !status; i++) status = need_true(o, always[i], name, err);
    if (!status && json_is_integer(resample) && json_integer_value(resample) != 3)
        status = drt_fail(err, DRT_ECONFIG, "%s: resample is %d; pictures are resized by PIL's bicubic, 3", name,
                          (int)json_integer_value(resample));
    if (!status && json_is_number(factor) && fabs(json_number_value(factor) * 255 - 1) > 1e-9)
        status = drt_fail(err, DRT_ECONFIG, "%s: rescale_factor is %g; pixels are scaled by 1/255", name,
                          json_number_value(factor));
    if (!status) status = read_size(p, o, name, err);
    if (!status) status = read_three(p->mean, o, "image_mean", name, err);
    if (!status) status = read_three(p->std, o, "image_std", name, err);
    for (int i = 0; i < 3 && !status; i++)
        if (!(p->std[i] > 0)) status = drt_fail(err, DRT_ECONFIG, "%s: image_std must be above 0", name);
    const char *aspect = json_string_value(json_object_get(o, "image_aspect_ratio"));
    if (aspect) p->aspect = strcmp(aspect, "pad") ? DRT_ASPECT_SQUARE : DRT_ASPECT_PAD;
    else if (json_is_true(json_object_get(o, "do_pad"))) p->aspect = DRT_ASPECT_PAD;
    return status;
}

drt_status drt_preprocess_parse(drt_preprocess *p, const char *json, const char *name, drt_error *err) {
    json_error_t at;
    json_t *o = json_loads(json, 0, &at);
    if (!o) return drt_fail(err, DRT_EFORMAT, "%s:%d:%d: %s", name, at.line, at.column, at.text);
    const json_t *inner = json_object_get(o, "image_processor");
    // A processor_config.json without the pictures' part says nothing about pixels.
    bool silent = !inner && !json_object_get(o, "image_mean") && !json_object_get(o, "size");
    drt_status status = silent ? DRT_OK : read_object(p, inner ? inner : o, name, err);
    json_decref(o);
    return status;
}

drt_status drt_preprocess_read(drt_preprocess *p, const char *folder, drt_error *err) {
    static const char *const files[] = {"preprocessor_config.json", "processor_config.json"};
    for (int i = 0; i < 2; i++) {
        char *path = drt_path_join(folder, files[i]), *text = NULL;
        drt_status status = path ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
        bool here = path && drt_file_exists(path);
        if (here) status = drt_file_read(&text, NULL, path, 1 << 20, err);
        if (!status && here) status = drt_preprocess_parse(p, text, path, err);
        free(text);
        free(path);
        if (status || here) return status;
    }
    return DRT_OK;
}

void drt_preprocess_write(const drt_preprocess *p, drt_text *out) {
    bool crop = p->fit == DRT_FIT_CROP;
    drt_text_printf(out, "{\n  \"image_processor_type\": \"%sImageProcessor\",\n  \"do_convert_rgb\": true,\n",
                    crop ? "CLIP" : "Siglip");
    drt_text_puts(out, "  \"do_resize\": true,\n  \"resample\": 3,\n");
    if (crop)
        drt_text_printf(out,
                        "  \"size\": {\"shortest_edge\": %d},\n  \"do_center_crop\": true,\n"
                        "  \"crop_size\": {\"height\": %d, \"width\": %d},\n",
                        p->size, p->size, p->size);
    else drt_text_printf(out, "  \"size\": {\"height\": %d, \"width\": %d},\n", p->size, p->size);
    drt_text_printf(out,
                    "  \"do_rescale\": true,\n  \"rescale_factor\": 0.00392156862745098,\n  \"do_normalize\": true,\n"
                    "  \"image_mean\": [%.9g, %.9g, %.9g],\n  \"image_std\": [%.9g, %.9g, %.9g],\n"
                    "  \"image_aspect_ratio\": \"%s\"\n}\n",
                    (double)p->mean[0], (double)p->mean[1], (double)p->mean[2], (double)p->std[0], (double)p->std[1],
                    (double)p->std[2], p->aspect == DRT_ASPECT_PAD ? "pad" : "square");
}
