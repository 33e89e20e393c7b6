// What every test includes: cmocka in the order it wants, and checks that print what differs.
#ifndef DRT_TESTS_CHECK_H
#define DRT_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

#define check(condition) assert_true(condition)
// Runs a fallible call that ends in &err and shows the message when it fails.
#define check_ok(call)                                                                                                 \
    do {                                                                                                               \
        if ((call) != DRT_OK) fail_msg("%s:%d: %s", __FILE__, __LINE__, err.text);                                     \
    } while (0)
// Expects the status `code` and a message that contains `part`.
#define check_refused(call, code_, part)                                                                               \
    do {                                                                                                               \
        drt_status got_ = (call);                                                                                      \
        if (got_ != (code_)) fail_msg("%s:%d: status %d, not %d (%s)", __FILE__, __LINE__, got_, (code_), err.text);   \
        if (!strstr(err.text, (part))) fail_msg("%s:%d: \"%s\" lacks \"%s\"", __FILE__, __LINE__, err.text, (part));   \
    } while (0)

// A new empty folder under build/ that the test may fill; the name is malloc'ed.
char *test_folder(const char *name);

#endif
