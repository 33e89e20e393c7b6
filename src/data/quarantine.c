#include "data/quarantine.h"

#include "base/file.h"
#include "format/json_read.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_IDS = 1 << 20 };

typedef struct {
    const drt_index *x;
    bool *out;
    int32_t *n;
    char digest[17]; // of the data
    bool known;      // the first line says that numbers are of this content
    char **id;       // [ids] of lines without a number
    int ids, room;
} reader;

typedef struct {
    bool header, has_sample;
    int64_t sample;
    drt_json_text digest, id; // not decoded
} line;

static bool read_line(const char *text, size_t size, line *l) {
    drt_json_reader r = {.at = text, .end = text + size};
    drt_json_text key;
    bool good = true;
    *l = (line){0};
    for (bool first = true; drt_json_member(&r, &first, &key);) {
        if (drt_json_is(&key, "quarantine")) l->header = drt_json_skip(&r);
        else if (drt_json_is(&key, "digest")) drt_json_string(&r, &l->digest);
        else if (drt_json_is(&key, "id") && drt_json_peek(&r) == '"') drt_json_string(&r, &l->id);
        else if (drt_json_is(&key, "sample")) good = l->has_sample = drt_json_integer(&r, &l->sample);
        else drt_json_skip(&r);
    }
    return drt_json_finish(&r) && good && (l->header || l->has_sample || l->id.size);
}

static drt_status add_id(reader *q, const drt_json_text *id, drt_error *err) {
    if (q->ids == q->room) {
        int room = q->room ? 2 * q->room : 64;
        char **more = room <= MOST_IDS ? realloc(q->id, (size_t)room * sizeof *more) : NULL;
        if (!more) return drt_fail(err, DRT_ENOMEM, "no memory for more than %d names", q->ids);
        q->id = more;
        q->room = room;
    }
    char *text = malloc(id->size + 1);
    if (!text) return drt_fail(err, DRT_ENOMEM, "no memory for a name");
    text[drt_json_decode(id, text)] = 0;
    q->id[q->ids++] = text;
    return DRT_OK;
}

static void digest_name(const drt_index *x, char out[17]) {
    snprintf(out, 17, "%016llx", (unsigned long long)drt_index_digest(x));
}

static drt_status use_line(reader *q, const line *l, drt_error *err) {
    if (l->header) {
        q->known = l->digest.bytes && drt_json_is(&l->digest, q->digest);
        return q->known ? DRT_OK
                        : drt_fail(err, DRT_ECONFIG,
                                   "the list was made when %s had other content; run drt data check again, or train "
                                   "with data.quarantine=none",
                                   q->x->sources.path);
    }
    if (!l->has_sample) return add_id(q, &l->id, err);
    if (!q->known)
        return drt_fail(err, DRT_EDATA, "a number without a first line that says of which content; give the id alone");
    if (l->sample < 0 || l->sample >= q->x->n)
        return drt_fail(err, DRT_EDATA, "sample %lld of %d", (long long)l->sample, q->x->n);
    *q->n += !q->out[l->sample];
    q->out[l->sample] = true;
    return DRT_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// Names without a number: every sample is asked for its own.
static drt_status find_ids(reader *q, drt_error *err) {
    drt_status status = DRT_OK;
    int32_t n = 0;
    if (!q->ids) return DRT_OK;
    qsort(q->id, (size_t)q->ids, sizeof *q->id, by_text);
#pragma omp parallel for schedule(dynamic, 64) reduction(+ : n)
    for (int32_t i = 0; i < q->x->n; i++) {
        char name[DRT_RECORD_NAME];
        drt_record *r;
        drt_error why = {0};
        drt_status bad = drt_index_record(q->x, i, NULL, DRT_PICTURES_NONE, &r, name, &why);
        char *own = bad == DRT_EDATA ? drt_record_id_of(name) : NULL; // a malformed sample has a name, too
        if (bad == DRT_EDATA && !own) bad = drt_fail(&why, DRT_ENOMEM, "no memory for a name");
        if (bad && bad != DRT_EDATA) {
#pragma omp critical(drt_quarantine_fault)
            if (!status) {
                status = bad;
                if (err) *err = why;
            }
        }
        const char *id = r ? r->id : own ? own : "";
        if (*id && bsearch(&id, q->id, (size_t)q->ids, sizeof *q->id, by_text)) n += !q->out[i], q->out[i] = true;
        free(own);
        drt_record_free(r);
    }
    *q->n += n;
    return status;
}

static bool is_blank(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    return true;
}

drt_status drt_quarantine_parse(const char *text, size_t size, const char *name, const drt_index *x, bool *out,
                                int32_t *n, drt_error *err) {
    reader q = {.x = x, .out = out, .n = n};
    drt_status status = DRT_OK;
    const char *at = text, *end = text + size;
    *n = 0;
    digest_name(x, q.digest);
    memset(out, 0, (size_t)x->n * sizeof *out);
    for (int number = 1; !status && at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        line l;
        bool blank = is_blank(at, length);
        if (!blank && !read_line(at, length, &l))
            status = drt_fail(err, DRT_EFORMAT, "not an object with a \"sample\" or an \"id\"");
        else if (!blank) status = use_line(&q, &l, err);
        if (status) drt_fail_in(err, "%s:%d", name, number);
        at += length + (stop != NULL);
    }
    if (!status && (status = find_ids(&q, err))) drt_fail_in(err, "%s", name);
    for (int i = 0; i < q.ids; i++) free(q.id[i]);
    free(q.id);
    return status;
}

drt_status drt_quarantine_read(const char *path, const drt_index *x, bool *out, int32_t *n, drt_error *err) {
    char *text;
    size_t size;
    drt_status status = drt_file_read(&text, &size, path, 0, err);
    if (status) return status;
    status = drt_quarantine_parse(text, size, path, x, out, n, err);
    free(text);
    return status;
}

char *drt_quarantine_path(const char *data) { return drt_beside(data, DRT_QUARANTINE_ENDING); }

void drt_quarantine_begin(const drt_index *x, drt_text *out) {
    char digest[17];
    digest_name(x, digest);
    drt_text_puts(out, "{\"quarantine\": 1, \"data\": ");
    drt_text_json(out, x->sources.path);
    drt_text_printf(out, ", \"digest\": \"%s\", \"samples\": %d}\n", digest, x->n);
}

void drt_quarantine_add(drt_text *out, int32_t sample, const char *id, const char *kind, const char *why) {
    drt_text_printf(out, "{\"sample\": %d, \"id\": ", sample);
    drt_text_json(out, id);
    drt_text_puts(out, ", \"kind\": ");
    drt_text_json(out, kind);
    drt_text_puts(out, ", \"why\": ");
    drt_text_json(out, why);
    drt_text_puts(out, "}\n");
}
