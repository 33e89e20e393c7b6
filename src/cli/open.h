// What commands that run a model share: the device, the tape, names that must be among some.
#ifndef DRT_CLI_OPEN_H
#define DRT_CLI_OPEN_H

#include "align/token_mixer.h"
#include "data/conversation.h"
#include "model/model.h"
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
// *out from the words of --order, --tau and --side (NULL: not given); *order is set to it, or to NULL, the model's own,
// without --order. False after a message on stderr.
bool drt_cli_order(const char *command, const char *name, const char *tau, const char *side, drt_token_mixer *out,
                   const drt_token_mixer **order);
// Whether a model may be written to `folder`: it does not exist or is empty. False after a message on stderr.
bool drt_cli_new_folder(const char *command, const char *folder);
// Saves a model and reads it back; what does not compare equal is left without config.json, so that it is no model.
drt_status drt_cli_save(const drt_model *m, const char *folder, drt_layout layout, const char *dtype, drt_error *err);
// "f32" -> "F32", f16, bf16; NULL after a message on stderr.
const char *drt_cli_dtype(const char *command, const char *name);
// A number in [least, most], or false after a message on stderr.
bool drt_cli_real(const char *command, const char *option, const char *value, double least, double most, double *out);

#endif
