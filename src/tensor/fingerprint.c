#include "tensor/fingerprint.h"

#include "base/half.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SAMPLE = 1024 }; // numbers of a tensor: one page of f32

static void numbers(float *out, drt_mat v, int64_t from, int64_t n) {
    const char *bytes = (const char *)v.data + (size_t)from * drt_dtype_size(v.type);
    if (v.type == DRT_F32) memcpy(out, bytes, (size_t)n * sizeof *out);
    else if (v.type == DRT_BF16) drt_bf16_to_f32_n(out, (const uint16_t *)bytes, n);
    else drt_f16_to_f32_n(out, (const uint16_t *)bytes, n);
}

static uint64_t joined(uint64_t a, uint64_t b) { return drt_hash((uint64_t[]){a, b}, 2 * sizeof a); }

void drt_fingerprint_of(drt_fingerprint *out, const drt_params *p, drt_group group) {
    *out = (drt_fingerprint){{0}};
    for (int i = 0; i < p->slices; i++) {
        const drt_slice *s = &p->slice[i];
        float x[SAMPLE];
        uint16_t rounded[2][SAMPLE];
        if (s->param->group != group) continue;
        drt_mat v = drt_slice_numbers(s);
        int64_t n = v.cols < SAMPLE ? v.cols : SAMPLE;
        numbers(x, v, (v.cols - n) / 2, n);
        drt_f32_to_bf16_n(rounded[0], x, n);
        drt_f32_to_f16_n(rounded[1], x, n);
        uint64_t what =
            joined(drt_hash(s->name, strlen(s->name)), drt_hash(s->shape, (uint64_t)s->ndim * sizeof *s->shape));
        const uint64_t part[] = {drt_hash(x, (uint64_t)n * sizeof *x), drt_hash(rounded[0], 2 * (uint64_t)n),
                                 drt_hash(rounded[1], 2 * (uint64_t)n)};
        for (int k = 0; k < 3; k++) out->as[k] = joined(out->as[k], joined(what, part[k]));
    }
}

bool drt_fingerprint_same(const drt_fingerprint *a, const drt_fingerprint *b) {
    for (int k = 0; k < 3; k++)
        if (a->as[k] == b->as[k]) return true;
    return false;
}

void drt_fingerprint_write(const drt_fingerprint *f, char text[DRT_FINGERPRINT_TEXT]) {
    snprintf(text, DRT_FINGERPRINT_TEXT, "%016" PRIx64 " %016" PRIx64 " %016" PRIx64, f->as[0], f->as[1], f->as[2]);
}

bool drt_fingerprint_read(drt_fingerprint *f, const char *text) {
    int end = 0;
    return sscanf(text, "%16" SCNx64 " %16" SCNx64 " %16" SCNx64 "%n", &f->as[0], &f->as[1], &f->as[2], &end) == 3 &&
           !text[end];
}
