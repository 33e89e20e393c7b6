// drt shapes: makes the shapes world.
#include "cli/commands.h"

#include "base/text.h"
#include "data/shapes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int refuse(const char *message, const char *what, const char *hint) {
    fprintf(stderr, "drt shapes: %s%s%s\nTry: drt shapes --help\n", message, what, hint);
    return 2;
}

static int parse_number(const char *option, const char *value, int64_t *out) {
    char *end;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (errno || end == value || *end) {
        fprintf(stderr, "drt shapes: %s wants a whole number, not '%s'\n", option, value);
        return 2;
    }
    *out = n;
    return 0;
}

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
    static const char *const options[] = {"--out", "--train", "--eval", "--text", "--seed", "--help"};
    drt_shapes_config config = {.train = 0, .eval = 0, .text = -1, .seed = 1};
    config.progress = (drt_progress){.report = drt_progress_terminal, .user = stderr, .what = "drawing"};
    int64_t seed = 1, *numbers[] = {NULL, &config.train, &config.eval, &config.text, &seed};
    bool given[5] = {false};
    for (int i = 1; i < argc; i++) {
        int k = 0;
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(help, stdout);
            return 0;
        }
        while (k < 5 && strcmp(argv[i], options[k])) k++;
        if (k == 5) {
            const char *near = drt_nearest(argv[i], options, 6);
            fprintf(stderr, "drt shapes: unknown option '%s'%s%s%s\nTry: drt shapes --help\n", argv[i],
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
            return 2;
        }
        if (i + 1 == argc) return refuse(argv[i], " wants a value", "");
        given[k] = true;
        if (k == 0) config.out = argv[++i];
        else if (parse_number(argv[i], argv[i + 1], numbers[k])) return 2;
        else i++;
    }
    for (int k = 0; k < 3; k++) {
        if (!given[k]) return refuse("missing ", options[k], k ? " N" : " DIR");
    }
    if (!given[3]) config.text = config.train;
    config.seed = (uint64_t)seed;
    drt_error err = {0};
    drt_shapes_summary summary;
    if (drt_shapes_generate(&config, &summary, &err)) {
        fprintf(stderr, "drt shapes: %s\n", err.text);
        return 1;
    }
    report(config.out, &config, &summary);
    return 0;
}
