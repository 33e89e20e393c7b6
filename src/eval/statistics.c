#include "eval/statistics.h"

#include <math.h>

static const double half_turn = 3.14159265358979323846;

// P(|T| <= t) at the angle atan(t / sqrt(freedom)).
static double within(double angle, int freedom) {
    double c = cos(angle), s = sin(angle), term = freedom % 2 ? c : 1, sum = 0;
    for (int k = freedom % 2 ? 1 : 0; k <= freedom - 2; k += 2) {
        sum += term;
        term *= c * c * (k + 1) / (k + 2);
    }
    return freedom % 2 ? 2 / half_turn * (angle + s * sum) : s * sum;
}

double drt_student_tail(double t, int freedom) {
    double outside = 1 - within(atan(fabs(t) / sqrt(freedom)), freedom);
    return outside > 0 ? outside : 0;
}

double drt_student_quantile(double level, int freedom) {
    double low = 0, high = half_turn / 2;
    for (int i = 0; i < 100; i++) {
        double middle = 0.5 * (low + high);
        if (within(middle, freedom) < level) low = middle;
        else high = middle;
    }
    return tan(0.5 * (low + high)) * sqrt(freedom);
}

drt_interval drt_interval_of(const double *values, int n) {
    drt_interval r = {0, 0, NAN, NAN};
    double squares = 0, largest = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(values[i])) r.mean += values[i], r.n++;
    r.mean /= r.n; // NaN of none
    if (r.n < 2) return r;
    for (int i = 0; i < n; i++) {
        if (isnan(values[i])) continue;
        squares += (values[i] - r.mean) * (values[i] - r.mean);
        largest = fmax(largest, fabs(values[i]));
    }
    double error = sqrt(squares / (r.n - 1) / r.n);
    r.p = 1;
    if (error <= 1e-12 * largest) return r;
    r.half = drt_student_quantile(0.95, r.n - 1) * error;
    r.p = drt_student_tail(r.mean / error, r.n - 1);
    return r;
}

int drt_holm(double *p, int n) {
    int comparisons = 0, done = 0;
    double last = 0;
    for (int i = 0; i < n; i++) comparisons += !isnan(p[i]);
    // Ranked by how many are smaller, equal ones in their order; a done one is marked by its sign until all are.
    for (; done < comparisons; done++) {
        int least = -1;
        for (int i = 0; i < n; i++)
            if (!isnan(p[i]) && !signbit(p[i]) && (least < 0 || p[i] < p[least])) least = i;
        last = fmax(last, fmin(1, p[least] * (comparisons - done)));
        p[least] = -last;
    }
    for (int i = 0; i < n; i++) p[i] = fabs(p[i]);
    return comparisons;
}
