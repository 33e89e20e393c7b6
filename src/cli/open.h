// What commands that run a model share: the device, the tape, names that must be among some.
#ifndef DRT_CLI_OPEN_H
#define DRT_CLI_OPEN_H

#include "data/conversation.h"
#include "tensor/tape.h"

// Opens the device `name` ("cpu") with `threads` (text; NULL: all cores) and a tape on it. False after a message on
// stderr; then both are NULL. Close with drt_cli_close.
bool drt_cli_open(const char *command, const char *name, const char *threads, drt_device **dev, drt_tape **tape);
void drt_cli_close(drt_device *dev, drt_tape *tape);
// *how: the template called `name`; NULL, the model's own, where that is NULL. False after a message on stderr that
// names the nearest.
bool drt_cli_template(const char *command, const char *name, const drt_template **how);
// Which of the n words `value` is, or -1 after a message on stderr that names the nearest.
int drt_cli_word(const char *command, const char *option, const char *value, const char *const *words, int n);
// A number in [least, most], or false after a message on stderr.
bool drt_cli_real(const char *command, const char *option, const char *value, double least, double most, double *out);

#endif
