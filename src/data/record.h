// One sample of a dataset: from its JSON text to a drt_record in one block. Inside of dataset.c.
#ifndef DRT_DATA_RECORD_H
#define DRT_DATA_RECORD_H

#include "data/dataset.h"

#include <stddef.h>

enum { DRT_RECORD_NAME = 200 };

// json[0..size) is one object. DRT_EFORMAT: a syntax error, *at is its offset. DRT_EDATA: a key is missing or has the
// wrong type. `folder` goes in front of relative image paths. `name` becomes "sample 12 (id 'abc')", also when the
// sample is bad.
drt_status drt_record_parse(const char *json, size_t size, const char *folder, int32_t index, drt_record **out,
                            size_t *at, char name[DRT_RECORD_NAME], drt_error *err);
// The same name again.
void drt_record_name(const char *id, int32_t index, char name[DRT_RECORD_NAME]);

#endif
