#include "base/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

double drt_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void drt_progress_at(drt_progress *p, int64_t done, int64_t total) {
    if (!p || !p->report) return;
    double now = drt_clock();
    if (p->started == 0) p->started = now;
    double age = now - p->started;
    if (age < 2 || (now - p->last < 0.1 && done != total)) return;
    p->last = now;
    p->report(p, done, total, age);
}

char *drt_duration(char out[24], double s) {
    if (s >= 3600) snprintf(out, 24, "%d h %02d min", (int)(s / 3600), (int)(s / 60) % 60);
    else if (s >= 60) snprintf(out, 24, "%d min %02d s", (int)(s / 60), (int)s % 60);
    else snprintf(out, 24, "%.1f s", s);
    return out;
}

void drt_progress_terminal(drt_progress *p, int64_t done, int64_t total, double seconds) {
    enum { WIDTH = 24 };
    FILE *f = p->user;
    if (!isatty(fileno(f)) && done != total) return;
    char bar[WIDTH * 3 + 1], left[24], *b = bar;
    int full = total > 0 ? (int)(WIDTH * done / total) : 0;
    for (int i = 0; i < WIDTH; i++) b += sprintf(b, "%s", i < full ? "█" : "░");
    drt_duration(left, done ? seconds * (double)(total - done) / (double)done : 0);
    fprintf(f, "\r%s %s %lld/%lld, %s left \033[K%s", p->what ? p->what : "", bar, (long long)done, (long long)total,
            left, done == total ? "\n" : "");
    fflush(f);
}
