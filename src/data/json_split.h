// Cuts a large JSON file into its samples without building a tree and without holding it: an array of objects, or
// objects one after another (JSON lines), given piece by piece. Objects are found by their brackets; what is inside
// them is checked by whoever parses them. Where the caller says so, every line is an object instead, whatever stands in
// it: one that is broken is one object, and the next line is the next.
//
//   drt_json_splitter s = {.found = found, .user = user};
//   while (...) if (drt_json_split_feed(&s, bytes, n, &err)) ...    // calls found(user, at, size, err) for each object
//   if (drt_json_split_end(&s, &err)) ...
//   where an error is: byte s.fault
#ifndef DRT_DATA_JSON_SPLIT_H
#define DRT_DATA_JSON_SPLIT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// An object at byte `at` of all that was fed, its last byte is in the piece being fed. Anything but DRT_OK ends it.
typedef drt_status drt_json_found(void *user, uint64_t at, uint64_t size, drt_error *err);

typedef struct {
    drt_json_found *found;
    void *user;
    bool lines; // a line an object, unless an array begins
    // Below: the splitter's own, zeroed to begin with.
    uint64_t at, from, fault;   // bytes seen; where the open object begins; where the fault is
    int depth;                  // of brackets inside an object, 0: outside
    int begun;                  // bytes of a byte order mark that were seen
    char state;                 // what is expected: see json_split.c
    bool array, string, escape; // inside a string; behind a backslash in it
} drt_json_splitter;

// DRT_EFORMAT: not such a file; the message says what was expected, s->fault where. A fault inside an object that never
// ends shows at the end only: s->from is where that object begins.
drt_status drt_json_split_feed(drt_json_splitter *s, const char *bytes, size_t n, drt_error *err);
drt_status drt_json_split_end(drt_json_splitter *s, drt_error *err);
// From this byte on the bytes are still needed: the open object's, else what is fed next.
uint64_t drt_json_split_keep(const drt_json_splitter *s);

#endif
