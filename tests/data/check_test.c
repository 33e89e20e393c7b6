// A dataset with one of every defect: each is found, by name, and nothing else is.
#include "support/check.h"
#include "support/tar.h"

#include "base/file.h"
#include "base/rng.h"
#include "data/check.h"
#include "data/quarantine.h"
#include "format/image.h"
#include "format/image_print.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>

typedef struct {
    char *folder, *data, *eval;
} place;

static char *in(const place *p, const char *name) { return drt_path_join(p->folder, name); }

// Soft blobs of a seed: pictures of different seeds look different, one seed's at two sizes the same.
static drt_image blobs(uint64_t seed, int width, int height) {
    drt_error err = {0};
    drt_image m;
    drt_rng r;
    double x[12], y[12], size[12];
    int light[12];
    drt_rng_init(&r, seed, 7);
    for (int b = 0; b < 12; b++) {
        x[b] = drt_rng_uniform(&r), y[b] = drt_rng_uniform(&r), size[b] = 0.05 + 0.1 * drt_rng_uniform(&r);
        light[b] = (int)drt_rng_below(&r, 200) - 100;
    }
    check_ok(drt_image_new(&m, width, height, &err));
    for (int i = 0; i < width * height; i++) {
        double v = 128, px = (i % width + 0.5) / width, py = (i / width + 0.5) / height;
        for (int b = 0; b < 12; b++)
            v += light[b] * exp(-((px - x[b]) * (px - x[b]) + (py - y[b]) * (py - y[b])) / (2 * size[b] * size[b]));
        for (int c = 0; c < 3; c++) m.rgb[3 * i + c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
    return m;
}

enum { WHOLE, CUT, DAMAGED, SPOILED };

static void put_picture(const place *p, const char *name, uint64_t seed, int width, int height, int quality, int how) {
    drt_error err = {0};
    drt_image m = blobs(seed, width, height);
    unsigned char *bytes;
    size_t size;
    char *path = in(p, name);
    if (strstr(name, ".png")) check_ok(drt_image_encode_png(&m, &bytes, &size, &err));
    else check_ok(drt_image_encode_jpeg(&m, quality, &bytes, &size, &err));
    if (how == CUT) size = size * 2 / 3;
    if (how == DAMAGED) memset(bytes + size / 2, 0x55, 40); // in the coefficients: libjpeg reads over it
    if (how == SPOILED) bytes[size / 2] ^= 0x10;            // a PNG's checksum
    check_ok(drt_file_write(path, bytes, size, &err));
    drt_image_free(&m);
    free(bytes), free(path);
}

// The samples in their order; image: as it stands in the JSON; gpt NULL: no answer; human NULL: no turns.
static const struct {
    const char *id, *image, *human, *gpt;
} samples[] = {
    {"good-1", "\"a.jpg\"", "<image>\\nwhat is it", "a picture"},
    {"good-2", "\"b.jpg\"", "<image>\\nwhat is it", "a picture"},
    {"good-3", "\"c.png\"", "<image>\\nwhat is it", "a picture"},
    {"good-4", NULL, "hi", "hello"},
    {"good-5", "[\"a.jpg\", \"d.jpg\"]", "<image> or <image>", "both"},
    {"malformed", NULL, "x", NULL},
    {"no-turns", NULL, NULL, NULL},
    {"empty", NULL, "x", " \\n"},
    {"none", "\"a.jpg\"", "x", "y"},
    {"lost", NULL, "<image>\\nx", "y"},
    {"two", "[\"a.jpg\", \"b.jpg\"]", "<image>", "y"},
    {"missing", "\"gone.jpg\"", "<image>", "y"},
    {"cut-1", "\"cut.jpg\"", "<image>", "y"},
    {"cut-2", "\"cut.png\"", "<image>", "y"},
    {"damaged", "\"damaged.jpg\"", "<image>", "y"},
    {"spoiled", "\"spoiled.png\"", "<image>", "y"},
    {"same", "\"same.jpg\"", "<image>", "y"},
    {"near", "\"near.jpg\"", "<image>", "y"},
    {"asked", "\"asked.jpg\"", "<image>", "y"},
    {"like", "\"like.jpg\"", "<image>", "y"},
    {"question", NULL, "How many  legs has a spider?", "eight"},
    {"long", NULL, "x",
     "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
     "eighteen nineteen twenty one two three four five six"},
    {"drowned", "[\"a.jpg\", \"b.jpg\", \"c.png\"]", "<image><image><image>", "y"},
    {"cut-again", "\"cut.jpg\"", "<image>", "y"},
};
enum { SAMPLES = sizeof samples / sizeof *samples };

static void put_samples(const char *path) {
    drt_error err = {0};
    drt_text t = {0};
    for (int i = 0; i < SAMPLES; i++) {
        drt_text_printf(&t, "%s{\"id\": \"%s\"", i ? ",\n" : "[", samples[i].id);
        if (samples[i].image) drt_text_printf(&t, ", \"image\": %s", samples[i].image);
        if (samples[i].human)
            drt_text_printf(&t, ", \"conversations\": [{\"from\": \"human\", \"value\": \"%s\"}", samples[i].human);
        if (samples[i].gpt) drt_text_printf(&t, ", {\"from\": \"gpt\", \"value\": \"%s\"}", samples[i].gpt);
        drt_text_puts(&t, samples[i].human ? "]}" : "}");
    }
    drt_text_puts(&t, "]");
    check_ok(drt_file_write(path, t.bytes, t.size, &err));
    drt_text_free(&t);
}

static place build(void) {
    drt_error err = {0};
    place p = {.folder = test_folder("check")};
    p.data = in(&p, "data.json");
    p.eval = in(&p, "eval.jsonl");
    put_picture(&p, "a.jpg", 1, 320, 240, 90, WHOLE);
    put_picture(&p, "b.jpg", 2, 320, 240, 90, WHOLE);
    put_picture(&p, "c.png", 3, 200, 200, 0, WHOLE);
    put_picture(&p, "same.jpg", 1, 320, 240, 90, WHOLE);
    put_picture(&p, "near.jpg", 2, 240, 180, 60, WHOLE);
    put_picture(&p, "cut.jpg", 4, 320, 240, 90, CUT);
    put_picture(&p, "cut.png", 5, 200, 200, 0, CUT);
    put_picture(&p, "damaged.jpg", 6, 320, 240, 90, DAMAGED);
    put_picture(&p, "spoiled.png", 7, 200, 200, 0, SPOILED);
    put_picture(&p, "asked.jpg", 8, 320, 240, 90, WHOLE);
    put_picture(&p, "asked-too.jpg", 8, 320, 240, 90, WHOLE); // what the evaluation shows
    put_picture(&p, "like.jpg", 9, 320, 240, 90, WHOLE);
    put_picture(&p, "liked.png", 9, 160, 120, 0, WHOLE); // the evaluation's
    put_picture(&p, "d.jpg", 10, 300, 300, 90, WHOLE);
    put_samples(p.data);
    static const char eval[] =
        "{\"question_id\":1,\"image\":\"asked-too.jpg\",\"text\":\"what is it\",\"answer\":\"a\"}\n"
        "{\"question_id\":2,\"image\":\"liked.png\",\"text\":\"what is it\",\"answer\":\"a\"}\n"
        "{\"question_id\":3,\"text\":\"How many legs has a spider?\",\"answer\":\"8\"}\n"
        "{\"question_id\":4,\"image\":\"nowhere.jpg\",\"text\":\"x\",\"answer\":\"a\"}\n";
    check_ok(drt_file_write(p.eval, eval, sizeof eval - 1, &err));
    return p;
}

static const struct {
    const char *id, *part;
    drt_find_kind kind;
} wanted[] = {
    {"malformed", "no answer to train on", DRT_FIND_MALFORMED},
    {"no-turns", "'conversations' must be", DRT_FIND_MALFORMED},
    {"empty", "turn 2: the answer is empty", DRT_FIND_EMPTY},
    {"none", "1 image, but 0 turns", DRT_FIND_PLACEHOLDERS},
    {"lost", "no picture, but the placeholder", DRT_FIND_PLACEHOLDERS},
    {"two", "2 images, but 1 placeholders", DRT_FIND_PLACEHOLDERS},
    {"missing", "gone.jpg: there is no such picture", DRT_FIND_MISSING},
    {"cut-1", "cut.jpg: JPEG", DRT_FIND_TRUNCATED},
    {"cut-2", "cut.png: PNG", DRT_FIND_TRUNCATED},
    {"damaged", "damaged.jpg: ", DRT_FIND_CORRUPT},
    {"spoiled", "spoiled.png: PNG", DRT_FIND_CORRUPT},
    {"same", "same.jpg has the same bytes as ", DRT_FIND_SAME},
    {"near", "near.jpg looks like ", DRT_FIND_NEAR},
    {"asked", "its picture is the evaluation's ", DRT_FIND_EVALUATION},
    {"like", "like.jpg looks like the evaluation's ", DRT_FIND_NEAR_EVALUATION},
    {"question", "turn 1 is a question of an evaluation file", DRT_FIND_EVALUATION},
    {"long", "trained tokens are cut off", DRT_FIND_OVERLONG},
    {"drowned", "no token is trained on", DRT_FIND_UNTRAINED},
    {"cut-again", "cut.jpg: JPEG", DRT_FIND_TRUNCATED},
};
enum { WANTED = sizeof wanted / sizeof *wanted, QUARANTINED = 15 };

static void each_defect_is_found_and_nothing_else(void **state) {
    (void)state;
    place p = build();
    drt_error err = {0};
    drt_tokenizer *tok;
    check_ok(drt_tokenizer_open(&tok, "tests/golden/data/byte_level", &err));
    const drt_dataset_rows rows = {.tokenizer = tok, .context = 90, .image_rows = 20};
    const char *eval[] = {p.eval};
    const drt_data_check_options o = {.how = drt_template_find("v1"), .rows = &rows, .eval = eval, .n_eval = 1};
    int most = omp_get_max_threads();
    for (int threads = 1; threads <= 3; threads++) {
        drt_data_check c;
        omp_set_num_threads(threads);
        check_ok(drt_data_check_run(&c, p.data, &o, &err));
        for (int i = 0; i < c.n || i < WANTED; i++) {
            if (i >= c.n) fail_msg("%s was not found", wanted[i].id);
            const drt_finding *f = &c.finding[i];
            if (i >= WANTED || strcmp(f->id, wanted[i].id) || f->kind != wanted[i].kind ||
                !strstr(f->text, wanted[i].part))
                fail_msg("finding %d: sample %d (%s), %s: %s", i, f->sample, f->id, drt_find_about_kind[f->kind].name,
                         f->text);
        }
        assert_int_equal(c.quarantined, QUARANTINED);
        assert_int_equal(c.pictures, 13);
        assert_true(c.eval_questions == 4 && c.eval_pictures == 3 && c.eval_missing == 1);
        assert_true(c.failed == 4);
        if (threads == 3) check_ok(drt_data_check_save(&c, NULL, &err));
        drt_data_check_free(&c);
    }
    omp_set_num_threads(most);
    // Training that honours the list finds nothing to complain of, and does not decode anything again.
    char *list = drt_quarantine_path(p.data);
    drt_dataset *ds;
    const drt_dataset_options use = {.images = DRT_IMAGES_DECODE, .how = o.how, .rows = &rows, .quarantine = list};
    check_ok(drt_dataset_open(&ds, p.data, NULL, &use, NULL, &err));
    assert_int_equal(drt_dataset_quarantined(ds), QUARANTINED);
    assert_int_equal(drt_dataset_size(ds), SAMPLES - QUARANTINED);
    drt_dataset_close(ds);
    check_ok(drt_data_check_may_save(p.data, NULL, &err));
    check_ok(drt_file_write(list, "{\"id\": \"a\"}\n", 12, &err));
    check_refused(drt_data_check_may_save(p.data, NULL, &err), DRT_ECONFIG, "written by hand");
    drt_tokenizer_close(tok);
    check_ok(drt_remove_tree(p.folder, &err));
    free(list), free(p.folder), free(p.data), free(p.eval);
}

#define TALK(who)                                                                                                      \
    "{\"id\":\"" who "\",\"conversations\":[{\"from\":\"human\",\"value\":\"x\"},{\"from\":\"gpt\",\"value\":\"y\"}]}"

// A line that is no JSON, or a shard's entry, is a finding of its own, and what comes behind it is a sample still.
static void broken_lines_are_found(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("check-broken"), *list;
    place p = {.folder = folder};
    char *data[2] = {in(&p, "data.jsonl"), in(&p, "data.tar")};
    static const char lines[] =
        "no JSON at all\n" TALK("a") "\n{\"id\":\"cut\",\"conversations\":[{\"from\":\"hum\n"
                                     "\n" TALK("b") "\n{\"id\": 1 2}\n" TALK("c") " " TALK("d") "\n" TALK(
                                         "e") "\r\n{\"id\":\"\xFF\"}\n" TALK("f") "\n{\"id\":\"the last";
    static const char *const entries[][2] = {{"a", TALK("")}, {"b", "{\"id\": 1 2}"}, {"c", TALK("")}, {"d", "no"}};
    // Samples, from 0, and the words of their finding.
    static const struct {
        int sample;
        const char *words;
    } want[2][7] = {{{0, "data.jsonl:1: no JSON: byte 1: "},
                     {2, "data.jsonl:3: no JSON: byte "},
                     {4, "data.jsonl:6: no JSON: byte 10: "},
                     {5, "data.jsonl:7: no JSON: byte "},
                     {7, "data.jsonl:9: no JSON: byte 8: "},
                     {9, "data.jsonl:11: no JSON: byte "}},
                    {{1, "data.tar: b.json: no JSON: byte 10: "}, {3, "data.tar: d.json: no JSON: byte 1: "}}};
    check_ok(drt_file_write(data[0], lines, sizeof lines - 1, &err));
    test_tar *t = test_tar_open(data[1], "pax");
    for (int i = 0; i < 4; i++) {
        char name[10];
        snprintf(name, sizeof name, "%s.json", entries[i][0]);
        test_tar_put(t, name, entries[i][1], strlen(entries[i][1]));
    }
    test_tar_close(t);
    for (int k = 0; k < 2; k++) {
        const int samples = k ? 4 : 10, broken = k ? 2 : 6;
        const drt_data_check_options o = {.how = drt_template_find("v1")};
        drt_data_check c;
        for (int again = 0; again < 2; again++) { // with the index that the first has kept
            check_ok(drt_data_check_run(&c, data[k], &o, &err));
            assert_int_equal(c.index.n, samples);
            assert_true(c.n == broken && c.of[DRT_FIND_SYNTAX] == broken && c.quarantined == broken);
            for (int i = 0; i < broken; i++)
                if (c.finding[i].sample != want[k][i].sample || !strstr(c.finding[i].text, want[k][i].words))
                    fail_msg("sample %d: %s", c.finding[i].sample, c.finding[i].text);
            assert_int_equal(c.index.made, !again);
            check_ok(drt_data_check_save(&c, NULL, &err));
            drt_data_check_free(&c);
        }
        // Training refuses, leaves out, or honours the list, as of any bad sample.
        drt_dataset *ds;
        drt_dataset_options use = {.images = DRT_IMAGES_EXIST};
        check_refused(drt_dataset_open(&ds, data[k], NULL, &use, NULL, &err), DRT_EDATA,
                      k ? "2 of 4 samples cannot be used" : "6 of 10 samples cannot be used");
        list = drt_quarantine_path(data[k]);
        for (int way = 0; way < 2; way++) {
            use.skip = !way;
            use.quarantine = way ? list : NULL;
            check_ok(drt_dataset_open(&ds, data[k], NULL, &use, NULL, &err));
            assert_int_equal(drt_dataset_size(ds), samples - broken);
            drt_dataset_close(ds);
        }
        free(list), free(data[k]);
    }
    check_ok(drt_remove_tree(folder, &err));
    free(folder);
}

// Where not one picture is found the folder is the wrong one: the list and the index of the right one stay.
static void another_folder_is_not_believed(void **state) {
    (void)state;
    drt_error err = {0};
    place p = build();
    drt_data_check c;
    char *list = drt_quarantine_path(p.data), *index = drt_beside(p.data, DRT_INDEX_ENDING), *other = in(&p, "other");
    char *kept[2][2];
    size_t size[2][2];
    check_ok(drt_make_folders(other, &err));
    drt_data_check_options o = {.how = drt_template_find("v1")};
    check_ok(drt_data_check_run(&c, p.data, &o, &err));
    check_ok(drt_data_check_save(&c, NULL, &err));
    drt_data_check_free(&c);
    for (int after = 0; after < 2; after++) {
        check_ok(drt_file_read(&kept[after][0], &size[after][0], list, 0, &err));
        check_ok(drt_file_read(&kept[after][1], &size[after][1], index, 0, &err));
        if (after) break;
        o.images = other;
        check_ok(drt_data_check_run(&c, p.data, &o, &err));
        check_refused(drt_data_check_save(&c, NULL, &err), DRT_ECONFIG, "/other; name the folder");
        drt_data_check_free(&c);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(size[0][i], size[1][i]);
        assert_memory_equal(kept[0][i], kept[1][i], size[0][i]);
        free(kept[0][i]), free(kept[1][i]);
    }
    o.images = "build/no-such-folder";
    check_refused(drt_data_check_run(&c, p.data, &o, &err), DRT_EIO, "no-such-folder: no such folder");
    check_ok(drt_remove_tree(p.folder, &err));
    free(list), free(index), free(other), free(p.folder), free(p.data), free(p.eval);
}

static void prints_know_a_picture_again(void **state) {
    (void)state;
    drt_image_print p[40];
    for (int i = 0; i < 40; i++) {
        drt_image large = blobs(100 + (uint64_t)i, 400, 300), small = blobs(100 + (uint64_t)i, 133, 100);
        drt_image_print again = drt_image_print_of(&small);
        p[i] = drt_image_print_of(&large);
        if (!drt_image_print_near(&p[i], &again))
            fail_msg("picture %d: %d bits differ", i, drt_image_print_distance(&p[i], &again));
        for (int k = 0; k < i; k++)
            if (drt_image_print_near(&p[i], &p[k])) fail_msg("pictures %d and %d look alike", i, k);
        drt_image_free(&large), drt_image_free(&small);
    }
    // Every bit is in one band, so that prints that differ in fewer bits than there are bands share one.
    for (int bit = 0; bit < 128; bit++) {
        drt_image_print q = p[0];
        int bands = 0;
        q.bits[bit / 64] ^= (uint64_t)1 << bit % 64;
        for (int b = 0; b < DRT_PRINT_BANDS; b++)
            bands += drt_image_print_band(&q, b) != drt_image_print_band(&p[0], b);
        assert_int_equal(bands, 1);
        assert_int_equal(drt_image_print_distance(&q, &p[0]), 1);
    }
    drt_error err = {0};
    drt_image black;
    check_ok(drt_image_new(&black, 5, 3, &err));
    drt_image_print flat = drt_image_print_of(&black);
    assert_true(flat.flat && !drt_image_print_near(&flat, &flat));
    drt_image_free(&black);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_defect_is_found_and_nothing_else),
        cmocka_unit_test(broken_lines_are_found),
        cmocka_unit_test(another_folder_is_not_believed),
        cmocka_unit_test(prints_know_a_picture_again),
    };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
