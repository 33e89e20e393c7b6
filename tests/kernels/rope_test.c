// Rotary positions. p = rows, heads, head size, inverse, pad, channels of a head that stay
#include "support/check.h"
#include "support/kernel_check.h"

enum { POSITIONS = 50 };
enum { P_X, P_TABLE, P_Y, P_WORK };

static void build(kcase *c) {
    int cols = c->p[1] * c->p[2];
    c->head_size = c->p[2], c->inverse = c->p[3], c->pad = c->p[4];
    karg_in(c, "x", c->p[0], cols)->raw = true; // copied: the kernel works in place
    // Random numbers will do for cosines and sines; the golden cases have real ones.
    karg_in(c, "table", POSITIONS, c->p[2] - c->p[5]);
    karg_out(c, "y", c->p[0], cols, 1);
    karg_work(c, "y of the loss", c->p[0], cols);
    c->index[0] = kcase_indices(c, "position", c->p[0], POSITIONS);
}
static void run(drt_device *dev, kcase *c) {
    kmat_copy(M(c, P_Y), M(c, P_X));
    dev->k->rope(dev, M(c, P_Y), c->index[0], M(c, P_TABLE), c->head_size, c->inverse);
}
static bool sweep(int i, int p[K_PARAMS]) {
    static const int rows[] = {0, 1, 7, 129}, heads[] = {1, 3}, inverse[] = {0, 1};
    static const int size[] = {2, 8, 20, 32, 48, 64, 80, 128};
    const int *const axis[] = {rows, heads, size, inverse};
    const int length[] = {4, 2, 8, 2};
    bool more = kgrid(i, p, 4, axis, length);
    p[4] = kchance(i, 0, 3);
    p[5] = p[2] > 2 ? 2 * kchance(i, 1, p[2] / 2) : 0;
    return more;
}
static bool other_way(kcase *c) { return c->inverse = !c->inverse, true; }
static bool positions_ignored(kcase *c) {
    c->index[0] = memset(kcase_alloc(c, (size_t)c->p[0] * sizeof(int32_t)), 0, (size_t)c->p[0] * sizeof(int32_t));
    return c->p[0] > 0;
}
static bool one_wide_head(kcase *c) { // pairs columns across heads
    if (c->p[1] != 2 || c->p[5]) return false;
    c->head_size *= 2;
    drt_mat wide = kmat_zeros(c, POSITIONS, c->head_size);
    for (int r = 0; r < POSITIONS; r++)
        for (int i = 0; i < c->head_size; i++) drt_row(wide, r)[i] = drt_row(c->arg[P_TABLE].m, r)[i % c->p[2]];
    return M(c, P_TABLE) = wide, true;
}
static bool whole_heads(kcase *c) { // channels that should stay turn, too
    if (!c->p[5]) return false;
    drt_mat wide = kmat_zeros(c, POSITIONS, c->p[2]), table = c->arg[P_TABLE].m;
    for (int r = 0; r < POSITIONS; r++)
        for (int i = 0; i < c->p[2]; i++) drt_row(wide, r)[i] = drt_row(table, r)[i % table.cols];
    return M(c, P_TABLE) = wide, true;
}
static const kwrong wrong[] = {other_way, positions_ignored, whole_heads, NULL},
                    golden_wrong[] = {other_way, one_wide_head, whole_heads, NULL};
static const ktest rope = {.name = "rope", .build = build, .run = run, .sweep = sweep, .wrong = wrong};
static const ktest rope_golden = {.name = "rope", .golden = true, .build = build, .run = run, .wrong = golden_wrong};

// The backward is the inverse turn: x holds dy, y becomes dx, and the loss turns an x of its own.
static void back_build(kcase *c) {
    build(c);
    c->inverse = true;
    karg_in(c, "x of the loss", c->p[0], c->p[1] * c->p[2])->raw = true;
}
static double loss(drt_device *dev, kcase *c) {
    kmat_copy(M(c, P_WORK), M(c, 4));
    dev->k->rope(dev, M(c, P_WORK), c->index[0], M(c, P_TABLE), c->head_size, false);
    return kmat_dot(M(c, P_WORK), M(c, P_X));
}
static bool slope_cases(int i, int p[K_PARAMS]) {
    return p[0] = 3, p[1] = 2, p[2] = i ? 8 : 2, p[5] = i == 2 ? 4 : 0, i < 3;
}
static const ktest rope_back = {.name = "rope_back",
                                .build = back_build,
                                .run = run,
                                .loss = loss,
                                .slope_case = slope_cases,
                                .slopes = 1,
                                .slope = {{4, P_Y}},
                                .wrong = wrong};

int main(void) {
    static const ktest *const tests[] = {&rope, &rope_golden, &rope_back};
    return kernel_suite("rope", tests, sizeof tests / sizeof *tests, NULL, 0);
}
