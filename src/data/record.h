// One sample of a dataset: from its JSON text to a drt_record in one block. Inside of the room's dataset files.
#ifndef DRT_DATA_RECORD_H
#define DRT_DATA_RECORD_H

#include "data/dataset.h"

#include <stddef.h>

enum { DRT_RECORD_NAME = 200 };

// json[0..size) is one object; of a key that stands in it twice the last counts.
typedef struct {
    const char *json;
    size_t size;
    const char *folder; // goes in front of relative image paths
    int32_t index;
    bool no_json; // known of this sample; a syntax error is a fault like any other then (DRT_EDATA)
    // A sample of a tar shard: its key, the id if the JSON gives none; its pictures, which take the place of "image".
    const char *key;              // NULL: not of a shard
    const drt_held_picture *held; // [n_held], copied
    const char *const *held_name; // [n_held] their paths, "shard.tar/a.jpg"
    int n_held;
} drt_record_source;

// DRT_EFORMAT: a syntax error, *at is its offset. DRT_EDATA: a key is missing or has the wrong type. `name` becomes
// "sample 12 (id 'abc')", also when the sample is bad.
drt_status drt_record_parse(const drt_record_source *from, drt_record **out, size_t *at, char name[DRT_RECORD_NAME],
                            drt_error *err);
// The same name again, and the id that is in one ("" if none is; its first 150 bytes), malloc'ed; NULL: no memory.
void drt_record_name(const char *id, int32_t index, char name[DRT_RECORD_NAME]);
char *drt_record_id_of(const char name[DRT_RECORD_NAME]);

#endif
