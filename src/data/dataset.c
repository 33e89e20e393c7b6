#include "data/dataset.h"

#include "base/file.h"
#include "data/json_split.h"
#include "data/record.h"
#include "format/image.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct drt_dataset {
    char *path, *folder;
    drt_map map;
    drt_json_piece *piece; // [n] in the order of the file
    int32_t *length;       // [n] signed words
    int32_t n, skipped;
};

static const char *json_of(const drt_dataset *ds, int32_t i) { return (const char *)ds->map.bytes + ds->piece[i].at; }

static drt_status parse(const drt_dataset *ds, int32_t i, drt_record **out, char name[DRT_RECORD_NAME],
                        drt_error *err) {
    const drt_json_piece *p = &ds->piece[i];
    size_t at = 0;
    drt_status bad = drt_record_parse(json_of(ds, i), p->size, ds->folder, p->index, out, &at, name, err);
    if (bad != DRT_EFORMAT) return bad;
    int64_t line, column;
    drt_json_where((const char *)ds->map.bytes, p->at + at, &line, &column);
    return drt_fail_in(err, "line %lld, column %lld", (long long)line, (long long)column);
}

// All pictures of a sample, so that the list names every one that is missing.
static drt_status check_pictures(const drt_record *r, drt_image_check how, drt_error *err) {
    drt_text all = {0};
    for (int i = 0; i < r->n_images && how != DRT_IMAGES_IGNORE; i++) {
        drt_image image = {0};
        drt_error why = {0};
        const char *gap = all.size ? "; " : "";
        if (!drt_file_exists(r->images[i])) drt_text_printf(&all, "%simage %s is missing", gap, r->images[i]);
        else if (how == DRT_IMAGES_DECODE && drt_image_read(&image, r->images[i], &why))
            drt_text_printf(&all, "%s%s", gap, why.text);
        drt_image_free(&image);
    }
    drt_status bad = DRT_OK;
    if (all.failed) bad = drt_fail(err, DRT_ENOMEM, "no memory for the list of missing images");
    else if (all.size) bad = drt_fail(err, DRT_EDATA, "%s", all.bytes);
    drt_text_free(&all);
    return bad;
}

static drt_status check_sample(drt_dataset *ds, int32_t i, const drt_dataset_options *o, drt_error *err) {
    char name[DRT_RECORD_NAME];
    drt_record *r = NULL;
    drt_status bad = parse(ds, i, &r, name, err);
    if (!bad) ds->length[i] = r->n_images ? r->words : -r->words;
    if (!bad) bad = drt_conversation_check(o->how, r->turns, r->n_turns, r->n_images, err);
    if (!bad) bad = check_pictures(r, o->images, err);
    drt_record_free(r);
    return bad == DRT_EDATA ? drt_fail_in(err, "%s", name) : bad;
}

typedef struct {
    char **reason;   // [n] why a sample is bad, NULL for the good ones
    int32_t at;      // the first sample with a fault that no skipping mends ...
    drt_error fault; // ... and that fault
} findings;

// Parses and checks every sample, on all cores. What is found does not depend on the number of threads.
static drt_status check_all(drt_dataset *ds, const drt_dataset_options *o, drt_progress *progress, findings *f,
                            drt_error *err) {
    atomic_int done = 0, stop = INT32_MAX;
    f->at = INT32_MAX;
#pragma omp parallel for schedule(dynamic, 16)
    for (int32_t i = 0; i < ds->n; i++) {
        if (i > atomic_load(&stop)) continue;
        drt_error why = {0};
        drt_status bad = check_sample(ds, i, o, &why);
        if (bad == DRT_EDATA && !(f->reason[i] = strdup(why.text)))
            bad = drt_fail(&why, DRT_ENOMEM, "no memory for the list of bad samples");
        if (bad && bad != DRT_EDATA) {
#pragma omp critical(drt_dataset_fault)
            if (i < f->at) {
                f->at = i;
                f->fault = why;
                atomic_store(&stop, i);
            }
        }
        int now = atomic_fetch_add(&done, 1) + 1;
        if (omp_get_thread_num() == 0) drt_progress_at(progress, now, ds->n);
    }
    drt_progress_at(progress, ds->n, ds->n);
    return f->at < INT32_MAX ? drt_fail(err, f->fault.code, "%s: %s", ds->path, f->fault.text) : DRT_OK;
}

static void list_bad(const drt_dataset *ds, const findings *f, drt_text *list) {
    int64_t line = 1;
    size_t at = 0;
    for (int32_t i = 0; i < ds->n; i++) {
        for (; at < ds->piece[i].at; at++) line += ds->map.bytes[at] == '\n';
        if (f->reason[i]) drt_text_printf(list, "%s:%lld: %s\n", ds->path, (long long)line, f->reason[i]);
    }
}

// Bad samples: lists them, then leaves them out or refuses.
static drt_status settle(drt_dataset *ds, const drt_dataset_options *o, const findings *f, drt_error *err) {
    int32_t bad = 0, kept = 0;
    for (int32_t i = 0; i < ds->n; i++) bad += f->reason[i] != NULL;
    if (bad && o->bad) list_bad(ds, f, o->bad);
    if (o->bad && o->bad->failed)
        return drt_fail(err, DRT_ENOMEM, "%s: no memory for the list of bad samples", ds->path);
    if (bad && !o->skip) {
        drt_text text = {0};
        for (int32_t i = 0, shown = 0; i < ds->n && shown < 20; i++)
            if (f->reason[i]) drt_text_printf(&text, "\n  %s", f->reason[i]), shown++;
        drt_fail(err, DRT_EDATA,
                 "%s: %d of %d samples cannot be used; repair them, or leave them out with "
                 "data.bad=skip:%s",
                 ds->path, bad, ds->n, text.failed ? "" : text.bytes);
        drt_text_free(&text);
        return DRT_EDATA;
    }
    for (int32_t i = 0; i < ds->n; i++) {
        if (f->reason[i]) continue;
        ds->piece[kept] = ds->piece[i];
        ds->length[kept++] = ds->length[i];
    }
    ds->n = kept;
    ds->skipped = bad;
    if (kept) return DRT_OK;
    return bad ? drt_fail(err, DRT_EDATA, "%s: none of %d samples can be used", ds->path, bad)
               : drt_fail(err, DRT_EDATA, "%s: no samples", ds->path);
}

static drt_status check_and_settle(drt_dataset *ds, const drt_dataset_options *o, drt_progress *progress,
                                   drt_error *err) {
    findings f = {.reason = calloc((size_t)ds->n + 1, sizeof *f.reason)};
    ds->length = calloc((size_t)ds->n + 1, sizeof *ds->length);
    if (!f.reason || !ds->length) {
        free(f.reason);
        return drt_fail(err, DRT_ENOMEM, "%s: no memory for %d samples", ds->path, ds->n);
    }
    drt_status bad = check_all(ds, o, progress, &f, err);
    if (!bad) bad = settle(ds, o, &f, err);
    for (int32_t i = 0; i < ds->n + ds->skipped; i++) free(f.reason[i]);
    free(f.reason);
    return bad;
}

// The folder a file is in, "" for the current one.
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup("");
}

drt_status drt_dataset_open(drt_dataset **out, const char *json_path, const char *image_folder,
                            const drt_dataset_options *options, drt_progress *progress, drt_error *err) {
    static const drt_dataset_options none = {0};
    *out = NULL;
    drt_dataset *ds = calloc(1, sizeof *ds);
    if (!ds) return drt_fail(err, DRT_ENOMEM, "%s: no memory", json_path);
    ds->path = strdup(json_path);
    ds->folder = image_folder ? strdup(image_folder) : folder_of(json_path);
    drt_status bad = ds->path && ds->folder ? drt_map_open(&ds->map, json_path, err)
                                            : drt_fail(err, DRT_ENOMEM, "%s: no memory", json_path);
    if (!bad) bad = drt_json_split((const char *)ds->map.bytes, ds->map.size, json_path, &ds->piece, &ds->n, err);
    if (!bad) bad = check_and_settle(ds, options ? options : &none, progress, err);
    if (bad) drt_dataset_close(ds);
    else *out = ds;
    return bad;
}

void drt_dataset_close(drt_dataset *ds) {
    if (!ds) return;
    drt_map_close(&ds->map);
    free(ds->piece);
    free(ds->length);
    free(ds->path);
    free(ds->folder);
    free(ds);
}

int32_t drt_dataset_size(const drt_dataset *ds) { return ds->n; }
int32_t drt_dataset_skipped(const drt_dataset *ds) { return ds->skipped; }
const char *drt_dataset_path(const drt_dataset *ds) { return ds->path; }
const int32_t *drt_dataset_lengths(const drt_dataset *ds) { return ds->length; }

drt_status drt_dataset_at(const drt_dataset *ds, int32_t i, drt_record **out, drt_error *err) {
    char name[DRT_RECORD_NAME];
    *out = NULL;
    if (i < 0 || i >= ds->n)
        return drt_fail(err, DRT_EARG, "%s: sample %d was asked for, there are %d", ds->path, i, ds->n);
    drt_status bad = parse(ds, i, out, name, err);
    return bad ? drt_fail_in(err, "%s: %s (the file was changed while in use)", ds->path, name) : DRT_OK;
}

drt_status drt_dataset_fail_in(const drt_dataset *ds, const drt_record *r, drt_error *err) {
    char name[DRT_RECORD_NAME];
    drt_record_name(r->id, r->index, name);
    return drt_fail_in(err, "%s: %s", ds->path, name);
}
