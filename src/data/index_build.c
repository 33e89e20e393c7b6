#include "data/index_build.h"

#include "base/digest.h"
#include "data/json_split.h"
#include "data/tar.h"
#include "format/json_read.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 8 << 20, MOST_SAMPLE = 64 << 20 };

typedef struct {
    drt_index *x;
    drt_json_splitter split;
    drt_digest digest;
    char *buffer; // [room], of which have are of samples that have not ended
    size_t room, have;
    uint64_t base;       // byte of the file that buffer[0] is
    int64_t done, total; // bytes, of all files
    int32_t room_facts, looked;
    int file;
} builder;

drt_fact *drt_index_add(drt_index *x, drt_error *err) {
    // Doubled whenever the number is a power of two.
    if (x->n >= 256 ? !(x->n & (x->n - 1)) : !x->n) {
        size_t room = x->n >= 256 ? 2 * (size_t)x->n : 256;
        drt_fact *more = room <= INT32_MAX ? realloc(x->fact, room * sizeof *more) : NULL;
        if (!more) {
            drt_fail(err, DRT_ENOMEM, "%s: no memory for more than %d samples", x->sources.path, x->n);
            return NULL;
        }
        x->fact = more;
    }
    drt_fact *fact = &x->fact[x->n++];
    *fact = (drt_fact){.words = 1};
    return fact;
}

static uint16_t at_most(int n) { return n < UINT16_MAX ? (uint16_t)n : UINT16_MAX; }

drt_status drt_index_look(const drt_record_source *from, drt_fact *fact, size_t *at, drt_error *err) {
    char name[DRT_RECORD_NAME];
    drt_record *r;
    size_t prompt = 0;
    drt_status bad = drt_record_parse(from, &r, at, name, err);
    fact->words = 1;
    fact->flags = bad == DRT_EDATA ? DRT_FACT_BAD : bad == DRT_EFORMAT ? DRT_FACT_BAD | DRT_FACT_SYNTAX : 0;
    if (bad) return bad == DRT_EDATA ? DRT_OK : drt_fail_in(err, "%s", name);
    static const drt_template caption = {.name = "plain", .caption = true};
    if (drt_conversation_check(NULL, r->turns, r->n_turns, r->n_images, NULL)) fact->flags = DRT_FACT_BAD;
    else if (drt_conversation_check(&caption, r->turns, r->n_turns, r->n_images, NULL))
        fact->flags = DRT_FACT_NO_CAPTION;
    bool human = false;
    for (int i = 0; i < r->n_turns; i++) {
        if (!r->turns[i].human && human) break;
        human = human || r->turns[i].human;
        prompt += strlen(r->turns[i].text);
    }
    fact->prompt = prompt < UINT32_MAX ? (uint32_t)prompt : UINT32_MAX;
    fact->words = r->words;
    fact->images = at_most(r->n_images);
    fact->turns = at_most(r->n_turns);
    drt_record_free(r);
    return DRT_OK;
}

// Puts "FILE: line 3, column 7" in front of the message.
static drt_status fail_at(const builder *b, uint64_t at, drt_error *err) {
    int64_t lines = 0, column = 0;
    if (drt_sources_lines(&b->x->sources, b->file, 0, at, &lines, &column, NULL)) lines = column = 0;
    return drt_fail_in(err, "%s: line %lld, column %lld", b->x->sources.file[b->file].path, (long long)lines + 1,
                       (long long)column + 1);
}

static drt_status found(void *user, uint64_t at, uint64_t size, drt_error *err) {
    builder *b = user;
    drt_fact *fact = drt_index_add(b->x, err);
    if (!fact) return DRT_ENOMEM;
    fact->at = at;
    fact->size = (uint32_t)size; // at most MOST_SAMPLE and a chunk
    fact->file = b->file;
    return DRT_OK;
}

// Parses the samples that ended in this chunk, on all cores. The fault that is told is the first one's. An array is one
// JSON text, so that a syntax error spoils all of it; of lines it spoils one.
static drt_status look_at_new(builder *b, drt_error *err) {
    drt_index *x = b->x;
    int32_t first = INT32_MAX;
    uint64_t fault = 0;
    drt_error told = {0};
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t i = b->looked; i < x->n; i++) {
        drt_fact *f = &x->fact[i];
        const drt_record_source from = {
            .json = b->buffer + (f->at - b->base), .size = f->size, .folder = "", .index = i};
        size_t at = 0;
        drt_error why = {0};
        drt_status bad = drt_index_look(&from, f, &at, &why);
        if (!bad || (bad == DRT_EFORMAT && !b->split.array)) continue;
#pragma omp critical(drt_index_fault)
        if (i < first) {
            first = i;
            fault = f->at + at;
            told = why;
        }
    }
    b->looked = x->n;
    if (first == INT32_MAX) return DRT_OK;
    if (err) *err = told;
    return told.code == DRT_EFORMAT ? fail_at(b, fault, err) : told.code;
}

// An object without end: the real fault lies somewhere inside it, as a rule soon.
static drt_status explain_end(builder *b, drt_error *err) {
    uint64_t from = b->split.from, size = b->x->sources.file[b->file].size - from;
    if (size > CHUNK) size = CHUNK;
    char *text = malloc((size_t)size + 1);
    drt_json_reader r = {0};
    if (text && !drt_sources_read(&b->x->sources, b->file, from, text, (size_t)size, NULL)) {
        r = (drt_json_reader){.at = text, .end = text + size};
        drt_json_skip(&r);
    }
    uint64_t at = r.why && r.at < r.end ? from + (uint64_t)(r.at - text) : from;
    if (at > from) drt_fail(err, DRT_EFORMAT, "%s", r.why);
    free(text);
    return fail_at(b, at, err);
}

static drt_status make_room(builder *b, drt_error *err) {
    if (b->room - b->have >= CHUNK) return DRT_OK;
    char *more = b->have <= MOST_SAMPLE ? realloc(b->buffer, b->have + CHUNK) : NULL;
    if (more) {
        b->buffer = more;
        b->room = b->have + CHUNK;
        return DRT_OK;
    }
    drt_fail(err, b->have <= MOST_SAMPLE ? DRT_ENOMEM : DRT_EFORMAT,
             "this sample has no end within %d MiB, which is more than is read", MOST_SAMPLE >> 20);
    return b->have <= MOST_SAMPLE ? DRT_ENOMEM : explain_end(b, err);
}

static drt_status read_chunk(builder *b, drt_progress *progress, drt_error *err) {
    const drt_source *f = &b->x->sources.file[b->file];
    uint64_t at = b->base + b->have;
    size_t n = f->size - at < CHUNK ? (size_t)(f->size - at) : CHUNK;
    drt_status status = make_room(b, err);
    if (!status) status = drt_sources_read(&b->x->sources, b->file, at, b->buffer + b->have, n, err);
    if (status) return status;
    drt_digest_add(&b->digest, b->buffer + b->have, n);
    status = drt_json_split_feed(&b->split, b->buffer + b->have, n, err);
    if (status == DRT_EFORMAT) return fail_at(b, b->split.fault, err);
    if (!status) status = look_at_new(b, err);
    if (status) return status;
    b->have += n;
    size_t past = (size_t)(drt_json_split_keep(&b->split) - b->base);
    memmove(b->buffer, b->buffer + past, b->have - past);
    b->base += past;
    b->have -= past;
    b->done += (int64_t)n;
    drt_progress_at(progress, b->done >> 20, b->total >> 20);
    return DRT_OK;
}

static drt_status read_json(builder *b, drt_progress *progress, drt_error *err) {
    drt_source *f = &b->x->sources.file[b->file];
    drt_status status = DRT_OK;
    const char *ending = strrchr(f->path, '.');
    b->split = (drt_json_splitter){.found = found, .user = b, .lines = ending && !strcmp(ending, ".jsonl")};
    b->base = 0, b->have = 0;
    f->first = b->x->n;
    drt_digest_begin(&b->digest);
    while (!status && b->base + b->have < f->size) status = read_chunk(b, progress, err);
    f->digest = drt_digest_end(&b->digest);
    if (!status) status = drt_json_split_end(&b->split, err);
    if (!status) return look_at_new(b, err); // a last line without an end
    if (status != DRT_EFORMAT || b->base + b->have < f->size) return status;
    // A file of a folder may be empty; alone it is a mistake.
    if (b->x->sources.n > 1 && !f->size) return DRT_OK;
    if (b->split.depth) return explain_end(b, err);
    return b->split.state ? fail_at(b, b->split.fault, err) : drt_fail_in(err, "%s", f->path); // 0: nothing in it
}

drt_status drt_index_build(drt_index *x, drt_progress *progress, drt_error *err) {
    builder b = {.x = x};
    drt_status status = DRT_OK;
    drt_progress reading = progress ? *progress : (drt_progress){0};
    reading.what = "reading samples (MB)", reading.started = reading.last = 0;
    for (int i = 0; i < x->sources.n; i++) b.total += (int64_t)x->sources.file[i].size;
    for (b.file = 0; !status && b.file < x->sources.n; b.file++) {
        if (!x->sources.tar) {
            status = read_json(&b, &reading, err);
            continue;
        }
        status = drt_tar_index(x, b.file, err);
        b.done += (int64_t)x->sources.file[b.file].size;
        drt_progress_at(&reading, b.done >> 20, b.total >> 20);
    }
    free(b.buffer);
    return status;
}
