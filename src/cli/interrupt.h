// What the long-running commands share: Ctrl-C that stops after the step at hand, and lines for a person.
#ifndef DRT_CLI_INTERRUPT_H
#define DRT_CLI_INTERRUPT_H

#include "train/run.h"

// From now on SIGINT and SIGTERM ask to stop; the second one ends the program at once.
void drt_interrupt_install(void);
// What the program is to end with: 0, 1, or, stopped by a signal, 128 and its number, as a shell has it.
int drt_interrupt_status(drt_status status);
// Hooks that draw bars and the live line on stderr and stop when asked to. screen and progress must outlive them.
drt_run_hooks drt_terminal_hooks(drt_log_screen *screen, drt_progress *progress);

#endif
