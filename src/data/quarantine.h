// Samples that training leaves out without being asked again: a list by name, made by `drt data check` or by hand, kept
// beside the data (DATA.quarantine.jsonl). One JSON object a line:
//   {"quarantine": 1, "data": "train.json", "digest": "6f0c...", "samples": 665000}     of a list that was made
//   {"sample": 12, "id": "abc", "kind": "missing", "why": "images/abc.jpg is missing"}
//   {"id": "abc"}                                             by hand: every sample of that id, whatever the content
// Numbers count the samples of the data from 0. A list that was made holds for that content alone. Which samples are
// left out depends on the data and the list and on nothing else, hence is the same for every process of a run.
#ifndef DRT_DATA_QUARANTINE_H
#define DRT_DATA_QUARANTINE_H

#include "base/text.h"
#include "data/index.h"

// Marks in out[x->n] the samples that the list at `path` names; *n: how many. DRT_ECONFIG: the list is of other
// content; DRT_EFORMAT, DRT_EDATA: a line that is none, with its number.
drt_status drt_quarantine_read(const char *path, const drt_index *x, bool *out, int32_t *n, drt_error *err);
// The same of a list in memory; `name` stands for the file.
drt_status drt_quarantine_parse(const char *text, size_t size, const char *name, const drt_index *x, bool *out,
                                int32_t *n, drt_error *err);

// Where the list of a dataset is looked for: "train.json" -> "train.json.quarantine.jsonl". malloc'ed; NULL: no memory.
char *drt_quarantine_path(const char *data);
// A list's lines: the first, then one a sample (id may be "").
void drt_quarantine_begin(const drt_index *x, drt_text *out);
void drt_quarantine_add(drt_text *out, int32_t sample, const char *id, const char *kind, const char *why);

#endif
