// What writing and reading a history share. Private to history*.c.
#ifndef DRT_TRAIN_HISTORY_PARTS_H
#define DRT_TRAIN_HISTORY_PARTS_H

#include "base/error.h"

#include <sqlite3.h>
#include <stdbool.h>

// Opens a history; write: makes it where there is none.
drt_status drt_history_open(sqlite3 **out, const char *path, bool write, drt_error *err);
// What SQLite last said, with the file in front. Returns the status.
drt_status drt_history_fail(sqlite3 *db, const char *path, drt_error *err);
// A statement with its parameters: a letter each, t text (NULL: null), i int64_t, d double.
sqlite3_stmt *drt_history_prepare(sqlite3 *db, const char *sql, const char *types, ...);
// Runs such a statement to its end.
drt_status drt_history_run_sql(sqlite3 *db, const char *path, drt_error *err, const char *sql, const char *types, ...);

#endif
