#include "train/history.h"

#include "base/text.h"
#include "train/history_parts.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Column i as a string of its own, "" for null; NULL: no memory.
static char *text_of(sqlite3_stmt *s, int i) {
    const char *text = (const char *)sqlite3_column_text(s, i);
    return strdup(text ? text : "");
}

static double number_of(sqlite3_stmt *s, int i) {
    return sqlite3_column_type(s, i) == SQLITE_NULL ? NAN : sqlite3_column_double(s, i);
}

// A process that was killed could not say so. Only of this machine can one tell.
static bool is_gone(const drt_history_run *r, const char *host) {
    return !strcmp(r->state, "running") && !strcmp(r->host, host) && kill((pid_t)r->pid, 0) && errno == ESRCH;
}

static bool read_run(sqlite3_stmt *s, const char *host, drt_history_run *r) {
    char **const texts[] = {&r->folder, &r->started,   &r->host,   &r->version, &r->commit, &r->recipe,
                            &r->data,   &r->data_hash, &r->device, &r->weights, &r->state,  &r->reason};
    int64_t *const numbers[] = {&r->id, &r->pid, &r->seed, &r->threads, &r->samples, &r->step, &r->steps, &r->sessions};
    enum { TEXTS = sizeof texts / sizeof *texts, NUMBERS = sizeof numbers / sizeof *numbers };
    bool ok = true;
    for (int i = 0; i < TEXTS; i++) ok &= (*texts[i] = text_of(s, i)) != NULL;
    for (int i = 0; i < NUMBERS; i++) *numbers[i] = sqlite3_column_int64(s, TEXTS + i);
    r->seconds = sqlite3_column_double(s, TEXTS + NUMBERS);
    if (!ok || !is_gone(r, host)) return ok;
    free(r->state), free(r->reason);
    r->state = strdup("lost");
    r->reason = strdup("its process ended without a word (killed, out of memory, power)");
    return r->state && r->reason;
}

static drt_status read_runs(drt_history_list *out, sqlite3 *db, const char *path, drt_error *err) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    sqlite3_stmt *s = drt_history_prepare(
        db,
        "SELECT folder, started, host, version, code, recipe, data, data_hash, device, weights, state, reason,"
        " id, pid, seed, threads, samples, step, steps, sessions, seconds FROM run ORDER BY id DESC",
        "");
    int code = SQLITE_ERROR;
    while (s && (code = sqlite3_step(s)) == SQLITE_ROW) {
        drt_history_run *more = realloc(out->run, (size_t)(out->n + 1) * sizeof *more);
        if (more) {
            out->run = more;
            more[out->n] = (drt_history_run){0};
        }
        if (!more || !read_run(s, host, &more[out->n++])) {
            sqlite3_finalize(s);
            return drt_fail(err, DRT_ENOMEM, "%s: no memory for %d runs", path, out->n);
        }
    }
    drt_status status = code == SQLITE_DONE ? DRT_OK : drt_history_fail(db, path, err);
    sqlite3_finalize(s);
    return status;
}

// Rows of a query that belong to one run. add: false when memory is out.
static drt_status each_row(sqlite3 *db, const char *path, const char *sql, drt_history_run *r,
                           bool (*add)(sqlite3_stmt *s, drt_history_run *r), drt_error *err) {
    sqlite3_stmt *s = drt_history_prepare(db, sql, "i", r->id);
    int code = SQLITE_ERROR;
    drt_status status = DRT_OK;
    while (!status && s && (code = sqlite3_step(s)) == SQLITE_ROW)
        if (!add(s, r)) status = drt_fail(err, DRT_ENOMEM, "%s: no memory for a run", path);
    if (!status && code != SQLITE_DONE) status = drt_history_fail(db, path, err);
    sqlite3_finalize(s);
    return status;
}

static bool add_metric(sqlite3_stmt *s, drt_history_run *r) {
    drt_history_metric *more = realloc(r->metric, (size_t)(r->metrics + 1) * sizeof *more);
    if (!more) return false;
    r->metric = more;
    more[r->metrics] = (drt_history_metric){.name = text_of(s, 0),
                                            .last = number_of(s, 1),
                                            .step = sqlite3_column_int64(s, 2),
                                            .least = number_of(s, 3),
                                            .least_step = sqlite3_column_int64(s, 4),
                                            .most = number_of(s, 5),
                                            .most_step = sqlite3_column_int64(s, 6)};
    return more[r->metrics++].name != NULL;
}

static bool add_note(sqlite3_stmt *s, drt_history_run *r) {
    drt_history_comment *more = realloc(r->note, (size_t)(r->notes + 1) * sizeof *more);
    if (!more) return false;
    r->note = more;
    more[r->notes] = (drt_history_comment){sqlite3_column_int64(s, 0), text_of(s, 1), text_of(s, 2)};
    r->notes++;
    return more[r->notes - 1].kind && more[r->notes - 1].text;
}

drt_status drt_history_read(drt_history_list *out, const char *path, drt_error *err) {
    sqlite3 *db;
    *out = (drt_history_list){0};
    if (access(path, F_OK))
        return drt_fail(err, DRT_EIO,
                        "%s: no such file; training makes it. It is the one that the recipe's log.history, %s, or the "
                        "working folder (" DRT_HISTORY_DEFAULT ") tells",
                        path, DRT_HISTORY_VARIABLE);
    drt_status status = drt_history_open(&db, path, false, err);
    if (status) return status;
    status = read_runs(out, db, path, err);
    for (int i = 0; i < out->n && !status; i++) {
        status = each_row(db, path,
                          "SELECT name, last, step, least, least_step, most, most_step FROM metric WHERE run = ?"
                          " ORDER BY name",
                          &out->run[i], add_metric, err);
        if (!status)
            status = each_row(db, path, "SELECT step, kind, text FROM note WHERE run = ? ORDER BY step, rowid",
                              &out->run[i], add_note, err);
    }
    sqlite3_close(db);
    if (status) drt_history_free(out);
    return status;
}

void drt_history_free(drt_history_list *list) {
    for (int i = 0; i < list->n; i++) {
        drt_history_run *r = &list->run[i];
        char *const texts[] = {r->folder, r->started,   r->host,   r->version, r->commit, r->recipe,
                               r->data,   r->data_hash, r->device, r->weights, r->state,  r->reason};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) free(texts[k]);
        for (int k = 0; k < r->metrics; k++) free(r->metric[k].name);
        for (int k = 0; k < r->notes; k++) free(r->note[k].kind), free(r->note[k].text);
        free(r->metric), free(r->note);
    }
    free(list->run);
    *list = (drt_history_list){0};
}

static bool ends_with(const char *folder, const char *name) {
    size_t n = strlen(folder), m = strlen(name);
    while (m > 1 && name[m - 1] == '/') m--;
    return m && m <= n && !strncmp(folder + n - m, name, m) && (m == n || name[0] == '/' || folder[n - m - 1] == '/');
}

drt_status drt_history_find(const drt_history_list *list, const char *name, const drt_history_run **out,
                            drt_error *err) {
    char *end, path[PATH_MAX];
    long long id = strtoll(name, &end, 10);
    bool number = end != name && !*end;
    if (number || !realpath(name, path)) snprintf(path, sizeof path, "%s", name);
    for (int i = 0; i < list->n && !number; i++)
        if (!strcmp(list->run[i].folder, path)) return *out = &list->run[i], DRT_OK;
    for (int i = 0; i < list->n; i++)
        if (number ? list->run[i].id == id : ends_with(list->run[i].folder, name)) return *out = &list->run[i], DRT_OK;
    *out = NULL;
    if (!list->n) return drt_fail(err, DRT_EARG, "run %s: the history is empty", name);
    return drt_fail(err, DRT_EARG, "no run '%s'; there are %lld to %lld, the newest in %s", name,
                    (long long)list->run[list->n - 1].id, (long long)list->run[0].id, list->run[0].folder);
}

const drt_history_metric *drt_history_metric_find(const drt_history_run *run, const char *name) {
    for (int i = 0; i < run->metrics; i++)
        if (!strcmp(run->metric[i].name, name)) return &run->metric[i];
    return NULL;
}
