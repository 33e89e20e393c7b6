// Reading all of the data once, to know its samples. Inside of index.c.
#ifndef DRT_DATA_INDEX_BUILD_H
#define DRT_DATA_INDEX_BUILD_H

#include "data/index.h"

// Fills in x->fact, x->n, and of each file its digest and first sample. One pass over the files, samples parsed on all
// cores; memory for the facts and 8 MiB of data (or as much as the largest sample takes).
drt_status drt_index_build(drt_index *x, drt_progress *progress, drt_error *err);

// A new fact at the end of the list; NULL: no memory, or too many.
drt_fact *drt_index_add(drt_index *x, drt_error *err);
// What is to be known of a sample beside its place. DRT_EFORMAT: a syntax error, *at is its offset; the fact says so,
// for where that spoils one sample and no more.
drt_status drt_index_look(const drt_record_source *from, drt_fact *fact, size_t *at, drt_error *err);
#endif
