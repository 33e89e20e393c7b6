#include "kernels/cpu/isa/table.h"

#define DRT_TEXT2(x) #x
#define DRT_TEXT(x) DRT_TEXT2(x)

const drt_cpu_table DRT_FN(table) = {
    .kernels = {.name = "cpu/" DRT_TEXT(DRT_ISA),
                .matmul = DRT_FN(matmul),
                .col_sum = DRT_FN(col_sum),
                .copy_rows = DRT_FN(copy_rows),
                .convert = DRT_FN(convert),
                .fill = DRT_FN(fill),
                .add = DRT_FN(add),
                .scale = DRT_FN(scale),
                .drop = DRT_FN(drop),
                .activate = DRT_FN(activate),
                .activate_back = DRT_FN(activate_back),
                .glu = DRT_FN(glu),
                .glu_back = DRT_FN(glu_back),
                .layer_norm = DRT_FN(layer_norm),
                .layer_norm_back = DRT_FN(layer_norm_back),
                .rms_norm = DRT_FN(rms_norm),
                .rms_norm_back = DRT_FN(rms_norm_back),
                .unit_rows = DRT_FN(unit_rows),
                .unit_rows_back = DRT_FN(unit_rows_back),
                .rope = DRT_FN(rope),
                .attention = DRT_FN(attention),
                .attention_back = DRT_FN(attention_back),
                .cross_entropy = DRT_FN(cross_entropy),
                .cross_entropy_back = DRT_FN(cross_entropy_back),
                .sinkhorn = DRT_FN(sinkhorn),
                .sinkhorn_back = DRT_FN(sinkhorn_back),
                .sum = DRT_FN(sum),
                .sum_squares = DRT_FN(sum_squares),
                .adamw = DRT_FN(adamw)},
    .convert_block = DRT_FN(convert_block),
};
