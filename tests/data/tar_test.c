// Shards of WebDataset: what becomes a sample, what is read of it, what is refused, and the order they are taken in.
#include "support/check.h"
#include "support/tar.h"

#include "base/file.h"
#include "data/index.h"
#include "data/sampler.h"
#include "format/image.h"

#include <stdio.h>
#include <unistd.h>

#define TALK(text)                                                                                                     \
    "\"conversations\":[{\"from\":\"human\",\"value\":\"" text "\"},{\"from\":\"gpt\",\"value\":\"yes\"}]"

static char *in(const char *folder, const char *name) { return drt_path_join(folder, name); }

static void picture(unsigned char **bytes, size_t *size, int width, int level) {
    drt_error err = {0};
    drt_image m;
    check_ok(drt_image_new(&m, width, 30, &err));
    memset(m.rgb, level, (size_t)width * 30 * 3);
    check_ok(drt_image_encode_png(&m, bytes, size, &err));
    drt_image_free(&m);
}

static void put_text(test_tar *t, const char *name, const char *text) { test_tar_put(t, name, text, strlen(text)); }

// Two shards; what else such files have in them lies between.
static void put_shards(const char *folder, const char *format) {
    unsigned char *small, *large;
    size_t n_small, n_large;
    char *first = in(folder, "train-000.tar"), *second = in(folder, "train-001.tar");
    picture(&small, &n_small, 20, 10), picture(&large, &n_large, 70, 200);
    test_tar *t = test_tar_open(first, format);
    test_tar_folder(t, "a/");
    test_tar_put(t, "a/0000.png", small, n_small);
    put_text(t, "a/0000.json", "{\"image\":\"elsewhere.jpg\"," TALK("<image>one") "}");
    put_text(t, "a/0000.cls", "7");
    put_text(t, "a/._0001.json", "not a sample");
    put_text(t, "a/0001.json", "{\"id\":\"own\"," TALK("text alone") "}");
    test_tar_put(t, "b/0001.0.png", small, n_small); // another folder, another sample
    test_tar_put(t, "b/0001.1.png", large, n_large);
    put_text(t, "b/0001.json", "{" TALK("<image> or <image>") "}");
    test_tar_close(t);
    t = test_tar_open(second, format);
    put_text(t,
             "a-name-of-more-than-one-hundred-characters-which-the-old-header-has-no-room-for-so-that-there-are-two"
             "-headers.txt",
             "two \"red\" rings");
    test_tar_put(t,
                 "a-name-of-more-than-one-hundred-characters-which-the-old-header-has-no-room-for-so-that-there-are-"
                 "two-headers.png",
                 large, n_large);
    put_text(t, "last.txt", "no picture");
    test_tar_close(t);
    free(small), free(large), free(first), free(second);
}

static void check_samples(const drt_dataset *ds) {
    static const struct {
        const char *id, *human, *gpt;
        int images, width[2];
    } want[] = {
        {"a/0000", "<image>one", "yes", 1, {20}},
        {"own", "text alone", "yes", 0, {0}},
        {"b/0001", "<image> or <image>", "yes", 2, {20, 70}},
        {"a-name-of-more-than-one-hundred-characters-which-the-old-header-has-no-room-for-so-that-there-are-two-"
         "headers",
         "<image>",
         "two \"red\" rings",
         1,
         {70}},
        {"last", "", "no picture", 0, {0}},
    };
    drt_error err = {0};
    assert_int_equal(drt_dataset_size(ds), 5);
    for (int i = 4; i >= 0; i--) {
        drt_record *r;
        check_ok(drt_dataset_at(ds, i, &r, &err));
        assert_string_equal(r->id, want[i].id);
        assert_string_equal(r->turns[0].text, want[i].human);
        assert_string_equal(r->turns[1].text, want[i].gpt);
        assert_int_equal(r->n_images, want[i].images);
        for (int k = 0; k < r->n_images; k++) {
            drt_image m;
            check_ok(drt_record_image(r, k, &m, &err));
            assert_int_equal(m.width, want[i].width[k]);
            assert_non_null(strstr(r->images[k], ".tar/"));
            drt_image_free(&m);
        }
        drt_record_free(r);
    }
}

static void shards_hold_samples(void **state) {
    (void)state;
    static const char *const formats[] = {"pax", "gnutar"};
    for (int f = 0; f < 2; f++) {
        char *folder = test_folder("tar");
        drt_error err = {0};
        drt_dataset *ds;
        const drt_dataset_options o = {.images = DRT_IMAGES_DECODE, .keep_index = true};
        put_shards(folder, formats[f]);
        for (int again = 0; again < 2; again++) {
            int shards;
            check_ok(drt_dataset_open(&ds, folder, NULL, &o, NULL, &err));
            check_samples(ds);
            const int32_t *first = drt_dataset_shards(ds, &shards);
            assert_true(shards == 2 && first[0] == 0 && first[1] == 3);
            drt_dataset_close(ds);
        }
        check_ok(drt_remove_tree(folder, &err));
        char index[300];
        snprintf(index, sizeof index, "%s.drt-index", folder);
        remove(index);
        free(folder);
    }
}

// What is not asked for is not read: of it only the size is told.
static void pictures_are_read_when_asked_for(void **state) {
    (void)state;
    char *folder = test_folder("tar-asked"), *first, name[DRT_RECORD_NAME];
    drt_error err = {0};
    drt_index x;
    put_shards(folder, "pax");
    first = in(folder, "train-000.tar");
    check_ok(drt_index_open(&x, first, NULL, &err));
    assert_int_equal(x.n, 3);
    for (int picture = DRT_PICTURES_NONE; picture < 2; picture++) {
        drt_record *r;
        check_ok(drt_index_record(&x, 2, NULL, picture, &r, name, &err));
        assert_int_equal(r->n_images, 2);
        for (int k = 0; k < 2; k++) {
            assert_true(r->held[k].size > 0);
            assert_int_equal(r->held[k].bytes != NULL, picture == DRT_PICTURES_ALL || picture == k);
            if (r->held[k].bytes) assert_memory_equal(r->held[k].bytes, "\x89PNG", 4);
        }
        drt_record_free(r);
    }
    drt_record *r; // a shard that became shorter is no damage of the format
    assert_int_equal(truncate(first, (off_t)x.fact[2].at + 600), 0);
    check_refused(drt_index_record(&x, 2, NULL, DRT_PICTURES_ALL, &r, name, &err), DRT_EIO, "changed while in use");
    drt_index_close(&x);
    check_ok(drt_remove_tree(folder, &err));
    free(folder), free(first);
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    char *folder = test_folder("tar-wrong"), *path = in(folder, "x.tar"), *bytes;
    drt_error err = {0};
    drt_dataset *ds;
    unsigned char *png;
    size_t size, n;
    picture(&png, &n, 500, 90);
    test_tar *t = test_tar_open(path, "pax");
    put_text(t, "good.json", "{" TALK("hi") "}");
    test_tar_put(t, "alone.png", png, n);
    put_text(t, "wants.json", "{\"image\":\"x.png\"," TALK("<image>") "}");
    test_tar_put(t, "spoiled.png", png, n / 2);
    put_text(t, "spoiled.json", "{" TALK("<image>") "}");
    test_tar_close(t);
    drt_text bad = {0};
    drt_dataset_options o = {.images = DRT_IMAGES_DECODE, .bad = &bad, .skip = true};
    check_ok(drt_dataset_open(&ds, path, NULL, &o, NULL, &err));
    assert_true(drt_dataset_size(ds) == 1 && drt_dataset_skipped(ds) == 3);
    static const char *const parts[] = {"sample 1 (id 'alone'): 'conversations' must be",
                                        "sample 2 (id 'wants'): it names a picture, and its shard has none",
                                        "sample 3 (id 'spoiled'): ", "x.tar/spoiled.png: PNG: "};
    for (int i = 0; i < 4; i++)
        if (!strstr(bad.bytes, parts[i])) fail_msg("\"%s\" lacks \"%s\"", bad.bytes, parts[i]);
    drt_text_free(&bad);
    drt_dataset_close(ds);
    o.bad = NULL;
    check_ok(drt_file_read(&bytes, &size, path, 0, &err));
    size_t content = size;
    while (!bytes[content - 1]) content--;
    for (size_t keep = 0; keep < content; keep += 256) { // wherever it is cut off
        check_ok(drt_file_write(path, bytes, keep, &err));
        check_refused(drt_dataset_open(&ds, path, NULL, &o, NULL, &err), DRT_EFORMAT, "copy the shard again");
    }
    memset(bytes + 1024, 0x11, 200); // a header
    check_ok(drt_file_write(path, bytes, size, &err));
    check_refused(drt_dataset_open(&ds, path, NULL, &o, NULL, &err), DRT_EFORMAT, "copy the shard again");
    check_ok(drt_file_write(path, "", 0, &err));
    check_refused(drt_dataset_open(&ds, path, NULL, &o, NULL, &err), DRT_EFORMAT, "copy the shard again");
    t = test_tar_open(path, "pax");
    put_text(t, "k.json", "{\"id\": 1 2}");
    test_tar_close(t);
    o.skip = false;
    check_refused(drt_dataset_open(&ds, path, NULL, &o, NULL, &err), DRT_EDATA,
                  "sample 0 (id 'k'): k.json: no JSON: byte 10: ");
    char *packed = in(folder, "y.tar.gz");
    check_ok(drt_file_write(packed, "x", 1, &err));
    check_refused(drt_dataset_open(&ds, packed, NULL, &o, NULL, &err), DRT_EDATA, "unpack it to a .tar");
    check_refused(drt_dataset_open(&ds, folder, NULL, &o, NULL, &err), DRT_EDATA, "unpack it to a .tar");
    check_ok(drt_remove_tree(folder, &err));
    free(bytes), free(png), free(packed), free(path), free(folder);
}

// Every sample once an epoch; a step's samples lie within a window of the shards' order; another step can be asked for
// at any time.
static void windows_keep_to_their_shards(void **state) {
    (void)state;
    enum { N = 1000, SHARDS = 5, WINDOW = 100, BATCH = 20 };
    const int32_t shard[SHARDS] = {0, 150, 400, 401, 800};
    drt_error err = {0};
    drt_sampler *s, *other;
    drt_sampler_options o = {.n = N, .batch = BATCH, .seed = 3, .window = WINDOW, .shard = shard, .shards = SHARDS};
    check_ok(drt_sampler_new(&s, &o, &err));
    check_ok(drt_sampler_new(&other, &o, &err));
    int seen[N] = {0}, crossing = 0;
    int32_t index[BATCH], again[BATCH], first[2][BATCH];
    for (int64_t step = 0; step < N / BATCH; step++) {
        check_ok(drt_sampler_at(s, step, index, &err));
        int shards[SHARDS] = {0}, of = 0;
        for (int i = 0; i < BATCH; i++) {
            seen[index[i]]++;
            for (int k = 0; k < SHARDS; k++)
                shards[k] |= index[i] >= shard[k] && (k == SHARDS - 1 || index[i] < shard[k + 1]);
        }
        for (int k = 0; k < SHARDS; k++) of += shards[k];
        assert_true(of <= 3); // of a window, or of two neighbours
        crossing += of > 1;
    }
    for (int i = 0; i < N; i++) assert_int_equal(seen[i], 1);
    assert_true(crossing < N / BATCH / 2);
    for (int epoch = 0; epoch < 2; epoch++) check_ok(drt_sampler_at(s, epoch * (N / BATCH), first[epoch], &err));
    assert_memory_not_equal(first[0], first[1], sizeof first[0]);
    check_ok(drt_sampler_at(s, 77, index, &err));
    check_ok(drt_sampler_at(other, 77, again, &err)); // in the middle, without what came before
    assert_memory_equal(index, again, sizeof index);
    drt_sampler_free(s), drt_sampler_free(other);
    o.n = 170; // a limit
    check_ok(drt_sampler_new(&s, &o, &err));
    memset(seen, 0, sizeof seen);
    for (int64_t step = 0; step < 170 / BATCH; step++) {
        check_ok(drt_sampler_at(s, step, index, &err));
        for (int i = 0; i < BATCH; i++) assert_true(index[i] < 170 && !seen[index[i]]++);
    }
    drt_sampler_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_hold_samples),
        cmocka_unit_test(pictures_are_read_when_asked_for),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(windows_keep_to_their_shards),
    };
    return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
