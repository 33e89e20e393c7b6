// What is kept of a dataset beside it: whose samples it tells of, when it is used again, and which samples a quarantine
// leaves out.
#include "support/check.h"

#include "base/digest.h"
#include "base/file.h"
#include "data/dataset.h"
#include "data/index.h"
#include "data/json_split.h"
#include "data/quarantine.h"

#include <stdio.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define TALK(question)                                                                                                 \
    "\"conversations\":[{\"from\":\"human\",\"value\":\"" question "\"},{\"from\":\"gpt\",\"value\":\"yes\"}]"

typedef struct {
    char *folder, *data, *index;
} place;

static place new_place(const char *name) {
    place p = {.folder = test_folder(name)};
    p.data = drt_path_join(p.folder, "data.json");
    p.index = drt_path_join(p.folder, "data.json.drt-index");
    return p;
}

static void leave(place *p) {
    drt_error err = {0};
    check_ok(drt_remove_tree(p->folder, &err));
    free(p->folder), free(p->data), free(p->index);
}

static void put(const char *path, const char *text) {
    drt_error err = {0};
    check_ok(drt_file_write(path, text, strlen(text), &err));
}

static void put_in(const place *p, const char *name, const char *text) {
    char *path = drt_path_join(p->folder, name);
    put(path, text);
    free(path);
}

// Opens and keeps the index; whether it was made anew.
static bool made(const char *path) {
    drt_index x;
    drt_error err = {0};
    check_ok(drt_index_open(&x, path, NULL, &err));
    bool anew = x.made;
    if (x.unsaved) check_ok(drt_index_save(&x, &err));
    drt_index_close(&x);
    return anew;
}

static void set_time(const char *path, time_t seconds) {
    const struct timespec both[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, both, 0), 0);
}

static void the_index_is_used_while_the_content_is_the_same(void **state) {
    (void)state;
    place p = new_place("index");
    put(p.data, "[{\"id\":\"a\"," TALK("one two") "},\n{\"id\":\"b\"," TALK("three") "}]");
    set_time(p.data, 1000);
    assert_true(made(p.data));
    assert_false(made(p.data));
    set_time(p.data, 2000); // touched only: read, compared, and then known again by its time
    assert_false(made(p.data));
    assert_false(made(p.data));
    put(p.data, "[{\"id\":\"a\"," TALK("one tvo") "},\n{\"id\":\"b\"," TALK("three") "}]"); // one byte of the same size
    set_time(p.data, 2000);
    assert_true(made(p.data));
    assert_false(made(p.data));
    char *bytes;
    size_t size;
    drt_error err = {0};
    check_ok(drt_file_read(&bytes, &size, p.index, 0, &err));
    for (size_t at = 0; at < size; at += 5) { // any damage is noticed
        bytes[at] ^= 4;
        check_ok(drt_file_write(p.index, bytes, size, &err));
        if (!made(p.data)) fail_msg("damage at byte %zu was not seen", at);
        bytes[at] ^= 4;
    }
    check_ok(drt_file_write(p.index, bytes, size - 1, &err));
    assert_true(made(p.data));
    free(bytes);
    leave(&p);
}

static void facts_tell_what_parsing_tells(void **state) {
    (void)state;
    place p = new_place("index-facts");
    drt_index x;
    drt_error err = {0};
    char name[DRT_RECORD_NAME];
    drt_record *r;
    put(p.data,
        "[{\"image\":\"a.jpg\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\nwhat is\"},{\"from\":"
        "\"gpt\",\"value\":\"a cup\"},{\"from\":\"human\",\"value\":\"why\"},{\"from\":\"gpt\",\"value\":\"so\"}]},"
        "{\"id\":\"bad\"},{\"id\":\"c\"," TALK(
            "hi") "},"
                  "{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"\"}]}]");
    check_ok(drt_index_open(&x, p.data, NULL, &err));
    assert_int_equal(x.n, 4);
    const struct {
        int words, prompt, images, turns, flags;
    } want[4] = {
        {7, 15, 1, 4, DRT_FACT_NO_CAPTION}, {1, 0, 0, 0, DRT_FACT_BAD}, {2, 2, 0, 2, 0}, {1, 1, 0, 2, DRT_FACT_BAD}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(x.fact[i].words, want[i].words);
        assert_int_equal(x.fact[i].prompt, want[i].prompt);
        assert_int_equal(x.fact[i].images, want[i].images);
        assert_int_equal(x.fact[i].turns, want[i].turns);
        assert_int_equal(x.fact[i].flags, want[i].flags);
    }
    check_ok(drt_index_record(&x, 2, NULL, DRT_PICTURES_ALL, &r, name, &err));
    assert_string_equal(r->id, "c");
    drt_record_free(r);
    check_refused(drt_index_record(&x, 1, NULL, DRT_PICTURES_ALL, &r, name, &err), DRT_EDATA,
                  "'conversations' must be");
    drt_index_close(&x);
    leave(&p);
}

// 9 MB: samples lie across the borders of what is read at a time, and one is larger than that.
static void samples_may_lie_anywhere(void **state) {
    (void)state;
    place p = new_place("index-large");
    drt_text t = {0};
    drt_error err = {0};
    enum { SAMPLES = 30000, LONG = 17 };
    drt_text_puts(&t, "[");
    for (int i = 0; i < SAMPLES; i++) {
        drt_text_printf(&t, "%s{\"id\":%d,\"x\":\"", i ? ",\n" : "", i);
        for (int k = 0; k < (i == LONG ? 10000000 : i * 7919 % 300); k++) drt_text_puts(&t, k % 9 ? "]" : "\\\"");
        drt_text_puts(&t, "\"," TALK("hi") "}");
    }
    drt_text_puts(&t, "]");
    check_ok(drt_file_write(p.data, t.bytes, t.size, &err));
    for (int again = 0; again < 2; again++) {
        drt_index x;
        check_ok(drt_index_open(&x, p.data, NULL, &err));
        assert_int_equal(x.made, !again);
        assert_int_equal(x.n, SAMPLES);
        assert_true(drt_index_digest(&x) != 0);
        assert_true(x.sources.file[0].digest == drt_digest_of(t.bytes, t.size));
        for (int i = 0; i < SAMPLES; i += i < 20 ? 1 : 997) {
            char name[DRT_RECORD_NAME], id[16];
            drt_record *r;
            check_ok(drt_index_record(&x, i, NULL, DRT_PICTURES_ALL, &r, name, &err));
            snprintf(id, sizeof id, "%d", i);
            assert_string_equal(r->id, id);
            drt_record_free(r);
        }
        check_ok(drt_index_save(&x, &err));
        drt_index_close(&x);
    }
    t.bytes[t.size - 6] = '\n'; // a line end in the last answer's string
    check_ok(drt_file_write(p.data, t.bytes, t.size, &err));
    drt_index x;
    check_refused(drt_index_open(&x, p.data, NULL, &err), DRT_EFORMAT, "line 30000, column ");
    drt_text_free(&t);
    leave(&p);
}

static void a_folder_is_its_files_in_order(void **state) {
    (void)state;
    place p = new_place("index-folder");
    drt_error err = {0};
    drt_dataset *ds;
    drt_dataset_options o = {.images = DRT_IMAGES_EXIST, .keep_index = true};
    put_in(&p, "b.jsonl", "{\"id\":\"b0\"," TALK("x") "}\n{\"id\":\"b1\"," TALK("x") "}\n");
    put_in(&p, "a.jsonl", "{\"id\":\"a0\"," TALK("x") "}\n");
    put_in(&p, "c.jsonl", "");
    put_in(&p, "d.json", "[{\"id\":\"d0\",\"image\":\"e.jpg\"," TALK("<image>x") "}]");
    put_in(&p, "e.jpg", "no picture, but there");
    put_in(&p, "d.json.quarantine.jsonl", "{\"id\":\"nobody\"}\n");
    for (int again = 0; again < 2; again++) {
        static const char *const want[] = {"a0", "b0", "b1", "d0"};
        check_ok(drt_dataset_open(&ds, p.folder, NULL, &o, NULL, &err));
        assert_int_equal(drt_dataset_size(ds), 4);
        for (int i = 0; i < 4; i++) {
            drt_record *r;
            check_ok(drt_dataset_at(ds, i, &r, &err));
            assert_string_equal(r->id, want[i]);
            assert_int_equal(r->index, i);
            drt_record_free(r);
        }
        drt_dataset_close(ds);
    }
    assert_false(made(p.folder));
    put_in(&p, "b.jsonl", "{\"id\":\"b0\"," TALK("x") "}\n{\"id\":\"b1\" 2}\n");
    check_refused(drt_dataset_open(&ds, p.folder, NULL, &o, NULL, &err), DRT_EDATA, "sample 2: no JSON: byte 12: ");
    put_in(&p, "b.jsonl", "{\"id\":\"b0\"," TALK("x") "}\n{\"id\":\"b1\"}\n");
    drt_text bad = {0};
    o.bad = &bad;
    check_refused(drt_dataset_open(&ds, p.folder, NULL, &o, NULL, &err), DRT_EDATA, "sample 2 (id 'b1')");
    assert_non_null(strstr(bad.bytes, "b.jsonl:2: sample 2 (id 'b1')"));
    drt_text_free(&bad);
    put_in(&p, "x.tar", "");
    check_refused(drt_dataset_open(&ds, p.folder, NULL, &o, NULL, &err), DRT_EDATA, "1 tar shards and 4 files");
    char *beside = drt_beside(p.folder, DRT_INDEX_ENDING);
    unlink(beside);
    free(beside);
    leave(&p);
}

static void a_quarantine_leaves_out_what_it_names(void **state) {
    (void)state;
    place p = new_place("index-quarantine");
    drt_error err = {0};
    drt_index x;
    drt_text list = {0};
    bool out[4];
    int32_t n;
    put(p.data, "[{\"id\":\"a\"," TALK("x") "},"
                                            "{\"id\":\"twice\"},"
                                            "{\"id\":\"twice\"," TALK("x") "},"
                                                                           "{\"id\":\"d\"," TALK("x") "}]");
    check_ok(drt_index_open(&x, p.data, NULL, &err));
    drt_quarantine_begin(&x, &list);
    drt_quarantine_add(&list, 1, "twice", "turns", "there are \"none\"\n");
    drt_quarantine_add(&list, 3, "d", "missing", "no picture");
    check_ok(drt_quarantine_parse(list.bytes, list.size, "list", &x, out, &n, &err));
    assert_int_equal(n, 2);
    assert_true(!out[0] && out[1] && !out[2] && out[3]);
    // By hand: a name alone is every sample of that name, also one that is malformed.
    check_ok(drt_quarantine_parse("\n{\"id\": \"twice\"}", 16, "list", &x, out, &n, &err));
    assert_true(n == 2 && out[1] && out[2]);
    check_ok(drt_quarantine_parse("", 0, "list", &x, out, &n, &err));
    assert_int_equal(n, 0);
    // A name may be long, and what is wrong may have been cut off inside a character.
    char longer[3000];
    memset(longer, 'y', sizeof longer);
    longer[sizeof longer - 1] = 0;
    drt_text odd = {0};
    drt_quarantine_begin(&x, &odd);
    drt_quarantine_add(&odd, 1, longer, "malformed", "turn 1 is from 'r\xE4\xB8'");
    check_ok(drt_quarantine_parse(odd.bytes, odd.size, "list", &x, out, &n, &err));
    assert_true(n == 1 && out[1]);
    drt_text_free(&odd);
    static const struct {
        const char *text, *part;
        drt_status status;
    } wrong[] = {
        {"{\"sample\": 1}", "list:1: a number without a first line", DRT_EDATA},
        {"\n{\"id\": 1}", "list:2: not an object", DRT_EFORMAT},
        {"hello", "list:1: not an object", DRT_EFORMAT},
        {"{\"quarantine\": 1, \"digest\": \"0\"}", "other content", DRT_ECONFIG},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        check_refused(drt_quarantine_parse(wrong[i].text, strlen(wrong[i].text), "list", &x, out, &n, &err),
                      wrong[i].status, wrong[i].part);
    drt_quarantine_add(&list, 4, "", "x", "x");
    check_refused(drt_quarantine_parse(list.bytes, list.size, "list", &x, out, &n, &err), DRT_EDATA,
                  "list:4: sample 4 of 4");
    drt_index_close(&x);
    drt_text_free(&list);
    leave(&p);
}

static void the_dataset_honours_it(void **state) {
    (void)state;
    place p = new_place("index-honours");
    drt_error err = {0};
    drt_dataset *ds;
    char *list = drt_quarantine_path(p.data);
    drt_dataset_options o = {.quarantine = list, .keep_index = true};
    put(p.data, "[{\"id\":\"a\"," TALK("x") "},"
                                            "{\"id\":\"b\",\"image\":\"gone.jpg\"," TALK(
                                                "<image>x") "},"
                                                            "{\"id\":\"c\"," TALK("x") "}]");
    put(list, "{\"id\": \"b\"}\n");
    for (int again = 0; again < 2; again++) {
        check_ok(drt_dataset_open(&ds, p.data, NULL, &o, NULL, &err));
        assert_true(drt_dataset_size(ds) == 2 && drt_dataset_skipped(ds) == 0 && drt_dataset_quarantined(ds) == 1);
        assert_non_null(strstr(drt_dataset_notes(ds), "1 samples in quarantine are left out"));
        drt_record *r;
        check_ok(drt_dataset_at(ds, 1, &r, &err));
        assert_string_equal(r->id, "c");
        drt_record_free(r);
        drt_dataset_close(ds);
    }
    o.quarantine = NULL;
    check_refused(drt_dataset_open(&ds, p.data, NULL, &o, NULL, &err), DRT_EDATA, "gone.jpg is missing");
    // The same folder, spelled in two ways.
    drt_index x;
    check_ok(drt_index_open(&x, p.data, NULL, &err));
    char *other = drt_path_join(p.folder, "../.");
    assert_true(drt_index_folder(&x, NULL) == drt_index_folder(&x, p.folder));
    assert_true(drt_index_folder(&x, NULL) != drt_index_folder(&x, other));
    drt_index_close(&x);
    free(other);
    // A picture that was missing is looked for again.
    put_in(&p, "gone.jpg", "found");
    check_ok(drt_dataset_open(&ds, p.data, NULL, &o, NULL, &err));
    assert_int_equal(drt_dataset_size(ds), 3);
    drt_dataset_close(ds);
    free(list);
    leave(&p);
}

static void samples_without_a_trained_token_are_named(void **state) {
    (void)state;
    place p = new_place("index-rows");
    drt_error err = {0};
    drt_dataset *ds;
    drt_tokenizer *tok;
    check_ok(drt_tokenizer_open(&tok, "tests/golden/data/byte_level", &err));
    drt_dataset_rows rows = {.tokenizer = tok, .context = 40, .image_rows = 30};
    drt_dataset_options o = {.images = DRT_IMAGES_IGNORE, .how = drt_template_find("plain"), .rows = &rows};
    put(p.data, "[{\"id\":\"fits\",\"image\":\"a\"," TALK("<image>") "},"
                                                                     "{\"id\":\"cut\",\"image\":[\"a\",\"b\"]," TALK(
                                                                         "<image><image>") "}]");
    check_refused(drt_dataset_open(&ds, p.data, NULL, &o, NULL, &err), DRT_EDATA, "1 of 2 samples cannot be used");
    assert_non_null(strstr(err.text, "sample 1 (id 'cut'): no token is trained on"));
    rows.context = 80;
    check_ok(drt_dataset_open(&ds, p.data, NULL, &o, NULL, &err));
    drt_dataset_close(ds);
    drt_tokenizer_close(tok);
    leave(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_index_is_used_while_the_content_is_the_same),
        cmocka_unit_test(facts_tell_what_parsing_tells),
        cmocka_unit_test(samples_may_lie_anywhere),
        cmocka_unit_test(a_folder_is_its_files_in_order),
        cmocka_unit_test(a_quarantine_leaves_out_what_it_names),
        cmocka_unit_test(the_dataset_honours_it),
        cmocka_unit_test(samples_without_a_trained_token_are_named),
    };
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
