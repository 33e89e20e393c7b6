#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

// A pipe without a writer must not be waited for; to a regular file O_NONBLOCK means nothing.
static drt_status open_regular(int *fd, size_t *size, const char *path, drt_error *err) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return drt_fail(err, DRT_EIO, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(*fd, &st) || !S_ISREG(st.st_mode)) {
        close(*fd);
        return drt_fail(err, DRT_EIO, "%s: not a regular file", path);
    }
    *size = (size_t)st.st_size;
    return DRT_OK;
}

drt_status drt_file_read(char **out, size_t *size, const char *path, size_t most, drt_error *err) {
    int fd;
    size_t n, at = 0;
    *out = NULL;
    if (open_regular(&fd, &n, path, err)) return DRT_EIO;
    if (!most) most = (size_t)1 << 30;
    char *p = n <= most ? malloc(n + 1) : NULL;
    if (!p) {
        close(fd);
        if (n > most) return drt_fail(err, DRT_EFORMAT, "%s: %zu bytes, more than the %zu allowed here", path, n, most);
        return drt_fail(err, DRT_ENOMEM, "%s: no memory for %zu bytes", path, n);
    }
    while (at < n) {
        ssize_t got = read(fd, p + at, n - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        at += (size_t)got;
    }
    close(fd);
    if (at < n) {
        free(p);
        return drt_fail(err, DRT_EIO, "%s: read %zu of %zu bytes: %s", path, at, n, strerror(errno));
    }
    p[n] = 0;
    *out = p;
    if (size) *size = n;
    return DRT_OK;
}

drt_status drt_map_open(drt_map *map, const char *path, drt_error *err) {
    int fd;
    *map = (drt_map){0};
    if (open_regular(&fd, &map->size, path, err)) return DRT_EIO;
    void *p = map->size ? mmap(NULL, map->size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    int cause = errno;
    close(fd);
    if (p == MAP_FAILED) return drt_fail(err, DRT_EIO, "%s: cannot map: %s", path, strerror(cause));
    map->bytes = p;
    return DRT_OK;
}

void drt_map_close(drt_map *map) {
    if (map->bytes) munmap((void *)map->bytes, map->size);
    *map = (drt_map){0};
}

static void writer_clear(drt_writer *w) {
    free(w->path);
    free(w->temporary);
    memset(w, 0, sizeof *w);
}

drt_status drt_writer_open(drt_writer *w, const char *path, drt_error *err) {
    memset(w, 0, sizeof *w);
    size_t n = strlen(path) + 32;
    w->path = strdup(path);
    w->temporary = malloc(n);
    if (!w->path || !w->temporary) {
        writer_clear(w);
        return drt_fail(err, DRT_ENOMEM, "%s: no memory", path);
    }
    snprintf(w->temporary, n, "%s.tmp-%ld", path, (long)getpid());
    w->file = fopen(w->temporary, "wb");
    if (!w->file) {
        int cause = errno;
        writer_clear(w);
        return drt_fail(err, DRT_EIO, "%s: cannot write: %s", path, strerror(cause));
    }
    return DRT_OK;
}

void drt_writer_put(drt_writer *w, const void *bytes, size_t n) {
    if (w->failed || !n) return;
    errno = 0;
    size_t done = fwrite(bytes, 1, n, w->file);
    w->written += done;
    if (done < n) w->failed = errno ? errno : EIO;
}

void drt_writer_abandon(drt_writer *w) {
    if (w->file) fclose(w->file);
    if (w->temporary) unlink(w->temporary);
    writer_clear(w);
}

int drt_sync_folder_of(const char *path) {
    char *copy = strdup(path), *slash = copy ? strrchr(copy, '/') : NULL;
    if (!copy) return ENOMEM;
    if (slash == copy) slash[1] = 0;
    else if (slash) *slash = 0;
    int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (fd < 0) return errno;
    // Some file systems cannot sync a folder (EINVAL); the rename has happened all the same.
    int cause = fsync(fd) && errno != EINVAL ? errno : 0;
    close(fd);
    return cause;
}

drt_status drt_writer_commit(drt_writer *w, drt_error *err) {
    if (!w->failed && (fflush(w->file) || fsync(fileno(w->file)))) w->failed = errno;
    if (fclose(w->file) && !w->failed) w->failed = errno;
    w->file = NULL;
    if (!w->failed && rename(w->temporary, w->path)) w->failed = errno;
    drt_status status = DRT_OK;
    if (w->failed) {
        status =
            drt_fail(err, DRT_EIO, "%s: writing stopped after %zu bytes: %s%s", w->path, w->written,
                     strerror(w->failed), w->failed == ENOSPC ? "; free some space, the old file is untouched" : "");
    } else {
        int cause = drt_sync_folder_of(w->path);
        if (cause) status = drt_fail(err, DRT_EIO, "%s: cannot sync its folder: %s", w->path, strerror(cause));
        free(w->temporary);
        w->temporary = NULL;
    }
    drt_writer_abandon(w);
    return status;
}

drt_status drt_file_write(const char *path, const void *bytes, size_t n, drt_error *err) {
    drt_writer w;
    drt_status status = drt_writer_open(&w, path, err);
    if (status) return status;
    drt_writer_put(&w, bytes, n);
    return drt_writer_commit(&w, err);
}

drt_status drt_make_folders(const char *path, drt_error *err) {
    char *copy = strdup(path);
    if (!copy) return drt_fail(err, DRT_ENOMEM, "%s: no memory", path);
    for (char *p = copy + 1;; p++) {
        if (*p && *p != '/') continue;
        char kept = *p;
        *p = 0;
        if (mkdir(copy, 0777) && !(errno == EEXIST && drt_is_folder(copy))) {
            const char *why = errno == EEXIST ? "a file of that name is in the way" : strerror(errno);
            drt_fail(err, DRT_EIO, "%s: cannot make folder: %s", copy, why);
            free(copy);
            return DRT_EIO;
        }
        *p = kept;
        if (!kept || !p[1]) break;
    }
    free(copy);
    return DRT_OK;
}

drt_status drt_remove_tree(const char *path, drt_error *err) {
    struct stat st;
    if (lstat(path, &st)) return errno == ENOENT ? DRT_OK : drt_fail(err, DRT_EIO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        DIR *dir = opendir(path);
        if (!dir) return drt_fail(err, DRT_EIO, "%s: %s", path, strerror(errno));
        drt_status status = DRT_OK;
        for (struct dirent *e; !status && (e = readdir(dir));) {
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
            char *inner = drt_path_join(path, e->d_name);
            status = inner ? drt_remove_tree(inner, err) : drt_fail(err, DRT_ENOMEM, "%s: no memory", path);
            free(inner);
        }
        closedir(dir);
        if (status) return status;
    }
    return remove(path) ? drt_fail(err, DRT_EIO, "%s: cannot remove: %s", path, strerror(errno)) : DRT_OK;
}

drt_status drt_folder_claim(int *claim, const char *path, drt_error *err) {
    *claim = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*claim < 0) return drt_fail(err, DRT_EIO, "%s: cannot open: %s", path, strerror(errno));
    if (!flock(*claim, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK) return DRT_OK;
    drt_folder_leave(*claim);
    *claim = -1;
    return drt_fail(err, DRT_ECONFIG,
                    "%s: another process is at work there; wait for its end, or choose another folder", path);
}

void drt_folder_leave(int claim) {
    if (claim >= 0) close(claim);
}

int64_t drt_disk_free(const char *path) {
    struct statvfs fs;
    return statvfs(path, &fs) ? -1 : (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
}

bool drt_file_exists(const char *path) {
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

bool drt_is_folder(const char *path) {
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

char *drt_path_join(const char *folder, const char *name) {
    size_t n = strlen(folder), m = strlen(name);
    char *p = malloc(n + m + 2);
    if (!p) return NULL;
    if (name[0] == '/') memcpy(p, name, m + 1);
    else {
        memcpy(p, folder, n);
        bool slash = n && folder[n - 1] != '/';
        if (slash) p[n] = '/';
        memcpy(p + n + slash, name, m + 1);
    }
    return p;
}
