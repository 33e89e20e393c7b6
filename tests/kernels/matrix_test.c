// Products, row copies, sums: matmul col_sum copy_rows convert fill add scale sum sum_squares.
#include "support/check.h"
#include "support/kernel_check.h"

#include "base/half.h"

#include <math.h>

// ---- matmul: p = m, n, k, ta, tb, bias, acc, pad, type of a, type of b

static void matmul_build(kcase *c) {
    int m = c->p[0], n = c->p[1], k = c->p[2];
    c->ta = c->p[3], c->tb = c->p[4], c->acc = c->p[6], c->pad = c->p[7];
    karg_stored(c, karg_in(c, "a", c->ta ? k : m, c->ta ? m : k), (drt_dtype)c->p[8]);
    karg_stored(c, karg_in(c, "b", c->tb ? n : k, c->tb ? k : n), (drt_dtype)c->p[9]);
    if (c->p[5]) karg_in(c, "bias", 1, n);
    else karg_none(c, "bias");
    karg_sum(karg_acc(c, "c", m, n, k));
}
static void matmul_run(drt_device *dev, kcase *c) {
    dev->k->matmul(dev, c->ta, c->tb, M(c, 0), M(c, 1), M(c, 2), c->acc, M(c, 3));
}
static bool matmul_sweep(int i, int p[K_PARAMS]) {
    static const int m[] = {0, 1, 7, 31, 33, 64, 129}, n[] = {1, 13, 16, 65, 127}, k[] = {0, 1, 17, 63, 129};
    static const int flag[] = {0, 1};
    const int *const axis[] = {m, n, k, flag, flag};
    const int length[] = {7, 5, 5, 2, 2};
    p[5] = kchance(i, 0, 2), p[6] = kchance(i, 1, 2), p[7] = 3 * kchance(i, 2, 2);
    return kgrid(i, p, 5, axis, length);
}
// The same with 16-bit operands, around the number of rows from which on cpu expands them.
static bool half_sweep(int i, int p[K_PARAMS]) {
    static const int type[][2] = {{DRT_BF16, DRT_BF16},  {DRT_F32, DRT_F16},      {DRT_F32, DRT_BF16},
                                  {DRT_F16, DRT_F16},    {DRT_AS_BF16, DRT_BF16}, {DRT_AS_BF16, DRT_AS_BF16},
                                  {DRT_F16, DRT_AS_BF16}};
    static const int m[] = {0, 1, 3, 8, 9, 33, 100}, n[] = {1, 5, 16, 67, 127}, k[] = {0, 1, 17, 64, 129};
    static const int flag[] = {0, 1};
    const int *const axis[] = {m, n, k, flag, flag};
    const int length[] = {7, 5, 5, 2, 2};
    p[5] = kchance(i, 0, 2), p[6] = kchance(i, 1, 2), p[7] = 3 * kchance(i, 2, 2);
    memcpy(p + 8, type[kchance(i, 3, 7)], sizeof type[0]);
    return kgrid(i, p, 5, axis, length);
}
// Around the blocks in which cpu converts activations: of 1 and 2 times 127 rows with 1030 terms; of 256 rows and 512
// terms where a is transposed, with two threads a half each.
static bool blocks_sweep(int i, int p[K_PARAMS]) {
    static const int type[][2] = {{DRT_AS_BF16, DRT_BF16}, {DRT_AS_BF16, DRT_AS_BF16}, {DRT_BF16, DRT_AS_BF16}};
    static const int m[] = {127, 128, 255, 257, 701}, n[] = {7, 13}, k[] = {511, 513, 1030}, flag[] = {0, 1};
    const int *const axis[] = {m, n, k, flag, flag};
    const int length[] = {5, 2, 3, 2, 2};
    p[5] = kchance(i, 0, 2), p[6] = kchance(i, 1, 2), p[7] = 3 * kchance(i, 2, 2);
    memcpy(p + 8, type[kchance(i, 3, 3)], sizeof type[0]);
    return kgrid(i, p, 5, axis, length);
}
// Weights that do not fit in one panel, and reductions that are cut.
static bool panels_sweep(int i, int p[K_PARAMS]) {
    static const int shape[][4] = {{9, 2050, 4100}, {9, 130, 16400}, {9, 130, 16400, 1}, {2, 130, 16400}};
    static const int flag[] = {0, 1};
    static const int which[] = {0, 1, 2, 3};
    const int *const axis[] = {which, flag};
    const int length[] = {4, 2};
    int q[K_PARAMS] = {0};
    if (!kgrid(i, q, 2, axis, length)) return false;
    memcpy(p, shape[q[0]], sizeof shape[0]);
    p[4] = q[1], p[5] = kchance(i, 0, 2), p[6] = kchance(i, 1, 2);
    return p[8] = kchance(i, 2, 2) ? DRT_AS_BF16 : DRT_BF16, p[9] = DRT_BF16, true;
}
static bool wrong_acc(kcase *c) { return c->acc = !c->acc, true; }
static bool no_bias(kcase *c) { return M(c, 2).data ? M(c, 2).data = NULL, true : false; }
static bool not_transposed(kcase *c) { return c->tb = !c->tb, true; } // only where b is square
static bool last_term_missing(kcase *c) {
    if (!c->p[2] || c->ta) return false;
    M(c, 0).cols--;
    return true;
}
static const kwrong matmul_wrong[] = {wrong_acc, no_bias, last_term_missing, NULL};
static const ktest matmul = {.name = "matmul",
                             .golden = true,
                             .build = matmul_build,
                             .run = matmul_run,
                             .sweep = matmul_sweep,
                             .wrong = matmul_wrong};

static bool other_type(kcase *c) { // bf16 and f16 share their size
    drt_mat *b = &M(c, 1);
    if (drt_dtype_size(b->type) == 4 || !c->p[2]) return false;
    return b->type = b->type == DRT_BF16 ? DRT_F16 : DRT_BF16, true;
}
static bool not_rounded(kcase *c) {
    bool any = false;
    for (int i = 0; i < 2; i++)
        if (M(c, i).type == DRT_AS_BF16) M(c, i).type = DRT_F32, any = true;
    return any;
}
static const kwrong half_wrong[] = {wrong_acc, no_bias, last_term_missing, other_type, not_rounded, NULL};
static const ktest matmul_half = {.name = "matmul_half",
                                  .golden = true,
                                  .build = matmul_build,
                                  .run = matmul_run,
                                  .sweep = half_sweep,
                                  .wrong = half_wrong};
static const kwrong blocks_wrong[] = {wrong_acc, no_bias, not_rounded, NULL};
static const ktest blocks = {
    .name = "matmul_blocks", .build = matmul_build, .run = matmul_run, .sweep = blocks_sweep, .wrong = blocks_wrong};
static const kwrong panels_wrong[] = {other_type, NULL};
static const ktest panels = {
    .name = "matmul_panels", .build = matmul_build, .run = matmul_run, .sweep = panels_sweep, .wrong = panels_wrong};

// Square products are where a forgotten transpose does not run out of bounds. p as above, m = n = k.
static bool square_sweep(int i, int p[K_PARAMS]) {
    static const int flag[] = {0, 1};
    const int *const axis[] = {K_EDGES, flag, flag};
    const int length[] = {15, 2, 2};
    int q[K_PARAMS] = {0};
    if (!kgrid(i, q, 3, axis, length)) return false;
    p[0] = p[1] = p[2] = q[0], p[3] = q[1], p[4] = q[2], p[7] = kchance(i, 0, 2);
    return true;
}
static const kwrong square_wrong[] = {not_transposed, NULL};
static const ktest square = {
    .name = "matmul_square", .build = matmul_build, .run = matmul_run, .sweep = square_sweep, .wrong = square_wrong};

// ---- linear layer as the header spells it: p = rows, in, out, acc, pad

enum { L_X, L_W, L_B, L_DY, L_Y, L_DX, L_DW, L_DB, L_WORK };
static void linear_build(kcase *c) {
    int rows = c->p[0], in = c->p[1], out = c->p[2];
    c->acc = c->p[3], c->pad = c->p[4];
    karg_stored(c, karg_in(c, "x", rows, in), DRT_F32);
    karg_stored(c, karg_in(c, "w", out, in), DRT_F32);
    karg_in(c, "b", 1, out);
    karg_in(c, "dy", rows, out);
    karg_sum(karg_out(c, "y", rows, out, in));
    karg_sum(karg_acc(c, "dx", rows, in, out));
    karg_sum(karg_add(c, "dw", out, in, rows));
    karg_sum(karg_add(c, "db", 1, out, rows));
    karg_work(c, "y of the loss", rows, out);
}
static void linear_run(drt_device *dev, kcase *c) {
    dev->k->matmul(dev, false, true, M(c, L_X), M(c, L_W), M(c, L_B), false, M(c, L_Y));
    dev->k->matmul(dev, false, false, M(c, L_DY), M(c, L_W), (drt_mat){0}, c->acc, M(c, L_DX));
    dev->k->matmul(dev, true, false, M(c, L_DY), M(c, L_X), (drt_mat){0}, true, M(c, L_DW));
    dev->k->col_sum(dev, M(c, L_DY), true, M(c, L_DB));
}
static double linear_loss(drt_device *dev, kcase *c) {
    dev->k->matmul(dev, false, true, M(c, L_X), M(c, L_W), M(c, L_B), false, M(c, L_WORK));
    return kmat_dot(M(c, L_WORK), M(c, L_DY));
}
static bool linear_sweep(int i, int p[K_PARAMS]) {
    static const int rows[] = {0, 1, 33, 127}, in[] = {1, 20, 64}, out[] = {1, 31, 80};
    const int *const axis[] = {rows, in, out};
    const int length[] = {4, 3, 3};
    p[3] = kchance(i, 0, 2), p[4] = 5 * kchance(i, 1, 2);
    return kgrid(i, p, 3, axis, length);
}
static bool linear_slopes(int i, int p[K_PARAMS]) {
    static const int shape[][3] = {{5, 7, 3}, {1, 4, 9}};
    memcpy(p, shape[i % 2], sizeof shape[0]);
    return i < 2;
}
static const ktest linear = {.name = "linear",
                             .golden = true,
                             .build = linear_build,
                             .run = linear_run,
                             .sweep = linear_sweep,
                             .loss = linear_loss,
                             .slope_case = linear_slopes,
                             .slopes = 3,
                             .slope = {{L_X, L_DX}, {L_W, L_DW}, {L_B, L_DB}}};

// ---- col_sum: p = rows, cols, acc, pad

static void col_sum_build(kcase *c) {
    c->acc = c->p[2], c->pad = c->p[3];
    karg_in(c, "x", c->p[0], c->p[1]);
    karg_sum(karg_acc(c, "out", 1, c->p[1], c->p[0]));
}
static void col_sum_run(drt_device *dev, kcase *c) { dev->k->col_sum(dev, M(c, 0), c->acc, M(c, 1)); }
static bool edges_sweep(int i, int p[K_PARAMS]) {
    static const int rows[] = {0, 1, 2, 7, 31, 64, 129, 640};
    const int *const axis[] = {rows, K_EDGES};
    const int length[] = {8, 15};
    p[2] = kchance(i, 0, 2), p[3] = kchance(i, 1, 3);
    return kgrid(i, p, 2, axis, length);
}
static bool last_row_missing(kcase *c) { return M(c, 0).rows > 0 && M(c, 0).rows--; }
static const kwrong col_sum_wrong[] = {wrong_acc, last_row_missing, NULL};
static const ktest col_sum = {.name = "col_sum",
                              .golden = true,
                              .build = col_sum_build,
                              .run = col_sum_run,
                              .sweep = edges_sweep,
                              .wrong = col_sum_wrong};

// ---- copy_rows: p = rows of dst, rows of src, cols, n, flags, pad, type of src
// flags: 1 di, 2 si, 4 s, 8 acc, 16 some indices are negative. Without acc no destination repeats.

enum { WITH_DI = 1, WITH_SI = 2, WITH_S = 4, WITH_ACC = 8, WITH_SKIPS = 16 };
static void copy_rows_build(kcase *c) {
    int to = c->p[0], from = c->p[1], n = c->p[3], flags = c->p[4];
    c->acc = flags & WITH_ACC, c->n = n, c->pad = c->p[5];
    // Rows that the call does not name stay, so dst starts with numbers in either case.
    karg_sum(karg_add(c, "dst", to, c->p[2], c->acc ? n : 1));
    karg_stored(c, karg_in(c, "src", from, c->p[2]), (drt_dtype)c->p[6]);
    if (flags & WITH_S) karg_vector(c, "s", K_IN, n);
    else karg_none(c, "s");
    if (flags & WITH_DI) c->index[0] = kcase_indices(c, "di", n, to);
    if (flags & WITH_SI) c->index[1] = kcase_indices(c, "si", n, from);
    if (c->golden) return;
    for (int i = 0; i < n; i++) {
        if (c->index[0] && !c->acc) c->index[0][i] = (i * 7 + 3) % to; // 7 and the sizes of dst have no common factor
        if ((flags & WITH_SKIPS) && c->index[0] && i % 5 == 1) c->index[0][i] = -1;
        if ((flags & WITH_SKIPS) && c->index[1] && i % 4 == 3) c->index[1][i] = -1 - i;
    }
}
static void copy_rows_run(drt_device *dev, kcase *c) {
    dev->k->copy_rows(dev, M(c, 0), c->index[0], M(c, 1), c->index[1], kdata(c, 2), c->n, c->acc);
}
static bool copy_rows_sweep(int i, int p[K_PARAMS]) {
    static const int cols[] = {1, 7, 16, 33, 65, 128}, n[] = {0, 1, 13, 64, 300};
    static const int flags[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13,
                                14, 15, 17, 18, 19, 21, 22, 23, 25, 26, 27, 29, 30, 31};
    const int *const axis[] = {cols, n, flags};
    const int length[] = {6, 5, 28};
    int q[K_PARAMS] = {0};
    if (!kgrid(i, q, 3, axis, length)) return false;
    bool fewer = (q[2] & WITH_ACC) && (q[2] & WITH_DI); // many sources to few destinations
    p[0] = fewer ? 5 : q[1] + 1, p[1] = q[2] & WITH_SI ? 11 : q[1] + 1, p[2] = q[0], p[3] = q[1], p[4] = q[2];
    while (p[0] % 7 == 0) p[0]++;
    p[5] = kchance(i, 0, 3), p[6] = kchance(i, 1, 4);
    return true;
}
static bool no_factors(kcase *c) { return M(c, 2).data ? M(c, 2).data = NULL, c->n > 0 : false; }
static bool next_source(kcase *c) {
    if (!c->index[1] || !c->n) return false;
    int32_t *si = kcase_alloc(c, (size_t)c->n * sizeof *si);
    for (int64_t i = 0; i < c->n; i++) si[i] = c->index[1][i] < 0 ? -1 : (c->index[1][i] + 1) % (int32_t)M(c, 1).rows;
    return c->index[1] = si, true;
}
static bool skips_ignored(kcase *c) {
    if (!c->index[1] || !(c->p[4] & WITH_SKIPS) || c->golden) return false;
    int32_t *si = kcase_alloc(c, (size_t)c->n * sizeof *si);
    for (int64_t i = 0; i < c->n; i++) si[i] = c->index[1][i] < 0 ? 0 : c->index[1][i];
    return c->index[1] = si, c->n > 0;
}
static const kwrong copy_rows_wrong[] = {wrong_acc, no_factors, next_source, skips_ignored, NULL};
static const ktest copy_rows = {.name = "copy_rows",
                                .golden = true,
                                .build = copy_rows_build,
                                .run = copy_rows_run,
                                .sweep = copy_rows_sweep,
                                .wrong = copy_rows_wrong};

// Gather and its backward, scatter-add: y[i] = s[i] * x[index[i]], dx[index[i]] += s[i] * dy[i]. p = rows, n, cols

static void gather_build(kcase *c) {
    c->n = c->p[1];
    karg_in(c, "x", c->p[0], c->p[2]);
    karg_in(c, "dy", c->n, c->p[2]);
    karg_vector(c, "s", K_IN, c->n);
    karg_out(c, "y", c->n, c->p[2], 1);
    karg_sum(karg_add(c, "dx", c->p[0], c->p[2], c->p[1]));
    karg_work(c, "y of the loss", c->n, c->p[2]);
    c->index[0] = kcase_indices(c, "index", c->n, c->p[0]);
}
static void gather_run(drt_device *dev, kcase *c) {
    dev->k->copy_rows(dev, M(c, 3), NULL, M(c, 0), c->index[0], kdata(c, 2), c->n, false);
    dev->k->copy_rows(dev, M(c, 4), c->index[0], M(c, 1), NULL, kdata(c, 2), c->n, true);
}
static double gather_loss(drt_device *dev, kcase *c) {
    dev->k->copy_rows(dev, M(c, 5), NULL, M(c, 0), c->index[0], kdata(c, 2), c->n, false);
    return kmat_dot(M(c, 5), M(c, 1));
}
static bool gather_slopes(int i, int p[K_PARAMS]) { return p[0] = 4, p[1] = 9, p[2] = 3, i < 1; }
static const ktest gather = {.name = "gather",
                             .golden = true,
                             .build = gather_build,
                             .run = gather_run,
                             .loss = gather_loss,
                             .slope_case = gather_slopes,
                             .slopes = 1,
                             .slope = {{0, 4}}};

// ---- convert: p = rows, cols, type of x, pad. To f32 here, which is exact; to 16 bits below.

static void convert_build(kcase *c) {
    c->pad = c->p[3];
    karg_stored(c, karg_in(c, "x", c->p[0], c->p[1]), (drt_dtype)c->p[2]);
    karg_out(c, "y", c->p[0], c->p[1], 1)->any = true;
}
static void convert_run(drt_device *dev, kcase *c) { dev->k->convert(dev, M(c, 0), M(c, 1)); }
static bool convert_sweep(int i, int p[K_PARAMS]) {
    static const int rows[] = {0, 1, 2, 7, 64, 129}, type[] = {DRT_F32, DRT_BF16, DRT_F16, DRT_AS_BF16, DRT_AS_F16};
    const int *const axis[] = {rows, K_EDGES, type};
    const int length[] = {6, 15, 5};
    p[3] = kchance(i, 0, 3);
    return kgrid(i, p, 3, axis, length);
}
static bool wrong_type(kcase *c) {
    drt_mat *x = &M(c, 0);
    if (x->type == DRT_F32) return false;
    x->type = drt_dtype_size(x->type) == 4 ? DRT_F32 : x->type == DRT_BF16 ? DRT_F16 : DRT_BF16;
    return true;
}
static const kwrong convert_wrong[] = {wrong_type, NULL};
static const ktest convert = {
    .name = "convert", .build = convert_build, .run = convert_run, .sweep = convert_sweep, .wrong = convert_wrong};

// ---- fill, add, scale: p = rows, cols, acc, pad

static void fill_build(kcase *c) {
    c->pad = c->p[3], c->number = -1.25f;
    karg_out(c, "x", c->p[0], c->p[1], 1);
}
static void fill_run(drt_device *dev, kcase *c) { dev->k->fill(dev, M(c, 0), c->number); }
static bool other_number(kcase *c) { return c->number *= 1.01f, true; }
static const kwrong fill_wrong[] = {other_number, NULL};
static const ktest fill = {
    .name = "fill", .build = fill_build, .run = fill_run, .sweep = edges_sweep, .wrong = fill_wrong};

static void add_build(kcase *c) {
    c->pad = c->p[3];
    karg_in(c, "a", c->p[0], c->p[1]);
    c->pad = 2 * c->p[3];
    karg_in(c, "b", c->p[0], c->p[1]);
    karg_out(c, "y", c->p[0], c->p[1], 1);
}
static void add_run(drt_device *dev, kcase *c) { dev->k->add(dev, M(c, 0), M(c, 1), M(c, 2)); }
static bool one_twice(kcase *c) { return M(c, 1) = M(c, 0), true; }
static const kwrong add_wrong[] = {one_twice, NULL};
static const ktest add = {
    .name = "add", .golden = true, .build = add_build, .run = add_run, .sweep = edges_sweep, .wrong = add_wrong};

// y is a, or b
static void add_to_build(kcase *c) {
    c->pad = c->p[3];
    karg_in(c, "b", c->p[0], c->p[1]);
    karg_add(c, "y", c->p[0], c->p[1], 1);
}
static void add_to_run(drt_device *dev, kcase *c) {
    if (c->p[2]) dev->k->add(dev, M(c, 1), M(c, 0), M(c, 1));
    else dev->k->add(dev, M(c, 0), M(c, 1), M(c, 1));
}
static const ktest add_to = {.name = "add_in_place", .build = add_to_build, .run = add_to_run, .sweep = edges_sweep};

static void scale_build(kcase *c) {
    c->acc = c->p[2], c->pad = c->p[3], c->number = -0.7f;
    karg_in(c, "x", c->p[0], c->p[1]);
    karg_acc(c, "y", c->p[0], c->p[1], 1);
}
static void scale_run(drt_device *dev, kcase *c) { dev->k->scale(dev, c->number, M(c, 0), c->acc, M(c, 1)); }
static const kwrong scale_wrong[] = {wrong_acc, other_number, NULL};
static const ktest scale = {.name = "scale",
                            .golden = true,
                            .build = scale_build,
                            .run = scale_run,
                            .sweep = edges_sweep,
                            .wrong = scale_wrong};

static void drop_build(kcase *c) {
    c->acc = c->p[2], c->pad = c->p[3], c->number = 0.4f;
    karg_in(c, "x", c->p[0], c->p[1]);
    karg_acc(c, "y", c->p[0], c->p[1], 1);
}
static void drop_run(drt_device *dev, kcase *c) {
    dev->k->drop(dev, 0x123456789ABCDEFu, c->number, M(c, 0), c->acc, M(c, 1));
}
static const kwrong drop_wrong[] = {wrong_acc, other_number, NULL};
static const ktest drop = {
    .name = "drop", .build = drop_build, .run = drop_run, .sweep = edges_sweep, .wrong = drop_wrong};

// Masks: the share that is cleared, rows and columns and keys that have nothing to do with each other.
static void drop_is_fair(void **state) {
    (void)state;
    enum { N = 512 };
    uint32_t limit = drt_drop_limit(0.25f);
    int64_t cleared = 0, both[3] = {0};
    for (int r = 0; r < N; r++)
        for (int c = 0; c < N; c++) {
            bool here = drt_dropped(drt_drop_row(7, r), (uint32_t)c, limit);
            cleared += here;
            both[0] += here && drt_dropped(drt_drop_row(7, r + 1), (uint32_t)c, limit);
            both[1] += here && drt_dropped(drt_drop_row(7, r), (uint32_t)c + 1, limit);
            both[2] += here && drt_dropped(drt_drop_row(8, r), (uint32_t)c, limit);
        }
    // Five standard deviations of a share p of N*N.
    double n = (double)N * N;
    check(fabs((double)cleared / n - 0.25) < 5 * sqrt(0.25 * 0.75 / n));
    for (int i = 0; i < 3; i++) check(fabs((double)both[i] / n - 0.0625) < 5 * sqrt(0.0625 * 0.9375 / n));
}

// ---- sum, sum_squares: p = rows, cols, with factors, pad. They are double sums: rounded once, at the end.

static void sum_build(kcase *c) {
    c->pad = c->p[3];
    karg_in(c, "x", c->p[0], c->p[1]);
    if (c->p[2]) karg_vector(c, "s", K_IN, c->p[0]);
    else karg_none(c, "s");
    karg_vector(c, "sum", K_OUT, 1);
    karg_vector(c, "squares", K_OUT, 1);
}
static void sum_run(drt_device *dev, kcase *c) {
    double sum = NAN, squares = NAN;
    dev->k->sum(dev, M(c, 0), kdata(c, 1), &sum);
    dev->k->sum_squares(dev, M(c, 0), &squares);
    *kdata(c, 2) = (float)sum, *kdata(c, 3) = (float)squares;
}
static bool ones_for_factors(kcase *c) { return M(c, 1).data ? M(c, 1).data = NULL, true : false; }
static const kwrong sum_wrong[] = {last_row_missing, ones_for_factors, NULL};
static const ktest sum = {
    .name = "sum", .golden = true, .build = sum_build, .run = sum_run, .sweep = edges_sweep, .wrong = sum_wrong};

// 2^24 + 1 is where f32 stops counting.
static void sums_are_double(void **state) {
    const kdevices *all = *state;
    enum { N = 4096 };
    float *x = malloc(N * sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < N; i++) x[i] = i % 512 ? 1 : 16777216;
    for (int d = 0; d < all->count; d++) {
        drt_device *dev = all->at[d].dev;
        double out = 0;
        dev->k->sum(dev, drt_mat_f32(x, 64, 64), NULL, &out);
        assert_true(out == 8 * 16777216.0 + N - 8);
        dev->k->sum_squares(dev, drt_mat_f32(x, 64, 64), &out);
        assert_true(out == 8 * 16777216.0 * 16777216.0 + N - 8);
    }
    free(x);
}

// To 16 bits every device gives the bits of base/half.h, whatever the length, and writes nothing beside them.
static void conversion_rounds(void **state) {
    const kdevices *all = *state;
    enum { N = 4500, GUARD = 0xabcd };
    static const float special[] = {0,       -0.0f,    1,      1.00390625f, 1.01171875f, 65519, 65520,    1e30f,
                                    3.4e38f, INFINITY, 1e-40f, 6e-8f,       -2e-8f,      NAN,   -INFINITY};
    float *x = malloc(N * sizeof *x);
    uint16_t *y = malloc((N + 1) * sizeof *y), want;
    assert_non_null(x), assert_non_null(y);
    drt_rng rng;
    drt_rng_init(&rng, 5, 5);
    for (int i = 0; i < N; i++) x[i] = i < 15 ? special[i] : (float)(drt_rng_normal(&rng) * exp2(i % 40 - 20));
    for (int i = 0; i < 2 * 4 * all->count; i++) {
        drt_device *dev = all->at[i / 8].dev;
        drt_dtype type = i & 1 ? DRT_BF16 : DRT_F16;
        int64_t n = (int64_t[]){15, 33, 1000, N}[i / 2 % 4];
        for (int k = 0; k <= N; k++) y[k] = GUARD;
        dev->k->convert(dev, drt_mat_f32(x, 1, n), (drt_mat){y, 1, n, n, type});
        for (int64_t k = 0; k < n; k++) {
            want = type == DRT_BF16 ? drt_f32_to_bf16(x[k]) : drt_f32_to_f16(x[k]);
            if (y[k] != want) fail_msg("%s: %g became %04x, not %04x", all->at[i / 8].name, (double)x[k], y[k], want);
        }
        assert_int_equal(y[n], GUARD);
    }
    free(x), free(y);
}

// An index beyond the rows, a label beyond the classes, or numbers to be written rounded are refused at once.
static void arguments_are_checked(void **state) {
    const kdevices *all = *state;
    static const int32_t high[] = {0, 4, 1}, low[] = {0, -1, 1};
    float x[16] = {0}, y[16] = {0}, lse[4] = {0};
    drt_mat a = drt_mat_f32(x, 4, 4), b = drt_mat_f32(y, 4, 4), three = drt_mat_f32(x, 3, 4);
    drt_mat column = drt_mat_f32(lse, 3, 1);
    for (int i = 0; i < 8 * all->count; i++) {
        drt_device *dev = all->at[i / 8].dev;
        const drt_kernels *k = dev->k;
        if (i % 8 == 0) k->copy_rows(dev, b, high, a, NULL, NULL, 3, false);
        if (i % 8 == 1) k->copy_rows(dev, b, NULL, a, high, NULL, 3, true);
        if (i % 8 == 2) k->rope(dev, three, high, b, 4, false);
        if (i % 8 == 3) k->rope(dev, three, low, b, 4, true);
        if (i % 8 == 4) k->cross_entropy(dev, three, high, column, column, NULL);
        if (i % 8 == 5) k->cross_entropy(dev, three, low, column, column, NULL);
        if (i % 8 == 6) k->cross_entropy_back(dev, three, low, column, lse);
        if (i % 8 == 7) k->convert(dev, a, (drt_mat){y, 4, 4, 4, DRT_AS_BF16});
        if (dev->error.code != DRT_EARG) fail_msg("%s: call %d was not refused", all->at[i / 8].name, i % 8);
        dev->error = (drt_error){0};
    }
}

int main(void) {
    static const ktest *const tests[] = {&matmul,  &matmul_half, &blocks, &panels,  &square, &linear,
                                         &col_sum, &copy_rows,   &gather, &convert, &fill,   &add,
                                         &add_to,  &scale,       &drop,   &sum};
    const struct CMUnitTest extra[] = {cmocka_unit_test(sums_are_double), cmocka_unit_test(arguments_are_checked),
                                       cmocka_unit_test(conversion_rounds), cmocka_unit_test(drop_is_fair)};
    return kernel_suite("matrix", tests, sizeof tests / sizeof *tests, extra, 4);
}
