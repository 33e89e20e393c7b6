// Line charts as self-contained SVG: readable on light and dark ground and by colour-blind eyes, inline or alone.
//
//   drt_curve lines[] = {{.name = "llava", .n = n, .x = steps, .y = losses}, {.name = "direct-llava", ...}};
//   drt_text svg = {0};
//   drt_curves_svg(lines, 2, &(drt_curve_options){.title = "Loss", .x_label = "step", .smoothing = 20}, &svg);
//   ... svg.bytes, svg.size (svg.failed: no memory) ...
//   drt_text_free(&svg);
#ifndef DRT_EVAL_CURVES_H
#define DRT_EVAL_CURVES_H

#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *name; // in the legend; NULL: not there
    int64_t n;
    const double *x, *y; // borrowed; x ascending; a NaN or infinite y is left out
    int colour;          // 0: by position; else 1…8, the same number is the same colour in every chart
} drt_curve;

typedef struct {
    const char *title, *x_label, *y_label; // NULL: none
    double smoothing;                      // mean over about this many points, the raw line faint behind it; 0: none
    bool log_x;                            // points with x <= 0 are left out
    bool from_zero;                        // the y axis starts at 0 even if the data lie far from it
    int width, height;                     // units of the view box; 0: 520 × 320
    bool plain;                            // on a terminal: no colours (it is a pipe or a file)
} drt_curve_options;

// Appends one <svg> element. Long series are thinned to what the width can show. Without data it says so.
void drt_curves_svg(const drt_curve *curves, int n, const drt_curve_options *options, drt_text *out);
// Appends lines of text: the same curves in braille dots for a terminal, coloured (ANSI) where there are several
// and `plain` is not set.
// width, height: characters of the plot; 0: 72 x 16. The raw line is left out where there is a smooth one.
void drt_curves_terminal(const drt_curve *curves, int n, const drt_curve_options *options, drt_text *out);

#endif
