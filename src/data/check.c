#include "data/check_parts.h"

#include "base/digest.h"
#include "base/file.h"
#include "data/quarantine.h"
#include "data/space.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const drt_find_about drt_find_about_kind[DRT_FIND_KINDS] = {
    [DRT_FIND_SYNTAX] = {"syntax", "No JSON", "A line or an entry that no program can read. Repair it, or remove it.",
                         true},
    [DRT_FIND_MALFORMED] = {"malformed", "Malformed samples",
                            "A key, a role or the order of turns is not what the schema says. Repair them in the data.",
                            true},
    [DRT_FIND_EMPTY] = {"empty", "Empty answers",
                        "There is nothing to learn from such an answer. Write one, or drop its question.", true},
    [DRT_FIND_PLACEHOLDERS] = {"placeholders", "Placeholders and pictures disagree",
                               "Every picture needs its <image>, and every <image> its picture.", true},
    [DRT_FIND_MISSING] = {"missing", "Missing pictures",
                          "The file is not there. Copy it again, or give the folder that pictures start from.", true},
    [DRT_FIND_TRUNCATED] = {"truncated", "Truncated pictures", "The file ends before the last pixel. Copy it again.",
                            true},
    [DRT_FIND_CORRUPT] = {"corrupt", "Corrupt pictures",
                          "The file does not decode, or only with damage. Copy it again.", true},
    [DRT_FIND_UNTRAINED] = {"untrained", "Nothing is trained on",
                            "The context ends before the first answer. Raise data.context, or shorten the question.",
                            true},
    [DRT_FIND_EVALUATION] = {"evaluation", "Seen in an evaluation file",
                             "Training on what is asked later makes the score worthless.", true},
    [DRT_FIND_OVERLONG] = {"over-long", "Over-long samples",
                           "The context cuts off their end; the rest is trained on. Raise data.context to keep it.",
                           false},
    [DRT_FIND_SAME] = {"duplicate", "Duplicate pictures",
                       "Two files with the same bytes. Samples of both are trained on.", false},
    [DRT_FIND_NEAR] = {"near-duplicate", "Near-duplicate pictures",
                       "Two pictures that look the same: scaled, compressed again, or a frame apart.", false},
    [DRT_FIND_NEAR_EVALUATION] =
        {"near-evaluation", "Looks like an evaluation's picture",
         "Other bytes, but the same to the eye as a picture of an evaluation file. Look at them.", false},
};

void drt_check_find(drt_checker *k, drt_find_kind kind, int32_t sample, int32_t image, int32_t other,
                    int32_t other_image, const char *text) {
    drt_data_check *c = k->c;
    char *copy = strdup(text);
#pragma omp critical(drt_check_findings)
    {
        if (c->n == c->room) {
            int64_t room = c->room ? 2 * c->room : 64;
            drt_finding *more = realloc(c->finding, (size_t)room * sizeof *more);
            if (more) c->finding = more, c->room = room;
        }
        if (copy && c->n < c->room)
            c->finding[c->n++] = (drt_finding){kind, sample, image, other, other_image, NULL, copy};
        else {
            free(copy);
            if (!k->fault.code)
                drt_fail(&k->fault, DRT_ENOMEM, "no memory for more than %lld findings", (long long)c->n);
        }
    }
}

void drt_check_fault(drt_checker *k, const drt_error *err) {
#pragma omp critical(drt_check_findings)
    if (!k->fault.code) k->fault = *err;
}

drt_progress drt_check_bar(const drt_checker *k, const char *what) {
    drt_progress bar = {0};
    if (k->o->progress) bar = (drt_progress){.report = k->o->progress->report, .user = k->o->progress->user};
    bar.what = what;
    return bar;
}

// ---- what a sample says --------------------------------------------------------------------------------------------

static int placeholders(const drt_record *r) {
    int n = 0;
    for (int i = 0; i < r->n_turns; i++)
        for (const char *p = r->turns[i].text; (p = strstr(p, DRT_IMAGE_PLACEHOLDER)); p++) n++;
    return n;
}

static bool check_answers(drt_checker *k, int32_t i, const drt_record *r) {
    for (int t = 0; t < r->n_turns; t++) {
        if (r->turns[t].human || drt_count_words(r->turns[t].text, strlen(r->turns[t].text))) continue;
        char text[64];
        snprintf(text, sizeof text, "turn %d: the answer is empty", t + 1);
        drt_check_find(k, DRT_FIND_EMPTY, i, -1, -1, -1, text);
        return false;
    }
    return true;
}

static void check_rows(drt_checker *k, int32_t i, const drt_record *r) {
    const drt_dataset_rows *rows = k->o->rows;
    drt_encoded e;
    drt_error why = {0};
    drt_status bad = drt_conversation_encode(k->o->how, rows->tokenizer, r->turns, r->n_turns, r->n_images, &e, &why);
    if (bad == DRT_EDATA) drt_check_find(k, DRT_FIND_MALFORMED, i, -1, -1, -1, why.text);
    else if (bad) drt_check_fault(k, &why);
    if (bad) return;
    int64_t all = e.n + (int64_t)e.images * (rows->image_rows - 1);
    int trained = e.trained;
    k->c->rows[i] = all < INT32_MAX ? (int32_t)all : INT32_MAX;
    if (drt_encoded_cut(&e, rows->context, rows->image_rows)) {
        char text[160];
        snprintf(text, sizeof text, "%lld rows after its pictures are put in, and the context has %d: %s",
                 (long long)all, rows->context, e.trained ? "" : "no token is trained on");
        if (e.trained) {
            size_t n = strlen(text);
            snprintf(text + n, sizeof text - n, "%d of %d trained tokens are cut off", trained - e.trained, trained);
        }
        drt_check_find(k, e.trained ? DRT_FIND_OVERLONG : DRT_FIND_UNTRAINED, i, -1, -1, -1, text);
    }
    drt_encoded_free(&e);
}

// A question without a picture, word for word one of the evaluation's.
static void check_question(drt_checker *k, int32_t i, const drt_record *r) {
    if (r->n_images) return;
    for (int t = 0; t < r->n_turns; t++) {
        if (!r->turns[t].human || !drt_check_is_asked(k, r->turns[t].text)) continue;
        char text[96];
        snprintf(text, sizeof text, "turn %d is a question of an evaluation file, word for word", t + 1);
        drt_check_find(k, DRT_FIND_EVALUATION, i, -1, -1, -1, text);
        return;
    }
}

static void check_text(drt_checker *k, int32_t i, drt_picture_use *use) {
    char name[DRT_RECORD_NAME];
    drt_record *r;
    drt_error why = {0};
    drt_status bad = drt_index_record(&k->c->index, i, k->o->images, DRT_PICTURES_NONE, &r, name, &why);
    bool syntax = k->c->index.fact[i].flags & DRT_FACT_SYNTAX;
    if (bad == DRT_EDATA) drt_check_find(k, syntax ? DRT_FIND_SYNTAX : DRT_FIND_MALFORMED, i, -1, -1, -1, why.text);
    else if (bad) drt_check_fault(k, &why);
    if (bad) return;
    int room = k->c->index.fact[i].images; // as many, unless the file was changed under us
    for (int p = 0; p < r->n_images && p < room; p++)
        use[p] = (drt_picture_use){drt_digest_of(r->images[p], strlen(r->images[p])), i, p, -1};
    bool answered = check_answers(k, i, r);
    if (!r->n_images && placeholders(r)) {
        drt_check_find(k, DRT_FIND_PLACEHOLDERS, i, -1, -1, -1,
                       "no picture, but the placeholder " DRT_IMAGE_PLACEHOLDER "; name the picture, or remove it");
    } else if (answered && drt_conversation_check(k->o->how, r->turns, r->n_turns, r->n_images, &why)) {
        // What is wrong without pictures, too, is not about pictures.
        bool turns = drt_conversation_check(k->o->how, r->turns, r->n_turns, 0, NULL) != DRT_OK;
        drt_check_find(k, turns ? DRT_FIND_MALFORMED : DRT_FIND_PLACEHOLDERS, i, -1, -1, -1, why.text);
    } else if (answered && k->o->rows) {
        check_rows(k, i, r);
    }
    check_question(k, i, r);
    drt_record_free(r);
}

static drt_status check_texts(drt_checker *k, drt_error *err) {
    drt_data_check *c = k->c;
    int32_t n = c->index.n;
    atomic_int done = 0;
    drt_progress bar = drt_check_bar(k, "checking samples");
    int64_t *first = malloc(((size_t)n + 1) * sizeof *first);
    if (!first) return drt_fail(err, DRT_ENOMEM, "no memory for %d samples", n);
    first[0] = 0;
    for (int32_t i = 0; i < n; i++) first[i + 1] = first[i] + c->index.fact[i].images;
    c->uses = first[n];
    k->use = calloc((size_t)c->uses + 1, sizeof *k->use);
    if (k->o->rows) c->rows = calloc((size_t)n + 1, sizeof *c->rows);
    if (!k->use || (k->o->rows && !c->rows)) {
        free(first);
        return drt_fail(err, DRT_ENOMEM, "no memory for %lld pictures", (long long)c->uses);
    }
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t i = 0; i < n; i++) {
        check_text(k, i, k->use + first[i]);
        int now = atomic_fetch_add(&done, 1) + 1;
        if (omp_get_thread_num() == 0 && now < n) drt_progress_at(&bar, now, n);
    }
    drt_progress_at(&bar, n, n);
    free(first);
    return k->fault.code ? drt_fail(err, k->fault.code, "%s", k->fault.text) : DRT_OK;
}

// ---- the whole -----------------------------------------------------------------------------------------------------

static int by_sample(const void *a, const void *b) {
    const drt_finding *x = a, *y = b;
    if (x->sample != y->sample) return x->sample < y->sample ? -1 : 1;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

// "FILE:12: " in front of what is said: such a sample has no id to be found by.
static drt_status put_place(const drt_data_check *c, drt_finding *f, drt_index_lines *lines, drt_error *err) {
    int64_t line;
    drt_text text = {0};
    drt_status status = drt_index_line(&c->index, f->sample, lines, &line, err);
    if (status) return status;
    drt_text_puts(&text, c->index.sources.file[c->index.fact[f->sample].file].path);
    if (line) drt_text_printf(&text, ":%lld", (long long)line);
    drt_text_printf(&text, ": %s", f->text);
    if (text.failed) {
        drt_text_free(&text);
        return drt_fail(err, DRT_ENOMEM, "no memory for what was found");
    }
    free(f->text);
    f->text = text.bytes;
    return DRT_OK;
}

// Findings in order, counted, each with the id of its sample.
static drt_status settle(drt_data_check *c, drt_error *err) {
    drt_status status = DRT_OK;
    int32_t last = -1, last_out = -1;
    drt_index_lines lines = {0};
    const char *id = "";
    if (c->n) qsort(c->finding, (size_t)c->n, sizeof *c->finding, by_sample);
    for (int64_t i = 0; !status && i < c->n; i++) {
        drt_finding *f = &c->finding[i];
        if (f->sample != last) {
            char name[DRT_RECORD_NAME];
            drt_record *r = NULL;
            drt_index_record(&c->index, f->sample, c->images, DRT_PICTURES_NONE, &r, name, NULL);
            f->id = r ? strdup(r->id) : drt_record_id_of(name);
            drt_record_free(r);
        } else {
            f->id = strdup(id);
        }
        if (!f->id) status = drt_fail(err, DRT_ENOMEM, "no memory for the names of samples");
        if (!status && f->kind == DRT_FIND_SYNTAX) status = put_place(c, f, &lines, err);
        id = f->id;
        last = f->sample;
        c->of[f->kind]++;
        if (drt_find_about_kind[f->kind].quarantined && f->sample != last_out) {
            c->quarantined++;
            last_out = f->sample;
        }
    }
    return status;
}

static drt_status run(drt_checker *k, const char *data, drt_error *err) {
    drt_data_check *c = k->c;
    double from = drt_clock();
    drt_progress bar = drt_check_bar(k, "reading samples");
    drt_status status = drt_index_open(&c->index, data, &bar, err);
    c->index_seconds = drt_clock() - from;
    if (!status) status = drt_check_eval_read(k, err);
    from = drt_clock();
    if (!status) status = check_texts(k, err);
    c->text_seconds = drt_clock() - from;
    from = drt_clock();
    if (!status) status = drt_check_pictures(k, err);
    c->picture_seconds = drt_clock() - from;
    if (!status) status = drt_check_likeness(k, err);
    if (!status && k->fault.code) status = drt_fail(err, k->fault.code, "%s", k->fault.text);
    return status ? status : settle(c, err);
}

drt_status drt_data_check_run(drt_data_check *out, const char *data, const drt_data_check_options *o, drt_error *err) {
    *out = (drt_data_check){.images = o->images};
    if (o->images && !drt_is_folder(o->images))
        return drt_fail(err, DRT_EIO, "%s: no such folder; name the one that pictures start from", o->images);
    drt_checker k = {.o = o, .c = out};
    drt_status status = run(&k, data, err);
    for (int64_t i = 0; k.picture && i < out->pictures; i++) free(k.picture[i].text);
    free(k.use), free(k.picture);
    drt_check_eval_free(&k);
    if (status) drt_data_check_free(out);
    return status;
}

void drt_data_check_free(drt_data_check *c) {
    for (int64_t i = 0; i < c->n; i++) free(c->finding[i].id), free(c->finding[i].text);
    free(c->finding), free(c->rows);
    drt_index_close(&c->index);
    *c = (drt_data_check){0};
}

drt_status drt_data_check_may_save(const char *data, const char *path, drt_error *err) {
    char *own = path ? strdup(path) : drt_quarantine_path(data), *text = NULL;
    size_t size;
    drt_status status = own ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status && drt_file_exists(own)) status = drt_file_read(&text, &size, own, 0, err);
    static const char made[] = "{\"quarantine\"";
    if (text && size && strncmp(text, made, sizeof made - 1))
        status = drt_fail(err, DRT_ECONFIG,
                          "%s: this list was written by hand and would be lost; rename it, or give another file", own);
    free(own), free(text);
    return status;
}

drt_status drt_data_check_save(drt_data_check *c, const char *path, drt_error *err) {
    const char *folder = c->images ? c->images : c->index.sources.folder;
    if (c->pictures && c->missing == c->pictures)
        return drt_fail(err, DRT_ECONFIG,
                        "%s: none of its %lld pictures is in %s; name the folder that they start from (--images). The "
                        "list of samples to leave out and the index stay as they are",
                        c->index.sources.path, (long long)c->pictures, *folder ? folder : ".");
    char *own = path ? strdup(path) : drt_quarantine_path(c->index.sources.path);
    drt_text list = {0};
    drt_quarantine_begin(&c->index, &list);
    int32_t last = -1; // a sample is named once, with the first of its faults
    for (int64_t i = 0; i < c->n; i++) {
        const drt_finding *f = &c->finding[i];
        if (!drt_find_about_kind[f->kind].quarantined || f->sample == last) continue;
        drt_quarantine_add(&list, f->sample, f->id, drt_find_about_kind[f->kind].name, f->text);
        last = f->sample;
    }
    drt_status status = !own || list.failed ? drt_fail(err, DRT_ENOMEM, "no memory for the quarantine list")
                                            : drt_file_write(own, list.bytes, list.size, err);
    if (!status && c->index.unsaved) status = drt_index_save(&c->index, err);
    drt_text_free(&list);
    free(own);
    return status;
}
