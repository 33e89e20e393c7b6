// Errors are values: a status code plus one message that says what went wrong, where, and what to do.
//
//   drt_error err = {0};
//   if (drt_thing_open(&thing, path, &err)) fprintf(stderr, "%s\n", err.text);
//
// Every fallible function takes a `drt_error *` last (NULL is allowed: the code alone is returned).
#ifndef DRT_BASE_ERROR_H
#define DRT_BASE_ERROR_H

#include "drt.h" // drt_status, drt_error: the library's users have the same

// Fills *err (if not NULL) with a printf-style message and returns `code`, so that a failure is one line:
//   return drt_fail(err, DRT_EFORMAT, "%s: byte %zu: header is cut off; copy the file again", path, at);
drt_status drt_fail(drt_error *err, drt_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Puts "context: " in front of the message in *err; returns err->code (DRT_EIO if err is NULL).
drt_status drt_fail_in(drt_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
