#include "data/shuffle_words.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

char *drt_shuffle_words(const char *sentence, drt_rng *r) {
    size_t size = strlen(sentence), words = 0;
    int32_t *from = malloc((size + 1) * sizeof *from), *to = malloc((size + 1) * sizeof *to),
            *order = malloc((size + 1) * sizeof *order);
    char *out = malloc(size + 1), *p = out;
    if (from && to && order && out) {
        for (size_t i = 0; i < size;) {
            while (i < size && isspace((unsigned char)sentence[i])) i++;
            size_t start = i;
            while (i < size && !isspace((unsigned char)sentence[i])) i++;
            if (i > start) {
                from[words] = (int32_t)start;
                to[words] = (int32_t)i;
                order[words] = (int32_t)words;
                words++;
            }
        }
        drt_rng_shuffle(r, order, (int64_t)words);
        for (size_t k = 0; k < words; k++) {
            size_t n = (size_t)(to[order[k]] - from[order[k]]);
            if (k) *p++ = ' ';
            memcpy(p, sentence + from[order[k]], n);
            p += n;
        }
        *p = 0;
    } else {
        free(out);
        out = NULL;
    }
    free(from), free(to), free(order);
    return out;
}
