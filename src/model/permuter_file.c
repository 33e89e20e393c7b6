// The permuter beside a model: gps.safetensors.
#include "model/permuter.h"

#include "base/file.h"
#include "format/safetensors.h"
#include "model/layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char file_name[] = "gps.safetensors";

bool drt_permuter_in_folder(const char *folder) {
    char *path = drt_path_join(folder, file_name);
    bool there = path && drt_file_exists(path);
    free(path);
    return there;
}

// A number of the metadata in [least, most]; sets *status otherwise.
static double number(const drt_weights *w, const char *path, const char *key, double least, double most,
                     drt_status *status, drt_error *err) {
    const char *text = drt_weights_metadata(w, key);
    char *end = NULL;
    double v = text ? strtod(text, &end) : NAN;
    if (text && end != text && !*end && v >= least && v <= most) return v;
    if (!*status)
        *status = drt_fail(err, DRT_EFORMAT, "%s: metadata '%s' is %s, no number from %g to %g; drt train writes it",
                           path, key, text ? text : "missing", least, most);
    return least;
}

static drt_status read_header(const drt_weights *w, const char *path, int64_t width, drt_permuter_shape *shape,
                              drt_gps_how *how, drt_error *err) {
    drt_status status = DRT_OK;
    const char *hard = drt_weights_metadata(w, "hard");
    const double layers = number(w, path, "layers", 1, 4096, &status, err),
                 hidden = number(w, path, "hidden", 1, 1 << 24, &status, err),
                 sweeps = number(w, path, "sweeps", 1, 1 << 20, &status, err);
    *shape = (drt_permuter_shape){width, (int64_t)hidden, (int)layers};
    *how = drt_gps_defaults;
    how->alpha = (float)number(w, path, "alpha", -1e6, 1e6, &status, err);
    how->tau = (float)number(w, path, "tau", 1e-7, 1e6, &status, err);
    how->sinkhorn.sweeps = (int)sweeps;
    how->sinkhorn.tolerance = (float)number(w, path, "tolerance", 0, 1, &status, err);
    how->hard = hard && strcmp(hard, "soft");
    if (how->hard)
        for (how->choice = 0; how->choice < DRT_GPS_CHOICES && strcmp(hard, drt_gps_choice_names[how->choice]);)
            how->choice++;
    if (!status && (!hard || how->choice == DRT_GPS_CHOICES))
        status = drt_fail(err, DRT_EFORMAT, "%s: metadata 'hard' is %s, and not soft, argmax or assignment", path,
                          hard ? hard : "missing");
    return status;
}

static drt_status check_tensor(const drt_slice *s, const drt_weight *w, const char *path, drt_error *err) {
    bool same = w && w->ndim == s->ndim && !strcmp(w->dtype, "F32");
    for (int d = 0; same && d < s->ndim; d++) same = w->shape[d] == s->shape[d];
    if (same) return DRT_OK;
    return drt_fail(err, DRT_EFORMAT, "%s: tensor '%s' is %s; the file is damaged, or of a decoder of another width",
                    path, s->name,
                    w ? "no F32 of the shape that its header and the decoder's width ask for" : "missing");
}

static drt_status open_file(drt_weights **w, const char *folder, char **path, drt_error *err) {
    *w = NULL;
    *path = drt_path_join(folder, file_name);
    if (!*path) return drt_fail(err, DRT_ENOMEM, "no memory");
    if (!drt_file_exists(*path))
        return drt_fail(err, DRT_EIO,
                        "%s is missing, and the model's config.json names gps as the order of its input; copy the file "
                        "of the folder that it was trained in",
                        *path);
    return drt_weights_open(w, *path, err);
}

drt_status drt_permuter_read(const char *folder, int64_t width, drt_permuter_shape *shape, drt_gps_how *how,
                             drt_error *err) {
    drt_weights *w;
    char *path;
    drt_params *p = NULL;
    drt_permuter *g = NULL;
    drt_status status = open_file(&w, folder, &path, err);
    if (!status) status = read_header(w, path, width, shape, how, err);
    // Sizes are known to be those of the file before memory is taken for them: declared, not allocated.
    if (!status && !(p = drt_params_new())) status = drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status && !(g = drt_permuter_new(p, shape, err))) status = err ? err->code : DRT_ENOMEM;
    for (int i = 0; !status && i < p->slices; i++)
        status = check_tensor(&p->slice[i], drt_weights_find(w, p->slice[i].name), path, err);
    if (!status && drt_weights_count(w) != p->slices)
        status = drt_fail(err, DRT_EFORMAT, "%s: holds %d tensors, a permuter of its header has %d", path,
                          drt_weights_count(w), p->slices);
    drt_permuter_free(g);
    if (p) drt_params_free(p);
    drt_weights_close(w);
    free(path);
    return status;
}

// What is done with each tensor of the file and the parameter's numbers.
typedef drt_status (*visit)(const drt_slice *s, const drt_weight *w, const char *path, drt_error *err);

static drt_status fill(const drt_slice *s, const drt_weight *w, const char *path, drt_error *err) {
    (void)path;
    drt_status status = drt_layout_finite(w, err);
    return status ? status : drt_weight_to_f32(w, drt_slice_numbers(s).data, drt_weight_elements(w), err);
}

static drt_status compare(const drt_slice *s, const drt_weight *w, const char *path, drt_error *err) {
    if (!memcmp(drt_slice_numbers(s).data, w->bytes, w->size)) return DRT_OK;
    return drt_fail(err, DRT_EIO, "%s: tensor '%s' reads back with other numbers than were written; is the disk sound?",
                    path, s->name);
}

static drt_status visit_all(int64_t width, const drt_params *p, const char *folder, visit each, drt_gps_how *how,
                            drt_error *err) {
    drt_weights *w;
    char *path;
    drt_permuter_shape shape;
    drt_status status = open_file(&w, folder, &path, err);
    if (!status) status = read_header(w, path, width, &shape, how, err);
    for (int i = 0; !status && i < p->slices; i++) {
        const drt_slice *s = &p->slice[i];
        if (s->param->group != DRT_PERMUTER) continue;
        const drt_weight *found = drt_weights_find(w, s->name);
        status = check_tensor(s, found, path, err);
        if (!status) status = each(s, found, path, err);
    }
    drt_weights_close(w);
    free(path);
    return status;
}

drt_status drt_permuter_load(drt_permuter *g, drt_params *p, const char *folder, drt_error *err) {
    return visit_all(g->shape.width, p, folder, fill, &g->how, err);
}

drt_status drt_permuter_compare(const drt_permuter *g, const drt_params *p, const char *folder, drt_error *err) {
    drt_gps_how how;
    return visit_all(g->shape.width, p, folder, compare, &how, err);
}

drt_status drt_permuter_save(const drt_permuter *g, const drt_params *p, const char *folder, drt_error *err) {
    char layers[16], hidden[24], alpha[32], tau[32], sweeps[16], tolerance[32];
    snprintf(layers, sizeof layers, "%d", g->shape.layers);
    snprintf(hidden, sizeof hidden, "%lld", (long long)g->shape.hidden);
    snprintf(alpha, sizeof alpha, "%.9g", (double)g->how.alpha);
    snprintf(tau, sizeof tau, "%.9g", (double)g->how.tau);
    snprintf(sweeps, sizeof sweeps, "%d", g->how.sinkhorn.sweeps);
    snprintf(tolerance, sizeof tolerance, "%.9g", (double)g->how.sinkhorn.tolerance);
    const char *const metadata[] = {"layers",    layers,
                                    "hidden",    hidden,
                                    "alpha",     alpha,
                                    "tau",       tau,
                                    "sweeps",    sweeps,
                                    "tolerance", tolerance,
                                    "hard",      g->how.hard ? drt_gps_choice_names[g->how.choice] : "soft",
                                    NULL};
    drt_st_entry *entry = calloc((size_t)p->slices + 1, sizeof *entry);
    char *path = drt_path_join(folder, file_name);
    int n = 0;
    for (int i = 0; entry && i < p->slices; i++) {
        const drt_slice *s = &p->slice[i];
        if (s->param->group != DRT_PERMUTER) continue;
        entry[n] = (drt_st_entry){.name = s->name, .dtype = "F32", .ndim = s->ndim, .bytes = drt_slice_numbers(s).data};
        memcpy(entry[n++].shape, s->shape, sizeof s->shape);
    }
    drt_status status = entry && path ? drt_safetensors_write(path, entry, n, metadata, err)
                                      : drt_fail(err, DRT_ENOMEM, "no memory to save a permuter");
    free(entry);
    free(path);
    return status;
}
