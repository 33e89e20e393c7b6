// Spikes of a series, told by a rule that spikes do not bend: a value is one if it lies more than `threshold` spreads
// above the median of the values before it. The spread is 1.4826 times the median distance from that median (MAD; a
// normal distribution's deviation), and at least a fiftieth of the median, so that a series that hardly moves does not
// cry at every breath.
//
//   drt_spike_window w = {0};
//   drt_spike s;
//   if (drt_spike_judge(&w, loss, 8, &s)) ... s.median, s.spreads ...
#ifndef DRT_TRAIN_SPIKE_H
#define DRT_TRAIN_SPIKE_H

#include <stdbool.h>

enum {
    DRT_SPIKE_WINDOW = 100, // the values before that count
    DRT_SPIKE_LEAST = 20    // fewer of them judge nothing
};

typedef struct {
    double value[DRT_SPIKE_WINDOW];
    int n, at;
} drt_spike_window;

typedef struct {
    double value, median, spreads; // spreads: above the median
    int of;                        // values that judged it
} drt_spike;

// Whether x is a spike; *s says by how much. Then x joins the window (spikes, too: what stays is no spike), unless it
// is not finite, which is never a spike.
bool drt_spike_judge(drt_spike_window *w, double x, double threshold, drt_spike *s);

#endif
