// Packs op(b), all threads together, then multiplies strips of rows of op(a) with it, each packed by the thread that
// needs it. Blocks are chosen for 48 KB of first cache and 2 MB of second:
//
//   a strip of a    [12 rows][256 terms], each number twice in a 32-bit word (a broadcast of 32 bits is one load,
//                   one of 16 bits takes a shuffle, too): 12 KB, in the first cache
//   a panel of b    [256 terms][64 columns]: 32 KB, read from the second cache at 128 bytes for 24 multiply-adds
//   a tile of c     12 x 64 sums in f16: 24 of 32 registers
//   their totals    up to 256 tiles in f32, in the second cache until all terms are in: c itself is read and written
//   once
#include "kernels/cpu/f16.h"

#include "kernels/cpu/cpu.h"

#if defined __x86_64__ && (__GNUC__ >= 12 || __clang_major__ >= 14)

#include <immintrin.h>

#define FP16 __attribute__((target("avx512fp16,avx512bw,avx512vl,avx512dq")))
#define INLINE static inline __attribute__((always_inline)) FP16

enum {
    ROWS = 12,          // of a tile
    COLS = 64,          // likewise
    DEPTH = 256,        // terms of a block of the reduction, at most
    RUN = 64,           // terms that are summed in f16
    STRIDE = 272,       // words from row to row of a strip: the rows' lines spread over the sets of the first cache
    STRIP = DEPTH * 16, // words of a strip in either layout
    GROUP = 8,          // strips that are packed together where rows of op(a) are columns of a
    RUNS = DEPTH / RUN,
    BACK = RUNS * ROWS, // factors of a strip
    AHEAD = 16,         // rows that are asked for ahead while others are packed
    NEAR = 24,          // rows of a panel, from the second cache to the first
    TILES = 256,        // of sums that stay in the second cache: 768 KB
    WIDE = 2048,        // columns of op(b) that are packed at a time
    PACKED = 1 << 21    // numbers of op(b) that are packed at a time, at most
};
_Static_assert(STRIP >= ROWS * STRIDE, "a strip holds its rows");

bool drt_f16_is_fast(void) { return __builtin_cpu_supports("avx512fp16"); }

// A block of columns [first, first + cols) and of blocks of terms [block, block + blocks) that is packed and
// multiplied at a time.
typedef struct {
    bool ta, tb, acc;
    drt_mat a, b, bias, c;
    int64_t k, depths; // terms; blocks of terms in all
    int64_t first, cols, panels, block, blocks;
    int64_t piece;       // strips of rows whose sums are added up at a time
    uint16_t *packed;    // [blocks][panels][DEPTH][COLS]
    float *scale;        // [blocks][panels][RUNS], what brings sums back
    float *room;         // of each thread: a group of strips, the sums of a piece
    int64_t room_of_one; // words
} product;

static int64_t depth_first(const product *p, int64_t i) { return p->k * i / p->depths; }

// The power of two that brings `largest` to [8, 16); 1 where there is none (0, infinite, NaN).
INLINE __m512 scale_of(__m512 largest) {
    const __m512 one = _mm512_set1_ps(1);
    __m512 e = _mm512_sub_ps(_mm512_set1_ps(3), _mm512_getexp_ps(largest));
    e = _mm512_min_ps(_mm512_max_ps(e, _mm512_set1_ps(-126)), _mm512_set1_ps(126));
    // 0 and infinity, quiet and signalling NaN
    __mmask16 none = _mm512_fpclass_ps_mask(largest, 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x80);
    return _mm512_mask_mov_ps(_mm512_scalef_ps(one, e), none, one);
}

INLINE float inverse(float scale) { return 1.0f / scale; } // exact: a power of two

INLINE __mmask16 lanes(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }

INLINE __m256i narrow(__m512 x) { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

INLINE __m512i doubled(__m512 x) {
    __m512i w = _mm512_cvtepu16_epi32(narrow(x));
    return _mm512_or_si512(w, _mm512_slli_epi32(w, 16));
}

// ---- packing -------------------------------------------------------------------------------------------------------

// Row t of x, or what lies behind x, comes from far: nothing else hides that.
static inline void ask_ahead(drt_mat x, int64_t t) {
    for (int64_t j = 0; j < x.cols; j += 16) __builtin_prefetch(drt_row(x, t) + j);
}

// The power of two for all of x. Four chains of maxima, because one waits for itself.
INLINE __m512 scale_of_all(drt_mat x, const int64_t ahead) {
    __m512 most[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int64_t r = 0; r < x.rows; r++) {
        const float *p = drt_row(x, r);
        if (ahead) ask_ahead(x, r + ahead);
        int64_t j = 0;
        for (; j + 64 <= x.cols; j += 64)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                most[i] = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(p + j + 16 * i)), most[i]);
        for (; j < x.cols; j += 16)
            most[0] = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(lanes(x.cols - j), p + j)), most[0]);
    }
    most[0] = _mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3]));
    return scale_of(_mm512_set1_ps(_mm512_reduce_max_ps(most[0])));
}

// Rows of op(a) that are rows of a: [ROWS][STRIDE], the terms of a row one after the other.
FP16 static void pack_rows(drt_mat a, uint32_t *strip, float *back) {
    for (int64_t r = 0; r < a.rows; r++) {
        const float *x = drt_row(a, r);
        uint32_t *y = strip + r * STRIDE;
        __m512 s = scale_of_all(drt_mat_part(a, r, 1, 0, a.cols), 0);
        int64_t t = 0;
        for (; t + 16 <= a.cols; t += 16) _mm512_storeu_si512(y + t, doubled(_mm512_mul_ps(_mm512_loadu_ps(x + t), s)));
        if (t < a.cols)
            _mm512_storeu_si512(y + t, doubled(_mm512_mul_ps(_mm512_maskz_loadu_ps(lanes(a.cols - t), x + t), s)));
        back[r] = inverse(_mm512_cvtss_f32(s));
    }
}

// Rows of op(a) that are columns of a, of one run of terms, for as many as GROUP strips: [terms][16] each, of which
// ROWS are read. Rows of a are a power of two apart or nearly so, and push each other out of the first cache: what is
// read of one is read at once.
FP16 static void pack_columns(drt_mat a, uint32_t *strips, float *back) {
    __mmask16 mask[GROUP];
    __m512 most[GROUP];
    for (int s = 0; s < GROUP; s++) {
        int64_t cols = a.cols - s * ROWS;
        mask[s] = lanes(cols < ROWS ? cols : ROWS), most[s] = _mm512_setzero_ps();
    }
    for (int64_t t = 0; t < a.rows; t++) {
        const float *x = drt_row(a, t);
        ask_ahead(a, t + AHEAD);
#pragma GCC unroll 8
        for (int s = 0; s < GROUP; s++)
            most[s] = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(mask[s], x + s * ROWS)), most[s]);
    }
    for (int s = 0; s < GROUP; s++) {
        float all[16];
        most[s] = scale_of(most[s]);
        _mm512_storeu_ps(all, most[s]);
        for (int r = 0; r < ROWS; r++) back[s * BACK + r] = inverse(all[r]);
    }
    for (int64_t t = 0; t < a.rows; t++) {
        const float *x = drt_row(a, t);
#pragma GCC unroll 8
        for (int s = 0; s < GROUP; s++)
            if (mask[s])
                _mm512_storeu_si512(strips + s * STRIP + t * 16,
                                    doubled(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask[s], x + s * ROWS), most[s])));
    }
}

// A run of a panel whose terms are rows of b: [terms][COLS], columns beyond the last 0.
FP16 static float pack_terms(drt_mat b, uint16_t *panel) {
    __m512 s = scale_of_all(b, AHEAD);
    for (int64_t t = 0; t < b.rows; t++)
        for (int64_t j = 0; j < COLS; j += 16) {
            __m512 x = j < b.cols ? _mm512_maskz_loadu_ps(lanes(b.cols - j), drt_row(b, t) + j) : _mm512_setzero_ps();
            _mm256_storeu_si256((__m256i *)(panel + t * COLS + j), narrow(_mm512_mul_ps(x, s)));
        }
    return inverse(_mm512_cvtss_f32(s));
}

// 16 rows of 16: zipping row i with row i + 8 four times transposes.
INLINE void transpose(__m512 x[16]) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
                  high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    for (int w = 0; w < 4; w++) {
        __m512 y[16];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            y[2 * i] = _mm512_permutex2var_ps(x[i], low, x[i + 8]);
            y[2 * i + 1] = _mm512_permutex2var_ps(x[i], high, x[i + 8]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) x[i] = y[i];
    }
}

// The same where columns are rows of b.
FP16 static float pack_transposed(drt_mat b, uint16_t *panel) {
    __m512 s = scale_of_all(b, 0);
    for (int64_t j = 0; j < COLS; j += 16)
        for (int64_t t = 0; t < b.cols; t += 16) {
            __m512 x[16];
            for (int i = 0; i < 16; i++)
                x[i] = j + i < b.rows ? _mm512_maskz_loadu_ps(lanes(b.cols - t), drt_row(b, j + i) + t)
                                      : _mm512_setzero_ps();
            transpose(x);
            for (int i = 0; i < 16 && t + i < b.cols; i++)
                _mm256_storeu_si256((__m256i *)(panel + (t + i) * COLS + j), narrow(_mm512_mul_ps(x[i], s)));
        }
    return inverse(_mm512_cvtss_f32(s));
}

static int64_t panel_place(const product *p, int64_t block, int64_t panel) { return block * p->panels + panel; }
// A block's terms are summed in even runs.
static int64_t runs_of(int64_t depth) { return (depth + RUN - 1) / RUN; }

static void pack_panels(const void *args, int64_t first, int64_t end, int worker) {
    const product *p = args;
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        int64_t block = i / p->panels, panel = i % p->panels, t = depth_first(p, p->block + block),
                depth = depth_first(p, p->block + block + 1) - t, j = p->first + panel * COLS, runs = runs_of(depth),
                cols = p->first + p->cols - j < COLS ? p->first + p->cols - j : COLS;
        for (int64_t r = 0; r < runs; r++) {
            int64_t from = drt_part_first(depth, r, runs), terms = drt_part_first(depth, r + 1, runs) - from;
            uint16_t *to = p->packed + (panel_place(p, block, panel) * DEPTH + from) * COLS;
            p->scale[panel_place(p, block, panel) * RUNS + r] =
                p->tb ? pack_transposed(drt_mat_part(p->b, j, cols, t + from, terms), to)
                      : pack_terms(drt_mat_part(p->b, t + from, terms, j, cols), to);
        }
    }
}

// ---- multiplying ---------------------------------------------------------------------------------------------------

// The sums of a run are added up in `sum`, [ROWS][COLS], but the first run writes it, and the last one adds it to
// `from` and writes `to`: rows of c that are a power of two apart push each other out of the first cache.
typedef struct {
    float *sum;
    const float *from;
    int64_t from_ld; // 0: one row for all, the bias or zeros
    float *to;
    int64_t to_ld, rows, cols;
    const float *row_scale, *scale; // of each run: [ROWS], with `step` numbers from run to run; of the panel
    int64_t step;
} tile_end;

INLINE __m512 upper(__m512h x) { return _mm512_cvtph_ps(_mm512_extracti64x4_epi64(_mm512_castph_si512(x), 1)); }
INLINE __m512 lower(__m512h x) { return _mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_castph_si512(x))); }

// Four vectors of a row's sums.
INLINE void add_sums(const bool first, const bool last, const tile_end *e, int r, float back, const __mmask16 mask[4],
                     __m512h x0, __m512h x1) {
    const __m512 x[4] = {lower(x0), upper(x0), lower(x1), upper(x1)}, scale = _mm512_set1_ps(back);
    const float *from = e->from + r * e->from_ld;
    float *sum = e->sum + r * COLS, *to = e->to + r * e->to_ld;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512 y = first ? _mm512_mul_ps(x[j], scale) : _mm512_fmadd_ps(x[j], scale, _mm512_loadu_ps(sum + 16 * j));
        if (last) _mm512_mask_storeu_ps(to + 16 * j, mask[j], y + _mm512_maskz_loadu_ps(mask[j], from + 16 * j));
        else _mm512_storeu_ps(sum + 16 * j, y);
    }
}

// `terms` terms from a (its rows a_row words apart, its terms a_step) and a panel of b on.
INLINE void tile(const bool first, const bool last, const uint32_t *a, const int64_t a_row, const int64_t a_step,
                 const uint16_t *b, int64_t terms, int64_t run, const tile_end *end) {
    const tile_end copy = *end, *e = &copy; // which nothing that is stored can change
    __m512h sum[ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ph();
    for (int64_t t = 0; t < terms; t++, a += a_step, b += COLS) {
        __m512h y0 = _mm512_loadu_ph(b), y1 = _mm512_loadu_ph(b + 32);
        __builtin_prefetch(b + NEAR * COLS), __builtin_prefetch(b + NEAR * COLS + 32);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            __m512h x = _mm512_castsi512_ph(_mm512_set1_epi32((int)a[r * a_row]));
            sum[r][0] = _mm512_fmadd_ph(x, y0, sum[r][0]);
            sum[r][1] = _mm512_fmadd_ph(x, y1, sum[r][1]);
        }
    }
    const __mmask16 mask[4] = {lanes(e->cols), lanes(e->cols - 16), lanes(e->cols - 32), lanes(e->cols - 48)};
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
        if (r < e->rows)
            add_sums(first, last, e, r, e->row_scale[run * e->step + r] * e->scale[run], mask, sum[r][0], sum[r][1]);
}

// All runs of a block of terms, which is the first or the last one of those that `sum` adds up, or neither.
INLINE void tiles(const bool opens, const bool closes, const uint32_t *a, const int64_t a_row, const int64_t a_step,
                  const uint16_t *b, int64_t depth, const tile_end *e) {
    int64_t runs = runs_of(depth), t = 0;
    for (int64_t i = 0; i < runs; i++) {
        int64_t terms = drt_part_first(depth, i + 1, runs) - t;
        bool first = opens && !i, last = closes && i == runs - 1;
        if (first && last) tile(true, true, a, a_row, a_step, b, terms, i, e);
        else if (first) tile(true, false, a, a_row, a_step, b, terms, i, e);
        else if (last) tile(false, true, a, a_row, a_step, b, terms, i, e);
        else tile(false, false, a, a_row, a_step, b, terms, i, e);
        t += terms, a += terms * a_step, b += terms * COLS;
    }
}
FP16 static void row_tiles(bool opens, bool closes, const uint32_t *strip, const uint16_t *b, int64_t depth,
                           const tile_end *e) {
    tiles(opens, closes, strip, STRIDE, 1, b, depth, e);
}
FP16 static void column_tiles(bool opens, bool closes, const uint32_t *strip, const uint16_t *b, int64_t depth,
                              const tile_end *e) {
    tiles(opens, closes, strip, 1, 16, b, depth, e);
}

// `rows` rows from m on for one block of terms: strips, and the factors that bring their sums back.
static void pack_group(const product *p, int64_t m, int64_t rows, int64_t t, int64_t depth, uint32_t *strips,
                       float *back) {
    if (!p->ta) {
        pack_rows(drt_mat_part(p->a, m, rows, t, depth), strips, back);
        return;
    }
    int64_t runs = runs_of(depth);
    for (int64_t r = 0; r < runs; r++) {
        int64_t from = drt_part_first(depth, r, runs), terms = drt_part_first(depth, r + 1, runs) - from;
        pack_columns(drt_mat_part(p->a, t + from, terms, m, rows), strips + from * 16, back + r * ROWS);
    }
}

// A group of strips with all panels of one block of terms; meanwhile the rows that will be packed then are asked for.
static void multiply_group(const product *p, int64_t m, int64_t rows, int64_t block, uint32_t *strips, float *sums) {
    static const float zeros[COLS];
    int64_t t = depth_first(p, block), depth = depth_first(p, block + 1) - t;
    bool opens = block == p->block, closes = block == p->block + p->blocks - 1;
    float back[GROUP * BACK];
    pack_group(p, m, rows, t, depth, strips, back);
    drt_mat next = {0};
    if (!p->ta && m + rows + ROWS <= p->c.rows) next = drt_mat_part(p->a, m + rows, ROWS, t, depth);
    for (int64_t s = 0; s * ROWS < rows; s++)
        for (int64_t panel = 0; panel < p->panels; panel++) {
            int64_t place = panel_place(p, block - p->block, panel), j = p->first + panel * COLS;
            tile_end e = {.sum = sums,
                          .from = zeros,
                          .to = drt_row(p->c, m + s * ROWS) + j,
                          .to_ld = p->c.ld,
                          .rows = rows - s * ROWS,
                          .cols = p->first + p->cols - j,
                          .row_scale = back + s * BACK,
                          .scale = p->scale + place * RUNS,
                          .step = p->ta ? ROWS : 0};
            if (p->block || p->acc) e.from = e.to, e.from_ld = e.to_ld;
            else if (p->bias.data) e.from = (const float *)p->bias.data + j;
            (p->ta ? column_tiles : row_tiles)(opens, closes, strips + s * STRIP, p->packed + place * DEPTH * COLS,
                                               depth, &e);
            if (p->blocks > 1) sums += ROWS * COLS;
            for (int64_t r = panel; r < next.rows; r += p->panels) ask_ahead(next, r);
        }
}

// Pieces of `piece` strips, each with all blocks of terms: its sums stay in the second cache meanwhile.
static void multiply(const void *args, int64_t first, int64_t end, int worker) {
    const product *p = args;
    uint32_t *strips = (uint32_t *)p->room + worker * p->room_of_one;
    float *sums = (float *)strips + GROUP * STRIP;
    int64_t size = p->piece * ROWS, group = (p->ta ? GROUP : 1) * ROWS;
    for (int64_t from = first * size; from < end * size; from += size) {
        int64_t to = from + size < p->c.rows ? from + size : p->c.rows;
        for (int64_t block = p->block; block < p->block + p->blocks; block++)
            for (int64_t m = from; m < to; m += group)
                multiply_group(p, m, to - m < group ? to - m : group, block, strips,
                               sums + (p->blocks > 1 ? (m - from) * p->panels * COLS : 0));
    }
}

static void add_bias(drt_mat bias, drt_mat c) {
    const float *b = bias.data;
    for (int64_t r = 0; r < c.rows; r++)
        for (int64_t j = 0; j < c.cols; j++) drt_row(c, r)[j] += b[j];
}

void drt_f16_product(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    int64_t k = ta ? a.rows : a.cols, depths = (k + DEPTH - 1) / DEPTH, threads = dev->threads;
    product p = {.ta = ta, .tb = tb, .acc = acc, .a = a, .b = b, .bias = bias, .c = c, .k = k, .depths = depths};
    if (!c.rows || !c.cols) return;
    int64_t panels = ((c.cols < WIDE ? c.cols : WIDE) + COLS - 1) / COLS, together = PACKED / (panels * DEPTH * COLS);
    if (together > depths) together = depths;
    if (together < 1) together = 1;
    // Several pieces a thread, so that one that is late does not hold up the rest, but whole groups.
    int64_t strips = (c.rows + ROWS - 1) / ROWS, pieces = ta ? strips / GROUP : strips,
            most = threads == 1 ? 1 : 8 * threads;
    if (pieces < threads) pieces = threads;
    if (pieces > most) pieces = most;
    if ((double)c.rows * (double)c.cols * (double)k < 200e3) pieces = 1;
    p.piece = (strips + pieces - 1) / pieces;
    if (together > 1 && p.piece > TILES / panels) p.piece = TILES / panels;
    pieces = (strips + p.piece - 1) / p.piece;
    int64_t places = together * panels, numbers = places * DEPTH * COLS / 2;
    p.room_of_one = (together > 1 ? p.piece * panels : 1) * ROWS * COLS + GROUP * STRIP;
    float *scratch = drt_cpu_scratch(dev, (size_t)(numbers + places * RUNS + 16 + threads * p.room_of_one));
    if (!scratch || dev->dry) return;
    p.packed = (uint16_t *)scratch;
    p.room = scratch + numbers;
    p.scale = p.room + threads * p.room_of_one;
    if (acc && bias.data) add_bias(bias, c);
    for (p.first = 0; p.first < c.cols; p.first += p.cols) {
        p.cols = c.cols - p.first < WIDE ? c.cols - p.first : WIDE;
        p.panels = (p.cols + COLS - 1) / COLS;
        for (p.block = 0; p.block < depths; p.block += p.blocks) {
            p.blocks = depths - p.block < together ? depths - p.block : together;
            drt_cpu_each(dev, p.blocks * p.panels, pack_panels, &p);
            drt_cpu_each(dev, pieces, multiply, &p);
        }
    }
}

#else

bool drt_f16_is_fast(void) { return false; }
void drt_f16_product(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    (void)ta, (void)tb, (void)a, (void)b, (void)bias, (void)acc, (void)c;
    drt_device_fail(dev, DRT_EARG, "this build has no f16 products");
}

#endif
