// Programs as their users run them.
#ifndef DRT_TESTS_SHELL_H
#define DRT_TESTS_SHELL_H

// Runs a shell command and returns what it printed on stdout (with 2>&1 in the command, on both); *rc is its exit
// status, 128 if it did not exit. malloc'ed.
char *shell(int *rc, const char *format, ...) __attribute__((format(printf, 2, 3)));
// A Python that has these modules ("torch, transformers"): $DRT_PYTHON, else python3; NULL: there is none.
const char *python_with(const char *modules);
const char *python_with_transformers(void); // and torch

#endif
