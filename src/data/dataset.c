#include "data/dataset.h"

#include "base/file.h"
#include "data/index.h"
#include "data/quarantine.h"
#include "data/record.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct drt_dataset {
    drt_index index;
    char *folder;    // NULL: that of the data
    int32_t *sample; // [n] numbers among all samples of the data
    int32_t *length; // [n] signed words
    int32_t *shard;  // [shards]
    int32_t n, skipped, quarantined;
    int shards;
    drt_text notes;
};

// ---- pictures of a record ------------------------------------------------------------------------------------------

drt_status drt_record_picture(const drt_record *r, int k, const void **bytes, size_t *size, void **owned,
                              drt_error *err) {
    *owned = NULL;
    if (r->held) {
        *bytes = r->held[k].bytes;
        *size = r->held[k].size;
        return DRT_OK;
    }
    char *read;
    drt_status status = drt_file_read(&read, size, r->images[k], 0, err);
    *owned = read;
    *bytes = read;
    return status;
}

drt_status drt_record_image(const drt_record *r, int k, drt_image *image, drt_error *err) {
    if (r->held) return drt_image_decode(image, r->held[k].bytes, r->held[k].size, r->images[k], err);
    return drt_image_read(image, r->images[k], err);
}

// ---- which samples can be used -------------------------------------------------------------------------------------

// All pictures of a sample, so that the list names every one that is missing.
static drt_status check_pictures(const drt_record *r, drt_image_check how, drt_error *err) {
    drt_text all = {0};
    for (int i = 0; i < r->n_images && how != DRT_IMAGES_IGNORE; i++) {
        drt_image image = {0};
        drt_error why = {0};
        const char *gap = all.size ? "; " : "";
        if (!r->held && !drt_file_exists(r->images[i]))
            drt_text_printf(&all, "%simage %s is missing", gap, r->images[i]);
        else if (how == DRT_IMAGES_DECODE && drt_record_image(r, i, &image, &why))
            drt_text_printf(&all, "%s%s", gap, why.text);
        all.failed |= why.code == DRT_ENOMEM; // which is no fault of the picture's
        drt_image_free(&image);
    }
    drt_status bad = DRT_OK;
    if (all.failed) bad = drt_fail(err, DRT_ENOMEM, "no memory to look at its pictures");
    else if (all.size) bad = drt_fail(err, DRT_EDATA, "%s", all.bytes);
    drt_text_free(&all);
    return bad;
}

// Rows that the template takes in front of the first answer, its human turn left out.
static drt_status fixed_rows(const drt_dataset_options *o, int64_t *out, drt_error *err) {
    const drt_turn turns[] = {{true, "x"}, {false, "x"}};
    drt_encoded e;
    *out = 0;
    if (!o->rows) return DRT_OK;
    drt_status bad = drt_conversation_encode(o->how, o->rows->tokenizer, turns, 2, 0, &e, err);
    if (bad) return bad;
    *out = e.prompt;
    drt_encoded_free(&e);
    return DRT_OK;
}

static drt_status check_trained(const drt_dataset_options *o, const drt_record *r, drt_error *err) {
    const drt_dataset_rows *rows = o->rows;
    int context = rows->context - (r->n_images ? rows->spare : 0);
    drt_encoded e;
    drt_status bad = drt_conversation_encode(o->how, rows->tokenizer, r->turns, r->n_turns, r->n_images, &e, err);
    if (bad) return bad;
    int64_t pictures = (int64_t)e.images * rows->image_rows, prompt = e.prompt - e.images + pictures;
    drt_encoded_cut(&e, context, rows->image_rows);
    if (!e.trained || pictures >= context)
        bad = drt_fail(err, DRT_EDATA,
                       "no token is trained on: what stands in front of the first answer takes %lld rows, and the "
                       "context has %d; shorten it, or raise data.context",
                       (long long)prompt, context);
    drt_encoded_free(&e);
    return bad;
}

typedef struct {
    const drt_dataset_options *o;
    int64_t fixed;     // fixed_rows
    bool all_pictures; // the index does not know of the pictures what is asked
    const bool *out;   // [samples] quarantined
    char **reason;     // [samples] why a sample is bad, NULL for the good ones
    int32_t at;        // the first sample with a fault that no skipping mends ...
    drt_error fault;   // ... and that fault
} findings;

// Whether the context may end before the first answer. A token has a byte of text at least, but for a mark in front of
// each stretch; where normalisation makes a text longer, the step that wants the sample will say so.
static bool may_be_long(const findings *f, const drt_fact *fact) {
    const drt_dataset_rows *rows = f->o->rows;
    enum { MARKS = 4 };
    if (!rows) return false;
    return f->fixed + fact->prompt + (int64_t)fact->images * (rows->image_rows + MARKS) + MARKS >=
           rows->context - rows->spare;
}

// Whether a picture check that the index tells of answers for the one that is asked.
static bool pictures_known(const drt_index *x, drt_image_check asked, uint64_t folder) {
    if (asked == DRT_IMAGES_IGNORE) return true;
    return x->seen != DRT_IMAGES_IGNORE && x->seen_in == folder && (asked == DRT_IMAGES_EXIST || x->seen == asked);
}

// Reads a sample only if its fact leaves a doubt.
static drt_status check_sample(drt_dataset *ds, int32_t i, const findings *f, drt_error *err) {
    const drt_dataset_options *o = f->o;
    drt_fact *fact = &ds->index.fact[i];
    uint32_t no = DRT_FACT_BAD | (o->how && o->how->caption ? DRT_FACT_NO_CAPTION : 0);
    bool pictures =
        o->images != DRT_IMAGES_IGNORE && fact->images && (f->all_pictures || fact->flags & DRT_FACT_PICTURE);
    bool rows = may_be_long(f, fact);
    if (!(fact->flags & no) && !pictures && !rows) return DRT_OK;
    char name[DRT_RECORD_NAME];
    drt_record *r = NULL;
    drt_status bad =
        drt_index_record(&ds->index, i, ds->folder, pictures ? DRT_PICTURES_ALL : DRT_PICTURES_NONE, &r, name, err);
    if (!bad) bad = drt_conversation_check(o->how, r->turns, r->n_turns, r->n_images, err);
    if (!bad && pictures) {
        bad = check_pictures(r, o->images, err);
        if (!bad || bad == DRT_EDATA)
            fact->flags = (fact->flags & ~(uint32_t)DRT_FACT_PICTURE) | (bad ? DRT_FACT_PICTURE : 0);
    }
    if (!bad && rows) bad = check_trained(o, r, err);
    drt_record_free(r);
    return bad == DRT_EDATA ? drt_fail_in(err, "%s", name) : bad;
}

// Checks every sample, on all cores. What is found does not depend on the number of threads.
static drt_status check_all(drt_dataset *ds, drt_progress *progress, findings *f, drt_error *err) {
    int32_t n = ds->index.n;
    atomic_int done = 0, stop = INT32_MAX;
    f->at = INT32_MAX;
#pragma omp parallel for schedule(dynamic, 16)
    for (int32_t i = 0; i < n; i++) {
        int now = atomic_fetch_add(&done, 1) + 1;
        if (i > atomic_load(&stop) || f->out[i]) continue;
        drt_error why = {0};
        drt_status bad = check_sample(ds, i, f, &why);
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
        if (omp_get_thread_num() == 0 && now < n) drt_progress_at(progress, now, n);
    }
    drt_progress_at(progress, n, n);
    return f->at < INT32_MAX ? drt_fail(err, f->fault.code, "%s: %s", ds->index.sources.path, f->fault.text) : DRT_OK;
}

// "FILE:12: REASON", line 0: none; one line, whatever names out of the data are in the reason.
static void put_bad(drt_text *list, const char *file, int64_t line, const char *reason) {
    drt_text_puts(list, file);
    if (line) drt_text_printf(list, ":%lld", (long long)line);
    drt_text_puts(list, ": ");
    drt_text_plain(list, reason);
    drt_text_puts(list, "\n");
}

// One line for each bad sample, with the line of its file.
static drt_status list_bad(const drt_dataset *ds, const findings *f, drt_text *list, drt_error *err) {
    const drt_index *x = &ds->index;
    drt_index_lines lines = {0};
    int64_t line;
    for (int32_t i = 0; i < x->n; i++) {
        if (!f->reason[i]) continue;
        drt_status status = drt_index_line(x, i, &lines, &line, err);
        if (status) return status;
        put_bad(list, x->sources.file[x->fact[i].file].path, line, f->reason[i]);
    }
    return list->failed ? drt_fail(err, DRT_ENOMEM, "%s: no memory for the list of bad samples", x->sources.path)
                        : DRT_OK;
}

static drt_status refuse_bad(const drt_dataset *ds, const findings *f, int32_t bad, drt_error *err) {
    drt_text text = {0};
    for (int32_t i = 0, shown = 0; i < ds->index.n && shown < 20; i++)
        if (f->reason[i]) drt_text_puts(&text, "\n  "), drt_text_plain(&text, f->reason[i]), shown++;
    drt_fail(err, DRT_EDATA,
             "%s: %d of %d samples cannot be used; repair them, leave them out with data.bad=skip, or have "
             "drt data check put them into quarantine:%s",
             ds->index.sources.path, bad, ds->index.n, text.failed ? "" : text.bytes);
    drt_text_free(&text);
    return DRT_EDATA;
}

// Bad samples: lists them, then leaves them out or refuses.
static drt_status settle(drt_dataset *ds, const findings *f, drt_error *err) {
    const drt_index *x = &ds->index;
    const char *path = x->sources.path;
    int32_t bad = 0;
    drt_status status = DRT_OK;
    for (int32_t i = 0; i < x->n; i++) bad += f->reason[i] != NULL;
    if (bad && f->o->bad) status = list_bad(ds, f, f->o->bad, err);
    if (!status && bad && !f->o->skip) status = refuse_bad(ds, f, bad, err);
    if (status) return status;
    for (int32_t i = 0; i < x->n; i++) {
        if (f->reason[i] || f->out[i]) continue;
        ds->sample[ds->n] = i;
        ds->length[ds->n++] = x->fact[i].images ? x->fact[i].words : -x->fact[i].words;
    }
    ds->skipped = bad;
    for (int k = 0, i = 0; x->sources.tar && k < x->sources.n; k++) {
        while (i < ds->n && x->fact[ds->sample[i]].file < k) i++;
        ds->shard[ds->shards++] = i;
    }
    if (ds->n) return DRT_OK;
    return x->n ? drt_fail(err, DRT_EDATA, "%s: none of %d samples can be used", path, x->n)
                : drt_fail(err, DRT_EDATA, "%s: no samples", path);
}

// What was learned of the pictures goes into the index.
static void keep_index(drt_dataset *ds, const findings *f) {
    drt_index *x = &ds->index;
    if (f->all_pictures && f->o->images != DRT_IMAGES_IGNORE) {
        for (int32_t i = 0; i < x->n; i++)
            if (f->out[i]) x->fact[i].flags |= DRT_FACT_PICTURE; // not looked at, for once
        x->seen = f->o->images;
        x->seen_in = drt_index_folder(&ds->index, ds->folder);
        x->unsaved = true;
    }
    if (!f->o->keep_index || !x->unsaved) return;
    drt_error err = {0};
    if (drt_index_save(x, &err))
        drt_text_printf(&ds->notes, "the index is not kept, so the next start takes as long: %s\n", err.text);
}

static drt_status choose(drt_dataset *ds, findings *f, bool *out, drt_progress *progress, drt_error *err) {
    const drt_dataset_options *o = f->o;
    drt_status status = DRT_OK;
    if (o->quarantine) status = drt_quarantine_read(o->quarantine, &ds->index, out, &ds->quarantined, err);
    if (!status && o->quarantine)
        drt_text_printf(&ds->notes, "%s: %d samples in quarantine are left out\n", o->quarantine, ds->quarantined);
    f->all_pictures = !pictures_known(&ds->index, o->images, drt_index_folder(&ds->index, ds->folder));
    if (!status) status = fixed_rows(o, &f->fixed, err);
    if (!status) status = check_all(ds, progress, f, err);
    if (!status) keep_index(ds, f);
    return status ? status : settle(ds, f, err);
}

static drt_status check_and_settle(drt_dataset *ds, const drt_dataset_options *o, drt_progress *progress,
                                   drt_error *err) {
    int32_t n = ds->index.n;
    bool *out = calloc((size_t)n + 1, sizeof *out);
    findings f = {.o = o, .out = out, .reason = calloc((size_t)n + 1, sizeof *f.reason)};
    ds->sample = calloc((size_t)n + 1, sizeof *ds->sample);
    ds->length = calloc((size_t)n + 1, sizeof *ds->length);
    ds->shard = calloc((size_t)ds->index.sources.n + 1, sizeof *ds->shard);
    drt_status bad = ds->shard && out && f.reason && ds->sample && ds->length
                         ? choose(ds, &f, out, progress, err)
                         : drt_fail(err, DRT_ENOMEM, "%s: no memory for %d samples", ds->index.sources.path, n);
    for (int32_t i = 0; f.reason && i < n; i++) free(f.reason[i]);
    free(f.reason), free(out);
    return bad;
}

drt_status drt_dataset_open(drt_dataset **out, const char *path, const char *image_folder,
                            const drt_dataset_options *options, drt_progress *progress, drt_error *err) {
    static const drt_dataset_options none = {0};
    *out = NULL;
    drt_dataset *ds = calloc(1, sizeof *ds);
    if (!ds) return drt_fail(err, DRT_ENOMEM, "%s: no memory", path);
    drt_status bad = drt_index_open(&ds->index, path, progress, err);
    if (!bad && image_folder && !(ds->folder = strdup(image_folder)))
        bad = drt_fail(err, DRT_ENOMEM, "%s: no memory", path);
    if (!bad) bad = check_and_settle(ds, options ? options : &none, progress, err);
    if (bad) drt_dataset_close(ds);
    else *out = ds;
    return bad;
}

void drt_dataset_close(drt_dataset *ds) {
    if (!ds) return;
    drt_index_close(&ds->index);
    free(ds->sample);
    free(ds->length);
    free(ds->shard);
    free(ds->folder);
    drt_text_free(&ds->notes);
    free(ds);
}

int32_t drt_dataset_size(const drt_dataset *ds) { return ds->n; }
int32_t drt_dataset_skipped(const drt_dataset *ds) { return ds->skipped; }
int32_t drt_dataset_quarantined(const drt_dataset *ds) { return ds->quarantined; }
const char *drt_dataset_path(const drt_dataset *ds) { return ds->index.sources.path; }
uint64_t drt_dataset_digest(const drt_dataset *ds) { return drt_index_digest(&ds->index); }
const char *drt_dataset_notes(const drt_dataset *ds) { return ds->notes.size ? ds->notes.bytes : ""; }
const int32_t *drt_dataset_shards(const drt_dataset *ds, int *n) {
    *n = ds->shards;
    return ds->shard;
}
const int32_t *drt_dataset_lengths(const drt_dataset *ds) { return ds->length; }

drt_status drt_dataset_at(const drt_dataset *ds, int32_t i, drt_record **out, drt_error *err) {
    *out = NULL;
    if (i < 0 || i >= ds->n)
        return drt_fail(err, DRT_EARG, "%s: sample %d was asked for, there are %d", ds->index.sources.path, i, ds->n);
    return drt_dataset_numbered(ds, ds->sample[i], out, err);
}

drt_status drt_dataset_numbered(const drt_dataset *ds, int32_t number, drt_record **out, drt_error *err) {
    char name[DRT_RECORD_NAME];
    const char *path = ds->index.sources.path;
    *out = NULL;
    if (number < 0 || number >= ds->index.n)
        return drt_fail(err, DRT_EARG, "%s: sample %d of %d", path, number, ds->index.n);
    drt_status bad = drt_index_record(&ds->index, number, ds->folder, DRT_PICTURES_ALL, out, name, err);
    return bad ? drt_fail_in(err, "%s: %s (the file was changed while in use)", path, name) : DRT_OK;
}

drt_status drt_dataset_fail_in(const drt_dataset *ds, const drt_record *r, drt_error *err) {
    char name[DRT_RECORD_NAME];
    drt_record_name(r->id, r->index, name);
    return drt_fail_in(err, "%s: %s", ds->index.sources.path, name);
}
