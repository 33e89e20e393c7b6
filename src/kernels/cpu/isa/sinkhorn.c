// Sinkhorn's normalisation without a logarithm inside. With k = e^(s - largest s) a sweep is u = 1 / (k v),
// v = 1 / (k^T u); where s spreads over at most MOST_SPREAD, k >= e^-32, u and v stay within e^+-96 for good (the sweep
// is monotone and homogeneous, so v keeps between multiples of the fixed point's, which spread over e^32), and the
// plain iteration is as safe as log-sum-exp. What spreads further goes to `ref`, which takes everything.
//
// Each sweep reads k once: of eight rows first the dot products with v, then, while they are in L1, their part of k^T
// u. The backward of a sweep is the same pass with other factors, and what the sweeps leave in ds is
//   k * sum over t of u_t (v_t dg_t)^T + (u_t df_t) v_{t-1}^T,
// one product of depth 2 sweeps.
#include "kernels/cpu/isa/table.h"
#include "kernels/ref/ref.h"

#define MOST_SPREAD 32.0f
enum { ROWS = 8 };

// One pass over k: s = k w; x and y of every row from its s; sums += k^T y.
typedef struct {
    drt_mat k;
    const float *w;        // [padded columns]
    const float *u, *from; // [rows] forward: u before (NULL: the first sweep); backward: u, and what x begins with
    float *x, *y;          // [rows] forward: x = y = 1 / s; backward: x = from - u s, y = u x
    bool forward;
    int64_t parts, pad;
    float *sums;  // [parts][pad]
    float *error; // [parts] forward: the largest |u s - 1|
} pass;

INLINE float row_answer(const pass *p, int64_t i, float s, float *error) {
    if (p->forward) {
        float off = p->u ? fabsf(p->u[i] * s - 1.0f) : INFINITY;
        if (!(off <= *error)) *error = off;
        return p->x[i] = 1.0f / s;
    }
    float x = (p->from ? p->from[i] : 0.0f) - p->u[i] * s;
    p->x[i] = x;
    return p->y[i] = p->u[i] * x;
}

INLINE void pass_rows(const int rows, const pass *p, int64_t first, float *sums, float *error) {
    int64_t n = p->k.cols, whole = n / VL * VL, ld = p->k.ld, rest = n - whole;
    const float *k = drt_row(p->k, first);
    vf s[ROWS], y[ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) s[i] = vset(0.0f);
    for (int64_t j = 0; j < whole; j += VL) {
        vf w = vload(p->w + j);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) s[i] += vload(k + i * ld + j) * w;
    }
    for (int i = 0; i < rows; i++) {
        if (rest) s[i] += vload_n(k + i * ld + whole, rest) * vload(p->w + whole);
        y[i] = vset(row_answer(p, first + i, vsum(s[i]), error));
    }
    for (int64_t j = 0; j < whole; j += VL) {
        vf a = vload(sums + j);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) a += vload(k + i * ld + j) * y[i];
        vstore(sums + j, a);
    }
    for (int i = 0; rest && i < rows; i++)
        vstore(sums + whole, vload(sums + whole) + vload_n(k + i * ld + whole, rest) * y[i]);
}

static void pass_parts(const void *args, int64_t first, int64_t end, int worker) {
    const pass *p = args;
    (void)worker;
    for (int64_t part = first; part < end; part++) {
        int64_t i = drt_part_first(p->k.rows, part, p->parts), last = drt_part_first(p->k.rows, part + 1, p->parts);
        float *sums = p->sums + part * p->pad, error = 0;
        memset(sums, 0, (size_t)p->pad * sizeof *sums);
        for (; i + ROWS <= last; i += ROWS) pass_rows(ROWS, p, i, sums, &error);
        for (; i < last; i++) pass_rows(1, p, i, sums, &error);
        p->error[part] = error;
    }
}

// Returns the largest error; the first row of sums holds the sum of all.
static float run_pass(drt_device *dev, const pass *p) {
    drt_cpu_each(dev, p->parts, pass_parts, p);
    float error = p->error[0];
    for (int64_t part = 0; part < p->parts; part++) {
        error = error > p->error[part] ? error : p->error[part];
        for (int64_t j = 0; part && j < p->pad; j += VL)
            vstore(p->sums + j, vload(p->sums + j) + vload(p->sums + part * p->pad + j));
    }
    return error;
}

typedef struct {
    drt_mat s, p, m, dp, out;
    float most; // largest number of s
    bool acc;
    const float *u, *v;
    float *row, *sums;
    int64_t parts, pad;
} job;

static void exponentials(const void *args, int64_t first, int64_t end, int worker) {
    const job *b = args;
    (void)worker;
    for (int64_t i = first; i < end; i++)
        for (int64_t j = 0; j < b->s.cols; j += VL) {
            int64_t left = b->s.cols - j;
            vstore_n(drt_row(b->out, i) + j, left, vexp(vload_n(drt_row(b->s, i) + j, left) - b->most));
        }
}

static void scaled(const void *args, int64_t first, int64_t end, int worker) {
    const job *b = args;
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        float *x = drt_row(b->out, i);
        for (int64_t j = 0; j < b->out.cols; j += VL)
            vstore_n(x + j, b->out.cols - j, vload_n(x + j, b->out.cols - j) * (vload(b->v + j) * b->u[i]));
    }
}

// Whether s spreads too far for the plain iteration; *most: its largest number. NaN spreads or does not, and comes out.
static bool spreads(drt_mat s, float *most) {
    vf low = vset(INFINITY), high = vset(-INFINITY);
    float least = INFINITY;
    *most = -INFINITY;
    for (int64_t i = 0; i < s.rows; i++) {
        const float *x = drt_row(s, i);
        int64_t j = 0;
        for (; j + VL <= s.cols; j += VL) low = vmin(low, vload(x + j)), high = vmax(high, vload(x + j));
        for (; j < s.cols; j++) least = fminf(least, x[j]), *most = fmaxf(*most, x[j]);
    }
    float lanes[VL];
    vstore(lanes, low);
    for (int j = 0; j < VL; j++) least = fminf(least, lanes[j]);
    *most = fmaxf(*most, vlargest(high));
    return !(*most - least <= MOST_SPREAD);
}

static int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

void DRT_FN(sinkhorn)(drt_device *dev, const drt_sinkhorn *how, drt_mat s, drt_mat p, drt_mat trace, int *done) {
    float most;
    if (!DRT_READY(dev, "sinkhorn", s, p, trace) || !ref_sinkhorn_fits(dev, "sinkhorn", how, s, p, trace)) return;
    if (spreads(s, &most)) {
        ref_sinkhorn(dev, how, s, p, trace, done);
        return;
    }
    int64_t n = s.rows, pad = padded(n), parts = drt_cpu_parts(dev, n * n);
    float *room = drt_cpu_scratch(dev, (size_t)((3 + parts) * pad + parts + 16));
    if (dev->dry) *done = how->sweeps;
    if (!room || dev->dry) return;
    float *u = room, *next = room + pad, *v = room + 2 * pad, *sums = room + 3 * pad;
    job b = {.s = s, .most = most, .out = p};
    drt_cpu_rows(dev, n, 4 * n, exponentials, &b);
    for (int64_t j = 0; j < pad; j++) v[j] = j < n ? 1.0f : 0.0f;
    pass k = {p, v, NULL, NULL, next, NULL, true, parts, pad, sums, sums + parts * pad};
    int t = 0;
    for (; t < how->sweeps; t++) {
        k.u = t ? u : NULL, k.x = next;
        if (run_pass(dev, &k) < how->tolerance) break;
        next = u, u = k.x;
        for (int64_t j = 0; j < n; j++) v[j] = 1.0f / sums[j];
        for (int64_t i = 0; trace.data && i < n; i++) {
            drt_row(trace, 2 * t)[i] = logf(u[i]);
            drt_row(trace, 2 * t + 1)[i] = logf(v[i]);
        }
    }
    *done = t;
    b.u = u, b.v = v;
    drt_cpu_rows(dev, n, n, scaled, &b);
}

// Gradients of log p: their sums over rows and columns.
static void slope_sums(const void *args, int64_t first, int64_t end, int worker) {
    const job *b = args;
    (void)worker;
    for (int64_t part = first; part < end; part++) {
        float *sums = b->sums + part * b->pad;
        memset(sums, 0, (size_t)b->pad * sizeof *sums);
        for (int64_t i = drt_part_first(b->p.rows, part, b->parts); i < drt_part_first(b->p.rows, part + 1, b->parts);
             i++) {
            vf row = vset(0.0f);
            for (int64_t j = 0; j < b->p.cols; j += VL) {
                int64_t left = b->p.cols - j;
                vf d = vload_n(drt_row(b->dp, i) + j, left) * vload_n(drt_row(b->p, i) + j, left);
                row += d;
                vstore(sums + j, vload(sums + j) + d);
            }
            b->row[i] = vsum(row);
        }
    }
}

// out (=|+=) dp p - k m, where m is a matrix, or u[i] + v[j].
static void slopes(const void *args, int64_t first, int64_t end, int worker) {
    const job *b = args;
    (void)worker;
    for (int64_t i = first; i < end; i++)
        for (int64_t j = 0; j < b->p.cols; j += VL) {
            int64_t left = b->p.cols - j;
            float *to = drt_row(b->out, i) + j;
            vf m = b->m.data ? vload_n(drt_row(b->m, i) + j, left) : vload(b->v + j) + b->u[i];
            vf d = vload_n(drt_row(b->dp, i) + j, left) * vload_n(drt_row(b->p, i) + j, left);
            d -= vload_n(drt_row(b->s, i) + j, left) * m;
            vstore_n(to, left, b->acc ? vload_n(to, left) + d : d);
        }
}

static double dot(const float *a, const float *b, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)a[i] * b[i];
    return s;
}

// The system of fixed_point does not see a constant in b; rounding would let it grow.
static double centred(float *x, int64_t n) {
    double mean = 0, size = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i];
    for (int64_t i = 0; i < n; i++) x[i] -= (float)(mean / (double)n), size += (double)x[i] * x[i];
    return size;
}

// (1 - p^T p) b = col - p^T row by conjugate gradients, at most so many steps, then a = row - p b (see ref). k: a pass
// over p with u = 1, whose x becomes a. room: [2][pad].
static void fixed_point(drt_device *dev, pass *k, int most, const float *row, const float *col, float *b, float *room) {
    int64_t n = k->k.rows, pad = k->pad;
    float *rest = room, *step = room + pad;
    memset(b, 0, (size_t)pad * sizeof *b);
    memset(step, 0, (size_t)pad * sizeof *step);
    k->w = b, k->from = row;
    run_pass(dev, k); // sums = p^T row
    for (int64_t j = 0; j < n; j++) rest[j] = col[j] - k->sums[j];
    double size = centred(rest, n), enough = 1e-14 * size;
    memcpy(step, rest, (size_t)n * sizeof *step);
    k->w = step, k->from = NULL;
    for (int i = 0; i < most && size > enough; i++) {
        run_pass(dev, k); // sums = -p^T p step
        for (int64_t j = 0; j < n; j++) k->sums[j] += step[j];
        double bend = dot(step, k->sums, n), before = size;
        if (bend <= 0) break; // rounding is all that is left
        float along = (float)(size / bend);
        for (int64_t j = 0; j < n; j++) b[j] += along * step[j], rest[j] -= along * k->sums[j];
        size = centred(rest, n);
        float keep = (float)(size / before);
        for (int64_t j = 0; j < n; j++) step[j] = rest[j] + keep * step[j];
    }
    k->w = b, k->from = row;
    run_pass(dev, k);
}

// What the sweeps left in ds: the factors left [2 done, n] and right [2 done, n], from the last sweep to the first.
// k: a pass over e^(s - most). dg begins as the gradient of the last v's logarithm. room: [2][pad].
static void unroll(drt_device *dev, pass *k, drt_mat trace, int done, const float *row, float *dg, float *left,
                   float *right, float *room) {
    int64_t n = k->k.rows, pad = k->pad;
    float *u = room, *w = room + pad;
    memset(w, 0, (size_t)pad * sizeof *w);
    for (int t = done - 1; t >= 0; t--) {
        float *lu = left + 2 * t * n, *ldf = lu + n, *rw = right + 2 * t * n, *rv = rw + n;
        for (int64_t j = 0; j < n; j++) {
            lu[j] = u[j] = expf(drt_row(trace, 2 * t)[j]);
            rv[j] = t ? expf(drt_row(trace, 2 * t - 1)[j]) : 1.0f;
            rw[j] = w[j] = expf(drt_row(trace, 2 * t + 1)[j]) * dg[j];
        }
        k->w = w, k->u = u, k->y = ldf, k->from = t == done - 1 ? row : NULL;
        run_pass(dev, k);
        for (int64_t j = 0; j < n; j++) dg[j] = -rv[j] * k->sums[j];
    }
}

void DRT_FN(sinkhorn_back)(drt_device *dev, const drt_sinkhorn *how, drt_mat s, drt_mat p, drt_mat trace, int done,
                           drt_mat dp, bool acc, drt_mat ds) {
    float most;
    if (!DRT_READY(dev, "sinkhorn_back", s, p, trace, dp, ds) ||
        !ref_sinkhorn_fits(dev, "sinkhorn_back", how, s, p, trace))
        return;
    if (spreads(s, &most)) {
        ref_sinkhorn_back(dev, how, s, p, trace, done, dp, acc, ds);
        return;
    }
    int64_t n = s.rows, pad = padded(n), parts = drt_cpu_parts(dev, n * n), deep = how->implicit ? 0 : 2 * done;
    // Not the scratch, which the product may use.
    float *room = drt_cpu_expanded(dev, (size_t)((8 + parts) * pad + parts + (deep ? 2 * n * (n + deep) : 0)));
    if (!room || dev->dry) return;
    float *row = room, *col = room + pad, *x = room + 2 * pad, *y = room + 3 * pad, *b = room + 4 * pad,
          *one = room + 5 * pad, *more = room + 6 * pad, *sums = room + 8 * pad, *error = sums + parts * pad;
    job j = {.s = p, .p = p, .dp = dp, .out = ds, .acc = acc, .row = row, .sums = sums, .parts = parts, .pad = pad};
    pass k = {p, NULL, one, NULL, x, y, false, parts, pad, sums, error};
    drt_cpu_each(dev, parts, slope_sums, &j);
    memset(col, 0, (size_t)pad * sizeof *col);
    drt_add_parts(col, sums, parts, pad, n, false);
    if (how->implicit) {
        for (int64_t i = 0; i < pad; i++) one[i] = 1.0f;
        fixed_point(dev, &k, how->sweeps, row, col, b, more);
        j.u = x, j.v = b;
    } else {
        float *left = error + parts, *right = left + n * deep;
        drt_mat e = drt_mat_f32(right + n * deep, n, n), m = drt_mat_f32((float *)e.data + n * n, n, n);
        job exponents = {.s = s, .most = most, .out = e};
        drt_cpu_rows(dev, n, 4 * n, exponentials, &exponents);
        k.k = j.s = e, j.m = m;
        unroll(dev, &k, trace, done, row, col, left, right, more);
        drt_cpu_product(dev, true, false, drt_mat_f32(left, deep, n), drt_mat_f32(right, deep, n), (drt_mat){0}, false,
                       m);
    }
    drt_cpu_rows(dev, n, 3 * n, slopes, &j);
}
