// Samples without a picture: words to repeat, and what a scene's description or map can be asked.
#include "data/shapes_files.h"

#include "data/shuffle_words.h"

#include <stdlib.h>

// Descriptions that hold whatever is asked of them.
static drt_shapes_style pick_telling_style(drt_rng *r) {
    uint64_t u = drt_rng_below(r, 20);
    return u < 8 ? STYLE_PLACES : u < 15 ? STYLE_LIST : STYLE_BOTH;
}

static void describe(drt_text *t, const drt_shapes_scene *s, drt_shapes_style style, drt_rng *r,
                     drt_shapes_known *known) {
    if (!drt_shapes_caption(t, s, style, r, known)) drt_shapes_caption(t, s, STYLE_PLACES, r, known);
}

void drt_shapes_tell(drt_text *t, const drt_shapes_scene *s, drt_rng *r, drt_shapes_known *known) {
    describe(t, s, pick_telling_style(r), r, known);
}

// What a question is asked of in place of a picture: a description; among maps as often a map.
static void tell(drt_text *t, drt_shapes_lesson lesson, const drt_shapes_scene *s, drt_rng *r,
                 drt_shapes_known *known) {
    if (lesson == LESSON_MAPS && drt_rng_below(r, 2)) drt_shapes_map(t, s, known);
    else drt_shapes_tell(t, s, r, known);
}

// A description or a map, and what is to be made of it: a caption in another style, or a sentence whose words stand
// shuffled in the question (where the scene has none, a caption). That is what captions (stage 1) and text order
// (METHODS 2.2) will ask of a picture; a decoder that has never done it with words would not learn it from pictures.
static void retell(drt_text *human, drt_text *gpt, drt_shapes_lesson lesson, bool order, drt_rng *r,
                   const drt_shapes_scene *s, shapes_vocabulary *words) {
    order = order && drt_shapes_caption(gpt, s, STYLE_TWO_READINGS, r, NULL);
    if (!order) describe(gpt, s, drt_shapes_pick_style(r), r, NULL);
    char *shuffled = order && !gpt->failed ? drt_shuffle_words(gpt->bytes, r) : NULL;
    gpt->failed |= order && !shuffled;
    if (order && lesson == LESSON_MAPS) drt_shapes_map(human, s, NULL);
    else tell(human, lesson, s, r, NULL);
    if (!human->failed) drt_shapes_words_add(words, human->bytes);
    drt_text_printf(human, "\n%s%s", order ? DRT_TEXT_ORDER_PROMPT : "describe the picture.", shuffled ? shuffled : "");
    free(shuffled);
}

static int ask(drt_text *entry, const char *id, drt_text *lead, drt_shapes_lesson lesson, const drt_shapes_scene *s,
               drt_rng *r, shapes_vocabulary *words, shapes_tally *asked) {
    drt_shapes_known known;
    drt_shapes_question q[MAX_TURNS];
    tell(lead, lesson, s, r, &known);
    if (!lead->failed) drt_shapes_words_add(words, lead->bytes);
    int n = drt_shapes_conversation(q, s, &known, lesson != LESSON_TEXT, r);
    for (int k = 0; k < n; k++) {
        if (asked) drt_shapes_tally_add(asked, &q[k]);
        drt_shapes_words_add(words, q[k].text), drt_shapes_words_add(words, q[k].answer);
    }
    if (!lead->failed) drt_shapes_put_conversation(entry, id, NULL, lead->bytes, q, n);
    return n;
}

int drt_shapes_put_reading(drt_text *entry, const char *id, drt_shapes_lesson lesson, drt_rng *r,
                           shapes_vocabulary *words, shapes_tally *asked) {
    // Which of two readings is the map's takes a look-up as a question does, but one word of a whole sentence tells
    // whether it was right: among maps there are more sentences to order.
    const uint64_t retold = 3, ordered = lesson == LESSON_MAPS ? 8 : 2;
    drt_text human = {0}, gpt = {0};
    drt_shapes_scene s;
    uint64_t kind = 1;
    int turns = 1;
    if (lesson != LESSON_REPEAT) {
        drt_shapes_sample(&s, false, r);
        kind = drt_rng_below(r, 20);
    }
    if (kind == 0) drt_text_puts(&human, "describe a picture."), describe(&gpt, &s, drt_shapes_pick_style(r), r, NULL);
    else if (kind == 1) drt_shapes_repeat(&human, &gpt, r);
    else if (kind < 2 + ordered + retold) retell(&human, &gpt, lesson, kind < 2 + ordered, r, &s, words);
    else turns = ask(entry, id, &human, lesson, &s, r, words, asked);
    entry->failed |= human.failed || gpt.failed;
    if (gpt.size && !entry->failed) drt_shapes_put_pair(entry, id, NULL, human.bytes, gpt.bytes);
    if (gpt.size && !gpt.failed) drt_shapes_words_add(words, gpt.bytes);
    drt_text_free(&human), drt_text_free(&gpt);
    return turns;
}
