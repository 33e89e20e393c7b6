#include "align/gps.h"

#include "align/assignment.h"
#include "base/memory.h"

#include <math.h>

drt_tensor *drt_gps_plan(drt_tape *t, int64_t width, const drt_gps_how *how, drt_tensor *scores, uint64_t noise) {
    const drt_soften soften = {1 / sqrtf((float)width), how->alpha, how->tau, how->bound, noise};
    return drt_sinkhorn_plan(t, &how->sinkhorn, drt_soften_scores(t, &soften, scores), NULL);
}

drt_status drt_gps_choose(drt_gps_choice how, drt_mat plan, int32_t *column, drt_error *err) {
    if (how == DRT_GPS_ASSIGNMENT) return drt_assign(plan, column, err);
    for (int64_t i = 0; i < plan.rows; i++) {
        const float *p = drt_row(plan, i);
        int64_t best = 0;
        for (int64_t j = 1; j < plan.cols; j++)
            if (p[j] > p[best]) best = j;
        column[i] = (int32_t)best;
    }
    return DRT_OK;
}

float drt_gps_tau(float first, float last, int64_t step, int64_t steps) {
    double progress = steps > 0 ? (double)step / (double)steps : 1;
    return (float)(last + 0.5 * (first - last) * (1 + cos(3.141592653589793 * fmin(progress, 1))));
}

// ---- as an input order ---------------------------------------------------------------------------------------------

// The rows of a batch that a permuter orders, sequence by sequence, and those that stay.
typedef struct {
    int sequences;
    int32_t *number;       // [sequences] which of the batch it is
    int32_t *offsets;      // [sequences + 1] into moved
    int32_t *moved, *kept; // rows; their places are the same rows
    int64_t n_kept;
} spans;

static bool has_picture(const drt_mixer_rows *rows, int32_t from, int32_t to) {
    for (int32_t r = from; r < to; r++)
        if (rows->visual[r] >= 0) return true;
    return false;
}

static bool find_spans(drt_tape *t, const drt_model *m, const drt_mixer_rows *rows, spans *out) {
    int32_t n = rows->offsets[rows->sequences], at = 0;
    int32_t *room = drt_tape_alloc(t, 2 * (int64_t)n + 2 * (int64_t)rows->sequences + 1, sizeof *room);
    if (!room) return false;
    *out = (spans){.number = room + 2 * (int64_t)n + rows->sequences + 1,
                   .offsets = room + 2 * (int64_t)n,
                   .moved = room,
                   .kept = room + n};
    for (int s = 0; s < rows->sequences; s++) {
        int32_t first = rows->offsets[s], end = first + rows->prompt[s], lead = drt_prompt_lead(m, rows, s);
        bool moves = end - lead > 1 && has_picture(rows, lead, end);
        for (int32_t r = first; r < rows->offsets[s + 1]; r++)
            if (moves && r >= lead && r < end) out->moved[at++] = r;
            else out->kept[out->n_kept++] = r;
        if (!moves) continue;
        out->number[out->sequences++] = s;
        out->offsets[out->sequences] = at;
    }
    return true;
}

// Memory of the plans, against what is free and what the tape holds unused.
static bool fits(drt_tape *t, const drt_permuter *g, const drt_gps_how *how, const spans *sp) {
    bool learns = drt_tape_recording(t);
    double rows = sp->offsets[sp->sequences], squares = 0, longest = 0;
    for (int s = 0; s < sp->sequences; s++) {
        double n = sp->offsets[s + 1] - sp->offsets[s];
        squares += n * n, longest = fmax(longest, n);
    }
    double need = drt_permuter_bytes(&g->shape, rows, squares, longest, how->sinkhorn.sweeps, learns),
           have = (double)drt_memory_free();
    if (have <= 0 || need <= have + (double)drt_tape_spare(t)) return true;
    drt_tape_fail(
        t, DRT_ENOMEM,
        "gps: ordering %d prompts of up to %.0f rows takes about %.1f GB and %.1f GB are free; %s, or turn the "
        "order off",
        sp->sequences, longest, need * 1e-9, have * 1e-9,
        learns ? "lower train.tokens or raise train.accumulate, lower data.context"
               : "ask fewer questions at a time (--batch), shorter ones");
    return false;
}

drt_status drt_gps_check(const drt_model *m, const drt_token_mixer *order, drt_error *err) {
    if (order->order != DRT_INPUT_GPS || m->extra.permuter) return DRT_OK;
    return drt_fail(err, DRT_ECONFIG, "%s has no permuter (gps.safetensors); train it with token_mixer.order=gps",
                    m->folder ? m->folder : "the model");
}

// The rows of one sequence in their order: x [n, d]. places: of `from` and `share`, numbered from the sequence's first.
static drt_tensor *permuted(drt_tape *t, const drt_permuter *g, const drt_gps_how *how, drt_tensor *scores,
                            uint64_t noise, drt_tensor *x, int32_t *from, float *share) {
    drt_error err = {0};
    drt_tensor *plan = drt_gps_plan(t, g->shape.width, how, scores, noise);
    if (!plan || drt_tape_failed(t, NULL)) return NULL;
    // Of mixed rows the largest share gives the marks, whatever will choose later.
    if (drt_gps_choose(how->hard ? how->choice : DRT_GPS_ARGMAX, plan->value, from, &err)) {
        drt_tape_fail(t, err.code, "gps: %s", err.text);
        return NULL;
    }
    for (int64_t i = 0; i < plan->value.rows; i++) share[i] = how->hard ? 1 : drt_row(plan->value, i)[from[i]];
    return drt_product(t, how->hard ? drt_one_hot(t, plan, from) : plan, x);
}

drt_tensor *drt_gps_arrange(drt_tape *t, const drt_model *m, const drt_gps_step *step, const drt_mixer_rows *rows,
                            drt_tensor *x, drt_gps_places *out) {
    const drt_permuter *g = m->extra.permuter;
    drt_error err = {0};
    spans sp;
    int32_t n = rows->offsets[rows->sequences];
    const drt_token_mixer order = {.order = DRT_INPUT_GPS};
    *out = (drt_gps_places){drt_tape_alloc(t, 2 * (int64_t)n, sizeof *out->from),
                            drt_tape_alloc(t, 2 * (int64_t)n, sizeof *out->share), 0, 0};
    if (!x || !out->from || !out->share || !find_spans(t, m, rows, &sp)) return NULL;
    if (drt_gps_check(m, &order, &err)) {
        drt_tape_fail(t, err.code, "%s", err.text);
        return NULL;
    }
    for (int32_t r = 0; r < n; r++) out->from[r] = r, out->share[r] = 1;
    if (!sp.sequences) return x;
    const drt_gps_how *how = step ? &step->how : &g->how;
    int64_t moved = sp.offsets[sp.sequences], d = x->value.cols;
    drt_tensor **scores = drt_tape_alloc(t, sp.sequences, sizeof *scores);
    drt_rows *source = drt_tape_alloc(t, sp.sequences + 1, sizeof *source);
    if (!scores || !source || !fits(t, g, how, &sp)) return NULL;
    drt_tensor *prompts = drt_select(t, x, sp.moved, moved);
    if (!drt_permuter_scores(t, g, prompts, sp.sequences, sp.offsets, step ? step->dropout : 0, scores)) return NULL;
    source[0] = (drt_rows){x, sp.kept, sp.kept, NULL, sp.n_kept};
    for (int s = 0; s < sp.sequences; s++) {
        int32_t at = sp.offsets[s], size = sp.offsets[s + 1] - at, *from = out->from + n;
        float *share = out->share + n;
        uint64_t noise =
            step && step->noise
                ? drt_hash((uint64_t[]){step->noise, (uint64_t)(step->first + sp.number[s])}, 2 * sizeof(uint64_t))
                : 0;
        drt_tensor *y = permuted(t, g, how, scores[s], noise, drt_part(t, prompts, at, size, 0, d), from, share);
        if (!y) return NULL;
        source[s + 1] = (drt_rows){y, sp.moved + at, NULL, NULL, size};
        for (int32_t i = 0; i < size; i++) {
            int32_t row = sp.moved[at + i];
            out->from[row] = sp.moved[at + from[i]];
            out->share[row] = share[i];
            out->moved += from[i] != i;
        }
    }
    out->movable = moved;
    return drt_gather(t, n, d, true, source, sp.sequences + 1);
}

const drt_batch *drt_gps_marks(drt_tape *t, const drt_batch *b, const drt_gps_places *places) {
    drt_batch *out = drt_tape_alloc(t, 1, sizeof *out);
    uint8_t *is_visual = drt_tape_alloc(t, b->rows, sizeof *is_visual);
    int32_t *seen = drt_tape_alloc(t, b->rows, sizeof *seen);
    if (!out || !is_visual || !seen) return NULL;
    for (int64_t r = 0; r < b->rows; r++) is_visual[r] = b->is_visual[places->from[r]];
    for (int s = 0; s < b->sequences; s++) {
        int32_t n = 0;
        for (int32_t r = b->offsets[s]; r < b->offsets[s + 1]; r++) n += is_visual[r];
        // A mean over no row: its mass is 0, whatever it is divided by.
        for (int32_t r = b->offsets[s]; r < b->offsets[s + 1]; r++) seen[r] = n > 0 ? n : 1;
    }
    // Words, selections and `responds` are of places, and the directed token's rows do not move.
    *out = *b;
    out->is_visual = is_visual;
    out->seen = seen;
    return out;
}
