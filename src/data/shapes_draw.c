// Paints a scene. Only the bounding boxes of objects are supersampled; everything else is smooth.
#include "data/shapes_world.h"

#include <math.h>
#include <string.h>

typedef struct {
    drt_image *image;
    float scale, left, top; // pixel = view * scale + left
    float unit;             // 1 / scale
} canvas;

static const float paint[N_COLORS][3] = {
    {0.86f, 0.13f, 0.13f}, {0.10f, 0.62f, 0.20f}, {0.12f, 0.28f, 0.88f}, {0.98f, 0.88f, 0.12f},
    {0.56f, 0.16f, 0.70f}, {0.98f, 0.52f, 0.05f}, {0.98f, 0.98f, 0.98f}, {0.07f, 0.07f, 0.08f},
};

static uint8_t to_byte(float x) { return (uint8_t)(x <= 0 ? 0 : x >= 1 ? 255 : x * 255 + 0.5f); }

// x - floor(x) for x > -1024; a call of floorf would cost more than all the rest of a background pixel.
static float fraction(float x) { return x - (float)((int)(x + 1024) - 1024); }
static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

static void blend(uint8_t *pixel, const float color[3], float alpha) {
    for (int i = 0; i < 3; i++) pixel[i] = to_byte((float)pixel[i] / 255 * (1 - alpha) + color[i] * alpha);
}

// The smallest pixel box that holds a box of the view.
static void pixel_box(const canvas *c, float x0, float y0, float x1, float y1, int box[4]) {
    box[0] = (int)floorf(x0 * c->scale + c->left), box[1] = (int)floorf(y0 * c->scale + c->top);
    box[2] = (int)ceilf(x1 * c->scale + c->left), box[3] = (int)ceilf(y1 * c->scale + c->top);
    if (box[0] < 0) box[0] = 0;
    if (box[1] < 0) box[1] = 0;
    if (box[2] > c->image->width) box[2] = c->image->width;
    if (box[3] > c->image->height) box[3] = c->image->height;
}

// Sky above ground, lines that meet at the vanishing point, light that falls from the left: each tells a piece of
// the picture where it belongs.
static void paint_background(const canvas *c, const drt_shapes_look *l) {
    for (int y = 0; y < c->image->height; y++) {
        float v = ((float)y + 0.5f - c->top) * c->unit, down = v - l->horizon, row[3], spread = 0, strength = 0;
        if (down < 0) {
            float k = smaller(larger(v / l->horizon, 0), 1);
            for (int i = 0; i < 3; i++) row[i] = l->sky_top[i] + (l->sky_low[i] - l->sky_top[i]) * k;
        } else {
            float k = smaller(down / (SHAPES_VIEW - l->horizon), 1);
            for (int i = 0; i < 3; i++) row[i] = l->ground_far[i] + (l->ground_near[i] - l->ground_far[i]) * sqrtf(k);
            spread = (SHAPES_VIEW - l->horizon) / (down + 6) / l->line_width;
            strength = l->lines * smaller(down / 12, 1); // fades where lines would be thinner than a pixel
        }
        uint8_t *pixel = c->image->rgb + (size_t)3 * (size_t)c->image->width * (size_t)y;
        for (int x = 0; x < c->image->width; x++, pixel += 3) {
            float u = ((float)x + 0.5f - c->left) * c->unit;
            float lit = 1 + l->light * (0.5f - u / SHAPES_VIEW);
            float lane = (u - l->vanish) * spread, wave = fabsf(fraction(lane) - 0.5f); // 0..0.5
            lit *= 1 + strength * (8 * larger(wave - 0.375f, 0) - 0.3f);
            for (int i = 0; i < 3; i++) pixel[i] = to_byte(row[i] * lit);
        }
    }
}

// A soft ellipse to the lower right: the light comes from the left.
static void paint_shadow(const canvas *c, float x, float y, float rx, float ry, float strength) {
    static const float black[3] = {0.03f, 0.03f, 0.06f};
    int box[4];
    pixel_box(c, x - rx, y - ry, x + rx, y + ry, box);
    for (int py = box[1]; py < box[3]; py++) {
        for (int px = box[0]; px < box[2]; px++) {
            float u = (((float)px + 0.5f - c->left) * c->unit - x) / rx;
            float v = (((float)py + 0.5f - c->top) * c->unit - y) / ry, d = 1 - u * u - v * v;
            if (d > 0)
                blend(c->image->rgb + 3 * ((size_t)py * (size_t)c->image->width + (size_t)px), black,
                      strength * smaller(d * 2, 1));
        }
    }
}

// u, v: from the centre in radii, v downwards. `whole` fills the ring's hole.
static bool inside(int shape, float u, float v, bool whole) {
    static const float tips[5][2] = {{0, -1},
                                     {0.9510565f, -0.3090170f},
                                     {0.5877853f, 0.8090170f},
                                     {-0.5877853f, 0.8090170f},
                                     {-0.9510565f, -0.3090170f}};
    float r2 = u * u + v * v;
    if (shape == 0) return r2 <= 0.9f;                                         // circle
    if (shape == 1) return fabsf(u) <= 0.84f && fabsf(v) <= 0.84f;             // square
    if (shape == 2) return v <= 0.8f && 0.866f * fabsf(u) - 0.5f * v <= 0.48f; // triangle
    if (shape == RING) return r2 <= 1 && (whole || r2 >= 0.25f);
    if (shape == 5) return (fabsf(u) <= 0.33f && fabsf(v) <= 1) || (fabsf(v) <= 0.33f && fabsf(u) <= 1); // cross
    // Star: seen from the nearest tip, below the line from the tip (1, 0) to the corner at 36 degrees.
    const float corner = 0.5f, cx = corner * 0.8090170f, cy = corner * 0.5877853f, size = 1.1f;
    float along = -9, aside = 0;
    u /= size, v = (v - 0.05f) / size;
    for (int i = 0; i < 5; i++) {
        float d = u * tips[i][0] + v * tips[i][1];
        if (d > along) along = d, aside = fabsf(u * tips[i][1] - v * tips[i][0]);
    }
    return aside * (1 - cx) + (along - 1) * cy <= 0;
}

// The second colour of stripes and dots.
static void contrast(const float color[3], float out[3]) {
    float light = 0.3f * color[0] + 0.6f * color[1] + 0.1f * color[2];
    for (int i = 0; i < 3; i++) out[i] = light > 0.5f ? color[i] * 0.6f : color[i] * 0.55f + 0.4f;
}

// Which of the two colours a point has; stripes and dots are measured in view pixels so that they stay visible.
static bool second_color(int texture, float u, float v, float radius) {
    float x = u * radius, y = v * radius;
    if (texture == 1) {
        float k = (x + y) * 0.7071f / 4.6f;
        return fraction(k) < 0.42f;
    }
    if (texture == 2) {
        float a = fraction(x / 4.4f) - 0.5f, b = fraction(y / 4.4f) - 0.5f;
        return a * a + b * b < 0.085f;
    }
    return false;
}

static void paint_object(const canvas *c, const drt_shapes_object *o, float shade) {
    int n = c->scale > 1.4f ? 2 : 3, box[4];
    float co = cosf(o->turn), si = sinf(o->turn), second[3], edge[3], reach = o->radius * 1.2f;
    const float *first = paint[o->color];
    contrast(first, second);
    for (int i = 0; i < 3; i++) edge[i] = o->color == 7 ? 0.2f : first[i] * 0.35f;
    pixel_box(c, o->x - reach, o->y - reach, o->x + reach, o->y + reach, box);
    float per = 1 / o->radius, step = 1 / (float)n, rim = 1 + 0.9f * per; // the outline is 0.9 view pixels wide
    for (int py = box[1]; py < box[3]; py++) {
        for (int px = box[0]; px < box[2]; px++) {
            float sum[3] = {0, 0, 0};
            int hits = 0;
            for (int k = 0; k < n * n; k++) {
                float x = ((float)px + ((float)(k % n) + 0.5f) * step - c->left) * c->unit - o->x;
                float y = ((float)py + ((float)(k / n) + 0.5f) * step - c->top) * c->unit - o->y;
                float u = (co * x + si * y) * per, v = (co * y - si * x) * per;
                if (!inside(o->shape, u, v, false)) continue;
                bool rims = !inside(o->shape, u * rim, v * rim, false);
                const float *color = rims ? edge : second_color(o->texture, u, v, o->radius) ? second : first;
                float lit = 1 + shade * (-0.2f - x * per) * 0.8f;
                for (int i = 0; i < 3; i++) sum[i] += color[i] * lit;
                hits++;
            }
            if (!hits) continue;
            for (int i = 0; i < 3; i++) sum[i] /= (float)hits;
            blend(c->image->rgb + 3 * ((size_t)py * (size_t)c->image->width + (size_t)px), sum,
                  (float)hits / (float)(n * n));
        }
    }
}

static void paint_sign(const canvas *c, const drt_shapes_scene *s) {
    int n = 3, box[4];
    float half_width = 8.5f * s->dot + 1.8f, half_height = 3.5f * s->dot + 1.8f;
    paint_shadow(c, s->word_x + 3, s->word_y + half_height, half_width, 4, s->look.shadow);
    pixel_box(c, s->word_x - half_width, s->word_y - half_height, s->word_x + half_width, s->word_y + half_height, box);
    for (int py = box[1]; py < box[3]; py++) {
        for (int px = box[0]; px < box[2]; px++) {
            int plate = 0, ink = 0;
            for (int k = 0; k < n * n; k++) {
                float x = ((float)px + ((float)(k % n) + 0.5f) / (float)n - c->left) * c->unit - s->word_x;
                float y = ((float)py + ((float)(k / n) + 0.5f) / (float)n - c->top) * c->unit - s->word_y;
                if (fabsf(x) > half_width || fabsf(y) > half_height) continue;
                plate++;
                ink += drt_shapes_ink(s->word, x / s->dot + 8.5f, y / s->dot + 3.5f);
            }
            uint8_t *pixel = c->image->rgb + 3 * ((size_t)py * (size_t)c->image->width + (size_t)px);
            blend(pixel, s->look.plate, (float)plate / (float)(n * n));
            if (plate) blend(pixel, s->look.ink, (float)ink / (float)plate);
        }
    }
}

drt_status drt_shapes_draw(const drt_shapes_scene *s, drt_image *image, drt_error *err) {
    drt_status status = drt_image_new(image, s->width, s->height, err);
    if (status) return status;
    int side = s->width < s->height ? s->width : s->height;
    canvas c = {image, (float)side / SHAPES_VIEW, (float)(s->width - side) / 2, (float)(s->height - side) / 2,
                (float)SHAPES_VIEW / (float)side};
    paint_background(&c, &s->look);
    for (int i = 0; i < s->n; i++) {
        const drt_shapes_object *o = &s->object[i];
        paint_shadow(&c, o->x + 0.55f * o->radius, o->y + 0.75f * o->radius, o->radius * 1.05f, o->radius * 0.4f,
                     s->look.shadow);
    }
    if (s->word >= 0) paint_sign(&c, s);
    for (int i = 0; i < s->n; i++) paint_object(&c, &s->object[i], s->look.shade);
    return DRT_OK;
}

// Which background lies v pixels below the top: the sky in two bands, the ground in three, as their shades go.
static uint8_t background(const drt_shapes_look *l, float v) {
    if (v < l->horizon) return v < 0.5f * l->horizon ? 1 : 2;
    float k = (v - l->horizon) / (SHAPES_VIEW - l->horizon);
    return k < 0.33f ? 3 : k < 0.67f ? 4 : 5;
}

// An object owns a patch when it covers 3 pixels in 10 of it (small ones may not fill half of any) and more than
// any other thing does. The ring's hole counts: there, too, the picture shows a ring.
void drt_shapes_patches(const drt_shapes_scene *s, uint8_t out[SHAPES_GRID * SHAPES_GRID][SHAPES_LABELS]) {
    enum { SIDE = SHAPES_VIEW / SHAPES_GRID };
    int cover[SHAPES_GRID * SHAPES_GRID][MAX_OBJECTS + 1];
    memset(cover, 0, sizeof cover);
    memset(out, 0, SHAPES_GRID * SHAPES_GRID * SHAPES_LABELS);
    float half_width = 8.5f * s->dot + 1.8f, half_height = 3.5f * s->dot + 1.8f;
    for (int y = 0; y < SHAPES_VIEW; y++) {
        for (int x = 0; x < SHAPES_VIEW; x++) {
            float cx = (float)x + 0.5f, cy = (float)y + 0.5f;
            int owner = -1;
            if (s->word >= 0 && fabsf(cx - s->word_x) < half_width && fabsf(cy - s->word_y) < half_height)
                owner = MAX_OBJECTS;
            for (int i = 0; i < s->n; i++) {
                const drt_shapes_object *o = &s->object[i];
                float dx = (cx - o->x) / o->radius, dy = (cy - o->y) / o->radius, co = cosf(o->turn),
                      si = sinf(o->turn);
                if (dx * dx + dy * dy < 2 && inside(o->shape, co * dx + si * dy, co * dy - si * dx, true)) owner = i;
            }
            if (owner >= 0) cover[y / SIDE * SHAPES_GRID + x / SIDE][owner]++;
        }
    }
    for (int p = 0; p < SHAPES_GRID * SHAPES_GRID; p++) {
        int best = 0;
        for (int i = 1; i <= MAX_OBJECTS; i++) best = cover[p][i] > cover[p][best] ? i : best;
        if (cover[p][best] * 10 < SIDE * SIDE * 3) {
            out[p][4] = background(&s->look, ((float)(p / SHAPES_GRID) + 0.5f) * SIDE);
            continue;
        }
        if (best == MAX_OBJECTS) {
            out[p][3] = (uint8_t)(s->word + 1);
            continue;
        }
        const drt_shapes_object *o = &s->object[best];
        out[p][0] = (uint8_t)(o->color + 1), out[p][1] = (uint8_t)(o->shape + 1), out[p][2] = (uint8_t)(o->size + 1);
    }
}
