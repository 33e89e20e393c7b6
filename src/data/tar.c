#include "data/tar.h"

#include "data/index_build.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_TEXT = 64 << 20, MOST_SAMPLE = 1 << 30, MOST_PICTURES = 4096, BLOCK = 64 << 10 };

// A stretch of a shard as libarchive reads it. What it steps over is not read.
typedef struct {
    const drt_sources *sources;
    int file;
    uint64_t from, at, end; // bytes of the file: the first, the next to be read, behind the last
    drt_error fault;        // of reading
    struct archive *a;
    char block[BLOCK];
} stretch;

static la_ssize_t feed(struct archive *a, void *user, const void **out) {
    stretch *t = user;
    size_t n = t->end - t->at < BLOCK ? (size_t)(t->end - t->at) : BLOCK;
    *out = t->block;
    if (n && drt_sources_read(t->sources, t->file, t->at, t->block, n, &t->fault)) {
        archive_set_error(a, EIO, "it cannot be read");
        return ARCHIVE_FATAL;
    }
    t->at += n;
    return (la_ssize_t)n;
}

static la_int64_t step_over(struct archive *a, void *user, la_int64_t n) {
    stretch *t = user;
    (void)a;
    if (n < 0 || (uint64_t)n > t->end - t->at) n = (la_int64_t)(t->end - t->at);
    t->at += (uint64_t)n;
    return n;
}

// A sample as its entries are read.
typedef struct {
    const char *path; // of its shard
    stretch *in;
    int picture; // whose bytes are read, too: DRT_PICTURES_*
    char *key;   // NULL: no entry yet
    char *json;
    size_t size;
    bool has_json; // else json is made of a caption
    drt_held_picture *held;
    char **held_name;
    int n;
} sample;

static void empty(sample *s) {
    for (int i = 0; i < s->n; i++) {
        free((void *)s->held[i].bytes);
        free(s->held_name[i]);
    }
    free(s->held), free(s->held_name), free(s->key), free(s->json);
    *s = (sample){.path = s->path, .in = s->in, .picture = s->picture};
}

// Of "a/0001.seg.png" the key is "a/0001" and the rest ".seg.png"; 0: no name of a sample's entry.
static size_t key_size(const char *name) {
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name, *dot = strchr(base, '.');
    return dot && dot > base ? (size_t)(dot - name) : 0;
}

static bool is_picture(const char *rest) {
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *last = strrchr(rest, '.');
    for (int i = 0; i < 4; i++)
        if (!strcasecmp(last, endings[i])) return true;
    return false;
}

static drt_status no_memory(const sample *s, drt_error *err) {
    return drt_fail(err, DRT_ENOMEM, "%s: no memory for a sample", s->path);
}

static drt_status damaged(const sample *s, const char *name, drt_error *err) {
    const char *why = archive_error_string(s->in->a);
    if (s->in->fault.code) return drt_fail(err, s->in->fault.code, "%s", s->in->fault.text);
    return drt_fail(err, DRT_EFORMAT, "%s: %s%s%s; copy the shard again", s->path, name ? name : "", name ? ": " : "",
                    why ? why : "it is damaged");
}

// Begins to read bytes [from, from + size) of a file; s->in is to be closed, also after a failure.
static drt_status begin_reading(sample *s, const drt_sources *sources, int file, uint64_t from, uint64_t size,
                                drt_error *err) {
    s->path = sources->file[file].path;
    stretch *t = s->in = malloc(sizeof *t);
    if (!t) return no_memory(s, err);
    t->sources = sources, t->file = file;
    t->from = t->at = from, t->end = from + size;
    t->fault = (drt_error){0};
    t->a = archive_read_new();
    if (!t->a || archive_read_support_format_tar(t->a) != ARCHIVE_OK) return no_memory(s, err); // no filter: as it is
    return archive_read_open2(t->a, t, NULL, feed, step_over, NULL) == ARCHIVE_OK ? DRT_OK : damaged(s, NULL, err);
}

static void end_reading(sample *s) {
    empty(s);
    if (s->in) archive_read_free(s->in->a);
    free(s->in);
}

// The entry's bytes, malloc'ed.
static drt_status load(const sample *s, const char *name, int64_t size, int64_t most, char **out, drt_error *err) {
    *out = NULL;
    if (size > most)
        return drt_fail(err, DRT_EFORMAT, "%s: %s has %lld bytes, more than the %lld allowed", s->path, name,
                        (long long)size, (long long)most);
    char *bytes = malloc((size_t)size + 1);
    if (!bytes) return no_memory(s, err);
    int64_t done = 0;
    while (done < size) {
        la_ssize_t got = archive_read_data(s->in->a, bytes + done, (size_t)(size - done));
        if (got <= 0) break;
        done += got;
    }
    if (done == size) {
        *out = bytes;
        return DRT_OK;
    }
    free(bytes);
    return damaged(s, name, err);
}

static drt_status add_picture(sample *s, const char *name, int64_t size, drt_error *err) {
    if (s->n == MOST_PICTURES)
        return drt_fail(err, DRT_EFORMAT, "%s: sample %s has more than %d pictures", s->path, s->key, MOST_PICTURES);
    size_t room = (size_t)s->n + 1, path = strlen(s->path) + strlen(name) + 2;
    drt_held_picture *held = realloc(s->held, room * sizeof *held);
    if (held) s->held = held;
    char **names = held ? realloc(s->held_name, room * sizeof *names) : NULL;
    if (names) s->held_name = names;
    char *own = names ? malloc(path) : NULL, *bytes = NULL;
    drt_status status = own ? DRT_OK : no_memory(s, err);
    if (!status && (s->picture == DRT_PICTURES_ALL || s->picture == s->n))
        status = load(s, name, size, MOST_SAMPLE, &bytes, err);
    if (status) {
        free(own);
        return status;
    }
    snprintf(own, path, "%s/%s", s->path, name);
    s->held_name[s->n] = own;
    s->held[s->n++] = (drt_held_picture){(unsigned char *)bytes, (size_t)size};
    return DRT_OK;
}

// A caption becomes the JSON of a sample that has one.
static drt_status add_caption(sample *s, char *caption, drt_error *err) {
    drt_text text = {0};
    drt_text_puts(&text, "{\"caption\": ");
    drt_text_json(&text, caption);
    drt_text_puts(&text, "}");
    free(caption);
    if (text.failed) {
        drt_text_free(&text);
        return no_memory(s, err);
    }
    free(s->json);
    s->json = text.bytes;
    s->size = text.size;
    return DRT_OK;
}

static drt_status add_entry(sample *s, const char *name, int64_t size, drt_error *err) {
    size_t key = key_size(name);
    const char *rest = name + key;
    char *text = NULL;
    if (!s->key && !(s->key = strndup(name, key))) return no_memory(s, err);
    if (is_picture(rest)) return add_picture(s, name, size, err);
    bool json = !strcmp(rest, ".json"), caption = !strcmp(rest, ".txt") || !strcmp(rest, ".caption");
    if (!json && (!caption || s->has_json)) return DRT_OK;
    drt_status status = load(s, name, size, MOST_TEXT, &text, err);
    if (status) return status;
    text[size] = 0;
    if (caption) return add_caption(s, text, err);
    free(s->json);
    s->json = text;
    s->size = (size_t)size;
    s->has_json = true;
    return DRT_OK;
}

static drt_record_source source_of(const sample *s, int32_t index) {
    return (drt_record_source){.json = s->json ? s->json : "{}",
                               .size = s->json ? s->size : 2,
                               .folder = "",
                               .index = index,
                               .key = s->key,
                               .held = s->held,
                               .held_name = (const char *const *)s->held_name,
                               .n_held = s->n};
}

// The next entry that belongs to a sample, its name and size. *name NULL: there is none.
static drt_status next_entry(const sample *s, const char **name, int64_t *size, drt_error *err) {
    struct archive *a = s->in->a;
    struct archive_entry *e;
    int64_t length = (int64_t)(s->in->end - s->in->from);
    *name = NULL;
    for (;;) {
        int got = archive_read_next_header(a, &e);
        if (got == ARCHIVE_EOF && !s->in->fault.code) return DRT_OK;
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN) return damaged(s, NULL, err);
        const char *path = archive_entry_pathname(e);
        if (!path || archive_entry_filetype(e) != AE_IFREG || !key_size(path)) continue;
        *size = archive_entry_size(e);
        // libarchive steps over a file's end in silence.
        if (*size < 0 || *size > length || archive_read_header_position(a) + 512 > length - *size)
            return drt_fail(err, DRT_EFORMAT, "%s: the file ends inside %s; copy the shard again", s->path, path);
        *name = path;
        return DRT_OK;
    }
}

// Whether an entry begins another sample than the one at hand.
static bool is_other(const sample *s, const char *name) {
    return s->key && (strlen(s->key) != key_size(name) || strncmp(s->key, name, key_size(name)));
}

// ---- a shard's samples ---------------------------------------------------------------------------------------------

typedef struct {
    drt_index *x;
    int file;
    int64_t at; // of the sample's first header
} walk;

// The sample in *s ends before byte `end`.
static drt_status close_sample(walk *w, sample *s, int64_t end, drt_error *err) {
    if (!s->key) return DRT_OK;
    size_t at = 0;
    if (end - w->at > MOST_SAMPLE)
        return drt_fail(err, DRT_EFORMAT, "%s: sample %s has %lld bytes, more than the %d allowed", s->path, s->key,
                        (long long)(end - w->at), MOST_SAMPLE);
    drt_fact *fact = drt_index_add(w->x, err);
    if (!fact) return DRT_ENOMEM;
    fact->at = (uint64_t)w->at;
    fact->size = (uint32_t)(end - w->at);
    fact->file = w->file;
    const drt_record_source from = source_of(s, w->x->n - 1);
    drt_status status = drt_index_look(&from, fact, &at, err);
    empty(s);
    return status == DRT_EFORMAT ? DRT_OK : status; // one entry that is no JSON: the fact says so
}

// Two blocks of zeros: without them the rest of the shard is lost, which libarchive does not mind.
static drt_status check_end(const walk *w, const sample *s, drt_error *err) {
    enum { MARK = 1024 };
    static const char zeros[MARK];
    char end[MARK];
    uint64_t size = w->x->sources.file[w->file].size;
    drt_status status = DRT_OK;
    if (size >= MARK) status = drt_sources_read(&w->x->sources, w->file, size - MARK, end, MARK, err);
    if (status || (size >= MARK && !memcmp(end, zeros, MARK))) return status;
    return drt_fail(err, DRT_EFORMAT, "%s: it lacks its end mark, so it is cut off; copy the shard again", s->path);
}

static drt_status read_shard(walk *w, sample *s, drt_error *err) {
    for (;;) {
        const char *name;
        int64_t size;
        drt_status status = next_entry(s, &name, &size, err);
        if (status) return status;
        if (!name) return close_sample(w, s, (int64_t)s->in->end, err);
        int64_t at = archive_read_header_position(s->in->a);
        if (is_other(s, name)) status = close_sample(w, s, at, err);
        if (status) return status;
        if (!s->key) w->at = at;
        status = add_entry(s, name, size, err);
        if (status) return status;
    }
}

drt_status drt_tar_index(drt_index *x, int file, drt_error *err) {
    drt_source *f = &x->sources.file[file];
    walk w = {.x = x, .file = file};
    sample s = {.picture = DRT_PICTURES_NONE};
    f->first = x->n;
    f->digest = 0;
    drt_status status = begin_reading(&s, &x->sources, file, 0, f->size, err);
    if (!status) status = read_shard(&w, &s, err);
    if (!status) status = check_end(&w, &s, err);
    end_reading(&s);
    return status;
}

// ---- one sample ----------------------------------------------------------------------------------------------------

drt_status drt_tar_record(const drt_index *x, int32_t i, int picture, drt_record **out, char name[DRT_RECORD_NAME],
                          drt_error *err) {
    const drt_fact *f = &x->fact[i];
    sample s = {.picture = picture};
    size_t at = 0;
    *out = NULL;
    drt_record_name("", i, name);
    drt_status status = begin_reading(&s, &x->sources, f->file, f->at, f->size, err);
    while (!status) {
        const char *entry;
        int64_t size;
        status = next_entry(&s, &entry, &size, err);
        if (status || !entry || is_other(&s, entry)) break;
        status = add_entry(&s, entry, size, err);
    }
    if (!status && !s.key) status = drt_fail(err, DRT_EFORMAT, "%s: no entry of a sample; it was changed", s.path);
    if (!status) {
        drt_record_source from = source_of(&s, i);
        from.no_json = f->flags & DRT_FACT_SYNTAX;
        status = drt_record_parse(&from, out, &at, name, err);
    }
    end_reading(&s);
    return status;
}
