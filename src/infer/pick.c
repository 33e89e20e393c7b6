#include "infer/pick.h"

#include "data/conversation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void end_at(drt_picker *p, int id) {
    if (id >= 0 && id < p->n) p->ends[id] = 1;
}

drt_status drt_picker_new(drt_picker *p, const drt_model *m, const char *const *stop, int stops, drt_error *err) {
    int n = m->config.language.vocab;
    *p = (drt_picker){n, calloc((size_t)n, 1), calloc((size_t)n, 1), calloc((size_t)n, sizeof *p->entry)};
    if (!p->banned || !p->ends || !p->entry) {
        drt_picker_free(p);
        return drt_fail(err, DRT_ENOMEM, "no memory to choose among %d tokens", n);
    }
    end_at(p, m->config.language.eos);
    for (int k = 0; k < m->config.language.more_eos; k++) end_at(p, m->config.language.also_eos[k]);
    if (m->tokenizer) end_at(p, drt_tokenizer_eos(m->tokenizer));
    for (int k = 0; k < stops && m->tokenizer; k++) {
        int id = drt_tokenizer_id(m->tokenizer, stop[k]);
        if (drt_tokenizer_is_special(m->tokenizer, id)) end_at(p, id);
    }
    for (int id = 0; id < n; id++) {
        if (p->ends[id]) continue;
        bool unknown =
            m->tokenizer && (id >= drt_tokenizer_size(m->tokenizer) || !drt_tokenizer_piece(m->tokenizer, id));
        p->banned[id] = unknown || (m->tokenizer && drt_tokenizer_is_special(m->tokenizer, id));
    }
    int image = m->tokenizer ? drt_tokenizer_id(m->tokenizer, DRT_IMAGE_PLACEHOLDER) : m->config.image_token;
    if (m->config.kind == DRT_MODEL_LLAVA && image >= 0 && image < n) p->banned[image] = 1; // special or not
    return DRT_OK;
}

void drt_picker_free(drt_picker *p) {
    free(p->banned);
    free(p->ends);
    free(p->entry);
    *p = (drt_picker){0};
}

static int by_probability(const void *a, const void *b) {
    const drt_pick_entry *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

// Fills entry with the probabilities of all allowed tokens; returns how many.
static int softmax(drt_picker *p, const float *logits, double most, double temperature) {
    double sum = 0;
    int n = 0;
    for (int id = 0; id < p->n; id++) {
        if (p->banned[id]) continue;
        double e = exp(((double)logits[id] - most) / temperature);
        p->entry[n++] = (drt_pick_entry){e, id};
        sum += e;
    }
    for (int i = 0; i < n; i++) p->entry[i].p /= sum;
    return n;
}

// Keeps the nucleus, most likely first. Tokens under (1 - top_p)/n have less than 1 - top_p together, so none of them
// is in it: they need not be sorted.
static int nucleus(drt_picker *p, int n, double top_p) {
    const double least = (1 - top_p) / n;
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (p->entry[i].p >= least) p->entry[kept++] = p->entry[i];
    qsort(p->entry, (size_t)kept, sizeof *p->entry, by_probability);
    double sum = 0;
    for (int i = 0; i < kept; i++) {
        sum += p->entry[i].p;
        if (sum >= top_p) return i + 1;
    }
    return kept;
}

int32_t drt_pick(drt_picker *p, const float *logits, double temperature, double top_p, drt_rng *r) {
    int32_t best = -1;
    for (int id = 0; id < p->n; id++) {
        if (p->banned[id]) continue;
        if (isnan(logits[id])) return -1;
        if (best < 0 || logits[id] > logits[best]) best = id;
    }
    if (best < 0 || !isfinite(logits[best])) return -1;
    if (!(temperature > 0)) return best;
    int n = softmax(p, logits, logits[best], temperature);
    if (top_p > 0 && top_p < 1) n = nucleus(p, n, top_p);
    double sum = 0;
    for (int i = 0; i < n; i++) sum += p->entry[i].p;
    double left = drt_rng_uniform(r) * sum;
    for (int i = 0; i < n; i++) {
        left -= p->entry[i].p;
        if (left < 0) return p->entry[i].id;
    }
    return best; // only rounding leads here
}
