#include "align/bank.h"

#include "base/rng.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 8, COMPARED = 256, TRIES = 1000 };

static int distance(const int32_t *a, const int32_t *b, int n) {
    int d = 0;
    for (int i = 0; i < n; i++) d += a[i] != b[i];
    return d;
}

// The least distance of p to the permutations chosen so far.
static int nearest(const int32_t *bank, int chosen, int cells, const int32_t *p) {
    int step = chosen > COMPARED ? chosen / COMPARED : 1, least = cells + 1;
    for (int k = 0; k < chosen; k += step) {
        int d = distance(bank + (size_t)k * (size_t)cells, p, cells);
        if (d < least) least = d;
    }
    return least;
}

static bool known(const int32_t *bank, int chosen, int cells, const int32_t *p) {
    for (int k = 0; k < chosen; k++)
        if (!memcmp(bank + (size_t)k * (size_t)cells, p, (size_t)cells * sizeof *p)) return true;
    return false;
}

drt_status drt_bank_draw(int32_t **bank, int classes, int cells, uint64_t seed, drt_error *err) {
    double exist = 1;
    for (int i = 2; i <= cells && exist < 2.0 * classes; i++) exist *= i;
    *bank = NULL;
    if (classes < 1 || cells < 1 || exist < classes)
        return drt_fail(err, DRT_ECONFIG,
                        "order.bank: %d permutations of %d cells do not exist; lower order.bank or raise order.grid",
                        classes, cells);
    int32_t *out = calloc((size_t)classes * (size_t)cells, sizeof *out), *p = malloc((size_t)cells * sizeof *p);
    if (!out || !p) {
        free(out), free(p);
        return drt_fail(err, DRT_ENOMEM, "no memory for a bank of %d x %d", classes, cells);
    }
    drt_rng r;
    drt_rng_init(&r, seed, 0xBA4C);
    for (int k = 0; k < classes; k++) {
        int32_t *row = out + (size_t)k * (size_t)cells;
        int best = -1;
        for (int c = 0; c < CANDIDATES || (best < 1 && c < TRIES * CANDIDATES); c++) {
            for (int i = 0; i < cells; i++) p[i] = i;
            drt_rng_shuffle(&r, p, cells);
            int d = nearest(out, k, cells, p);
            // A distance of 0 is a permutation chosen before; beyond COMPARED it must be looked for.
            if (d > best && d > 0 && (k <= COMPARED || !known(out, k, cells, p))) {
                best = d;
                memcpy(row, p, (size_t)cells * sizeof *p);
            }
        }
        if (best < 1) { // the bank asks for nearly all permutations there are and chance does not find the rest
            free(out), free(p);
            return drt_fail(err, DRT_ECONFIG,
                            "order.bank: no %d different permutations of %d cells found; lower order.bank", classes,
                            cells);
        }
    }
    free(p);
    *bank = out;
    return DRT_OK;
}

drt_status drt_bank_check(const int32_t *bank, int classes, int cells, drt_error *err) {
    unsigned char *seen = calloc((size_t)cells, 1);
    drt_status status = seen ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    for (int k = 0; !status && k < classes; k++) {
        memset(seen, 0, (size_t)cells);
        for (int i = 0; !status && i < cells; i++) {
            int32_t c = bank[(size_t)k * (size_t)cells + (size_t)i];
            if (c < 0 || c >= cells || seen[c]++)
                status = drt_fail(err, DRT_EFORMAT, "order_bank: row %d is not a permutation of %d cells", k, cells);
        }
    }
    free(seen);
    return status;
}
