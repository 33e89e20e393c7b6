// drt replay: where two runs part.
#include "cli/commands.h"
#include "cli/options.h"

#include "base/text.h"
#include "train/replay.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "drt replay RUN_A RUN_B [--json]\n"
    "\n"
    "Finds the first step, and in it the first tensor, at which two runs part. Logs and checkpoints tell\n"
    "where to look; from the last checkpoint that is the same in both (or from the start) both are run\n"
    "again and compared tensor by tensor in the order in which a step computes them. Run folders stay as\n"
    "they are; models and data that the recipes name must be where they were.\n"
    "The exit status is 0 if the runs agree, 1 if they part, and 2 if that could not be found out.\n"
    "\n"
    "  --json   one JSON object; steps count from 1, 0 is none\n"
    "\n"
    "  drt replay out/run out/run-again\n";

static void print_known(const drt_replay_result *r) {
    long long step = (long long)r->known;
    if (!strcmp(r->field, "checkpoint")) printf("the checkpoints after step %lld differ\n", step);
    else if (!strcmp(r->field, "weights")) printf("the logs part at step %lld: other weights after it\n", step);
    else printf("the logs part at step %lld: %s is %.9g and %.9g\n", step, r->field, r->value[0], r->value[1]);
}

static void print(const drt_replay_result *r, const char *const run[2]) {
    if (*r->recipe) printf("the recipes differ in %s\n", r->recipe);
    if (!r->known) {
        printf("the runs agree in all %lld steps that both have logged\n", (long long)r->steps);
        return;
    }
    print_known(r);
    if (r->from) printf("run again from the common checkpoint after step %lld: ", (long long)r->from);
    else printf("run again from the start: ");
    if (r->step) printf("they part at step %lld, first in %s\n", (long long)r->step, r->tensor);
    else if (*r->tensor)
        printf("they do not part; stored after step %lld differs first %s\n", (long long)r->known, r->tensor);
    else printf("they do not part\n");
    for (int k = 0; k < 2; k++)
        if (r->unlike[k])
            printf(
                "%s: from step %lld on it does not come out here as its log says; that was another machine or number "
                "of threads, or files have changed since\n",
                run[k], (long long)r->unlike[k]);
}

static void print_json(const drt_replay_result *r) {
    drt_text t = {0};
    drt_text_printf(&t, "{\"steps\":%lld,\"known\":%lld,\"from\":%lld,\"step\":%lld,\"unlike\":[%lld,%lld]",
                    (long long)r->steps, (long long)r->known, (long long)r->from, (long long)r->step,
                    (long long)r->unlike[0], (long long)r->unlike[1]);
    const char *const name[] = {"field", "tensor", "recipe"}, *const value[] = {r->field, r->tensor, r->recipe};
    for (int i = 0; i < 3; i++) {
        drt_text_printf(&t, ",\"%s\":", name[i]);
        drt_text_json(&t, value[i]);
    }
    if (!t.failed) printf("%s}\n", t.bytes);
    drt_text_free(&t);
}

int drt_cli_replay(int argc, char **argv) {
    drt_progress progress = {.report = drt_progress_terminal, .user = stderr, .what = "running again"};
    const char *run[2];
    bool json = false;
    const drt_option options[] = {{"--json", NULL, &json, false}};
    int n = 2, rc = drt_options_parse(argc, argv, options, 1, run, &n, help);
    if (rc) return rc == 1 ? 0 : 2;
    if (n < 2) {
        fputs("drt replay: two run folders are wanted\nTry: drt replay --help\n", stderr);
        return 2;
    }
    drt_error err = {0};
    drt_replay_result r;
    drt_status status = drt_replay(run[0], run[1], &progress, &r, &err);
    if (status) {
        if (r.known) print_known(&r);
        fprintf(stderr, "drt replay: %s\n", err.text);
        return 2;
    }
    if (json) print_json(&r);
    else print(&r, run);
    return r.known != 0;
}
