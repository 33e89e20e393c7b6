#include "infer/picture.h"

#include <stdlib.h>

int64_t drt_picture_size(const drt_model *m) {
    const drt_tower *v = &m->config.vision;
    if (!drt_has_vision(&m->config)) return 0;
    return (int64_t)drt_views(&m->config) * drt_patches(v) * 3 * v->patch * v->patch;
}

static drt_status no_tower(const drt_model *m, const char *what, drt_error *err) {
    return drt_fail(err, DRT_ECONFIG,
                    "%s has no vision tower and cannot be shown %s; leave the picture out, or use a LLaVA model",
                    m->folder ? m->folder : "the model", what);
}

drt_status drt_picture_read(const drt_model *m, const char *path, float *out, drt_error *err) {
    drt_image image = {0}, ready = {0};
    if (!drt_picture_size(m)) return no_tower(m, path, err);
    drt_status status = drt_image_read(&image, path, err);
    if (!status) status = drt_image_prepare(&image, &m->preprocess, &ready, err);
    if (!status) drt_image_patches(&ready, &m->preprocess, m->config.vision.patch, out);
    drt_image_free(&image);
    drt_image_free(&ready);
    return status;
}

drt_status drt_picture_decode(const drt_model *m, const void *bytes, size_t size, const char *name, float *out,
                              drt_error *err) {
    drt_image image = {0}, ready = {0};
    if (!drt_picture_size(m)) return no_tower(m, name, err);
    drt_status status = drt_image_decode(&image, bytes, size, name, err);
    if (!status) status = drt_image_prepare(&image, &m->preprocess, &ready, err);
    if (!status) drt_image_patches(&ready, &m->preprocess, m->config.vision.patch, out);
    drt_image_free(&image);
    drt_image_free(&ready);
    return status;
}

drt_status drt_picture_in(const drt_model *m, const drt_record *r, int k, float *out, drt_error *err) {
    const void *bytes;
    void *owned;
    size_t size;
    drt_status status = drt_record_picture(r, k, &bytes, &size, &owned, err);
    if (!status) status = drt_picture_decode(m, bytes, size, r->images[k], out, err);
    free(owned);
    return status;
}

drt_status drt_picture_black(const drt_model *m, float *out, drt_error *err) {
    drt_image black = {0};
    if (!drt_picture_size(m)) return no_tower(m, "a black picture", err);
    drt_status status = drt_image_new(&black, m->preprocess.size, m->preprocess.size, err);
    if (!status) drt_image_patches(&black, &m->preprocess, m->config.vision.patch, out);
    drt_image_free(&black);
    return status;
}
