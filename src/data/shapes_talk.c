// Conversations: several questions about one scene that do not give each other's answers away.
#include "data/shapes_world.h"

#include <string.h>

const char drt_shapes_short[] = "\nAnswer the question using a single word or phrase.";
const char drt_shapes_letter[] = "\nAnswer with the option's letter from the given choices directly.";

static const int weights[N_ASKS] = {
    [ASK_EXIST] = 26, [ASK_COUNT] = 14, [ASK_COLOR] = 11,  [ASK_RELATION] = 24, [ASK_TEXT] = 12,     [ASK_CHOICE] = 6,
    [ASK_PLACE] = 7,  [ASK_SIZE] = 4,   [ASK_TEXTURE] = 3, [ASK_SHAPE] = 5,     [ASK_NEIGHBOUR] = 3, [ASK_SIGN] = 2,
};

// relate.json asks most for relations: they take two look-ups and a comparison, and are learned last of all.
static const int weights_relate[N_ASKS] = {
    [ASK_EXIST] = 24, [ASK_COUNT] = 14, [ASK_COLOR] = 8,   [ASK_RELATION] = 52, [ASK_TEXT] = 20,     [ASK_CHOICE] = 6,
    [ASK_PLACE] = 18, [ASK_SIZE] = 3,   [ASK_TEXTURE] = 2, [ASK_SHAPE] = 4,     [ASK_NEIGHBOUR] = 5, [ASK_SIGN] = 2,
};

static drt_shapes_ask_kind pick_kind(const int *of, drt_rng *r) {
    int total = 0;
    for (int k = 0; k < N_ASKS; k++) total += of[k];
    int u = (int)drt_rng_below(r, (uint64_t)total), k = 0;
    while (u >= of[k]) u -= of[k++];
    return (drt_shapes_ask_kind)k;
}

static bool fresh(const drt_shapes_question *asked, int n) {
    for (int i = 0; i < n; i++) {
        if (asked[i].key == asked[n].key) return false;
    }
    return true;
}

// A scene has few things to say yes to, and repeats are dropped: the answer is drawn first, so that yes stays half.
static bool ask_existence(drt_shapes_question *asked, int n, const drt_shapes_scene *s, drt_rng *r) {
    bool yes = drt_rng_below(r, 2);
    for (int tries = 0; tries < 20; tries++) {
        if (!drt_shapes_ask(&asked[n], ASK_EXIST, s, NULL, r)) continue;
        if (fresh(asked, n) && (asked[n].answer[0] == 'y') == yes) return true;
    }
    return false;
}

int drt_shapes_conversation(drt_shapes_question out[MAX_TURNS], const drt_shapes_scene *s,
                            const drt_shapes_known *known, bool relate, drt_rng *r) {
    drt_shapes_question asked[MAX_TURNS];
    int want = 5 + (int)drt_rng_below(r, 4), n = 0, done = 0;
    // "where is the red ring?" tells that there is one, so questions of existence and number come before such; in one
    // conversation of four it is the other way round, without questions of existence, so that no kind of question
    // always stands at the end.
    bool presupposing_first = drt_rng_below(r, 4) == 0;
    for (int tries = 0; tries < 80 && n < want; tries++) {
        drt_shapes_ask_kind kind = pick_kind(relate ? weights_relate : weights, r);
        if (presupposing_first && (kind == ASK_EXIST || kind == ASK_SIGN)) continue;
        if (kind == ASK_EXIST) n += ask_existence(asked, n, s, r);
        else if (drt_shapes_ask(&asked[n], kind, s, known, r) && fresh(asked, n)) n++;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < n; i++) {
            if (asked[i].presupposes == (pass == presupposing_first)) continue;
            out[done++] = asked[i];
        }
    }
    return done;
}

void drt_shapes_repeat(drt_text *human, drt_text *gpt, drt_rng *r) {
    const struct {
        const char *const *list;
        uint64_t n;
    } from[] = {{drt_shapes_names, N_SHAPES}, {drt_shapes_colors, N_COLORS},     {drt_shapes_sizes, N_SIZES},
                {drt_shapes_signs, N_WORDS},  {drt_shapes_textures, N_TEXTURES}, {drt_shapes_directions, 4}};
    const char *word[12];
    int n = 4 + (int)drt_rng_below(r, 9), times = 2 + (int)drt_rng_below(r, 2);
    drt_text_puts(human, "repeat:");
    for (int i = 0; i < n; i++) {
        uint64_t k = drt_rng_below(r, sizeof from / sizeof *from);
        word[i] = from[k].list[drt_rng_below(r, from[k].n)];
        drt_text_printf(human, " %s", word[i]);
    }
    for (int t = 0; t < times; t++)
        for (int i = 0; i < n; i++) drt_text_printf(gpt, t || i ? " %s" : "%s", word[i]);
}
