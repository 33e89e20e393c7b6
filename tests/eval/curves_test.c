// Line charts: what is drawn stands where the data say, whatever the data are.
#include "support/check.h"
#include "support/svg.h"

#include "eval/curves.h"

#include <math.h>
#include <stdio.h>

enum { MANY = 100000 };

static char *draw(const drt_curve *curves, int n, drt_curve_options o) {
    drt_text svg = {0};
    drt_curves_svg(curves, n, &o, &svg);
    check_svg(&svg);
    assert_memory_equal(svg.bytes, "<svg class=\"drt-chart\"", 22);
    return svg.bytes;
}

// The numbers of path `which` inside the plot (the nested <svg>), at most 4000; returns how many.
static int path(const char *svg, int which, double *numbers) {
    const char *p = strstr(svg, "overflow=");
    assert_non_null(p);
    for (int i = 0; i <= which; i++) {
        p = strstr(p, "<path");
        if (!p) return -1;
        p = strstr(p, " d=\"") + 4;
    }
    int n = 0;
    while (*p != '"' && n < 4000) {
        char *end;
        if (*p == 'M' || *p == 'L' || *p == ' ') p++;
        if (*p == 'h') break;
        numbers[n++] = strtod(p, &end);
        assert_true(end > p);
        p = end;
    }
    return n;
}

static void points_stand_where_they_belong(void **state) {
    (void)state;
    const double x[] = {0, 50, 100}, y[] = {0, 10, 5};
    double at[4000], width, height;
    char *svg = draw(&(drt_curve){.name = "a", .n = 3, .x = x, .y = y}, 1, (drt_curve_options){0});
    const char *plot = strstr(svg, "<svg x="), *size = strstr(plot, "width=");
    assert_int_equal(sscanf(size, "width=\"%lf\" height=\"%lf\"", &width, &height), 2);
    width -= 8, height -= 8; // the plot has room for strokes: 4 on each side
    assert_true(width > 400 && height > 200);
    assert_int_equal(path(svg, 0, at), 6);
    const double expected[] = {0, height, width / 2, 0, width, height / 2};
    for (int i = 0; i < 6; i++) assert_true(fabs(at[i] - 4 - expected[i]) < 0.11);
    assert_int_equal(path(svg, 1, at), -1);
    // ticks of both axes
    static const char *const labels[] = {">0<", ">2<", ">4<", ">10<", ">20<", ">100<"};
    for (int i = 0; i < 6; i++) assert_non_null(strstr(svg, labels[i]));
    free(svg);
}

static void logarithmic_axis_spreads_decades(void **state) {
    (void)state;
    const double x[] = {-1, 0, 1, 10, 100}, y[] = {9, 9, 1, 2, 3};
    double at[4000];
    char *svg = draw(&(drt_curve){.n = 5, .x = x, .y = y}, 1, (drt_curve_options){.log_x = true});
    assert_int_equal(path(svg, 0, at), 6); // x <= 0 is left out
    assert_true(fabs(at[0] - 4) < 0.11 && fabs(at[2] - (at[0] + at[4]) / 2) < 0.11);
    assert_null(strstr(svg, "class=\"name\"")); // no name, no legend
    free(svg);
}

static void smoothing_keeps_the_raw_line(void **state) {
    (void)state;
    static double x[200], y[200], at[4000];
    for (int i = 0; i < 200; i++) x[i] = i, y[i] = i % 2 ? 10 : 0;
    char *svg = draw(&(drt_curve){.name = "a", .n = 200, .x = x, .y = y}, 1, (drt_curve_options){.smoothing = 50});
    assert_non_null(strstr(svg, " raw\""));
    int n = path(svg, 0, at), m = path(svg, 1, at);
    assert_int_equal(n, 400);
    assert_int_equal(m, 400);
    double low = INFINITY, high = -INFINITY;
    for (int i = 200; i < m; i += 2) low = fmin(low, at[i + 1]), high = fmax(high, at[i + 1]);
    n = path(svg, 0, at);
    double range = fabs(at[1] - at[3]);
    assert_true(high - low < range * 0.03 && range > 100); // 10 / 50 of the raw swing, and the mean wanders little
    free(svg);
    svg = draw(&(drt_curve){.name = "a", .n = 200, .x = x, .y = y}, 1, (drt_curve_options){0});
    assert_int_equal(path(svg, 1, at), -1);
    free(svg);
}

static void long_series_are_thinned_but_keep_extremes(void **state) {
    (void)state;
    static double x[MANY], y[MANY], at[4000];
    for (int i = 0; i < MANY; i++) x[i] = i, y[i] = 5 + sin(i * 0.01);
    y[MANY / 2] = 9;
    char *svg = draw(&(drt_curve){.name = "a", .n = MANY, .x = x, .y = y}, 1, (drt_curve_options){.smoothing = 10});
    int n = path(svg, 0, at);
    assert_true(n > 800 && n < 4000);
    double top = INFINITY, rest = INFINITY;
    for (int i = 0; i < n; i += 2)
        if (at[i + 1] < top) rest = top, top = at[i + 1];
        else rest = fmin(rest, at[i + 1]);
    assert_true(top < rest - 20); // the spike stands out
    assert_true(strlen(svg) < 60000);
    free(svg);
}

static void any_data_give_a_chart(void **state) {
    (void)state;
    double at[4000];
    char *svg = draw(NULL, 0, (drt_curve_options){.title = "<none> & \"more\""});
    assert_non_null(strstr(svg, "no data yet"));
    assert_non_null(strstr(svg, "aria-label=\"&lt;none&gt; &amp; &quot;more&quot;\""));
    free(svg);
    const double x[] = {1, 2, 3}, gaps[] = {1, NAN, INFINITY}, same[] = {7, 7, 7}, far[] = {-1e300, 0, 1e300};
    const double close[] = {1e17, 1e17 + 16, 1e17 + 32}, zero[] = {0, 0, 0}, tiny[] = {1e-12, 2e-12, 5e-12};
    svg = draw(&(drt_curve){.name = "g", .n = 3, .x = x, .y = gaps}, 1, (drt_curve_options){0});
    assert_int_equal(path(svg, 0, at), 2);
    assert_non_null(strstr(svg, "h0\" style=\"stroke-width:7\"")); // a dot
    free(svg);
    const double *const odd[] = {same, far, close, zero, tiny};
    for (int i = 0; i < 5; i++) {
        free(draw(&(drt_curve){.name = "o", .n = 3, .x = x, .y = odd[i]}, 1, (drt_curve_options){.from_zero = i & 1}));
        free(draw(&(drt_curve){.name = "o", .n = 3, .x = odd[i], .y = x}, 1, (drt_curve_options){.log_x = i & 1}));
    }
    free(draw(&(drt_curve){.name = "o", .n = 0}, 1, (drt_curve_options){.title = "t", .x_label = "x", .y_label = "y"}));
}

static void colours_and_names(void **state) {
    (void)state;
    const double x[] = {1, 2}, y[] = {3, 4};
    const drt_curve curves[] = {{.name = "a<b", .n = 2, .x = x, .y = y},
                                {.name = "two", .n = 2, .x = x, .y = y, .colour = 5}};
    char *svg = draw(curves, 2, (drt_curve_options){.x_label = "step", .y_label = "nats"});
    assert_non_null(strstr(svg, "a&lt;b</text>"));
    assert_non_null(strstr(svg, ">step</text>"));
    assert_non_null(strstr(svg, ">nats</text>"));
    assert_non_null(strstr(svg, "class=\"line c1\""));
    assert_non_null(strstr(svg, "class=\"line c5\""));
    assert_null(strstr(svg, "class=\"line c2\""));
    assert_non_null(strstr(svg, "prefers-color-scheme:dark"));
    free(svg);
}

// Eight dots by eight: a diagonal of them; a point that is no number leaves a gap in nothing but the data.
static void dots_on_a_terminal(void **state) {
    (void)state;
    const double x[] = {0, 1, 3, 5, 7}, y[] = {0, 1, NAN, 5, 7}, far[] = {0, 0, 0, 0, 14};
    const drt_curve line = {.name = "a", .n = 5, .x = x, .y = y},
                    two[] = {line, {.name = "b", .n = 5, .x = x, .y = far}};
    drt_text t = {0};
    drt_curves_terminal(&line, 1, &(drt_curve_options){.title = "t", .width = 4, .height = 2}, &t);
    assert_string_equal(t.bytes, "            t\n"
                                 "         7 ┤  ⡠⠊\n"
                                 "         0 ┤⡠⠊  \n"
                                 "            0  7\n");
    t.size = 0;
    drt_curves_terminal(two, 2, &(drt_curve_options){.x_label = "step", .width = 4, .height = 2}, &t);
    assert_non_null(strstr(t.bytes, "        14 ┤"));
    assert_non_null(strstr(t.bytes, "0  7  step\n"));
    assert_non_null(strstr(t.bytes, "\033[34m━━\033[0m a\n"));
    assert_non_null(strstr(t.bytes, "\033[33m━━\033[0m b\n"));
    t.size = 0;
    drt_curves_terminal(two, 2, &(drt_curve_options){.width = 4, .height = 2, .plain = true}, &t);
    assert_null(strchr(t.bytes, '\033'));
    assert_non_null(strstr(t.bytes, "            a\n            b\n"));
    t.size = 0;
    drt_curves_terminal(&(drt_curve){.name = "a"}, 1, &(drt_curve_options){0}, &t);
    assert_string_equal(t.bytes, "no data yet\n");
    t.size = 0; // a single value, in a plot of the usual size
    drt_curves_terminal(&(drt_curve){.n = 1, .x = x, .y = y}, 1, &(drt_curve_options){0}, &t);
    assert_non_null(strstr(t.bytes, "┤"));
    drt_text_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_stand_where_they_belong),
        cmocka_unit_test(logarithmic_axis_spreads_decades),
        cmocka_unit_test(smoothing_keeps_the_raw_line),
        cmocka_unit_test(long_series_are_thinned_but_keep_extremes),
        cmocka_unit_test(any_data_give_a_chart),
        cmocka_unit_test(colours_and_names),
        cmocka_unit_test(dots_on_a_terminal),
    };
    return cmocka_run_group_tests_name("curves", tests, NULL, NULL);
}
