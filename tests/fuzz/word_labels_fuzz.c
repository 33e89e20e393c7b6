// clang -fsanitize=fuzzer,address,undefined: any bytes are a file of labels or a refusal, and all of it can be read.
// Hashes keep libFuzzer out, so they are made right first: what is tried is what lies behind them.
#include "base/rng.h"
#include "data/word_labels.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void store(uint8_t *at, uint64_t x) { memcpy(at, &x, sizeof x); }
static uint64_t fetch(const uint8_t *at) {
    uint64_t x;
    memcpy(&x, at, sizeof x);
    return x;
}

enum { HEADER = 104, SELF = 96, INDEX = 88 };

// The hashes of the records, as far as they lie in the file.
static void mend_records(uint8_t *file, size_t size, uint64_t keys, uint64_t pictures) {
    uint32_t side, most, wide;
    memcpy(&side, file + 12, 4), memcpy(&most, file + 16, 4), memcpy(&wide, file + 20, 4);
    if (side > 64 || most > 64 || wide > 8) return;
    uint64_t each = (uint64_t)side * side * most * (wide + 2) + 8, at = keys + pictures * 8;
    for (uint64_t i = 0; i < pictures && at + each <= size; i++, at += each) {
        const uint64_t both[] = {fetch(file + keys + i * 8), drt_hash(file + at, each - 8)};
        store(file + at + each - 8, drt_hash(both, sizeof both));
    }
}

// The hash of words and keys where the sizes in the header allow it, those of the records, and the header's own.
static void mend(uint8_t *file, size_t size) {
    uint64_t words = fetch(file + 32), pictures = fetch(file + 40), text = fetch(file + 48), chain = 0, from = 0;
    if (words <= size / 8 && pictures <= size / 8 && text <= size) {
        uint64_t at = HEADER + words * 8, keys = at + (text + 7) / 8 * 8;
        bool good = keys + pictures * 8 <= size;
        for (uint64_t i = 0; good && i < words; i++) {
            uint64_t to = fetch(file + HEADER + i * 8);
            good = to > from && to <= text;
            if (good) chain = drt_word_chain(chain, (char *)file + at + from, to - from);
            from = to;
        }
        const uint64_t both[] = {chain, good ? drt_hash(file + keys, pictures * 8) : 0};
        if (good) store(file + INDEX, drt_hash(both, sizeof both)), mend_records(file, size, keys, pictures);
    }
    store(file + SELF, drt_hash(file, SELF));
}

static void read_all(const drt_word_labels *l) {
    drt_error err = {0};
    const drt_word_labels_about *a = drt_word_labels_tell(l);
    int64_t n = (int64_t)a->side * a->side * a->most, sum = 0;
    for (int64_t i = 0; i < a->words; i++) {
        size_t k;
        const char *word = drt_word_labels_word(l, i, &k);
        for (size_t j = 0; j < k; j++) sum += word[j];
    }
    int32_t *word = malloc((size_t)n * sizeof *word);
    float *score = malloc((size_t)n * sizeof *score);
    for (int64_t i = 0; word && score && i < a->pictures; i++) {
        if (drt_word_labels_read(l, i, word, score, &err)) continue;
        for (int64_t k = 0; k < n; k++)
            if (word[k] < 0 || word[k] >= a->words || !(score[k] >= 0)) abort();
    }
    drt_word_labels_find(l, (uint64_t)sum);
    free(word), free(score);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    for (int mended = 0; mended < 2; mended++) {
        drt_error err = {0};
        drt_word_labels *l;
        uint8_t *file = malloc(size + 1);
        if (size) memcpy(file, bytes, size);
        if (mended && size >= HEADER) mend(file, size);
        uint8_t *exact = malloc(size + !size);
        if (size) memcpy(exact, file, size);
        free(file);
        if (!drt_word_labels_open_memory(&l, exact, size, "fuzz", &err)) read_all(l);
        else if (!err.text[0] || l) abort();
        drt_word_labels_close(l);
        free(exact);
    }
    return 0;
}
