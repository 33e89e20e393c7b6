// What a check of a dataset found, for a terminal, for programs, and as a page (data/check.h).
#ifndef DRT_EVAL_DATA_REPORT_H
#define DRT_EVAL_DATA_REPORT_H

#include "data/check.h"

// Counts, then at most `most` findings of each kind.
void drt_data_table(const drt_data_check *c, int most, drt_text *out);
// {"data", "samples", "pictures", "quarantined", "found": {KIND: n}, "findings": [{"kind", "sample", "id", "image",
// "why", "quarantined"}], "seconds": {...}}: all findings.
void drt_data_json(const drt_data_check *c, drt_text *out);
// One page that needs nothing else. Pairs of pictures are shown small, the first 24 of each kind.
void drt_data_html(const drt_data_check *c, drt_text *out);

#endif
