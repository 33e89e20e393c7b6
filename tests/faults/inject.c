// A library for LD_PRELOAD that makes a program's disk and memory fail, one place after the other, or sends it a
// signal.
//
//   DRT_FAULT=enospc:12   from the 12th operation on a watched file on, all that write fail: the disk is full
//   DRT_FAULT=eio:12      that one alone fails
//   DRT_FAULT=short:12    that one writes half, then the disk is full for this call; write() just writes half
//   DRT_FAULT=term:12     SIGTERM at the 12th product of matrices (oneDNN's), counted from when DRT_FAULT_ARM is opened
//   on DRT_FAULT=kill:12     SIGKILL there DRT_FAULT=memory:12   the first allocation fails (the callers go to stderr)
//   that comes from the 12th new place (by its callers), counted from
//                         when DRT_FAULT_ARM is opened on
//
// Watched is what has DRT_FAULT_PATH in its name. At the end the number of operations, products or places goes to
// stderr as "faults: N".
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 64, SITES = 4096, DEPTH = 6 };
enum { NONE, ENOSPC_ON, EIO_ONCE, SHORT_ONCE, MEMORY, TERM, KILL };

static int kind, wanted, count, sites;
static volatile int armed;
static uint64_t site[SITES];
static void *stream[FILES];
static bool watched_fd[1024];
static const char *path_part, *arm_part;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside;

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void begin(void) {
    static const char *const names[] = {"", "enospc:", "eio:", "short:", "memory:", "term:", "kill:"};
    void *warm[2];
    inside++;
    backtrace(warm, 2); // loads libgcc, which allocates
    const char *what = getenv("DRT_FAULT");
    path_part = getenv("DRT_FAULT_PATH");
    arm_part = getenv("DRT_FAULT_ARM");
    for (int k = ENOSPC_ON; what && k <= KILL; k++)
        if (!strncmp(what, names[k], strlen(names[k]))) kind = k, wanted = atoi(what + strlen(names[k]));
    inside--;
}

__attribute__((destructor)) static void end(void) {
    if (kind) dprintf(2, "faults: %d\n", kind == MEMORY ? sites : count);
    armed = 0;
}

static bool watched(const char *path) { return kind && kind < MEMORY && path_part && path && strstr(path, path_part); }

// Whether this operation on a watched file fails; errno is set.
static bool fails(void) {
    if (!kind || kind >= MEMORY) return false;
    pthread_mutex_lock(&lock);
    int n = ++count;
    pthread_mutex_unlock(&lock);
    if (kind == ENOSPC_ON ? n < wanted : n != wanted) return false;
    errno = kind == EIO_ONCE ? EIO : ENOSPC;
    return true;
}

static bool is_watched(FILE *f) {
    for (int i = 0; i < FILES; i++)
        if (stream[i] == f) return true;
    return false;
}

FILE *fopen(const char *path, const char *mode) {
    REAL(FILE *, "fopen", const char *, const char *);
    bool writes = strchr(mode, 'w') || strchr(mode, 'a');
    if (writes && watched(path) && fails()) return NULL;
    FILE *f = real(path, mode);
    for (int i = 0; f && writes && watched(path) && i < FILES; i++)
        if (!stream[i]) {
            stream[i] = f;
            break;
        }
    return f;
}

size_t fwrite(const void *bytes, size_t size, size_t n, FILE *f) {
    REAL(size_t, "fwrite", const void *, size_t, size_t, FILE *);
    if (!is_watched(f) || !fails()) return real(bytes, size, n, f);
    int cause = errno;
    size_t half = kind == SHORT_ONCE ? real(bytes, size, n / 2, f) : 0;
    errno = cause;
    return half;
}

int fflush(FILE *f) {
    REAL(int, "fflush", FILE *);
    return f && is_watched(f) && fails() ? EOF : real(f);
}

int fclose(FILE *f) {
    REAL(int, "fclose", FILE *);
    bool bad = is_watched(f) && fails();
    int cause = errno;
    for (int i = 0; i < FILES; i++)
        if (stream[i] == f) stream[i] = NULL;
    int rc = real(f);
    if (bad) errno = cause;
    return bad ? EOF : rc;
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return fails() ? -1 : real(fd); // all that drt syncs belongs to a run
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return watched(to) && fails() ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    struct stat st;
    return watched(path) && stat(path, &st) && fails() ? -1 : real(path, mode);
}

int open(const char *path, int flags, ...) {
    REAL(int, "open", const char *, int, ...);
    va_list args;
    va_start(args, flags);
    int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    if (arm_part && writes && strstr(path, arm_part)) armed = 1;
    if (writes && watched(path) && fails()) return -1;
    int fd = real(path, flags, mode);
    if (fd >= 0 && fd < 1024) watched_fd[fd] = writes && watched(path);
    return fd;
}

ssize_t write(int fd, const void *bytes, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (fd < 0 || fd >= 1024 || !watched_fd[fd] || !fails()) return real(fd, bytes, n);
    return kind == SHORT_ONCE ? real(fd, bytes, n > 1 ? n / 2 : n) : -1;
}

// ---- memory --------------------------------------------------------------------------------------------------------

// Whether this call is the first of the place that is to fail.
static bool no_memory(void) {
    void *caller[DEPTH];
    if (kind != MEMORY || !armed || inside) return false;
    inside++;
    int n = backtrace(caller, DEPTH);
    uint64_t h = 0;
    for (int i = 2; i < n; i++) h = (h ^ (uintptr_t)caller[i]) * 0x100000001B3u;
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < sites && site[i] != h) i++;
    bool fresh = i == sites && sites < SITES;
    if (fresh) site[sites++] = h;
    bool bad = fresh && sites == wanted;
    pthread_mutex_unlock(&lock);
    if (bad) backtrace_symbols_fd(caller, n, 2);
    inside--;
    if (bad) errno = ENOMEM;
    return bad;
}

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *malloc(size_t n) { return no_memory() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return no_memory() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return no_memory() ? NULL : __libc_realloc(p, n); }

// ---- signals -------------------------------------------------------------------------------------------------------

int dnnl_sgemm(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
               const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    REAL(int, "dnnl_sgemm", char, char, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *,
         int64_t, float, float *, int64_t);
    if (armed && kind >= TERM && ++count == wanted) raise(kind == TERM ? SIGTERM : SIGKILL);
    return real(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
