#include "train/history_diff.h"

#include "train/run_log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool drt_history_next_key(const char **at, char section[64], drt_text *name, drt_text *value) {
    while (**at) {
        const char *line = *at, *end = line + strcspn(line, "\n"), *colon = memchr(line, ':', (size_t)(end - line));
        bool inner = line[0] == ' ';
        *at = *end ? end + 1 : end;
        if (!colon) continue;
        line += strspn(line, " ");
        if (!inner) section[0] = 0;
        if (colon + 1 == end) { // "section:"
            snprintf(section, 64, "%.*s", (int)(colon - line), line);
            continue;
        }
        name->size = value->size = 0;
        drt_text_printf(name, "%s%s%.*s", section, *section ? "." : "", (int)(colon - line), line);
        drt_text_add(value, colon + 2, (size_t)(end - colon - 2));
        return true;
    }
    return false;
}

static bool add(drt_history_difference *d, drt_difference_kind kind, const char *name, const char *a, const char *b) {
    drt_difference_line *more = realloc(d->line, (size_t)(d->n + 1) * sizeof *more);
    if (!more) return false;
    d->line = more;
    more[d->n] = (drt_difference_line){kind, strdup(name), strdup(a), strdup(b)};
    d->n++;
    return more[d->n - 1].name && more[d->n - 1].a && more[d->n - 1].b;
}

// The value of a key in a written recipe; false: it has no such key.
static bool value_of(const char *recipe, const char *key, drt_text *value) {
    char section[64] = "";
    drt_text name = {0};
    bool found = false;
    while (!found && drt_history_next_key(&recipe, section, &name, value)) found = !strcmp(name.bytes, key);
    drt_text_free(&name);
    return found;
}

// Keys of one recipe against the other; only_new: those that the other has not.
static bool compare_keys(drt_history_difference *d, const char *mine, const char *other, bool only_new) {
    char section[64] = "";
    drt_text name = {0}, a = {0}, b = {0};
    bool ok = true;
    while (ok && drt_history_next_key(&mine, section, &name, &a)) {
        bool found = value_of(other, name.bytes, &b);
        if (only_new) ok = found || add(d, DRT_DIFFERENT_KEY, name.bytes, "-", a.bytes);
        else if (found && !strcmp(a.bytes, b.bytes)) d->same++;
        else ok = add(d, DRT_DIFFERENT_KEY, name.bytes, a.bytes, found ? b.bytes : "-");
    }
    drt_text_free(&name), drt_text_free(&a), drt_text_free(&b);
    return ok;
}

static bool compare_facts(drt_history_difference *d, const drt_history_run *a, const drt_history_run *b) {
    char steps[2][48];
    const drt_history_run *r[] = {a, b};
    for (int i = 0; i < 2; i++)
        snprintf(steps[i], sizeof steps[i], "%lld of %lld", (long long)r[i]->step, (long long)r[i]->steps);
    const struct {
        const char *name, *a, *b;
    } facts[] = {{"state", a->state, b->state},
                 {"steps", steps[0], steps[1]},
                 {"drt", a->version, b->version},
                 {"code", a->commit, b->commit},
                 {"host", a->host, b->host},
                 {"data", a->data, b->data},
                 {"data hash", a->data_hash, b->data_hash},
                 {"weights", a->weights, b->weights}};
    bool ok = true;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (strcmp(facts[i].a, facts[i].b)) ok &= add(d, DRT_DIFFERENT_FACT, facts[i].name, facts[i].a, facts[i].b);
    return ok;
}

static void put_number(const drt_history_metric *m, char out[32]) {
    if (!m) snprintf(out, 32, "-");
    else snprintf(out, 32, isnan(m->last) ? "NaN" : "%.6g", m->last);
}

static bool compare_metrics(drt_history_difference *d, const drt_history_run *a, const drt_history_run *b) {
    char x[32], y[32];
    bool ok = true;
    for (int i = 0; i < a->metrics; i++) {
        if (drt_log_is_cost(a->metric[i].name)) continue;
        put_number(&a->metric[i], x);
        put_number(drt_history_metric_find(b, a->metric[i].name), y);
        ok &= add(d, DRT_DIFFERENT_METRIC, a->metric[i].name, x, y);
    }
    for (int i = 0; i < b->metrics; i++) {
        if (drt_log_is_cost(b->metric[i].name) || drt_history_metric_find(a, b->metric[i].name)) continue;
        put_number(&b->metric[i], y);
        ok &= add(d, DRT_DIFFERENT_METRIC, b->metric[i].name, "-", y);
    }
    return ok;
}

drt_status drt_history_compare(const drt_history_run *a, const drt_history_run *b, drt_history_difference *out,
                               drt_error *err) {
    *out = (drt_history_difference){0};
    bool ok = compare_facts(out, a, b) && compare_keys(out, a->recipe, b->recipe, false) &&
              compare_keys(out, b->recipe, a->recipe, true) && compare_metrics(out, a, b);
    if (ok) return DRT_OK;
    drt_history_difference_free(out);
    return drt_fail(err, DRT_ENOMEM, "no memory to compare two runs");
}

void drt_history_difference_free(drt_history_difference *d) {
    for (int i = 0; i < d->n; i++) free(d->line[i].name), free(d->line[i].a), free(d->line[i].b);
    free(d->line);
    *d = (drt_history_difference){0};
}
