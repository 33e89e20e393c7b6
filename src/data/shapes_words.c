// The words of the world and its captions. Captions of two readings ("a red ring left of a blue star") carry no
// comma or full stop that would tell which word came last: only the picture knows their order.
#include "data/shapes_world.h"

#include <string.h>

const char *const drt_shapes_names[N_SHAPES] = {"circle", "square", "triangle", "star", "ring", "cross"};
const char *const drt_shapes_plurals[N_SHAPES] = {"circles", "squares", "triangles", "stars", "rings", "crosses"};
const char *const drt_shapes_colors[N_COLORS] = {"red",    "green",  "blue",  "yellow",
                                                 "purple", "orange", "white", "black"};
const char *const drt_shapes_sizes[N_SIZES] = {"small", "large"};
const char *const drt_shapes_textures[N_TEXTURES] = {"solid", "striped", "dotted"};
const char *const drt_shapes_signs[N_WORDS] = {"cat", "dog", "sun", "hat", "bus", "cup", "fox", "key", "map", "zip"};
const char *const drt_shapes_places[N_PLACES] = {"top left",    "top center",    "top right",
                                                 "middle left", "middle center", "middle right",
                                                 "bottom left", "bottom center", "bottom right"};
const char *const drt_shapes_grounds[N_GROUNDS] = {"highsky", "lowsky", "farground", "midground", "nearground"};
const char *const drt_shapes_directions[4] = {"left", "right", "above", "below"};
const char *const drt_shapes_yes_no[2] = {"no", "yes"};
const char *const drt_shapes_digits[5] = {"0", "1", "2", "3", "4"};
const char *const drt_shapes_letters[4] = {"A", "B", "C", "D"};

static const char *const relation_words[4] = {"left of", "right of", "above", "below"};

// How much of an object a phrase names. "a red ring", "a small red ring", "a small striped red ring".
typedef enum { NAME_SHORT, NAME_SIZED, NAME_FULL } name_length;

static void put_object(drt_text *t, const drt_shapes_object *o, name_length length) {
    const char *color = drt_shapes_colors[o->color];
    drt_text_puts(t, length == NAME_SHORT && color[0] == 'o' ? "an " : "a ");
    if (length >= NAME_SIZED) drt_text_printf(t, "%s ", drt_shapes_sizes[o->size]);
    if (length >= NAME_FULL) drt_text_printf(t, "%s ", drt_shapes_textures[o->texture]);
    drt_text_printf(t, "%s %s", color, drt_shapes_names[o->shape]);
}

// All pairs in a line, both ways round, in random order. Returns how many.
static int pairs(const drt_shapes_scene *s, int32_t out[MAX_OBJECTS * MAX_OBJECTS], drt_rng *r) {
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        for (int j = 0; j < s->n; j++) {
            if (i != j && drt_shapes_direction(s, i, j) != NO_DIRECTION) out[n++] = i * MAX_OBJECTS + j;
        }
    }
    drt_rng_shuffle(r, out, n);
    return n;
}

// In raster order, so that the order itself is a truth about the picture.
static void put_list(drt_text *t, const drt_shapes_scene *s, bool places) {
    int sign_at = s->word >= 0 ? s->word_row * 3 + s->word_column : N_PLACES;
    const char *comma = "";
    for (int at = 0, i = 0; at < N_PLACES; at++) {
        bool object = i < s->n && s->object[i].row * 3 + s->object[i].column == at;
        if (!object && at != sign_at) continue;
        drt_text_puts(t, comma);
        comma = ", ";
        if (object) put_object(t, &s->object[i++], NAME_FULL);
        else drt_text_printf(t, "a sign that says %s", drt_shapes_signs[s->word]);
        if (places) drt_text_printf(t, " at the %s", drt_shapes_places[at]);
    }
}

static void put_relations(drt_text *t, const drt_shapes_scene *s, drt_rng *r, drt_shapes_known *known) {
    int32_t pair[MAX_OBJECTS * MAX_OBJECTS];
    int n = pairs(s, pair, r);
    bool said[MAX_OBJECTS][MAX_OBJECTS] = {{false}};
    for (int k = 0, most = 3; k < n && most > 0; k++) {
        int i = pair[k] / MAX_OBJECTS, j = pair[k] % MAX_OBJECTS;
        if (said[j][i]) continue;
        said[i][j] = true;
        if (known) known->stated[i][j] = 1;
        const drt_shapes_object *a = &s->object[i], *b = &s->object[j];
        drt_text_printf(t, ". the %s %s is %s the %s %s", drt_shapes_colors[a->color], drt_shapes_names[a->shape],
                        relation_words[drt_shapes_direction(s, i, j)], drt_shapes_colors[b->color],
                        drt_shapes_names[b->shape]);
        most--;
    }
}

// The upper or left one comes first, as in the lists: the order of the words is a truth about the picture, and nothing
// else in the words tells it.
static bool put_two_readings(drt_text *t, const drt_shapes_scene *s, drt_rng *r, int most, name_length length,
                             drt_shapes_known *known) {
    int32_t pair[MAX_OBJECTS * MAX_OBJECTS];
    int n = pairs(s, pair, r);
    for (int k = 0, done = 0; k < n && done < most; k++) {
        int i = pair[k] / MAX_OBJECTS, j = pair[k] % MAX_OBJECTS;
        if (j < i) continue; // objects are numbered in raster order
        if (known) known->stated[i][j] = 1;
        if (done++) drt_text_puts(t, " and ");
        put_object(t, &s->object[i], length);
        drt_text_printf(t, " %s ", relation_words[drt_shapes_direction(s, i, j)]);
        put_object(t, &s->object[j], length);
    }
    return n > 0;
}

bool drt_shapes_caption(drt_text *t, const drt_shapes_scene *s, drt_shapes_style style, drt_rng *r,
                        drt_shapes_known *known) {
    if (known) *known = (drt_shapes_known){.textures = true};
    switch (style) {
    case STYLE_TWO_READINGS: return put_two_readings(t, s, r, 1, NAME_SHORT, known);
    case STYLE_SENTENCES: {
        int most = 1 + (int)drt_rng_below(r, 2);
        name_length length = drt_rng_below(r, 2) ? NAME_SIZED : NAME_SHORT;
        bool sign = s->word >= 0 && drt_rng_below(r, 2);
        if (!put_two_readings(t, s, r, most, length, known)) return false;
        if (sign) drt_text_printf(t, " and a sign that says %s", drt_shapes_signs[s->word]);
        return true;
    }
    default: break;
    }
    put_list(t, s, style != STYLE_LIST);
    if (known) known->places = style != STYLE_LIST;
    if (style != STYLE_PLACES) put_relations(t, s, r, known);
    return true;
}

void drt_shapes_map(drt_text *t, const drt_shapes_scene *s, drt_shapes_known *known) {
    uint8_t patch[SHAPES_GRID * SHAPES_GRID][SHAPES_LABELS];
    drt_shapes_patches(s, patch);
    if (known) *known = (drt_shapes_known){.places = true};
    for (int i = 0; i < SHAPES_GRID * SHAPES_GRID; i++) {
        const uint8_t *p = patch[i];
        if (i) drt_text_puts(t, " ");
        if (p[4]) drt_text_puts(t, drt_shapes_grounds[p[4] - 1]);
        else if (p[3]) drt_text_printf(t, "sign%s", drt_shapes_signs[p[3] - 1]);
        else
            drt_text_printf(t, "%s%s%s", drt_shapes_sizes[p[2] - 1], drt_shapes_colors[p[0] - 1],
                            drt_shapes_names[p[1] - 1]);
    }
}

drt_shapes_style drt_shapes_pick_style(drt_rng *r) {
    static const double up_to[] = {0.30, 0.42, 0.50, 0.80, 1};
    double u = drt_rng_uniform(r);
    int style = 0;
    while (u >= up_to[style]) style++;
    return (drt_shapes_style)style;
}

// One change that makes a caption false if it speaks of what was changed.
static bool change(drt_shapes_scene *s, int kind, drt_rng *r) {
    int i = (int)drt_rng_below(r, (uint64_t)s->n), j = (int)drt_rng_below(r, (uint64_t)s->n);
    drt_shapes_object *a = &s->object[i], *b = &s->object[j];
    switch (kind) {
    case 0: a->shape = (int)drt_rng_below(r, N_SHAPES); return true;
    case 1: a->color = (int)drt_rng_below(r, N_COLORS); return true;
    case 2: a->size = !a->size; return true;
    case 3: { // swap two shapes: the attributes stay, the binding changes
        int kept = a->shape;
        a->shape = b->shape, b->shape = kept;
        return a->color != b->color;
    }
    case 4: { // the two change places; the list stays in raster order of the new scene
        drt_shapes_object kept = *a;
        a->shape = b->shape, a->color = b->color, a->size = b->size, a->texture = b->texture;
        b->shape = kept.shape, b->color = kept.color, b->size = kept.size, b->texture = kept.texture;
        return i != j;
    }
    default: s->word = s->word < 0 ? -1 : (int)drt_rng_below(r, N_WORDS); return s->word >= 0;
    }
}

// Whether a relation that was said of `other` does not hold in `s`. It may hold by accident: where three stand in a
// row, the first and the second are both left of the third. What lies slanting counts as half true, hence not as a lie.
static bool says_false(const drt_shapes_scene *s, const drt_shapes_scene *other, const drt_shapes_known *said) {
    for (int i = 0; i < other->n; i++) {
        for (int j = 0; j < other->n; j++) {
            if (!said->stated[i][j]) continue;
            int a = drt_shapes_find(s, other->object[i].color, other->object[i].shape);
            int b = drt_shapes_find(s, other->object[j].color, other->object[j].shape);
            if (a < 0 || b < 0) return true;
            if (!drt_shapes_lies(&s->object[a], drt_shapes_direction(other, i, j), &s->object[b])) return true;
        }
    }
    return false;
}

static bool has_twins(const drt_shapes_scene *s) {
    for (int i = 0; i < s->n; i++) {
        if (drt_shapes_count(s, s->object[i].color, s->object[i].shape) > 1) return true;
    }
    return false;
}

int drt_shapes_hard_negatives(drt_text *out, int most, const drt_shapes_scene *s, drt_shapes_style style,
                              const drt_rng *r, drt_rng *choices) {
    drt_rng again = *r;
    drt_text right = {0};
    drt_shapes_caption(&right, s, style, &again, NULL);
    int n = 0;
    bool lists = style <= STYLE_BOTH, places = lists && style != STYLE_LIST;
    // Shape first and most often: captions that differ in nothing else are what teaches a tower to see it.
    static const int kinds[] = {0, 4, 1, 3, 2, 0, 5, 1, 4, 2, 0, 3};
    for (int k = 0; k < 36 && n < most && !right.failed; k++) {
        int kind = kinds[k % 12];
        drt_shapes_scene other = *s;
        drt_shapes_known said;
        if (!change(&other, kind, choices) || has_twins(&other)) continue;
        again = *r;
        drt_shapes_caption(&out[n], &other, style, &again, &said);
        if (out[n].failed) break;
        bool fresh = strcmp(out[n].bytes, right.bytes) != 0;
        for (int i = 0; i < n; i++) fresh &= strcmp(out[n].bytes, out[i].bytes) != 0;
        // Sizes and words that are named at all are named wrongly now; a list names everything.
        bool lie = kind == 2 || kind == 5 || (kind == 4 ? places : lists) || says_false(s, &other, &said);
        if (fresh && lie) n++;
        else drt_text_free(&out[n]);
    }
    drt_text_free(&right);
    return n;
}
