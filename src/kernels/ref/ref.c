#include "kernels/ref/ref.h"

#include "base/half.h"

bool ref_are_f32(drt_device *dev, const char *kernel, const drt_mat *m, int n) {
    if (dev->error.code) return false;
    for (int i = 0; i < n; i++) {
        if (!m[i].data || m[i].type == DRT_F32) continue;
        drt_device_fail(dev, DRT_EARG, "%s: matrix %d is %s, it must be f32; convert it first", kernel, i + 1,
                        drt_dtype_name(m[i].type));
        return false;
    }
    return true;
}

double ref_number(drt_mat m, int64_t i) {
    switch (m.type) {
    case DRT_BF16: return drt_bf16_to_f32(((const uint16_t *)m.data)[i]);
    case DRT_F16: return drt_f16_to_f32(((const uint16_t *)m.data)[i]);
    case DRT_AS_BF16: return drt_bf16_rounded(((const float *)m.data)[i]);
    case DRT_AS_F16: return drt_f16_precision(((const float *)m.data)[i]);
    case DRT_F32: break;
    }
    return ((const float *)m.data)[i];
}

bool ref_indices_fit(drt_device *dev, const char *kernel, const int32_t *index, int64_t n, int64_t least,
                     int64_t limit) {
    for (int64_t i = 0; index && i < n; i++) {
        if (index[i] >= least && index[i] < limit) continue;
        drt_device_fail(dev, DRT_EARG, "%s: index %d of row %lld is not between 0 and %lld", kernel, (int)index[i],
                        (long long)i, (long long)limit - 1);
        return false;
    }
    return true;
}

const drt_kernels drt_kernels_ref = {
    .name = "ref",
    .matmul = ref_matmul,
    .col_sum = ref_col_sum,
    .copy_rows = ref_copy_rows,
    .convert = ref_convert,
    .fill = ref_fill,
    .add = ref_add,
    .scale = ref_scale,
    .drop = ref_drop,
    .activate = ref_activate,
    .activate_back = ref_activate_back,
    .glu = ref_glu,
    .glu_back = ref_glu_back,
    .layer_norm = ref_layer_norm,
    .layer_norm_back = ref_layer_norm_back,
    .rms_norm = ref_rms_norm,
    .rms_norm_back = ref_rms_norm_back,
    .unit_rows = ref_unit_rows,
    .unit_rows_back = ref_unit_rows_back,
    .rope = ref_rope,
    .attention = ref_attention,
    .attention_back = ref_attention_back,
    .cross_entropy = ref_cross_entropy,
    .cross_entropy_back = ref_cross_entropy_back,
    .sinkhorn = ref_sinkhorn,
    .sinkhorn_back = ref_sinkhorn_back,
    .sum = ref_sum,
    .sum_squares = ref_sum_squares,
    .adamw = ref_adamw,
};
