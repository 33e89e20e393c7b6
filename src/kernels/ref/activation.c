// Activations and their gated form.
#include "kernels/ref/ref.h"

#include <math.h>

static const double SQRT_HALF = 0.70710678118654752440, INV_SQRT_2PI = 0.39894228040143267794;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

// GELU by tanh is x sigmoid(z), because 1 + tanh(u) = 2 sigmoid(2u); z = 2 sqrt(2/pi) (x + 0.044715 x^3).
static const double TANH_SCALE = 2 * 0.79788456080286535588, TANH_CUBE = 0.044715;
static double tanh_z(double x) { return TANH_SCALE * (x + TANH_CUBE * x * x * x); }
static double tanh_dz(double x) { return TANH_SCALE * (1 + 3 * TANH_CUBE * x * x); }

static double act(drt_activation kind, double x) {
    switch (kind) {
    case DRT_GELU: return 0.5 * x * (1 + erf(x * SQRT_HALF));
    case DRT_QUICK_GELU: return x * sigmoid(1.702 * x);
    case DRT_SILU: return x * sigmoid(x);
    case DRT_RELU: return x > 0 ? x : 0;
    case DRT_GELU_TANH: return x * sigmoid(tanh_z(x));
    }
    return NAN;
}

// d act / dx; of relu at 0: 0, as in PyTorch.
static double act_slope(drt_activation kind, double x) {
    double s;
    switch (kind) {
    case DRT_GELU: return 0.5 * (1 + erf(x * SQRT_HALF)) + x * INV_SQRT_2PI * exp(-0.5 * x * x);
    case DRT_QUICK_GELU: s = sigmoid(1.702 * x); return s + 1.702 * x * s * (1 - s);
    case DRT_SILU: s = sigmoid(x); return s + x * s * (1 - s);
    case DRT_RELU: return x > 0;
    case DRT_GELU_TANH: s = sigmoid(tanh_z(x)); return s + x * s * (1 - s) * tanh_dz(x);
    }
    return NAN;
}

void ref_activate(drt_device *dev, drt_activation kind, drt_mat x, drt_mat y) {
    REF_F32(dev, x, y);
    if (!y.data) return;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t c = 0; c < x.cols; c++) drt_row(y, r)[c] = (float)act(kind, drt_row(x, r)[c]);
}

void ref_activate_back(drt_device *dev, drt_activation kind, drt_mat x, drt_mat dy, bool acc, drt_mat dx) {
    REF_F32(dev, x, dy, dx);
    if (!dx.data) return;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t c = 0; c < x.cols; c++)
            ref_put(drt_row(dx, r) + c, drt_row(dy, r)[c] * act_slope(kind, drt_row(x, r)[c]), acc);
}

void ref_glu(drt_device *dev, drt_activation kind, drt_mat x, drt_mat y) {
    REF_F32(dev, x, y);
    if (!y.data) return;
    for (int64_t r = 0; r < x.rows; r++) {
        const float *gate = drt_row(x, r), *up = gate + y.cols;
        for (int64_t c = 0; c < y.cols; c++) drt_row(y, r)[c] = (float)(act(kind, gate[c]) * up[c]);
    }
}

void ref_glu_back(drt_device *dev, drt_activation kind, drt_mat x, drt_mat dy, bool acc, drt_mat dx) {
    REF_F32(dev, x, dy, dx);
    if (!dx.data) return;
    int64_t f = dy.cols;
    for (int64_t r = 0; r < x.rows; r++) {
        for (int64_t c = 0; c < f; c++) {
            double gate = drt_row(x, r)[c], up = drt_row(x, r)[f + c], g = drt_row(dy, r)[c];
            ref_put(drt_row(dx, r) + c, g * up * act_slope(kind, gate), acc);
            ref_put(drt_row(dx, r) + f + c, g * act(kind, gate), acc);
        }
    }
}
