#include "train/run_log.h"

#include "base/file.h"
#include "base/progress.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST_LOSSES = 32, MOST_NUMBERS = 100, NAME = 64 };

struct drt_log {
    int fd;
    char *path;
    int64_t every, step;
    bool kept; // the line is written whatever `every` says
    drt_text line;
    // What the listener hears.
    drt_log_listener listener;
    void *listening;
    int n;
    char name[MOST_NUMBERS][NAME];
    double value[MOST_NUMBERS];
    // What the watcher sees.
    drt_log_report report;
    void *user;
    drt_log_view view;
    char *names[MOST_LOSSES];
    double losses[MOST_LOSSES], weights[MOST_LOSSES]; // weighted sums and their weights
    double means[MOST_LOSSES];
    double clock, pace; // when the last step ended, mean seconds per step
    int64_t clock_step;
};

// The step that a line starts with, or -1. Lines are written by drt_log_begin, so nothing else needs parsing.
static int64_t line_step(const char *line, size_t n) {
    static const char head[] = "{\"step\":";
    char *end;
    if (n < sizeof head || memcmp(line, head, sizeof head - 1) || line[n - 1] != '}') return -1;
    long long step = strtoll(line + sizeof head - 1, &end, 10);
    return *end == ',' || *end == '}' ? step : -1;
}

// Drops what a resumed run will write again. The old file stands until the shorter one is complete.
static drt_status drop_lines_past(const char *path, int64_t last, drt_error *err) {
    char *bytes;
    size_t size;
    if (!drt_file_exists(path)) return DRT_OK;
    drt_status status = drt_file_read(&bytes, &size, path, (size_t)1 << 40, err);
    if (status) return status;
    size_t kept = 0;
    for (size_t at = 0; at < size;) {
        char *newline = memchr(bytes + at, '\n', size - at);
        if (!newline) break; // torn by a crash
        size_t n = (size_t)(newline - (bytes + at)) + 1;
        int64_t step = line_step(bytes + at, n - 1);
        if (step >= 0 && step <= last && last > 0) {
            memmove(bytes + kept, bytes + at, n);
            kept += n;
        }
        at += n;
    }
    if (kept < size) status = drt_file_write(path, bytes, kept, err);
    free(bytes);
    return status;
}

drt_status drt_log_open(drt_log **out, const char *folder, int64_t resumed_step, drt_error *err) {
    *out = NULL;
    drt_log *log = calloc(1, sizeof *log);
    char *path = drt_path_join(folder, "run.jsonl");
    drt_status status = DRT_OK;
    if (!log || !path) status = drt_fail(err, DRT_ENOMEM, "%s: no memory for a run log", folder);
    if (!status) status = drop_lines_past(path, resumed_step, err);
    if (!status) {
        *log = (drt_log){.path = path, .every = 1, .clock_step = -1, .view.seconds_left = -1};
        log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (log->fd < 0) status = drt_fail(err, DRT_EIO, "%s: cannot write: %s", path, strerror(errno));
    }
    if (status) {
        free(path);
        free(log);
        return status;
    }
    *out = log;
    return DRT_OK;
}

void drt_log_close(drt_log *log) {
    if (!log) return;
    close(log->fd);
    free(log->path);
    drt_text_free(&log->line);
    for (int i = 0; i < log->view.n_losses; i++) free(log->names[i]);
    free(log);
}

void drt_log_every(drt_log *log, int64_t every) { log->every = every > 0 ? every : 1; }

void drt_log_watch(drt_log *log, int64_t total, drt_log_report report, void *user) {
    log->view.total = total;
    log->report = report;
    log->user = user;
}

void drt_log_begin(drt_log *log, int64_t step) {
    if (log->line.bytes) log->line.size = 0;
    log->step = step;
    log->kept = false;
    log->n = 0;
    drt_text_printf(&log->line, "{\"step\":%lld", (long long)step);
}

// A bias-corrected exponential mean per loss.
static void smooth(drt_log *log, const char *name, double value) {
    enum { SPAN = 20 };
    drt_log_view *view = &log->view;
    int i = 0;
    if (!isfinite(value)) return;
    while (i < view->n_losses && strcmp(log->names[i], name)) i++;
    if (i == MOST_LOSSES) return;
    if (i == view->n_losses) {
        if (!(log->names[i] = strdup(name))) return;
        view->n_losses++;
    }
    log->losses[i] += (value - log->losses[i]) / SPAN;
    log->weights[i] += (1 - log->weights[i]) / SPAN;
    log->means[i] = log->losses[i] / log->weights[i];
}

void drt_log_number(drt_log *log, const char *name, double value) {
    char number[40];
    if (log->n < MOST_NUMBERS) {
        snprintf(log->name[log->n], NAME, "%s", name);
        log->value[log->n++] = value;
    }
    if (!isfinite(value)) strcpy(number, "null");
    else if (value == floor(value) && fabs(value) < 9007199254740992.0) snprintf(number, sizeof number, "%.0f", value);
    else // as short as a float allows
        for (int digits = 6; digits <= 9; digits++) {
            snprintf(number, sizeof number, "%.*g", digits, value);
            if ((float)strtod(number, NULL) == (float)value) break;
        }
    drt_text_puts(&log->line, ",");
    drt_text_json(&log->line, name);
    drt_text_printf(&log->line, ":%s", number);
    if (!strcmp(name, "loss")) smooth(log, name, value);
    else if (!strncmp(name, "loss.", 5)) smooth(log, name + 5, value);
    else if (!strcmp(name, "tokens_per_second")) log->view.tokens_per_second = value;
    else if (!strcmp(name, "memory")) log->view.memory = value;
}

void drt_log_keep(drt_log *log) { log->kept = true; }

void drt_log_text(drt_log *log, const char *name, const char *value) {
    log->kept = true;
    drt_text_puts(&log->line, ",");
    drt_text_json(&log->line, name);
    drt_text_puts(&log->line, ":");
    drt_text_json(&log->line, value);
}

static drt_status write_line(drt_log *log, drt_error *err) {
    drt_text_puts(&log->line, "}\n");
    if (log->line.failed) return drt_fail(err, DRT_ENOMEM, "%s: no memory for a line", log->path);
    for (size_t at = 0; at < log->line.size;) {
        ssize_t n = write(log->fd, log->line.bytes + at, log->line.size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return drt_fail(err, DRT_EIO, "%s: cannot write step %lld: %s", log->path, (long long)log->step,
                            strerror(n ? errno : ENOSPC));
        at += (size_t)n;
    }
    return DRT_OK;
}

static void measure_pace(drt_log *log) {
    double now = drt_clock();
    if (log->clock_step >= 0 && log->step > log->clock_step) {
        double pace = (now - log->clock) / (double)(log->step - log->clock_step);
        log->pace = log->pace > 0 ? log->pace + (pace - log->pace) / 20 : pace;
        log->view.seconds_left = log->pace * (double)(log->view.total - log->step);
    }
    log->clock = now;
    log->clock_step = log->step;
}

void drt_log_listen(drt_log *log, drt_log_listener listener, void *user) {
    log->listener = listener;
    log->listening = user;
}

static void tell_listener(const drt_log *log) {
    const char *names[MOST_NUMBERS];
    for (int i = 0; i < log->n; i++) names[i] = log->name[i];
    log->listener(log->listening, log->step, log->n, names, log->value);
}

drt_status drt_log_end(drt_log *log, drt_error *err) {
    bool written = log->step % log->every == 0 || log->kept;
    drt_status status = written ? write_line(log, err) : DRT_OK;
    if (written && !status && log->listener) tell_listener(log);
    measure_pace(log);
    bool again = log->view.step == log->step; // a second line of one step, of its validation, is no step
    log->view.step = log->step;
    log->view.names = (const char *const *)log->names;
    log->view.losses = log->means;
    if (log->report && !again) log->report(log->user, &log->view);
    return status;
}

bool drt_log_is_cost(const char *name) {
    static const char *const costs[] = {
        "seconds", "flops", "memory", "rows", "tokens_per_second", "remembered", "validation.seconds"};
    enum { COSTS = sizeof costs / sizeof *costs };
    return drt_place_of(name, costs, COSTS) < COSTS;
}

int64_t drt_peak_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (int64_t)usage.ru_maxrss * 1024;
}
