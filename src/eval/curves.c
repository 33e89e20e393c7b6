#include "eval/curves.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLOURS = 8, MARGIN = 14, LEGEND_ROW = 19 };
enum { PAD = 4 }; // room for a stroke at the plot's edge
static const double LETTER = 7.1; // mean width of a letter at 13 units

// Okabe and Ito's palette; the dark ground gets lighter relatives of the same hues.
static const char style[] =
    "<style>"
    ".drt-chart{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    ".drt-chart .ground{fill:#fff}.drt-chart text{fill:#57606a}.drt-chart .title{fill:#1f2328;font-weight:600;"
    "font-size:15px}.drt-chart .name{fill:#1f2328}.drt-chart .grid{stroke:#d8dee4;stroke-width:1}"
    ".drt-chart .axis{stroke:#8c959f;stroke-width:1}"
    ".drt-chart .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".drt-chart .raw{stroke-width:1;stroke-opacity:.25}"
    ".drt-chart .c1{stroke:#0072b2}.drt-chart .c2{stroke:#d55e00}.drt-chart .c3{stroke:#009e73}"
    ".drt-chart .c4{stroke:#b4559a}.drt-chart .c5{stroke:#c98a00}.drt-chart .c6{stroke:#3aa0dc}"
    ".drt-chart .c7{stroke:#57606a}.drt-chart .c8{stroke:#7a3e00}"
    "@media (prefers-color-scheme:dark){"
    ".drt-chart .ground{fill:#0d1117}.drt-chart text{fill:#9da7b3}.drt-chart .title,.drt-chart .name{fill:#e6edf3}"
    ".drt-chart .grid{stroke:#2a313a}.drt-chart .axis{stroke:#6e7681}"
    ".drt-chart .c1{stroke:#58b4f0}.drt-chart .c2{stroke:#ff8c4b}.drt-chart .c3{stroke:#35d0a0}"
    ".drt-chart .c4{stroke:#e79cca}.drt-chart .c5{stroke:#f0c14b}.drt-chart .c6{stroke:#a5d8ff}"
    ".drt-chart .c7{stroke:#b1bac4}.drt-chart .c8{stroke:#d6a06b}}"
    "</style>";

typedef struct {
    double least, most, step; // of the axis; step of its ticks
    int decimals;
} axis;

typedef struct {
    const drt_curve *curves;
    int n;
    const drt_curve_options *o;
    double left, top, width, height; // of the plot
    axis x, y;
    drt_text *out;
} chart;

static double x_of(const chart *c, double x) { return c->o->log_x ? log10(x) : x; }

static bool usable(const chart *c, const drt_curve *curve, int64_t i) {
    return isfinite(curve->y[i]) && isfinite(curve->x[i]) && (!c->o->log_x || curve->x[i] > 0);
}

// Ticks at multiples of 1, 2 or 5 times a power of ten, about `count` of them; with `whole` the axis ends on ticks.
static axis nice_axis(double least, double most, int count, bool whole) {
    if (!(most - least > 1e-9 * fmax(fabs(most), fabs(least)))) {
        double pad = least ? fabs(least) * 0.1 : 1;
        least -= pad, most += pad;
    }
    double rough = (most - least) / count, power = pow(10, floor(log10(rough))), digit = rough / power;
    axis a = {.step = power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10)};
    a.least = whole ? floor(least / a.step + 1e-9) * a.step : least;
    a.most = whole ? ceil(most / a.step - 1e-9) * a.step : most;
    a.decimals = a.step < 1 ? (int)ceil(-log10(a.step) - 1e-9) : 0;
    return a;
}

static void tick_label(char out[32], double value, int decimals) {
    double size = fabs(value);
    if (size < 1e-12) snprintf(out, 32, "0");
    else if (size >= 1e6) snprintf(out, 32, "%gM", value / 1e6);
    else if (size >= 1e4) snprintf(out, 32, "%gk", value / 1e3);
    else if (decimals > 6) snprintf(out, 32, "%.3g", value);
    else snprintf(out, 32, "%.*f", decimals, value);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The y axis holds all but the rarest spikes. False when there is nothing to draw.
static bool find_ranges(chart *c) {
    int64_t total = 0, n = 0;
    double x0 = INFINITY, x1 = -INFINITY;
    bool whole = !c->o->log_x;
    for (int i = 0; i < c->n; i++) total += c->curves[i].n;
    double *y = malloc((size_t)(total ? total : 1) * sizeof *y);
    if (!y) return !(c->out->failed = true);
    for (int i = 0; i < c->n; i++)
        for (int64_t j = 0; j < c->curves[i].n; j++) {
            if (!usable(c, &c->curves[i], j)) continue;
            double x = x_of(c, c->curves[i].x[j]);
            if (x < x0) x0 = x;
            if (x > x1) x1 = x;
            whole &= x == floor(x);
            y[n++] = c->curves[i].y[j];
        }
    if (n) {
        qsort(y, (size_t)n, sizeof *y, ascending);
        int64_t rare = c->o->smoothing > 0 ? n / 200 : 0;
        double y0 = y[rare], y1 = y[n - 1 - rare];
        if (c->o->from_zero && y0 > 0) y0 = 0;
        if (y0 > 0 && y0 < 0.4 * y1) y0 = 0;
        c->y = nice_axis(y0, y1, 5, true);
        c->x = nice_axis(x0, x1, c->o->log_x ? 4 : 6, false);
        if (whole && c->x.step < 1) c->x.step = 1, c->x.decimals = 0; // no half steps
    }
    free(y);
    return n > 0;
}

static int colour_of(const chart *c, int i) { return c->curves[i].colour ? c->curves[i].colour : i % COLOURS + 1; }

static int characters(const char *s) {
    int n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

// Names above the plot, as many to a row as fit. Returns the rows that they take.
static int put_legend(const chart *c, double width, double top) {
    double at = MARGIN;
    int row = 0;
    bool any = false;
    for (int i = 0; i < c->n; i++) {
        const drt_curve *curve = &c->curves[i];
        if (!curve->name) continue;
        double needs = 26 + LETTER * characters(curve->name) + 16;
        if (at + needs > width && at > MARGIN) at = MARGIN, row++;
        double y = top + row * LEGEND_ROW;
        drt_text_printf(c->out, "<path class=\"line c%d\" d=\"M%.1f %.1fh18\"/>", colour_of(c, i), at, y - 4.5);
        drt_text_printf(c->out, "<text class=\"name\" x=\"%.1f\" y=\"%.1f\">", at + 25, y);
        drt_text_html(c->out, curve->name);
        drt_text_puts(c->out, "</text>");
        at += needs;
        any = true;
    }
    return row + any;
}

static void put_text(const chart *c, const char *class, double x, double y, const char *anchor, const char *text) {
    drt_text_printf(c->out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", class, x, y, anchor);
    drt_text_html(c->out, text);
    drt_text_puts(c->out, "</text>");
}

static void put_y_ticks(chart *c) {
    char label[32];
    int count = (int)((c->y.most - c->y.least) / c->y.step + 0.5), widest = 1;
    for (int i = 0; i <= count; i++) {
        tick_label(label, c->y.least + i * c->y.step, c->y.decimals);
        if ((int)strlen(label) > widest) widest = (int)strlen(label);
    }
    double right = c->left + c->width;
    c->left = MARGIN + LETTER * widest + 8;
    c->width = right - c->left;
    for (int i = 0; i <= count; i++) {
        double y = c->top + c->height * (1 - (double)i / count);
        tick_label(label, c->y.least + i * c->y.step, c->y.decimals);
        const char *class = i ? "grid" : "axis";
        drt_text_printf(c->out, "<path class=\"%s\" d=\"M%.1f %.1fh%.1f\"/>", class, c->left, y, c->width);
        put_text(c, "tick", c->left - 8, y + 4.5, "end", label);
    }
}

static void put_x_tick(const chart *c, double value, double at) {
    char label[32];
    double x = c->left + (at - c->x.least) / (c->x.most - c->x.least) * c->width, bottom = c->top + c->height;
    tick_label(label, value, c->o->log_x ? 0 : c->x.decimals);
    if (c->o->log_x && fabs(at) > 7) snprintf(label, sizeof label, "1e%.0f", floor(at + 1e-9));
    else if (c->o->log_x && value < 1) snprintf(label, sizeof label, "%g", value);
    drt_text_printf(c->out, "<path class=\"axis\" d=\"M%.1f %.1fv5\"/>", x, bottom);
    put_text(c, "tick", x, bottom + 19, "middle", label);
}

static void put_x_ticks(const chart *c) {
    if (!c->o->log_x) {
        double first = ceil(c->x.least / c->x.step - 1e-9);
        for (int i = 0; i < 20 && (first + i) * c->x.step <= c->x.most + 1e-9 * c->x.step; i++)
            put_x_tick(c, (first + i) * c->x.step, (first + i) * c->x.step);
        return;
    }
    bool narrow = c->x.most - c->x.least < 2;
    int every = (int)ceil((c->x.most - c->x.least) / 8);
    for (int power = (int)floor(c->x.least); power <= c->x.most; power += every > 1 ? every : 1)
        for (int digit = 1; digit <= (narrow ? 5 : 1); digit += digit == 1 ? 1 : 3) {
            double at = power + log10(digit);
            if (at >= c->x.least - 1e-9 && at <= c->x.most + 1e-9) put_x_tick(c, pow(10, at), at);
        }
}

static void put_point(const chart *c, bool first, double x, double y) {
    double at = (x - c->x.least) / (c->x.most - c->x.least) * c->width;
    double height = (1 - (y - c->y.least) / (c->y.most - c->y.least)) * c->height;
    if (height < -c->height) height = -c->height; // far outside: keep the numbers short
    if (height > 2 * c->height) height = 2 * c->height;
    drt_text_printf(c->out, "%s%.1f %.1f", first ? "M" : "L", at + PAD, height + PAD);
}

// One line through the curve. Points closer together than the eye can part become one column: the raw line keeps its
// lowest and highest, the smooth one its last.
static void put_line(const chart *c, const drt_curve *curve, int number, double smoothing, bool raw) {
    double mean = 0, weight = 0, low = 0, high = 0, column = 0, apart = (c->x.most - c->x.least) / c->width * 0.8;
    int64_t drawn = 0, held = 0;
    drt_text_printf(c->out, "<path class=\"line c%d%s\" d=\"", number, raw ? " raw" : "");
    for (int64_t i = 0; i < curve->n; i++) {
        if (!usable(c, curve, i)) continue;
        double x = x_of(c, curve->x[i]), y = curve->y[i];
        if (smoothing > 1 && !raw) {
            mean += (y - mean) / smoothing;
            weight += (1 - weight) / smoothing;
            y = mean / weight;
        }
        if (held && x - column >= apart) {
            if (raw && high > low) put_point(c, !drawn++, column, high);
            put_point(c, !drawn++, column, low);
            held = 0;
        }
        if (!held++) low = high = y, column = x;
        else if (!raw) low = high = y;
        else low = fmin(low, y), high = fmax(high, y);
    }
    if (held) {
        if (raw && high > low) put_point(c, !drawn++, column, high);
        put_point(c, !drawn++, column, low);
    }
    // A single point is a dot: round caps show it.
    drt_text_puts(c->out, drawn == 1 && !raw ? "h0\" style=\"stroke-width:7\"/>" : "\"/>");
}

static void put_plot(chart *c) {
    put_y_ticks(c);
    put_x_ticks(c);
    drt_text_printf(c->out, "<svg x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" overflow=\"hidden\">",
                    c->left - PAD, c->top - PAD, c->width + 2 * PAD, c->height + 2 * PAD);
    for (int raw = c->o->smoothing > 1; raw >= 0; raw--)
        for (int i = 0; i < c->n; i++) put_line(c, &c->curves[i], colour_of(c, i), c->o->smoothing, raw);
    drt_text_puts(c->out, "</svg>");
}

void drt_curves_svg(const drt_curve *curves, int n, const drt_curve_options *o, drt_text *out) {
    int width = o->width ? o->width : 520, height = o->height ? o->height : 320;
    chart c = {.curves = curves, .n = n, .o = o, .left = MARGIN, .top = 12, .out = out};
    drt_text_puts(out, "<svg class=\"drt-chart\" xmlns=\"http://www.w3.org/2000/svg\" ");
    drt_text_printf(out, "viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" ", width, height, width, height);
    drt_text_puts(out, "role=\"img\" aria-label=\"");
    drt_text_html(out, o->title ? o->title : "chart");
    drt_text_printf(out, "\">%s<rect class=\"ground\" width=\"%d\" height=\"%d\"/>", style, width, height);
    if (o->title) {
        put_text(&c, "title", MARGIN, c.top + 12, "start", o->title);
        c.top += 22;
    }
    int rows = put_legend(&c, width, c.top + 14);
    c.top += rows * LEGEND_ROW + (rows ? 4 : 0);
    if (o->y_label) {
        put_text(&c, "label", MARGIN, c.top + 12, "start", o->y_label);
        c.top += 20;
    }
    c.top += 6;
    c.width = width - MARGIN - 10 - c.left;
    c.height = height - c.top - (o->x_label ? 46 : 30);
    if (find_ranges(&c)) {
        put_plot(&c);
        if (o->x_label) put_text(&c, "label", c.left + c.width, height - 8, "end", o->x_label);
    } else put_text(&c, "label", width / 2.0, height / 2.0, "middle", "no data yet");
    drt_text_puts(out, "</svg>");
}
