// Products with 16-bit operands: by bf16 instructions where both are bf16 and the machine is fast at it (bf16.h), else
// by the f32 product from expanded copies. a, the activations, is expanded whole; b, usually a weight matrix of tens of
// millions of numbers, a panel at a time, so that the copy is small and still in the cache when it is read.
#include "kernels/cpu/cpu.h"

enum { PANEL_NUMBERS = 1 << 20 };

static int64_t padded(int64_t cols) { return (cols + 15) / 16 * 16; }

static drt_mat expanded(drt_device *dev, drt_mat x, float *room) {
    if (x.type == DRT_F32) return x;
    drt_mat y = {room, x.rows, x.cols, padded(x.cols), DRT_F32};
    dev->k->convert(dev, x, y);
    return y;
}

void drt_cpu_matmul_half(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    if (a.type == DRT_BF16 && b.type == DRT_BF16 && ((drt_cpu_state *)dev->state)->bf16) {
        drt_cpu_product(dev, ta, tb, a, b, bias, acc, c);
        return;
    }
    int64_t n = c.cols, k = tb ? b.cols : b.rows, width = n;
    if (b.type != DRT_F32 && k) width = PANEL_NUMBERS / k < 64 ? 64 : PANEL_NUMBERS / k;
    if (width > n) width = n;
    size_t whole = a.type == DRT_F32 ? 0 : (size_t)(a.rows * padded(a.cols));
    size_t panel = b.type == DRT_F32 ? 0 : (size_t)(tb ? width * padded(k) : k * padded(width));
    float *room = drt_cpu_expanded(dev, whole + panel + 1);
    if (!room) return;
    a = expanded(dev, a, room);
    for (int64_t at = 0; at < n; at += width) {
        int64_t w = n - at < width ? n - at : width;
        drt_mat part = tb ? drt_mat_part(b, at, w, 0, k) : drt_mat_part(b, 0, k, at, w);
        drt_mat shift = bias.data ? drt_mat_part(bias, 0, 1, at, w) : bias;
        drt_cpu_product(dev, ta, tb, a, expanded(dev, part, room + whole), shift, acc,
                        drt_mat_part(c, 0, c.rows, at, w));
    }
}
