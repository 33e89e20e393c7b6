// drt gps: the permutation experiment.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "base/progress.h"
#include "train/permute.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char help[] =
    "drt gps [--tokens N] [--width N] ...\n"
    "\n"
    "Can a Gumbel Permutation Sinkformer learn any permutation? Fixed random token sets, each with a random target\n"
    "permutation; loss = (P - P*)^2 + cross-entropy + 0.01 entropy; AdamW, cosine, clip 0.5; temperature 2.0 to 0.1;\n"
    "the hard permutation from half-way on. One line shows the accuracy as it learns. The defaults are the authors'\n"
    "setting: it takes about 4.4 GB and, on one core, half a minute a step, with --dtype f16 a quarter.\n"
    "\n"
    "  --tokens N       of a set (default 800)\n"
    "  --width N        of a token (default 2048)\n"
    "  --sets N         token sets (default 4)\n"
    "  --layers N       blocks (default 4)\n"
    "  --steps N        of the schedules (default 1000)\n"
    "  --stop N         take only the first N of them\n"
    "  --lr X           (default 1e-4 at width 2048, and in inverse proportion to the width)\n"
    "  --hard NAME      argmax (default): the largest number of each row; assignment: the best permutation\n"
    "  --gradient NAME  of Sinkhorn's sweeps: unrolled (default), exact; implicit, of their fixed point\n"
    "  --sweeps N       of Sinkhorn at most (default 50)\n"
    "  --dropout X      (default 0.1)\n"
    "  --dtype NAME     of the products: f32 (default), the authors'; f16, twice as fast where AVX512-FP16 is\n"
    "  --seed N         (default 0)\n"
    "  --device NAME    cpu (default), or ref: slow and plain\n"
    "  --threads N      default: all cores\n"
    "\n"
    "  drt gps --tokens 800 --width 256 --stop 100\n";

// On a terminal one line is written over; elsewhere every `each`-th step gets one.
typedef struct {
    bool terminal;
    int64_t each;
} screen;

static void show(void *user, const drt_permute_step *s) {
    const screen *to = user;
    bool terminal = to->terminal;
    int64_t at = s->step + 1;
    if (!terminal && at % to->each && at != 1) return;
    printf("%sstep %lld of %lld  accuracy %6.2f %%  loss %.4f  cross-entropy %.4f  tau %.2f  %s  %.2f s%s",
           terminal ? "\r" : "", (long long)at, (long long)s->steps, 100 * s->accuracy, s->loss,
           (double)s->terms.cross_entropy, (double)s->tau, s->hard ? "hard" : "soft", s->seconds,
           terminal ? "\033[K" : "\n");
    fflush(stdout);
}

static drt_status run(const char *device, const char *threads, drt_permute *o, drt_error *err) {
    drt_device *dev;
    drt_tape *tape;
    screen to = {isatty(STDOUT_FILENO), o->stop > 20 ? 10 : 1};
    drt_permute_result result;
    if (!drt_cli_open("gps", device, threads, &dev, &tape)) return DRT_EARG;
    o->report = show, o->user = &to;
    drt_status status = drt_permute_run(tape, o, &result, err);
    if (to.terminal && result.steps) putchar('\n');
    if (!status && result.solved) printf("all rows right first at step %lld", (long long)result.solved);
    else if (!status) printf("never all rows right: %.2f %% at best", 100 * result.best);
    if (!status) printf("; %.2f s a step over %lld\n", result.seconds / (double)result.steps, (long long)result.steps);
    drt_cli_close(dev, tape);
    return status;
}

int drt_cli_gps(int argc, char **argv) {
    static const char *const gradients[] = {"unrolled", "implicit"}, *const dtypes[] = {"f32", "f16"};
    const char *tokens = "800", *width = "2048", *sets = "4", *layers = "4", *steps = "1000", *stop = NULL, *lr = NULL,
               *hard = "argmax", *gradient = "unrolled", *sweeps = "50", *dropout = "0.1", *seed = "0", *name = "cpu",
               *dtype = "f32", *threads = NULL, *rest;
    const drt_option options[] = {
        {"--tokens", &tokens, NULL, false},
        {"--width", &width, NULL, false},
        {"--sets", &sets, NULL, false},
        {"--layers", &layers, NULL, false},
        {"--steps", &steps, NULL, false},
        {"--stop", &stop, NULL, false},
        {"--lr", &lr, NULL, false},
        {"--hard", &hard, NULL, false},
        {"--gradient", &gradient, NULL, false},
        {"--sweeps", &sweeps, NULL, false},
        {"--dropout", &dropout, NULL, false},
        {"--dtype", &dtype, NULL, false},
        {"--seed", &seed, NULL, false},
        {"--device", &name, NULL, false},
        {"--threads", &threads, NULL, false},
    };
    int n_rest = 0, rc = drt_options_parse(argc, argv, options, sizeof options / sizeof *options, &rest, &n_rest, help);
    if (rc) return rc == 1 ? 0 : rc;
    drt_permute o = drt_permute_defaults();
    long long n[7];
    double rate = 0, drop;
    const struct {
        const char *option, *value;
        long long least, most;
    } number[] = {{"--tokens", tokens, 1, 1 << 24}, {"--width", width, 1, 1 << 20},
                  {"--sets", sets, 1, 1 << 16},     {"--layers", layers, 1, 1000},
                  {"--steps", steps, 1, 1LL << 40}, {"--stop", stop ? stop : steps, 1, 1LL << 40},
                  {"--sweeps", sweeps, 1, 100000}};
    for (int i = 0; i < 7; i++)
        if (!drt_option_number("gps", number[i].option, number[i].value, number[i].least, number[i].most, &n[i]))
            return 2;
    long long n_seed;
    int choice = drt_cli_word("gps", "--hard", hard, drt_gps_choice_names, DRT_GPS_CHOICES);
    int way = choice < 0 ? -1 : drt_cli_word("gps", "--gradient", gradient, gradients, 2);
    int half = way < 0 ? -1 : drt_cli_word("gps", "--dtype", dtype, dtypes, 2);
    if (half < 0 || !drt_option_number("gps", "--seed", seed, 0, INT64_MAX, &n_seed) ||
        (lr && !drt_cli_real("gps", "--lr", lr, 0, 1e6, &rate)) ||
        !drt_cli_real("gps", "--dropout", dropout, 0, 0.99, &drop))
        return 2;
    o.tokens = n[0], o.width = n[1], o.sets = (int)n[2], o.layers = (int)n[3], o.steps = n[4], o.stop = n[5];
    o.how.sinkhorn.sweeps = (int)n[6], o.how.sinkhorn.implicit = way == 1, o.how.choice = (drt_gps_choice)choice;
    o.f16 = half == 1, o.seed = (uint64_t)n_seed, o.lr = lr ? rate : drt_permute_rate(o.width), o.dropout = (float)drop;
    drt_error err = {0};
    drt_status status = run(name, threads, &o, &err);
    if (status && err.code) fprintf(stderr, "drt gps: %s\n", err.text);
    return status == DRT_EARG ? 2 : status ? 1 : 0;
}
