#include "train/spike.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

bool drt_spike_judge(drt_spike_window *w, double x, double threshold, drt_spike *s) {
    double sorted[DRT_SPIKE_WINDOW];
    *s = (drt_spike){.value = x, .of = w->n};
    if (!isfinite(x)) return false;
    if (w->n >= DRT_SPIKE_LEAST) {
        memcpy(sorted, w->value, (size_t)w->n * sizeof *sorted);
        s->median = median(sorted, w->n);
        for (int i = 0; i < w->n; i++) sorted[i] = fabs(w->value[i] - s->median);
        double spread = fmax(1.4826 * median(sorted, w->n), fabs(s->median) / 50);
        s->spreads = spread > 0 ? (x - s->median) / spread : 0;
    }
    w->value[w->at] = x;
    w->at = (w->at + 1) % DRT_SPIKE_WINDOW;
    if (w->n < DRT_SPIKE_WINDOW) w->n++;
    return s->spreads > threshold;
}
