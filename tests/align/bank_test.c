// The permutation bank, shuffled words, and shuffled pictures.
#include "support/check.h"

#include "align/bank.h"
#include "align/methods.h"

#include <math.h>
#include <stdio.h>

static int distance(const int32_t *a, const int32_t *b, int n) {
    int d = 0;
    for (int i = 0; i < n; i++) d += a[i] != b[i];
    return d;
}

static int nearest(const int32_t *bank, int classes, int cells) {
    int least = cells + 1;
    for (int i = 0; i < classes; i++)
        for (int j = 0; j < i; j++) {
            int d = distance(bank + i * cells, bank + j * cells, cells);
            if (d < least) least = d;
        }
    return least;
}

static void banks(void **state) {
    static const int sizes[][2] = {{1, 1}, {2, 2}, {6, 3}, {24, 4}, {64, 16}, {300, 9}, {100, 64}};
    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int classes = sizes[k][0], cells = sizes[k][1];
        int32_t *a, *b, *c;
        drt_error err = {0};
        check_ok(drt_bank_draw(&a, classes, cells, 42, &err));
        check_ok(drt_bank_draw(&b, classes, cells, 42, &err));
        check_ok(drt_bank_draw(&c, classes, cells, 43, &err));
        check_ok(drt_bank_check(a, classes, cells, &err));
        check(!memcmp(a, b, (size_t)(classes * cells) * sizeof *a));
        if (cells > 3) check(memcmp(a, c, (size_t)(classes * cells) * sizeof *a));
        check(classes == 1 || nearest(a, classes, cells) > 0); // all different
        a[classes * cells - 1] = cells;
        check_refused(drt_bank_check(a, classes, cells, &err), DRT_EFORMAT, "is not a permutation");
        a[classes * cells - 1] = -1;
        check_refused(drt_bank_check(a, classes, cells, &err), DRT_EFORMAT, "is not a permutation");
        if (cells > 1) {
            a[classes * cells - 1] = a[classes * cells - 2];
            char row[40];
            snprintf(row, sizeof row, "row %d ", classes - 1);
            check_refused(drt_bank_check(a, classes, cells, &err), DRT_EFORMAT, row);
        }
        free(a), free(b), free(c);
    }
}

// Chosen banks keep their members farther apart than chance does, on average over seeds.
static void far_apart(void **state) {
    enum { CLASSES = 40, CELLS = 9, SEEDS = 12 };
    double chosen = 0, chance = 0;
    (void)state;
    for (int seed = 0; seed < SEEDS; seed++) {
        int32_t *a, random[CLASSES * CELLS];
        drt_error err = {0};
        drt_rng r;
        check_ok(drt_bank_draw(&a, CLASSES, CELLS, (uint64_t)seed, &err));
        drt_rng_init(&r, (uint64_t)seed, 1);
        for (int k = 0; k < CLASSES; k++) {
            for (int i = 0; i < CELLS; i++) random[k * CELLS + i] = i;
            drt_rng_shuffle(&r, random + k * CELLS, CELLS);
        }
        chosen += nearest(a, CLASSES, CELLS);
        chance += nearest(random, CLASSES, CELLS);
        free(a);
    }
    print_message("least distance of 40 permutations of 9: %.1f chosen, %.1f by chance\n", chosen / SEEDS,
                  chance / SEEDS);
    check(chosen >= chance + SEEDS); // at least one cell more
}

static void impossible(void **state) {
    int32_t *a;
    drt_error err = {0};
    (void)state;
    check_refused(drt_bank_draw(&a, 7, 3, 1, &err), DRT_ECONFIG, "lower order.bank");
    check_refused(drt_bank_draw(&a, 0, 3, 1, &err), DRT_ECONFIG, "order.bank");
    check_refused(drt_bank_draw(&a, 1, 0, 1, &err), DRT_ECONFIG, "order.bank");
    check(!a);
}

static int by_word(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The words of a text, sorted and joined.
static char *sorted(const char *text) {
    char *copy = strdup(text), *word[64], *out = calloc(1, strlen(text) + 2);
    int n = 0;
    for (char *p = strtok(copy, " \t\n\r\v\f"); p; p = strtok(NULL, " \t\n\r\v\f")) word[n++] = p;
    qsort(word, (size_t)n, sizeof *word, by_word);
    for (int i = 0; i < n; i++) strcat(strcat(out, word[i]), " ");
    free(copy);
    return out;
}

static void words(void **state) {
    static const char *const texts[] = {"",
                                        " ",
                                        "one",
                                        "  one\ttwo \n two  ",
                                        "a red star left of a blue circle, and a sign that says \"hi\"",
                                        "\xc3\xa9t\xc3\xa9 \xe2\x80\x94 na\xc3\xafve"};
    (void)state;
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        drt_rng r, again;
        drt_rng_init(&r, 3, k);
        again = r;
        int moved = 0;
        for (int i = 0; i < 20; i++) {
            char *a = drt_shuffle_words(texts[k], &r), *b = drt_shuffle_words(texts[k], &again), *x = sorted(texts[k]),
                 *y = sorted(a);
            assert_string_equal(a, b);
            assert_string_equal(x, y);
            check(!strstr(a, "  ") && a[0] != ' ' && (!*a || a[strlen(a) - 1] != ' '));
            moved += strcmp(a, texts[k]) != 0;
            free(a), free(b), free(x), free(y);
        }
        check(k < 4 || moved > 10);
    }
}

// Cells of patches moved as rows are the cells of the picture moved as pixels; packing shows both pictures of a sample.
static void pictures(void **state) {
    enum { SIDE = 4, NUMBERS = 3 };
    float patches[SIDE * SIDE * NUMBERS];
    const int32_t bank[] = {0, 1, 2, 3, 2, 0, 3, 1};
    int32_t id[] = {1, DRT_IMAGE_TOKEN, 5}, label[] = {DRT_IGNORE, DRT_IGNORE, 5};
    drt_error err = {0};
    (void)state;
    for (int i = 0; i < SIDE * SIDE * NUMBERS; i++) patches[i] = (float)i;
    const drt_pack_options o = {
        .patches_side = SIDE, .patch_numbers = NUMBERS, .bank = bank, .grid = 2, .read_visual = true};
    drt_sample s = {.images = 1,
                    .patches = patches,
                    .passes = 2,
                    .pass = {{DRT_PASS_PLAIN, id, label, 3, 2, -1}, {DRT_PASS_IMAGE_ORDER, id, label, 3, 2, 1}}};
    drt_arena *arena = drt_arena_new(0);
    drt_batch *b = drt_batch_pack(arena, (const drt_sample *const[]){&s}, 1, &o, &err);
    check(b && b->images == 2 && b->orders == 1 && b->order_from[1] == SIDE * SIDE && b->order_class[0] == 1);
    check(b->prompt[0] == 1 + SIDE * SIDE && b->prompt[1] == 1 + SIDE * SIDE);
    check(!memcmp(b->patches, patches, sizeof patches));
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int from = bank[4 + y / 2 * 2 + x / 2], sy = from / 2 * 2 + y % 2, sx = from % 2 * 2 + x % 2;
            check(!memcmp(b->patches + (SIDE * SIDE + y * SIDE + x) * NUMBERS, patches + (sy * SIDE + sx) * NUMBERS,
                          sizeof(float) * NUMBERS));
        }
    // The row in front of the trained word predicts it, and only in the plain pass; no row of the puzzle responds.
    check(b->words[DRT_PASS_PLAIN].n == 1 && b->words[DRT_PASS_PLAIN].label[0] == 5 &&
          b->select[b->words[DRT_PASS_PLAIN].at[0]] == SIDE * SIDE);
    check(!b->words[DRT_PASS_IMAGE_ORDER].n && b->guided == 1 && b->seen[0] == SIDE * SIDE);
    drt_arena_free(arena);
}

// A picture seen in two scales: its rows, shuffled, are the rows of the picture with its cells shuffled as pixels. (In
// scales of which the largest is an odd multiple no pixel of one cell depends on another cell.)
static void scales(void **state) {
    enum { PATCH = 2, SIDE = 4, TILE = PATCH * SIDE, WHOLE = 3 * TILE, CELL = WHOLE / 2, ROWS = 10 * SIDE * SIDE };
    static float intact[ROWS * 12], moved[ROWS * 12];
    const int32_t bank[] = {2, 0, 3, 1};
    int32_t id[] = {1, DRT_IMAGE_TOKEN, 5}, label[] = {DRT_IGNORE, DRT_IGNORE, 5};
    drt_image image, other;
    drt_error err = {0};
    drt_rng r;
    (void)state;
    drt_rng_init(&r, 1, 2);
    check_ok(drt_image_new(&image, WHOLE, WHOLE, &err));
    check_ok(drt_image_new(&other, WHOLE, WHOLE, &err));
    for (int i = 0; i < 3 * WHOLE * WHOLE; i++) image.rgb[i] = (uint8_t)drt_rng_below(&r, 256);
    for (int y = 0; y < WHOLE; y++)
        for (int x = 0; x < WHOLE; x++) {
            int from = bank[y / CELL * 2 + x / CELL], sy = from / 2 * CELL + y % CELL, sx = from % 2 * CELL + x % CELL;
            memcpy(other.rgb + 3 * (y * WHOLE + x), image.rgb + 3 * (sy * WHOLE + sx), 3);
        }
    drt_preprocess how = drt_preprocess_clip;
    how.size = WHOLE, how.scales = 2, how.multiple[0] = 1, how.multiple[1] = 3;
    drt_image_patches(&image, &how, PATCH, intact);
    drt_image_patches(&other, &how, PATCH, moved);
    const drt_pack_options o = {.patches_side = SIDE,
                                .patch_numbers = 12,
                                .scales = 2,
                                .multiple = {1, 3},
                                .bank = bank,
                                .grid = 2,
                                .read_visual = true};
    drt_sample s = {.images = 1, .patches = intact, .passes = 1, .pass = {{DRT_PASS_IMAGE_ORDER, id, label, 3, 0}}};
    drt_arena *arena = drt_arena_new(0);
    drt_batch *b = drt_batch_pack(arena, (const drt_sample *const[]){&s}, 1, &o, &err);
    check(b && b->images == 1 && drt_pack_picture(&o) == ROWS * 12 && b->rows == 2 + SIDE * SIDE);
    check(memcmp(intact, moved, sizeof moved) && !memcmp(b->patches, moved, sizeof moved));
    drt_arena_free(arena);
    drt_image_free(&image), drt_image_free(&other);
}

// A shuffled picture of CLIP brings no caption, and its patches keep their labels wherever they go.
static void shuffled_for_clip(void **state) {
    enum { SIDE = 4, PATCHES = SIDE * SIDE };
    float patches[PATCHES];
    int16_t label[PATCHES][DRT_PATCH_LABELS];
    const int32_t order[] = {2, 0, 3, 1};
    int32_t word[] = {7, 8}, *text[] = {word};
    int size = 2;
    drt_error err = {0};
    (void)state;
    for (int i = 0; i < PATCHES; i++) {
        patches[i] = (float)i;
        for (int k = 0; k < DRT_PATCH_LABELS; k++) label[i][k] = (int16_t)(10 * i + k);
    }
    const drt_pack_options o = {.patches_side = SIDE, .patch_numbers = 1, .grid = 2};
    drt_sample shuffled = {.images = 1, .patches = patches, .patch_label = label, .order = order},
               intact = {
                   .images = 1, .patches = patches, .patch_label = label, .texts = 1, .text = text, .text_size = &size};
    drt_arena *arena = drt_arena_new(0);
    drt_batch *b = drt_batch_pack(arena, (const drt_sample *const[]){&shuffled, &intact, &shuffled}, 3, &o, &err);
    check(b && b->images == 3 && b->captions == 1 && b->captioned[0] == 1 && b->texts == 1);
    int moved = 0;
    for (int i = 0; b && i < 3 * PATCHES; i++) {
        int at = (int)b->patches[i];
        check(!memcmp(b->patch_label[i], label[at], sizeof label[at]));
        if (i / PATCHES == 1) check(at == i % PATCHES);
        else moved += at != i % PATCHES;
    }
    check(moved == 2 * PATCHES && b->patches[0] == 8);
    drt_arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(banks),
                                       cmocka_unit_test(far_apart),
                                       cmocka_unit_test(impossible),
                                       cmocka_unit_test(words),
                                       cmocka_unit_test(pictures),
                                       cmocka_unit_test(scales),
                                       cmocka_unit_test(shuffled_for_clip)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
