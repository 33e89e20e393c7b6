// Products, row copies, sums.
#include "kernels/ref/ref.h"

#include "base/half.h"

void ref_matmul(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    REF_F32(dev, bias, c);
    if (!c.data) return;
    const float *pbias = bias.data;
    int64_t inner = ta ? a.rows : a.cols;
    // op(a)[i, k] = a[i*ai + k*ak], op(b)[k, j] = b[k*bk + j*bj]
    int64_t ai = ta ? 1 : a.ld, ak = ta ? a.ld : 1, bk = tb ? 1 : b.ld, bj = tb ? b.ld : 1;
    for (int64_t i = 0; i < c.rows; i++) {
        for (int64_t j = 0; j < c.cols; j++) {
            double s = pbias ? pbias[j] : 0;
            for (int64_t k = 0; k < inner; k++) s += ref_number(a, i * ai + k * ak) * ref_number(b, k * bk + j * bj);
            ref_put(drt_row(c, i) + j, s, acc);
        }
    }
}

void ref_col_sum(drt_device *dev, drt_mat x, bool acc, drt_mat out) {
    REF_F32(dev, x, out);
    if (!out.data) return;
    for (int64_t c = 0; c < x.cols; c++) {
        double s = 0;
        for (int64_t r = 0; r < x.rows; r++) s += drt_row(x, r)[c];
        ref_put(drt_row(out, 0) + c, s, acc);
    }
}

void ref_copy_rows(drt_device *dev, drt_mat dst, const int32_t *di, drt_mat src, const int32_t *si, const float *s,
                   int64_t n, bool acc) {
    REF_F32(dev, dst);
    if (!dst.data) return;
    if (!ref_indices_fit(dev, "copy_rows, destination", di, n, INT32_MIN, dst.rows)) return;
    if (!ref_indices_fit(dev, "copy_rows, source", si, n, INT32_MIN, src.rows)) return;
    for (int64_t i = 0; i < n; i++) {
        int64_t to = di ? di[i] : i, from = si ? si[i] : i;
        if (to < 0 || from < 0) continue;
        float factor = s ? s[i] : 1;
        float *y = drt_row(dst, to);
        for (int64_t c = 0; c < dst.cols; c++)
            y[c] = (acc ? y[c] : 0) + factor * (float)ref_number(src, from * src.ld + c);
    }
}

void ref_convert(drt_device *dev, drt_mat x, drt_mat y) {
    if (dev->error.code || !y.data) return;
    if (y.type == DRT_AS_BF16 || y.type == DRT_AS_F16) {
        drt_device_fail(dev, DRT_EARG, "convert: nothing is written as '%s'", drt_dtype_name(y.type));
        return;
    }
    for (int64_t r = 0; r < y.rows; r++)
        for (int64_t c = 0; c < y.cols; c++) {
            float v = (float)ref_number(x, r * x.ld + c);
            int64_t i = r * y.ld + c;
            if (y.type == DRT_F32) ((float *)y.data)[i] = v;
            else ((uint16_t *)y.data)[i] = y.type == DRT_BF16 ? drt_f32_to_bf16(v) : drt_f32_to_f16(v);
        }
}

void ref_fill(drt_device *dev, drt_mat x, float value) {
    REF_F32(dev, x);
    if (!x.data) return;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t c = 0; c < x.cols; c++) drt_row(x, r)[c] = value;
}

void ref_add(drt_device *dev, drt_mat a, drt_mat b, drt_mat y) {
    REF_F32(dev, a, b, y);
    if (!y.data) return;
    for (int64_t r = 0; r < y.rows; r++)
        for (int64_t c = 0; c < y.cols; c++) drt_row(y, r)[c] = drt_row(a, r)[c] + drt_row(b, r)[c];
}

void ref_scale(drt_device *dev, float alpha, drt_mat x, bool acc, drt_mat y) {
    REF_F32(dev, x, y);
    if (!y.data) return;
    for (int64_t r = 0; r < y.rows; r++)
        for (int64_t c = 0; c < y.cols; c++) ref_put(drt_row(y, r) + c, (double)alpha * drt_row(x, r)[c], acc);
}

void ref_drop(drt_device *dev, uint64_t key, float rate, drt_mat x, bool acc, drt_mat y) {
    REF_F32(dev, x, y);
    if (!y.data) return;
    for (int64_t r = 0; r < y.rows; r++)
        for (int64_t c = 0; c < y.cols; c++) {
            bool dropped = drt_dropped(drt_drop_row(key, r), (uint32_t)c, drt_drop_limit(rate));
            ref_put(drt_row(y, r) + c, dropped ? 0 : drt_row(x, r)[c] / (1 - (double)rate), acc);
        }
}

void ref_sum(drt_device *dev, drt_mat x, const float *s, double *out) {
    REF_F32(dev, x);
    double total = 0;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t c = 0; c < x.cols; c++) total += (double)drt_row(x, r)[c] * (s ? s[r] : 1);
    *out = total;
}

void ref_sum_squares(drt_device *dev, drt_mat x, double *out) {
    REF_F32(dev, x);
    double total = 0;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t c = 0; c < x.cols; c++) total += (double)drt_row(x, r)[c] * drt_row(x, r)[c];
    *out = total;
}
