#include "support/tar.h"

#include "support/check.h"

#include <archive.h>
#include <archive_entry.h>

test_tar *test_tar_open(const char *path, const char *format) {
    struct archive *a = archive_write_new();
    assert_int_equal(archive_write_set_format_by_name(a, format), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    return a;
}

static void put(test_tar *t, const char *name, const void *bytes, size_t size, unsigned type) {
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_size(e, (la_int64_t)size);
    archive_entry_set_filetype(e, type);
    archive_entry_set_perm(e, 0644);
    assert_int_equal(archive_write_header(t, e), ARCHIVE_OK);
    if (size) assert_int_equal(archive_write_data(t, bytes, size), size);
    archive_entry_free(e);
}

void test_tar_put(test_tar *t, const char *name, const void *bytes, size_t size) {
    put(t, name, bytes, size, AE_IFREG);
}

void test_tar_folder(test_tar *t, const char *name) { put(t, name, NULL, 0, AE_IFDIR); }

void test_tar_close(test_tar *t) {
    assert_int_equal(archive_write_close(t), ARCHIVE_OK);
    archive_write_free(t);
}
