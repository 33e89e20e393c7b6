// Pillow's bicubic resize for 8-bit pictures, bit for bit (compared with Pillow 13.0). Per axis, output position i
// looks at the input around centre = (i + 1/2) * scale, scale = in / out, through Keys' cubic kernel with a = -1/2
// (Keys 1981, eq. 4), stretched by max(scale, 1) so that shrinking does not alias. Weights are made and normalised in
// double, then rounded to 22 fractional bits; each of the two passes rounds and clips to 8 bits, so their order shows:
// see rows_first. An axis whose size does not change is left alone.
#include "format/image_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FRACTION = 22 };

// The weights of output positions [0, n) of one axis: position i is the sum of count[i] input samples from first[i] on,
// times weight[i * stride ...].
typedef struct {
    int n, stride, *first, *count;
    int32_t *weight;
} axis;

static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static void axis_free(axis *a) {
    free(a->first), free(a->count), free(a->weight);
    *a = (axis){0}; // also what axis_init could not make is freed by its caller, again
}

// One output position: which samples, and their weights before rounding. Every operation is in Pillow's order, so that
// each double rounds alike.
static void axis_weights(double centre, double stretch, int in, int *first, int *count, double *w) {
    double support = 2 * stretch, per_stretch = 1 / stretch, sum = 0;
    double from = centre - support + 0.5, to = centre + support + 0.5;
    int begin = from < 0 ? 0 : (int)from, end = to > in ? in : (int)to;
    for (int k = 0; k < end - begin; k++) sum += w[k] = cubic((k + begin - centre + 0.5) * per_stretch);
    for (int k = 0; k < end - begin && sum != 0; k++) w[k] /= sum;
    *first = begin, *count = end - begin;
}

// Positions from .. from + n of an axis that goes from `in` samples to `out`.
static drt_status axis_init(axis *a, int in, int out, int from, int n, drt_error *err) {
    double scale = (double)in / out, stretch = scale < 1 ? 1 : scale;
    double most = ceil(2 * stretch) * 2 + 1;
    *a = (axis){.n = n, .stride = most < in ? (int)most : in};
    a->first = malloc((size_t)n * sizeof *a->first);
    a->count = malloc((size_t)n * sizeof *a->count);
    a->weight = calloc((size_t)n * (size_t)a->stride, sizeof *a->weight);
    double *w = malloc((size_t)a->stride * sizeof *w);
    if (!a->first || !a->count || !a->weight || !w) {
        free(w);
        axis_free(a);
        return drt_fail(err, DRT_ENOMEM, "no memory for resizing %d to %d pixels", in, out);
    }
    for (int i = 0; i < n; i++) {
        axis_weights((from + i + 0.5) * scale, stretch, in, &a->first[i], &a->count[i], w);
        for (int k = 0; k < a->count[i]; k++)
            a->weight[(size_t)i * (size_t)a->stride + (size_t)k] =
                (int32_t)(w[k] * (1 << FRACTION) + (w[k] < 0 ? -0.5 : 0.5));
    }
    free(w);
    return DRT_OK;
}

static uint8_t clip(int32_t sum) {
    sum >>= FRACTION;
    return sum < 0 ? 0 : sum > 255 ? 255 : (uint8_t)sum;
}

// acc[0 .. n) += weight * in[0 .. n): the loop that compilers turn into vector code. The sum fits: weights add up to 1,
// with their absolute values to less than 1.5, so |acc| < 1.5 * 255 * 2^22 + 2^21 < 2^31.
static void accumulate(int32_t *restrict acc, const uint8_t *restrict in, int32_t weight, int n) {
    for (int i = 0; i < n; i++) acc[i] += weight * in[i];
}

static void begin(int32_t *acc, int n) {
    for (int i = 0; i < n; i++) acc[i] = 1 << (FRACTION - 1); // one half, for rounding
}

// Rows are done in bands of this many, laid side by side for the horizontal pass: LANES = BAND rows x 3 colours move
// together, whatever the tap.
enum { BAND = 16, LANES = 3 * BAND };

// A rectangle of pixels inside a larger picture: `rgb` is its first byte, a row is `stride` bytes after the one before.
typedef struct {
    const uint8_t *rgb;
    size_t stride;
    int width, height;
} view;

// in: [height, width], which begins at column a->first[0]. out: [height, a->n] RGB without gaps. `band` has room for
// width * LANES bytes.
static void horizontal(const axis *a, view in, uint8_t *out, uint8_t *band) {
    size_t out_stride = 3 * (size_t)a->n;
    for (int y = 0; y < in.height; y += BAND) {
        int n = in.height - y < BAND ? in.height - y : BAND;
        for (int r = 0; r < n; r++) {
            const uint8_t *from = in.rgb + (size_t)(y + r) * in.stride;
            uint8_t *to = band + 3 * r;
            for (int x = 0; x < in.width; x++, from += 3, to += LANES) memcpy(to, from, 3);
        }
        for (int x = 0; x < a->n; x++) {
            const int32_t *weight = a->weight + (size_t)x * (size_t)a->stride;
            const uint8_t *tap = band + (size_t)(a->first[x] - a->first[0]) * LANES;
            int32_t acc[LANES];
            begin(acc, LANES);
            for (int k = 0; k < a->count[x]; k++) accumulate(acc, tap + (size_t)k * LANES, weight[k], LANES);
            uint8_t *to = out + (size_t)y * out_stride + 3 * (size_t)x;
            for (int r = 0; r < n; r++, to += out_stride)
                for (int c = 0; c < 3; c++) to[c] = clip(acc[3 * r + c]);
        }
    }
}

// in: [height, width], which begins at row a->first[0]. out: [a->n, width] RGB without gaps. The bytes of a row are
// alike, so they are done in chunks whose sums stay in the nearest cache.
static void vertical(const axis *a, view in, uint8_t *out) {
    enum { CHUNK = 768 };
    int bytes = 3 * in.width;
    int32_t acc[CHUNK];
    for (int y = 0; y < a->n; y++, out += bytes) {
        const int32_t *weight = a->weight + (size_t)y * (size_t)a->stride;
        const uint8_t *tap = in.rgb + (size_t)(a->first[y] - a->first[0]) * in.stride;
        for (int at = 0; at < bytes; at += CHUNK) {
            int n = bytes - at < CHUNK ? bytes - at : CHUNK;
            begin(acc, n);
            for (int k = 0; k < a->count[y]; k++) accumulate(acc, tap + (size_t)k * in.stride + at, weight[k], n);
            for (int i = 0; i < n; i++) out[at + i] = clip(acc[i]);
        }
    }
}

// Pillow 13 shrinks the height first when it loses more than twice as many rows as the width loses columns (a width
// that grows loses fewer than none); in all other cases, and always before version 13, the width goes first.
static bool rows_first(const drt_image *in, int width, int height) {
    return height < in->height && (int64_t)in->height - height > 2 * ((int64_t)in->width - width);
}

// The passes that are due, over `from`: the input pixels that some output pixel looks at. h or v is NULL when its axis
// does not change.
static drt_status run(const axis *h, const axis *v, view from, bool v_first, drt_image *out, drt_error *err) {
    size_t out_stride = 3 * (size_t)out->width;
    view middle = v_first ? (view){NULL, 3 * (size_t)from.width, from.width, out->height}
                          : (view){NULL, out_stride, out->width, from.height};
    uint8_t *between = h && v ? malloc(middle.stride * (size_t)middle.height) : NULL;
    uint8_t *band = h ? calloc((size_t)from.width, LANES) : NULL;
    drt_status status = DRT_OK;
    middle.rgb = between;
    if ((h && v && !between) || (h && !band)) {
        status = drt_fail(err, DRT_ENOMEM, "no memory for resizing to %d x %d pixels", out->width, out->height);
    } else if (h && v && v_first) {
        vertical(v, from, between);
        horizontal(h, middle, out->rgb, band);
    } else if (h && v) {
        horizontal(h, from, between, band);
        vertical(v, middle, out->rgb);
    } else if (h) {
        horizontal(h, from, out->rgb, band);
    } else if (v) {
        vertical(v, from, out->rgb);
    } else {
        for (int y = 0; y < out->height; y++)
            memcpy(out->rgb + (size_t)y * out_stride, from.rgb + (size_t)y * from.stride, out_stride);
    }
    free(between), free(band);
    return status;
}

drt_status drt_image_resize_part(const drt_image *in, int width, int height, int x, int y, drt_image *out,
                                 drt_error *err) {
    axis h = {0}, v = {0};
    bool across = width != in->width, down = height != in->height;
    drt_status status = DRT_OK;
    if (across) status = axis_init(&h, in->width, width, x, out->width, err);
    if (!status && down) status = axis_init(&v, in->height, height, y, out->height, err);
    if (!status) {
        int left = across ? h.first[0] : x, right = across ? h.first[h.n - 1] + h.count[h.n - 1] : x + out->width;
        int top = down ? v.first[0] : y, bottom = down ? v.first[v.n - 1] + v.count[v.n - 1] : y + out->height;
        view from = {.stride = 3 * (size_t)in->width, .width = right - left, .height = bottom - top};
        from.rgb = in->rgb + (size_t)top * from.stride + 3 * (size_t)left;
        status = run(across ? &h : NULL, down ? &v : NULL, from, rows_first(in, width, height), out, err);
    }
    axis_free(&h), axis_free(&v);
    return status;
}

drt_status drt_image_resize_bicubic(const drt_image *in, int width, int height, drt_image *out, drt_error *err) {
    *out = (drt_image){0};
    drt_status status = drt_image_check_size(in->width, in->height, DRT_IMAGE_MOST_PIXELS, err);
    if (!status) status = drt_image_new(out, width, height, err);
    if (status) return status;
    status = drt_image_resize_part(in, width, height, 0, 0, out, err);
    if (status) drt_image_free(out);
    return status;
}
