#include "kernels/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

float *drt_cpu_scratch(drt_device *dev, size_t floats) {
    drt_cpu_state *state = dev->state;
    if (floats <= state->floats) return state->scratch;
    free(state->scratch);
    state->floats = 0;
    // A quarter more than asked: sizes creep up over the first batches.
    size_t bytes = floats > SIZE_MAX / 8 ? 0 : (floats + floats / 4) * sizeof(float) / 64 * 64 + 64;
    state->scratch = bytes ? aligned_alloc(64, bytes) : NULL;
    if (!state->scratch) {
        drt_device_fail(dev, DRT_ENOMEM, "no memory for %zu floats of kernel scratch; make the batch smaller", floats);
        return NULL;
    }
    state->floats = bytes / sizeof(float);
    return state->scratch;
}

bool drt_cpu_ready(drt_device *dev, const char *kernel, int mats, const drt_mat *mat) {
    if (dev->error.code) return false;
    for (int i = 0; i < mats; i++)
        if (mat[i].data && mat[i].type != DRT_F32) {
            drt_device_fail(dev, DRT_EARG, "%s: argument %d is bf16, the cpu kernels of today take f32", kernel, i + 1);
            return false;
        }
    return true;
}

bool drt_cpu_indices_below(drt_device *dev, const char *kernel, const int32_t *index, int64_t n, int64_t limit) {
    int32_t most = -1;
    for (int64_t i = 0; i < n; i++) most = index[i] > most ? index[i] : most;
    if (most < limit) return true;
    drt_device_fail(dev, DRT_EARG, "%s: index %d, but there are %lld rows", kernel, (int)most, (long long)limit);
    return false;
}

// The best table this machine can run, at most `wanted` (NULL: the best).
static const drt_kernels *choose(const char *wanted) {
#ifdef __x86_64__
    bool base = wanted && !strcmp(wanted, "base"), v3 = wanted && !strcmp(wanted, "v3");
    bool has3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    bool has4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl");
    if (has3 && has4 && !base && !v3) return &drt_cpu_table_v4;
    if (has3 && !base) return &drt_cpu_table_v3;
#else
    (void)wanted;
#endif
    return &drt_cpu_table_base;
}

static void cpu_close(drt_device *dev) {
    drt_cpu_state *state = dev->state;
    free(state->scratch);
    free(state);
    dev->state = NULL;
}

drt_status drt_cpu_open(drt_device *dev, drt_error *err) {
    const char *wanted = getenv("DRT_ISA");
    if (wanted && *wanted && strcmp(wanted, "base") && strcmp(wanted, "v3") && strcmp(wanted, "v4"))
        return drt_fail(err, DRT_ECONFIG, "DRT_ISA='%s' is none of base, v3, v4", wanted);
    dev->state = calloc(1, sizeof(drt_cpu_state));
    if (!dev->state) return drt_fail(err, DRT_ENOMEM, "no memory for a cpu device");
    dev->k = choose(wanted && *wanted ? wanted : NULL);
    dev->close = cpu_close;
    return DRT_OK;
}
