#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

drt_status drt_fail(drt_error *err, drt_status code, const char *format, ...) {
    if (err) {
        va_list args;
        err->code = code;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return code;
}

drt_status drt_fail_in(drt_error *err, const char *format, ...) {
    if (!err) return DRT_EIO;
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text) {
        size_t room = sizeof err->text - (size_t)n, want = strlen(inner);
        int cut = room > 3 ? (int)(want < room - 3 ? want : room - 3) : 0;
        snprintf(err->text + n, room, ": %.*s", cut, inner);
    }
    return err->code;
}
