// Varlen attention with the guided mass, and its gradient.
// p = layout, heads, key heads, head size, reach, flags, pad
#include "support/check.h"
#include "support/kernel_check.h"

#include <math.h>

enum { EVERYTHING, CAUSAL, ANY, REACHES }; // reach: NULL; 1, 2, 3, ...; some non-descending numbers from 0 on
enum { VISUAL = 1, DMASS = 2, ACC = 4, NO_LSE = 8, NO_DQ = 8, NO_DK = 16, NO_DV = 32 };

typedef struct {
    int n, q[4], k[4];
} layout;
static const layout LAYOUT[] = {
    {1, {5}, {5}},
    {0, {0}, {0}},
    {1, {1}, {1}},
    {2, {1, 1}, {7, 1}},
    {4, {7, 0, 13, 1}, {7, 0, 13, 1}},
    {3, {0, 5, 4}, {6, 0, 4}},    // keys without queries, queries without keys
    {3, {1, 3, 1}, {37, 40, 64}}, // from a cache
    {4, {31, 64, 17, 33}, {31, 64, 17, 33}},
    {2, {9, 4}, {129, 65}},
    {1, {15}, {15}},
    {1, {16}, {16}},
    {1, {17}, {17}},
    {1, {31}, {31}},
    {1, {32}, {32}},
    {1, {33}, {33}},
    {1, {63}, {63}},
    {1, {64}, {64}},
    {1, {65}, {65}},
    {1, {67}, {67}},
    {1, {127}, {127}},
    {1, {129}, {129}},
    {2, {127, 3}, {127, 130}},
    {1, {640}, {640}},
    // from here on with wide heads alone
    {4, {96, 0, 97, 65}, {33, 12, 97, 65}},
    {1, {257}, {40}},
    {2, {70, 64}, {5, 0}},
};
enum { WIDE = sizeof LAYOUT / sizeof *LAYOUT - 3, LAYOUTS = WIDE, LARGE = LAYOUTS - 1, MIXED = 7 };

static int rows_of(const int32_t *offsets, const kcase *c) { return offsets[c->att.sequences]; }

static const int32_t *offsets_of(kcase *c, const char *name, const int length[4]) {
    int32_t *at = kcase_indices(c, name, c->att.sequences + 1, 1);
    for (int s = 0; s < c->att.sequences && !c->golden; s++) at[s + 1] = at[s] + length[s];
    return at;
}

static const int32_t *reach_of(kcase *c) {
    const drt_attention *a = &c->att;
    if (c->p[4] == EVERYTHING) return NULL;
    int32_t *reach = kcase_indices(c, "reach", rows_of(a->q_offsets, c), 4);
    for (int s = 0; s < a->sequences && !c->golden; s++) {
        int queries = a->q_offsets[s + 1] - a->q_offsets[s], keys = a->k_offsets[s + 1] - a->k_offsets[s], seen = 0;
        for (int i = 0; i < queries; i++) {
            int32_t *at = &reach[a->q_offsets[s] + i];
            // Mostly short steps, now and then a leap, no step at all for a while.
            seen += *at < 3 ? *at : 11;
            *at = c->p[4] == CAUSAL ? keys - queries + i + 1 : seen;
            if (*at > keys) *at = keys;
            if (*at < 0) *at = 0;
        }
    }
    return reach;
}

static const uint8_t *visual_of(kcase *c) {
    int keys = rows_of(c->att.k_offsets, c);
    if (!(c->p[5] & VISUAL)) return NULL;
    int32_t *wide = kcase_indices(c, "visual", keys, 2);
    uint8_t *visual = kcase_alloc(c, (size_t)keys);
    for (int i = 0; i < keys; i++) visual[i] = wide[i] ? 1 + i % 3 : 0; // nonzero is what counts
    if (c->golden || c->att.sequences < 2) return visual;
    int from = c->att.k_offsets[1], to = c->att.k_offsets[2];
    memset(visual + from, 0, (size_t)(to - from)); // a text without image
    return visual;
}

static void describe(kcase *c) {
    drt_attention *a = &c->att;
    static const int none[4] = {0};
    a->sequences = c->golden ? c->p[0] : LAYOUT[c->p[0]].n;
    a->q_offsets = offsets_of(c, "q_offsets", c->golden ? none : LAYOUT[c->p[0]].q);
    a->k_offsets = offsets_of(c, "k_offsets", c->golden ? none : LAYOUT[c->p[0]].k);
    a->heads = c->p[1], a->kv_heads = c->p[2], a->head_size = c->p[3];
    a->scale = (float)(1 / sqrt(a->head_size));
    a->reach = reach_of(c), a->visual = visual_of(c);
    c->acc = c->p[5] & ACC, c->pad = c->p[6];
}

static double longest(const kcase *c) { // the longest sum: over keys, and in the scores over the head
    int most = 0;
    for (int s = 0; s < c->att.sequences; s++) {
        int keys = c->att.k_offsets[s + 1] - c->att.k_offsets[s];
        if (keys > most) most = keys;
    }
    return most + c->att.head_size;
}

// ---- what wrong kernels do

static bool small(const kcase *c) { return rows_of(c->att.q_offsets, c) <= 40; } // they run on ref: keep it quick
static bool other_scale(kcase *c) { return c->att.scale *= 1.1f, small(c); }
static bool one_key_less(kcase *c) {
    if (!c->att.reach || !small(c)) return false;
    int n = rows_of(c->att.q_offsets, c);
    int32_t *reach = kcase_alloc(c, (size_t)n * sizeof *reach);
    for (int i = 0; i < n; i++) reach[i] = c->att.reach[i] > 1 ? c->att.reach[i] - 1 : c->att.reach[i];
    return c->att.reach = reach, true;
}
static bool sees_future(kcase *c) { return c->att.reach && small(c) ? c->att.reach = NULL, true : false; }
static bool first_key_head(kcase *c) { return c->att.kv_heads > 1 && small(c) ? c->att.kv_heads = 1, true : false; }
static bool other_visual(kcase *c) {
    if (!c->att.visual || !small(c)) return false;
    int n = rows_of(c->att.k_offsets, c);
    uint8_t *visual = kcase_alloc(c, (size_t)n);
    for (int i = 0; i < n; i++) visual[i] = !c->att.visual[i];
    return c->att.visual = visual, true;
}
static bool one_sequence(kcase *c) {
    if (c->att.reach || c->att.sequences < 2 || !small(c)) return false;
    int32_t *at = kcase_alloc(c, 4 * sizeof *at);
    at[0] = at[2] = 0, at[1] = rows_of(c->att.q_offsets, c), at[3] = rows_of(c->att.k_offsets, c);
    return c->att.sequences = 1, c->att.q_offsets = at, c->att.k_offsets = at + 2, true;
}

// ---- forward

enum { F_Q, F_K, F_V, F_OUT, F_LSE, F_MASS };
static void build(kcase *c) {
    describe(c);
    const drt_attention *a = &c->att;
    int q = rows_of(a->q_offsets, c), k = rows_of(a->k_offsets, c);
    double n = longest(c);
    karg_in(c, "q", q, a->heads * a->head_size);
    karg_in(c, "k", k, a->kv_heads * a->head_size);
    karg_in(c, "v", k, a->kv_heads * a->head_size);
    karg_out(c, "out", q, a->heads * a->head_size, n);
    karg *lse = karg_out(c, "lse", q, a->heads, n);
    if (c->p[5] & NO_LSE) karg_drop(lse);
    if (a->visual) karg_out(c, "mass", q, a->heads, n);
    else karg_none(c, "mass");
}
static void run(drt_device *dev, kcase *c) {
    dev->k->attention(dev, &c->att, M(c, F_Q), M(c, F_K), M(c, F_V), M(c, F_OUT), M(c, F_LSE), M(c, F_MASS));
}

// Every layout and reach with heads drawn; then every head size and grouping on one layout of several sequences.
static bool layouts(int i, int p[K_PARAMS], int flags) {
    static const int heads[][2] = {{1, 1}, {2, 2}, {2, 1}, {4, 2}, {4, 1}}, size[] = {1, 8, 20, 32, 48, 64, 80, 128};
    int first = LAYOUTS * REACHES * 4, h = kchance(i, 0, 5), s = kchance(i, 1, 8);
    p[0] = i % LAYOUTS, p[4] = i / LAYOUTS % REACHES;
    p[5] = kchance(i, 2, flags + 1), p[6] = 3 * kchance(i, 3, 2);
    if (p[0] == LARGE) {
        h = 2, s = 3, p[5] &= VISUAL | DMASS;
        if (i >= LAYOUTS * REACHES) p[0] = 0; // once is enough
    }
    if (i >= first) {
        int j = i - first;
        p[0] = MIXED - j % 2 * 3, p[4] = 1 - j % 2, s = j % 8, h = j / 8;
    }
    p[1] = heads[h % 5][0], p[2] = heads[h % 5][1], p[3] = size[s];
    // Heads as wide as a model, on either side of where a block of rows ends.
    static const int wide[][2] = {{520, WIDE}, {512, WIDE + 1}, {600, WIDE + 2}};
    int j = i - first - 5 * 8;
    if (j >= 0)
        p[0] = wide[j % 3][1], p[3] = wide[j % 3][0], p[4] = j / 3 % REACHES, p[1] = heads[j % 5][0],
        p[2] = heads[j % 5][1];
    return j < 3 * REACHES * 2;
}
static bool sweep(int i, int p[K_PARAMS]) {
    bool more = layouts(i, p, 15);
    p[5] &= VISUAL | (kchance(i, 4, 4) ? 0 : NO_LSE);
    return more;
}
static const kwrong wrong[] = {other_scale,  one_key_less, sees_future, first_key_head,
                               other_visual, one_sequence, NULL};
static const ktest attention = {
    .name = "attention", .golden = true, .build = build, .run = run, .sweep = sweep, .wrong = wrong};

// ---- backward

enum { B_Q, B_K, B_V, B_OUT, B_LSE, B_MASS, B_DOUT, B_DMASS, B_DQ, B_DK, B_DV, B_OUT_WORK, B_MASS_WORK };
static void back_build(kcase *c) {
    describe(c);
    const drt_attention *a = &c->att;
    int q = rows_of(a->q_offsets, c), k = rows_of(a->k_offsets, c), wide = a->heads * a->head_size;
    int narrow = a->kv_heads * a->head_size, flags = c->p[5];
    double n = longest(c), queries = (double)q * a->heads / a->kv_heads + a->head_size;
    karg_in(c, "q", q, wide);
    karg_in(c, "k", k, narrow);
    karg_in(c, "v", k, narrow);
    karg_later(c, "out", q, wide);
    karg_later(c, "lse", q, a->heads);
    if (a->visual) karg_later(c, "mass", q, a->heads);
    else karg_none(c, "mass");
    karg_in(c, "dout", q, wide);
    if (a->visual && (flags & DMASS)) karg_in(c, "dmass", q, a->heads);
    else karg_none(c, "dmass");
    karg *dq = karg_acc(c, "dq", q, wide, n);
    karg *dk = karg_acc(c, "dk", k, narrow, queries), *dv = karg_acc(c, "dv", k, narrow, queries);
    if (flags & NO_DQ) karg_drop(dq);
    if (flags & NO_DK) karg_drop(dk);
    if (flags & NO_DV) karg_drop(dv);
    karg_work(c, "out of the loss", q, wide);
    if (a->visual) karg_work(c, "mass of the loss", q, a->heads);
    else karg_none(c, "mass of the loss");
}
static void back_prepare(drt_device *dev, kcase *c) {
    dev->k->attention(dev, &c->att, M(c, B_Q), M(c, B_K), M(c, B_V), M(c, B_OUT), M(c, B_LSE), M(c, B_MASS));
}
static void back_run(drt_device *dev, kcase *c) {
    dev->k->attention_back(dev, &c->att, M(c, B_Q), M(c, B_K), M(c, B_V), M(c, B_OUT), M(c, B_LSE), M(c, B_MASS),
                           M(c, B_DOUT), M(c, B_DMASS), c->acc, M(c, B_DQ), M(c, B_DK), M(c, B_DV));
}
static double back_loss(drt_device *dev, kcase *c) {
    dev->k->attention(dev, &c->att, M(c, B_Q), M(c, B_K), M(c, B_V), M(c, B_OUT_WORK), (drt_mat){0}, M(c, B_MASS_WORK));
    double loss = kmat_dot(M(c, B_OUT_WORK), M(c, B_DOUT));
    return M(c, B_DMASS).data ? loss + kmat_dot(M(c, B_MASS_WORK), M(c, B_DMASS)) : loss;
}
static bool back_sweep(int i, int p[K_PARAMS]) {
    bool more = layouts(i, p, 7);
    if (p[0] != LARGE && !kchance(i, 5, 4)) p[5] |= 8 * kchance(i, 6, 8);
    return more;
}
static bool slope_cases(int i, int p[K_PARAMS]) {
    static const int at[][6] = {{0, 1, 1, 8, CAUSAL, 0},
                                {3, 4, 2, 5, EVERYTHING, VISUAL | DMASS},
                                {0, 2, 1, 20, CAUSAL, VISUAL | DMASS},
                                {5, 2, 2, 4, ANY, VISUAL | DMASS},
                                {4, 2, 1, 3, ANY, VISUAL}};
    memcpy(p, at[i % 5], sizeof at[0]);
    return i < 5;
}
static bool wrong_acc(kcase *c) { return c->acc = !c->acc, small(c); }
static bool no_mass_term(kcase *c) { return M(c, B_DMASS).data && small(c) ? M(c, B_DMASS).data = NULL, true : false; }
static bool mass_not_centred(kcase *c) { // dmass * visual instead of dmass * (visual - mass)
    if (!M(c, B_DMASS).data || !small(c)) return false;
    return M(c, B_MASS) = kmat_zeros(c, M(c, B_MASS).rows, M(c, B_MASS).cols), true;
}
static bool no_row_term(kcase *c) { // dout . v instead of dout . v - dout . out
    return M(c, B_OUT) = kmat_zeros(c, M(c, B_OUT).rows, M(c, B_OUT).cols), small(c);
}
static const kwrong back_wrong[] = {other_scale,  one_key_less, sees_future,  first_key_head,
                                    one_sequence, other_visual, no_mass_term, mass_not_centred,
                                    no_row_term,  wrong_acc,    NULL};
static const ktest attention_back = {.name = "attention_back",
                                     .golden = true,
                                     .build = back_build,
                                     .prepare = back_prepare,
                                     .run = back_run,
                                     .sweep = back_sweep,
                                     .loss = back_loss,
                                     .slope_case = slope_cases,
                                     .slopes = 3,
                                     .slope = {{B_Q, B_DQ}, {B_K, B_DK}, {B_V, B_DV}},
                                     .wrong = back_wrong};

// A row that sees one key has nothing to choose from: its score has no gradient, not even one of rounding.
static void single_keys(void **state) {
    const kdevices *all = *state;
    enum { ROWS = 70, HEADS = 2, MOST = 128 };
    static const int sizes[] = {5, 8, 20, 64, MOST};
    static float at[10][ROWS * HEADS * MOST];
    int32_t offsets[2] = {0, ROWS}, reach[ROWS];
    drt_rng r;
    drt_rng_init(&r, 7, 0);
    for (int i = 0; i < ROWS; i++) reach[i] = 1;
    for (int d = 0; d < all->count; d++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            drt_device *dev = all->at[d].dev;
            const drt_attention a = {.q_offsets = offsets,
                                     .k_offsets = offsets,
                                     .reach = reach,
                                     .sequences = 1,
                                     .heads = HEADS,
                                     .kv_heads = HEADS,
                                     .head_size = sizes[s],
                                     .scale = 1 / sqrtf((float)sizes[s])};
            int64_t cols = HEADS * sizes[s];
            drt_mat q = drt_mat_f32(at[0], ROWS, cols), k = drt_mat_f32(at[1], ROWS, cols),
                    v = drt_mat_f32(at[2], ROWS, cols), out = drt_mat_f32(at[3], ROWS, cols),
                    dout = drt_mat_f32(at[4], ROWS, cols), dq = drt_mat_f32(at[5], ROWS, cols),
                    dk = drt_mat_f32(at[6], ROWS, cols), dv = drt_mat_f32(at[7], ROWS, cols),
                    lse = drt_mat_f32(at[8], ROWS, HEADS), none = {0};
            for (int m = 0; m < 5; m++)
                for (int64_t i = 0; i < ROWS * cols; i++) at[m][i] = (float)drt_rng_normal(&r);
            dev->k->attention(dev, &a, q, k, v, out, lse, none);
            dev->k->attention_back(dev, &a, q, k, v, out, lse, none, dout, none, false, dq, dk, dv);
            assert_int_equal(dev->error.code, DRT_OK);
            for (int64_t i = 0; i < ROWS * cols; i++)
                if (at[5][i] || at[6][i]) fail_msg("%s, head size %d: a gradient", all->at[d].name, sizes[s]);
            check(at[7][0] != 0); // the first key's value has one
        }
}

int main(void) {
    static const ktest *const tests[] = {&attention, &attention_back};
    static const struct CMUnitTest extra[] = {cmocka_unit_test(single_keys)};
    return kernel_suite("attention", tests, sizeof tests / sizeof *tests, extra, 1);
}
