// Questions whose answer is an object: open ("what is left of the red ring?") and as a choice of four.
#include "data/shapes_world.h"

#include <stdio.h>
#include <string.h>

static int below(drt_rng *r, int n) { return (int)drt_rng_below(r, (uint64_t)n); }

typedef struct {
    int color, shape;
} kind_of_object;

// An object i and a direction d such that exactly one object lies there at all, and it lies straight there.
static bool find_neighbour(const drt_shapes_scene *s, const drt_shapes_known *known, drt_rng *r, int *of, int *d,
                           int *is) {
    for (int tries = 0; tries < 40; tries++) {
        int i = below(r, s->n), way = below(r, 4), found = 0;
        for (int j = 0; j < s->n; j++) {
            if (j != i && drt_shapes_lies(&s->object[j], way, &s->object[i])) found++, *is = j;
        }
        if (found != 1 || drt_shapes_direction(s, *is, i) != way) continue;
        if (known && !known->places && !known->stated[*is][i] && !known->stated[i][*is]) continue;
        *of = i, *d = way;
        return true;
    }
    return false;
}

static void put_neighbour_question(drt_shapes_question *q, const drt_shapes_object *of, int d) {
    static const char *const words[4] = {"left of", "right of", "above", "below"};
    snprintf(q->text, sizeof q->text, "what is %s the %s %s?", words[d], drt_shapes_colors[of->color],
             drt_shapes_names[of->shape]);
    q->presupposes = true;
}

bool drt_shapes_ask_neighbour(drt_shapes_question *q, const drt_shapes_scene *s, const drt_shapes_known *known,
                              drt_rng *r) {
    int of, d, is;
    if (!find_neighbour(s, known, r, &of, &d, &is)) return false;
    put_neighbour_question(q, &s->object[of], d);
    const drt_shapes_object *o = &s->object[is];
    snprintf(q->answer, sizeof q->answer, "%s %s", drt_shapes_colors[o->color], drt_shapes_names[o->shape]);
    q->key =
        (uint64_t)ASK_RELATION << 32 | (uint64_t)((of < is ? of : is) + 1) << 16 | (uint64_t)((of < is ? is : of) + 1);
    return true;
}

// Three wrong answers of the same kind as the right one: first what the picture really shows elsewhere.
static void wrong_objects(const drt_shapes_scene *s, int of, int d, int is, kind_of_object wrong[3], drt_rng *r) {
    int n = 0;
    for (int j = 0; j < s->n && n < 2; j++) {
        if (j == of || j == is || drt_shapes_lies(&s->object[j], d, &s->object[of])) continue;
        wrong[n++] = (kind_of_object){s->object[j].color, s->object[j].shape};
    }
    while (n < 3) {
        kind_of_object k = {below(r, N_COLORS), below(r, N_SHAPES)};
        // Near misses: an attribute of the right answer.
        if (below(r, 2)) k.color = s->object[is].color;
        else if (below(r, 2)) k.shape = s->object[is].shape;
        bool taken = drt_shapes_find(s, k.color, k.shape) >= 0;
        for (int i = 0; i < n; i++) taken |= wrong[i].color == k.color && wrong[i].shape == k.shape;
        if (!taken) wrong[n++] = k;
    }
}

static void put_options(drt_shapes_question *q, const char option[4][24], drt_rng *r) {
    int32_t order[4] = {0, 1, 2, 3};
    drt_rng_shuffle(r, order, 4);
    size_t at = strlen(q->text);
    for (int i = 0; i < 4; i++) {
        at += (size_t)snprintf(q->text + at, sizeof q->text - at, "\n%s. %s", drt_shapes_letters[i], option[order[i]]);
        if (order[i] == 0) snprintf(q->answer, sizeof q->answer, "%s", drt_shapes_letters[i]);
    }
    q->answers = drt_shapes_letters, q->n_answers = 4;
    q->kind = ASK_CHOICE;
}

bool drt_shapes_ask_choice(drt_shapes_question *q, const drt_shapes_scene *s, const drt_shapes_known *known,
                           drt_rng *r) {
    char option[4][24];
    if (below(r, 5) < 2) {
        int of, d, is;
        kind_of_object wrong[3];
        if (!find_neighbour(s, known, r, &of, &d, &is)) return false;
        put_neighbour_question(q, &s->object[of], d);
        wrong_objects(s, of, d, is, wrong, r);
        snprintf(option[0], sizeof option[0], "%s %s", drt_shapes_colors[s->object[is].color],
                 drt_shapes_names[s->object[is].shape]);
        for (int i = 0; i < 3; i++)
            snprintf(option[i + 1], sizeof option[0], "%s %s", drt_shapes_colors[wrong[i].color],
                     drt_shapes_names[wrong[i].shape]);
        put_options(q, (const char(*)[24])option, r);
        q->category = "neighbour";
        q->key = (uint64_t)ASK_RELATION << 32 | (uint64_t)((of < is ? of : is) + 1) << 16 |
                 (uint64_t)((of < is ? is : of) + 1);
        return true;
    }
    // The options come from all answers that the open question allows.
    static const drt_shapes_ask_kind kinds[] = {ASK_SHAPE, ASK_COLOR, ASK_TEXT};
    drt_shapes_ask_kind kind = kinds[below(r, s->word >= 0 ? 3 : 2)];
    if (!drt_shapes_ask(q, kind, s, known, r)) return false;
    int32_t order[16];
    for (int i = 0; i < q->n_answers; i++) order[i] = i;
    drt_rng_shuffle(r, order, q->n_answers);
    snprintf(option[0], sizeof option[0], "%s", q->answer);
    for (int i = 0, n = 1; n < 4; i++) {
        if (strcmp(q->answers[order[i]], q->answer))
            snprintf(option[n++], sizeof option[0], "%s", q->answers[order[i]]);
    }
    put_options(q, (const char(*)[24])option, r);
    return true;
}
