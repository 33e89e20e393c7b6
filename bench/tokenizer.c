// Times encoding with every kind of tokenizer; one JSON line each: tokenizer, text, bytes, ids, mb_per_s (10^6 bytes a
// second of processor time, one thread, the best of the repeats), decode_mb_per_s.
// Usage: build/bench/tokenizer [TOKENIZER TEXT-FILE ...]   without arguments: the golden tokenizers on docs/model.md
#include "base/file.h"
#include "format/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPEATS = 3, LEAST = 4 << 20 }; // a shorter text is put several times

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(drt_status status, const drt_error *err) {
    if (!status) return;
    fprintf(stderr, "bench: %s\n", err->text);
    exit(1);
}

static void run(const char *path, const char *file) {
    drt_error err = {0};
    drt_tokenizer *tok;
    char *once;
    size_t size;
    drt_text text = {0}, back = {0};
    double encode = 1e9, decode = 1e9;
    int n = 0;
    check(drt_tokenizer_open(&tok, path, &err), &err);
    check(drt_file_read(&once, &size, file, 0, &err), &err);
    do drt_text_add(&text, once, size);
    while (size && text.size < LEAST);
    for (int i = 0; i < REPEATS; i++) {
        drt_token *t;
        double start = now();
        check(drt_tokenizer_encode(tok, text.bytes, text.size, &t, &n, &err), &err);
        double took = now() - start;
        if (took < encode) encode = took;
        int32_t *ids = malloc(((size_t)n + 1) * sizeof *ids);
        for (int k = 0; k < n; k++) ids[k] = t[k].id;
        back.size = 0;
        start = now();
        check(drt_tokenizer_decode(tok, ids, n, false, &back, &err), &err);
        took = now() - start;
        if (took < decode) decode = took;
        free(ids), free(t);
    }
    printf(
        "{\"tokenizer\":\"%s\",\"text\":\"%s\",\"bytes\":%zu,\"ids\":%d,\"mb_per_s\":%.1f,\"decode_mb_per_s\":%.1f}\n",
        path, file, text.size, n, 1e-6 * (double)text.size / encode, 1e-6 * (double)back.size / decode);
    drt_text_free(&text), drt_text_free(&back);
    free(once);
    drt_tokenizer_close(tok);
}

int main(int argc, char **argv) {
    static const char *const golden[] = {"gpt2.json",   "llama3.json",     "qwen.json",
                                         "clip.json",   "llama.json",      "gemma.json",
                                         "siglip.json", "spm-llama.model", "spm-unigram.model"};
    for (int i = 1; i + 1 < argc; i += 2) run(argv[i], argv[i + 1]);
    for (size_t i = 0; argc < 3 && i < sizeof golden / sizeof *golden; i++) {
        char path[100];
        snprintf(path, sizeof path, "tests/golden/tokenizer/%s", golden[i]);
        run(path, "docs/model.md");
    }
    return 0;
}
