// drt inspect: what is in a model's folder, and what would keep it from running.
#include "cli/commands.h"
#include "cli/options.h"

#include "model/inspect.h"

#include <stdio.h>

static const char help[] =
    "drt inspect PATH [--tensors] [--vision DIR] [--language DIR]\n"
    "\n"
    "Shows what a folder holds: architecture, weights with their types and bytes, tokenizer, chat\n"
    "template; and below that every fault that would stop it from running, not only the first. It reads\n"
    "all weights once, to find NaN. PATH may also be one file: model.safetensors, pytorch_model.bin.\n"
    "The exit status is 0 if nothing is wrong and 1 otherwise.\n"
    "\n"
    "  --tensors         list every tensor: type, shape, name\n"
    "  --vision DIR      the vision tower of an original LLaVA whose config names it elsewhere\n"
    "  --language DIR    the language model under a folder that holds mm_projector.bin alone\n"
    "\n"
    "  drt inspect llava-v1.5-7b --vision clip-vit-large-patch14-336\n";

int drt_cli_inspect(int argc, char **argv) {
    drt_progress reading = {.report = drt_progress_terminal, .user = stderr, .what = "reading weights"};
    drt_inspect_options o = {.progress = &reading};
    const drt_option options[] = {{"--tensors", NULL, &o.tensors, false},
                                  {"--vision", &o.vision, NULL, false},
                                  {"--language", &o.decoder, NULL, false}};
    const char *path = NULL;
    int n = 1, rc = drt_options_parse(argc, argv, options, 3, &path, &n, help), faults = 0;
    if (rc) return rc == 1 ? 0 : 2;
    if (!n) {
        fputs("drt inspect: PATH is wanted\nTry: drt inspect --help\n", stderr);
        return 2;
    }
    drt_error err = {0};
    drt_text text = {0};
    drt_status status = drt_model_inspect(path, &o, &text, &faults, &err);
    if (status) fprintf(stderr, "drt inspect: %s\n", err.text);
    else fputs(text.bytes, stdout);
    drt_text_free(&text);
    return status || faults ? 1 : 0;
}
