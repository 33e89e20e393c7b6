#include "cli/open.h"

#include "base/file.h"
#include "cli/options.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool drt_cli_open(const char *command, const char *name, const char *threads, drt_device **dev, drt_tape **tape) {
    drt_error err = {0};
    long long n = 0;
    *dev = NULL;
    *tape = NULL;
    if (threads && !drt_option_number(command, "--threads", threads, 1, 4096, &n)) return false;
    drt_status status = drt_device_open(dev, name, (int)n, &err);
    if (!status && !(*tape = drt_tape_new(*dev, &err))) status = err.code ? err.code : DRT_ENOMEM;
    if (!status) return true;
    fprintf(stderr, "drt %s: %s\n", command, err.text);
    drt_cli_close(*dev, *tape);
    *dev = NULL;
    return false;
}

void drt_cli_close(drt_device *dev, drt_tape *tape) {
    if (tape) drt_tape_free(tape);
    drt_device_close(dev);
}

int drt_cli_word(const char *command, const char *option, const char *value, const char *const *words, int n) {
    int at = drt_place_of(value, words, n);
    if (at < n) return at;
    const char *near = drt_nearest(value, words, n);
    fprintf(stderr, "drt %s: %s: there is no '%s'", command, option, value);
    if (near) fprintf(stderr, "; did you mean %s", near);
    for (int i = 0; i < n; i++) fprintf(stderr, "%s%s", i ? ", " : near ? "? It can be: " : "; it can be: ", words[i]);
    fputs("\n", stderr);
    return -1;
}

bool drt_cli_template(const char *command, const char *name, const drt_template **how) {
    int n;
    const char *const *names = drt_template_names(&n);
    *how = NULL;
    if (!name) return true;
    int which = drt_cli_word(command, "--template", name, names, n);
    if (which >= 0) *how = drt_template_find(names[which]);
    return which >= 0;
}

bool drt_cli_real(const char *command, const char *option, const char *value, double least, double most, double *out) {
    char *end;
    double v = strtod(value, &end);
    if (end != value && !*end && v >= least && v <= most) {
        *out = v;
        return true;
    }
    fprintf(stderr, "drt %s: %s wants a number from %g to %g, not '%s'\n", command, option, least, most, value);
    return false;
}

bool drt_cli_order(const char *command, const char *name, const char *tau, const char *side, drt_token_mixer *out,
                   const drt_token_mixer **order) {
    double least;
    *order = NULL;
    if (!name && !tau && !side) return true;
    if (!name) {
        fprintf(stderr, "drt %s: %s says how --order token_mixer works; give both\n", command,
                tau ? "--tau" : "--side");
        return false;
    }
    int which = drt_cli_word(command, "--order", name, drt_input_order_names, DRT_INPUT_ORDERS);
    int where = drt_cli_word(command, "--side", side ? side : "before", drt_mixer_side_names, DRT_MIXER_SIDES);
    if (which < 0 || where < 0 || !drt_cli_real(command, "--tau", tau ? tau : "0.1", -1, 1, &least)) return false;
    *out = (drt_token_mixer){(drt_input_order)which, (float)least, (drt_mixer_side)where};
    *order = out;
    return true;
}

// Written over another model the new files might mix with its own, and its last copy be lost.
bool drt_cli_new_folder(const char *command, const char *folder) {
    DIR *d = opendir(folder);
    int entries = 0;
    while (d && readdir(d)) entries++;
    if (d) closedir(d);
    if (entries <= 2) return true; // "." and ".."
    fprintf(stderr, "drt %s: %s is not empty; name a new folder, or remove this one first\n", command, folder);
    return false;
}

drt_status drt_cli_save(const drt_model *m, const char *folder, drt_layout layout, const char *dtype, drt_error *err) {
    drt_status status = drt_model_save_as(m, folder, layout, dtype, err);
    if (!status) status = drt_model_compare(m, folder, dtype, err);
    char *config = status ? drt_path_join(folder, "config.json") : NULL;
    if (config) unlink(config); // what does not read back is no model
    free(config);
    return status;
}

const char *drt_cli_dtype(const char *command, const char *name) {
    static const char *const words[] = {"f32", "f16", "bf16"}, *const dtypes[] = {"F32", "F16", "BF16"};
    int which = drt_cli_word(command, "--dtype", name, words, 3);
    return which < 0 ? NULL : dtypes[which];
}
