#include "data/index.h"

#include "base/digest.h"
#include "base/file.h"
#include "data/index_build.h"
#include "data/tar.h"

#include <stdlib.h>
#include <string.h>

enum { VERSION = 1 };
static const char magic[8] = "drt-idx";

// The file: header, one entry a file, the facts, and a digest of all that. Little-endian, as the machines are that drt
// is built for; another machine's magic fits, its version does not.
typedef struct {
    char magic[8];
    uint32_t version, files, samples, seen;
    uint64_t seen_in;
} header;
typedef struct {
    uint64_t name, size, sketch, digest; // name: digest of the name without its folder
    int64_t changed, first;
} entry;

static uint64_t name_digest(const drt_source *f) {
    const char *slash = strrchr(f->path, '/'), *name = slash ? slash + 1 : f->path;
    return drt_digest_of(name, strlen(name));
}

void drt_index_print(const drt_index *x, drt_text *out) {
    header h = {.version = VERSION,
                .files = (uint32_t)x->sources.n,
                .samples = (uint32_t)x->n,
                .seen = (uint32_t)x->seen,
                .seen_in = x->seen_in};
    memcpy(h.magic, magic, sizeof magic);
    drt_text_add(out, &h, sizeof h);
    for (int i = 0; i < x->sources.n; i++) {
        const drt_source *f = &x->sources.file[i];
        entry e = {name_digest(f), f->size, f->sketch, f->digest, f->changed, f->first};
        drt_text_add(out, &e, sizeof e);
    }
    drt_text_add(out, x->fact, (size_t)x->n * sizeof *x->fact);
    uint64_t digest = out->failed ? 0 : drt_digest_of(out->bytes, out->size);
    drt_text_add(out, &digest, sizeof digest);
}

drt_status drt_index_save(drt_index *x, drt_error *err) {
    char *path = drt_beside(x->sources.path, DRT_INDEX_ENDING);
    drt_text text = {0};
    drt_index_print(x, &text);
    drt_status status = !path || text.failed ? drt_fail(err, DRT_ENOMEM, "%s: no memory for its index", x->sources.path)
                                             : drt_file_write(path, text.bytes, text.size, err);
    if (!status) x->unsaved = false;
    free(path);
    drt_text_free(&text);
    return status;
}

// ---- reading -------------------------------------------------------------------------------------------------------

// The same content, or a reason why not. A file that was only touched is read whole to know.
static drt_status same_file(drt_index *x, int i, const entry *e, drt_error *err) {
    drt_source *f = &x->sources.file[i];
    if (e->name != name_digest(f) || e->size != f->size || e->sketch != f->sketch)
        return drt_fail(err, DRT_EFORMAT, "%s has changed", f->path);
    if (e->changed != f->changed) {
        if (x->sources.tar) return drt_fail(err, DRT_EFORMAT, "%s was written again", f->path);
        drt_status status = drt_sources_digest(&x->sources, i, err);
        if (!status && f->digest != e->digest) status = drt_fail(err, DRT_EFORMAT, "%s has changed", f->path);
        if (status) return status;
        x->unsaved = true;
    }
    f->digest = e->digest;
    f->first = (int32_t)e->first;
    return DRT_OK;
}

static bool sound(const drt_index *x) {
    for (int i = 0; i < x->sources.n; i++) {
        int32_t first = x->sources.file[i].first;
        if (first < (i ? x->sources.file[i - 1].first : 0) || first > x->n) return false;
    }
    for (int32_t i = 0; i < x->n; i++) {
        const drt_fact *f = &x->fact[i];
        if (f->file < 0 || f->file >= x->sources.n || f->words < 1 || !f->size) return false;
        uint64_t size = x->sources.file[f->file].size;
        if (f->at > size || f->size > size - f->at) return false;
    }
    return true;
}

drt_status drt_index_parse(drt_index *x, const void *bytes, size_t size, drt_error *err) {
    const unsigned char *p = bytes;
    header h = {0};
    uint64_t digest;
    if (size >= sizeof h) memcpy(&h, p, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) || h.version != VERSION)
        return drt_fail(err, DRT_EFORMAT, "not an index of this version");
    if (h.samples > INT32_MAX || h.seen > DRT_IMAGES_IGNORE || h.files != (uint32_t)x->sources.n ||
        size != sizeof h + h.files * sizeof(entry) + (size_t)h.samples * sizeof(drt_fact) + sizeof digest)
        return drt_fail(err, DRT_EFORMAT, "the index is of other files, or cut off");
    memcpy(&digest, p + size - sizeof digest, sizeof digest);
    if (digest != drt_digest_of(p, size - sizeof digest)) return drt_fail(err, DRT_EFORMAT, "the index is damaged");
    drt_status status = DRT_OK;
    for (int i = 0; !status && i < x->sources.n; i++) {
        entry e;
        memcpy(&e, p + sizeof h + (size_t)i * sizeof e, sizeof e);
        if (e.first < 0 || e.first > (int64_t)h.samples) return drt_fail(err, DRT_EFORMAT, "the index is damaged");
        status = same_file(x, i, &e, err);
    }
    if (status) return status;
    x->fact = malloc((size_t)h.samples * sizeof *x->fact + 1);
    if (!x->fact) return drt_fail(err, DRT_ENOMEM, "no memory for %u samples", h.samples);
    memcpy(x->fact, p + sizeof h + h.files * sizeof(entry), (size_t)h.samples * sizeof *x->fact);
    x->n = (int32_t)h.samples;
    x->seen = (drt_image_check)h.seen;
    x->seen_in = h.seen_in;
    if (sound(x)) return DRT_OK;
    free(x->fact);
    x->fact = NULL;
    x->n = 0;
    return drt_fail(err, DRT_EFORMAT, "the index is damaged");
}

// Whether the file beside the data could be used; if not, it is made anew and nobody needs to know why.
static bool read_beside(drt_index *x) {
    char *path = drt_beside(x->sources.path, DRT_INDEX_ENDING);
    drt_map map = {0};
    bool good = path && drt_file_exists(path) && !drt_map_open(&map, path, NULL) &&
                !drt_index_parse(x, map.bytes, map.size, NULL);
    drt_map_close(&map);
    free(path);
    return good;
}

drt_status drt_index_open(drt_index *out, const char *path, drt_progress *progress, drt_error *err) {
    *out = (drt_index){.seen = DRT_IMAGES_IGNORE};
    drt_status status = drt_sources_open(&out->sources, path, err);
    if (status) return status;
    if (!read_beside(out)) {
        out->made = out->unsaved = true;
        status = drt_index_build(out, progress, err);
    }
    if (status) drt_index_close(out);
    return status;
}

void drt_index_close(drt_index *x) {
    drt_sources_close(&x->sources);
    free(x->fact);
    *x = (drt_index){0};
}

drt_status drt_index_line(const drt_index *x, int32_t i, drt_index_lines *c, int64_t *line, drt_error *err) {
    const drt_fact *f = &x->fact[i];
    int64_t lines = 0, behind;
    *line = 0;
    if (x->sources.tar) return DRT_OK;
    if (f->file != c->file) *c = (drt_index_lines){.file = f->file};
    drt_status status = drt_sources_lines(&x->sources, f->file, c->at, f->at, &lines, &behind, err);
    c->at = f->at;
    c->lines += lines;
    *line = c->lines + 1;
    return status;
}

uint64_t drt_index_folder(const drt_index *x, const char *folder) {
    const char *asked = folder ? folder : x->sources.folder;
    char *real = realpath(*asked ? asked : ".", NULL);
    uint64_t digest = drt_digest_of(real ? real : asked, strlen(real ? real : asked));
    free(real);
    return digest;
}

uint64_t drt_index_digest(const drt_index *x) {
    drt_digest d;
    drt_digest_begin(&d);
    for (int i = 0; i < x->sources.n; i++) {
        const drt_source *f = &x->sources.file[i];
        drt_digest_add(&d, x->sources.tar ? &f->sketch : &f->digest, sizeof f->digest);
    }
    return drt_digest_end(&d);
}

drt_status drt_index_record(const drt_index *x, int32_t i, const char *folder, int picture, drt_record **out,
                            char name[DRT_RECORD_NAME], drt_error *err) {
    const drt_fact *f = &x->fact[i];
    size_t at = 0;
    *out = NULL;
    drt_record_name("", i, name);
    if (x->sources.tar) return drt_tar_record(x, i, picture, out, name, err);
    char *json = malloc(f->size);
    if (!json) return drt_fail(err, DRT_ENOMEM, "no memory for a sample of %u bytes", f->size);
    const drt_record_source from = {.json = json,
                                    .size = f->size,
                                    .folder = folder ? folder : x->sources.folder,
                                    .index = i,
                                    .no_json = f->flags & DRT_FACT_SYNTAX};
    drt_status status = drt_sources_read(&x->sources, f->file, f->at, json, f->size, err);
    if (!status) status = drt_record_parse(&from, out, &at, name, err);
    free(json);
    return status;
}
