#include "eval/word_search.h"

#include <math.h>

// Puts a word into the descending list of a row, from behind.
static void put(int32_t *word, float *score, int most, int32_t w, float s) {
    int at = most - 1;
    for (; at > 0 && (word[at - 1] < 0 || s > score[at - 1]); at--) word[at] = word[at - 1], score[at] = score[at - 1];
    word[at] = w, score[at] = s;
}

drt_status drt_word_search(drt_tape *t, drt_tensor *x, const drt_word_rows_of *of, bool negated, float least, int most,
                           int32_t *word, float *score, drt_error *err) {
    const int chunk = of->chunk > 0 ? of->chunk : 1024;
    drt_arena *arena = drt_tape_arena(t);
    bool was = drt_tape_set_recording(t, false);
    drt_status status = drt_tape_failed(t, err);
    const int64_t rows = status || !x ? 0 : x->value.rows;
    for (int64_t i = 0; i < rows * most; i++) word[i] = -1, score[i] = 0;
    for (int64_t from = 0; !status && from < of->words; from += chunk) {
        size_t mark = drt_arena_mark(arena);
        int n = (int)(of->words - from < chunk ? of->words - from : chunk);
        drt_error why = {0};
        drt_tensor *cosine = drt_linear(t, x, of->rows(of->user, t, from, n, &why), NULL); // [rows, n]
        if (why.code) status = drt_fail(err, why.code, "%s", why.text);
        else status = drt_tape_failed(t, err);
        for (int64_t r = 0; !status && cosine && r < rows; r++) {
            const float *c = drt_row(cosine->value, r);
            int32_t *w = word + r * most;
            float *s = score + r * most, worst = w[most - 1] < 0 ? least : s[most - 1];
            for (int k = 0; k < n; k++) {
                float own = negated ? -c[k] : c[k];
                if (!(own > worst)) continue;
                put(w, s, most, (int32_t)(from + k), own);
                worst = w[most - 1] < 0 ? least : s[most - 1];
            }
        }
        drt_arena_release(arena, mark);
    }
    drt_tape_set_recording(t, was);
    return status;
}
