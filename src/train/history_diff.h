// How two runs of a history differ: facts, recipe keys, metrics, a line each.
//
//   drt_history_difference d;
//   if (drt_history_compare(a, b, &d, &err)) ...
//   for (int i = 0; i < d.n; i++) printf("%s: %s, %s\n", d.line[i].name, d.line[i].a, d.line[i].b);
//   drt_history_difference_free(&d);
#ifndef DRT_TRAIN_HISTORY_DIFF_H
#define DRT_TRAIN_HISTORY_DIFF_H

#include "train/history.h"

typedef enum { DRT_DIFFERENT_FACT, DRT_DIFFERENT_KEY, DRT_DIFFERENT_METRIC } drt_difference_kind;

typedef struct {
    drt_difference_kind kind;
    char *name, *a, *b; // "-" where a run does not have it
} drt_difference_line;

typedef struct {
    drt_difference_line *line; // [n] facts, then keys in the recipe's order, then metrics
    int n;
    int same; // recipe keys that are equal
} drt_history_difference;

// Facts and keys where they differ (recipes of other versions of drt may have other keys); every metric that is of the
// model: what a step costs (seconds, memory, ...) is left out.
drt_status drt_history_compare(const drt_history_run *a, const drt_history_run *b, drt_history_difference *out,
                               drt_error *err);
void drt_history_difference_free(drt_history_difference *d);

// Reads the next key of a written recipe (drt_recipe_write): its dotted name and its value as it stands. *at moves on;
// section (64 bytes, "" at first) belongs to the walk. False at the end.
bool drt_history_next_key(const char **at, char section[64], drt_text *name, drt_text *value);

#endif
