#include "align/assignment.h"

#include <math.h>
#include <stdlib.h>

// The cost of (i, j) is -gain; it is at least row[i] + col[j], and equal where i takes j.
typedef struct {
    drt_mat gain;
    int64_t n;
    double *row, *col, *reach; // reach: cost of the cheapest path to a column
    int32_t *column, *taker;   // column of a row, row of a column; -1: none yet
    int32_t *before;           // the row from which a path comes to a column
    bool *done;                // the cheapest path to this column is known
} search;

static double excess(const search *s, int64_t i, int64_t j) {
    return -(double)drt_row(s->gain, i)[j] - s->row[i] - s->col[j];
}

static void start(search *s) {
    for (int64_t j = 0; j < s->n; j++) s->taker[j] = -1, s->col[j] = 0;
    for (int64_t i = 0; i < s->n; i++) {
        const float *g = drt_row(s->gain, i);
        int64_t best = 0;
        for (int64_t j = 1; j < s->n; j++)
            if (g[j] > g[best]) best = j;
        s->row[i] = -(double)g[best];
        s->column[i] = -1;
        if (s->taker[best] < 0) s->taker[best] = (int32_t)i, s->column[i] = (int32_t)best;
    }
}

// Gives row `from` a column, by a cheapest path over rows that have one (Dijkstra).
static void augment(search *s, int64_t from) {
    for (int64_t j = 0; j < s->n; j++)
        s->reach[j] = excess(s, from, j), s->before[j] = (int32_t)from, s->done[j] = false;
    int64_t end;
    for (;;) {
        end = -1;
        for (int64_t j = 0; j < s->n; j++)
            if (!s->done[j] && (end < 0 || s->reach[j] < s->reach[end])) end = j;
        s->done[end] = true;
        int32_t i = s->taker[end];
        if (i < 0) break;
        for (int64_t j = 0; j < s->n; j++) {
            double cost = s->reach[end] + excess(s, i, j);
            if (!s->done[j] && cost < s->reach[j]) s->reach[j] = cost, s->before[j] = i;
        }
    }
    // Bounds that make the path's pairs tight and leave no cost below them.
    double length = s->reach[end];
    s->row[from] += length;
    for (int64_t j = 0; j < s->n; j++) {
        if (!s->done[j] || j == end) continue;
        s->row[s->taker[j]] += length - s->reach[j];
        s->col[j] -= length - s->reach[j];
    }
    for (int64_t j = end;;) {
        int32_t i = s->before[j], other = s->column[i];
        s->taker[j] = i, s->column[i] = (int32_t)j;
        if (i == from) return;
        j = other;
    }
}

drt_status drt_assign(drt_mat gain, int32_t *column, drt_error *err) {
    int64_t n = gain.rows;
    if (gain.cols != n)
        return drt_fail(err, DRT_EARG, "assignment: %lld rows and %lld columns cannot be paired", (long long)n,
                        (long long)gain.cols);
    for (int64_t i = 0; i < n * n; i++)
        if (!isfinite(drt_row(gain, i / n)[i % n]))
            return drt_fail(err, DRT_ENUMERIC, "assignment: number %lld of row %lld is not finite", (long long)(i % n),
                            (long long)(i / n));
    search s = {.gain = gain, .n = n, .column = column};
    char *room = calloc((size_t)n + 1, 3 * sizeof *s.row + 2 * sizeof *s.taker + sizeof *s.done);
    if (!room) return drt_fail(err, DRT_ENOMEM, "no memory to assign %lld rows", (long long)n);
    s.row = (double *)room, s.col = s.row + n, s.reach = s.col + n;
    s.taker = (int32_t *)(s.reach + n), s.before = s.taker + n;
    s.done = (bool *)(s.before + n);
    start(&s);
    for (int64_t i = 0; i < n; i++)
        if (column[i] < 0) augment(&s, i);
    free(room);
    return DRT_OK;
}
