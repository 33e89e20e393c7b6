#include "base/digest.h"

#include <string.h>

// Odd, with about as many ones as zeros: a product with them spreads every bit upwards.
#define SPREAD_A 0x9e3779b97f4a7c15u
#define SPREAD_B 0xd6e8feb86659fd93u

// The block's words change one lane each, so that four multiplications are under way at a time. A step is invertible,
// hence two blocks of which one word differs never meet in it.
static void blocks(drt_digest *d, const unsigned char *p, size_t n) {
    uint64_t a = d->lane[0], b = d->lane[1], c = d->lane[2], e = d->lane[3];
    for (; n; n--, p += DRT_DIGEST_BLOCK) {
        uint64_t w[4];
        memcpy(w, p, sizeof w);
        a = (a ^ w[0]) * SPREAD_A, a ^= a >> 29;
        b = (b ^ w[1]) * SPREAD_A, b ^= b >> 29;
        c = (c ^ w[2]) * SPREAD_A, c ^= c >> 29;
        e = (e ^ w[3]) * SPREAD_A, e ^= e >> 29;
    }
    d->lane[0] = a, d->lane[1] = b, d->lane[2] = c, d->lane[3] = e;
}

void drt_digest_begin(drt_digest *d) { *d = (drt_digest){.lane = {1, 2, 3, 4}}; }

void drt_digest_add(drt_digest *d, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    size_t held = d->size % DRT_DIGEST_BLOCK;
    d->size += n;
    if (held) {
        size_t more = DRT_DIGEST_BLOCK - held < n ? DRT_DIGEST_BLOCK - held : n;
        memcpy(d->rest + held, p, more);
        p += more, n -= more;
        if (held + more < DRT_DIGEST_BLOCK) return;
        blocks(d, d->rest, 1);
    }
    blocks(d, p, n / DRT_DIGEST_BLOCK);
    if (n % DRT_DIGEST_BLOCK) memcpy(d->rest, p + n / DRT_DIGEST_BLOCK * DRT_DIGEST_BLOCK, n % DRT_DIGEST_BLOCK);
}

uint64_t drt_digest_end(const drt_digest *d) {
    drt_digest last = *d;
    size_t held = d->size % DRT_DIGEST_BLOCK;
    uint64_t h = d->size * SPREAD_B;
    memset(last.rest + held, 0, DRT_DIGEST_BLOCK - held);
    if (held) blocks(&last, last.rest, 1);
    for (int i = 0; i < 4; i++) {
        h = (h ^ last.lane[i]) * SPREAD_B;
        h ^= h >> 32;
    }
    h *= SPREAD_A;
    return h ^ h >> 29;
}

uint64_t drt_digest_of(const void *bytes, size_t n) {
    drt_digest d;
    drt_digest_begin(&d);
    drt_digest_add(&d, bytes, n);
    return drt_digest_end(&d);
}
