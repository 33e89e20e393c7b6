// drt shapes: makes the shapes world.
#include "cli/commands.h"
#include "cli/options.h"

#include "data/shapes.h"

#include <limits.h>
#include <stdio.h>

static const char help[] =
    "drt shapes --out DIR --train N --eval N [--text N] [--seed S]\n"
    "\n"
    "Draws a small world to train and test on: pictures of coloured shapes, with captions,\n"
    "conversations and questions in LLaVA's formats. The same options give the same bytes.\n"
    "\n"
    "  --out DIR    folder to fill; what an earlier run left in it is replaced\n"
    "  --train N    pictures to train on: pretrain.json (captions), finetune.json (conversations),\n"
    "               clip.json (captions with hard negatives, what covers each patch)\n"
    "  --eval N     held-out pictures: eval/exist, count, color, relation, text, choice (.jsonl)\n"
    "  --text N     samples without a picture, text.json: descriptions with questions (default: as --train)\n"
    "  --seed S     any whole number (default 1)\n"
    "\n"
    "The table at the end shows, per task, the share of questions answered rightly by always giving the\n"
    "answer most frequent in training: what a model must beat before it can be said to look.\n"
    "\n"
    "  drt shapes --out out/shapes --train 4000 --eval 500\n";

static void report(const char *out, const drt_shapes_config *c, const drt_shapes_summary *s) {
    printf("%-14s %9s  %s\n", "task", "questions", "prior");
    for (int i = 0; i < s->n_tasks; i++)
        printf("%-14s %9lld  %.3f\n", s->task[i].name, (long long)s->task[i].questions, s->task[i].prior);
    char time[24];
    printf(
        "\n%lld + %lld pictures (%.1f MB), %lld questions and answers to train on, %lld without a picture; %d words\n"
        "%s: written in %s, %.1f MB of JSON\n",
        (long long)c->train, (long long)c->eval, (double)s->image_bytes / 1e6, (long long)s->turns,
        (long long)s->text_turns, s->words, out, drt_duration(time, s->seconds), (double)s->text_bytes / 1e6);
}

int drt_cli_shapes(int argc, char **argv) {
    enum { MOST = 10000000 };
    const char *out = NULL, *train = NULL, *eval = NULL, *text = NULL, *seed = "1";
    const drt_option options[] = {{"--out", &out, NULL, true},
                                  {"--train", &train, NULL, true},
                                  {"--eval", &eval, NULL, true},
                                  {"--text", &text, NULL, false},
                                  {"--seed", &seed, NULL, false}};
    int n_rest = 0, rc = drt_options_parse(argc, argv, options, 5, NULL, &n_rest, help);
    long long n_train, n_eval, n_text, n_seed;
    if (rc) return rc == 1 ? 0 : 2;
    if (!drt_option_number("shapes", "--train", train, 1, MOST, &n_train) ||
        !drt_option_number("shapes", "--eval", eval, 1, MOST, &n_eval) ||
        !drt_option_number("shapes", "--text", text ? text : train, 0, MOST, &n_text) ||
        !drt_option_number("shapes", "--seed", seed, LLONG_MIN, LLONG_MAX, &n_seed))
        return 2;
    const drt_shapes_config config = {.out = out,
                                      .train = n_train,
                                      .eval = n_eval,
                                      .text = n_text,
                                      .seed = (uint64_t)n_seed,
                                      .progress = {.report = drt_progress_terminal, .user = stderr, .what = "drawing"}};
    drt_error err = {0};
    drt_shapes_summary summary;
    if (drt_shapes_generate(&config, &summary, &err)) {
        fprintf(stderr, "drt shapes: %s\n", err.text);
        return 1;
    }
    report(out, &config, &summary);
    return 0;
}
