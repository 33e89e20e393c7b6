#include "eval/report.h"

#include "base/file.h"
#include "base/progress.h"
#include "eval/report_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int drt_report_task_names(const drt_report *report, const char *names[DRT_REPORT_MOST_TASKS]) {
    int n = 0;
    for (int m = 0; m < report->n_models; m++)
        for (int t = 0; t < report->models[m].n_tasks && n < DRT_REPORT_MOST_TASKS; t++) {
            int i = 0;
            while (i < n && strcmp(names[i], report->models[m].tasks[t].name)) i++;
            if (i == n) names[n++] = report->models[m].tasks[t].name;
        }
    return n;
}

drt_report_task drt_report_result(const drt_report_model *model, const char *task) {
    for (int t = 0; t < model->n_tasks; t++)
        if (!strcmp(model->tasks[t].name, task)) return model->tasks[t];
    return (drt_report_task){.name = task, .sighted = NAN, .blind = NAN, .blind_restricted = NAN, .prior = NAN};
}

drt_report_task drt_report_mean(const drt_report_model *model) {
    double sum[4] = {0};
    int count[4] = {0};
    drt_report_task mean = {.name = "mean"};
    for (int t = 0; t < model->n_tasks; t++) {
        const drt_report_task *task = &model->tasks[t];
        const double values[] = {task->sighted, task->blind, task->blind_restricted, task->prior};
        for (int i = 0; i < 4; i++)
            if (!isnan(values[i])) sum[i] += values[i], count[i]++;
        mean.n += task->n;
    }
    double *const out[] = {&mean.sighted, &mean.blind, &mean.blind_restricted, &mean.prior};
    for (int i = 0; i < 4; i++) *out[i] = count[i] ? sum[i] / count[i] : NAN;
    return mean;
}

double drt_report_margin(double accuracy, int64_t n) {
    return n > 0 ? 1.96 * sqrt(accuracy * (1 - accuracy) / (double)n) : NAN;
}

const char *drt_report_percent(char out[16], double fraction) {
    if (isnan(fraction)) strcpy(out, "–");
    else snprintf(out, 16, "%.1f", 100 * fraction);
    return out;
}

// A fact's main number and the one beside it.
static void fact_numbers(const drt_report_model *m, int fact, double numbers[2]) {
    const double all[DRT_REPORT_FACTS][2] = {{m->image_order_accuracy, m->image_order_chance},
                                             {m->text_order_exact, m->text_order_exact_blind},
                                             {m->guided_after, m->guided_before},
                                             {m->train_seconds > 0 ? m->train_seconds : NAN, NAN}};
    memcpy(numbers, all[fact], sizeof all[fact]);
}

drt_report_fact drt_report_fact_of(const drt_report *report, int fact) {
    static const char *const names[] = {"image order named", "text order exact", "attention on picture",
                                        "training time"};
    drt_report_fact f = {.name = names[fact]};
    for (int m = 0; m < report->n_models; m++) {
        double numbers[2];
        fact_numbers(&report->models[m], fact, numbers);
        f.shown |= !isnan(numbers[0]);
    }
    return f;
}

void drt_report_fact_cell(const drt_report_model *model, int fact, drt_text *out) {
    double numbers[2];
    char a[24], b[16];
    fact_numbers(model, fact, numbers);
    if (fact == DRT_REPORT_TIME) {
        drt_text_puts(out, isnan(numbers[0]) ? "–" : drt_duration(a, numbers[0]));
        return;
    }
    drt_report_percent(a, numbers[0]);
    drt_report_percent(b, numbers[1]);
    if (isnan(numbers[1]) || isnan(numbers[0])) drt_text_puts(out, a);
    else if (fact == DRT_REPORT_IMAGE_ORDER) drt_text_printf(out, "%s (chance %s)", a, b);
    else if (fact == DRT_REPORT_TEXT_ORDER) drt_text_printf(out, "%s (blind %s)", a, b);
    else drt_text_printf(out, "%s (before %s)", a, b);
}

static void put_number(drt_text *out, const char *before, const char *name, double value) {
    drt_text_printf(out, "%s\"%s\": ", before, name);
    if (isfinite(value)) drt_text_printf(out, "%.6g", value);
    else drt_text_puts(out, "null");
}

void drt_report_model_json(const drt_report_model *m, drt_text *out) {
    drt_text_puts(out, "{\n      \"tasks\": {");
    for (int t = 0; t < m->n_tasks; t++) {
        const drt_report_task *task = &m->tasks[t];
        drt_text_puts(out, t ? ",\n        " : "\n        ");
        drt_text_json(out, task->name);
        put_number(out, ": {", "sighted", task->sighted);
        put_number(out, ", ", "blind", task->blind);
        put_number(out, ", ", "blind_restricted", task->blind_restricted);
        put_number(out, ", ", "prior", task->prior);
        drt_text_printf(out, ", \"n\": %lld}", (long long)task->n);
    }
    drt_text_puts(out, m->n_tasks ? "\n      }" : "}");
    put_number(out, ",\n      ", "image_order_accuracy", m->image_order_accuracy);
    put_number(out, ",\n      ", "image_order_chance", m->image_order_chance);
    put_number(out, ",\n      ", "text_order_exact", m->text_order_exact);
    put_number(out, ",\n      ", "text_order_exact_blind", m->text_order_exact_blind);
    put_number(out, ",\n      \"guided_mass\": {", "before", m->guided_before);
    put_number(out, ", ", "after", m->guided_after);
    put_number(out, "},\n      ", "train_seconds", m->train_seconds);
    put_number(out, ", ", "train_flops", m->train_flops > 0 ? m->train_flops : NAN);
    drt_text_puts(out, "\n    }");
}

void drt_report_json(const drt_report *report, drt_text *out) {
    drt_text_puts(out, "{\n  \"title\": ");
    drt_text_json(out, report->title);
    drt_text_puts(out, ",\n  \"models\": {\n");
    for (int m = 0; m < report->n_models; m++) {
        drt_text_puts(out, "    ");
        drt_text_json(out, report->models[m].name);
        drt_text_puts(out, ": ");
        drt_report_model_json(&report->models[m], out);
        drt_text_puts(out, m + 1 < report->n_models ? ",\n" : "\n");
    }
    drt_text_puts(out, "  }\n}\n");
}

drt_status drt_report_save(const drt_text *text, const char *folder, const char *name, drt_error *err) {
    char *path = drt_path_join(folder, name);
    drt_status status = path && !text->failed ? drt_file_write(path, text->bytes, text->size, err)
                                              : drt_fail(err, DRT_ENOMEM, "%s/%s: no memory", folder, name);
    free(path);
    return status;
}

drt_status drt_report_write(const drt_report *report, const char *folder, drt_error *err) {
    drt_text html = {0}, markdown = {0}, json = {0};
    drt_status status = drt_make_folders(folder, err);
    if (!status) status = drt_report_html(report, &html, err);
    if (!status) status = drt_report_save(&html, folder, "report.html", err);
    drt_report_markdown(report, &markdown);
    if (!status) status = drt_report_save(&markdown, folder, "report.md", err);
    drt_report_json(report, &json);
    if (!status) status = drt_report_save(&json, folder, "report.json", err);
    drt_text_free(&html);
    drt_text_free(&markdown);
    drt_text_free(&json);
    return status;
}
