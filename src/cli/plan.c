// drt plan: what a recipe will take, before it takes it.
#include "cli/commands.h"

#include "base/memory.h"
#include "base/progress.h"
#include "train/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt plan RECIPE.yaml [key=value ...] [--memory 4G] [--json]\n"
    "\n"
    "Tells what `drt train` with the same recipe will take: bytes for weights, gradients, optimizer,\n"
    "activations, kernels, data and the program, and the peak, for the largest batch of the real data; and\n"
    "the time of an epoch, from one measured step. A recipe that does not fit is answered with the nearest\n"
    "that does. `drt train` plans likewise before its first step, and never takes more than it planned.\n"
    "The exit status is 0 if the recipe fits, 1 if not, and 2 if that could not be found out.\n"
    "\n"
    "  --memory SIZE   what there is: 4G, 512M (of 1024), 4GB (of 1000); the key `memory` of a recipe.\n"
    "                  Otherwise what is free on this machine, or what its control group allows\n"
    "  --json          one JSON object, in bytes and seconds; \"nearest\" are the keys to add\n"
    "\n"
    "  drt plan configs/demo-direct-2.yaml model=out/demo/direct/stage1/model \\\n"
    "    data.file=out/demo/world/finetune.json out=out/try --memory 1G\n";

typedef struct {
    drt_plan plan, near;
    char keys[200]; // of near; "": none fits
    int64_t given;
    double seconds; // of a step; 0: not measured
} answer;

static void print_row(const char *name, int64_t bytes, const char *what) {
    char text[24];
    printf("  %-12s %10s  %s\n", name, drt_memory_text(text, bytes), what);
}

static void print(const answer *a, const drt_recipe *r) {
    const drt_plan *p = &a->plan;
    char what[200], text[24], other[24];
    print_row("weights", p->weights, "");
    print_row("gradients", p->gradients, "");
    print_row("optimizer", p->optimizer, "AdamW's two moments");
    snprintf(what, sizeof what, "step %lld: %lld rows%s, its largest part %lld rows and %d pictures",
             (long long)p->step, (long long)p->rows, p->whole ? "" : " (of those looked at)", (long long)p->part_rows,
             p->images);
    print_row("activations", p->activations, what);
    snprintf(what, sizeof what, "scratch of %d threads", p->threads);
    print_row("kernels", p->kernels, what);
    if (p->features) print_row("features", p->features, "of pictures, kept");
    snprintf(what, sizeof what, "pixels and tokens of %d steps", DRT_LOADER_STEPS);
    print_row("data", p->data, what);
    print_row("program", p->program, "code, libraries, the list of samples");
    print_row("peak", p->peak, "");
    if (a->given) drt_memory_text(text, a->given);
    else snprintf(text, sizeof text, "what there is"); // the system does not say
    if (p->peak <= a->given || !a->given) {
        printf("fits in %s: batch %lld in %lld parts, recompute %s, dtype %s\n", text, (long long)r->train.batch,
               (long long)r->train.accumulate, r->train.recompute ? "yes" : "no", drt_keep_names[r->dtype]);
        printf("%.3g s a step, %s an epoch of %lld steps, as one measured step has it\n", a->seconds,
               drt_duration(other, a->seconds * (double)p->epoch), (long long)p->epoch);
    } else if (*a->keys)
        printf("does not fit in %s; the nearest that fits takes %s: %s\n", text, drt_memory_text(other, a->near.peak),
               a->keys);
    else
        printf("does not fit in %s, and no size of parts, train.recompute or dtype=bf16 does; the least takes %s\n",
               text, drt_memory_text(other, a->near.peak));
}

static void print_json(const answer *a) {
    const drt_plan *p = &a->plan;
    printf("{\"weights\":%lld,\"gradients\":%lld,\"optimizer\":%lld,\"activations\":%lld,\"kernels\":%lld,"
           "\"data\":%lld,\"features\":%lld,\"program\":%lld,\"peak\":%lld,\"memory\":%lld,\"step\":%lld,\"rows\":%lld,"
           "\"steps\":%lld,\"epoch\":%lld,\"flops\":%.0f",
           (long long)p->weights, (long long)p->gradients, (long long)p->optimizer, (long long)p->activations,
           (long long)p->kernels, (long long)p->data, (long long)p->features, (long long)p->program, (long long)p->peak,
           (long long)a->given, (long long)p->step, (long long)p->rows, (long long)p->steps, (long long)p->epoch,
           p->flops);
    bool fits = p->peak <= a->given || !a->given;
    printf(",\"fits\":%s", fits ? "true" : "false");
    if (fits) printf(",\"seconds\":%.6g,\"epoch_seconds\":%.6g", a->seconds, a->seconds * (double)p->epoch);
    else printf(",\"nearest\":\"%s\",\"nearest_peak\":%lld", a->keys, (long long)a->near.peak);
    printf("}\n");
}

static int run(const drt_recipe *r, bool json) {
    drt_progress checking = {.report = drt_progress_terminal, .user = stderr, .what = "checking pictures"};
    answer a = {.given = drt_plan_memory(r)};
    drt_error err = {0};
    drt_status status = drt_recipe_complete(r, &err);
    if (!status) status = drt_plan_make(&a.plan, r, 0, &checking, &err);
    bool fits = !a.given || a.plan.peak <= a.given;
    if (!status)
        status =
            fits ? drt_plan_time(&a.plan, r, &a.seconds, &err) : drt_plan_nearest(&a.near, a.keys, r, a.given, &err);
    if (status) {
        fprintf(stderr, "drt plan: %s\n", err.text);
        return 2;
    }
    if (json) print_json(&a);
    else print(&a, r);
    return !fits;
}

int drt_cli_plan(int argc, char **argv) {
    const char *file = NULL, ** override = calloc((size_t)argc + 1, sizeof *override);
    char memory[80];
    bool json = false, wrong = false;
    int n = 0, rc = 2;
    if (override) override[n++] = "out=plan"; // nothing is written: no need to name a folder
    for (int i = 1; override && i < argc && !wrong; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(help, stdout);
            free(override);
            return 0;
        }
        if (!strcmp(argv[i], "--json")) json = true;
        else if (!strcmp(argv[i], "--memory") && i + 1 < argc) {
            snprintf(memory, sizeof memory, "memory=%s", argv[++i]);
            override[n++] = memory;
        } else if (strchr(argv[i], '=')) override[n++] = argv[i];
        else if (!file && argv[i][0] != '-') file = argv[i];
        else {
            fprintf(stderr, "drt plan: what is '%s'? Overrides are written key=value. Try: drt plan --help\n", argv[i]);
            wrong = true;
        }
    }
    drt_recipe r;
    drt_error err = {0};
    if (override && !wrong) {
        if (drt_recipe_load(&r, file, n, override, &err)) fprintf(stderr, "drt plan: %s\n", err.text);
        else {
            rc = run(&r, json);
            drt_recipe_free(&r);
        }
    }
    free(override);
    return rc;
}
