// drt eval: questions, sighted or blind, and the puzzles of Direct-LLaVA.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "base/file.h"
#include "eval/tasks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt eval MODEL --data DIR [--tasks a,b] [--blind] [--out F.json]\n"
    "\n"
    "Asks a model the questions of DIR/eval/TASK.jsonl (one object a line: question_id, image, text, answer,\n"
    "answers, category; `image` is relative to DIR) and prints a table. Answers are written greedily.\n"
    "\n"
    "  accuracy    the free answer equals the right one after VQA's normalisation (or names its letter)\n"
    "  restricted  the most likely of the question's allowed answers is the right one\n"
    "  prior       what always giving the most frequent answer would get\n"
    "  precision, recall, F1, yes rate: as POPE counts them, for questions of yes and no\n"
    "\n"
    "  --data DIR            folder of questions and pictures (drt shapes makes one)\n"
    "  --tasks a,b           only these (default: all of DIR/eval)\n"
    "  --blind               show a black picture instead of every picture: what the model knows without looking\n"
    "  --puzzles             also: order of shuffled pictures and sentences, attention on the picture\n"
    "  --order-token WHERE   where the directed token stood in training: end (default), start, visual\n"
    "  --passes N            shuffles of each picture (default 4)\n"
    "  --out F.json          write everything, every answer included\n"
    "  --batch N             questions at a time (default 32)\n"
    "  --limit N             only the first N questions of each task\n"
    "  --max-new-tokens N    longest free answer (default 128)\n"
    "  --free                skip restricted answers\n"
    "  --order NAME          of the input: none; token_mixer: visual tokens beside the words they are like; gps: as\n"
    "                        the model has learned (default: as the model was trained)\n"
    "  --tau X, --side S     of token_mixer: least cosine (default 0.1); before (default) or after the word\n"
    "  --labels FILE         of drt sea-labels for these pictures: also the alignment accuracy, the share of patches\n"
    "                        whose nearest word is one of their labels (not with --blind)\n"
    "  --template NAME       how prompts are written (default: as the folder says, else v1)\n"
    "  --dtype TYPE          of products: f32, bf16, f16 (weights stay f32), or auto (default), as the folder stores "
    "them\n"
    "  --adapter DIR         a PEFT folder of LoRA, as drt train and peft write them\n"
    "  --device NAME         cpu (default), or ref: slow and plain\n"
    "  --threads N           default: all cores\n"
    "\n"
    "  drt eval out/demo/direct/stage2/model --data out/demo/world --tasks exist,relation\n"
    "  drt eval out/demo/direct/stage2/model --data out/demo/world --blind --out blind.json\n";

enum { MOST_TASKS = 64 };

typedef struct {
    const char *model, *data, *tasks, *out, *batch, *limit, *tokens, *template, *device, *threads, *token, *passes,
        *dtype, *order, *tau, *side, *labels, *adapter;
    drt_token_mixer mixer;
    bool blind, free, puzzles;
    char *words; // what task points into
    const char *task[MOST_TASKS];
    long long n_batch, n_limit, n_tokens, n_passes;
    int order_token, keep;
} asked;

// "a,b" to a list. False after a message.
static bool split_tasks(asked *a, drt_eval_options *o) {
    if (!a->tasks) return true;
    a->words = strdup(a->tasks);
    for (char *at = a->words; at;) {
        char *word = strsep(&at, ",");
        if (!*word) continue;
        if (o->n_tasks == MOST_TASKS) {
            fprintf(stderr, "drt eval: --tasks: more than %d\n", MOST_TASKS);
            return false;
        }
        a->task[o->n_tasks++] = word;
    }
    o->tasks = a->task;
    if (o->n_tasks) return true;
    fprintf(stderr, "drt eval: --tasks wants names with commas between them\n");
    return false;
}

static int parse(int argc, char **argv, asked *a, drt_eval_options *o) {
    static const char *const places[] = {"end", "start", "visual"};
    *a = (asked){
        .batch = "32", .limit = "0", .tokens = "128", .device = "cpu", .token = "end", .passes = "4", .dtype = "auto"};
    const drt_option options[] = {
        {"--data", &a->data, NULL, true},          {"--tasks", &a->tasks, NULL, false},
        {"--out", &a->out, NULL, false},           {"--batch", &a->batch, NULL, false},
        {"--limit", &a->limit, NULL, false},       {"--max-new-tokens", &a->tokens, NULL, false},
        {"--device", &a->device, NULL, false},     {"--threads", &a->threads, NULL, false},
        {"--blind", NULL, &a->blind, false},       {"--free", NULL, &a->free, false},
        {"--puzzles", NULL, &a->puzzles, false},   {"--template", &a->template, NULL, false},
        {"--order-token", &a->token, NULL, false}, {"--passes", &a->passes, NULL, false},
        {"--dtype", &a->dtype, NULL, false},       {"--order", &a->order, NULL, false},
        {"--tau", &a->tau, NULL, false},           {"--side", &a->side, NULL, false},
        {"--labels", &a->labels, NULL, false},     {"--adapter", &a->adapter, NULL, false},
    };
    int n_rest = 1,
        rc = drt_options_parse(argc, argv, options, sizeof options / sizeof *options, &a->model, &n_rest, help);
    if (rc) return rc;
    if (!drt_option_model("eval", n_rest)) return 2;
    bool ok = drt_option_number("eval", "--batch", a->batch, 1, 4096, &a->n_batch) &&
              drt_option_number("eval", "--limit", a->limit, 0, 1LL << 40, &a->n_limit) &&
              drt_option_number("eval", "--passes", a->passes, 1, 1000, &a->n_passes) &&
              drt_option_number("eval", "--max-new-tokens", a->tokens, 1, 1 << 20, &a->n_tokens) &&
              drt_cli_template("eval", a->template, &o->how) && split_tasks(a, o) &&
              drt_cli_order("eval", a->order, a->tau, a->side, &a->mixer, &o->order) &&
              (a->order_token = drt_cli_word("eval", "--order-token", a->token, places, 3)) >= 0 &&
              (a->keep = drt_cli_word("eval", "--dtype", a->dtype, drt_keep_names, DRT_KEEPS)) >= 0;
    o->data = a->data;
    o->blind = a->blind;
    o->skip_restricted = a->free;
    o->batch = (int)a->n_batch;
    o->limit = a->n_limit;
    o->max_new_tokens = (int)a->n_tokens;
    return ok ? 0 : 2;
}

static drt_status run(const asked *a, drt_eval_options *o, drt_tape *tape, drt_error *err) {
    drt_model *m = NULL;
    drt_word_labels *labels = NULL;
    int32_t *bank = NULL;
    int classes = 0, grid = 0;
    drt_eval_result result = {0};
    drt_puzzles puzzles;
    drt_progress answering = {.report = drt_progress_terminal, .user = stderr, .what = "answering"};
    drt_progress solving = {.report = drt_progress_terminal, .user = stderr, .what = "solving puzzles"};
    o->progress = &answering;
    drt_status status = a->labels ? drt_word_labels_open(&labels, a->labels, err) : DRT_OK;
    o->labels = labels;
    if (!status)
        status = drt_puzzle_model_open(&m, a->model, a->adapter, (drt_keep)a->keep, &bank, &classes, &grid, err);
    if (!status) status = drt_eval_run(m, tape, o, &result, err);
    if (!status && a->puzzles) {
        const drt_puzzles_options p = {.data = a->data,
                                       .bank = bank,
                                       .classes = classes,
                                       .grid = grid,
                                       .token = (drt_order_token)a->order_token,
                                       .passes = (int)a->n_passes,
                                       .blind = a->blind,
                                       .batch = o->batch,
                                       .limit = o->limit,
                                       .how = o->how,
                                       .order = o->order,
                                       .progress = &solving};
        status = drt_eval_puzzles(m, tape, &p, &puzzles, err);
    }
    drt_text text = {0};
    if (!status) {
        drt_eval_table(&result, a->puzzles ? &puzzles : NULL, &text);
        fputs(text.bytes ? text.bytes : "", stdout);
        drt_text_free(&text);
    }
    if (!status && a->out) {
        drt_eval_json(&result, a->puzzles ? &puzzles : NULL, &text);
        status = text.failed ? drt_fail(err, DRT_ENOMEM, "no memory for %s", a->out)
                             : drt_file_write(a->out, text.bytes, text.size, err);
        if (!status) printf("\nwritten: %s\n", a->out);
        drt_text_free(&text);
    }
    if (result.arena) drt_eval_result_free(&result);
    drt_model_close(m);
    drt_word_labels_close(labels);
    free(bank);
    return status;
}

int drt_cli_eval(int argc, char **argv) {
    asked a;
    drt_eval_options o = {0};
    drt_error err = {0};
    drt_device *dev = NULL;
    drt_tape *tape = NULL;
    int rc = parse(argc, argv, &a, &o);
    if (!rc && !drt_cli_open("eval", a.device, a.threads, &dev, &tape)) rc = 2;
    if (!rc && run(&a, &o, tape, &err)) {
        fprintf(stderr, "drt eval: %s\n", err.text);
        rc = 3;
    }
    drt_cli_close(dev, tape);
    free(a.words);
    return rc == 1 ? 0 : rc == 3 ? 1 : rc;
}
