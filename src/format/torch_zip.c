#include "format/torch_zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LOCAL = 30, CENTRAL = 46, END = 22, LOCATOR = 20, END64 = 56, MOST_ENTRIES = 1 << 20 };
// Deflate cannot make more than this of a byte.
enum { MOST_RATIO = 1032 };

typedef struct {
    const unsigned char *bytes;
    size_t size;
    const char *file;
    drt_error *err;
} archive;

static uint64_t number(const unsigned char *p, int bytes) {
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static bool is(const archive *a, uint64_t at, const char *sign) {
    return at <= a->size && a->size - at >= 4 && !memcmp(a->bytes + at, sign, 4);
}

static drt_status broken(const archive *a, uint64_t at, const char *what) {
    return drt_fail(a->err, DRT_EFORMAT, "%s: byte %llu: %s; copy or download the file again", a->file,
                    (unsigned long long)at, what);
}

// The directory of entries: where it begins, its size, how many entries it lists.
static drt_status find_directory(const archive *a, uint64_t *at, uint64_t *size, uint64_t *count) {
    size_t from = a->size < END + 65535 ? 0 : a->size - END - 65535, end = a->size;
    for (size_t p = a->size < END ? 0 : a->size - END + 1; p-- > from;)
        if (is(a, p, "PK\5\6") && p + END + number(a->bytes + p + 20, 2) == a->size) {
            end = p;
            break;
        }
    if (end == a->size) return broken(a, end, "the zip file has no end record: it is cut off");
    const unsigned char *e = a->bytes + end;
    *count = number(e + 10, 2), *size = number(e + 12, 4), *at = number(e + 16, 4);
    if (end >= LOCATOR && is(a, end - LOCATOR, "PK\6\7")) {
        uint64_t end64 = number(a->bytes + end - LOCATOR + 8, 8);
        if (end < LOCATOR + END64 || end64 > end - LOCATOR - END64 || !is(a, end64, "PK\6\6"))
            return broken(a, end - LOCATOR, "points to no zip64 end record");
        e = a->bytes + end64;
        *count = number(e + 32, 8), *size = number(e + 40, 8), *at = number(e + 48, 8);
        end = end64;
    }
    if (*at > end || *size > end - *at) return broken(a, end, "the zip directory lies outside the file");
    if (*count > *size / CENTRAL || *count > MOST_ENTRIES)
        return broken(a, end, "the zip directory cannot hold as many entries as it announces");
    return DRT_OK;
}

// Sizes and place that do not fit 32 bits stand in the extra field 1, those that overflow, in this order.
static bool widen(const unsigned char *extra, size_t n, uint64_t *size, uint64_t *packed, uint64_t *local) {
    uint64_t *value[] = {size, packed, local};
    bool wanted = *size == UINT32_MAX || *packed == UINT32_MAX || *local == UINT32_MAX;
    for (size_t at = 0; wanted && at + 4 <= n;) {
        uint64_t kind = number(extra + at, 2), length = number(extra + at + 2, 2);
        if (length > n - at - 4) return false;
        size_t in = at + 4, end = in + length;
        at = end;
        if (kind != 1) continue;
        for (int i = 0; i < 3; i++) {
            if (*value[i] != UINT32_MAX) continue;
            if (end - in < 8) return false;
            *value[i] = number(extra + in, 8);
            in += 8;
        }
        return true;
    }
    return !wanted;
}

// One entry of the directory at *at, which moves behind it; `end` is the directory's.
static drt_status read_entry(const archive *a, drt_zip_entry *e, uint64_t *at, uint64_t end) {
    const unsigned char *c = a->bytes + *at;
    if (end - *at < CENTRAL || !is(a, *at, "PK\1\2")) return broken(a, *at, "no entry of the zip directory");
    uint64_t flags = number(c + 8, 2), method = number(c + 10, 2), packed = number(c + 20, 4), size = number(c + 24, 4),
             local = number(c + 42, 4);
    size_t name = (size_t)number(c + 28, 2), extra = (size_t)number(c + 30, 2), comment = (size_t)number(c + 32, 2);
    if (end - *at - CENTRAL < name + extra + comment) return broken(a, *at, "the zip directory is cut off");
    if (!widen(c + CENTRAL + name, extra, &size, &packed, &local)) return broken(a, *at, "a wrong zip64 field");
    if (flags & 1) return drt_fail(a->err, DRT_EFORMAT, "%s: '%.*s' is encrypted", a->file, (int)name, c + CENTRAL);
    if (method != 0 && method != 8)
        return drt_fail(a->err, DRT_EFORMAT,
                        "%s: '%.*s' is compressed by method %d; only stored and deflated entries are read: "
                        "write the file again with torch.save",
                        a->file, (int)name, c + CENTRAL, (int)method);
    if (local > a->size || a->size - local < LOCAL || !is(a, local, "PK\3\4"))
        return broken(a, *at, "an entry of the zip directory that points to no file");
    uint64_t data = local + LOCAL + number(a->bytes + local + 26, 2) + number(a->bytes + local + 28, 2);
    if (data > a->size || packed > a->size - data) return broken(a, local, "an entry is cut off");
    if (method ? size / MOST_RATIO > packed : size != packed)
        return broken(a, local, "an entry cannot have the size that the zip directory tells");
    *e = (drt_zip_entry){.name = (const char *)c + CENTRAL,
                         .name_size = name,
                         .bytes = a->bytes + data,
                         .packed = (size_t)packed,
                         .size = (size_t)size,
                         .deflated = method == 8,
                         .crc = (uint32_t)number(c + 16, 4)};
    *at += CENTRAL + name + extra + comment;
    return DRT_OK;
}

static int by_place(const void *a, const void *b) {
    const drt_zip_entry *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return (x->packed > y->packed) - (x->packed < y->packed);
}

static int compare_names(const char *a, size_t n, const char *b, size_t m) {
    int c = memcmp(a, b, n < m ? n : m);
    return c ? c : (n > m) - (n < m);
}

static int by_name(const void *a, const void *b) {
    const drt_zip_entry *x = a, *y = b;
    return compare_names(x->name, x->name_size, y->name, y->name_size);
}

drt_status drt_zip_open(drt_zip *z, const unsigned char *bytes, size_t size, const char *file, drt_error *err) {
    archive a = {bytes, size, file, err};
    uint64_t at = 0, length = 0, count = 0;
    *z = (drt_zip){.file = file};
    drt_status status = find_directory(&a, &at, &length, &count);
    if (status) return status;
    z->entry = malloc((size_t)(count + 1) * sizeof *z->entry);
    if (!z->entry) return drt_fail(err, DRT_ENOMEM, "%s: no memory for a list of files", file);
    for (uint64_t end = at + length; !status && z->count < count; z->count++)
        status = read_entry(&a, &z->entry[z->count], &at, end);
    if (!status) qsort(z->entry, z->count, sizeof *z->entry, by_place);
    for (size_t i = 1; !status && i < z->count; i++)
        if (z->entry[i].bytes < z->entry[i - 1].bytes + z->entry[i - 1].packed)
            status = broken(&a, (uint64_t)(z->entry[i].bytes - bytes), "two entries share bytes");
    if (!status) qsort(z->entry, z->count, sizeof *z->entry, by_name);
    for (size_t i = 1; !status && i < z->count; i++)
        if (!by_name(&z->entry[i - 1], &z->entry[i]))
            status = drt_fail(err, DRT_EFORMAT, "%s: the zip file has two entries '%.*s'", file,
                              (int)z->entry[i].name_size, z->entry[i].name);
    if (status) drt_zip_close(z);
    return status;
}

void drt_zip_close(drt_zip *z) {
    free(z->entry);
    *z = (drt_zip){0};
}

const drt_zip_entry *drt_zip_find(const drt_zip *z, const char *name) {
    drt_zip_entry key = {.name = name, .name_size = strlen(name)};
    return z->count ? bsearch(&key, z->entry, z->count, sizeof key, by_name) : NULL;
}

drt_status drt_zip_inflate(const drt_zip *z, const drt_zip_entry *e, void *out, drt_error *err) {
    enum { PIECE = 1 << 30 }; // zlib counts in 32 bits
    z_stream s = {0};
    unsigned char *to = out, more;
    size_t in = 0, done = 0;
    int rc = inflateInit2(&s, -MAX_WBITS); // no zlib header: raw deflate
    if (rc != Z_OK) return drt_fail(err, DRT_ENOMEM, "%s: no memory to inflate", z->file);
    while (rc == Z_OK) {
        size_t give = e->packed - in < PIECE ? e->packed - in : PIECE;
        // One byte beyond the promised size shows an entry that inflates to more.
        size_t room = e->size - done < PIECE ? e->size - done : PIECE;
        s.next_in = (unsigned char *)(uintptr_t)(e->bytes + in), s.avail_in = (unsigned)give;
        s.next_out = room ? to + done : &more, s.avail_out = room ? (unsigned)room : 1;
        unsigned asked = s.avail_out;
        rc = inflate(&s, Z_NO_FLUSH);
        in += give - s.avail_in;
        if (!room && s.avail_out < asked) rc = Z_DATA_ERROR;
        done += room ? asked - s.avail_out : 0;
    }
    inflateEnd(&s);
    uLong sum = crc32_z(0, out, done);
    if (rc != Z_STREAM_END || done != e->size || sum != e->crc)
        return drt_fail(err, DRT_EFORMAT,
                        "%s: '%.*s' does not inflate to the %zu bytes and the checksum that it announces; copy or "
                        "download the file again",
                        z->file, (int)e->name_size, e->name, e->size);
    return DRT_OK;
}
