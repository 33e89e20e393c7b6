// Command-line options of the form --name VALUE, for the commands that need nothing more.
#ifndef DRT_CLI_OPTIONS_H
#define DRT_CLI_OPTIONS_H

#include <stdbool.h>

typedef struct {
    const char *name;   // "--out"
    const char **value; // set to the argument that follows; NULL: a flag, see `flag`
    bool *flag;
    bool required;
} drt_option;

// Parses argv[1..]. Words that are no options go to `rest` (at most *n_rest, then set to their number). Returns 0; 1 if
// --help was asked for (help printed); 2 after a message on stderr that names the nearest option.
int drt_options_parse(int argc, char **argv, const drt_option *options, int n, const char **rest, int *n_rest,
                      const char *help);
// Whether the folder of a model was among the words that are no options; a message on stderr if not.
bool drt_option_model(const char *command, int n_rest);
// A whole number in [least, most], or false after a message on stderr.
bool drt_option_number(const char *command, const char *option, const char *value, long long least, long long most,
                       long long *out);

#endif
