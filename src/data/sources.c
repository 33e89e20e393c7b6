#include "data/sources.h"

#include "base/digest.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECES = 64, PIECE = 64 << 10, KEPT_OPEN = 256, CHUNK = 1 << 20 };

static bool ends_in(const char *name, const char *ending) {
    size_t n = strlen(name), k = strlen(ending);
    return n >= k && !strcmp(name + n - k, ending);
}

static bool is_lines(const char *name) { return ends_in(name, ".jsonl") || ends_in(name, ".json"); }
static bool is_tar(const char *name) { return ends_in(name, ".tar"); }
static bool is_compressed(const char *name) {
    static const char *const endings[] = {".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_in(name, endings[i])) return true;
    return false;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const drt_source *)a)->path, ((const drt_source *)b)->path);
}

static drt_status no_memory(const char *path, drt_error *err) {
    return drt_fail(err, DRT_ENOMEM, "%s: no memory for the list of its files", path);
}

static drt_status add(drt_sources *s, char *path, drt_error *err) {
    drt_source *more = path ? realloc(s->file, ((size_t)s->n + 1) * sizeof *more) : NULL;
    if (!more) {
        free(path);
        return no_memory(s->path, err);
    }
    s->file = more;
    s->file[s->n++] = (drt_source){.path = path, .fd = -1};
    return DRT_OK;
}

static drt_status refuse_compressed(const char *name, drt_error *err) {
    return drt_fail(err, DRT_EDATA, "%s: a compressed shard cannot be read from its middle; unpack it to a .tar", name);
}

static drt_status list_folder(drt_sources *s, drt_error *err) {
    drt_status status = DRT_OK;
    int tars = 0;
    DIR *d = opendir(s->path);
    if (!d) return drt_fail(err, DRT_EIO, "%s: cannot open: %s", s->path, strerror(errno));
    for (struct dirent *e; !status && (e = readdir(d));) {
        const char *name = e->d_name;
        if (is_compressed(name)) status = refuse_compressed(name, err);
        if (status || *name == '.' || ends_in(name, DRT_QUARANTINE_ENDING) || (!is_lines(name) && !is_tar(name)))
            continue;
        tars += is_tar(name);
        status = add(s, drt_path_join(s->path, name), err);
    }
    closedir(d);
    if (status) return status;
    if (!s->n)
        return drt_fail(err, DRT_EDATA, "%s: no *.jsonl, *.json or *.tar in this folder; name the folder that has some",
                        s->path);
    if (tars && tars < s->n)
        return drt_fail(err, DRT_EDATA,
                        "%s: %d tar shards and %d files of JSON lines in one folder; put one kind into a folder of its "
                        "own",
                        s->path, tars, s->n - tars);
    s->tar = tars > 0;
    qsort(s->file, (size_t)s->n, sizeof *s->file, by_name);
    return DRT_OK;
}

// The folder a file is in, "" for the current one.
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup("");
}

static drt_status read_at(const drt_source *f, uint64_t at, void *bytes, size_t size, drt_error *err) {
    int fd = f->fd >= 0 ? f->fd : open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t done = 0;
    int cause = fd < 0 ? errno : 0;
    while (!cause && done < size) {
        ssize_t got = pread(fd, (char *)bytes + done, size - done, (off_t)(at + done));
        if (got > 0) done += (size_t)got;
        else if (!got) break;
        else if (errno != EINTR) cause = errno;
    }
    if (fd >= 0 && fd != f->fd) close(fd);
    if (cause)
        return drt_fail(err, DRT_EIO, "%s: byte %llu: cannot read: %s", f->path, (unsigned long long)at,
                        strerror(cause));
    if (done == size) return DRT_OK;
    return drt_fail(err, DRT_EIO, "%s: it ends at byte %llu and had %llu bytes; it was changed while in use", f->path,
                    (unsigned long long)(at + done), (unsigned long long)f->size);
}

static drt_status sketch(drt_source *f, int pieces, drt_error *err) {
    drt_digest d;
    drt_status status = DRT_OK;
    unsigned char *piece = malloc(PIECE);
    if (!piece) return no_memory(f->path, err);
    drt_digest_begin(&d);
    drt_digest_add(&d, &f->size, sizeof f->size);
    uint64_t most = f->size > PIECE ? f->size - PIECE : 0, last = UINT64_MAX;
    for (int i = 0; !status && i < pieces; i++) {
        uint64_t at = i == pieces - 1 ? most : most / (uint64_t)(pieces - 1) * (uint64_t)i;
        if (at == last) continue; // a small file
        last = at;
        size_t n = f->size - at < PIECE ? (size_t)(f->size - at) : PIECE;
        status = read_at(f, at, piece, n, err);
        if (!status) drt_digest_add(&d, piece, n);
    }
    free(piece);
    f->sketch = drt_digest_end(&d);
    return status;
}

static drt_status look_at(drt_source *f, int pieces, bool keep, drt_error *err) {
    struct stat st;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return drt_fail(err, DRT_EIO, "%s: cannot open: %s", f->path, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return drt_fail(err, DRT_EIO, "%s: not a regular file", f->path);
    }
    f->size = (uint64_t)st.st_size;
    f->changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    f->fd = fd;
    drt_status status = sketch(f, pieces, err);
    if (!keep) {
        close(fd);
        f->fd = -1;
    }
    return status;
}

static size_t without_slashes(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    return n;
}

drt_status drt_sources_open(drt_sources *out, const char *path, drt_error *err) {
    *out = (drt_sources){.path = strndup(path, without_slashes(path))};
    bool folder = drt_is_folder(path);
    if (out->path) out->folder = folder ? strdup(out->path) : folder_of(out->path);
    drt_status status = out->path && out->folder ? DRT_OK : no_memory(path, err);
    if (!status && is_compressed(out->path)) status = refuse_compressed(path, err);
    if (!status) status = folder ? list_folder(out, err) : add(out, strdup(out->path), err);
    if (!status && !folder) out->tar = is_tar(out->path);
    int pieces = out->n && PIECES / out->n > 2 ? PIECES / out->n : 2;
    for (int i = 0; !status && i < out->n; i++) status = look_at(&out->file[i], pieces, out->n <= KEPT_OPEN, err);
    if (status) drt_sources_close(out);
    return status;
}

void drt_sources_close(drt_sources *s) {
    for (int i = 0; i < s->n; i++) {
        if (s->file[i].fd >= 0) close(s->file[i].fd);
        free(s->file[i].path);
    }
    free(s->file), free(s->path), free(s->folder);
    *s = (drt_sources){0};
}

drt_status drt_sources_read(const drt_sources *s, int file, uint64_t at, void *bytes, size_t size, drt_error *err) {
    return read_at(&s->file[file], at, bytes, size, err);
}

drt_status drt_sources_digest(drt_sources *s, int file, drt_error *err) {
    drt_source *f = &s->file[file];
    drt_digest d;
    drt_status status = DRT_OK;
    unsigned char *chunk = malloc(CHUNK);
    if (!chunk) return no_memory(f->path, err);
    drt_digest_begin(&d);
    for (uint64_t at = 0; !status && at < f->size; at += CHUNK) {
        size_t n = f->size - at < CHUNK ? (size_t)(f->size - at) : CHUNK;
        status = read_at(f, at, chunk, n, err);
        if (!status) drt_digest_add(&d, chunk, n);
    }
    free(chunk);
    f->digest = drt_digest_end(&d);
    return status;
}

drt_status drt_sources_lines(const drt_sources *s, int file, uint64_t from, uint64_t to, int64_t *lines,
                             int64_t *behind, drt_error *err) {
    drt_status status = DRT_OK;
    char *chunk = malloc(CHUNK);
    if (!chunk) return no_memory(s->path, err);
    *lines = *behind = 0;
    for (uint64_t at = from; !status && at < to; at += CHUNK) {
        size_t n = to - at < CHUNK ? (size_t)(to - at) : CHUNK;
        status = read_at(&s->file[file], at, chunk, n, err);
        *behind += (int64_t)n;
        for (const char *p = chunk, *hit; !status && (hit = memchr(p, '\n', n - (size_t)(p - chunk))); p = hit + 1) {
            ++*lines;
            *behind = (int64_t)n - (hit + 1 - chunk);
        }
    }
    free(chunk);
    return status;
}

char *drt_beside(const char *data, const char *ending) {
    size_t n = without_slashes(data), k = strlen(ending);
    char *path = malloc(n + k + 1);
    if (!path) return NULL;
    memcpy(path, data, n);
    memcpy(path + n, ending, k + 1);
    return path;
}
