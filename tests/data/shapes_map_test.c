// Maps: a scene as text, one word a patch (docs/shapes.md).
#include "support/check.h"

#include "data/shapes_world.h"

#include <stdio.h>
#include <string.h>

// A map names every patch as the labels of clip.json do, and every thing of the scene stands in it.
static void maps_name_every_patch(void **state) {
    (void)state;
    int missing = 0, objects = 0, grounds[N_GROUNDS] = {0};
    for (int i = 0; i < 300; i++) {
        drt_rng r;
        drt_shapes_scene s;
        drt_shapes_known known;
        drt_text map = {0};
        uint8_t patch[64][SHAPES_LABELS];
        drt_rng_init(&r, 4, (uint64_t)i);
        drt_shapes_sample(&s, false, &r);
        drt_shapes_patches(&s, patch);
        drt_shapes_map(&map, &s, &known);
        assert_true(known.places && !known.textures);
        char *rest = NULL, *word = strtok_r(map.bytes, " ", &rest);
        for (int p = 0; p < 64; p++, word = strtok_r(NULL, " ", &rest)) {
            assert_non_null(word);
            assert_int_equal(patch[p][4] > 0, patch[p][0] == 0 && patch[p][3] == 0);
            if (patch[p][4]) {
                assert_string_equal(word, drt_shapes_grounds[patch[p][4] - 1]);
                grounds[patch[p][4] - 1]++;
                for (int above = p - 8; above >= 0; above -= 8)
                    assert_true(!patch[above][4] || patch[above][4] <= patch[p][4]);
            } else if (patch[p][3]) assert_string_equal(word + 4, drt_shapes_signs[s.word]);
            else {
                assert_true(strstr(word, drt_shapes_colors[patch[p][0] - 1]) &&
                            strstr(word, drt_shapes_names[patch[p][1] - 1]));
                assert_ptr_equal(strstr(word, drt_shapes_sizes[patch[p][2] - 1]), word);
            }
        }
        assert_null(word);
        for (int k = 0; k < s.n; k++) {
            bool found = false;
            for (int p = 0; p < 64; p++)
                found |= patch[p][0] == s.object[k].color + 1 && patch[p][1] == s.object[k].shape + 1;
            missing += !found, objects++;
        }
        drt_text_free(&map);
    }
    assert_true(missing * 100 <= objects);
    for (int g = 0; g < N_GROUNDS; g++) assert_true(grounds[g] > 500);
}

// A sentence of two readings begins with the object that lies above or to the left, and names both places truly.
static void sentences_begin_above_or_left(void **state) {
    (void)state;
    int said[4] = {0};
    for (int i = 0; i < 1000; i++) {
        drt_rng r;
        drt_shapes_scene s;
        drt_text t = {0};
        char color[2][16], shape[2][16], word[16];
        int at[2] = {-1, -1}, direction = 0;
        drt_rng_init(&r, 6, (uint64_t)i);
        drt_shapes_sample(&s, false, &r);
        if (drt_shapes_caption(&t, &s, STYLE_TWO_READINGS, &r, NULL)) {
            const char *form = strstr(t.bytes, " of a") ? "%*[an] %15s %15s %15s of %*[an] %15s %15s"
                                                        : "%*[an] %15s %15s %15s %*[an] %15s %15s";
            assert_int_equal(sscanf(t.bytes, form, color[0], shape[0], word, color[1], shape[1]), 5);
            for (int k = 0; k < s.n; k++)
                for (int e = 0; e < 2; e++)
                    if (!strcmp(color[e], drt_shapes_colors[s.object[k].color]) &&
                        !strcmp(shape[e], drt_shapes_names[s.object[k].shape]))
                        at[e] = k;
            assert_true(at[0] >= 0 && at[1] > at[0]);
            while (direction < 4 && strcmp(word, drt_shapes_directions[direction])) direction++;
            assert_int_equal(direction, drt_shapes_direction(&s, at[0], at[1]));
            said[direction]++;
        }
        drt_text_free(&t);
    }
    assert_true(said[LEFT] > 100 && said[ABOVE] > 100 && !said[RIGHT] && !said[BELOW]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(maps_name_every_patch),
                                       cmocka_unit_test(sentences_begin_above_or_left)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
