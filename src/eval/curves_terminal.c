// Curves as braille dots: a character is 2 dots wide and 4 high.
#include "eval/curves.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int columns, rows;
    uint8_t *dots, *colour; // [rows * columns]; which dots are set, whose they are (1 more than the curve)
    double x0, x1, y0, y1;
    bool log_x;
} plot;

static double x_of(const plot *p, double x) { return p->log_x ? log10(x) : x; }

static bool usable(const plot *p, const drt_curve *c, int64_t i) {
    return isfinite(c->y[i]) && isfinite(c->x[i]) && (!p->log_x || c->x[i] > 0);
}

// Dot (x, y), y from below; dots outside are left out.
static void put_dot(plot *p, int x, int y, int curve) {
    static const uint8_t bit[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}; // Unicode's order
    int row = p->rows * 4 - 1 - y;
    if (x < 0 || x >= p->columns * 2 || row < 0 || row >= p->rows * 4) return;
    int at = row / 4 * p->columns + x / 2;
    p->dots[at] |= bit[row % 4][x % 2];
    p->colour[at] = (uint8_t)(curve + 1);
}

static void put_line(plot *p, double x0, double y0, double x1, double y1, int curve) {
    int steps = (int)fmax(fabs(x1 - x0), fabs(y1 - y0)) + 1;
    for (int i = 0; i <= steps; i++)
        put_dot(p, (int)lround(x0 + (x1 - x0) * i / steps), (int)lround(y0 + (y1 - y0) * i / steps), curve);
}

// Visits the points of a curve, smoothed; draws, or with `draw` false finds the range of y.
static void walk(plot *p, const drt_curve *c, int number, double smoothing, bool draw) {
    double mean = 0, weight = 0, before[2] = {0};
    int64_t drawn = 0;
    for (int64_t i = 0; i < c->n; i++) {
        if (!usable(p, c, i)) continue;
        double y = c->y[i], x = x_of(p, c->x[i]);
        if (smoothing > 1) {
            mean += (y - mean) / smoothing;
            weight += (1 - weight) / smoothing;
            y = mean / weight;
        }
        if (!draw) {
            p->x0 = fmin(p->x0, x), p->x1 = fmax(p->x1, x);
            p->y0 = fmin(p->y0, y), p->y1 = fmax(p->y1, y);
            continue;
        }
        double at[2] = {(x - p->x0) / (p->x1 - p->x0) * (p->columns * 2 - 1),
                        (y - p->y0) / (p->y1 - p->y0) * (p->rows * 4 - 1)};
        put_line(p, drawn ? before[0] : at[0], drawn ? before[1] : at[1], at[0], at[1], number);
        memcpy(before, at, sizeof before);
        drawn++;
    }
}

static const char *const colours[] = {"34", "33", "32", "35", "36", "31", "37", "90"};

static void put_rows(const plot *p, bool coloured, drt_text *out) {
    for (int row = 0; row < p->rows; row++) {
        char label[16] = "";
        if (row == 0 || row == p->rows - 1) snprintf(label, sizeof label, "%.4g", row ? p->y0 : p->y1);
        drt_text_printf(out, "%10s %s", label, row == 0 || row == p->rows - 1 ? "┤" : "│");
        int colour = 0;
        for (int i = 0; i < p->columns; i++) {
            int at = row * p->columns + i, dots = p->dots[at], own = coloured ? p->colour[at] : 0;
            if (own && own != colour) drt_text_printf(out, "\033[%sm", colours[(own - 1) % 8]);
            if (own) colour = own;
            const char braille[] = {(char)0xe2, (char)(0xa0 | dots >> 6), (char)(0x80 | (dots & 63)), 0};
            drt_text_puts(out, dots ? braille : " ");
        }
        drt_text_puts(out, colour ? "\033[0m\n" : "\n");
    }
}

void drt_curves_terminal(const drt_curve *curves, int n, const drt_curve_options *o, drt_text *out) {
    plot p = {.columns = o->width ? o->width : 72, .rows = o->height ? o->height : 16, .log_x = o->log_x};
    p.x0 = p.y0 = INFINITY, p.x1 = p.y1 = -INFINITY;
    for (int i = 0; i < n; i++) walk(&p, &curves[i], i, o->smoothing, false);
    if (o->title) drt_text_printf(out, "%10s  %s\n", "", o->title);
    if (!(p.x0 <= p.x1)) {
        drt_text_puts(out, "no data yet\n");
        return;
    }
    if (o->from_zero && p.y0 > 0) p.y0 = 0;
    if (!(p.x1 > p.x0)) p.x1 = p.x0 + 1;
    if (!(p.y1 > p.y0)) p.y1 = p.y0 + fmax(fabs(p.y0), 1) * 0.1;
    size_t cells = (size_t)(p.columns * p.rows);
    p.dots = calloc(2 * cells, 1);
    if (!p.dots) {
        out->failed = true;
        return;
    }
    p.colour = p.dots + cells;
    for (int i = 0; i < n; i++) walk(&p, &curves[i], i, o->smoothing, true);
    put_rows(&p, n > 1 && !o->plain, out);
    char first[24], last[24];
    snprintf(first, sizeof first, "%.6g", p.log_x ? pow(10, p.x0) : p.x0);
    snprintf(last, sizeof last, "%.6g", p.log_x ? pow(10, p.x1) : p.x1);
    drt_text_printf(out, "%10s  %s%*s%s%s\n", "", first, p.columns - (int)strlen(first), last, o->x_label ? "  " : "",
                    o->x_label ? o->x_label : "");
    for (int i = 0; i < n; i++)
        if (curves[i].name && n > 1 && o->plain) drt_text_printf(out, "%10s  %s\n", "", curves[i].name);
        else if (curves[i].name && n > 1)
            drt_text_printf(out, "%10s  \033[%sm━━\033[0m %s\n", "", colours[i % 8], curves[i].name);
    free(p.dots);
}
