#include "train/checkpoint.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/text.h"
#include "format/safetensors.h"
#include "tensor/fingerprint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *folder_of(const char *run, int64_t step, const char *suffix) {
    drt_text t = {0};
    if (step < 0) drt_text_printf(&t, "%s/checkpoints", run);
    else drt_text_printf(&t, "%s/checkpoints/step-%09lld%s", run, (long long)step, suffix);
    if (!t.failed) return t.bytes;
    drt_text_free(&t);
    return NULL;
}

// Learning weights, packed as the gradients are, [learning], and in their memory: between steps it holds nothing.
static float *gather(drt_params *p) {
    float *w = p->grads;
    drt_params_zero_grads(p);
    for (int i = 0; i < p->n; i++) {
        int64_t at = drt_param_grad_offset(p, p->at[i]);
        drt_mat v = p->at[i]->master;
        if (at >= 0) memcpy(w + at, v.data, (size_t)(v.rows * v.cols) * sizeof *w);
    }
    return w;
}

static void scatter(drt_params *p, const float *w) {
    for (int i = 0; i < p->n; i++) {
        int64_t at = drt_param_grad_offset(p, p->at[i]);
        drt_mat v = p->at[i]->master;
        if (at >= 0) memcpy(v.data, w + at, (size_t)(v.rows * v.cols) * sizeof *w);
    }
    drt_params_refresh(p);
}

// A number that changes when the list of learning parameters does.
static uint64_t layout(const drt_params *p) {
    uint64_t h = 0;
    for (int i = 0; i < p->n; i++) {
        drt_mat v = p->at[i]->tensor.value;
        const int64_t what[] = {(int64_t)h, v.rows, v.cols, drt_param_grad_offset(p, p->at[i])};
        h = drt_hash(what, sizeof what);
    }
    return h;
}

// The recipe's dtype, as far as the parameters show it.
static const char *dtype_of(const drt_params *p) {
    for (int i = 0; i < p->n; i++) {
        if (p->at[i]->tensor.value.type != DRT_F32) return "bf16";
        if (p->at[i]->tensor.f16) return "f16";
    }
    return "f32";
}

// Of all parts that do not learn: what learns has learnt to stand beside them.
static void frozen(const drt_params *p, char text[DRT_FINGERPRINT_TEXT]) {
    drt_fingerprint all = {{0}};
    bool learns[DRT_GROUPS] = {0};
    for (int i = 0; i < p->n; i++) learns[p->at[i]->group] |= p->at[i]->tensor.needs_grad;
    for (int g = 0; g < DRT_GROUPS; g++) {
        drt_fingerprint part;
        if (learns[g]) continue;
        drt_fingerprint_of(&part, p, (drt_group)g);
        for (int k = 0; k < DRT_FINGERPRINT_WAYS; k++)
            all.as[k] = drt_hash((uint64_t[]){all.as[k], part.as[k]}, 2 * sizeof *all.as);
    }
    drt_fingerprint_write(&all, text);
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

drt_status drt_checkpoint_steps(const char *run, int64_t **out, int *n, drt_error *err) {
    char *path = folder_of(run, -1, "");
    DIR *dir = path ? opendir(path) : NULL;
    int64_t *steps = NULL;
    drt_status status = DRT_OK;
    *n = 0;
    if (!path) status = drt_fail(err, DRT_ENOMEM, "no memory for a list of checkpoints");
    else if (!dir && errno != ENOENT) status = drt_fail(err, DRT_EIO, "%s: %s", path, strerror(errno));
    for (struct dirent *e; !status && dir && (e = readdir(dir));) {
        long long step;
        int end = 0;
        if (sscanf(e->d_name, "step-%lld%n", &step, &end) != 1 || e->d_name[end]) continue;
        int64_t *more = realloc(steps, ((size_t)*n + 1) * sizeof *steps);
        if (more) (steps = more)[(*n)++] = step;
        else status = drt_fail(err, DRT_ENOMEM, "no memory for a list of checkpoints");
    }
    if (dir) closedir(dir);
    free(path);
    if (*n) qsort(steps, (size_t)*n, sizeof *steps, by_step);
    *out = steps;
    return status;
}

static drt_status write_state(drt_params *p, const char *folder, int64_t step, drt_error *err) {
    char text_step[32], text_layout[32], beside[DRT_FINGERPRINT_TEXT],
        *path = drt_path_join(folder, "state.safetensors");
    const float *w = gather(p);
    snprintf(text_step, sizeof text_step, "%lld", (long long)step);
    snprintf(text_layout, sizeof text_layout, "%016llx", (unsigned long long)layout(p));
    frozen(p, beside);
    const char *const metadata[] = {"step",      text_step, "layout", text_layout, "dtype",
                                    dtype_of(p), "frozen",  beside,   NULL};
    const drt_st_entry entry[] = {{"weights", "F32", 1, {p->learning}, w, NULL},
                                  {"adamw.m", "F32", 1, {p->learning}, p->m, NULL},
                                  {"adamw.v", "F32", 1, {p->learning}, p->v, NULL}};
    drt_status status = path ? drt_safetensors_write(path, entry, 3, metadata, err)
                             : drt_fail(err, DRT_ENOMEM, "no memory for a checkpoint");
    free(path);
    return status;
}

// What a program that was killed has left half written or half removed.
static drt_status sweep(const char *run, drt_error *err) {
    char *folder = folder_of(run, -1, "");
    DIR *dir = folder ? opendir(folder) : NULL;
    drt_status status = folder ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    for (struct dirent *e; !status && dir && (e = readdir(dir));) {
        long long step;
        int end = 0;
        if (sscanf(e->d_name, "step-%lld%n", &step, &end) != 1) continue;
        if (strcmp(e->d_name + end, ".part") && strcmp(e->d_name + end, ".old")) continue;
        char *path = drt_path_join(folder, e->d_name);
        status = path ? drt_remove_tree(path, err) : drt_fail(err, DRT_ENOMEM, "no memory");
        free(path);
    }
    if (dir) closedir(dir);
    free(folder);
    return status;
}

static drt_status remove_old(const char *run, int64_t keep, int64_t best, drt_error *err) {
    int n = 0;
    int64_t *steps = NULL;
    drt_status status = sweep(run, err);
    if (!status) status = drt_checkpoint_steps(run, &steps, &n, err);
    for (int i = 0; !status && i < n - (keep > 1 ? keep : 1); i++) {
        if (steps[i] == best) continue;
        // Renamed first: a folder half removed must not look like a checkpoint.
        char *path = folder_of(run, steps[i], ""), *gone = folder_of(run, steps[i], ".old");
        if (!path || !gone) status = drt_fail(err, DRT_ENOMEM, "no memory");
        else if (rename(path, gone)) status = drt_fail(err, DRT_EIO, "%s: cannot rename: %s", path, strerror(errno));
        else status = drt_remove_tree(gone, err);
        free(path), free(gone);
    }
    free(steps);
    return status;
}

int64_t drt_checkpoint_bytes(const drt_params *p) {
    enum { HEADER = 4096 }; // of the file, its folder aside
    return 3 * p->learning * (int64_t)sizeof(float) + HEADER;
}

drt_status drt_checkpoint_room(const drt_params *p, const char *run, int64_t step, drt_error *err) {
    int64_t free_bytes = drt_disk_free(run), need = drt_checkpoint_bytes(p);
    char *whole = folder_of(run, step, "");
    bool there = whole && drt_is_folder(whole);
    free(whole);
    if (there || free_bytes < 0 || free_bytes >= need) return DRT_OK;
    return drt_fail(err, DRT_EIO,
                    "%s: the checkpoint after step %lld takes %.4g MB and %.4g MB are free; it is not begun. Make room",
                    run, (long long)step, 1e-6 * (double)need, 1e-6 * (double)free_bytes);
}

drt_status drt_checkpoint_save(drt_params *p, const char *run, int64_t step, int64_t keep, int64_t best,
                               drt_error *err) {
    char *part = folder_of(run, step, ".part"), *whole = folder_of(run, step, "");
    drt_status status = part && whole ? drt_remove_tree(part, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status && drt_is_folder(whole)) { // saved before (a signal right after a checkpoint)
        free(part), free(whole);
        return DRT_OK;
    }
    if (!status) status = drt_make_folders(part, err);
    if (!status) status = write_state(p, part, step, err);
    if (!status && rename(part, whole)) status = drt_fail(err, DRT_EIO, "%s: cannot rename: %s", part, strerror(errno));
    if (status && part) drt_remove_tree(part, NULL);
    int cause = status ? 0 : drt_sync_folder_of(whole);
    if (cause) status = drt_fail(err, DRT_EIO, "%s: cannot sync its folder: %s", whole, strerror(cause));
    if (!status) status = remove_old(run, keep, best, err);
    free(part), free(whole);
    return status;
}

static drt_status open_state(const char *run, int64_t step, drt_weights **out, char **path, drt_error *err) {
    char *folder = folder_of(run, step, "");
    *out = NULL;
    *path = folder ? drt_path_join(folder, "state.safetensors") : NULL;
    free(folder);
    return *path ? drt_weights_open(out, *path, err) : drt_fail(err, DRT_ENOMEM, "no memory for a checkpoint");
}

drt_status drt_checkpoint_hash(const char *run, int64_t step, uint64_t *hash, drt_error *err) {
    drt_weights *s;
    char *path;
    drt_status status = open_state(run, step, &s, &path, err);
    *hash = 0;
    for (int i = 0; !status && i < drt_weights_count(s); i++) {
        const drt_weight *t = drt_weights_at(s, i);
        *hash = drt_hash((uint64_t[]){*hash, drt_digest_of(t->bytes, t->size)}, 2 * sizeof *hash);
    }
    drt_weights_close(s);
    free(path);
    return status;
}

drt_status drt_checkpoint_load(drt_params *p, const char *run, int64_t step, drt_error *err) {
    char *path, want[32];
    drt_weights *s;
    drt_status status = open_state(run, step, &s, &path, err);
    const char *have = status ? NULL : drt_weights_metadata(s, "layout");
    snprintf(want, sizeof want, "%016llx", (unsigned long long)layout(p));
    if (!status && (!have || strcmp(have, want)))
        status = drt_fail(err, DRT_ECONFIG,
                          "%s: made by a run that trains other parts of the model; resume with its own recipe, or "
                          "choose another out",
                          path);
    const char *dtype = status ? NULL : drt_weights_metadata(s, "dtype");
    if (!status && dtype && strcmp(dtype, dtype_of(p)))
        status = drt_fail(err, DRT_ECONFIG, "%s: made by a run with dtype=%s; resume with that, or choose another out",
                          path, dtype);
    char beside[DRT_FINGERPRINT_TEXT];
    const char *was = status ? NULL : drt_weights_metadata(s, "frozen");
    frozen(p, beside);
    if (!status && was && strcmp(was, beside))
        status =
            drt_fail(err, DRT_ECONFIG,
                     "%s: what does not learn has other weights now than when the run began; give it the model that "
                     "%s/recipe.yaml names, as it was, or choose another out",
                     path, run);
    float *const to[] = {p->grads, p->m, p->v};
    static const char *const names[] = {"weights", "adamw.m", "adamw.v"};
    for (int i = 0; !status && i < 3; i++) {
        const drt_weight *t = drt_weights_find(s, names[i]);
        if (!t || t->ndim != 1 || t->shape[0] != p->learning)
            status = drt_fail(err, DRT_EFORMAT,
                              "%s: '%s' is missing or of another size; remove this checkpoint to use the one before",
                              path, names[i]);
        else status = drt_weight_to_f32(t, to[i], p->learning, err);
        if (t) drt_weights_forget(s, t);
    }
    if (!status) scatter(p, p->grads);
    drt_weights_close(s);
    free(path);
    return status;
}
