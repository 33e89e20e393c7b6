// Words that are merged in several windows against a plain spelling of BPE: the best pair of the whole word, of equals
// the leftmost, again and again.
#include "support/check.h"

#include "base/rng.h"
#include "base/text.h"
#include "format/tokenizer.h"

#include <stdio.h>

enum { MOST_PIECES = 400, MOST_MERGES = 400, MOST_PIECE = 12, MOST_TEXT = 4000 };

typedef struct {
    char piece[MOST_PIECES][MOST_PIECE + 1];
    int pieces, merges;
    int left[MOST_MERGES], right[MOST_MERGES], into[MOST_MERGES]; // by rank
} table;

static int piece_of(table *t, const char *text) {
    for (int i = 0; i < t->pieces; i++)
        if (!strcmp(t->piece[i], text)) return i;
    assert_true(t->pieces < MOST_PIECES);
    memcpy(t->piece[t->pieces], text, strlen(text) + 1);
    return t->pieces++;
}

static bool add_merge(table *t, int left, int right) {
    char text[2 * MOST_PIECE + 1];
    int n = snprintf(text, sizeof text, "%s%s", t->piece[left], t->piece[right]);
    for (int i = 0; i < t->merges; i++)
        if (t->left[i] == left && t->right[i] == right) return false;
    if (n > MOST_PIECE || t->merges == MOST_MERGES) return false;
    t->left[t->merges] = left, t->right[t->merges] = right;
    t->into[t->merges++] = piece_of(t, text);
    return true;
}

static drt_tokenizer *open_table(const table *t) {
    drt_text json = {0};
    drt_error err = {0};
    drt_tokenizer *tok;
    drt_text_puts(&json, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false},"
                         "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < t->pieces; i++) drt_text_printf(&json, "%s\"%s\":%d", i ? "," : "", t->piece[i], i);
    drt_text_puts(&json, "},\"merges\":[");
    for (int i = 0; i < t->merges; i++)
        drt_text_printf(&json, "%s[\"%s\",\"%s\"]", i ? "," : "", t->piece[t->left[i]], t->piece[t->right[i]]);
    drt_text_puts(&json, "]}}");
    check_ok(drt_tokenizer_open_memory(&tok, json.bytes, json.size, "t.json", &err));
    drt_text_free(&json);
    return tok;
}

static int plain_bpe(const table *t, const char *text, int n, int *id) {
    for (int i = 0; i < n; i++)
        for (id[i] = 0; t->piece[id[i]][0] != text[i];) id[i]++; // single letters come first
    for (;;) {
        int best = t->merges, at = 0;
        for (int i = 0; i + 1 < n; i++)
            for (int rank = 0; rank < best; rank++)
                if (t->left[rank] == id[i] && t->right[rank] == id[i + 1]) best = rank, at = i;
        if (best == t->merges) return n;
        id[at] = t->into[best];
        n--;
        memmove(id + at + 1, id + at + 2, (size_t)(n - at - 1) * sizeof *id);
    }
}

static void compare(const table *t, const drt_tokenizer *tok, const char *text, int size) {
    static int want[MOST_TEXT];
    drt_error err = {0};
    drt_token *got;
    int n, m = plain_bpe(t, text, size, want);
    check_ok(drt_tokenizer_encode(tok, text, (size_t)size, &got, &n, &err));
    assert_int_equal(n, m);
    for (int i = 0, at = 0; i < n; i++) {
        assert_int_equal(got[i].id, want[i]);
        assert_int_equal(got[i].from, at);
        at += (int)strlen(t->piece[want[i]]);
        assert_int_equal(got[i].to, at);
    }
    free(got);
}

// Merges in an order that no trainer would give: a piece may be better than those that it is made of.
static void any_merges(void **state) {
    (void)state;
    static table t;
    static char text[MOST_TEXT];
    drt_rng r;
    drt_rng_init(&r, 5, 0);
    for (int round = 0; round < 12; round++) {
        int letters = 2 + round % 4, merges = 10 << round % 5;
        t = (table){0};
        for (int i = 0; i < letters; i++) piece_of(&t, (char[]){(char)('a' + i), 0});
        for (int tries = 0; tries < 4000 && t.merges < merges; tries++)
            add_merge(&t, (int)drt_rng_below(&r, (uint64_t)t.pieces), (int)drt_rng_below(&r, (uint64_t)t.pieces));
        for (int i = t.merges - 1; i > 0; i--) {
            int k = (int)drt_rng_below(&r, (uint64_t)i + 1), left = t.left[i], right = t.right[i], into = t.into[i];
            t.left[i] = t.left[k], t.right[i] = t.right[k], t.into[i] = t.into[k];
            t.left[k] = left, t.right[k] = right, t.into[k] = into;
        }
        drt_tokenizer *tok = open_table(&t);
        for (int i = 0; i < MOST_TEXT; i++) text[i] = (char)('a' + drt_rng_below(&r, (uint64_t)letters));
        for (int size = 1; size <= 1500; size = size * 3 / 2 + 1) compare(&t, tok, text, size);
        drt_tokenizer_close(tok);
    }
}

// Letters in a chain: the merges at its end come first, so that its end decides about its beginning, and a window that
// cuts it may have no piece in common with the next one.
static void from_behind(void **state) {
    (void)state;
    static table t;
    char text[1100];
    for (int chain = 70; chain < 90; chain += 3) {
        t = (table){0};
        for (int c = '!', n = 0; n < chain; c++)
            if (c != '"' && c != '\\') piece_of(&t, (char[]){(char)c, 0}), n++;
        for (int i = chain - 2; i >= 0; i--) assert_true(add_merge(&t, i, i + 1));
        for (int i = 0; i < 1100; i++) text[i] = t.piece[i % chain][0];
        drt_tokenizer *tok = open_table(&t);
        compare(&t, tok, text, 1100);
        drt_tokenizer_close(tok);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_merges), cmocka_unit_test(from_behind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
