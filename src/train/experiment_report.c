#include "train/experiment_parts.h"

#include "base/file.h"
#include "eval/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXAMPLES = 12, REPORT_MODELS = 8 };

typedef struct {
    drt_numbers numbers[REPORT_MODELS];
    drt_report_model model[REPORT_MODELS];
    drt_report_example example[EXAMPLES];
    const char *answers[EXAMPLES][REPORT_MODELS];
    char *picture[EXAMPLES], *question[EXAMPLES];
    char command[2][PATH_ROOM * 2];
} pages;

static double rate(drt_rate r) { return r.count > 0 ? r.hits / r.count : NAN; }

void drt_experiment_numbers(const drt_experiment *e, int model, const drt_findings *f, drt_numbers *out) {
    int n = 0;
    for (int k = 0; k < f->sighted.tasks && n < DRT_EXPERIMENT_TASKS; k++) {
        const drt_eval_task *s = &f->sighted.task[k], *b = drt_eval_find(&f->blind, s->name);
        out->task[n++] = (drt_report_task){s->name,
                                           drt_eval_accuracy(&s->all),
                                           b ? drt_eval_accuracy(&b->all) : NAN,
                                           b ? drt_eval_restricted(&b->all) : NAN,
                                           s->prior,
                                           s->all.n};
    }
    out->model = (drt_report_model){.name = e->models[model].title,
                                    .n_tasks = n,
                                    .tasks = out->task,
                                    .image_order_accuracy = rate(f->image_order),
                                    .image_order_chance = f->image_order.count > 0 ? 1.0 / f->classes : NAN,
                                    .text_order_exact = rate(f->order),
                                    .text_order_exact_blind = rate(f->order_blind),
                                    .guided_before = rate(f->mass_before),
                                    .guided_after = rate(f->mass_after),
                                    .train_seconds = f->train_seconds,
                                    .train_flops = f->train_flops};
}

void drt_experiment_logs(const drt_experiment *e, int model, int from, drt_report_log log[2], char path[2][PATH_ROOM]) {
    for (int stage = 0; stage < 2; stage++) {
        snprintf(path[stage], PATH_ROOM, "%s/%s/stage%d/run.jsonl", e->out, e->models[stage ? model : from].name,
                 stage + 1);
        log[stage] = (drt_report_log){stage ? "stage 2: conversations" : "stage 1: captions", path[stage]};
    }
}

static const char *reply_of(const drt_findings *f, const char *task, int64_t item) {
    const drt_eval_task *t = drt_eval_find(&f->sighted, task);
    return t && item < t->all.n ? t->item[item].reply : NULL;
}

// The question as a person would ask it: without "Answer the question using a single word or phrase." and its like.
static char *without_suffix(const char *text) {
    const char *suffix = strstr(text, "\nAnswer ");
    return suffix ? strndup(text, (size_t)(suffix - text)) : strdup(text);
}

// Questions from every task in turn, spread over the file: not chosen by how they were answered.
static drt_status fill_examples(const drt_experiment *e, const drt_findings *found, pages *p, drt_report *r,
                                drt_error *err) {
    const drt_eval_result *all = &found[0].sighted;
    for (int k = 0; k < EXAMPLES && all->tasks; k++) {
        const drt_eval_task *t = &all->task[k % all->tasks];
        int64_t at = t->all.n ? (k / all->tasks * 37 + 5) % t->all.n : 0;
        if (!t->all.n || !t->item[at].image) continue;
        const drt_eval_item *item = &t->item[at];
        size_t size;
        drt_status status = drt_file_read(&p->picture[r->n_examples], &size, item->image, 64 << 20, err);
        if (status) return status;
        if (!(p->question[r->n_examples] = without_suffix(item->text))) return drt_fail(err, DRT_ENOMEM, "no memory");
        for (int i = 0; i < e->n; i++) p->answers[r->n_examples][i] = reply_of(&found[i], t->name, at);
        p->example[r->n_examples] =
            (drt_report_example){p->picture[r->n_examples],  size,         t->name,
                                 p->question[r->n_examples], item->answer, p->answers[r->n_examples]};
        r->n_examples++;
    }
    return DRT_OK;
}

drt_status drt_experiment_report(const drt_experiment *e, const drt_experiment_plan *plans, const drt_findings *found,
                                 drt_text *table, drt_error *err) {
    if (e->n > REPORT_MODELS)
        return drt_fail(err, DRT_EARG, "a report has at most %d models, not %d", REPORT_MODELS, e->n);
    pages *p = calloc(1, sizeof *p);
    if (!p) return drt_fail(err, DRT_ENOMEM, "no memory for a report");
    for (int i = 0; i < e->n; i++) {
        drt_numbers *n = &p->numbers[i];
        drt_experiment_numbers(e, i, &found[i], n);
        drt_experiment_logs(e, i, plans[i].from, n->log, n->path);
        p->model[i] = n->model;
        p->model[i].n_logs = 2;
        p->model[i].logs = n->log;
    }
    const char *last = e->models[e->n - 1].name, *commands[] = {p->command[0], p->command[1]};
    drt_report r = {.title = e->title,
                    .n_models = e->n,
                    .models = p->model,
                    .examples = p->example,
                    .n_commands = 2,
                    .commands = commands,
                    .note =
                        "All models were trained on the same samples, from the same towers. Sighted minus blind is "
                        "what the picture "
                        "adds; restricted answers take away what a blind model loses by leaving the set of answers."};
    drt_status status = fill_examples(e, found, p, &r, err);
    const char *picture = found[0].sighted.tasks && found[0].sighted.task[0].all.n
                              ? found[0].sighted.task[0].item[0].image
                              : "picture.jpg";
    snprintf(p->command[0], sizeof p->command[0], "build/drt chat %s/%s/stage2/model --image %s", e->out, last,
             picture);
    snprintf(p->command[1], sizeof p->command[1], "build/drt eval %s/%s/stage2/model --data %s/world", e->out, last,
             e->out);
    if (!status) status = drt_report_write(&r, e->out, err);
    if (!status && table) drt_report_table(&r, table);
    for (int k = 0; k < EXAMPLES; k++) free(p->picture[k]), free(p->question[k]);
    free(p);
    return status;
}
