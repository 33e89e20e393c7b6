// drt train: a training run from a recipe.
#include "cli/commands.h"
#include "cli/interrupt.h"

#include "train/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt train RECIPE.yaml [key=value ...] [--resume]\n"
    "\n"
    "Trains a model as the recipe says; every key can be given on the command line, too.\n"
    "The run folder (key `out`) receives run.jsonl, checkpoints/, curves.svg and, at the end, model/:\n"
    "a Hugging Face folder with directed.safetensors beside it.\n"
    "\n"
    "  --resume   go on from the newest checkpoint in `out`, bit for bit as if never stopped\n"
    "\n"
    "Ctrl-C saves a checkpoint and stops; a second one stops at once.\n"
    "\n"
    "  drt train configs/demo-llava-1.yaml data.file=out/demo/world/pretrain.json lr=1e-3 train.steps=50 out=out/try\n"
    "\n"
    "Keys, what is allowed [default], and what they mean:\n";

int drt_cli_train(int argc, char **argv) {
    const char *file = NULL, ** override = calloc((size_t)argc + 1, sizeof *override);
    int n = 0;
    if (!override) return 1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            drt_text keys = {0};
            drt_recipe_help(&keys);
            fputs(help, stdout);
            fputs(keys.bytes ? keys.bytes : "", stdout);
            drt_text_free(&keys);
            free(override);
            return 0;
        }
        if (!strcmp(argv[i], "--resume")) override[n++] = "checkpoint.resume=true";
        else if (strchr(argv[i], '=')) override[n++] = argv[i];
        else if (!file && argv[i][0] != '-') file = argv[i];
        else {
            fprintf(stderr, "drt train: what is '%s'? Overrides are written key=value. Try: drt train --help\n",
                    argv[i]);
            free(override);
            return 2;
        }
    }
    drt_recipe r;
    drt_error err = {0};
    drt_log_screen screen;
    drt_progress progress;
    const drt_run_hooks hooks = drt_terminal_hooks(&screen, &progress);
    drt_run_result result;
    drt_interrupt_install();
    drt_status status = drt_recipe_load(&r, file, n, override, &err);
    free(override);
    if (!status) {
        status = drt_recipe_complete(&r, &err);
        if (!status) status = drt_train_run(&r, &hooks, &result, &err);
        char time[24];
        if (!status)
            printf("%s: %lld steps in %s (%.1f s without data), loss %.4f, weights %016llx\n", r.out,
                   (long long)result.steps, drt_duration(time, result.seconds), result.waited, result.loss,
                   (unsigned long long)result.weights);
        drt_recipe_free(&r);
    }
    if (status) fprintf(stderr, "drt train: %s\n", err.text);
    return status ? 1 : 0;
}
