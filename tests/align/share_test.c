// Which rows sequences share, in small batches by hand; tests/align/objectives_test.c has the numbers.
#include "align/share.h"
#include "support/rig.h"

#include <string.h>

enum { MOST = 32 };

typedef struct {
    int sequences;
    int32_t offsets[8], token[MOST], visual[MOST];
    int selected;
    int32_t select[MOST];
    // What must come out.
    int64_t rows;
    int32_t out_offsets[8], key_row[MOST], out_select[MOST];
} expected;

static const expected cases[] = {
    // The second has two rows in common with the first, the third three with the second; the fourth is another picture.
    {4,
     {0, 4, 8, 13, 16},
     {1, 2, -1, 3, 1, 2, -1, 4, 1, 2, -1, 5, 4, 1, 2, -1},
     {-1, -1, 0, -1, -1, -1, 1, -1, -1, -1, 1, -1, -1, -1, -1, 2},
     4,
     {3, 7, 12, 15},
     4 + 2 + 2 + 1,
     {0, 4, 6, 8, 9},
     {0, 1, 2, 3, 0, 1, 4, 5, 0, 1, 4, 6, 7, 0, 1, 8},
     {3, 5, 7, 8}},
    // A row that is read stays, and so do all behind it, however alike; what is read in the first is nothing to others.
    {3,
     {0, 3, 6, 9},
     {1, 2, 3, 1, 2, 3, 1, 2, 3},
     {-1, -1, -1, -1, -1, -1, -1, -1, -1},
     3,
     {0, 4, 8},
     3 + 2 + 1,
     {0, 3, 5, 6},
     {0, 1, 2, 0, 3, 4, 0, 1, 5},
     {0, 3, 5}},
    // An empty sequence, and one with nothing of its own.
    {4, {0, 2, 2, 4, 5}, {1, 2, 1, 2, 7}, {-1, -1, -1, -1, -1}, 2, {1, 4}, 3, {0, 2, 2, 2, 3}, {0, 1, 0, 1, 2}, {1, 2}},
    // The directed token is neither word nor visual token.
    {2, {0, 2, 4}, {-1, 5, -1, 6}, {-1, -1, -1, -1}, 2, {1, 3}, 3, {0, 2, 3}, {0, 1, 0, 2}, {1, 2}},
};

static drt_batch batch_of(const expected *e) {
    static int32_t place[MOST], reach[MOST], seen[MOST];
    static uint8_t responds[MOST], is_visual[MOST];
    drt_batch b = {.sequences = e->sequences,
                   .rows = e->offsets[e->sequences],
                   .offsets = (int32_t *)e->offsets,
                   .token = (int32_t *)e->token,
                   .visual = (int32_t *)e->visual,
                   .position = place,
                   .reach = reach,
                   .is_visual = is_visual,
                   .select = (int32_t *)e->select,
                   .selected = e->selected,
                   .responds = responds,
                   .seen = seen};
    for (int s = 0; s < e->sequences; s++)
        for (int32_t r = e->offsets[s]; r < e->offsets[s + 1]; r++) {
            place[r] = r - e->offsets[s], reach[r] = place[r] + 1, seen[r] = 100 + s;
            responds[r] = false, is_visual[r] = e->visual[r] >= 0;
        }
    for (int i = 0; i < e->selected; i++) responds[e->select[i]] = true;
    return b;
}

static void shared_rows(void **state) {
    (void)state;
    drt_error err = {0};
    drt_device *dev;
    check_ok(drt_device_open(&dev, "ref", 1, &err));
    drt_tape *t = drt_tape_new(dev, &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const expected *e = &cases[i];
        drt_batch b = batch_of(e);
        drt_tape_begin(t, false);
        const drt_batch *s = drt_share_prefixes(t, &b);
        check(s && s != &b && s->rows == e->rows);
        size_t sequences = (size_t)e->sequences;
        assert_memory_equal(s->offsets, e->out_offsets, (sequences + 1) * sizeof(int32_t));
        assert_memory_equal(s->key_row, e->key_row, (size_t)b.rows * sizeof(int32_t));
        assert_memory_equal(s->select, e->out_select, (size_t)e->selected * sizeof(int32_t));
        check(s->key_offsets == b.offsets && s->is_visual == b.is_visual && s->selected == b.selected);
        int responding = 0;
        for (int32_t r = 0; r < b.rows; r++) { // every key is a row like the one it stands for
            int32_t k = s->key_row[r];
            check(s->token[k] == b.token[r] && s->visual[k] == b.visual[r]);
            check(s->position[k] == b.position[r] && s->reach[k] == b.reach[r]);
        }
        for (int32_t k = 0; k < s->rows; k++) responding += s->responds[k];
        for (int n = 0; n < e->selected; n++) {
            check(s->responds[s->select[n]] && s->seen[s->select[n]] == b.seen[b.select[n]]);
        }
        check(responding == e->selected);
    }
    drt_tape_free(t);
    drt_device_close(dev);
}

static void nothing_in_common(void **state) {
    (void)state;
    drt_error err = {0};
    drt_device *dev;
    check_ok(drt_device_open(&dev, "ref", 1, &err));
    drt_tape *t = drt_tape_new(dev, &err);
    const expected e = {2, {0, 2, 4}, {1, 2, 3, 2}, {-1, -1, -1, -1}, 2, {1, 3}, 0, {0}, {0}, {0}};
    drt_batch b = batch_of(&e);
    drt_tape_begin(t, false);
    check(drt_share_prefixes(t, &b) == &b);
    drt_tape_free(t);
    drt_device_close(dev);
}

// The golden batch of objectives_test has passes with a picture in common: its rows are fewer, what is read the same.
static void of_real_passes(void **state) {
    (void)state;
    static const char *const keys[] = {"groups.language=1", "objectives.text_order=1", "data.template=plain"};
    rig r;
    drt_forward f;
    rig_open(&r, "model/llava", "align/end.safetensors", "cpu", 3, keys);
    rig_pack(&r, 0, r.samples);
    rig_forward(&r, &f, false);
    check(f.batch->key_row && f.batch->rows < r.batch[0]->rows && f.states->value.rows == r.batch[0]->selected);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shared_rows), cmocka_unit_test(nothing_in_common),
                                       cmocka_unit_test(of_real_passes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
