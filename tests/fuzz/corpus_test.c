// Every input of tests/fuzz/corpus/NAME goes through its target once, without libFuzzer: what long runs reached, and
// what once failed, is tried by every build. A target that finds a fault aborts; the last line names the input.
#include "support/check.h"

#include "base/file.h"

#include <dirent.h>
#include <stdlib.h>

// One program holds all targets, so each gets a name of its own.
#define LLVMFuzzerTestOneInput run_config
#include "fuzz/config_fuzz.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput run_dataset
#include "fuzz/dataset_fuzz.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput run_image
#include "fuzz/image_fuzz.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput run_index
#include "fuzz/index_fuzz.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput run_safetensors
#include "fuzz/safetensors_fuzz.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput run_tar
#include "fuzz/tar_fuzz.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput run_tokenizer
#include "fuzz/tokenizer_fuzz.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput run_torch_bin
#include "fuzz/torch_bin_fuzz.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput run_word_labels
#include "fuzz/word_labels_fuzz.c"
#undef LLVMFuzzerTestOneInput

// What libFuzzer has for image_fuzz.c; nothing is changed here.
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t room) {
    (void)bytes, (void)room;
    return size;
}

static void run_all(const char *name, int (*run)(const uint8_t *, size_t)) {
    char folder[64];
    int n = 0;
    drt_error err = {0};
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name);
    DIR *d = opendir(folder);
    check(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        if (*e->d_name == '.') continue;
        char *path = drt_path_join(folder, e->d_name), *bytes;
        size_t size;
        check_ok(drt_file_read(&bytes, &size, path, 1 << 20, &err));
        print_message("%s\n", path);
        // A copy of exactly this size, so that ASan sees a step behind its end.
        uint8_t *exact = malloc(size);
        if (size) memcpy(exact, bytes, size);
        run(exact, size);
        free(exact), free(bytes), free(path);
        n++;
    }
    closedir(d);
    check(n >= 10);
}

static void config(void **state) { (void)state, run_all("config", run_config); }
static void dataset(void **state) { (void)state, run_all("dataset", run_dataset); }
static void image(void **state) { (void)state, run_all("image", run_image); }
static void index_file(void **state) { (void)state, run_all("index", run_index); }
static void tar(void **state) { (void)state, run_all("tar", run_tar); }
static void safetensors(void **state) { (void)state, run_all("safetensors", run_safetensors); }
static void tokenizer(void **state) { (void)state, run_all("tokenizer", run_tokenizer); }
static void torch_bin(void **state) { (void)state, run_all("torch_bin", run_torch_bin); }
static void word_labels(void **state) { (void)state, run_all("word_labels", run_word_labels); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config),      cmocka_unit_test(index_file), cmocka_unit_test(tar),      cmocka_unit_test(dataset),   cmocka_unit_test(image),
        cmocka_unit_test(safetensors), cmocka_unit_test(tokenizer), cmocka_unit_test(torch_bin),
        cmocka_unit_test(word_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
