// Errors are values: a status code plus one message that says what went wrong, where, and what to do.
//
//   drt_error err = {0};
//   if (drt_thing_open(&thing, path, &err)) fprintf(stderr, "%s\n", err.text);
//
// Every fallible function takes a `drt_error *` last (NULL is allowed: the code alone is returned).
#ifndef DRT_BASE_ERROR_H
#define DRT_BASE_ERROR_H

typedef enum {
    DRT_OK = 0,
    DRT_ENOMEM,   // an allocation failed, or a size check refused one
    DRT_EIO,      // the operating system refused to read or write
    DRT_EFORMAT,  // a file's bytes are not what its format says
    DRT_EARG,     // the caller's argument is out of range
    DRT_ECONFIG,  // a recipe or config key is unknown, missing or contradicts another
    DRT_EDATA,    // a sample cannot be used
    DRT_ENUMERIC, // NaN or infinity where a number was due
    DRT_ESTOP     // stopped on request (signal, callback)
} drt_status;

typedef struct {
    drt_status code;
    char text[1000];
} drt_error;

// Fills *err (if not NULL) with a printf-style message and returns `code`, so that a failure is one line:
//   return drt_fail(err, DRT_EFORMAT, "%s: byte %zu: header is cut off; copy the file again", path, at);
drt_status drt_fail(drt_error *err, drt_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Puts "context: " in front of the message in *err; returns err->code (DRT_EIO if err is NULL).
drt_status drt_fail_in(drt_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
