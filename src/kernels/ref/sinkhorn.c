// Sinkhorn's normalisation in the log domain, as its formulas read.
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdlib.h>

bool ref_sinkhorn_fits(drt_device *dev, const char *kernel, const drt_sinkhorn *how, drt_mat s, drt_mat p,
                       drt_mat trace) {
    int64_t n = s.rows;
    if (how->sweeps >= 1 && s.cols == n && p.rows == n && p.cols == n &&
        (!trace.data || (trace.rows == 2 * (int64_t)how->sweeps && trace.cols == n)))
        return true;
    drt_device_fail(dev, DRT_EARG, "%s: scores %lld x %lld, plan %lld x %lld, trace %lld x %lld for %d sweeps", kernel,
                    (long long)s.rows, (long long)s.cols, (long long)p.rows, (long long)p.cols, (long long)trace.rows,
                    (long long)trace.cols, how->sweeps);
    return false;
}

static double *numbers(drt_device *dev, int64_t n) {
    double *x = calloc((size_t)n + 1, sizeof *x);
    if (!x) drt_device_fail(dev, DRT_ENOMEM, "sinkhorn: no memory for %lld numbers; take fewer tokens", (long long)n);
    return x;
}

// out[i] = -log sum over j of e^(s[i, j] + add[j]), or of s transposed.
static void normalise(drt_mat s, bool columns, const double *add, double *out) {
    int64_t n = s.rows;
    for (int64_t i = 0; i < n; i++) {
        double most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) most = fmax(most, (columns ? drt_row(s, j)[i] : drt_row(s, i)[j]) + add[j]);
        for (int64_t j = 0; j < n; j++) sum += exp((columns ? drt_row(s, j)[i] : drt_row(s, i)[j]) + add[j] - most);
        out[i] = -(most + log(sum));
    }
}

static double largest(drt_mat s) {
    double most = -INFINITY;
    for (int64_t i = 0; i < s.rows; i++)
        for (int64_t j = 0; j < s.cols; j++) most = fmax(most, drt_row(s, i)[j]);
    return most;
}

// How far the sum of a row is from 1 at most.
static double row_error(drt_mat s, const double *f, const double *g) {
    double most = 0;
    for (int64_t i = 0; i < s.rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < s.cols; j++) sum += exp(drt_row(s, i)[j] + f[i] + g[j]);
        most = fmax(most, fabs(sum - 1));
    }
    return most;
}

void ref_sinkhorn(drt_device *dev, const drt_sinkhorn *how, drt_mat s, drt_mat p, drt_mat trace, int *done) {
    REF_F32(dev, s, p, trace);
    if (!ref_sinkhorn_fits(dev, "sinkhorn", how, s, p, trace)) return;
    int64_t n = s.rows;
    double *f = numbers(dev, 2 * n), *g = f + n, most = largest(s);
    int t = 0;
    if (!f) return;
    for (; t < how->sweeps; t++) {
        if (t && how->tolerance > 0 && row_error(s, f, g) < how->tolerance) break;
        normalise(s, false, g, f);
        normalise(s, true, f, g);
        for (int64_t i = 0; trace.data && i < n; i++) {
            drt_row(trace, 2 * t)[i] = (float)(f[i] + most);
            drt_row(trace, 2 * t + 1)[i] = (float)g[i];
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) drt_row(p, i)[j] = (float)exp(drt_row(s, i)[j] + f[i] + g[j]);
    *done = t;
    free(f);
}

// Back through the sweeps, the last first. df, dg: gradients of the potentials, which begin as the sums of dl. A half
// sweep f = -lse(s + g) has the slopes -w, w = e^(s + f + g): of s, and of g after summing.
static void unroll(drt_mat s, drt_mat trace, int done, double *df, double *dg, double *dl) {
    int64_t n = s.rows;
    double most = largest(s);
    for (int t = 2 * done - 1; t >= 0; t--) {
        bool columns = t & 1; // this half sweep computed g
        const float *f = drt_row(trace, t - columns), *g = columns ? drt_row(trace, t)
                                                           : t     ? drt_row(trace, t - 1)
                                                                   : NULL;
        double *from = columns ? dg : df, *to = columns ? df : dg;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                double w = exp(drt_row(s, i)[j] - most + f[i] + (g ? g[j] : 0)), d = w * from[columns ? j : i];
                dl[i * n + j] -= d;
                to[columns ? i : j] -= d;
            }
        for (int64_t i = 0; i < n; i++) from[i] = 0;
    }
}

// At the fixed point rows and columns of p sum to 1, and dl loses p (a[i] + b[j]) where
//   a + p b = row sums of dl,  p^T a + b = column sums of dl.
// Solved by turns, which converges as the sweeps do.
static void fixed_point(drt_mat p, double *row, const double *col, double *dl) {
    enum { MOST_TURNS = 100000 };
    int64_t n = p.rows;
    double *a = row + 2 * n, *b = row + 3 * n, moved = INFINITY;
    for (int turn = 0; turn < MOST_TURNS && moved > 1e-13; turn++) {
        moved = 0;
        for (int64_t j = 0; j < n; j++) {
            double x = col[j];
            for (int64_t i = 0; i < n; i++) x -= drt_row(p, i)[j] * a[i];
            moved = fmax(moved, fabs(x - b[j]));
            b[j] = x;
        }
        for (int64_t i = 0; i < n; i++) {
            a[i] = row[i];
            for (int64_t j = 0; j < n; j++) a[i] -= drt_row(p, i)[j] * b[j];
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) dl[i * n + j] -= drt_row(p, i)[j] * (a[i] + b[j]);
}

void ref_sinkhorn_back(drt_device *dev, const drt_sinkhorn *how, drt_mat s, drt_mat p, drt_mat trace, int done,
                       drt_mat dp, bool acc, drt_mat ds) {
    REF_F32(dev, s, p, trace, dp, ds);
    if (!ref_sinkhorn_fits(dev, "sinkhorn_back", how, s, p, trace)) return;
    int64_t n = s.rows;
    double *df = numbers(dev, 4 * n), *dg, *dl = df ? numbers(dev, n * n) : NULL; // dl: of log p, then of s
    if (dl) {
        dg = df + n;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                double d = (double)drt_row(dp, i)[j] * drt_row(p, i)[j];
                dl[i * n + j] = d, df[i] += d, dg[j] += d;
            }
        if (how->implicit) fixed_point(p, df, dg, dl);
        else unroll(s, trace, done, df, dg, dl);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) ref_put(&drt_row(ds, i)[j], dl[i * n + j], acc);
    }
    free(df);
    free(dl);
}
