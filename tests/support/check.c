#include "support/check.h"

#include "base/file.h"

#include <stdio.h>
#include <unistd.h>

char *test_folder(const char *name) {
    const char *build = getenv("BUILD");
    char path[512];
    drt_error err = {0};
    snprintf(path, sizeof path, "%s/scratch/%s-%ld", build ? build : "build", name, (long)getpid());
    check_ok(drt_remove_tree(path, &err));
    check_ok(drt_make_folders(path, &err));
    return strdup(path);
}
