#include "common/timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double bench_now(bool cpu) {
    struct timespec t;
    clock_gettime(cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bench_times bench_summary(double *t, int n) {
    qsort(t, (size_t)n, sizeof *t, by_value);
    return (bench_times){t[n / 2], t[0], (t[n * 9 / 10] - t[n / 10]) / t[n / 2]};
}

void *bench_memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    if (p) return p;
    fprintf(stderr, "bench: no memory for %zu bytes\n", bytes);
    exit(1);
}

double bench_held(const char *field) {
    char line[200];
    double kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, field, strlen(field))) kilobytes = atof(line + strlen(field) + 1);
    if (f) fclose(f);
    return 1024 * kilobytes;
}

void bench_memory_watch(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fputs("5", f); // the highest becomes what it is now
    fclose(f);
}
