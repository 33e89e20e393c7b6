#include "align/token_mixer.h"

#include <string.h>

// A model without a tokenizer has its config's word for what is special.
static bool is_bos(const drt_model *m, int32_t id) {
    return id == (m->tokenizer ? drt_tokenizer_bos(m->tokenizer) : m->config.language.bos);
}

int32_t drt_prompt_lead(const drt_model *m, const drt_mixer_rows *rows, int s) {
    int32_t lead = rows->offsets[s], end = lead + rows->prompt[s];
    while (lead < end && rows->visual[lead] < 0 && (rows->token[lead] < 0 || is_bos(m, rows->token[lead]))) lead++;
    return lead;
}

static bool is_special(const drt_model *m, int32_t id) {
    if (m->tokenizer) return drt_tokenizer_is_special(m->tokenizer, id);
    return id == m->config.language.bos || id == m->config.language.eos;
}

// The rows of one sequence's prompt, by kind.
typedef struct {
    int32_t lead, end; // rows from the first one that may move on
    // Rows; text: those that may attract. Of a word that comes several times the first row alone, which would win in
    // any case: a product may round equal columns differently.
    int32_t *visual, *text;
    int visuals, texts;
} prompt;

static bool is_among(const int32_t *token, const int32_t *row, int n, int32_t id) {
    for (int i = 0; i < n; i++)
        if (token[row[i]] == id) return true;
    return false;
}

static void sort_rows(const drt_model *m, const drt_mixer_rows *rows, int s, prompt *p) {
    p->lead = drt_prompt_lead(m, rows, s);
    p->end = rows->offsets[s] + rows->prompt[s];
    p->visuals = p->texts = 0;
    for (int32_t r = p->lead; r < p->end; r++) {
        int32_t id = rows->token[r];
        if (rows->visual[r] >= 0) p->visual[p->visuals++] = r;
        else if (id >= 0 && !is_special(m, id) && !is_among(rows->token, p->text, p->texts, id))
            p->text[p->texts++] = r;
    }
}

// Rows of x of length 1, those that `index` names for each of `row`.
static drt_tensor *unit_rows(drt_tape *t, drt_tensor *x, const int32_t *index, const int32_t *row, int n) {
    int32_t *from = drt_tape_alloc(t, n, sizeof *from);
    for (int i = 0; from && i < n; i++) from[i] = index[row[i]];
    return from ? drt_unit_rows(t, drt_select(t, x, from, n)) : NULL;
}

// The most similar word of every visual token.
static bool match(drt_tape *t, const drt_model *m, const drt_token_mixer *how, const drt_mixer_rows *rows,
                  drt_tensor *seen, const prompt *p, drt_mixer_places *out) {
    drt_arena *arena = drt_tape_arena(t);
    size_t mark = drt_arena_mark(arena);
    // An embedding counts as it is stored: what a family multiplies it by leaves the angle alone.
    drt_tensor *v = unit_rows(t, seen, rows->visual, p->visual, p->visuals);
    drt_tensor *w = unit_rows(t, &m->language.embedding->tensor, rows->token, p->text, p->texts);
    drt_tensor *cosine = drt_linear(t, v, w, NULL); // [visuals, texts]
    for (int i = 0; cosine && i < p->visuals; i++) {
        const float *c = drt_row(cosine->value, i);
        int32_t row = p->visual[i];
        int best = 0;
        for (int k = 1; k < p->texts; k++)
            if (c[k] > c[best]) best = k;
        out->cosine[row] = c[best];
        if (c[best] >= how->tau) out->match[row] = p->text[best];
    }
    drt_arena_release(arena, mark);
    return cosine != NULL;
}

static void place(const drt_token_mixer *how, const drt_mixer_rows *rows, const prompt *p, int32_t *next,
                  drt_mixer_places *out) {
    int32_t at = p->lead;
    for (int32_t r = p->lead; r < p->end; r++) next[r] = 0;
    for (int i = 0; i < p->visuals; i++) {
        int32_t row = p->visual[i], word = out->match[row];
        if (word == DRT_MIXER_UNMATCHED) out->to[row] = at++;
        else next[word]++;
    }
    for (int32_t r = p->lead; r < p->end; r++) {
        if (rows->visual[r] >= 0) continue;
        int32_t own = next[r], before = how->side == DRT_MIXER_BEFORE;
        out->to[r] = before ? at + own : at;
        next[r] = before ? at : at + 1; // from here on: where this word's next visual token goes
        at += own + 1;
    }
    for (int i = 0; i < p->visuals; i++) {
        int32_t row = p->visual[i], word = out->match[row];
        if (word != DRT_MIXER_UNMATCHED) out->to[row] = next[word]++;
    }
}

bool drt_token_mixer_places(drt_tape *t, const drt_model *m, const drt_token_mixer *how, const drt_mixer_rows *rows,
                            const drt_tensor *seen, drt_mixer_places *out) {
    int32_t n = rows->offsets[rows->sequences];
    int32_t *kept = drt_tape_alloc(t, 5 * (int64_t)n, sizeof *kept), *next = kept + 4 * (int64_t)n;
    out->cosine = drt_tape_alloc(t, n, sizeof *out->cosine);
    if (!kept || !out->cosine) return false;
    out->to = kept, out->match = kept + n;
    prompt p = {.visual = kept + 2 * (int64_t)n, .text = kept + 3 * (int64_t)n};
    for (int32_t r = 0; r < n; r++) out->to[r] = r, out->match[r] = DRT_MIXER_UNMATCHED, out->cosine[r] = -1;
    if (!seen || how->order != DRT_INPUT_TOKEN_MIXER) return true;
    bool was = drt_tape_set_recording(t, false), ok = true;
    drt_tensor *fixed = drt_tensor_wrap(t, seen->value, false); // no gradient through the choice
    for (int s = 0; s < rows->sequences && ok; s++) {
        sort_rows(m, rows, s, &p);
        if (!p.visuals) continue;
        if (p.texts) ok = match(t, m, how, rows, fixed, &p, out);
        place(how, rows, &p, next, out);
    }
    drt_tape_set_recording(t, was);
    return ok;
}

// Rows that are read: the order head's go where their rows went; those that predict a word stay, because the word does.
static bool move_selection(drt_tape *t, const drt_batch *b, const int32_t *to, drt_batch *out) {
    int64_t orders = b->orders ? b->order_from[b->orders] : 0, n = 0;
    int32_t *rank = drt_tape_alloc(t, b->rows, sizeof *rank);
    uint8_t *picked = drt_tape_alloc(t, b->rows, sizeof *picked),
            *ordered = drt_tape_alloc(t, b->rows, sizeof *ordered);
    out->select = drt_tape_alloc(t, b->selected, sizeof *out->select);
    out->order_at = drt_tape_alloc(t, orders, sizeof *out->order_at);
    if (!rank || !picked || !ordered || !out->select || !out->order_at) return false;
    for (int64_t i = 0; i < orders; i++) ordered[b->select[b->order_at[i]]] = 1;
    for (int64_t i = 0; i < b->selected; i++) {
        int32_t row = b->select[i];
        picked[ordered[row] ? to[row] : row] = 1;
    }
    for (int64_t r = 0; r < b->rows; r++)
        if (picked[r]) rank[r] = (int32_t)n, out->select[n++] = (int32_t)r;
    out->selected = n;
    for (int64_t i = 0; i < orders; i++) out->order_at[i] = rank[to[b->select[b->order_at[i]]]];
    for (int k = 0; k < DRT_PASS_KINDS; k++) {
        drt_word_rows *w = &out->words[k];
        w->at = drt_tape_alloc(t, w->n, sizeof *w->at);
        if (!w->at) return false;
        for (int64_t i = 0; i < w->n; i++) w->at[i] = rank[b->select[b->words[k].at[i]]];
    }
    return true;
}

const drt_batch *drt_token_mixer_batch(drt_tape *t, const drt_model *m, const drt_token_mixer *how, const drt_batch *b,
                                       const drt_tensor *seen) {
    if (how->order != DRT_INPUT_TOKEN_MIXER || !b->images) return b;
    const drt_mixer_rows rows = {b->sequences, b->offsets, b->prompt, b->token, b->visual};
    drt_mixer_places places;
    if (!drt_token_mixer_places(t, m, how, &rows, seen, &places)) return NULL;
    drt_batch *out = drt_tape_alloc(t, 1, sizeof *out);
    int32_t *moved = drt_tape_alloc(t, 2 * b->rows, sizeof *moved);
    uint8_t *is_visual = drt_tape_alloc(t, b->rows, sizeof *is_visual);
    if (!out || !moved || !is_visual) return NULL;
    *out = *b;
    for (int64_t r = 0; r < b->rows; r++) {
        int32_t to = places.to[r];
        moved[to] = b->token[r];
        moved[b->rows + to] = b->visual[r];
        is_visual[to] = b->is_visual[r];
    }
    out->token = moved;
    out->visual = moved + b->rows;
    out->is_visual = is_visual;
    // position and reach belong to places; `responds` to rows that predict, which stay; `seen` is one a sequence.
    return move_selection(t, b, places.to, out) ? out : NULL;
}
