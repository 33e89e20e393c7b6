// Products with a 16-bit weight: by bf16 instructions where both operands are bf16 and the machine is fast at it
// (bf16.h), else by the f32 product from an expanded copy, a panel at a time, so that the copy of a weight of tens of
// millions of numbers stays small.
#include "kernels/cpu/cpu.h"

// A panel has so many numbers, of not more than so many terms of the sums: then it has 1024 columns of c and more, and
// what it costs to convert the same numbers of a for each panel is a fiftieth of the product.
enum { PANEL_NUMBERS = 1 << 22, PANEL_DEPTH = 1 << 12 };

drt_dtype drt_cpu_multiplied(const drt_device *dev, drt_dtype a, drt_dtype b) {
    const drt_cpu_state *state = dev->state;
    if (a == DRT_AS_F16 && b == DRT_AS_F16) return state->f16 ? DRT_AS_F16 : DRT_F32;
    bool bf16 = (a == DRT_BF16 || a == DRT_AS_BF16) && (b == DRT_BF16 || b == DRT_AS_BF16);
    return bf16 && state->bf16 ? DRT_BF16 : DRT_F32;
}

void drt_cpu_matmul(drt_device *dev, bool ta, bool tb, drt_mat a, drt_mat b, drt_mat bias, bool acc, drt_mat c) {
    int64_t k = ta ? a.rows : a.cols, n = c.cols;
    // With a transposed this is a weight's gradient: both operands are rows of activations, converted block by block.
    if (ta || !n || !k || b.type == drt_cpu_multiplied(dev, a.type, b.type)) {
        drt_cpu_product(dev, ta, tb, a, b, bias, acc, c);
        return;
    }
    int64_t deep = (k + PANEL_DEPTH - 1) / PANEL_DEPTH, depth = (k + deep - 1) / deep, width = PANEL_NUMBERS / depth;
    if (width > n) width = n;
    int64_t ld = (((tb ? depth : width) + 15) / 16 | 1) * 16;
    float *room = drt_cpu_expanded(dev, (size_t)((tb ? width : depth) * ld));
    if (!room) return;
    for (int64_t at = 0; at < n; at += width)
        for (int64_t t = 0; t < k; t += depth) {
            int64_t w = n - at < width ? n - at : width, d = k - t < depth ? k - t : depth;
            drt_mat part = tb ? drt_mat_part(b, at, w, t, d) : drt_mat_part(b, t, d, at, w);
            drt_mat panel = {room, part.rows, part.cols, ld, drt_cpu_multiplied(dev, a.type, b.type)};
            drt_mat shift = bias.data && !t ? drt_mat_part(bias, 0, 1, at, w) : (drt_mat){0};
            dev->k->convert(dev, part, panel);
            drt_cpu_product(dev, false, tb, drt_mat_part(a, 0, a.rows, t, d), panel, shift, acc || t,
                            drt_mat_part(c, 0, c.rows, at, w));
        }
}
