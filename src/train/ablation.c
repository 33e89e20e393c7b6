#include "train/ablation.h"

#include "base/arena.h"
#include "base/file.h"
#include "eval/ablation.h"
#include "train/experiment_parts.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const drt_ablation_plan *p;
    const drt_run_hooks *hooks;
    drt_arena *arena;
    drt_report_model *found[DRT_EXPERIMENT_MODELS]; // [seeds]
    char folder[PATH_ROOM];                         // of the seed at hand
} ablation;

// ---- results.json --------------------------------------------------------------------------------------------------

// What was asked: results of other questions do not count.
static void put_asked(const drt_experiment *e, drt_text *out) {
    drt_text_printf(out, "%lld of", (long long)e->limit);
    for (int i = 0; i < e->n_tasks; i++) drt_text_printf(out, " %s", e->tasks[i]);
}

static drt_status save_results(const drt_experiment *e, const drt_report_model *m, const char *path, drt_error *err) {
    drt_text text = {0}, asked = {0};
    put_asked(e, &asked);
    drt_text_puts(&text, "{\"asked\": ");
    drt_text_json(&text, asked.bytes ? asked.bytes : "");
    drt_text_puts(&text, ",\n \"model\": ");
    drt_report_model_json(m, &text);
    drt_text_puts(&text, "}\n");
    drt_status status = text.failed || asked.failed ? drt_fail(err, DRT_ENOMEM, "%s: no memory", path)
                                                    : drt_file_write(path, text.bytes, text.size, err);
    drt_text_free(&text);
    drt_text_free(&asked);
    return status;
}

static double number(const json_t *object, const char *name) {
    const json_t *v = json_object_get(object, name);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

// DRT_EFORMAT: it is not what save_results writes.
static drt_status model_of(const json_t *m, drt_arena *arena, drt_report_model *out) {
    json_t *tasks = json_object_get(m, "tasks"), *mass = json_object_get(m, "guided_mass"), *t;
    const char *name;
    if (!json_object_size(tasks)) return DRT_EFORMAT;
    drt_report_task *task = drt_arena_array(arena, (int64_t)json_object_size(tasks), sizeof *task);
    if (!task) return DRT_ENOMEM;
    *out = (drt_report_model){.tasks = task,
                              .image_order_accuracy = number(m, "image_order_accuracy"),
                              .image_order_chance = number(m, "image_order_chance"),
                              .text_order_exact = number(m, "text_order_exact"),
                              .text_order_exact_blind = number(m, "text_order_exact_blind"),
                              .guided_before = number(mass, "before"),
                              .guided_after = number(mass, "after"),
                              .train_seconds = number(m, "train_seconds"),
                              .train_flops = number(m, "train_flops")};
    json_object_foreach(tasks, name, t) {
        const char *copy = drt_arena_strdup(arena, name);
        if (!copy) return DRT_ENOMEM;
        task[out->n_tasks++] = (drt_report_task){copy,
                                                 number(t, "sighted"),
                                                 number(t, "blind"),
                                                 number(t, "blind_restricted"),
                                                 number(t, "prior"),
                                                 (int64_t)json_integer_value(json_object_get(t, "n"))};
    }
    return DRT_OK;
}

// *found false: there are none, or they answer other questions.
static drt_status load_results(const drt_experiment *e, drt_arena *arena, const char *path, drt_report_model *out,
                               bool *found, drt_error *err) {
    json_error_t fault;
    drt_text asked = {0};
    *found = false;
    if (!drt_file_exists(path)) return DRT_OK;
    json_t *root = json_load_file(path, 0, &fault);
    if (!root) return drt_fail(err, DRT_EFORMAT, "%s:%d:%d: %s; remove it", path, fault.line, fault.column, fault.text);
    put_asked(e, &asked);
    const char *was = json_string_value(json_object_get(root, "asked"));
    drt_status status = DRT_OK;
    if (was && asked.bytes && !strcmp(was, asked.bytes)) {
        status = model_of(json_object_get(root, "model"), arena, out);
        if (status)
            drt_fail(err, status, "%s: %s", path,
                     status == DRT_ENOMEM ? "no memory" : "it holds no answers; remove it");
        *found = !status;
    }
    drt_text_free(&asked);
    json_decref(root);
    return status;
}

// ---- seeds ---------------------------------------------------------------------------------------------------------

static drt_status examine(ablation *a, const drt_experiment *e, int model, const drt_experiment_plan *plan, int s,
                          drt_error *err) {
    char path[PATH_ROOM + 20];
    bool found;
    drt_report_model *out = &a->found[model][s];
    snprintf(path, sizeof path, "%s/results.json", plan->recipe[1].out);
    drt_status status = load_results(e, a->arena, path, out, &found, err);
    if (!status && !found) {
        drt_findings f = {0};
        drt_numbers *n = calloc(1, sizeof *n);
        status = n ? drt_experiment_examine(e, model, plan, a->hooks, &f, err) : drt_fail(err, DRT_ENOMEM, "no memory");
        if (!status) {
            drt_experiment_numbers(e, model, &f, n);
            status = save_results(e, &n->model, path, err);
        }
        free(n);
        drt_findings_free(&f);
        if (!status) status = load_results(e, a->arena, path, out, &found, err);
    }
    char(*paths)[PATH_ROOM] = status ? NULL : drt_arena_array(a->arena, 2, sizeof *paths);
    drt_report_log *logs = paths ? drt_arena_array(a->arena, 2, sizeof *logs) : NULL;
    if (status || !logs) return status ? status : drt_fail(err, DRT_ENOMEM, "no memory");
    drt_experiment_logs(e, model, plan->from, logs, paths);
    out->name = e->models[model].title;
    out->n_logs = 2;
    out->logs = logs;
    return DRT_OK;
}

static drt_status run_seed(ablation *a, int s, drt_error *err) {
    drt_experiment e = a->p->e;
    drt_experiment_plan *plans = NULL;
    e.models = a->p->model;
    e.seed = a->p->seed[s];
    snprintf(a->folder, sizeof a->folder, "%s/seed%llu", a->p->e.out, (unsigned long long)e.seed);
    e.out = a->folder;
    if (a->hooks->say && a->p->seeds > 1)
        drt_experiment_say(a->hooks, "seed %llu, %d of %d", (unsigned long long)e.seed, s + 1, a->p->seeds);
    drt_status status = drt_experiment_plans(&e, &plans, err);
    if (!status) status = drt_experiment_train(&e, plans, a->hooks, err);
    for (int i = 0; i < e.n && !status; i++) status = examine(a, &e, i, &plans[i], s, err);
    drt_experiment_plans_free(plans, e.n);
    return status;
}

static drt_status report(const ablation *a, int seeds, drt_text *table, drt_error *err) {
    drt_ablation_row row[DRT_EXPERIMENT_MODELS];
    const drt_experiment *e = &a->p->e;
    for (int i = 0; i < e->n; i++) row[i] = (drt_ablation_row){a->p->model[i].title, a->found[i]};
    const drt_ablation r = {.title = e->title,
                            .note = e->equal_compute
                                        ? "All variations were given the same arithmetic as the base, in as many steps "
                                          "as that makes, from the same towers."
                                        : "All variations were trained on the same samples, from the same towers.",
                            .command = a->p->command,
                            .equal_compute = e->equal_compute,
                            .n_rows = e->n,
                            .rows = row,
                            .n_seeds = seeds,
                            .seeds = a->p->seed};
    drt_status status = drt_ablation_write(&r, e->out, err);
    if (!status && table) {
        table->size = 0;
        status = drt_ablation_table(&r, table, err);
    }
    return status;
}

drt_status drt_ablation_run(const drt_ablation_plan *p, const drt_run_hooks *hooks, drt_text *table, drt_error *err) {
    _Static_assert((int)DRT_EXPERIMENT_MODELS <= (int)DRT_ABLATION_ROWS, "a row for every model");
    _Static_assert((int)DRT_ABLATION_MOST_SEEDS <= (int)DRT_ABLATION_SEEDS, "a number for every seed");
    _Static_assert((int)DRT_EXPERIMENT_TASKS <= (int)DRT_ABLATION_TASKS, "a column for every task");
    ablation *a = calloc(1, sizeof *a);
    if (!a || !(a->arena = drt_arena_new(0))) {
        free(a);
        return drt_fail(err, DRT_ENOMEM, "no memory");
    }
    a->p = p;
    a->hooks = hooks;
    drt_status status = DRT_OK;
    for (int i = 0; i < p->e.n && !status; i++)
        if (!(a->found[i] = drt_arena_array(a->arena, p->seeds, sizeof **a->found)))
            status = drt_fail(err, DRT_ENOMEM, "no memory");
    for (int s = 0; s < p->seeds && !status; s++) {
        status = run_seed(a, s, err);
        if (!status) status = report(a, s + 1, table, err);
    }
    drt_arena_free(a->arena);
    free(a);
    return status;
}
