// SEA's temperature beside the model.
#include "base/file.h"
#include "format/safetensors.h"
#include "model/model.h"

#include <math.h>
#include <stdlib.h>

static const char name[] = "log_scale";

drt_status drt_sea_save(const drt_model *m, const char *folder, drt_error *err) {
    if (!m->extra.temperature) return DRT_OK;
    const drt_st_entry entry = {name, "F32", 1, {1}, m->extra.temperature->tensor.value.data, NULL};
    char *path = drt_path_join(folder, "sea.safetensors");
    drt_status status =
        path ? drt_safetensors_write(path, &entry, 1, NULL, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    free(path);
    return status;
}

drt_status drt_sea_load(drt_model *m, const char *folder, drt_error *err) {
    if (!m->extra.temperature) return DRT_OK;
    char *path = drt_path_join(folder, "sea.safetensors");
    drt_weights *w = NULL;
    float scale = 0;
    if (!path) return drt_fail(err, DRT_ENOMEM, "no memory");
    if (!drt_file_exists(path)) {
        free(path);
        return DRT_OK;
    }
    drt_status status = drt_weights_open(&w, path, err);
    const drt_weight *found = status ? NULL : drt_weights_find(w, name);
    if (!status && (!found || drt_weight_elements(found) != 1))
        status =
            drt_fail(err, DRT_EFORMAT, "%s: no '%s' of one number; remove the file to begin at scale 1", path, name);
    if (!status) status = drt_weight_to_f32(found, &scale, 1, err);
    if (!status && !(isfinite(scale) && scale <= logf(100)))
        status =
            drt_fail(err, DRT_EFORMAT, "%s: '%s' is %g, not a number up to ln 100; remove the file to begin at scale 1",
                     path, name, (double)scale);
    if (!status) *(float *)m->extra.temperature->tensor.value.data = scale;
    if (w) drt_weights_close(w);
    free(path);
    return status;
}
