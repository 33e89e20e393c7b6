#include "base/rng.h"

#include <math.h>

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void drt_rng_init(drt_rng *r, uint64_t seed, uint64_t stream) {
    uint64_t x = seed;
    x = splitmix(&x) ^ stream * 0xD1342543DE82EF95u;
    for (int i = 0; i < 4; i++) r->s[i] = splitmix(&x);
}

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

uint64_t drt_rng_next(drt_rng *r) {
    uint64_t *s = r->s, out = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

uint64_t drt_rng_below(drt_rng *r, uint64_t n) {
    uint64_t low = -n % n, x;
    do x = drt_rng_next(r);
    while (x < low);
    return x % n;
}

double drt_rng_uniform(drt_rng *r) { return (double)(drt_rng_next(r) >> 11) * 0x1p-53; }

double drt_rng_normal(drt_rng *r) {
    double u = 1.0 - drt_rng_uniform(r), v = drt_rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void drt_rng_shuffle(drt_rng *r, int32_t *x, int64_t n) {
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)drt_rng_below(r, (uint64_t)i + 1);
        int32_t t = x[i];
        x[i] = x[j];
        x[j] = t;
    }
}

uint64_t drt_hash(const void *bytes, uint64_t n) {
    const unsigned char *p = bytes;
    uint64_t h = 0xCBF29CE484222325u;
    for (uint64_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001B3u;
    return splitmix(&h);
}
