#include "support/shell.h"
#include "support/check.h"

#include <stdio.h>
#include <sys/wait.h>

char *shell(int *rc, const char *format, ...) {
    enum { ROOM = 1 << 16 };
    char command[3000], *out = calloc(1, ROOM);
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    FILE *p = popen(command, "r");
    check(p && out);
    size_t n = fread(out, 1, ROOM - 1, p);
    out[n] = 0;
    int status = pclose(p);
    *rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    return out;
}

const char *python_with(const char *modules) {
    const char *python = getenv("DRT_PYTHON");
    int rc;
    if (!python) python = "python3";
    free(shell(&rc, "%s -c 'import %s' 2>/dev/null", python, modules));
    return rc ? NULL : python;
}

const char *python_with_transformers(void) { return python_with("torch, transformers"); }
