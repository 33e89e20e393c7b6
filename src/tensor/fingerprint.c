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
        float x[SAMPLE], back[SAMPLE];
        uint16_t brain[2][SAMPLE], half[2][SAMPLE]; // [0] of the numbers, [1] of the other's
        if (s->param->group != group) continue;
        drt_mat v = drt_slice_numbers(s);
        int64_t n = v.cols < SAMPLE ? v.cols : SAMPLE;
        uint64_t bytes = 2 * (uint64_t)n;
        numbers(x, v, (v.cols - n) / 2, n);
        drt_f32_to_bf16_n(brain[0], x, n);
        drt_f32_to_f16_n(half[0], x, n);
        drt_f16_to_f32_n(back, half[0], n);
        drt_f32_to_bf16_n(brain[1], back, n);
        drt_bf16_to_f32_n(back, brain[0], n);
        drt_f32_to_f16_n(half[1], back, n);
        uint64_t what =
            joined(drt_hash(s->name, strlen(s->name)), drt_hash(s->shape, (uint64_t)s->ndim * sizeof *s->shape));
        const uint64_t part[DRT_FINGERPRINT_WAYS] = {drt_hash(x, 2 * bytes), drt_hash(brain[0], bytes),
                                                     drt_hash(half[0], bytes), drt_hash(brain[1], bytes),
                                                     drt_hash(half[1], bytes)};
        for (int k = 0; k < DRT_FINGERPRINT_WAYS; k++) out->as[k] = joined(out->as[k], joined(what, part[k]));
    }
}

bool drt_fingerprint_same(const drt_fingerprint *a, const drt_fingerprint *b) {
    for (int k = 0; k < DRT_FINGERPRINT_WAYS; k++)
        if (a->as[k] == b->as[k]) return true;
    return false;
}

void drt_fingerprint_write(const drt_fingerprint *f, char text[DRT_FINGERPRINT_TEXT]) {
    for (int k = 0; k < DRT_FINGERPRINT_WAYS; k++) {
        snprintf(text + 17 * k, 17, "%016" PRIx64, f->as[k]);
        text[17 * k + 16] = k + 1 < DRT_FINGERPRINT_WAYS ? ' ' : 0;
    }
}

bool drt_fingerprint_read(drt_fingerprint *f, const char *text) {
    for (int k = 0; k < DRT_FINGERPRINT_WAYS; k++) {
        int used = 0;
        if (sscanf(text, "%16" SCNx64 "%n", &f->as[k], &used) != 1) return false;
        text += used;
    }
    return !*text;
}
