// drt demo: the whole method on a small world, from drawn pictures to a report.
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/options.h"

#include "train/experiment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt demo [--out DIR] [--seed S] [--quick] [KEY=VALUE ...]\n"
    "\n"
    "Draws a world of shapes, trains LLaVA and Direct-LLaVA on the same samples in two stages, asks both\n"
    "the same questions with the picture and with a black one, and writes DIR/report.html.\n"
    "What an earlier, interrupted demo has finished is not done again. Run it where configs/ and models/ are.\n"
    "\n"
    "  --out DIR    folder to fill (default out/demo)\n"
    "  --seed S     of the world and of training (default 1)\n"
    "  --quick      a two-minute version: too short to learn much, long enough to see every part work\n"
    "  KEY=VALUE    a recipe key for every stage (drt train --help)\n";

enum { MOST_KEYS = 64, FIRST = 1 }; // FIRST: of the keys given, behind the one of --quick

int drt_cli_demo(int argc, char **argv) {
    static const drt_experiment_model models[] = {
        {.name = "llava", .title = "LLaVA", .recipe = {"configs/demo-llava-1.yaml", "configs/demo-llava-2.yaml"}},
        {.name = "direct",
         .title = "Direct-LLaVA",
         .recipe = {"configs/demo-direct-1.yaml", "configs/demo-direct-2.yaml"}},
    };
    const char *out = "out/demo", *seed = "1", *keys[MOST_KEYS + FIRST] = {"train.steps=20"};
    bool quick = false;
    const drt_option options[] = {
        {"--out", &out, NULL, false}, {"--seed", &seed, NULL, false}, {"--quick", NULL, &quick, false}};
    int n = MOST_KEYS, rc = drt_options_parse(argc, argv, options, 3, keys + FIRST, &n, help);
    long long s;
    if (rc) return rc == 1 ? 0 : 2;
    if (!drt_option_number("demo", "--seed", seed, 0, 1LL << 53, &s)) return 2;
    drt_experiment e = {.out = out,
                        .title = "LLaVA and Direct-LLaVA on a world of shapes",
                        .models = models,
                        .n = 2,
                        .train = 8000,
                        .eval = 400,
                        .seed = (uint64_t)s,
                        .override = keys + (quick ? 0 : FIRST),
                        .n_override = n + quick};
    if (quick) {
        e.train = 640;
        e.eval = 60;
        e.limit = 60;
    }
    drt_log_screen screen;
    drt_progress progress;
    const drt_run_hooks hooks = drt_terminal_hooks(&screen, &progress);
    drt_text table = {0};
    drt_error err = {0};
    drt_interrupt_install();
    drt_status status = drt_experiment_run(&e, &hooks, &table, &err);
    if (status) fprintf(stderr, "drt demo: %s\n", err.text);
    else
        printf("\n%s\nThe report: %s/report.html (also report.md, report.json)\n"
               "Ask the model just made: build/drt chat %s/direct/stage2/model --image PICTURE\n",
               table.bytes ? table.bytes : "", out, out);
    drt_text_free(&table);
    return drt_interrupt_status(status);
}
