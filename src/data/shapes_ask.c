// Questions about a scene and their answers. The wording is the same whether the scene is shown or described.
#include "data/shapes_world.h"

#include <stdio.h>
#include <string.h>

static bool chance(drt_rng *r, double p) { return drt_rng_uniform(r) < p; }
static int below(drt_rng *r, int n) { return (int)drt_rng_below(r, (uint64_t)n); }

static const char *article(int color) { return drt_shapes_colors[color][0] == 'o' ? "an" : "a"; }

static void allow(drt_shapes_question *q, const char *const *answers, int n, int right) {
    q->answers = answers, q->n_answers = n;
    snprintf(q->answer, sizeof q->answer, "%s", answers[right]);
}

// Questions about the same things in the same respect share a key.
static void set_key(drt_shapes_question *q, int respect, int a, int b) {
    q->key = (uint64_t)respect << 32 | (uint64_t)(a + 1) << 16 | (uint64_t)(b + 1);
}

// An absent (colour, shape), made the way `how` says. False where that is impossible.
static bool absent_pair(const drt_shapes_scene *s, int how, int *color, int *shape, drt_rng *r) {
    for (int tries = 0; tries < 60; tries++) {
        const drt_shapes_object *a = &s->object[below(r, s->n)], *b = &s->object[below(r, s->n)];
        if (how == EXIST_RANDOM) *color = below(r, N_COLORS), *shape = below(r, N_SHAPES);
        else if (how == EXIST_POPULAR) drt_shapes_draw_popular(color, shape, r);
        else {
            // Attributes that are there, bound otherwise; where all objects share one, a near miss in the other.
            *color = a->color, *shape = b->shape;
            if (tries > 20) *shape = below(r, N_SHAPES);
            if (tries > 20 && tries % 2) *color = below(r, N_COLORS), *shape = a->shape;
        }
        if (drt_shapes_find(s, *color, *shape) < 0) return true;
    }
    return false;
}

bool drt_shapes_ask_exist(drt_shapes_question *q, const drt_shapes_scene *s, bool yes, int negatives, drt_rng *r) {
    static const char *const categories[] = {"random", "popular", "adversarial"};
    memset(q, 0, sizeof *q);
    int how = negatives == EXIST_ANY ? below(r, 3) : negatives, color, shape;
    if (!yes && !absent_pair(s, how, &color, &shape, r)) return false;
    if (yes) {
        const drt_shapes_object *o = &s->object[below(r, s->n)];
        color = o->color, shape = o->shape;
    }
    q->kind = ASK_EXIST;
    q->category = categories[how];
    snprintf(q->text, sizeof q->text, "is there %s %s %s?", article(color), drt_shapes_colors[color],
             drt_shapes_names[shape]);
    allow(q, drt_shapes_yes_no, 2, yes);
    set_key(q, ASK_EXIST, color, shape);
    return true;
}

// Easier questions on the way to binding: one attribute, or size with shape.
static bool ask_exist_simple(drt_shapes_question *q, const drt_shapes_scene *s, drt_rng *r) {
    bool yes = chance(r, 0.5);
    int what = below(r, 3);
    q->category = "simple";
    for (int tries = 0; tries < 60; tries++) {
        const drt_shapes_object *o = &s->object[below(r, s->n)];
        int shape = o->shape, color = o->color, size = o->size;
        if (!yes && what == 0) shape = below(r, N_SHAPES);
        if (!yes && what == 1) color = below(r, N_COLORS);
        if (!yes && what == 2) size = !size;
        int n = 0;
        for (int i = 0; i < s->n; i++) n += s->object[i].shape == shape && s->object[i].size == size;
        bool there = what == 0 ? drt_shapes_count(s, -1, shape) : what == 1 ? drt_shapes_count(s, color, -1) : n;
        if (there != yes) continue;
        if (what == 0) snprintf(q->text, sizeof q->text, "is there a %s?", drt_shapes_names[shape]);
        if (what == 1)
            snprintf(q->text, sizeof q->text, "is there %s %s shape?", article(color), drt_shapes_colors[color]);
        if (what == 2)
            snprintf(q->text, sizeof q->text, "is there a %s %s?", drt_shapes_sizes[size], drt_shapes_names[shape]);
        allow(q, drt_shapes_yes_no, 2, yes);
        set_key(q, 100 + what, color, shape);
        return true;
    }
    return false;
}

// Draws the answer first, in shares that even out how seldom a scene has many alike.
static bool ask_count(drt_shapes_question *q, const drt_shapes_scene *s, drt_rng *r) {
    static const double share[5] = {0.05, 0.06, 0.3, 1, 2};
    double total = 0, weight[5] = {0};
    if (chance(r, 0.1)) {
        snprintf(q->text, sizeof q->text, "how many shapes are there?");
        allow(q, drt_shapes_digits, 5, s->n);
        set_key(q, ASK_COUNT, -1, -1);
        return true;
    }
    for (int k = 0; k < N_COLORS; k++) weight[drt_shapes_count(s, k, -1)] = 1;
    for (int k = 0; k < N_SHAPES; k++) weight[drt_shapes_count(s, -1, k)] = 1;
    for (int c = 0; c < 5; c++) total += weight[c] *= share[c];
    double u = total * drt_rng_uniform(r);
    int count = 0;
    while (count < 4 && u >= weight[count]) u -= weight[count++];
    // Where nothing is there twice, only 0 and 1 can be asked: pass two times in three.
    if (!weight[2] && !weight[3] && !weight[4] && !chance(r, 0.35)) return false;
    for (int tries = 0; tries < 200; tries++) {
        bool of_color = chance(r, 0.5);
        int k = below(r, of_color ? N_COLORS : N_SHAPES);
        if (drt_shapes_count(s, of_color ? k : -1, of_color ? -1 : k) != count) continue;
        if (of_color) snprintf(q->text, sizeof q->text, "how many %s shapes are there?", drt_shapes_colors[k]);
        else snprintf(q->text, sizeof q->text, "how many %s are there?", drt_shapes_plurals[k]);
        allow(q, drt_shapes_digits, 5, count);
        set_key(q, ASK_COUNT, of_color ? k : -1, of_color ? -1 : k);
        return true;
    }
    return false;
}

// One attribute named, the other asked: only where that names one object.
static bool ask_attribute(drt_shapes_question *q, const drt_shapes_scene *s, bool color, drt_rng *r) {
    int i = below(r, s->n);
    const drt_shapes_object *o = &s->object[i];
    if (drt_shapes_count(s, color ? -1 : o->color, color ? o->shape : -1) != 1) return false;
    if (color) {
        snprintf(q->text, sizeof q->text, "what color is the %s?", drt_shapes_names[o->shape]);
        allow(q, drt_shapes_colors, N_COLORS, o->color);
    } else {
        snprintf(q->text, sizeof q->text, "which shape is %s?", drt_shapes_colors[o->color]);
        allow(q, drt_shapes_names, N_SHAPES, o->shape);
    }
    q->category = color ? "color" : "shape";
    set_key(q, ASK_COLOR, o->color, o->shape);
    q->presupposes = true;
    return true;
}

static bool ask_detail(drt_shapes_question *q, const drt_shapes_scene *s, drt_shapes_ask_kind kind, drt_rng *r) {
    const drt_shapes_object *o = &s->object[below(r, s->n)];
    const char *color = drt_shapes_colors[o->color], *name = drt_shapes_names[o->shape];
    if (kind == ASK_PLACE) {
        snprintf(q->text, sizeof q->text, "where is the %s %s?", color, name);
        allow(q, drt_shapes_places, N_PLACES, o->row * 3 + o->column);
    } else if (kind == ASK_SIZE) {
        snprintf(q->text, sizeof q->text, "what size is the %s %s?", color, name);
        allow(q, drt_shapes_sizes, N_SIZES, o->size);
    } else {
        snprintf(q->text, sizeof q->text, "what texture is the %s %s?", color, name);
        allow(q, drt_shapes_textures, N_TEXTURES, o->texture);
    }
    set_key(q, kind, o->color, o->shape);
    q->presupposes = true;
    return true;
}

static const char *const relation_of[4] = {"left of", "right of", "above", "below"};
static const int opposite[4] = {RIGHT, LEFT, BELOW, ABOVE};

static bool ask_relation(drt_shapes_question *q, const drt_shapes_scene *s, const drt_shapes_known *known, drt_rng *r) {
    for (int tries = 0; tries < 40; tries++) {
        int i = below(r, s->n), j = below(r, s->n), d;
        if (i == j || (d = drt_shapes_direction(s, i, j)) == NO_DIRECTION) continue;
        bool stated = known && known->stated[i][j], inverse = known && known->stated[j][i];
        if (known && !known->places && !stated && !inverse) continue;
        const char *color = drt_shapes_colors[s->object[i].color], *name = drt_shapes_names[s->object[i].shape];
        const char *color2 = drt_shapes_colors[s->object[j].color], *name2 = drt_shapes_names[s->object[j].shape];
        bool verify = chance(r, 0.5);
        if (verify) {
            bool yes = chance(r, 0.5);
            int asked = d;
            if (!yes) asked = chance(r, 0.5) ? opposite[d] : (d < ABOVE ? ABOVE : LEFT) + below(r, 2);
            snprintf(q->text, sizeof q->text, "is the %s %s %s the %s %s?", color, name, relation_of[asked], color2,
                     name2);
            allow(q, drt_shapes_yes_no, 2, yes);
        } else {
            snprintf(q->text, sizeof q->text, "where is the %s %s relative to the %s %s?", color, name, color2, name2);
            allow(q, drt_shapes_directions, 4, d);
        }
        q->category = !known ? (verify ? "verify" : "direction") : stated ? "stated" : inverse ? "inverse" : "placed";
        set_key(q, ASK_RELATION, i < j ? i : j, i < j ? j : i);
        q->presupposes = true;
        return true;
    }
    return false;
}

static bool ask_sign(drt_shapes_question *q, const drt_shapes_scene *s, bool word) {
    if (word && s->word < 0) return false;
    snprintf(q->text, sizeof q->text, word ? "what word is on the sign?" : "is there a sign?");
    if (word) allow(q, drt_shapes_signs, N_WORDS, s->word);
    else allow(q, drt_shapes_yes_no, 2, s->word >= 0);
    set_key(q, word ? ASK_TEXT : ASK_SIGN, 0, 0);
    q->presupposes = word;
    return true;
}

bool drt_shapes_ask(drt_shapes_question *q, drt_shapes_ask_kind kind, const drt_shapes_scene *s,
                    const drt_shapes_known *known, drt_rng *r) {
    static const char *const categories[N_ASKS] = {"exist", "count", "color",   "relation", "text",      "choice",
                                                   "place", "size",  "texture", "shape",    "neighbour", "sign"};
    memset(q, 0, sizeof *q);
    q->category = categories[kind];
    bool asked = false;
    switch (kind) {
    case ASK_EXIST:
        asked = chance(r, 0.3) ? ask_exist_simple(q, s, r) : drt_shapes_ask_exist(q, s, chance(r, 0.5), EXIST_ANY, r);
        break;
    case ASK_COUNT: asked = ask_count(q, s, r); break;
    case ASK_COLOR:
    case ASK_SHAPE: asked = ask_attribute(q, s, kind == ASK_COLOR, r); break;
    case ASK_RELATION: asked = ask_relation(q, s, known, r); break;
    case ASK_TEXT:
    case ASK_SIGN: asked = ask_sign(q, s, kind == ASK_TEXT); break;
    case ASK_CHOICE: asked = drt_shapes_ask_choice(q, s, known, r); break;
    case ASK_PLACE:
        if (known && !known->places) return false;
        asked = ask_detail(q, s, kind, r);
        break;
    case ASK_TEXTURE:
        if (known && !known->textures) return false;
        asked = ask_detail(q, s, kind, r);
        break;
    case ASK_SIZE: asked = ask_detail(q, s, kind, r); break;
    case ASK_NEIGHBOUR: asked = drt_shapes_ask_neighbour(q, s, known, r); break;
    default: break;
    }
    q->kind = kind;
    return asked;
}
