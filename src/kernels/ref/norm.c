// Row normalisations. Below x^ is the normalised row, g = dy * w.
#include "kernels/ref/ref.h"

#include <math.h>

static const float SMALLEST_NORM = 1e-12f;

void ref_layer_norm(drt_device *dev, drt_mat x, drt_mat w, drt_mat b, float eps, drt_mat y, drt_mat stat) {
    REF_F32(dev, x, w, b, y, stat);
    const float *pw = w.data, *pb = b.data;
    for (int64_t r = 0; r < x.rows; r++) {
        const float *in = drt_row(x, r);
        double mean = 0, variance = 0;
        for (int64_t c = 0; c < x.cols; c++) mean += in[c];
        mean /= (double)x.cols;
        for (int64_t c = 0; c < x.cols; c++) variance += (in[c] - mean) * (in[c] - mean);
        double rstd = 1 / sqrt(variance / (double)x.cols + eps);
        if (stat.data) drt_row(stat, r)[0] = (float)mean, drt_row(stat, r)[1] = (float)rstd;
        for (int64_t c = 0; y.data && c < x.cols; c++)
            drt_row(y, r)[c] = (float)((in[c] - mean) * rstd * pw[c] + pb[c]);
    }
}

// dx = rstd * (g - mean(g) - x^ * mean(g * x^)), dw = sum dy * x^, db = sum dy
void ref_layer_norm_back(drt_device *dev, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                         drt_mat dw, drt_mat db) {
    REF_F32(dev, x, w, stat, dy, dx, dw, db);
    const float *pw = w.data;
    for (int64_t r = 0; dx.data && r < x.rows; r++) {
        const float *in = drt_row(x, r), *g = drt_row(dy, r);
        double mean = drt_row(stat, r)[0], rstd = drt_row(stat, r)[1], mean_g = 0, mean_gx = 0;
        for (int64_t c = 0; c < x.cols; c++) {
            mean_g += (double)g[c] * pw[c];
            mean_gx += (double)g[c] * pw[c] * (in[c] - mean) * rstd;
        }
        mean_g /= (double)x.cols, mean_gx /= (double)x.cols;
        for (int64_t c = 0; c < x.cols; c++) {
            double hat = (in[c] - mean) * rstd;
            ref_put(drt_row(dx, r) + c, rstd * ((double)g[c] * pw[c] - mean_g - hat * mean_gx), acc);
        }
    }
    for (int64_t c = 0; c < x.cols; c++) {
        double sum_w = 0, sum_b = 0;
        for (int64_t r = 0; r < x.rows; r++) {
            double hat = (drt_row(x, r)[c] - (double)drt_row(stat, r)[0]) * drt_row(stat, r)[1];
            sum_w += drt_row(dy, r)[c] * hat;
            sum_b += drt_row(dy, r)[c];
        }
        if (dw.data) ref_put((float *)dw.data + c, sum_w, true);
        if (db.data) ref_put((float *)db.data + c, sum_b, true);
    }
}

void ref_rms_norm(drt_device *dev, drt_mat x, drt_mat w, float eps, drt_mat y, drt_mat stat) {
    REF_F32(dev, x, w, y, stat);
    const float *pw = w.data;
    for (int64_t r = 0; r < x.rows; r++) {
        const float *in = drt_row(x, r);
        double squares = 0;
        for (int64_t c = 0; c < x.cols; c++) squares += (double)in[c] * in[c];
        double rstd = 1 / sqrt(squares / (double)x.cols + eps);
        if (stat.data) drt_row(stat, r)[0] = (float)rstd;
        for (int64_t c = 0; y.data && c < x.cols; c++) drt_row(y, r)[c] = (float)(in[c] * rstd * pw[c]);
    }
}

// dx = rstd * (g - x^ * mean(g * x^)), dw = sum dy * x^
void ref_rms_norm_back(drt_device *dev, drt_mat x, drt_mat w, drt_mat stat, drt_mat dy, bool acc, drt_mat dx,
                       drt_mat dw) {
    REF_F32(dev, x, w, stat, dy, dx, dw);
    const float *pw = w.data;
    for (int64_t r = 0; dx.data && r < x.rows; r++) {
        const float *in = drt_row(x, r), *g = drt_row(dy, r);
        double rstd = drt_row(stat, r)[0], mean_gx = 0;
        for (int64_t c = 0; c < x.cols; c++) mean_gx += (double)g[c] * pw[c] * in[c] * rstd;
        mean_gx /= (double)x.cols;
        for (int64_t c = 0; c < x.cols; c++)
            ref_put(drt_row(dx, r) + c, rstd * ((double)g[c] * pw[c] - in[c] * rstd * mean_gx), acc);
    }
    for (int64_t c = 0; dw.data && c < x.cols; c++) {
        double sum = 0;
        for (int64_t r = 0; r < x.rows; r++) sum += (double)drt_row(dy, r)[c] * drt_row(x, r)[c] * drt_row(stat, r)[0];
        ref_put((float *)dw.data + c, sum, true);
    }
}

void ref_unit_rows(drt_device *dev, drt_mat x, drt_mat y, drt_mat norm) {
    REF_F32(dev, x, y, norm);
    for (int64_t r = 0; r < x.rows; r++) {
        const float *in = drt_row(x, r);
        double squares = 0;
        for (int64_t c = 0; c < x.cols; c++) squares += (double)in[c] * in[c];
        double length = fmax(sqrt(squares), SMALLEST_NORM);
        if (norm.data) drt_row(norm, r)[0] = (float)length;
        for (int64_t c = 0; y.data && c < x.cols; c++) drt_row(y, r)[c] = (float)(in[c] / length);
    }
}

// dx = (dy - y * (y . dy)) / norm. A row shorter than the smallest norm was divided by a constant: dx = dy / norm.
void ref_unit_rows_back(drt_device *dev, drt_mat y, drt_mat norm, drt_mat dy, bool acc, drt_mat dx) {
    REF_F32(dev, y, norm, dy, dx);
    for (int64_t r = 0; dx.data && r < y.rows; r++) {
        double length = drt_row(norm, r)[0], dot = 0;
        if (drt_row(norm, r)[0] > SMALLEST_NORM)
            for (int64_t c = 0; c < y.cols; c++) dot += (double)drt_row(y, r)[c] * drt_row(dy, r)[c];
        for (int64_t c = 0; c < y.cols; c++)
            ref_put(drt_row(dx, r) + c, (drt_row(dy, r)[c] - drt_row(y, r)[c] * dot) / length, acc);
    }
}
