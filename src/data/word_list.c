#include "data/word_list.h"

#include "base/rng.h"
#include "data/space.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

uint64_t drt_word_chain(uint64_t hash, const char *word, size_t size) {
    const uint64_t both[] = {hash, drt_hash(word, size)};
    return drt_hash(both, sizeof both);
}

void drt_word_list_rewind(drt_word_list *l) {
    rewind(l->file);
    l->at = 0;
}

void drt_word_list_close(drt_word_list *l) {
    if (l->file) fclose(l->file);
    free(l->path);
    *l = (drt_word_list){0};
}

drt_status drt_word_list_next(drt_word_list *l, const char **word, size_t *size, drt_error *err) {
    const long long line = (long long)l->at + 1;
    size_t all = 0;
    int c;
    *word = NULL;
    *size = 0;
    errno = 0;
    for (; (c = getc_unlocked(l->file)) != EOF && c != '\n'; l->line[all++] = (char)c)
        if (all == sizeof l->line)
            return drt_fail(err, DRT_EDATA, "%s:%lld: more than %d bytes, a word has at most %d; write one word a line",
                            l->path, line, DRT_WORD_LINE, DRT_WORD_SIZE);
    if (ferror(l->file)) return drt_fail(err, DRT_EIO, "%s:%lld: %s", l->path, line, strerror(errno));
    if (c == EOF && !all) return DRT_OK;
    const char *w = l->line;
    drt_strip(&w, &all);
    if (!all) return drt_fail(err, DRT_EDATA, "%s:%lld: an empty line; a list has one word a line", l->path, line);
    if (memchr(w, 0, all)) return drt_fail(err, DRT_EDATA, "%s:%lld: the word has a NUL inside", l->path, line);
    if (all > DRT_WORD_SIZE)
        return drt_fail(err, DRT_EDATA, "%s:%lld: %zu bytes, a word has at most %d; write one word a line", l->path,
                        line, all, DRT_WORD_SIZE);
    l->at++;
    *word = w;
    *size = all;
    return DRT_OK;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// The lines of the words with this hash: are two of them the same word?
static drt_status same_words(drt_word_list *l, uint64_t hash, drt_error *err) {
    char first[DRT_WORD_SIZE];
    size_t first_size = 0;
    long long first_line = 0;
    const char *word;
    size_t size;
    drt_status status;
    drt_word_list_rewind(l);
    while (!(status = drt_word_list_next(l, &word, &size, err)) && word) {
        if (drt_hash(word, size) != hash) continue;
        if (first_line && size == first_size && !memcmp(first, word, size))
            return drt_fail(err, DRT_EDATA, "%s:%lld: '%.*s' stands in line %lld already; keep one of them", l->path,
                            (long long)l->at, (int)size, word, first_line);
        if (!first_line) memcpy(first, word, first_size = size), first_line = (long long)l->at;
    }
    return status;
}

// Two words alike have hashes alike: those of one part of the list's words at a time are sorted, so that memory is that
// of a part however long the list is.
static drt_status no_twins(drt_word_list *l, drt_error *err) {
    enum { PART = 1 << 19 };
    uint64_t parts = (uint64_t)l->words / PART + 1;
    size_t room = l->words < PART ? (size_t)l->words + 1 : PART + PART / 4;
    uint64_t *seen = malloc(room * sizeof *seen);
    drt_status status =
        seen ? DRT_OK : drt_fail(err, DRT_ENOMEM, "%s: no memory to look for words that stand twice", l->path);
    for (uint64_t part = 0; !status && part < parts; part++) {
        const char *word;
        size_t size, n = 0;
        drt_word_list_rewind(l);
        // A part that is larger by far than its share is one word many times: what fits is enough to tell.
        while (n < room && !(status = drt_word_list_next(l, &word, &size, err)) && word) {
            uint64_t h = drt_hash(word, size);
            if (h % parts == part) seen[n++] = h;
        }
        qsort(seen, n, sizeof *seen, by_value);
        for (size_t i = 1; !status && i < n; i++)
            if (seen[i] == seen[i - 1]) status = same_words(l, seen[i], err);
    }
    free(seen);
    return status;
}

static drt_status survey(drt_word_list *l, drt_error *err) {
    const char *word;
    size_t size;
    drt_status status;
    while (!(status = drt_word_list_next(l, &word, &size, err)) && word) {
        l->words++;
        l->bytes += (int64_t)size;
        l->hash = drt_word_chain(l->hash, word, size);
    }
    if (!status && !l->words) status = drt_fail(err, DRT_EDATA, "%s: no words; write one a line", l->path);
    if (!status && l->words > INT32_MAX) status = drt_fail(err, DRT_EDATA, "%s: more than 2^31 words", l->path);
    return status ? status : no_twins(l, err);
}

drt_status drt_word_list_open(drt_word_list *l, const char *path, drt_error *err) {
    *l = (drt_word_list){.path = strdup(path)};
    if (!l->path) return drt_fail(err, DRT_ENOMEM, "%s: no memory", path);
    l->file = fopen(path, "rb");
    drt_status status = l->file ? DRT_OK : drt_fail(err, DRT_EIO, "%s: cannot open: %s", path, strerror(errno));
    if (!status) status = survey(l, err);
    if (status) drt_word_list_close(l);
    else drt_word_list_rewind(l);
    return status;
}
