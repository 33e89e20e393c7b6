// Event files: their bytes by a reader of a few lines that knows no protobuf library either, and what TensorBoard's own
// reader makes of them (skipped where there is none; DRT_PYTHON names a Python that has it).
#include "support/check.h"
#include "support/shell.h"

#include "base/file.h"
#include "format/event_file.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

static uint64_t little(const unsigned char *p, int bytes) {
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++) x |= (uint64_t)p[i] << 8 * i;
    return x;
}

static uint32_t masked(const void *bytes, size_t n) {
    uint32_t crc = drt_crc32c(bytes, n);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// The files of a folder in the order of their names, read.
static int read_files(const char *folder, char *bytes[4], size_t size[4]) {
    struct dirent **entry;
    drt_error err = {0};
    int files = 0, n = scandir(folder, &entry, NULL, alphasort);
    check(n >= 2);
    for (int i = 0; i < n; i++) {
        if (entry[i]->d_name[0] != '.') {
            char *path = drt_path_join(folder, entry[i]->d_name);
            check(!strncmp(entry[i]->d_name, "events.out.tfevents.", 20) && files < 4);
            check_ok(drt_file_read(&bytes[files], &size[files], path, 0, &err));
            files++;
            free(path);
        }
        free(entry[i]);
    }
    free(entry);
    return files;
}

// Record i of the file: its bytes and their number; NULL after the last. Both checksums are checked.
static const unsigned char *record(const char *bytes, size_t size, int i, size_t *n) {
    const unsigned char *p = (const unsigned char *)bytes, *end = p + size;
    for (; p < end; i--, p += 16 + *n) {
        *n = (size_t)little(p, 8);
        check(*n + 16 <= (size_t)(end - p));
        check(little(p + 8, 4) == masked(p, 8) && little(p + 12 + *n, 4) == masked(p + 12, *n));
        if (!i) return p + 12;
    }
    return NULL;
}

static void checksum(void **state) {
    (void)state;
    check(drt_crc32c("123456789", 9) == 0xe3069283u); // RFC 3720's polynomial, the usual check value
    check(drt_crc32c("", 0) == 0);
    unsigned char zeros[32] = {0}; // RFC 3720 B.4
    check(drt_crc32c(zeros, 32) == 0x8a9136aau);
}

static void bytes_of_a_scalar(void **state) {
    (void)state;
    drt_error err = {0};
    drt_event_file *f;
    char *folder = test_folder("events_bytes"), *bytes[4];
    size_t size[4], n;
    check_ok(drt_event_file_open(&f, folder, 0, &err));
    check_ok(drt_event_file_put(f, 1, &err)); // nothing was given: nothing is written
    drt_event_scalar(f, "a", 1.5);
    check_ok(drt_event_file_put(f, 300, &err));
    drt_event_file_close(f);
    check(read_files(folder, bytes, size) == 1);
    const unsigned char *head = record(bytes[0], size[0], 0, &n);
    check(head && n == 9 + 15 && head[0] == 0x09 &&
          !memcmp(head + 9,
                  "\x1a\x0d"
                  "brain.Event:2",
                  15));
    const unsigned char *event = record(bytes[0], size[0], 1, &n);
    static const unsigned char want[] = {0x10, 0xac, 0x02, 0x2a, 10, 0x0a, 8, 0x0a, 1, 'a', 0x15, 0, 0, 0xc0, 0x3f};
    check(event && n == 9 + sizeof want && event[0] == 0x09);
    assert_memory_equal(event + 9, want, sizeof want);
    check(!record(bytes[0], size[0], 2, &n));
    free(bytes[0]), free(folder);
}

static void full_disk_is_reported_once(void **state) {
    (void)state;
    drt_error err = {0};
    drt_event_file *f;
    char *folder = test_folder("events_full"), *bytes[4];
    size_t size[4], n;
    check_ok(drt_event_file_open(&f, folder, 0, &err));
    drt_event_scalar(f, "a", 1);
    check_ok(drt_event_file_put(f, 1, &err));
    struct rlimit old, none;
    check(!getrlimit(RLIMIT_FSIZE, &old));
    none = (struct rlimit){120, old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    check(!setrlimit(RLIMIT_FSIZE, &none));
    drt_status status = DRT_OK;
    for (int i = 2; i < 9 && !status; i++) {
        drt_event_scalar(f, "a", i);
        status = drt_event_file_put(f, i, &err);
    }
    check(!setrlimit(RLIMIT_FSIZE, &old));
    signal(SIGXFSZ, handler);
    assert_int_equal(status, DRT_EIO);
    check(strstr(err.text, "events.out.tfevents") && strstr(err.text, "large"));
    drt_event_scalar(f, "a", 10);
    check_ok(drt_event_file_put(f, 10, &err)); // silent from now on
    drt_event_file_close(f);
    check(read_files(folder, bytes, size) == 1);
    check(record(bytes[0], size[0] < 90 ? size[0] : 90, 1, &n)); // what was whole still is
    free(bytes[0]), free(folder);
    check_refused(drt_event_file_open(&f, "/dev/null/x", 0, &err), DRT_EIO, "/dev/null");
    check(!f);
}

static void tensorboard_reads_it(void **state) {
    (void)state;
    const char *python = python_with("tensorboard");
    if (!python) skip();
    drt_error err = {0};
    drt_event_file *f;
    char *folder = test_folder("events_tensorboard");
    const double values[] = {1, 2, 3, 10, NAN, INFINITY}, same[] = {5, 5};
    check_ok(drt_event_file_open(&f, folder, 0, &err));
    for (int step = 1; step <= 5; step++) {
        drt_event_scalar(f, "loss", 1.0 / step);
        drt_event_scalar(f, "loss/language", -step);
        check_ok(drt_event_file_put(f, step, &err));
    }
    drt_event_histogram(f, "gradient/projector", values, 6);
    drt_event_histogram(f, "gradient/one", same, 2);
    drt_event_histogram(f, "gradient/none", values + 4, 2);
    drt_event_picture(f, "samples/0", 20, 10, "any bytes", 9);
    drt_event_text(f, "samples/0/answer", "**what?** Größe\nit");
    check_ok(drt_event_file_put(f, 5, &err));
    drt_event_file_close(f);
    // Going on after step 3: what the first file told of 4 and 5 is forgotten.
    check_ok(drt_event_file_open(&f, folder, 4, &err));
    drt_event_scalar(f, "loss", 7);
    check_ok(drt_event_file_put(f, 4, &err));
    drt_event_scalar(f, "loss", NAN);
    check_ok(drt_event_file_put(f, 6, &err));
    drt_event_text(f, "samples/0/answer", "again");
    drt_event_picture(f, "samples/0", 20, 10, "any bytes", 9);
    drt_event_histogram(f, "gradient/projector", values, 6);
    drt_event_histogram(f, "gradient/one", same, 2);
    check_ok(drt_event_file_put(f, 1 << 20, &err));
    drt_event_file_close(f);
    int rc;
    char *said = shell(&rc, "%s tools/check_events.py %s 2>&1", python, folder), *at = strstr(said, "histogram ");
    if (rc || !at) fail_msg("status %d: %s", rc, said);
    assert_string_equal(at, "histogram gradient/one 1048576 5 5 2 10\n"
                            "histogram gradient/projector 1048576 1 10 4 16\n"
                            "image samples/0 1048576 20 10 f98675ef4e5f78c434b49ac2a583a187638e2f87\n"
                            "scalar loss 1 1\nscalar loss 2 0.5\nscalar loss 3 0.333333343\nscalar loss 4 7\n"
                            "scalar loss 6 nan\n"
                            "scalar loss/language 1 -1\nscalar loss/language 2 -2\nscalar loss/language 3 -3\n"
                            // TensorBoard's Python reader forgets all kinds but text
                            "text samples/0/answer 5 \"**what?** Gr\\u00f6\\u00dfe\\nit\"\n"
                            "text samples/0/answer 1048576 \"again\"\n");
    free(said), free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum),
        cmocka_unit_test(bytes_of_a_scalar),
        cmocka_unit_test(full_disk_is_reported_once),
        cmocka_unit_test(tensorboard_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
