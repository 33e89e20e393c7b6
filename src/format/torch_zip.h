// The list of a zip file's entries, checked against the file's bytes: as much of the format (zip64 included) as files
// of torch.save and of repacking programs need. Source: PKWARE's APPNOTE 6.3.
//
//   drt_zip z;
//   if (drt_zip_open(&z, bytes, size, "a.bin", &err)) ...
//   const drt_zip_entry *e = drt_zip_find(&z, "archive/data.pkl");
//   if (e && !e->deflated) use(e->bytes, e->size);
//   drt_zip_close(&z);
#ifndef DRT_FORMAT_TORCH_ZIP_H
#define DRT_FORMAT_TORCH_ZIP_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name; // not terminated; slashes between folders
    size_t name_size;
    const unsigned char *bytes; // `packed` of them, inside the file
    size_t packed, size;        // equal unless deflated
    bool deflated;
    uint32_t crc;
} drt_zip_entry;

typedef struct {
    drt_zip_entry *entry; // ordered by name
    size_t count;
    const char *file;
} drt_zip;

// No two entries share a byte: what inflates to more than its size does so once. `bytes` must outlive z.
drt_status drt_zip_open(drt_zip *z, const unsigned char *bytes, size_t size, const char *file, drt_error *err);
void drt_zip_close(drt_zip *z);
const drt_zip_entry *drt_zip_find(const drt_zip *z, const char *name); // NULL if absent
// Inflates a deflated entry into out[e->size]; anything but exactly e->size bytes with the right checksum is refused.
drt_status drt_zip_inflate(const drt_zip *z, const drt_zip_entry *e, void *out, drt_error *err);

#endif
