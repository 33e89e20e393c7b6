#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Pages that this process holds, and of these those that come from files or are shared.
static int64_t pages_held(int64_t *shared) {
    FILE *f = fopen("/proc/self/statm", "r");
    long long size = 0, held = 0, files = 0;
    if (f && fscanf(f, "%lld %lld %lld", &size, &held, &files) != 3) held = files = 0;
    if (f) fclose(f);
    *shared = files;
    return held;
}

int64_t drt_memory_resident(void) {
    int64_t shared;
    return pages_held(&shared) * sysconf(_SC_PAGESIZE);
}

// A number in a file of its own; "max" and what is larger than any machine: 0.
static int64_t limit_in(const char *path) {
    FILE *f = fopen(path, "r");
    long long bytes = 0;
    if (f && fscanf(f, "%lld", &bytes) != 1) bytes = 0;
    if (f) fclose(f);
    return bytes > 0 && bytes < (int64_t)1 << 60 ? bytes : 0;
}

static int64_t less(int64_t a, int64_t b) { return a && (!b || a < b) ? a : b; }

// The least limit of a group and those it is in. `path` is cut on the way up.
static int64_t limit_above(const char *root, char *path, const char *name) {
    char file[1400];
    int64_t least = 0;
    for (;;) {
        snprintf(file, sizeof file, "%s%s/%s", root, path, name);
        least = less(limit_in(file), least);
        char *slash = strrchr(path, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

static int64_t group_limit(void) {
    FILE *f = fopen("/proc/self/cgroup", "r");
    char line[1000];
    int64_t least = 0;
    while (f && fgets(line, sizeof line, f)) {
        char *path = strchr(line, ':'), *kinds = path ? path + 1 : NULL;
        if (!path || !(path = strchr(kinds, ':'))) continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        if (!*kinds) least = less(limit_above("/sys/fs/cgroup", path, "memory.max"), least);
        else if (strstr(kinds, "memory"))
            least = less(limit_above("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"), least);
    }
    if (f) fclose(f);
    return least;
}

int64_t drt_memory_free(void) {
    FILE *f = fopen("/proc/meminfo", "r");
    long long kilobytes = 0;
    char line[200];
    while (f && !kilobytes && fgets(line, sizeof line, f)) sscanf(line, "MemAvailable: %lld kB", &kilobytes);
    if (f) fclose(f);
    // Of a control group's limit what this process has not taken; mapped files are given back where memory is short.
    int64_t shared, held = pages_held(&shared), limit = group_limit(), left = 0;
    if (limit) left = limit - (held - shared) * sysconf(_SC_PAGESIZE);
    if (limit && left < 1) left = 1;
    return less(kilobytes * 1024, left);
}

int64_t drt_memory_given(void) {
    int64_t more = drt_memory_free();
    return less(more ? more + drt_memory_resident() : 0, group_limit());
}

static void *map_pages(size_t bytes, int more) {
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void *drt_memory_take(size_t bytes) { return map_pages(bytes, 0); }
void *drt_memory_reserve(size_t bytes) { return map_pages(bytes, MAP_NORESERVE); }

void drt_memory_return(void *p, size_t bytes) {
    if (p) munmap(p, bytes ? bytes : 1);
}

bool drt_memory_parse(const char *text, int64_t *bytes) {
    static const char units[] = "KMGT";
    char *end;
    if (!*text || text[strspn(text, "0123456789.KMGTkmgtiIbB")]) return false;
    double x = strtod(text, &end), base = 1024;
    if (end == text || x < 0) return false;
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (unit) {
        end++;
        if (!strcasecmp(end, "b")) base = 1000;
        else if (*end && strcasecmp(end, "i") && strcasecmp(end, "ib")) return false;
        x *= pow(base, (double)(unit - units + 1));
    } else if (*end && strcasecmp(end, "b")) return false;
    if (x >= 0x1p62) return false;
    *bytes = (int64_t)x;
    return true;
}

char *drt_memory_text(char out[24], int64_t bytes) {
    double b = (double)bytes;
    if (b >= 99.95e9) snprintf(out, 24, "%.0f GB", b * 1e-9);
    else if (b >= 999.5e6) snprintf(out, 24, "%.2f GB", b * 1e-9);
    else if (b >= 99.95e6) snprintf(out, 24, "%.0f MB", b * 1e-6);
    else snprintf(out, 24, "%.1f MB", b * 1e-6);
    return out;
}
