// JSON files that a test reads.
#ifndef DRT_TESTS_JSON_H
#define DRT_TESTS_JSON_H

#include <jansson.h>

// FOLDER/NAME; the test fails where it cannot be read. Release with json_decref.
json_t *test_json(const char *folder, const char *name);

#endif
