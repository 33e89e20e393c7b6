// LLaVA's JSON: what is read, where errors are said to be, which samples are bad, and that skipping drops just those.
#include "support/check.h"

#include "base/file.h"
#include "data/dataset.h"
#include "data/record.h"
#include "data/space.h"
#include "format/image.h"

#include <omp.h>
#include <stdio.h>

#define TALK "\"conversations\":[{\"from\":\"human\",\"value\":\"hi\"},{\"from\":\"gpt\",\"value\":\"yes\"}]"
#define SEE "\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\nhi\"},{\"from\":\"gpt\",\"value\":\"yes\"}]"

typedef struct {
    char *folder, *json;
} place;

static place new_place(const char *name) {
    place p = {.folder = test_folder(name)};
    p.json = drt_path_join(p.folder, "data.json");
    return p;
}

static void leave(place *p) {
    drt_error err = {0};
    check_ok(drt_remove_tree(p->folder, &err));
    free(p->folder), free(p->json);
}

static void put(const place *p, const char *text) {
    drt_error err = {0};
    check_ok(drt_file_write(p->json, text, strlen(text), &err));
}

static drt_status open_it(const place *p, const char *text, const drt_dataset_options *o, drt_dataset **ds,
                          drt_error *err) {
    put(p, text);
    return drt_dataset_open(ds, p->json, NULL, o, NULL, err);
}

static void put_image(const place *p, const char *name, size_t keep) {
    drt_error err = {0};
    drt_image image;
    unsigned char *bytes;
    size_t size;
    char *path = drt_path_join(p->folder, name);
    check_ok(drt_image_new(&image, 40, 30, &err));
    for (int i = 0; i < 40 * 30 * 3; i++) image.rgb[i] = (uint8_t)(i * i % 251);
    check_ok(drt_image_encode_jpeg(&image, 90, &bytes, &size, &err));
    check_ok(drt_file_write(path, bytes, keep && keep < size ? keep : size, &err));
    drt_image_free(&image);
    free(bytes), free(path);
}

static void records_are_read_whole(void **state) {
    (void)state;
    drt_error err = {0};
    place p = new_place("dataset");
    drt_dataset *ds;
    drt_record *r;
    drt_dataset_options o = {.images = DRT_IMAGES_IGNORE};
    check_ok(open_it(&p,
                     "\xEF\xBB\xBF [ {\"id\": \"a\\u00e9\\\"]}\", \"model\": {\"x\": [1, \"}\"]}, \"image\": "
                     "\"s/a.jpg\",\n"
                     "\"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\n what\\tis\\u3000this \"},\n"
                     "{\"from\": \"gpt\", \"value\": \"A cup.\"}]},\n{\"id\": 17, " TALK "},\n{\"image\": [\"/b.png\", "
                     "\"c.png\"], \"conversations\": [{\"from\": \"human\", \"value\": \"<image><image>\"}, {\"from\": "
                     "\"gpt\", \"value\": \" \"}], \"negatives\": [\"n1\", \"n2\"], \"patches\": [[1,2,3,4,5],"
                     "[-5,0,7,300,1]]},{\"image\": null," TALK "}]\n",
                     &o, &ds, &err));
    assert_int_equal(drt_dataset_size(ds), 4);
    assert_int_equal(drt_dataset_skipped(ds), 0);
    const int32_t want[4] = {6, -2, 1, -2};
    assert_memory_equal(drt_dataset_lengths(ds), want, sizeof want);
    check_ok(drt_dataset_at(ds, 0, &r, &err));
    char *joined = drt_path_join(p.folder, "s/a.jpg");
    assert_string_equal(r->id, "a\xC3\xA9\"]}");
    assert_int_equal(r->n_images, 1);
    assert_string_equal(r->images[0], joined);
    assert_int_equal(r->n_turns, 2);
    assert_true(r->turns[0].human && !r->turns[1].human);
    assert_string_equal(r->turns[0].text, "<image>\n what\tis\xE3\x80\x80this ");
    assert_string_equal(r->turns[1].text, "A cup.");
    assert_true(r->n_negatives == 0 && r->n_patches == 0 && r->words == 6);
    free(joined);
    drt_record_free(r);
    check_ok(drt_dataset_at(ds, 1, &r, &err));
    assert_string_equal(r->id, "17");
    assert_int_equal(r->n_images, 0);
    drt_record_free(r);
    check_ok(drt_dataset_at(ds, 2, &r, &err));
    assert_string_equal(r->id, "");
    assert_string_equal(r->images[0], "/b.png");
    assert_int_equal(r->n_negatives, 2);
    assert_string_equal(r->negatives[1], "n2");
    const int16_t patches[2][5] = {{1, 2, 3, 4, 5}, {-5, 0, 7, 300, 1}};
    assert_int_equal(r->n_patches, 2);
    assert_memory_equal(r->patches, patches, sizeof patches);
    drt_fail(&err, DRT_EDATA, "odd");
    assert_int_equal(drt_dataset_fail_in(ds, r, &err), DRT_EDATA);
    assert_non_null(strstr(err.text, "data.json: sample 2: odd"));
    drt_record_free(r);
    check_refused(drt_dataset_at(ds, 4, &r, &err), DRT_EARG, "sample 4 was asked for, there are 4");
    check_refused(drt_dataset_at(ds, -1, &r, &err), DRT_EARG, "sample -1");
    assert_null(r);
    drt_dataset_close(ds);
    drt_dataset_close(NULL);
    leave(&p);
}

static void captions_are_two_turns(void **state) {
    (void)state;
    drt_error err = {0};
    place p = new_place("dataset-caption");
    drt_dataset *ds;
    drt_dataset_options o = {.images = DRT_IMAGES_IGNORE, .how = drt_template_find("plain")};
    check_ok(open_it(&p,
                     "[{\"image\":[\"a\",\"b\"],\"caption\":\"two red rings\",\"negatives\":[\"x\"]},"
                     "{\"caption\":\"just text\"}]",
                     &o, &ds, &err));
    assert_int_equal(drt_dataset_lengths(ds)[0], 4);
    assert_int_equal(drt_dataset_lengths(ds)[1], -2);
    for (int i = 0; i < 2; i++) {
        drt_record *r;
        check_ok(drt_dataset_at(ds, i, &r, &err));
        assert_int_equal(r->n_turns, 2);
        assert_true(r->turns[0].human && !r->turns[1].human);
        assert_string_equal(r->turns[0].text, i ? "" : "<image><image>");
        assert_string_equal(r->turns[1].text, i ? "just text" : "two red rings");
        drt_record_free(r);
    }
    drt_dataset_close(ds);
    check_refused(open_it(&p, "[{\"caption\":\"\"}]", &o, &ds, &err), DRT_EDATA, "the answer is empty");
    leave(&p);
}

static void one_object_a_line_works_too(void **state) {
    (void)state;
    drt_error err = {0};
    place p = new_place("dataset-lines");
    drt_dataset *ds;
    drt_record *r;
    check_ok(
        open_it(&p, "{\"id\":\"x\"," TALK "}\n\n{\"id\":\"y\"," TALK "}\r\n{\"id\":\"z\"," TALK "}", NULL, &ds, &err));
    assert_int_equal(drt_dataset_size(ds), 3);
    check_ok(drt_dataset_at(ds, 2, &r, &err));
    assert_string_equal(r->id, "z");
    assert_int_equal(r->index, 2);
    drt_record_free(r);
    drt_dataset_close(ds);
    leave(&p);
}

static void syntax_errors_have_a_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "empty"},
        {" \n", "empty"},
        {"[]", "no samples"},
        {"\n  hello", "line 2, column 3: neither"},
        {"[\n{" TALK "},\n]", "line 3, column 1: a sample was expected after"},
        {"[\n{" TALK "}\n{" TALK "}]", "line 3, column 1: ','"},
        {"[{" TALK "},\n 12]", "line 2, column 2: a sample was expected"},
        {"[{" TALK "}", "the file ends inside the array"},
        {"[{" TALK "},", "the file ends inside the array"},
        {"[{" TALK "}]\n]", "line 2, column 1: something stands behind"},
        {"[{" TALK "},\n{\"id\": 1 \"x\": 2}]", "line 2, column 10"},
        {"[{" TALK "},\n{\"id\": \"a,\n" TALK "}]", "line 2, column "},
        {"[{" TALK "},\n\n{\"id\": {" TALK "}", "line 3, column "},
        {"[{\"id\": \"\\", "line 1, column "},
        {"[{\"id\": \"\xFF\"," TALK "}]", "line 1, column 10"},
    };
    place p = new_place("dataset-syntax");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int skip = 0; skip < 2; skip++) { // no skipping over a broken file
            drt_error err = {0};
            drt_dataset *ds;
            drt_dataset_options o = {.skip = skip};
            check_refused(open_it(&p, cases[i].text, &o, &ds, &err), i == 2 ? DRT_EDATA : DRT_EFORMAT, cases[i].part);
            assert_non_null(strstr(err.text, "data.json: "));
            assert_null(ds);
        }
    drt_error err = {0};
    drt_dataset *ds;
    check_refused(drt_dataset_open(&ds, "build/no-such.json", NULL, NULL, NULL, &err), DRT_EIO, "build/no-such.json");
    leave(&p);
}

// Every kind of bad sample, each between two good ones.
static const struct {
    const char *sample, *reason;
} bad_samples[] = {
    {"{\"id\":\"b0\"}", "(id 'b0'): 'conversations' must be"},
    {"{\"conversations\":[]}", "sample 3: 'conversations' must be"},
    {"{\"conversations\":\"hi\"}", "'conversations' must be"},
    {"{\"conversations\":[3,4]}", "turn 1 must have"},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":7}]}", "turn 2 must have"},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\\u0000\"},{\"from\":\"gpt\",\"value\":\"b\"}]}", "NUL"},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"system\",\"value\":\"b\"}]}",
     "turn 2 is from 'system'; the roles are 'human' and 'gpt'"},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"human\",\"value\":\"b\"}]}",
     "turn 2 is the human's like the one before"},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"\"}]}",
     "turn 2: the answer is empty"},
    {"{\"conversations\":[{\"from\":\"gpt\",\"value\":\"a\"}]}", "no human turn"},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"}]}", "no answer to train on"},
    {"{\"image\":7," SEE "}", "'image' must be"},
    {"{\"image\":[\"good.jpg\",\"\"]," SEE "}", "'image' must be"},
    {"{\"image\":\"good.jpg\"," TALK "}", "1 image, but 0 turns"},
    {"{\"image\":[\"good.jpg\",\"good.jpg\"]," SEE "}", "2 images, but 1 placeholders"},
    {"{\"image\":\"gone.jpg\"," SEE "}", "gone.jpg is missing"},
    {"{\"image\":[\"gone1.jpg\",\"gone2.jpg\"],\"conversations\":[{\"from\":\"human\",\"value\":\"<image><image>\"},"
     "{\"from\":\"gpt\",\"value\":\"b\"}]}",
     "gone2.jpg is missing"},
    {"{\"negatives\":[1]," TALK "}", "'negatives' must be"},
    {"{\"patches\":3," TALK "}", "'patches' must be"},
    {"{\"patches\":[[1,2,3]]," TALK "}", "entry 1 of 'patches'"},
    {"{\"patches\":[[1,2,3,4,0],[1,2,3,4,40000]]," TALK "}", "entry 2 of 'patches'"},
    {"{\"id\":\"l\\nm\\u001b\"}", "(id 'l\xE2\x86\xB5m\xC2\xB7'): 'conversations' must be"}, // on one line, no orders
    {"{\"image\":\"cut.jpg\"," SEE "}", "cut.jpg"}, // the last: bad only where pictures are decoded
};
enum { BAD = sizeof bad_samples / sizeof *bad_samples };

static char *mixed_file(void) {
    drt_text t = {0};
    drt_text_puts(&t, "[\n");
    for (int i = 0; i < BAD; i++) {
        drt_text_printf(&t, "{\"id\":\"g%d\",\"image\":\"good.jpg\"," SEE "},\n%s", i, bad_samples[i].sample);
        drt_text_puts(&t, i < BAD - 1 ? ",\n" : "]");
    }
    return t.bytes;
}

static void bad_samples_are_all_listed(void **state) {
    (void)state;
    place p = new_place("dataset-bad");
    put_image(&p, "good.jpg", 0);
    put_image(&p, "cut.jpg", 300);
    char *text = mixed_file();
    for (int decode = 0; decode < 2; decode++) {
        int bad = BAD - !decode;
        drt_error err = {0};
        drt_text list = {0};
        drt_dataset *ds;
        drt_dataset_options o = {.images = decode ? DRT_IMAGES_DECODE : DRT_IMAGES_EXIST, .bad = &list};
        char count[64];
        snprintf(count, sizeof count, "%d of %d samples cannot be used", bad, 2 * BAD);
        check_refused(open_it(&p, text, &o, &ds, &err), DRT_EDATA, count);
        assert_non_null(strstr(err.text, "data.bad=skip"));
        assert_non_null(strstr(err.text, bad_samples[0].reason));
        const char *line = list.bytes;
        for (int i = 0; i < bad; i++) {
            char where[64];
            snprintf(where, sizeof where, "data.json:%d: sample %d", 2 * i + 3, 2 * i + 1);
            const char *end = strchr(line, '\n'), *at = strstr(line, where), *why = strstr(line, bad_samples[i].reason);
            if (!end || !at || at > end || !why || why > end)
                fail_msg("line %d \"%.*s\" lacks \"%s\" or \"%s\"", i, (int)(end - line), line, where,
                         bad_samples[i].reason);
            line = end + 1;
        }
        assert_int_equal(*line, 0);
        drt_text_free(&list);
    }
    free(text);
    leave(&p);
}

static void skipping_drops_the_same_samples_always(void **state) {
    (void)state;
    place p = new_place("dataset-skip");
    put_image(&p, "good.jpg", 0);
    put_image(&p, "cut.jpg", 300);
    char *text = mixed_file();
    int most = omp_get_max_threads();
    for (int run = 0; run < 4; run++) {
        drt_error err = {0};
        drt_dataset *ds;
        drt_dataset_options o = {.skip = true, .images = DRT_IMAGES_DECODE};
        omp_set_num_threads(run + 1);
        check_ok(open_it(&p, text, &o, &ds, &err));
        assert_int_equal(drt_dataset_size(ds), BAD);
        assert_int_equal(drt_dataset_skipped(ds), BAD);
        for (int i = 0; i < BAD; i++) {
            drt_record *r;
            check_ok(drt_dataset_at(ds, i, &r, &err));
            assert_int_equal(r->index, 2 * i);
            assert_int_equal(r->id[0], 'g');
            assert_int_equal(atoi(r->id + 1), i);
            assert_int_equal(drt_dataset_lengths(ds)[i], 3);
            drt_record_free(r);
        }
        drt_dataset_close(ds);
    }
    omp_set_num_threads(most);
    drt_error err = {0};
    drt_dataset *ds;
    drt_dataset_options o = {.skip = true};
    check_refused(open_it(&p, "[{}, {}]", &o, &ds, &err), DRT_EDATA, "none of 2 samples can be used");
    free(text);
    leave(&p);
}

static void template_rules_are_checked_before_training(void **state) {
    (void)state;
    static const char four[] =
        "[{\"id\":\"long\",\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"},"
        "{\"from\":\"human\",\"value\":\"c\"},{\"from\":\"gpt\",\"value\":\"d\"}]}]";
    place p = new_place("dataset-how");
    drt_error err = {0};
    drt_dataset *ds;
    drt_dataset_options o = {.how = drt_template_find("v1")};
    check_ok(open_it(&p, four, &o, &ds, &err));
    drt_dataset_close(ds);
    o.how = drt_template_find("plain");
    check_refused(open_it(&p, four, &o, &ds, &err), DRT_EDATA, "(id 'long'): 4 turns, but template 'plain' takes two");
    leave(&p);
}

static void white_space_is_pythons(void **state) {
    (void)state;
    static const char *const spaces[] = {
        "\t",           "\n",           "\v",           "\f",           "\r",           " ",
        "\x1C",         "\x1F",         "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80",
        "\xE2\x80\x8A", "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    static const char *const letters[] = {
        "a",        "\x1B", "\x7F", "\xC2\xA1", "\xE2\x80\x8B", "\xE1\xA0\x8E", "\xEF\xBB\xBF",
        "\xE2\x80", "\xC2", "\xA0", "\x80"};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        assert_int_equal(drt_space_front(spaces[i], strlen(spaces[i])), strlen(spaces[i]));
        assert_int_equal(drt_space_back(spaces[i], strlen(spaces[i])), strlen(spaces[i]));
        assert_int_equal(drt_space_front(spaces[i], strlen(spaces[i]) - 1), 0);
    }
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++) {
        assert_int_equal(drt_space_front(letters[i], strlen(letters[i])), 0);
        assert_int_equal(drt_space_back(letters[i], strlen(letters[i])), 0);
    }
    const char *s = " \xC2\xA0 two  words\n";
    size_t n = strlen(s), at = 0, size;
    drt_strip(&s, &n);
    assert_int_equal(n, 10);
    assert_memory_equal(drt_next_word(s, n, &at, &size), "two", 3);
    assert_int_equal(size, 3);
    assert_memory_equal(drt_next_word(s, n, &at, &size), "words", 5);
    assert_null(drt_next_word(s, n, &at, &size));
}

// What is all commas and brackets takes many times its own memory once it is read: lists have an end.
static void lists_are_bounded(void **state) {
    (void)state;
    static const struct {
        const char *key, *entry;
        int most;
    } lists[] = {{"image", "\"a\"", 4096},
                 {"negatives", "\"a\"", 4096},
                 {"conversations", "{\"from\":\"human\",\"value\":\"a\"}", 65536},
                 {"patches", "[1,2,3,4,5]", 65536}};
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        for (int over = 0; over < 2; over++) {
            drt_error err = {0};
            drt_text t = {0};
            drt_record *r;
            size_t at = 0;
            char name[DRT_RECORD_NAME], part[64];
            drt_text_printf(&t, "{%s%s\"%s\":[", k == 2 ? "" : TALK, k == 2 ? "" : ",", lists[k].key);
            for (int i = 0; i < lists[k].most + over; i++) drt_text_printf(&t, "%s%s", i ? "," : "", lists[k].entry);
            drt_text_puts(&t, "],\"id\":\"behind\"}");
            const drt_record_source from = {.json = t.bytes, .size = t.size, .folder = ""};
            drt_status got = drt_record_parse(&from, &r, &at, name, &err);
            snprintf(part, sizeof part, "'%s' has more than the %d entries allowed", lists[k].key, lists[k].most);
            if (over) check_refused(got, DRT_EDATA, part);
            else check_ok(got);
            assert_string_equal(name, "sample 0 (id 'behind')"); // read to its end all the same
            drt_record_free(r);
            drt_text_free(&t);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_whole),
        cmocka_unit_test(captions_are_two_turns),
        cmocka_unit_test(one_object_a_line_works_too),
        cmocka_unit_test(syntax_errors_have_a_place),
        cmocka_unit_test(bad_samples_are_all_listed),
        cmocka_unit_test(skipping_drops_the_same_samples_always),
        cmocka_unit_test(template_rules_are_checked_before_training),
        cmocka_unit_test(lists_are_bounded),
        cmocka_unit_test(white_space_is_pythons),
    };
    return cmocka_run_group_tests_name("dataset", tests, NULL, NULL);
}
