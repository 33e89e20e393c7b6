#include "format/event_file.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { VARINT, FIXED64, BYTES, FIXED32 = 5 }; // wire types of protobuf
enum { BUCKETS = 30 };

struct drt_event_file {
    int fd;
    bool failed;
    char *path;
    drt_text summary; // Value messages since the last event
};

// By half bytes: 150 MB/s from a table that one can read. Pictures are the most that ever comes.
uint32_t drt_crc32c(const void *bytes, size_t n) {
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                       0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    const unsigned char *p = bytes;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc = table[(crc ^ p[i]) & 15] ^ crc >> 4;
        crc = table[(crc ^ p[i] >> 4) & 15] ^ crc >> 4;
    }
    return ~crc;
}

static uint32_t masked(const void *bytes, size_t n) {
    uint32_t crc = drt_crc32c(bytes, n);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// ---- protobuf's encoding -------------------------------------------------------------------------------------------
static void put_little(drt_text *t, uint64_t x, int bytes) {
    unsigned char b[8];
    for (int i = 0; i < bytes; i++) b[i] = (unsigned char)(x >> 8 * i);
    drt_text_add(t, b, (size_t)bytes);
}

static void put_varint(drt_text *t, uint64_t x) {
    unsigned char b[10];
    int n = 0;
    for (; x > 127; x >>= 7) b[n++] = (unsigned char)(x | 128);
    b[n++] = (unsigned char)x;
    drt_text_add(t, b, (size_t)n);
}

static void put_key(drt_text *t, int field, int wire) { put_varint(t, (uint64_t)field << 3 | (unsigned)wire); }

static void put_int(drt_text *t, int field, int64_t x) {
    put_key(t, field, VARINT);
    put_varint(t, (uint64_t)x);
}

static void put_bits(drt_text *t, double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_little(t, bits, 8);
}

static void put_double(drt_text *t, int field, double x) {
    put_key(t, field, FIXED64);
    put_bits(t, x);
}

static void put_bytes(drt_text *t, int field, const void *bytes, size_t n) {
    put_key(t, field, BYTES);
    put_varint(t, n);
    drt_text_add(t, bytes, n);
}

static void put_string(drt_text *t, int field, const char *s) { put_bytes(t, field, s, strlen(s)); }

// A message inside a message; frees it.
static void put_message(drt_text *t, int field, drt_text *inner) {
    put_bytes(t, field, inner->bytes, inner->size);
    t->failed |= inner->failed;
    drt_text_free(inner);
}

// ---- values --------------------------------------------------------------------------------------------------------
void drt_event_scalar(drt_event_file *f, const char *tag, double value) {
    drt_text v = {0};
    float x = (float)value;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_string(&v, 1, tag);
    put_key(&v, 2, FIXED32);
    put_little(&v, bits, 4);
    put_message(&f->summary, 1, &v);
}

void drt_event_histogram(drt_event_file *f, const char *tag, const double *values, int64_t n) {
    double least = INFINITY, most = -INFINITY, sum = 0, squares = 0, count[BUCKETS] = {0};
    int64_t counted = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) continue;
        least = fmin(least, values[i]), most = fmax(most, values[i]);
        sum += values[i], squares += values[i] * values[i];
        counted++;
    }
    if (!counted) return;
    int buckets = most > least ? BUCKETS : 1;
    double width = (most - least) / buckets;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) continue;
        int at = width > 0 ? (int)((values[i] - least) / width) : 0;
        count[at < buckets ? at : buckets - 1]++;
    }
    drt_text v = {0}, h = {0}, limits = {0}, counts = {0};
    const double numbers[] = {least, most, (double)counted, sum, squares};
    for (int i = 0; i < 5; i++) put_double(&h, 1 + i, numbers[i]);
    for (int i = 0; i < buckets; i++) {
        put_bits(&limits, i + 1 < buckets ? least + (i + 1) * width : most); // upper edges
        put_bits(&counts, count[i]);
    }
    put_message(&h, 6, &limits);
    put_message(&h, 7, &counts);
    put_string(&v, 1, tag);
    put_message(&v, 5, &h);
    put_message(&f->summary, 1, &v);
}

void drt_event_picture(drt_event_file *f, const char *tag, int width, int height, const void *png, size_t size) {
    drt_text v = {0}, image = {0};
    put_int(&image, 1, height);
    put_int(&image, 2, width);
    put_int(&image, 3, 3); // RGB
    put_bytes(&image, 4, png, size);
    put_string(&v, 1, tag);
    put_message(&v, 4, &image);
    put_message(&f->summary, 1, &v);
}

void drt_event_text(drt_event_file *f, const char *tag, const char *markdown) {
    enum { DT_STRING = 7 };
    drt_text v = {0}, tensor = {0}, meta = {0}, plugin = {0}, scalar = {0};
    put_string(&plugin, 1, "text");
    put_message(&meta, 1, &plugin);
    put_int(&tensor, 1, DT_STRING);
    put_message(&tensor, 2, &scalar); // the shape of a scalar: no dimensions
    put_string(&tensor, 8, markdown);
    put_string(&v, 1, tag);
    put_message(&v, 9, &meta);
    put_message(&v, 8, &tensor);
    put_message(&f->summary, 1, &v);
}

// ---- the file ------------------------------------------------------------------------------------------------------
static drt_status write_record(drt_event_file *f, const drt_text *event, drt_error *err) {
    drt_text record = {0};
    put_little(&record, event->size, 8);
    put_little(&record, record.failed ? 0 : masked(record.bytes, 8), 4);
    drt_text_add(&record, event->bytes, event->size);
    put_little(&record, masked(event->bytes, event->size), 4);
    drt_status status = DRT_OK;
    if (record.failed || event->failed) status = drt_fail(err, DRT_ENOMEM, "%s: no memory for an event", f->path);
    for (size_t at = 0; !status && at < record.size;) {
        ssize_t n = write(f->fd, record.bytes + at, record.size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) status = drt_fail(err, DRT_EIO, "%s: cannot write: %s", f->path, strerror(n ? errno : ENOSPC));
        else at += (size_t)n;
    }
    drt_text_free(&record);
    f->failed = status != DRT_OK;
    return status;
}

static void begin_event(drt_text *event) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    put_double(event, 1, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
}

drt_status drt_event_file_put(drt_event_file *f, int64_t step, drt_error *err) {
    drt_text event = {0};
    if (f->failed) drt_text_free(&f->summary);
    if (!f->summary.size) return DRT_OK;
    begin_event(&event);
    put_int(&event, 2, step);
    put_message(&event, 5, &f->summary);
    drt_status status = write_record(f, &event, err);
    drt_text_free(&event);
    return status;
}

static drt_status write_head(drt_event_file *f, int64_t first, drt_error *err) {
    enum { START = 1 };
    drt_text event = {0}, session = {0};
    begin_event(&event);
    put_string(&event, 3, "brain.Event:2");
    drt_status status = write_record(f, &event, err);
    drt_text_free(&event);
    if (status || first <= 0) return status;
    begin_event(&event);
    put_int(&event, 2, first);
    put_int(&session, 1, START);
    put_message(&event, 7, &session);
    status = write_record(f, &event, err);
    drt_text_free(&event);
    return status;
}

drt_status drt_event_file_open(drt_event_file **out, const char *folder, int64_t first, drt_error *err) {
    *out = NULL;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    drt_status status = drt_make_folders(folder, err);
    if (status) return status;
    drt_event_file *f = calloc(1, sizeof *f);
    drt_text path = {0};
    if (!f) return drt_fail(err, DRT_ENOMEM, "%s: no memory", folder);
    f->fd = -1;
    for (int i = 0; f->fd < 0 && !status; i++) { // another one of this second and process
        path.size = 0;
        drt_text_printf(&path, "%s/events.out.tfevents.%010lld.%s.%d.%d", folder, (long long)time(NULL), host,
                        (int)getpid(), i);
        if (path.failed) status = drt_fail(err, DRT_ENOMEM, "%s: no memory", folder);
        else f->fd = open(path.bytes, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (!status && f->fd < 0 && errno != EEXIST)
            status = drt_fail(err, DRT_EIO, "%s: cannot make the file: %s", path.bytes, strerror(errno));
    }
    f->path = path.bytes;
    if (!status) status = write_head(f, first, err);
    if (status) drt_event_file_close(f);
    else *out = f;
    return status;
}

void drt_event_file_close(drt_event_file *f) {
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    drt_text_free(&f->summary);
    free(f->path);
    free(f);
}
