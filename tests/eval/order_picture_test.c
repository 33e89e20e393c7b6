// The drawing of an input order: every patch once, in the colour of its word; the numbers are those of the order.
#include "support/check.h"
#include "support/svg.h"
#include "support/tiny_model.h"

#include "base/file.h"
#include "eval/order_picture.h"

#include <stdio.h>

typedef struct {
    drt_device *dev;
    drt_tape *t;
    drt_model *m;
    char *folder, *picture;
} world;

static int setup(void **state) {
    world *w = calloc(1, sizeof *w);
    drt_error err = {0};
    check_ok(drt_device_open(&w->dev, "cpu", 1, &err));
    w->t = drt_tape_new(w->dev, &err);
    w->m = tiny_llava(3, 0);
    w->folder = test_folder("order");
    w->picture = tiny_picture(w->folder, "a.png", 20, 15, 1);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    drt_error err = {0};
    check_ok(drt_remove_tree(w->folder, &err));
    free(w->folder), free(w->picture);
    drt_model_close(w->m);
    drt_tape_free(w->t);
    drt_device_close(w->dev);
    free(w);
    return 0;
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text++) n++;
    return n;
}

static void patches_and_words(void **state) {
    const world *w = *state;
    static const float tau[] = {1, 0.55f, -1};
    int moved[3];
    for (int i = 0; i < 3; i++) {
        const drt_token_mixer order = {DRT_INPUT_TOKEN_MIXER, tau[i], (drt_mixer_side)(i % 2)};
        const drt_order_question q = {.message = "<b>what & where?\n", .image = w->picture};
        drt_text svg = {0};
        drt_error err = {0};
        int all = 0, sum = 0;
        check_ok(drt_order_picture(w->m, w->t, &order, &q, &svg, &err));
        check_svg(&svg);
        const char *title = strstr(svg.bytes, "class=\"title\"");
        check(title && sscanf(strchr(title, '>'), ">%d of %d visual", &moved[i], &all) == 2);
        assert_int_equal(all, TINY_PATCHES);
        assert_int_equal(count(svg.bytes, "<title>"), TINY_PATCHES);
        assert_int_equal(count(svg.bytes, "<title>no word,"), TINY_PATCHES - moved[i]);
        for (const char *p = svg.bytes; (p = strstr(p, "▦ ")); p++) sum += atoi(p + strlen("▦ "));
        assert_int_equal(sum, TINY_PATCHES);
        assert_int_equal(count(svg.bytes, i % 2 ? "behind the word" : "in front of the word"), 1);
        drt_text_free(&svg);
    }
    check(moved[0] == 0 && moved[1] > 0 && moved[1] < moved[2] && moved[2] == TINY_PATCHES);
}

// Every patch once, every place of the prompt once; what a place shows and what the title counts are the same.
static void places_of_gps(void **state) {
    world w = *(const world *)*state;
    for (int hard = 0; hard < 2; hard++) {
        const drt_order_question q = {.message = "<b>what & where?\n", .image = w.picture};
        drt_text svg = {0};
        drt_error err = {0};
        int moved = 0, all = 0, lost = 0;
        w.m = tiny_gps(3, hard);
        check_ok(drt_order_picture(w.m, w.t, &w.m->config.order, &q, &svg, &err));
        check_svg(&svg);
        const char *title = strstr(svg.bytes, "class=\"title\"");
        check(title && sscanf(strchr(title, '>'), ">%d of %d places", &moved, &all) == 2);
        check(moved > 0 && moved <= all && all > TINY_PATCHES);
        assert_int_equal(count(svg.bytes, "<title>"), TINY_PATCHES);
        check(count(svg.bytes, "<title>nowhere") + count(svg.bytes, "<title>place") == TINY_PATCHES);
        assert_int_equal(count(svg.bytes, "fill-opacity=\"") - TINY_PATCHES, all + 1); // dots of the matrix, BOS too
        const char *stand = strstr(svg.bytes, " rows stand nowhere");
        check((stand != NULL) == hard && (strstr(svg.bytes, "rows are mixed") != NULL) == !hard);
        if (hard) {
            while (stand[-1] != '>') stand--;
            lost = atoi(stand);
            check(lost >= count(svg.bytes, "<title>nowhere") && lost < all);
        }
        drt_text_free(&svg);
        check_refused(drt_order_picture(((const world *)*state)->m, w.t, &w.m->config.order, &q, &svg, &err),
                      DRT_ECONFIG, "has no permuter");
        drt_model_close(w.m);
    }
}

static void refusals(void **state) {
    const world *w = *state;
    const drt_token_mixer order = {DRT_INPUT_TOKEN_MIXER, 0, DRT_MIXER_BEFORE};
    const drt_order_question none = {.message = "what?", .image = "/nowhere.png"},
                             two = {.message = "<image> what?", .image = w->picture};
    drt_text svg = {0};
    drt_error err = {0};
    drt_model *clip = tiny_clip(1);
    check_refused(drt_order_picture(clip, w->t, &order, &two, &svg, &err), DRT_ECONFIG, "LLaVA");
    check_refused(drt_order_picture(w->m, w->t, &order, &none, &svg, &err), DRT_EIO, "/nowhere.png");
    check_ok(drt_order_picture(w->m, w->t, &order, &two, &svg, &err)); // as in a chat: one picture, one place
    drt_text_free(&svg);
    drt_model_close(clip);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patches_and_words),
        cmocka_unit_test(places_of_gps),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
