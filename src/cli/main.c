// drt: a thin face on libdrt. One file per command; this one finds the command.
#include "cli/commands.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"demo", drt_cli_demo, "the whole method on a small world, with a report"},
    {"ablate", drt_cli_ablate, "a recipe and its variations, several seeds, one table"},
    {"shapes", drt_cli_shapes, "make a small world of pictures, captions and questions"},
    {"data", drt_cli_data, "what is wrong with a data set, and what a model sees of it"},
    {"train", drt_cli_train, "train a model as a recipe says"},
    {"plan", drt_cli_plan, "what a recipe will take: memory and time"},
    {"replay", drt_cli_replay, "the first step and tensor at which two runs part"},
    {"runs", drt_cli_runs, "the history of trainings: list, show, compare, plot"},
    {"chat", drt_cli_chat, "talk with a model, about a picture if you like"},
    {"eval", drt_cli_eval, "ask a model questions, with the picture and without"},
    {"probe", drt_cli_probe, "what a vision tower's patch features tell about a picture"},
    {"gps", drt_cli_gps, "can a trainable permuter learn any permutation? with live accuracy"},
    {"sea-labels", drt_cli_sea_labels, "the words for every patch of a data set's pictures, for objective sea"},
    {"words", drt_cli_words, "the word nearest to each visual token of a picture"},
    {"new", drt_cli_new, "make a model with random weights from a config"},
    {"tokenizer", drt_cli_tokenizer, "learn a vocabulary from data files"},
    {"assemble", drt_cli_assemble, "join a vision tower and a language model: where stage 1 begins"},
    {"convert", drt_cli_convert, "write a model in another layout or type of number"},
    {"merge", drt_cli_merge, "add a LoRA adapter to the weights of its model"},
    {"inspect", drt_cli_inspect, "what is in a model's folder, and what would stop it"},
    {"verify", drt_cli_verify, "compare a model with what transformers computes, stage by stage"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

// libgomp reads its settings before main. Its default spins for milliseconds at every barrier, which starves the thread
// that prepares data (and everybody else on a shared machine); a short spin costs nothing measurable.
static void spin_briefly(char **argv) {
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    setenv("GOMP_SPINCOUNT", "5000", 1);
    char self[4096]; // by its own name, not as "exe", in lists of processes
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return; // the default stands
    self[n] = 0;
    execv(self, argv);
}

int main(int argc, char **argv) {
    spin_briefly(argv);
    for (int i = 0; i < N_COMMANDS && argc > 1; i++) {
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 1, argv + 1);
    }
    bool asked = argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "--version");
    FILE *out = asked ? stdout : stderr;
    if (!asked) fprintf(out, "drt: no command '%s'\n", argv[1]);
    fputs("drt " DRT_VERSION "\n\n", out);
    for (int i = 0; i < N_COMMANDS; i++) fprintf(out, "  drt %-10s %s\n", commands[i].name, commands[i].what);
    fputs("\ndrt COMMAND --help tells more.\n", out);
    return asked ? 0 : 2;
}
