// drt convert: the same model in another type of number.
#include "cli/commands.h"
#include "cli/options.h"

#include "base/file.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt convert IN OUT [--dtype f32|bf16]\n"
    "\n"
    "Writes the Hugging Face folder IN again as OUT with weights of the given type (default bf16),\n"
    "reads OUT back and compares before it says done.\n"
    "\n"
    "  drt convert out/run/model models/mine --dtype bf16\n";

// Largest relative difference that rounding to bf16 can make.
static const double bf16_step = 1.0 / 256;

static drt_status compare(const drt_model *a, const drt_model *b, bool half, drt_error *err) {
    for (int i = 0; i < a->params->slices; i++) {
        drt_mat x = a->params->slice[i].param->tensor.value, y = b->params->slice[i].param->tensor.value;
        for (int64_t k = 0; k < x.rows * x.cols; k++) {
            double p = ((float *)x.data)[k], q = ((float *)y.data)[k], d = p > q ? p - q : q - p, most = p < 0 ? -p : p;
            if (d > (half ? bf16_step * most + 1e-38 : 0))
                return drt_fail(err, DRT_EIO, "'%s' reads back as %g instead of %g", a->params->slice[i].name, q, p);
        }
    }
    return DRT_OK;
}

int drt_cli_convert(int argc, char **argv) {
    const char *folder[2] = {NULL, NULL}, *dtype = "bf16";
    const drt_option options[] = {{"--dtype", &dtype, NULL, false}};
    int n = 2, rc = drt_options_parse(argc, argv, options, 1, folder, &n, help);
    if (rc) return rc == 1 ? 0 : 2;
    bool half = !strcmp(dtype, "bf16");
    if (n < 2 || (!half && strcmp(dtype, "f32"))) {
        fputs(n < 2 ? "drt convert: IN and OUT are wanted\n" : "drt convert: --dtype is f32 or bf16\n", stderr);
        fputs("Try: drt convert --help\n", stderr);
        return 2;
    }
    drt_error err = {0};
    const drt_model_options nothing_learns = {0};
    drt_model *in = NULL, *out = NULL;
    drt_status status = drt_model_open(&in, folder[0], &nothing_learns, &err);
    if (!status) status = drt_model_save(in, folder[1], half ? "BF16" : "F32", &err);
    if (!status) status = drt_model_open(&out, folder[1], &nothing_learns, &err);
    if (!status) status = compare(in, out, half, &err);
    if (!status) printf("%s: %d tensors as %s, read back and compared\n", folder[1], in->params->slices, dtype);
    else fprintf(stderr, "drt convert: %s\n", err.text);
    drt_model_close(in);
    drt_model_close(out);
    return status ? 1 : 0;
}
