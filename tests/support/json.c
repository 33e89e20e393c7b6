#include "support/json.h"

#include "base/file.h"
#include "support/check.h"

json_t *test_json(const char *folder, const char *name) {
    char *path = drt_path_join(folder, name);
    json_error_t fault;
    json_t *root = json_load_file(path, 0, &fault);
    if (!root) fail_msg("%s:%d: %s", path, fault.line, fault.text);
    free(path);
    return root;
}
