// Tar files for tests.
#ifndef DRT_TESTS_TAR_H
#define DRT_TESTS_TAR_H

#include <stddef.h>

typedef struct archive test_tar;

// format: "pax" or "gnutar". Failures fail the test.
test_tar *test_tar_open(const char *path, const char *format);
void test_tar_put(test_tar *t, const char *name, const void *bytes, size_t size);
void test_tar_folder(test_tar *t, const char *name);
void test_tar_close(test_tar *t);

#endif
