// pytorch_model.bin: what torch.save wrote (tests/golden/torch) gives the tensors that torch has; everything a pickle
// could do besides is refused by name; every byte may be wrong.
#include "support/check.h"

#include "base/file.h"
#include "base/text.h"
#include "format/weights.h"

#include <math.h>
#include <stdio.h>

#define GOLDEN "tests/golden/torch/"

static void same_tensors(const char *path, const char *const *only) {
    drt_error err = {0};
    drt_weights *w, *want;
    check_ok(drt_weights_open(&w, path, &err));
    check_ok(drt_weights_open(&want, GOLDEN "expected.safetensors", &err));
    int n = 0;
    for (int i = 0; i < drt_weights_count(want); i++) {
        const drt_weight *e = drt_weights_at(want, i), *t = drt_weights_find(w, e->name);
        bool wanted = !only;
        for (int k = 0; only && only[k]; k++) wanted = wanted || !strcmp(only[k], e->name);
        if (!wanted) continue;
        if (!t) fail_msg("%s: no tensor %s", path, e->name);
        assert_string_equal(t->dtype, e->dtype);
        assert_int_equal(t->ndim, e->ndim);
        assert_memory_equal(t->shape, e->shape, (size_t)e->ndim * 8);
        assert_int_equal(t->size, e->size);
        if (e->size && memcmp(t->bytes, e->bytes, e->size)) fail_msg("%s: %s has other values", path, e->name);
        n++;
    }
    assert_int_equal(drt_weights_count(w), n);
    drt_weights_close(w), drt_weights_close(want);
}

static void torch_files(void **state) {
    (void)state;
    static const char *const whole[] = {"plain.bin",     "protocol3.bin", "protocol4.bin",
                                        "protocol5.bin", "deflated.bin",  "zip64.bin"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        char path[100];
        snprintf(path, sizeof path, GOLDEN "%s", whole[i]);
        same_tensors(path, NULL);
    }
    same_tensors(GOLDEN "sharded", (const char *const[]){"f32", "bf16", "transposed", NULL});
}

static void in_place(void **state) {
    (void)state;
    drt_error err = {0};
    drt_weights *w;
    char *bytes;
    size_t size;
    check_ok(drt_file_read(&bytes, &size, GOLDEN "plain.bin", 0, &err));
    check_ok(drt_weights_open_memory(&w, bytes, size, "m", &err));
    const char *base = drt_weights_find(w, "base")->bytes, *view = drt_weights_find(w, "view")->bytes;
    check(base > bytes && base < bytes + size && drt_weights_find(w, "tied")->bytes == base && view == base + 24);
    drt_weights_close(w);
    free(bytes);
}

static void torch_refusals(void **state) {
    (void)state;
    static const struct {
        const char *file, *told;
    } wrong[] = {
        {"sneaky.bin", "wants 'posix.system'"},
        {"module.bin", "wants 'torch.nn.modules.linear.Linear'"},
        {"nested.bin", "no tensors but a dict 'state_dict'"},
        {"expanded.bin", "repeats elements"},
        {"old.bin", "saved by torch before 1.6"},
        {"bzip2.bin", "compressed by method 12"},
    };
    drt_error err = {0};
    drt_weights *w;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char path[100];
        snprintf(path, sizeof path, GOLDEN "%s", wrong[i].file);
        check_refused(drt_weights_open(&w, path, &err), DRT_EFORMAT, wrong[i].told);
        check(!w && strstr(err.text, path));
    }
}

// ---- pickles made by hand ------------------------------------------------------------------------------------------

static void put(drt_text *t, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) drt_text_add(t, &(unsigned char){(unsigned char)(i < 8 ? v >> 8 * i : 0)}, 1);
}

typedef struct {
    const char *name, *bytes;
    size_t size;
} entry;

// A zip file of stored entries.
static drt_text zip(const entry *e, int n) {
    drt_text out = {0}, central = {0};
    for (int i = 0; i < n; i++) {
        size_t name = strlen(e[i].name);
        put(&central, 0x02014b50, 4), put(&central, 0, 16), put(&central, e[i].size, 4), put(&central, e[i].size, 4);
        put(&central, name, 2), put(&central, 0, 12), put(&central, out.size, 4);
        drt_text_puts(&central, e[i].name);
        put(&out, 0x04034b50, 4), put(&out, 0, 22), put(&out, name, 2), put(&out, 0, 2);
        drt_text_puts(&out, e[i].name);
        drt_text_add(&out, e[i].bytes, e[i].size);
    }
    size_t at = out.size;
    drt_text_add(&out, central.bytes, central.size);
    put(&out, 0x06054b50, 4), put(&out, 0, 4), put(&out, (uint64_t)n, 2), put(&out, (uint64_t)n, 2);
    put(&out, central.size, 4), put(&out, at, 4), put(&out, 0, 2);
    drt_text_free(&central);
    return out;
}

static drt_status open_pickle(drt_weights **w, const char *pickle, size_t size, drt_error *err) {
    static const float storage[6] = {0, 1, 2, 3, 4, 5};
    const entry e[] = {{"a/data.pkl", pickle, size}, {"a/data/0", (const char *)storage, sizeof storage}};
    drt_text t = zip(e, 2);
    drt_status status = drt_weights_open_memory(w, t.bytes, t.size, "hand.bin", err);
    if (!status) { // the bytes go: only what was found is told
        int n = drt_weights_count(*w);
        drt_weights_close(*w);
        *w = NULL;
        err->code = (drt_status)n;
    }
    drt_text_free(&t);
    return status;
}

// A pickle {"w": tensor of these pieces}.
#define STORAGE_OF(class, key, count) "(X\7\0\0\0storage" class "X\1\0\0\0" key "X\3\0\0\0cpuK" count "tQ"
#define TENSOR_OF(storage, rest)                                                                                       \
    "\x80\2}X\1\0\0\0w"                                                                                                \
    "ctorch._utils\n_rebuild_tensor_v2\n(" storage rest "\x89}tRs."
#define FLOATS "ctorch\nFloatStorage\n"

static void pickles(void **state) {
    (void)state;
    drt_error err = {0};
    drt_weights *w;
    static const char good[] = TENSOR_OF(STORAGE_OF(FLOATS, "0", "\6"), "K\1K\2K\2\x86K\3K\1\x86");
    check_ok(open_pickle(&w, good, sizeof good - 1, &err));
    assert_int_equal(err.code, 1);
#define REFUSED(told, text) check_refused(open_pickle(&w, text, sizeof text - 1, &err), DRT_EFORMAT, told)
    REFUSED("'os.system'", "\x80\2cos\nsystem\n(X\4\0\0\0echotR.");
    REFUSED("'builtins.eval'", "\x80\4\x8c\x08"
                               "builtins\x8c\4eval\x93(X\1\0\0\0"
                               "1tR.");
    REFUSED("'torch.storage._load_from_bytes'", "\x80\2ctorch.storage\n_load_from_bytes\n.");
    REFUSED("instruction 0x69 ('i')", "\x80\2(ios\nsystem\n."); // INST
    REFUSED("instruction 0x6f ('o')", "\x80\2(o.");             // OBJ
    REFUSED("instruction 0x81", "\x80\2)\x81.");                // NEWOBJ
    REFUSED("instruction 0x82", "\x80\2\x82\1.");               // EXT1
    REFUSED("instruction 0x50 ('P')", "\x80\2P0\n.");           // PERSID
    REFUSED("instruction 0x97", "\x80\5\x97.");                 // NEXT_BUFFER
    REFUSED("protocol beyond 5", "\x80\6}.");
    REFUSED("cut off", "\x80\2}");
    REFUSED("cut off", "\x80\2X\xff\xff\xff\xff.");
    REFUSED("cut off", "\x80\2\x8d\xff\xff\xff\xff\xff\xff\xff\xff.");
    REFUSED("cut off", "\x80\2ctorch");
    REFUSED("takes more than it made", "\x80\2.");
    REFUSED("takes more than it made", "\x80\2t.");
    REFUSED("takes more than it made", "\x80\2N\x87.");
    REFUSED("a dict belongs", "\x80\2N.");
    REFUSED("a function belongs", "\x80\2N)R.");
    REFUSED("a tuple belongs", "\x80\2ccollections\nOrderedDict\n]R.");
    REFUSED("arguments that it does not take", "\x80\2ccollections\nOrderedDict\n(NtR.");
    REFUSED("arguments that it does not take", "\x80\2ctorch\nFloatStorage\n)R.");
    REFUSED("arguments that it does not take", "\x80\2ctorch._utils\n_rebuild_parameter\n(NtR.");
    REFUSED("describe no tensor", "\x80\2ctorch._utils\n_rebuild_tensor_v2\n)R.");
    REFUSED("key without a value", "\x80\2(Nd.");
    REFUSED("key without a value", "\x80\2}(Nu.");
    REFUSED("recalls what it never made", "\x80\2h\1.");
    REFUSED("memo number", "\x80\2Nr\xff\xff\xff\x7f.");
    REFUSED("more than 63 bits", "\x80\2\x8a\x09"
                                 "123456789.");
    REFUSED("no torch storage", "\x80\2)Q.");
    REFUSED("no torch storage", "\x80\2" STORAGE_OF("ccollections\nOrderedDict\n", "0", "\6") ".");
    REFUSED("storage data/1 is not", TENSOR_OF(STORAGE_OF(FLOATS, "1", "\6"), "K\0K\1\x85K\1\x85"));
    REFUSED("7 F32 elements has only 24", TENSOR_OF(STORAGE_OF(FLOATS, "0", "\7"), "K\0K\1\x85K\1\x85"));
    REFUSED("beyond its storage", TENSOR_OF(STORAGE_OF(FLOATS, "0", "\6"), "K\6K\1\x85K\1\x85"));
    REFUSED("beyond its storage", TENSOR_OF(STORAGE_OF(FLOATS, "0", "\6"), "K\0K\3K\2\x86K\3K\1\x86"));
    REFUSED("beyond its storage", TENSOR_OF(STORAGE_OF(FLOATS, "0", "\6"), "K\0K\7\x85K\0\x85"));
    REFUSED("describe no tensor", TENSOR_OF(STORAGE_OF(FLOATS, "0", "\6"), "J\xff\xff\xff\xffK\1\x85K\1\x85"));
    REFUSED("describe no tensor", TENSOR_OF(STORAGE_OF(FLOATS, "0", "\6"), "K\0J\xff\xff\xff\xff\x85K\1\x85"));
    REFUSED("describe no tensor", TENSOR_OF(STORAGE_OF(FLOATS, "0", "\6"), "K\0K\1\x85)"));
    REFUSED("beyond its storage",
            TENSOR_OF(STORAGE_OF(FLOATS, "0", "\6"), "K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"
                                                     "K\2\x86\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\1\x86"));
    REFUSED("a dict 'a'", "\x80\2}q\0X\1\0\0\0ah\0s."); // a dict that holds itself
}

static void zips(void **state) {
    (void)state;
    drt_error err = {0};
    drt_weights *w;
    const entry none[] = {{"a/other", "x", 1}}, two[] = {{"a/data.pkl", "\x80\2}.", 4}, {"a/data.pkl", "\x80\2}.", 4}},
                script[] = {{"a/data.pkl", "\x80\2}.", 4}, {"a/constants.pkl", "", 0}},
                big[] = {{"a/data.pkl", "\x80\2}.", 4}, {"a/byteorder", "big", 3}},
                pair[] = {{"a/data.pkl", "\x80\2}.", 4}, {"b/data.pkl", "\x80\2}.", 4}};
    const struct {
        const entry *e;
        int n;
        const char *told;
    } wrong[] = {{none, 1, "not of torch.save"},
                 {two, 2, "two entries 'a/data.pkl'"},
                 {script, 2, "TorchScript"},
                 {big, 2, "big-endian"},
                 {pair, 2, "not of torch.save"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        drt_text t = zip(wrong[i].e, wrong[i].n);
        check_refused(drt_weights_open_memory(&w, t.bytes, t.size, "m", &err), DRT_EFORMAT, wrong[i].told);
        drt_text_free(&t);
    }
    // Two entries at one place: what a bomb needs to inflate the same bytes many times.
    drt_text t = zip(two, 2);
    char *second = t.bytes + t.size - 22 - 4;
    while (memcmp(second, "PK\1\2", 4)) second--;
    memset(second + 42, 0, 4);
    check_refused(drt_weights_open_memory(&w, t.bytes, t.size, "m", &err), DRT_EFORMAT, "two entries share bytes");
    drt_text_free(&t);
    check_refused(drt_weights_open_memory(&w, "PK\3\4", 4, "m", &err), DRT_EFORMAT, "no end record");
    check_refused(drt_weights_open_memory(&w, "\x80\2}.", 4, "m", &err), DRT_EFORMAT, "a bare pickle");
}

// Every file cut anywhere, and every byte of its directory and pickle changed: a refusal or tensors, never a crash.
static void damaged(void **state) {
    (void)state;
    static const char *const files[] = {GOLDEN "plain.bin", GOLDEN "deflated.bin", GOLDEN "zip64.bin"};
    for (int f = 0; f < 3; f++) {
        drt_error err = {0};
        drt_weights *w;
        char *bytes;
        size_t size;
        check_ok(drt_file_read(&bytes, &size, files[f], 0, &err));
        for (size_t n = 0; n < size; n += 13)
            check(drt_weights_open_memory(&w, bytes, n, "cut", &err) != DRT_OK && err.text[0]);
        for (size_t i = 0; i < size; i++) {
            char was = bytes[i];
            bytes[i] = (char)(was ^ (i % 3 ? 0xff : 1));
            err.text[0] = 0;
            if (drt_weights_open_memory(&w, bytes, size, "bad", &err)) check(err.text[0]);
            drt_weights_close(w);
            bytes[i] = was;
        }
        free(bytes);
    }
}

// A small file that would inflate to much: refused by its size before memory is taken.
static void bombs(void **state) {
    (void)state;
    drt_error err = {0};
    drt_weights *w;
    char *bytes;
    size_t size;
    check_ok(drt_file_read(&bytes, &size, GOLDEN "deflated.bin", 0, &err));
    int hit = 0;
    for (char *p = bytes; p < bytes + size - 4; p++) {
        if (memcmp(p, "PK\1\2", 4)) continue;
        uint32_t much = 0x7fffffff;
        memcpy(p + 24, &much, 4); // the size once inflated
        hit++;
    }
    check(hit > 10);
    check_refused(drt_weights_open_memory(&w, bytes, size, "m", &err), DRT_EFORMAT, "cannot have the size");
    free(bytes);
}

static void not_finite(void **state) {
    (void)state;
    float f[5000];
    uint16_t b[5000], h[5000];
    for (int i = 0; i < 5000; i++) f[i] = (float)i - 2500, b[i] = 0x7f7f, h[i] = 0x7bff;
    drt_weight t[] = {{"f", "F32", 2, {50, 100}, f, sizeof f, ""},
                      {"b", "BF16", 1, {5000}, b, sizeof b, ""},
                      {"h", "F16", 1, {5000}, h, sizeof h, ""}};
    for (int i = 0; i < 3; i++) assert_int_equal(drt_weight_not_finite(&t[i]), -1);
    const int places[] = {4999, 4096, 4095, 0};
    for (int k = 0; k < 4; k++) {
        f[places[k]] = k % 2 ? NAN : -INFINITY, b[places[k]] = k % 2 ? 0xff80 : 0x7fc1,
        h[places[k]] = k % 2 ? 0x7c00 : 0xfe00;
        for (int i = 0; i < 3; i++) assert_int_equal(drt_weight_not_finite(&t[i]), places[k]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torch_files), cmocka_unit_test(in_place),   cmocka_unit_test(torch_refusals),
        cmocka_unit_test(pickles),     cmocka_unit_test(zips),       cmocka_unit_test(damaged),
        cmocka_unit_test(bombs),       cmocka_unit_test(not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
