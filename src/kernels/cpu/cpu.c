#include "kernels/cpu/cpu.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static const size_t nowhere_bytes = (size_t)1 << 40;

// Counts what would be held, and gives addresses that hold nothing.
static float *claimed(drt_device *dev, size_t *have, size_t floats) {
    drt_cpu_state *state = dev->state;
    if (floats > nowhere_bytes / sizeof(float) ||
        (!state->nowhere && !(state->nowhere = drt_memory_reserve(nowhere_bytes)))) {
        drt_device_fail(dev, DRT_ENOMEM, "no addresses for %zu floats of kernel scratch", floats);
        return NULL;
    }
    if (floats > *have) {
        dev->scratch += (floats - *have) * sizeof(float);
        *have = floats;
    }
    return state->nowhere;
}

static float *grown(drt_device *dev, float **data, size_t *have, size_t floats) {
    if (dev->dry) return claimed(dev, have, floats);
    if (floats <= *have) return *data;
    drt_memory_return(*data, *have * sizeof(float));
    *have = 0;
    // A quarter more than asked: sizes creep up over the first batches.
    size_t bytes = floats > SIZE_MAX / 8 ? 0 : (floats + floats / 4) * sizeof(float) / 64 * 64 + 64;
    *data = bytes ? drt_memory_take(bytes) : NULL;
    if (*data) *have = bytes / sizeof(float);
    else drt_device_fail(dev, DRT_ENOMEM, "no memory for %zu floats of kernel scratch; make the batch smaller", floats);
    return *data;
}

float *drt_cpu_scratch(drt_device *dev, size_t floats) {
    drt_cpu_state *state = dev->state;
    return grown(dev, &state->scratch.data, &state->scratch.floats, floats);
}

float *drt_cpu_expanded(drt_device *dev, size_t floats) {
    drt_cpu_state *state = dev->state;
    return grown(dev, &state->expanded.data, &state->expanded.floats, floats);
}

bool drt_cpu_ready(drt_device *dev, const char *kernel, int mats, const drt_mat *mat) {
    if (dev->error.code) return false;
    for (int i = 0; i < mats; i++)
        if (mat[i].data && mat[i].type != DRT_F32) {
            drt_device_fail(dev, DRT_EARG, "%s: argument %d is %s, it must be f32; convert it first", kernel, i + 1,
                            drt_dtype_name(mat[i].type));
            return false;
        }
    return true;
}

bool drt_cpu_indices_good(drt_device *dev, const char *kernel, const int32_t *index, int64_t n, int32_t least,
                          int64_t limit) {
    int32_t low = INT32_MAX, high = INT32_MIN;
    for (int64_t i = 0; i < n; i++) {
        low = index[i] < low ? index[i] : low;
        high = index[i] > high ? index[i] : high;
    }
    if (n == 0 || (low >= least && high < limit)) return true;
    drt_device_fail(dev, DRT_EARG, "%s: index %d, valid are %d to %lld", kernel, (int)(low < least ? low : high),
                    least > 0 ? (int)least : 0, (long long)limit - 1);
    return false;
}

// The best table this machine can run, at most `wanted` (NULL: the best).
static const drt_cpu_table *choose(const char *wanted) {
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
    drt_pool_close(state->pool);
    drt_bf16_close(state->bf16);
    drt_memory_return(state->nowhere, nowhere_bytes);
    drt_memory_return(state->scratch.data, state->scratch.floats * sizeof(float));
    drt_memory_return(state->expanded.data, state->expanded.floats * sizeof(float));
    free(state);
    dev->state = NULL;
}

drt_status drt_cpu_open(drt_device *dev, drt_error *err) {
    const char *wanted = getenv("DRT_ISA");
    if (wanted && *wanted && strcmp(wanted, "base") && strcmp(wanted, "v3") && strcmp(wanted, "v4") &&
        strcmp(wanted, "bf16"))
        return drt_fail(err, DRT_ECONFIG, "DRT_ISA='%s' is none of base, v3, v4, bf16", wanted);
    drt_cpu_state *state = calloc(1, sizeof *state);
    if (!state) return drt_fail(err, DRT_ENOMEM, "no memory for a cpu device");
    state->pool = drt_pool_open(dev->threads);
    if (!state->pool) {
        free(state);
        return drt_fail(err, DRT_ENOMEM, "the system refuses %d threads; ask for fewer", dev->threads);
    }
    dev->state = state;
    state->table = choose(wanted && *wanted ? wanted : NULL);
    dev->k = &state->table->kernels;
    bool limited = wanted && *wanted;
    if (limited ? !strcmp(wanted, "bf16") : drt_bf16_is_fast()) state->bf16 = drt_bf16_open(dev->threads);
    state->f16 = !limited && drt_f16_is_fast();
    dev->close = cpu_close;
    return DRT_OK;
}
