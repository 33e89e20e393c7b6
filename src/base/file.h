// Files: whole reads, read-only maps, and writes that are either complete or absent.
#ifndef DRT_BASE_FILE_H
#define DRT_BASE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// Reads a whole file into malloc'ed memory with a NUL after its last byte; *size (may be NULL) excludes the NUL.
// Refuses files larger than `most` bytes (0: 1 GiB).
drt_status drt_file_read(char **out, size_t *size, const char *path, size_t most, drt_error *err);

// A read-only memory map of a whole file. An empty file maps to bytes = NULL, size = 0.
typedef struct {
    const unsigned char *bytes;
    size_t size;
} drt_map;
drt_status drt_map_open(drt_map *map, const char *path, drt_error *err);
void drt_map_close(drt_map *map);

// Atomic writing: to `path`.tmp-PID, synced, renamed over `path`, folder synced. Until drt_writer_commit returns
// DRT_OK the old file stands untouched. A short write or a full disk names the file and the bytes missing.
//   drt_writer w;
//   if (drt_writer_open(&w, path, err)) return err->code;
//   drt_writer_put(&w, bytes, n);              // errors stick
//   return drt_writer_commit(&w, err);         // also frees; on error the temporary file is removed
typedef struct {
    FILE *file;
    char *path, *temporary;
    int failed; // errno of the first failure
    size_t written;
} drt_writer;
drt_status drt_writer_open(drt_writer *w, const char *path, drt_error *err);
void drt_writer_put(drt_writer *w, const void *bytes, size_t n);
drt_status drt_writer_commit(drt_writer *w, drt_error *err);
void drt_writer_abandon(drt_writer *w); // forget it; removes the temporary file

drt_status drt_file_write(const char *path, const void *bytes, size_t n, drt_error *err); // the three in one
// Makes what happened to the name `path` (a rename) last through a loss of power. 0, or why not (errno).
int drt_sync_folder_of(const char *path);
drt_status drt_make_folders(const char *path, drt_error *err); // mkdir -p
drt_status drt_remove_tree(const char *path, drt_error *err);  // rm -r; a path that does not exist is fine
// The folder is this process's alone until drt_folder_leave, or until the process ends, however it ends. DRT_ECONFIG:
// another has it. Where the file system knows no locks nobody is kept out.
drt_status drt_folder_claim(int *claim, const char *path, drt_error *err);
void drt_folder_leave(int claim);        // -1: there is none
int64_t drt_disk_free(const char *path); // bytes that this user may still write where `path` is; -1: not known
bool drt_file_exists(const char *path);
bool drt_is_folder(const char *path);
char *drt_path_join(const char *folder, const char *name); // malloc'ed; an absolute name stands alone; NULL: no memory

#endif
