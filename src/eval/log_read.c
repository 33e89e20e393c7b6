#include "eval/log_read.h"

#include "base/file.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static drt_run_series *series_of(drt_run_log *log, const char *name) {
    for (int i = 0; i < log->n_series; i++)
        if (!strcmp(log->series[i].name, name)) return &log->series[i];
    drt_run_series *more = realloc(log->series, (size_t)(log->n_series + 1) * sizeof *more);
    if (!more) return NULL;
    log->series = more;
    more[log->n_series] = (drt_run_series){.name = strdup(name)};
    return more[log->n_series].name ? &more[log->n_series++] : NULL;
}

static bool append(drt_run_series *s, double step, double value) {
    if (!s) return false;
    if (!(s->n & (s->n - 1))) { // 0, 1, 2, 4, ...: full
        size_t room = s->n ? 2 * (size_t)s->n : 1;
        double *steps = realloc(s->step, room * sizeof *steps);
        if (steps) s->step = steps;
        double *values = realloc(s->value, room * sizeof *values);
        if (values) s->value = values;
        if (!steps || !values) return false;
    }
    s->step[s->n] = step;
    s->value[s->n++] = value;
    return true;
}

static bool append_hash(drt_run_log *log, int64_t step, const char *digits) {
    drt_run_hash *more = realloc(log->hash, (size_t)(log->n_hashes + 1) * sizeof *more);
    if (!more) return false;
    log->hash = more;
    more[log->n_hashes++] = (drt_run_hash){step, strtoull(digits, NULL, 16)};
    return true;
}

static drt_status read_line(drt_run_log *log, const char *line, size_t n, const char *path, int number,
                            drt_error *err) {
    json_error_t fault;
    errno = 0;
    json_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES, &fault), *value;
    const char *name;
    drt_status status = DRT_OK;
    json_t *step = json_object_get(object, "step");
    // jansson takes a failed allocation for a fault of the text.
    if (!object && errno == ENOMEM) status = drt_fail(err, DRT_ENOMEM, "%s: no memory for line %d", path, number);
    else if (!object) status = drt_fail(err, DRT_EFORMAT, "%s:%d:%d: %s", path, number, fault.column, fault.text);
    else if (!json_is_integer(step))
        status = drt_fail(err, DRT_EFORMAT, "%s:%d: the line is no object with a whole number \"step\"", path, number);
    else json_object_foreach(object, name, value) {
            bool counts = value != step && (json_is_number(value) || json_is_null(value));
            bool hash = json_is_string(value) && !strcmp(name, "weights");
            double x = json_is_null(value) ? NAN : json_number_value(value);
            if (!counts && !hash) continue;
            if (hash && append_hash(log, json_integer_value(step), json_string_value(value))) continue;
            if (counts && append(series_of(log, name), (double)json_integer_value(step), x)) continue;
            status = drt_fail(err, DRT_ENOMEM, "%s: no memory for line %d", path, number);
            break;
        }
    json_decref(object);
    return status;
}

drt_status drt_run_log_read(drt_run_log *out, const char *path, drt_error *err) {
    *out = (drt_run_log){0};
    char *bytes;
    size_t size;
    drt_status status = drt_file_read(&bytes, &size, path, (size_t)1 << 40, err);
    if (status) return status;
    int number = 1;
    for (size_t at = 0; at < size && !status; number++) {
        char *newline = memchr(bytes + at, '\n', size - at);
        if (!newline) break; // torn by a crash
        size_t n = (size_t)(newline - (bytes + at));
        status = read_line(out, bytes + at, n, path, number, err);
        at += n + 1;
    }
    free(bytes);
    if (status) drt_run_log_free(out);
    return status;
}

drt_status drt_run_log_of(drt_run_log *out, const char *folder, drt_error *err) {
    *out = (drt_run_log){0};
    char *path = drt_path_join(folder, "run.jsonl");
    drt_status status = path ? drt_run_log_read(out, path, err) : drt_fail(err, DRT_ENOMEM, "%s: no memory", folder);
    free(path);
    return status;
}

const drt_run_series *drt_run_log_find(const drt_run_log *log, const char *name) {
    for (int i = 0; i < log->n_series; i++)
        if (!strcmp(log->series[i].name, name)) return &log->series[i];
    return NULL;
}

void drt_run_log_free(drt_run_log *log) {
    for (int i = 0; i < log->n_series; i++) {
        free(log->series[i].name);
        free(log->series[i].step);
        free(log->series[i].value);
    }
    free(log->series);
    free(log->hash);
    *log = (drt_run_log){0};
}
