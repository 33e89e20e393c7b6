// drt probe: linear probes on a vision tower's patch features.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "base/file.h"
#include "eval/probe.h"

#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "drt probe MODEL --data DIR [--out F.json]\n"
    "\n"
    "Tells what one linear layer can read off the patch features that LLaVA takes from a vision tower (the last\n"
    "layer but one, frozen): colour, shape and size of the object that covers a patch, the word on a sign, and\n"
    "where the patch is (row, column). It learns from four in five of the pictures of DIR/eval/clip.json and is\n"
    "judged on the rest; chance is what naming the most frequent class would get.\n"
    "\n"
    "  MODEL        a CLIP or LLaVA folder\n"
    "  --data DIR   a shapes world (drt shapes --out DIR --train 1 --eval 1000)\n"
    "  --out F.json write the numbers\n"
    "  --limit N    pictures (default 1000)\n"
    "  --steps N    of AdamW for each probe (default 300)\n"
    "  --dtype TYPE of products: f32, bf16, f16 (weights stay f32), or auto (default), as the folder stores them\n"
    "  --device NAME   cpu (default), or ref: slow and plain\n"
    "  --threads N  default: all cores\n"
    "\n"
    "  drt probe models/tiny-clip --data out/shapes\n";

static drt_status run(const char *model, drt_keep keep, const char *out, const drt_probe_options *o, drt_tape *tape,
                      drt_error *err) {
    drt_model *m = NULL;
    drt_probe_result result;
    drt_text text = {0};
    const drt_model_options inference = {.keep = keep};
    drt_status status = drt_model_open(&m, model, &inference, err);
    if (!status) status = drt_probe_run(m, tape, o, &result, err);
    drt_model_close(m);
    if (status) return status;
    drt_probe_table(&result, &text);
    fputs(text.bytes ? text.bytes : "", stdout);
    drt_text_free(&text);
    if (!out) return DRT_OK;
    drt_probe_json(&result, &text);
    status = text.failed ? drt_fail(err, DRT_ENOMEM, "no memory for %s", out)
                         : drt_file_write(out, text.bytes, text.size, err);
    drt_text_free(&text);
    return status;
}

int drt_cli_probe(int argc, char **argv) {
    const char *model = NULL, *data = NULL, *out = NULL, *limit = "1000", *steps = "300", *name = "cpu",
               *threads = NULL, *dtype = "auto";
    const drt_option options[] = {
        {"--data", &data, NULL, true},    {"--out", &out, NULL, false},     {"--limit", &limit, NULL, false},
        {"--steps", &steps, NULL, false}, {"--device", &name, NULL, false}, {"--threads", &threads, NULL, false},
        {"--dtype", &dtype, NULL, false},
    };
    int n_rest = 1,
        rc = drt_options_parse(argc, argv, options, sizeof options / sizeof *options, &model, &n_rest, help);
    long long n_limit, n_steps;
    if (rc) return rc == 1 ? 0 : rc;
    if (!drt_option_model("probe", n_rest)) return 2;
    if (!drt_option_number("probe", "--limit", limit, 10, 1 << 24, &n_limit)) return 2;
    if (!drt_option_number("probe", "--steps", steps, 1, 1 << 20, &n_steps)) return 2;
    int keep = drt_cli_word("probe", "--dtype", dtype, drt_keep_names, DRT_KEEPS);
    if (keep < 0) return 2;
    drt_error err = {0};
    drt_device *dev;
    drt_tape *tape;
    if (!drt_cli_open("probe", name, threads, &dev, &tape)) return 2;
    drt_progress progress = {.report = drt_progress_terminal, .user = stderr, .what = "probing"};
    const drt_probe_options o = {.data = data, .limit = n_limit, .steps = (int)n_steps, .progress = &progress};
    drt_status status = run(model, (drt_keep)keep, out, &o, tape, &err);
    if (status) fprintf(stderr, "drt probe: %s\n", err.text);
    drt_cli_close(dev, tape);
    return status ? 1 : 0;
}
