// drt ablate: a base, its variations and several seeds, from one file to one table.
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/options.h"

#include "train/ablation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt ablate FILE.yaml [--quick] [KEY=VALUE ...]\n"
    "\n"
    "Trains a base recipe and its named variations with several seeds, asks all the same questions, and writes\n"
    "OUT/report.html, report.md, report.json: means, 95 % intervals over seeds, paired differences to the base, and\n"
    "what of it is not significant. What an earlier, interrupted call has finished is not done again; what was\n"
    "trained by another recipe is refused. Run it where configs/ and models/ are. docs/ablate.md tells more.\n"
    "\n"
    "  --quick      two seeds and a few steps: too short to learn, long enough to see every part work\n"
    "  KEY=VALUE    a key of the file: title, out, seeds, compute, tasks, questions, world.train, world.eval;\n"
    "               else a recipe key for every stage of every variation (drt train --help)\n"
    "\n"
    "  drt ablate configs/ablate-directed.yaml\n"
    "  drt ablate configs/ablate-methods.yaml compute=equal out=out/ablate-equal seeds=1,2,3,4,5\n";

enum { MOST_WORDS = 64 };
static const char *const quick_keys[] = {"world.train=96", "world.eval=12", "seeds=1,2",           "questions=8",
                                         "train.steps=3",  "train.batch=8", "out=out/quick-ablate"};
enum { QUICK = sizeof quick_keys / sizeof *quick_keys };

// A word as a shell reads it.
static void put_word(drt_text *out, const char *word) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./=,:+-";
    if (*word && !word[strspn(word, plain)]) {
        drt_text_puts(out, word);
        return;
    }
    drt_text_puts(out, "'");
    for (; *word; word++) drt_text_printf(out, *word == '\'' ? "'\\%c'" : "%c", *word);
    drt_text_puts(out, "'");
}

// What was typed, for the report; malloc'ed, NULL when memory is out.
static char *typed(int argc, char **argv) {
    drt_text out = {0};
    drt_text_puts(&out, "drt");
    for (int i = 0; i < argc; i++) drt_text_puts(&out, " "), put_word(&out, argv[i]);
    if (out.failed) drt_text_free(&out);
    return out.bytes;
}

int drt_cli_ablate(int argc, char **argv) {
    const char *words[MOST_WORDS], *keys[QUICK + MOST_WORDS];
    bool quick = false;
    const drt_option options[] = {{"--quick", NULL, &quick, false}};
    int n = MOST_WORDS, rc = drt_options_parse(argc, argv, options, 1, words, &n, help), n_keys = 0;
    if (rc) return rc == 1 ? 0 : 2;
    if (!n || strchr(words[0], '=')) {
        fprintf(stderr, "drt ablate: which file? Name it first, as configs/ablate-directed.yaml.\n"
                        "Try: drt ablate --help\n");
        return 2;
    }
    for (int i = 0; quick && i < QUICK; i++) keys[n_keys++] = quick_keys[i];
    for (int i = 1; i < n; i++) keys[n_keys++] = words[i];
    drt_ablation_plan plan;
    drt_log_screen screen;
    drt_progress progress;
    const drt_run_hooks hooks = drt_terminal_hooks(&screen, &progress);
    drt_text table = {0};
    drt_error err = {0};
    drt_status status = drt_ablation_load(&plan, words[0], n_keys, keys, &err);
    if (!status) {
        drt_interrupt_install();
        plan.command = typed(argc, argv);
        status = drt_ablation_run(&plan, &hooks, &table, &err);
    }
    if (status) fprintf(stderr, "drt ablate: %s\n", err.text);
    else
        printf("\n%s\nThe report: %s/report.html (also report.md, report.json)\n", table.bytes ? table.bytes : "",
               plan.e.out);
    if (plan.arena) free(plan.command), drt_ablation_plan_free(&plan);
    drt_text_free(&table);
    return drt_interrupt_status(status);
}
