#include "cli/options.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int unknown(const char *command, const char *word, const drt_option *options, int n) {
    const char *names[64];
    for (int i = 0; i < n && i < 64; i++) names[i] = options[i].name;
    const char *near = drt_nearest(word, names, n < 64 ? n : 64);
    fprintf(stderr, "drt %s: unknown option '%s'%s%s%s\nTry: drt %s --help\n", command, word,
            near ? "; did you mean " : "", near ? near : "", near ? "?" : "", command);
    return 2;
}

static bool is_option(const char *word, const drt_option *options, int n) {
    for (int i = 0; i < n; i++)
        if (!strcmp(word, options[i].name)) return true;
    return false;
}

int drt_options_parse(int argc, char **argv, const drt_option *options, int n, const char **rest, int *n_rest,
                      const char *help) {
    int most = *n_rest;
    *n_rest = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(help, stdout);
            return 1;
        }
        int k = 0;
        while (k < n && strcmp(argv[i], options[k].name)) k++;
        if (k == n) {
            if (argv[i][0] == '-' || *n_rest == most) return unknown(argv[0], argv[i], options, n);
            rest[(*n_rest)++] = argv[i];
        } else if (!options[k].value) *options[k].flag = true;
        else if (i + 1 == argc || is_option(argv[i + 1], options, n)) {
            fprintf(stderr, "drt %s: %s wants a value\nTry: drt %s --help\n", argv[0], argv[i], argv[0]);
            return 2;
        } else *options[k].value = argv[++i];
    }
    for (int k = 0; k < n; k++)
        if (options[k].required && !*options[k].value) {
            fprintf(stderr, "drt %s: %s is missing\nTry: drt %s --help\n", argv[0], options[k].name, argv[0]);
            return 2;
        }
    return 0;
}

bool drt_option_model(const char *command, int n_rest) {
    if (n_rest) return true;
    fprintf(stderr, "drt %s: which model? Give its folder first.\nTry: drt %s --help\n", command, command);
    return false;
}

bool drt_option_number(const char *command, const char *option, const char *value, long long least, long long most,
                       long long *out) {
    char *end;
    errno = 0;
    long long v = strtoll(value, &end, 10);
    if (!errno && end != value && !*end && v >= least && v <= most) {
        *out = v;
        return true;
    }
    fprintf(stderr, "drt %s: %s wants a whole number from %lld to %lld, not '%s'\n", command, option, least, most,
            value);
    return false;
}
