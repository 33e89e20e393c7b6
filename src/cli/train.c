// drt train: a training run from a recipe.
#include "cli/commands.h"
#include "cli/interrupt.h"

#include "base/text.h"
#include "train/replay_step.h"
#include "train/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt train RECIPE.yaml [key=value ...] [--resume]\n"
    "drt train --replay-batch FILE [key=value ...]\n"
    "\n"
    "Trains a model as the recipe says; every key can be given on the command line, too.\n"
    "The run folder (key `out`) receives run.jsonl, checkpoints/, curves.svg and, at the end, model/:\n"
    "a Hugging Face folder with directed.safetensors beside it.\n"
    "\n"
    "  --resume   go on from the newest checkpoint in `out`, bit for bit as if never stopped\n"
    "\n"
    "  --replay-batch FILE   do again the step that a run has left in replay/ because it was not finite,\n"
    "             sample by sample and without an update: where it begins, and in which samples\n"
    "\n"
    "Ctrl-C (SIGINT) and SIGTERM save a checkpoint and stop, with status 130 and 143; a second one leaves\n"
    "at once.\n"
    "\n"
    "  drt train configs/demo-llava-1.yaml data.file=out/demo/world/pretrain.json lr=1e-3 train.steps=50 out=out/try\n"
    "\n"
    "Keys, what is allowed [default], and what they mean:\n";

static void print_help(void) {
    drt_text keys = {0};
    drt_recipe_help(&keys);
    fputs(help, stdout);
    fputs(keys.bytes ? keys.bytes : "", stdout);
    drt_text_free(&keys);
}

static int replay(const char *file, int n, const char *const *overrides) {
    drt_progress progress = {.report = drt_progress_terminal, .user = stderr, .what = "reading weights"};
    drt_step_replay found;
    drt_error err = {0};
    drt_status status = drt_replay_step(file, n, overrides, &progress, &found, &err);
    if (status) {
        fprintf(stderr, "drt train: %s\n", err.text);
        return 1;
    }
    fputs(found.text.bytes ? found.text.bytes : "", stdout);
    drt_step_replay_free(&found);
    return 0;
}

static int train(const char *file, int n, const char *const *overrides) {
    drt_recipe r;
    drt_error err = {0};
    drt_log_screen screen;
    drt_progress progress;
    const drt_run_hooks hooks = drt_terminal_hooks(&screen, &progress);
    drt_run_result result;
    drt_interrupt_install();
    drt_status status = drt_recipe_load(&r, file, n, overrides, &err);
    if (!status) {
        status = drt_recipe_complete(&r, &err);
        if (!status) status = drt_train_run(&r, &hooks, &result, &err);
        char time[24];
        if (!status && isnan(result.loss))
            printf("%s: all %lld steps were done before, weights %016llx\n", r.out, (long long)result.steps,
                   (unsigned long long)result.weights);
        else if (!status)
            printf("%s: %lld steps in %s (%.1f s without data), loss %.4f, weights %016llx\n", r.out,
                   (long long)result.steps, drt_duration(time, result.seconds), result.waited, result.loss,
                   (unsigned long long)result.weights);
        drt_recipe_free(&r);
    }
    if (status) fprintf(stderr, "drt train: %s\n", err.text);
    return drt_interrupt_status(status);
}

int drt_cli_train(int argc, char **argv) {
    const char *file = NULL, *step = NULL, ** override = calloc((size_t)argc + 1, sizeof *override);
    int n = 0, code = 0;
    if (!override) return 1;
    for (int i = 1; i < argc && !code; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help();
            free(override);
            return 0;
        }
        if (!strcmp(argv[i], "--resume")) override[n++] = "checkpoint.resume=true";
        else if (!strcmp(argv[i], "--replay-batch")) {
            if (i + 1 < argc) step = argv[++i];
            else fprintf(stderr, "drt train: --replay-batch wants a file of RUN/replay/\n"), code = 2;
        } else if (strchr(argv[i], '=')) override[n++] = argv[i];
        else if (!file && argv[i][0] != '-') file = argv[i];
        else {
            static const char *const known[] = {"--resume", "--replay-batch"};
            const char *near = drt_nearest(argv[i], known, 2);
            fprintf(stderr, "drt train: what is '%s'?%s%s%s Overrides are written key=value. Try: drt train --help\n",
                    argv[i], near ? " Did you mean " : "", near ? near : "", near ? "?" : "");
            code = 2;
        }
    }
    if (!code && step && file) {
        fprintf(stderr, "drt train: --replay-batch finds its recipe in the run's folder; leave '%s' out\n", file);
        code = 2;
    }
    if (!code) code = step ? replay(step, n, override) : train(file, n, override);
    free(override);
    return code;
}
