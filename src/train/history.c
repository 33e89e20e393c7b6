#include "train/history.h"

#include "base/file.h"
#include "base/progress.h"
#include "train/history_parts.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef DRT_COMMIT
#define DRT_COMMIT ""
#endif

enum { VERSION = 1, WAIT = 10000, MOST_METRICS = 200 };
static const double SAVE_EVERY = 30; // seconds

static const char schema[] =
    "CREATE TABLE run (id INTEGER PRIMARY KEY, folder TEXT NOT NULL, started TEXT NOT NULL,"
    " host TEXT NOT NULL, pid INTEGER NOT NULL, version TEXT NOT NULL, code TEXT NOT NULL, recipe TEXT NOT NULL,"
    " data TEXT NOT NULL, data_hash TEXT NOT NULL, device TEXT NOT NULL, seed INTEGER NOT NULL,"
    " threads INTEGER NOT NULL, samples INTEGER NOT NULL, step INTEGER NOT NULL, steps INTEGER NOT NULL,"
    " seconds REAL NOT NULL, sessions INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,"
    " weights TEXT NOT NULL);"
    "CREATE TABLE metric (run INTEGER NOT NULL REFERENCES run(id), name TEXT NOT NULL, last REAL,"
    " step INTEGER NOT NULL, least REAL, least_step INTEGER NOT NULL, most REAL, most_step INTEGER NOT NULL,"
    " PRIMARY KEY (run, name)) WITHOUT ROWID;"
    "CREATE TABLE note (run INTEGER NOT NULL REFERENCES run(id), step INTEGER NOT NULL,"
    " kind TEXT NOT NULL, text TEXT NOT NULL);"
    "CREATE INDEX run_folder ON run (folder);"
    "CREATE INDEX note_run ON note (run);"
    "PRAGMA user_version = 1;";

struct drt_history {
    sqlite3 *db;
    char *path;
    int64_t id, step;
    double before, began, saved; // seconds of earlier sessions; clock at the start, at the last writing
    drt_history_metric metric[MOST_METRICS];
    int metrics;
};

drt_status drt_history_path(const char *key, char **path, drt_error *err) {
    const char *variable = getenv(DRT_HISTORY_VARIABLE);
    const char *name = key && *key ? key : variable && *variable ? variable : DRT_HISTORY_DEFAULT;
    *path = NULL;
    if (!strcmp(name, "none")) return DRT_OK;
    return (*path = strdup(name)) ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
}

drt_status drt_history_fail(sqlite3 *db, const char *path, drt_error *err) {
    int code = db ? sqlite3_errcode(db) : SQLITE_NOMEM;
    const char *said = db ? sqlite3_errmsg(db) : "no memory";
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
        return drt_fail(err, DRT_EFORMAT, "%s: no run history (%s); move it away, or name another file (log.history=)",
                        path, said);
    if (code == SQLITE_BUSY)
        return drt_fail(err, DRT_EIO, "%s: another program has held the run history for %d s", path, WAIT / 1000);
    return drt_fail(err, code == SQLITE_NOMEM ? DRT_ENOMEM : DRT_EIO, "%s: the run history: %s", path, said);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql, const char *types, va_list args) {
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL)) return NULL;
    for (int i = 1; types[i - 1]; i++) {
        if (types[i - 1] == 't') sqlite3_bind_text(s, i, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
        else if (types[i - 1] == 'i') sqlite3_bind_int64(s, i, va_arg(args, int64_t));
        else sqlite3_bind_double(s, i, va_arg(args, double)); // NaN becomes NULL
    }
    return s;
}

sqlite3_stmt *drt_history_prepare(sqlite3 *db, const char *sql, const char *types, ...) {
    va_list args;
    va_start(args, types);
    sqlite3_stmt *s = prepare(db, sql, types, args);
    va_end(args);
    return s;
}

drt_status drt_history_run_sql(sqlite3 *db, const char *path, drt_error *err, const char *sql, const char *types, ...) {
    va_list args;
    va_start(args, types);
    sqlite3_stmt *s = prepare(db, sql, types, args);
    va_end(args);
    int code = s ? sqlite3_step(s) : SQLITE_ERROR;
    drt_status status = code == SQLITE_DONE || code == SQLITE_ROW ? DRT_OK : drt_history_fail(db, path, err);
    sqlite3_finalize(s);
    return status;
}

// A file must say that it is a history. *empty (NULL: that is refused, too): there is nothing in it yet.
static drt_status check_version(sqlite3 *db, const char *path, bool *empty, drt_error *err) {
    sqlite3_stmt *s = drt_history_prepare(
        db, "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version", "");
    drt_status status = DRT_OK;
    if (!s || sqlite3_step(s) != SQLITE_ROW) status = drt_history_fail(db, path, err);
    else {
        int version = sqlite3_column_int(s, 0), tables = sqlite3_column_int(s, 1);
        if (version > VERSION)
            status =
                drt_fail(err, DRT_EFORMAT, "%s: written by a newer drt (version %d of the history, this one knows %d)",
                         path, version, VERSION);
        else if (empty && !version && !tables) *empty = true;
        else if (version < VERSION)
            status = drt_fail(err, DRT_EFORMAT, "%s: an SQLite file, but no run history; name another one", path);
    }
    sqlite3_finalize(s);
    return status;
}

// In one transaction, so that another program never meets a history half made.
static drt_status prepare_file(sqlite3 *db, const char *path, drt_error *err) {
    bool empty = false;
    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL)) return drt_history_fail(db, path, err);
    drt_status status = check_version(db, path, &empty, err);
    if (!status && empty && sqlite3_exec(db, schema, NULL, NULL, NULL)) status = drt_history_fail(db, path, err);
    if (!status && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL)) status = drt_history_fail(db, path, err);
    return status;
}

drt_status drt_history_open(sqlite3 **out, const char *path, bool write, drt_error *err) {
    *out = NULL;
    drt_status status = DRT_OK;
    char *folder = write ? strdup(path) : NULL, *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash && slash > folder) {
        *slash = 0;
        status = drt_make_folders(folder, err);
    }
    free(folder);
    if (status) return status;
    // Also to read: what a program that was killed in the middle of a transaction has left must be rolled back first.
    // Of a file that may not be written SQLite makes a reader by itself.
    int code = sqlite3_open_v2(path, out,
                               SQLITE_OPEN_READWRITE | (write ? SQLITE_OPEN_CREATE : 0) | SQLITE_OPEN_NOMUTEX, NULL);
    if (!code) code = sqlite3_busy_timeout(*out, WAIT);
    status = code    ? drt_history_fail(*out, path, err)
             : write ? prepare_file(*out, path, err)
                     : check_version(*out, path, NULL, err);
    if (status) {
        sqlite3_close(*out);
        *out = NULL;
    }
    return status;
}

// The row that a resumed run goes on with: h->id, 0 if there is none.
static drt_status find_row(drt_history *h, const char *folder, drt_error *err) {
    sqlite3_stmt *s = drt_history_prepare(
        h->db, "SELECT id, seconds FROM run WHERE folder = ? ORDER BY id DESC LIMIT 1", "t", folder);
    int code = s ? sqlite3_step(s) : SQLITE_ERROR;
    if (code == SQLITE_ROW) {
        h->id = sqlite3_column_int64(s, 0);
        h->before = sqlite3_column_double(s, 1);
    }
    drt_status status = code == SQLITE_ROW || code == SQLITE_DONE ? DRT_OK : drt_history_fail(h->db, h->path, err);
    sqlite3_finalize(s);
    return status;
}

static drt_status add_row(drt_history *h, const char *folder, const drt_history_entry *e, drt_error *err) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    if (h->id)
        return drt_history_run_sql(h->db, h->path, err,
                                   "UPDATE run SET host = ?, pid = ?, version = ?, code = ?, recipe = ?, data = ?,"
                                   " data_hash = ?, device = ?, seed = ?, threads = ?, samples = ?, steps = ?,"
                                   " sessions = sessions + 1, state = 'running', reason = '', weights = ''"
                                   " WHERE id = ?",
                                   "titttttt"
                                   "iiiii",
                                   host, (int64_t)getpid(), DRT_VERSION, DRT_COMMIT, e->recipe, e->data, e->data_hash,
                                   e->device, e->seed, e->threads, e->samples, e->steps, h->id);
    drt_status status = drt_history_run_sql(
        h->db, h->path, err,
        "INSERT INTO run (folder, started, host, pid, version, code, recipe, data, data_hash, device, seed, threads,"
        " samples, step, steps, seconds, sessions, state, reason, weights) VALUES (?, strftime('%Y-%m-%d %H:%M:%S',"
        " 'now'), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, 1, 'running', '', '')",
        "ttittttttiiii", folder, host, (int64_t)getpid(), DRT_VERSION, DRT_COMMIT, e->recipe, e->data, e->data_hash,
        e->device, e->seed, e->threads, e->samples, e->steps);
    h->id = sqlite3_last_insert_rowid(h->db);
    return status;
}

drt_status drt_history_begin(drt_history **out, const char *path, const drt_history_entry *e, drt_error *err) {
    *out = NULL;
    char folder[PATH_MAX];
    if (!realpath(e->folder, folder)) snprintf(folder, sizeof folder, "%s", e->folder);
    drt_history *h = calloc(1, sizeof *h);
    if (!h || !(h->path = strdup(path))) {
        free(h);
        return drt_fail(err, DRT_ENOMEM, "%s: no memory", path);
    }
    h->began = h->saved = drt_clock();
    drt_status status = drt_history_open(&h->db, path, true, err);
    if (!status && e->resumed) status = find_row(h, folder, err);
    if (!status) status = add_row(h, folder, e, err);
    if (status) {
        sqlite3_close(h->db);
        free(h->path);
        free(h);
        return status;
    }
    *out = h;
    return DRT_OK;
}

static drt_history_metric *metric_of(drt_history *h, const char *name) {
    for (int i = 0; i < h->metrics; i++)
        if (!strcmp(h->metric[i].name, name)) return &h->metric[i];
    if (h->metrics == MOST_METRICS || !(h->metric[h->metrics].name = strdup(name))) return NULL;
    h->metric[h->metrics].least = INFINITY, h->metric[h->metrics].most = -INFINITY;
    return &h->metric[h->metrics++];
}

// A resumed run's earlier extremes are kept; it only adds to them.
static drt_status save_metric(drt_history *h, const drt_history_metric *m, drt_error *err) {
    return drt_history_run_sql(
        h->db, h->path, err,
        "INSERT INTO metric (run, name, last, step, least, least_step, most, most_step) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run, name) DO UPDATE SET last = excluded.last, step = excluded.step,"
        " least_step = iif(excluded.least < ifnull(least, 9e999), excluded.least_step, least_step),"
        " least = iif(excluded.least < ifnull(least, 9e999), excluded.least, least),"
        " most_step = iif(excluded.most > ifnull(most, -9e999), excluded.most_step, most_step),"
        " most = iif(excluded.most > ifnull(most, -9e999), excluded.most, most)",
        "itdididi", h->id, m->name, m->last, m->step, m->least <= m->most ? m->least : NAN, m->least_step,
        m->least <= m->most ? m->most : NAN, m->most_step);
}

// A run waits for other programs, but not again and again: after a failure not before something could be written.
static drt_status waited(drt_history *h, drt_status status) {
    sqlite3_busy_timeout(h->db, status ? 0 : WAIT);
    return status;
}

// One transaction: what the run has come to.
static drt_status save(drt_history *h, drt_error *err) {
    drt_status status = drt_history_run_sql(h->db, h->path, err, "BEGIN IMMEDIATE", "");
    bool begun = !status;
    for (int i = 0; i < h->metrics && !status; i++) status = save_metric(h, &h->metric[i], err);
    if (!status)
        status =
            drt_history_run_sql(h->db, h->path, err, "UPDATE run SET step = max(step, ?), seconds = ? WHERE id = ?",
                                "idi", h->step, h->before + drt_clock() - h->began, h->id);
    if (!status) status = drt_history_run_sql(h->db, h->path, err, "COMMIT", "");
    if (status && begun) sqlite3_exec(h->db, "ROLLBACK", NULL, NULL, NULL);
    h->saved = drt_clock();
    return waited(h, status);
}

drt_status drt_history_metrics(drt_history *h, int64_t step, int n, const char *const *names, const double *values,
                               drt_error *err) {
    h->step = step;
    for (int i = 0; i < n; i++) {
        drt_history_metric *m = metric_of(h, names[i]);
        if (!m) continue;
        m->last = values[i], m->step = step;
        if (isfinite(values[i]) && values[i] < m->least) m->least = values[i], m->least_step = step;
        if (isfinite(values[i]) && values[i] > m->most) m->most = values[i], m->most_step = step;
    }
    return drt_clock() - h->saved < SAVE_EVERY ? DRT_OK : save(h, err);
}

drt_status drt_history_note(drt_history *h, int64_t step, const char *kind, const char *text, drt_error *err) {
    // A step that is done again after a resume says again what it said.
    drt_status status = drt_history_run_sql(
        h->db, h->path, err, "DELETE FROM note WHERE run = ? AND step = ? AND kind = ?", "iit", h->id, step, kind);
    if (!status)
        status =
            drt_history_run_sql(h->db, h->path, err, "INSERT INTO note (run, step, kind, text) VALUES (?, ?, ?, ?)",
                                "iitt", h->id, step, kind, text);
    return waited(h, status);
}

drt_status drt_history_end(drt_history *h, const char *state, const char *reason, uint64_t weights, drt_error *err) {
    if (!h) return DRT_OK;
    char hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)weights);
    sqlite3_busy_timeout(h->db, WAIT);
    drt_status status = save(h, err);
    if (!status)
        status =
            drt_history_run_sql(h->db, h->path, err, "UPDATE run SET state = ?, reason = ?, weights = ? WHERE id = ?",
                                "ttti", state, reason, hash, h->id);
    for (int i = 0; i < h->metrics; i++) free(h->metric[i].name);
    sqlite3_close(h->db);
    free(h->path);
    free(h);
    return status;
}
