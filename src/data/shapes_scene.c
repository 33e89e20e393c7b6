// Draws scenes: which objects stand where, and in what light.
#include "data/shapes_world.h"

#include <math.h>
#include <string.h>

static float between(drt_rng *r, double low, double high) { return (float)(low + (high - low) * drt_rng_uniform(r)); }
static bool chance(drt_rng *r, double p) { return drt_rng_uniform(r) < p; }
static int below(drt_rng *r, int n) { return (int)drt_rng_below(r, (uint64_t)n); }

// Each shape once, so that popularity tells nothing about the shape.
static const int popular[N_SHAPES] = {2, 0, 3, 4, 5, 1}; // colour of each shape

bool drt_shapes_popular(int color, int shape) { return popular[shape] == color; }

void drt_shapes_draw_popular(int *color, int *shape, drt_rng *r) {
    *shape = below(r, N_SHAPES);
    *color = popular[*shape];
}

int drt_shapes_find(const drt_shapes_scene *s, int color, int shape) {
    for (int i = 0; i < s->n; i++) {
        if (s->object[i].color == color && s->object[i].shape == shape) return i;
    }
    return -1;
}

int drt_shapes_count(const drt_shapes_scene *s, int color, int shape) {
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        const drt_shapes_object *o = &s->object[i];
        n += (color < 0 || o->color == color) && (shape < 0 || o->shape == shape);
    }
    return n;
}

int drt_shapes_direction(const drt_shapes_scene *s, int i, int j) {
    int rows = s->object[i].row - s->object[j].row, columns = s->object[i].column - s->object[j].column;
    if ((rows == 0) == (columns == 0)) return NO_DIRECTION;
    if (rows == 0) return columns < 0 ? LEFT : RIGHT;
    return rows < 0 ? ABOVE : BELOW;
}

bool drt_shapes_lies(const drt_shapes_object *a, int d, const drt_shapes_object *b) {
    if (d == LEFT) return a->column < b->column;
    if (d == RIGHT) return a->column > b->column;
    return d == ABOVE ? a->row < b->row : a->row > b->row;
}

bool drt_shapes_held_out(const drt_shapes_scene *s) {
    uint8_t key[2 + 2 + 5 * MAX_OBJECTS];
    memset(key, 0, sizeof key);
    key[0] = (uint8_t)s->n, key[1] = (uint8_t)(s->word + 1);
    key[2] = (uint8_t)(s->word < 0 ? 0 : s->word_row * 3 + s->word_column);
    for (int i = 0; i < s->n; i++) {
        const drt_shapes_object *o = &s->object[i];
        uint8_t *k = key + 4 + 5 * i;
        k[0] = (uint8_t)o->shape, k[1] = (uint8_t)o->color, k[2] = (uint8_t)o->size, k[3] = (uint8_t)o->texture;
        k[4] = (uint8_t)(o->row * 3 + o->column);
    }
    return drt_hash(key, sizeof key) % 8 == 0;
}

// Counting needs up to four alike, so two scenes in three have a theme: one shape, or one colour.
static void sample_attributes(drt_shapes_scene *s, drt_rng *r) {
    static const double how_many[] = {0.10, 0.37, 0.65, 1};
    double u = drt_rng_uniform(r);
    s->n = 1;
    while (u >= how_many[s->n - 1]) s->n++;
    int theme = below(r, 3), shape = below(r, N_SHAPES), color = below(r, N_COLORS);
    double loyal = chance(r, 0.6) ? 1 : 0.6;
    for (int i = 0, tries = 0; i < s->n;) {
        drt_shapes_object *o = &s->object[i];
        o->shape = below(r, N_SHAPES), o->color = below(r, N_COLORS);
        if (chance(r, 0.2)) drt_shapes_draw_popular(&o->color, &o->shape, r);
        if (theme == 1 && chance(r, loyal)) o->shape = shape;
        if (theme == 2 && chance(r, loyal)) o->color = color;
        o->size = below(r, N_SIZES), o->texture = below(r, N_TEXTURES);
        bool taken = false;
        for (int j = 0; j < i; j++) taken |= s->object[j].color == o->color && s->object[j].shape == o->shape;
        if (!taken || tries++ > 1000) i++;
    }
}

// Cells for n things; usually the second shares a row or a column with the first, so that there is a relation to ask.
static void sample_cells(int32_t cell[N_PLACES], drt_rng *r) {
    for (int i = 0; i < N_PLACES; i++) cell[i] = i;
    drt_rng_shuffle(r, cell, N_PLACES);
    if (!chance(r, 0.6)) return;
    bool row = chance(r, 0.5);
    for (int i = 1; i < N_PLACES; i++) {
        bool in_line = row ? cell[i] / 3 == cell[0] / 3 : cell[i] % 3 == cell[0] % 3;
        if (!in_line) continue;
        int32_t kept = cell[1];
        cell[1] = cell[i], cell[i] = kept;
        return;
    }
}

static float clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

static void place_object(drt_shapes_object *o, int cell, drt_rng *r) {
    static const float rows[3] = {13, 33, 52.5f}, columns[3] = {11.5f, 32, 52.5f};
    o->row = cell / 3, o->column = cell % 3;
    // Perspective: lower in the picture is nearer, hence larger. Small stays under 15.5, large over 20.
    float near = 1 + 0.06f * (float)(o->row - 1), wiggle = o->size ? 1 : 3;
    o->radius = near * (o->size ? between(r, 10.7, 11.2) : between(r, 6.6, 7.2));
    o->x = clamp(columns[o->column] + between(r, -wiggle, wiggle), o->radius, SHAPES_VIEW - o->radius);
    o->y = clamp(rows[o->row] + between(r, -wiggle, wiggle), o->radius, SHAPES_VIEW - o->radius);
    o->turn = between(r, -0.14, 0.14);
}

static bool overlap(float x, float y, float half_width, float half_height, const drt_shapes_object *o) {
    return fabsf(x - o->x) < half_width + o->radius - 1 && fabsf(y - o->y) < half_height + o->radius - 1;
}

static void sort_raster(drt_shapes_scene *s) {
    for (int i = 1; i < s->n; i++) {
        drt_shapes_object o = s->object[i];
        int j = i;
        for (; j > 0 && s->object[j - 1].row * 3 + s->object[j - 1].column > o.row * 3 + o.column; j--)
            s->object[j] = s->object[j - 1];
        s->object[j] = o;
    }
}

// False when two things would hide each other or a relation would be doubtful: then draw again.
static bool sample_layout(drt_shapes_scene *s, drt_rng *r) {
    int32_t cell[N_PLACES];
    sample_cells(cell, r);
    for (int i = 0; i < s->n; i++) place_object(&s->object[i], cell[i], r);
    sort_raster(s);
    for (int i = 0; i < s->n; i++) {
        const drt_shapes_object *o = &s->object[i];
        for (int j = 0; j < i; j++) {
            const drt_shapes_object *p = &s->object[j];
            if (overlap(p->x, p->y, p->radius, p->radius, o)) return false;
            float across = fabsf(o->x - p->x), down = fabsf(o->y - p->y);
            int d = drt_shapes_direction(s, i, j);
            if ((d == LEFT || d == RIGHT) && across < 2 * down) return false;
            if ((d == ABOVE || d == BELOW) && down < 2 * across) return false;
        }
    }
    if (s->word < 0) return true;
    static const float rows[3] = {12, 32, 52}, columns[3] = {14.5f, 32, 49.5f};
    s->dot = between(r, 1.25, 1.4);
    s->word_row = cell[s->n] / 3, s->word_column = cell[s->n] % 3;
    float half_width = 8.5f * s->dot + 2, half_height = 3.5f * s->dot + 2;
    s->word_x = clamp(columns[s->word_column] + between(r, -1.5, 1.5), half_width, SHAPES_VIEW - half_width);
    s->word_y = rows[s->word_row] + between(r, -3, 3);
    for (int i = 0; i < s->n; i++) {
        if (overlap(s->word_x, s->word_y, half_width, half_height, &s->object[i])) return false;
    }
    return true;
}

// Pale and greyish, so that the eight colours stand out.
static void pale(float color[3], float lightness, float spread, drt_rng *r) {
    for (int i = 0; i < 3; i++) color[i] = lightness + between(r, -spread, spread);
}

static void sample_look(drt_shapes_scene *s, drt_rng *r) {
    drt_shapes_look *l = &s->look;
    pale(l->sky_top, between(r, 0.5, 0.65), 0.05f, r);
    l->sky_top[2] += between(r, 0.05, 0.22);
    pale(l->sky_low, between(r, 0.74, 0.86), 0.05f, r);
    pale(l->ground_far, between(r, 0.58, 0.68), 0.05f, r);
    pale(l->ground_near, between(r, 0.36, 0.47), 0.05f, r);
    l->ground_near[2] -= between(r, 0, 0.1);
    l->horizon = between(r, 11, 21);
    l->light = between(r, 0.15, 0.5);
    l->vanish = between(r, 26, 38);
    l->lines = between(r, 0.04, 0.16);
    l->line_width = between(r, 9, 16);
    l->shadow = between(r, 0.25, 0.55);
    l->shade = between(r, 0.1, 0.3);
    pale(l->plate, between(r, 0.88, 0.96), 0.04f, r);
    pale(l->ink, between(r, 0.05, 0.2), 0.05f, r);
}

static void sample_file(drt_shapes_scene *s, drt_rng *r) {
    static const int sides[] = {64, 72, 80, 96, 112, 128, 160};
    int side = sides[below(r, 7)], longer = side;
    if (chance(r, 0.3)) longer = (int)((float)side * between(r, 1.05, 1.35));
    bool wide = chance(r, 0.6);
    s->width = wide ? longer : side;
    s->height = wide ? side : longer;
    s->quality = chance(r, 0.2) ? 0 : 88 + below(r, 8);
}

void drt_shapes_sample(drt_shapes_scene *s, bool held_out, drt_rng *r) {
    do {
        memset(s, 0, sizeof *s);
        sample_attributes(s, r);
        bool sign = chance(r, 0.38);
        int tries = 0;
        do {
            // A full layout may leave no room for a sign: after some tries it is taken down.
            s->word = sign && tries < 40 ? below(r, N_WORDS) : -1;
            tries++;
        } while (!sample_layout(s, r));
    } while (drt_shapes_held_out(s) != held_out);
    sample_look(s, r);
    sample_file(s, r);
}
