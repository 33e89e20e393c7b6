// safetensors: what is written is read back, by us and by any reader of the format; every corruption has its message.
#include "support/check.h"

#include "base/file.h"
#include "base/half.h"
#include "base/text.h"
#include "format/safetensors.h"

#include <math.h>
#include <stdio.h>

// A file image: 8 bytes of length, the header, `data` bytes 0, 1, 2, ...
static drt_text image(const char *header, size_t data) {
    drt_text t = {0};
    unsigned char length[8];
    uint64_t n = strlen(header);
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)(n >> (8 * i));
    drt_text_add(&t, length, 8);
    drt_text_puts(&t, header);
    for (size_t i = 0; i < data; i++) drt_text_add(&t, &(unsigned char){(unsigned char)i}, 1);
    return t;
}

static void refuse(const char *header, size_t data, const char *part) {
    drt_error err = {0};
    drt_weights *st;
    drt_text t = image(header, data);
    check_refused(drt_weights_open_memory(&st, t.bytes, t.size, "m.safetensors", &err), DRT_EFORMAT, part);
    assert_null(st);
    assert_non_null(strstr(err.text, "m.safetensors"));
    drt_text_free(&t);
}

static void half_rounds_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) { // every 16-bit number survives the way there and back
        float b = drt_bf16_to_f32((uint16_t)h), f = drt_f16_to_f32((uint16_t)h);
        assert_int_equal(drt_f32_to_bf16(b), isnan(b) ? h | 0x40 : h);
        assert_int_equal(drt_f32_to_f16(f), isnan(f) ? h | 0x200 : h);
    }
    assert_true(drt_f16_to_f32(0x3c01) == 1 + 0x1p-10f && drt_f16_to_f32(0x0001) == 0x1p-24f);
    assert_true(drt_f16_to_f32(0xfbff) == -65504.0f && drt_bf16_to_f32(0x3f80) == 1.0f);
    for (uint32_t h = 0; h < 0x7bff; h++) { // between two neighbours: the near one, in the middle the even one
        float a = drt_f16_to_f32((uint16_t)h), b = drt_f16_to_f32((uint16_t)(h + 1)), middle = (a + b) / 2;
        assert_int_equal(drt_f32_to_f16(middle), h + (h & 1));
        assert_int_equal(drt_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(drt_f32_to_f16(-nextafterf(middle, INFINITY)), 0x8000 | (h + 1));
    }
    for (uint32_t h = 0; h < 0x7f7f; h += 7) {
        float a = drt_bf16_to_f32((uint16_t)h), b = drt_bf16_to_f32((uint16_t)(h + 1)), middle = a + (b - a) / 2;
        assert_int_equal(drt_f32_to_bf16(middle), h + (h & 1));
        assert_int_equal(drt_f32_to_bf16(nextafterf(middle, 0)), h);
        assert_int_equal(drt_f32_to_bf16(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(drt_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(drt_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(drt_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(drt_f32_to_f16(0x1.000002p-25f), 1);
    assert_int_equal(drt_f32_to_bf16(3.4e38f), 0x7f80);
    float x[3] = {1, -2, 0.5f}, y[3];
    uint16_t h[3];
    drt_f32_to_bf16_n(h, x, 3), drt_bf16_to_f32_n(y, h, 3);
    assert_memory_equal(x, y, sizeof x);
    drt_f32_to_f16_n(h, x, 3), drt_f16_to_f32_n(y, h, 3);
    assert_memory_equal(x, y, sizeof x);
}

static void round_trip(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("safetensors"), *path = drt_path_join(folder, "a.safetensors");
    float f32[6] = {0, -1.5f, 3, 1e30f, -0.0f, 7};
    uint16_t bf16[3] = {0x3f80, 0xc000, 0x7f80}, f16[1] = {0x3800};
    int64_t i64[2] = {1, -1};
    const drt_st_entry entries[] = {
        {"z.odd", "U8", 1, {3}, "abc", NULL},    {"w", "F32", 2, {2, 3}, f32, NULL},
        {"empty", "F32", 2, {0, 7}, NULL, NULL}, {"b\"\\\xc3\xa9", "BF16", 1, {3}, bf16, NULL},
        {"scalar", "F16", 0, {0}, f16, NULL},    {"ids", "I64", 2, {1, 2}, i64, NULL}};
    const char *const metadata[] = {"format", "pt", "note", "two \"words\"\n", NULL};
    check_ok(drt_safetensors_write(path, entries, 6, metadata, &err));
    drt_weights *st;
    check_ok(drt_weights_open(&st, path, &err));
    assert_int_equal(drt_weights_count(st), 6);
    assert_string_equal(drt_weights_metadata(st, "note"), metadata[3]);
    assert_null(drt_weights_metadata(st, "nothing"));
    for (int i = 0; i < 6; i++) {
        const drt_weight *t = drt_weights_find(st, entries[i].name);
        assert_non_null(t);
        assert_string_equal(t->dtype, entries[i].dtype);
        assert_int_equal(t->ndim, entries[i].ndim);
        assert_memory_equal(t->shape, entries[i].shape, (size_t)t->ndim * 8);
        if (t->size) assert_memory_equal(t->bytes, entries[i].bytes, t->size);
        assert_non_null(t->bytes);
        assert_string_equal(t->file, path);
        if (i) assert_true(strcmp(drt_weights_at(st, i - 1)->name, drt_weights_at(st, i)->name) < 0);
    }
    assert_null(drt_weights_find(st, "nothing"));
    assert_null(drt_weights_at(st, 6));
    assert_null(drt_weights_at(st, -1));
    float out[6];
    check_ok(drt_weight_to_f32(drt_weights_find(st, "w"), out, 6, &err)); // stands at an odd address
    assert_memory_equal(out, f32, sizeof f32);
    check_ok(drt_weight_to_f32(drt_weights_find(st, entries[3].name), out, 3, &err));
    assert_true(out[0] == 1 && out[1] == -2 && isinf(out[2]));
    check_ok(drt_weight_to_f32(drt_weights_find(st, "scalar"), out, 1, &err));
    assert_true(out[0] == 0.5f);
    check_ok(drt_weight_to_f32(drt_weights_find(st, "empty"), out, 0, &err));
    check_refused(drt_weight_to_f32(drt_weights_find(st, "w"), out, 5, &err), DRT_EARG, "6 elements, not 5");
    check_refused(drt_weight_to_f32(drt_weights_find(st, "ids"), out, 2, &err), DRT_EFORMAT, "'ids' is I64");
    drt_weights_close(st);
    free(path), free(folder);
}

// Between the three kinds of floats, over the edge of a chunk, and from an odd address.
static void conversions(void **state) {
    (void)state;
    enum { N = 4099 };
    static const char *const dtypes[] = {"F32", "BF16", "F16"};
    drt_error err = {0};
    char *folder = test_folder("conversions"), *path = drt_path_join(folder, "a.safetensors");
    float f32[N];
    uint16_t bf16[N], f16[N];
    for (int i = 0; i < N; i++) f32[i] = (float)(i - 2000) / 7;
    drt_f32_to_bf16_n(bf16, f32, N), drt_f32_to_f16_n(f16, f32, N);
    const void *stored[] = {f32, bf16, f16};
    for (int from = 0; from < 3; from++)
        for (int to = 0; to < 3; to++) {
            size_t size = (size_t)drt_weight_dtype_size(dtypes[from]) * N;
            char *odd = malloc(size + 1);
            memcpy(odd + 1, stored[from], size);
            drt_st_entry e = {"a", dtypes[to], 1, {N}, odd + 1, dtypes[from]};
            check_ok(drt_safetensors_write(path, &e, 1, NULL, &err));
            drt_weights *w;
            check_ok(drt_weights_open(&w, path, &err));
            const drt_weight *t = drt_weights_find(w, "a");
            float x[N];
            uint16_t h[N];
            drt_weight_numbers(x, dtypes[from], stored[from], N);
            if (to == 1) drt_f32_to_bf16_n(h, x, N);
            if (to == 2) drt_f32_to_f16_n(h, x, N);
            assert_int_equal(t->size, (size_t)drt_weight_dtype_size(dtypes[to]) * N);
            assert_memory_equal(t->bytes, to ? (const void *)h : x, t->size);
            drt_weights_close(w);
            free(odd);
        }
    drt_st_entry e = {"a", "F32", 1, {1}, f32, "I32"};
    check_refused(drt_safetensors_write(path, &e, 1, NULL, &err), DRT_EARG, "I32 cannot be written as F32");
    free(path), free(folder);
}

static void writer_pads_and_refuses(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("safetensors-write"), *path = drt_path_join(folder, "a.safetensors"), *bytes;
    size_t size;
    float x = 1;
    drt_st_entry e[2] = {{"a", "F32", 0, {0}, &x, NULL}, {"b", "F32", 0, {0}, &x, NULL}};
    check_ok(drt_safetensors_write(path, e, 2, NULL, &err));
    check_ok(drt_file_read(&bytes, &size, path, 0, &err));
    assert_int_equal((unsigned char)bytes[0] % 8, 0);
    assert_int_equal(size, 8 + (unsigned char)bytes[0] + 8);
    assert_memory_equal(bytes + 8,
                        "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[],"
                        "\"data_offsets\":[0,4]}",
                        83);
    free(bytes);
    e[1].name = "a";
    check_refused(drt_safetensors_write(path, e, 2, NULL, &err), DRT_EARG, "two tensors are named 'a'");
    e[1].name = "b", e[1].dtype = "F31";
    check_refused(drt_safetensors_write(path, e, 2, NULL, &err), DRT_EARG, "unknown dtype \"F31\"");
    e[1].dtype = "F32", e[1].ndim = 9;
    check_refused(drt_safetensors_write(path, e, 2, NULL, &err), DRT_EARG, "9 dimensions");
    e[1].ndim = 1, e[1].shape[0] = -1;
    check_refused(drt_safetensors_write(path, e, 2, NULL, &err), DRT_EARG, "shape[0] = -1");
    e[1].shape[0] = INT64_MAX / 2;
    check_refused(drt_safetensors_write(path, e, 2, NULL, &err), DRT_EARG, "too large");
    e[1].shape[0] = 1, e[1].bytes = NULL;
    check_refused(drt_safetensors_write(path, e, 2, NULL, &err), DRT_EARG, "'b' needs 4 bytes");
    e[1].bytes = &x, e[1].name = "__metadata__";
    check_refused(drt_safetensors_write(path, e, 2, NULL, &err), DRT_EARG, "cannot be a tensor's name");
    e[1].name = "\xff";
    check_refused(drt_safetensors_write(path, e, 2, NULL, &err), DRT_EARG, "cannot be a tensor's name");
    check_refused(drt_safetensors_write(path, e, 1, (const char *const[]){"k", NULL}, &err), DRT_EARG,
                  "'k' has no value");
    check_refused(drt_safetensors_write("/nowhere/at/all", e, 1, NULL, &err), DRT_EIO, "/nowhere/at/all");
    check_ok(drt_safetensors_write(path, NULL, 0, NULL, &err));
    drt_weights *st;
    check_ok(drt_weights_open(&st, path, &err));
    assert_int_equal(drt_weights_count(st), 0);
    assert_null(drt_weights_find(st, "a"));
    drt_weights_close(st);
    free(path), free(folder);
}

#define TENSOR(name, dtype, shape, from, to)                                                                           \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #from "," #to "]}"

static void corruptions_are_refused(void **state) {
    (void)state;
    drt_error err = {0};
    drt_weights *st;
    check_refused(drt_weights_open_memory(&st, "1234567", 7, "m", &err), DRT_EFORMAT, "7 bytes is too short");
    check_refused(drt_weights_open_memory(&st, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "m", &err), DRT_EFORMAT,
                  "announce a header of 18446744073709551615 bytes");
    check_refused(drt_weights_open_memory(&st, "\1\0\0\7\0\0\0\0{}", 10, "m", &err), DRT_EFORMAT, "117440513");
    check_refused(drt_weights_open_memory(&st, "\3\0\0\0\0\0\0\0{}", 10, "m", &err), DRT_EFORMAT,
                  "truncated inside its header (3 bytes announced, 2 present)");
    refuse("", 0, "does not begin with '{'");
    refuse(" {}", 0, "does not begin with '{'");
    refuse("{\"a\":}", 0, "byte 14: header: ");
    refuse("{\"a\":{},\"a\":{}}", 0, "duplicate");
    refuse("{\"a\":[]}", 0, "'a' is not an object");
    refuse("{\"a\":{}}", 0, "'a' has no \"dtype\"");
    refuse("{\"a\":{\"dtype\":\"Q4\"}}", 0, "unknown dtype \"Q4\"");
    refuse("{\"a\":{\"dtype\":\"F32\"}}", 0, "no \"shape\"");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "no \"data_offsets\"");
    refuse("{" TENSOR("a", "F32", "1.5", 0, 4) "}", 4, "shape[0] is not a whole number");
    refuse("{" TENSOR("a", "F32", "1,-1", 0, 4) "}", 4, "shape[1] is not a whole number");
    refuse("{" TENSOR("a", "F32", "1,1,1,1,1,1,1,1,1", 0, 4) "}", 4, "9 dimensions");
    refuse("{" TENSOR("a", "F32", "4294967296,4294967296", 0, 4) "}", 4, "overflows 63 bits");
    refuse("{" TENSOR("a", "F32", "1", 4, 0) "}", 4, "run backwards");
    refuse("{" TENSOR("a", "F32", "1", -4, 0) "}", 4, "run backwards");
    refuse("{" TENSOR("a", "F32", "2", 0, 8) "}", 7, "truncated; copy or download");
    refuse("{" TENSOR("a", "F32", "2", 0, 4) "}", 4, "give 4 bytes, its shape and dtype F32 need 8");
    refuse("{" TENSOR("a", "U8", "4", 0, 4) "," TENSOR("b", "U8", "4", 2, 6) "}", 6, "overlapping");
    refuse("{" TENSOR("a", "U8", "4", 0, 4) "," TENSOR("b", "U8", "4", 6, 10) "}", 10, "leaving a gap after byte 4");
    refuse("{" TENSOR("a", "U8", "4", 0, 4) "}", 9, "5 bytes after the last tensor");
    refuse("{\"__metadata__\":[]}", 0, "\"__metadata__\" is not an object");
    refuse("{\"__metadata__\":{\"k\":1}}", 0, "value of 'k' is not a string");
    check_refused(drt_weights_open(&st, "/nowhere", &err), DRT_EIO, "/nowhere: cannot open");
}

static void put(const char *folder, const char *name, const drt_text *t) {
    drt_error err = {0};
    char *path = drt_path_join(folder, name);
    check_ok(drt_file_write(path, t->bytes, t->size, &err));
    free(path);
}

static void put_index(const char *folder, const char *json) {
    drt_text t = {0};
    drt_text_puts(&t, json);
    put(folder, "model.safetensors.index.json", &t);
    drt_text_free(&t);
}

static void shards_are_joined(void **state) {
    (void)state;
    drt_error err = {0};
    drt_weights *st;
    char *folder = test_folder("shards");
    check_refused(drt_weights_open(&st, folder, &err), DRT_EIO, "holds no weights: none of model.safetensors, ");
    drt_text one = image("{" TENSOR("a", "U8", "4", 0, 4) ",\"__metadata__\":{\"k\":\"v\"}}", 4);
    drt_text two = image("{" TENSOR("c", "U8", "2", 0, 2) "," TENSOR("b", "U8", "1", 2, 3) "}", 3);
    put(folder, "one", &one), put(folder, "two", &two);
    put_index(folder, "{\"weight_map\":{\"a\":\"one\",\"b\":\"two\",\"c\":\"two\"}}");
    check_ok(drt_weights_open(&st, folder, &err));
    assert_int_equal(drt_weights_count(st), 3);
    assert_memory_equal(drt_weights_find(st, "b")->bytes, "\2", 1);
    assert_string_equal(drt_weights_metadata(st, "k"), "v");
    drt_weights_close(st);
    put_index(folder, "{\"weight_map\":{\"a\":\"one\",\"b\":\"three\"}}");
    check_refused(drt_weights_open(&st, folder, &err), DRT_EIO, "names the shard 'three', which is missing");
    put_index(folder, "{\"weight_map\":{\"a\":\"one\",\"d\":\"two\"}}");
    check_refused(drt_weights_open(&st, folder, &err), DRT_EFORMAT, "'d' is not in the shard 'two'");
    put_index(folder, "{\"weight_map\":{\"a\":\"two\",\"c\":\"one\"}}");
    check_refused(drt_weights_open(&st, folder, &err), DRT_EFORMAT, "'a' is not in the shard 'two'");
    put_index(folder, "{\"weight_map\":{\"a\":\"../one\"}}");
    check_refused(drt_weights_open(&st, folder, &err), DRT_EFORMAT, "'a' must name a file of the same folder");
    put_index(folder, "{\"weight_map\":{\"a\":3}}");
    check_refused(drt_weights_open(&st, folder, &err), DRT_EFORMAT, "'a' must name a file");
    put_index(folder, "{\"weights\":{}}");
    check_refused(drt_weights_open(&st, folder, &err), DRT_EFORMAT, "no \"weight_map\"");
    put_index(folder, "{\n\n");
    check_refused(drt_weights_open(&st, folder, &err), DRT_EFORMAT, "index.json: line ");
    put(folder, "two", &one);
    put_index(folder, "{\"weight_map\":{\"a\":\"one\",\"b\":\"two\"}}");
    check_refused(drt_weights_open(&st, folder, &err), DRT_EFORMAT, "'a' stands twice");
    put(folder, "model.safetensors", &one); // comes before the index
    check_ok(drt_weights_open(&st, folder, &err));
    assert_int_equal(drt_weights_count(st), 1);
    drt_weights_close(st);
    drt_text_free(&one), drt_text_free(&two);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_rounds_to_nearest_even),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(conversions),
        cmocka_unit_test(writer_pads_and_refuses),
        cmocka_unit_test(corruptions_are_refused),
        cmocka_unit_test(shards_are_joined),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
