// drt verify: a model against a golden file, stage by stage.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "eval/verify.h"

#include <stdio.h>

static const char help[] =
    "drt verify MODEL --golden FILE [--dtype TYPE] [--json]\n"
    "\n"
    "Runs MODEL on the picture and prompt of a golden file and compares every stage with what another program\n"
    "computed: tokens, pixels, patch embedding, every vision layer, projector, splice, every decoder layer, logits,\n"
    "greedy tokens; of CLIP and SigLIP every layer of both towers, their joint space and the scores. Prints a\n"
    "certificate and names the first stage that differs. Exit status: 0 all agree, 1 not.\n"
    "tools/golden_verify.py makes golden files from any LLaVA, CLIP, SigLIP or decoder folder that transformers\n"
    "loads:\n"
    "\n"
    "  python3 tools/golden_verify.py MODEL golden.safetensors --image cup.jpg --prompt \"USER: <image>\\n...\"\n"
    "\n"
    "  --golden FILE   what to compare with\n"
    "  --dtype TYPE    of products: f32 (default, and the strictest), bf16, f16 (weights stay f32), or auto, as "
    "stored\n"
    "  --adapter DIR   a PEFT folder of LoRA beside the model\n"
    "  --json          the certificate as JSON\n"
    "  --device NAME   cpu (default), or ref: slow and plain\n"
    "  --threads N     default: all cores\n"
    "\n"
    "  drt verify models/llava-1.5-7b-hf --golden golden.safetensors\n";

static drt_status run(const char *model, const drt_model_options *inference, const char *golden, bool json,
                      drt_tape *tape, bool *same, drt_error *err) {
    drt_model *m = NULL;
    drt_certificate c = {0};
    drt_text text = {0};
    drt_status status = drt_model_open(&m, model, inference, err);
    if (!status) status = drt_verify(m, tape, golden, &c, err);
    if (!status) {
        (json ? drt_certificate_json : drt_certificate_table)(&c, &text);
        *same = !c.first;
        if (text.failed) status = drt_fail(err, DRT_ENOMEM, "no memory for a certificate");
        else fputs(text.bytes, stdout);
    }
    drt_text_free(&text);
    drt_certificate_free(&c);
    drt_model_close(m);
    return status;
}

int drt_cli_verify(int argc, char **argv) {
    const char *model = NULL, *golden = NULL, *name = "cpu", *threads = NULL, *dtype = "f32", *adapter = NULL;
    bool json = false, same = false;
    const drt_option options[] = {
        {"--golden", &golden, NULL, true}, {"--dtype", &dtype, NULL, false},     {"--json", NULL, &json, false},
        {"--device", &name, NULL, false},  {"--threads", &threads, NULL, false}, {"--adapter", &adapter, NULL, false},
    };
    int n_rest = 1,
        rc = drt_options_parse(argc, argv, options, sizeof options / sizeof *options, &model, &n_rest, help);
    if (rc) return rc == 1 ? 0 : rc;
    if (!drt_option_model("verify", n_rest)) return 2;
    int keep = drt_cli_word("verify", "--dtype", dtype, drt_keep_names, DRT_KEEPS);
    if (keep < 0) return 2;
    drt_error err = {0};
    drt_device *dev;
    drt_tape *tape;
    if (!drt_cli_open("verify", name, threads, &dev, &tape)) return 2;
    const drt_model_options inference = {.keep = (drt_keep)keep, .adapter = adapter};
    drt_status status = run(model, &inference, golden, json, tape, &same, &err);
    if (status) fprintf(stderr, "drt verify: %s\n", err.text);
    drt_cli_close(dev, tape);
    return status || !same;
}
